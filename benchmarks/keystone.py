"""A Keystone in a folder of its own, for a run beside it.

    python3 -m venv keystone && keystone/bin/pip install keystone==30.0.0 gunicorn python-memcached

Its defaults hold: bcrypt of cost 12, Fernet tokens, caching (in memcached, a process of its own, as
it is run). Its database is SQLite, which is kinder to it than a server that costs CPU of its own.
Two worker processes answer, as many as DevStack starts.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from benchmarks.measuring import PASSWORD, log_in_as_admin

_CONFIG = """\
[DEFAULT]
log_file = {folder}/keystone.log
[database]
connection = sqlite:///{folder}/keystone.sqlite
[fernet_tokens]
key_repository = {folder}/fernet-keys
[fernet_receipts]
key_repository = {folder}/fernet-keys
[credential]
key_repository = {folder}/credential-keys
[cache]
enabled = true
backend = oslo_cache.memcache_pool
memcache_servers = 127.0.0.1:{cache}
"""
_SERVER = """\
wsgi_app = "keystone.wsgi.api:application"
bind = "127.0.0.1:{port}"
workers = 2
worker_class = "gthread"
keepalive = 75
control_socket_disable = True
"""


class Keystone:
    """One that is started, measured and removed like our own cloud."""

    def __init__(self, venv: Path) -> None:
        self.bin = venv.absolute() / "bin"
        self.folder = Path(tempfile.mkdtemp(prefix="keystone-bench-"))
        self.port, self.token = _free_port(), ""
        self._processes: list[subprocess.Popen[bytes]] = []

    def up(self) -> None:
        """Make its database and keys, start it, wait until it answers."""
        cache = _free_port()
        config = self.folder / "keystone.conf"
        config.write_text(_CONFIG.format(folder=self.folder, cache=cache))
        manage = [str(self.bin / "keystone-manage"), "--config-file", str(config)]
        owner = ["--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid())]
        url = f"http://127.0.0.1:{self.port}/v3"
        urls = [f"--bootstrap-{each}-url={url}" for each in ("public", "internal", "admin")]
        for words in (
            ["db_sync"],
            ["fernet_setup", *owner],
            ["credential_setup", *owner],
            ["bootstrap", "--bootstrap-password", PASSWORD, *urls],
        ):
            subprocess.run([*manage, *words], check=True, capture_output=True)
        self._start("memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", str(cache))
        # Keystone reads the arguments of whoever loads it: gunicorn gets none.
        server = self.folder / "gunicorn.conf.py"
        server.write_text(_SERVER.format(port=self.port))
        self._start(
            str(self.bin / "gunicorn"),
            OS_KEYSTONE_CONFIG_DIR=str(self.folder),
            GUNICORN_CMD_ARGS=f"--config {server}",
        )
        self._wait(f"{url}/")

    def down(self) -> None:
        """End its processes, remove its folder."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(30)
        shutil.rmtree(self.folder)

    def login(self) -> str:
        """A token of the administrator, kept for the requests that follow."""
        self.token = log_in_as_admin(self, "/v3")
        return self.token

    def cpu_seconds(self) -> float:
        """CPU used so far by all its processes, the cache's among them."""
        total = 0.0
        for started in self._processes:
            main = psutil.Process(started.pid)
            for process in (main, *main.children(recursive=True)):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def _start(self, *words: str, **environment: str) -> None:
        with (self.folder / "output").open("ab") as output:
            self._processes.append(
                subprocess.Popen(words, stdout=output, stderr=output, env=os.environ | environment)
            )

    def _wait(self, url: str) -> None:
        end = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(url, timeout=10):
                    return
            except (urllib.error.URLError, TimeoutError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
