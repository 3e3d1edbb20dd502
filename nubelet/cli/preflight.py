"""What this machine lacks, named before anything is changed.

Each need says what is missing and how to mend it. The checks leave nothing behind and take about a
tenth of a second. With the fake drivers only folder, memory and port count.

Read next: `kernel_features.py`, how the kernel is asked; `nubelet/accelerator.py`, the probe of
KVM; `up.py`, which asks before it starts a cloud.
"""

from __future__ import annotations

import errno
import importlib
import ipaddress
import os
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from glob import glob
from pathlib import Path
from typing import Literal

from nubelet.accelerator import Accelerator
from nubelet.accelerator import accelerator as probe_accelerator
from nubelet.cli.kernel_features import SEARCH_PATH, Need, kernel_needs
from nubelet.settings import Settings

_MIB = 1024 * 1024

# Program -> the Debian package it comes from.
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "ip": "iproute2",
    "nft": "nftables",
    "conntrack": "conntrack",
    "dnsmasq": "dnsmasq-base",
    "genisoimage": "genisoimage",
    "sysctl": "procps",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "prlimit": "util-linux",
}

# Where distributions put it: Debian with the machine's name in between, others without.
QEMU_DRIVERS = tuple(
    f"/usr/{folder}/libvirt/connection-driver/libvirt_driver_qemu.so"
    for folder in ("lib/*", "lib", "lib64")
)

# Room for the processes, the database and one small guest; for the fake drivers, no guest.
MEMORY_MIB = {"real": 768, "fake": 256}
DISK_MIB = {"real": 2048, "fake": 128}


def check(settings: Settings, fake: bool) -> list[Need]:
    """Everything that keeps a cloud with these settings from running here; empty when nothing.

    `fake`: guests and networks are pretended, which needs neither root nor QEMU.
    """
    kind: Literal["real", "fake"] = "fake" if fake else "real"
    needs = [
        *_state_dir_needs(settings.state_dir, DISK_MIB[kind]),
        *_memory_needs(MEMORY_MIB[kind]),
    ]
    needs += _port_needs(settings.http.host, settings.http.port)
    if fake:
        return needs
    absent = _absent_programs(PROGRAMS)
    for program in sorted(absent):
        package = PROGRAMS[program]
        needs.append(Need(f"the program {program} is missing", f"apt-get install {package}"))
    needs += _libvirt_needs()
    if os.geteuid() != 0:
        # Without root no namespace can be made, and nothing could be said of the kernel.
        needs.append(Need("real guests and networks need root", "use sudo, or `nubelet up --fake`"))
    elif not absent & {"unshare", "ip", "nft"}:
        needs += kernel_needs()
    return needs


def accelerator(wanted: Literal["auto", "kvm", "tcg"] = "auto") -> Accelerator:
    """How guests would run here, and why; see `nubelet.accelerator`."""
    return probe_accelerator(wanted)


# --- folder, memory, port ---------------------------------------------------------------------


def _state_dir_needs(state_dir: Path, room_mib: int) -> Iterator[Need]:
    existing = state_dir
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        yield Need(f"{existing} is not a folder", "choose another one with --state-dir")
        return
    if not os.access(existing, os.W_OK | os.X_OK):
        yield Need(
            f"the state folder {state_dir} cannot be written by this user",
            f"choose another one with --state-dir, or change the rights of {existing}",
        )
    free_mib = shutil.disk_usage(existing).free // _MIB
    if free_mib < room_mib:
        yield Need(
            f"{free_mib} MiB are free in {existing}, {room_mib} MiB are needed",
            "make room, or choose another folder with --state-dir",
        )


def _memory_needs(room_mib: int) -> Iterator[Need]:
    available_mib = _available_memory_mib()
    if available_mib < room_mib:
        yield Need(
            f"{available_mib} MiB of memory are available, {room_mib} MiB are needed",
            "stop other programs, or use a larger machine",
        )


def _available_memory_mib() -> int:
    import psutil

    return int(psutil.virtual_memory().available) // _MIB


def _port_needs(host: str, port: int) -> Iterator[Need]:
    """Try to listen as the server will, on the address and port of the settings."""
    family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1)
        except OSError as error:
            yield _port_need(error, host, port)


def _port_need(error: OSError, host: str, port: int) -> Need:
    if error.errno == errno.EADDRINUSE:
        holder = _listener_on(port)
        return Need(f"port {port} is used already{holder}", "choose another one with --port")
    if error.errno == errno.EADDRNOTAVAIL:
        return Need(f"{host} is not an address of this machine", "set http.host to one that is")
    if error.errno == errno.EACCES:
        return Need(f"port {port} may be used by root only", "choose one above 1023 with --port")
    return Need(f"{host} port {port} cannot be used", error.strerror or str(error))


def _listener_on(port: int) -> str:
    """Who listens there, as far as this user may know: ` by nginx (process 7)`."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                name = psutil.Process(connection.pid).name()
                return f" by {name} (process {connection.pid})"
    except psutil.Error:
        pass  # the name is a courtesy; that the port is taken is known without it
    return ""


# --- programs and libraries -------------------------------------------------------------------


def _absent_programs(programs: Iterable[str]) -> set[str]:
    path = os.environ.get("PATH", "") + os.pathsep + SEARCH_PATH
    return {program for program in programs if shutil.which(program, path=path) is None}


def _libvirt_needs(
    load: Callable[[str], object] = importlib.import_module,
    drivers: tuple[str, ...] = QEMU_DRIVERS,
) -> Iterator[Need]:
    """The binding loads, is not newer than the library, and the QEMU driver is installed."""
    if not any(glob(pattern) for pattern in drivers):
        yield Need(
            "libvirt's QEMU driver is missing",
            "apt-get install libvirt-daemon libvirt-daemon-driver-qemu",
        )
        return
    if os.path.exists("/etc/debian_version") and not _user_exists("libvirt-qemu"):
        yield Need(
            "the system user libvirt-qemu is missing, which Debian's libvirt looks up",
            "useradd --system --user-group --no-create-home libvirt-qemu",
        )
    try:
        library = load("libvirt").getVersion()  # type: ignore[attr-defined]
    except ImportError as error:
        yield Need(
            f"the Python module libvirt cannot be loaded ({error})",
            'apt-get install libvirt-dev pkg-config gcc; pip install "libvirt-python=='
            '$(pkg-config --modversion libvirt)"',
        )
        return
    binding = _binding_version()
    if binding > library:
        installed = _version_text(library)
        yield Need(
            f"the Python module libvirt {_version_text(binding)} is newer than the libvirt"
            f" {installed} of this machine",
            f"pip install libvirt-python=={installed}",
        )


def _user_exists(name: str) -> bool:
    import pwd

    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _binding_version() -> int:
    """The version of libvirt-python as libvirt counts (9.0.0 is 9000000); 0 when not known."""
    from importlib import metadata

    try:
        parts = [int(part) for part in metadata.version("libvirt-python").split(".")[:3]]
    except (metadata.PackageNotFoundError, ValueError):
        return 0  # the distribution's own package fits by construction
    return sum(part * scale for part, scale in zip(parts, (1000000, 1000, 1), strict=False))


def _version_text(number: int) -> str:
    return f"{number // 1000000}.{number // 1000 % 1000}.{number % 1000}"
