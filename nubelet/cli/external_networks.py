"""Which cloud of this machine has which external network, so that clouds live side by side.

    /var/lib/nubelet-external-networks/172.24.4.0_24    leads to the cloud's state folder

A cloud takes its network when its settings are first written, long before the first port gives the
machine an address of it, and keeps it over a reboot. A link that leads to no folder any more counts
for nothing. Who may not write there (no root: no real networks) only looks.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

TAKEN = Path("/var/lib/nubelet-external-networks")
# Anybody of this machine may hold the lock: whoever does so for long is not waited for.
_PATIENCE_SECONDS = 30.0


@contextlib.contextmanager
def claim(state_dir: Path) -> Iterator[str]:
    """A network that no other cloud and nothing else of this machine has: 172.24.4.0/24 unless
    that is taken. It belongs to the cloud unless the block raises. Raises ClickException where
    none is left."""
    with _alone():
        _forget(lambda folder: _is_gone(folder) or folder == state_dir.absolute())
        network = _free()
        _link(network, state_dir)
        try:
            yield str(network)
        except BaseException:
            _forget(lambda folder: folder == state_dir.absolute())
            raise


def keep(state_dir: Path, network: str) -> None:
    """The cloud has that network: by its settings, or from before such notes were taken."""
    with _alone():
        _forget(_is_gone)
        _link(ipaddress.IPv4Network(network), state_dir)


def release(state_dir: Path) -> None:
    """The cloud is gone: others may have its network."""
    with _alone():
        _forget(lambda folder: folder == state_dir.absolute())


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """No other command of this machine is in here."""
    try:
        folder = os.open(TAKEN.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield
        return
    until = time.monotonic() + _PATIENCE_SECONDS
    try:
        while time.monotonic() < until:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.02)
        yield
    finally:
        os.close(folder)


def _link(network: ipaddress.IPv4Network, state_dir: Path) -> None:
    with contextlib.suppress(OSError):  # no root, or another cloud has it already
        TAKEN.mkdir(exist_ok=True)
        (TAKEN / str(network).replace("/", "_")).symlink_to(state_dir.absolute())


def _links() -> list[Path]:
    try:
        return sorted(TAKEN.iterdir())
    except OSError:
        return []


def _is_gone(folder: Path) -> bool:
    try:
        return not folder.is_dir()
    except PermissionError:  # somebody else's
        return False


def _forget(is_over: Callable[[Path], bool]) -> None:
    for link in _links():
        with contextlib.suppress(OSError):
            if is_over(link.readlink()):
                link.unlink()
    with contextlib.suppress(OSError):  # it is not there, or others are in it
        TAKEN.rmdir()


def _free() -> ipaddress.IPv4Network:
    import psutil

    taken = [
        f"{address.address}/{address.netmask}"
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and address.netmask
    ]
    taken += [link.name.replace("_", "/") for link in _links()]
    others = [ipaddress.ip_network(each, strict=False) for each in taken]
    for third in range(4, 256):
        candidate = ipaddress.IPv4Network(f"172.24.{third}.0/24")
        if not any(candidate.overlaps(other) for other in others):
            return candidate
    raise click.ClickException(
        "every network of 172.24.0.0/16 is in use on this machine: name a "
        "free one in NUBELET_NETWORK_EXTERNAL_CIDR"
    )
