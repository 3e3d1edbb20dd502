"""What is in the guest: files picked from packages, the overlay, folders, drivers.

Two trees come out: the initrd (a shell and disk drivers) and the root file system. The root has one
folder for programs and one for libraries (`/bin`, `/sbin`, `/lib` are links), as Debian has them.
Next to read: overlay/root/etc/inittab, the list of what runs in the guest.
"""

import subprocess
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from nubelet.guest.artefacts import GuestBuildError
from nubelet.guest.elf import needed_libraries
from nubelet.guest.modules import DISK_DRIVERS, OTHER_DRIVERS, ModuleCollection
from nubelet.guest.tree import Tree

ROOT_LABEL = "nubelet-root"
IMAGE_VERSION = "1"

KERNEL_COMMAND_LINE = (
    "console=tty0 console=ttyS0,115200 quiet mitigations=off random.trust_cpu=on no_timer_check "
    "net.ifnames=0 audit=0 panic=5"
)
"""`no_timer_check`: without it a guest on an overloaded emulating host dies in the timer self test.
`mitigations=off`, `audit=0`: nothing secret to keep apart in a test guest, and both cost boot time.
`net.ifnames=0` keeps eth0, `panic=5` makes a crash visible as a reboot."""

_PROGRAMS = {
    "usr/sbin/dropbear": "dropbear",
    "usr/bin/dropbearkey": "dropbearkey",
    "usr/bin/dbclient": "dbclient",
    "usr/bin/scp": "scp",
    "sbin/mke2fs": "mkfs.ext4",
    "sbin/resize2fs": "resize2fs",
    "sbin/e2fsck": "e2fsck",
    "sbin/blkid": "blkid",
}
"""Programs from packages, and their names in the guest's /usr/bin."""

_LINKS = {
    "bin": "usr/bin",
    "sbin": "usr/bin",
    "lib": "usr/lib",
    "lib64": "usr/lib",
    "usr/sbin": "bin",
    "usr/lib64": "lib",
    "init": "usr/bin/init",
    "linuxrc": "usr/bin/init",
    "var/run": "../run",
    "var/lock": "../run",
    "etc/mtab": "../proc/mounts",
    "usr/bin/mkfs.ext2": "mkfs.ext4",
    "usr/bin/mkfs.ext3": "mkfs.ext4",
    "usr/bin/fsck.ext4": "e2fsck",
    "usr/bin/ssh": "dbclient",
    "usr/lib/sftp-server": "openssh/sftp-server",
}

_FOLDERS = {
    "dev": 0o755,
    "proc": 0o555,
    "sys": 0o555,
    "run": 0o755,
    "mnt": 0o755,
    "media": 0o755,
    "tmp": 0o1777,
    "root": 0o700,
    "etc/dropbear": 0o700,
    "var/lib/guest": 0o755,
    "var/log": 0o755,
    "var/tmp": 0o1777,
}

_CIRROS_ID = 1000
_SECRET_FILES = {"etc/shadow": 0o600}
_LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64")


def overlay() -> Traversable:
    """The folder of the guest's own files, wherever the package is installed."""
    return files("nubelet.guest") / "overlay"


def overlay_files(folder: Traversable, prefix: str = "") -> dict[str, bytes]:
    """Return path and content of every file below `folder`, in order of path."""
    found: dict[str, bytes] = {}
    for item in sorted(folder.iterdir(), key=lambda entry: entry.name):
        path = f"{prefix}{item.name}"
        if item.is_dir():
            found.update(overlay_files(item, f"{path}/"))
        else:
            found[path] = item.read_bytes()
    return found


def fill_in(content: bytes) -> bytes:
    """Replace the @NAME@ marks of an overlay file."""
    values = {
        "ROOT_LABEL": ROOT_LABEL,
        "COMMAND_LINE": KERNEL_COMMAND_LINE,
        "VERSION": IMAGE_VERSION,
    }
    for name, value in values.items():
        content = content.replace(f"@{name}@".encode(), value.encode())
    return content


def initrd_tree(unpacked: Path, modules: ModuleCollection) -> Tree:
    """The RAM file system that finds the root disk: busybox, disk drivers and one script."""
    tree = Tree()
    for folder in ("proc", "sys", "dev", "root", "etc"):
        tree.add_folder(folder)
    tree.add_file("bin/busybox", (unpacked / "bin/busybox").read_bytes(), 0o755)
    tree.add_link("bin/sh", "busybox")
    # The kernel calls this path by itself when it misses a driver.
    tree.add_link("sbin/modprobe", "../bin/busybox")
    tree.add_link("lib", "usr/lib")
    modules.add_to(tree, DISK_DRIVERS)
    for path, content in overlay_files(overlay() / "initrd").items():
        tree.add_file(path, fill_in(content), 0o755)
    return tree


def root_tree(unpacked: Path, modules: ModuleCollection) -> Tree:
    """The root file system."""
    tree = Tree()
    for path, permissions in _FOLDERS.items():
        tree.add_folder(path, permissions)
    tree.add_folder("home/cirros", 0o755, _CIRROS_ID)
    _add_busybox(tree, unpacked / "bin/busybox")
    for source, name in _PROGRAMS.items():
        tree.add_file(f"usr/bin/{name}", _read(unpacked, source), 0o755)
    tree.add_file(
        "usr/lib/openssh/sftp-server", _read(unpacked, "usr/lib/openssh/sftp-server"), 0o755
    )
    _add_libraries(tree, unpacked)
    for path, target in _LINKS.items():
        tree.add_link(path, target)
    modules.add_to(tree, (*DISK_DRIVERS, *OTHER_DRIVERS))
    for path, content in overlay_files(overlay() / "root").items():
        # Wheels do not keep the executable bit for certain: a script is what starts like one.
        permissions = _SECRET_FILES.get(path, 0o755 if content.startswith(b"#!") else 0o644)
        tree.add_file(path, fill_in(content), permissions)
    return tree


def _read(unpacked: Path, path: str) -> bytes:
    try:
        return (unpacked / path).read_bytes()
    except OSError as error:
        raise GuestBuildError(f"no package brought {path}") from error


def _add_busybox(tree: Tree, busybox: Path) -> None:
    """Add the program and a link per applet.

    Set user id, because ping and su need root and busybox gives the right back for all other
    applets; a second copy for those would never run: the shell prefers applets of its own file.
    """
    listed = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, check=True)
    tree.add_file("usr/bin/busybox", busybox.read_bytes(), 0o4755)
    for applet in listed.stdout.split():
        if applet not in ("busybox", "dpkg", "dpkg-deb", "rpm", "mke2fs", "linuxrc"):
            tree.add_link(f"usr/bin/{applet}", "busybox")
    tree.add_link("usr/bin/mke2fs", "mkfs.ext4")


def _add_libraries(tree: Tree, unpacked: Path) -> None:
    """Add the loader and every library some program of the tree needs, and what those need."""
    waiting = [entry.content for _, entry in tree if entry.content.startswith(b"\x7fELF")]
    while waiting:
        for name in needed_libraries(waiting.pop()):
            path = f"usr/lib/{name}"
            if path in tree:
                continue
            content = _find_library(unpacked, name)
            tree.add_file(path, content, 0o755)
            waiting.append(content)


def _find_library(unpacked: Path, name: str) -> bytes:
    for folder in _LIBRARY_FOLDERS:
        path = unpacked / folder / name
        if path.exists():
            return path.read_bytes()
    raise GuestBuildError(f"no package brought the library {name}")
