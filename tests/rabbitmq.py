"""A real RabbitMQ for the tests: Debian's package, private ports, its own port mapper.

Started by the first test that needs it (some seconds), ended with the test process. Where it is
not installed the test is skipped with a message.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import subprocess
import time
from functools import lru_cache
from pathlib import Path

import pytest

from tests.postgresql import own_folder
from tests.serving import free_port

_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"


@lru_cache(maxsize=1)
def server() -> Broker:
    """Start the broker of this test process."""
    if not os.path.exists(_SERVER) or not shutil.which("epmd"):
        pytest.skip("RabbitMQ is not installed (apt install rabbitmq-server)")
    broker = Broker()
    atexit.register(broker.close)
    broker.start()
    return broker


class Broker:
    """One broker; `stop` and `start` make it go away and come back with what it stored."""

    def __init__(self) -> None:
        self.folder = own_folder("nubelet-test-rabbit")
        self.port, distribution, mapper = (free_port() for _ in range(3))
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._process: subprocess.Popen[bytes] | None = None
        Path(self.folder, "plugins").write_text("[].\n")
        Path(self.folder, "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "loopback_users = none\nlog.console = true\nlog.console.level = warning\n"
            "disk_free_limit.absolute = 1MB\n"
        )
        Path(self.folder, ".erlang.cookie").write_text(secrets.token_hex(10))
        Path(self.folder, ".erlang.cookie").chmod(0o400)
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": self.folder,
            "LC_ALL": "C.UTF-8",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": f"{self.folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{self.folder}/log",
            "RABBITMQ_CONFIG_FILE": f"{self.folder}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{self.folder}/plugins",
            "RABBITMQ_PID_FILE": f"{self.folder}/pid",
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
        self._mapper = subprocess.Popen(
            [
                "setpriv",
                "--pdeathsig",
                "KILL",
                "epmd",
                "-port",
                str(mapper),
                "-address",
                "127.0.0.1",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start(self) -> None:
        """Start it and wait until it serves."""
        with open(os.path.join(self.folder, "output"), "ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", _SERVER],
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        until = time.monotonic() + 200
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() > until:
                tail = Path(self.folder, "output").read_text(errors="replace")[-500:]
                self.close()
                pytest.skip(f"RabbitMQ did not start: {tail}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill it, as a crash would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)
            self._process.wait(60)
            self._process = None

    def close(self) -> None:
        """End it for good."""
        self.stop()
        self._mapper.kill()
        self._mapper.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _serves(self) -> bool:
        from kombu import Connection

        try:
            with Connection(self.url, connect_timeout=2) as connection:
                connection.ensure_connection(max_retries=1, timeout=2)
        except Exception:
            return False
        return True
