"""Network namespaces by name: create, enter, list, remove.

A namespace is a per-thread property in Linux, so creating one needs a thread that is thrown away
afterwards; entering one is for the thread of `netlink.py` only. The names are bind mounts under
/run/netns, the convention of `ip netns`, so that operators may look inside with `ip`.

In OpenStack: neutron/privileged/agent/linux/ip_lib.py. Kernel: namespaces(7), setns(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import threading
from pathlib import Path

from nubelet.node.errors import COMMAND_FAILED, HostError

DIRECTORY = Path("/run/netns")

_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED, _MNT_DETACH = 0x1000, 0x4000, 1 << 20, 2
_libc = ctypes.CDLL(None, use_errno=True)


def exists(name: str) -> bool:
    """Whether a namespace of that name can be entered."""
    return identity(name) is not None


def identity(name: str) -> int | None:
    """The namespace's inode: another one behind the same name is another namespace."""
    try:
        status = (DIRECTORY / name).stat()
    except OSError:
        return None
    # A name whose mount is gone (after a reboot with a kept /run, or a crash between creating
    # the file and mounting on it) is a plain file on the tmpfs.
    return status.st_ino if status.st_dev == _nsfs_device() else None


def listing(prefix: str) -> list[str]:
    """Names of namespaces that begin with `prefix`, also such as cannot be entered any more."""
    if not DIRECTORY.is_dir():
        return []
    return sorted(entry.name for entry in DIRECTORY.iterdir() if entry.name.startswith(prefix))


def create(name: str) -> bool:
    """Make a namespace; False when it is there already."""
    if exists(name):
        return False
    remove(name)  # a dead name
    fault: list[BaseException] = []
    thread = threading.Thread(target=_create, args=(name, fault), name="new-namespace")
    thread.start()
    thread.join()
    if fault:
        remove(name)
        raise HostError(
            COMMAND_FAILED, f"network namespace {name} could not be made: {fault[0]}"
        ) from fault[0]
    return True


def remove(name: str) -> bool:
    """Take the name away; the kernel ends the namespace with its last process or socket."""
    path = DIRECTORY / name
    if not path.exists():
        return False
    _libc.umount2(os.fsencode(path), _MNT_DETACH)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return True


def enter(descriptor: int) -> None:
    """Move the calling thread into the namespace behind an open descriptor."""
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise _last_error("setns")


def open_home() -> int:
    """A descriptor of the process's own namespace, whichever one the calling thread is in."""
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def open_named(name: str) -> int:
    """A descriptor of a named namespace; the caller closes it."""
    try:
        return os.open(DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise HostError(COMMAND_FAILED, f"network namespace {name} does not exist") from None


def _create(name: str, fault: list[BaseException]) -> None:
    try:
        _share_directory()
        path = DIRECTORY / name
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        if _libc.unshare(_CLONE_NEWNET) != 0:
            raise _last_error("unshare")
        _mount(b"/proc/thread-self/ns/net", os.fsencode(path), _MS_BIND)
    except BaseException as error:
        fault.append(error)


def _share_directory() -> None:
    """Mounts below /run/netns shall be seen from other mount namespaces, and so be removable."""
    DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
    directory = os.fsencode(DIRECTORY)
    try:
        _mount(b"", directory, _MS_SHARED | _MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _mount(directory, directory, _MS_BIND | _MS_REC)
        _mount(b"", directory, _MS_SHARED | _MS_REC)


def _mount(source: bytes, target: bytes, flags: int) -> None:
    if _libc.mount(source, target, b"none", ctypes.c_ulong(flags), None) != 0:
        raise _last_error("mount")


def _nsfs_device() -> int:
    return os.stat("/proc/self/ns/net").st_dev


def _last_error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
