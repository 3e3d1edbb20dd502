"""A Ceph cluster of one monitor, one manager and one OSD in a folder, from Debian's packages.

It listens on loopback, on ports of its own, needs root, and is ready after about 15 s. Tests that
need it are skipped where the packages ceph-mon, ceph-mgr and ceph-osd are absent.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.serving import free_port

POOL = "images"
PROGRAMS = ("ceph-mon", "ceph-mgr", "ceph-osd", "ceph", "monmaptool", "ceph-authtool")
READY_SECONDS = 240


def absent() -> str:
    """Why there can be no cluster here, or empty."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (packages ceph-mon, ceph-mgr, ceph-osd)"
    return "" if os.geteuid() == 0 else "a cluster needs root"


@contextmanager
def running(folder: Path) -> Iterator[Path]:
    """The configuration file of a cluster with a pool for images."""
    cluster = _Cluster(folder)
    try:
        cluster.start()
        yield cluster.config
    finally:
        cluster.stop()


class _Cluster:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.config = folder / "ceph.conf"
        self._keyring = folder / "keyring"
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        fsid, address = str(uuid.uuid4()), f"127.0.0.1:{free_port()}"
        for name in ("mon", "mgr", "osd", "log"):
            (self._folder / name).mkdir()
        self.config.write_text(_CONFIG.format(fsid=fsid, address=address, folder=self._folder))
        self._make_keys()
        monmap = self._folder / "monmap"
        _run("monmaptool", "--create", "--addv", "a", f"[v2:{address}]", "--fsid", fsid, monmap)
        self._mon("--mkfs", "--monmap", monmap, "--keyring", self._keyring)
        self._daemon("ceph-mon", "-i", "a")
        self._ceph("osd", "crush", "tunables", "optimal")
        self._daemon("ceph-mgr", "-i", "a")
        self._start_osd()
        self._ceph("osd", "pool", "create", POOL, "8")
        self._ceph("osd", "pool", "application", "enable", POOL, "rbd")
        self._wait_for_pool()

    def stop(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()

    def _make_keys(self) -> None:
        caps = {
            "mon.": ("mon", "allow *"),
            "client.admin": ("mon", "allow *", "mgr", "allow *", "osd", "allow *"),
            "mgr.a": ("mon", "allow profile mgr", "osd", "allow *"),
        }
        _run("ceph-authtool", "--create-keyring", self._keyring)
        for name, words in caps.items():
            pairs = [each for pair in zip(words[::2], words[1::2], strict=True) for each in pair]
            arguments: list[str] = []
            for kind, allowed in zip(pairs[::2], pairs[1::2], strict=True):
                arguments += ["--cap", kind, allowed]
            _run("ceph-authtool", self._keyring, "--gen-key", "-n", name, *arguments)

    def _start_osd(self) -> None:
        identifier = str(uuid.uuid4())
        number = self._ceph("osd", "new", identifier).strip()
        key = self._ceph(
            "auth", "get-or-create", f"osd.{number}", "mon", "allow profile osd", "mgr",
            "allow profile osd", "osd", "allow *",
        )  # fmt: skip
        (self._folder / "osd" / "keyring").write_text(key)
        with (self._folder / "osd" / "block").open("wb") as file:
            file.truncate(4 << 30)
        common = ["-i", number, "-c", self.config]
        _run("ceph-osd", *common, "--mkfs", "--osd-uuid", identifier)
        self._daemon("ceph-osd", "-i", number)

    def _wait_for_pool(self) -> None:
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            if "active+clean" in self._ceph("pg", "stat"):
                return
            time.sleep(0.5)
        raise TimeoutError(f"the cluster is not ready: {self._ceph('status')}")

    def _mon(self, *words: str | Path) -> None:
        _run("ceph-mon", "-i", "a", "-c", self.config, *words)

    def _daemon(self, *words: str) -> None:
        log = (self._folder / "log" / f"{words[0]}.out").open("wb")
        self._daemons.append(
            subprocess.Popen(
                [*words, "-f", "-c", str(self.config)], stdout=log, stderr=subprocess.STDOUT
            )
        )

    def _ceph(self, *words: str) -> str:
        return _run(
            "ceph", "-c", self.config, "-k", self._keyring, "--connect-timeout", "120", *words
        )


def _run(*words: str | Path) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr or done.stdout}")
    return done.stdout


_CONFIG = """[global]
fsid = {fsid}
mon host = [v2:{address}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {folder}/keyring
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/log/$name.log
pid file =
crash dir = {folder}
[mon.a]
host = localhost
mon data = {folder}/mon
mon addr = [v2:{address}]
[mgr]
mgr data = {folder}/mgr
mgr initial modules =
[osd]
osd data = {folder}/osd
keyring = {folder}/osd/keyring
osd objectstore = bluestore
bluestore block size = 4294967296
bluestore fsck on mount = false
osd memory target = 939524096
bluestore cache size = 67108864
"""
