"""File systems and disks made without mounting anything: ext4, FAT with a boot loader, MBR, qcow2.

Works without root: mke2fs copies files as the builder owns them, and debugfs sets owners and times
afterwards. Next to read: build.py.
"""

import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nubelet.guest.artefacts import GuestBuildError
from nubelet.guest.system import ROOT_LABEL
from nubelet.guest.tree import TIMESTAMP_SECONDS, Tree

_SECTOR_BYTES = 512
_MIB = 1024 * 1024
_ROOT_UUID = "6e75622d-726f-4f74-8673-000000000001"
_DISK_SIGNATURE = 0x6E75626C
_FAT_SERIAL = "4E55424C"
_MBR_CODE = Path("/usr/lib/syslinux/mbr/mbr.bin")

REQUIRED_PROGRAMS = {
    "apt-get": "apt",
    "debugfs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "mcopy": "mtools",
    "mformat": "mtools",
    "mke2fs": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "syslinux": "syslinux",
}
"""Programs of the build machine, and the Debian package each comes from."""


def missing_packages() -> list[str]:
    """Return the Debian packages to install before a build can work."""
    found = {package for program, package in REQUIRED_PROGRAMS.items() if _program(program) is None}
    if not _MBR_CODE.exists():
        found.add("syslinux-common")
    return sorted(found)


def make_ext4(tree: Tree, path: Path, work_dir: Path, size_bytes: int) -> None:
    """Write the tree as an ext4 file system of `size_bytes` to `path`.

    A journal and 4 KiB blocks are needed for the growth in the guest: without a journal a hard
    reset damages the group descriptors, with smaller blocks the kernel does not resize online.
    Room for the descriptors of 2 TiB is reserved.
    """
    staging = work_dir / "ext4"
    staging.mkdir()
    for name, entry in tree:
        target = staging / name
        if entry.is_folder:
            target.mkdir()
        elif entry.is_link:
            target.symlink_to(entry.content.decode())
        else:
            target.write_bytes(entry.content)
            target.chmod(entry.mode & 0o7777)
    options = f"resize={2 * 1024**4 // 4096},lazy_itable_init=1"
    _run(
        [
            "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-i", "16384", "-m", "1",
            "-O", "^64bit,^metadata_csum,uninit_bg", "-J", "size=4", "-L", ROOT_LABEL,
            "-U", _ROOT_UUID, "-E", f"{options},hash_seed={_ROOT_UUID},root_owner=0:0",
            "-d", str(staging), str(path), f"{size_bytes // 1024}k",
        ]
    )  # fmt: skip
    _set_owners(tree, path, work_dir)
    shutil.rmtree(staging)


def _set_owners(tree: Tree, path: Path, work_dir: Path) -> None:
    lines: list[str] = []
    for name, entry in [("", None), ("lost+found", None), *tree]:
        times = ("atime", "ctime", "mtime", "crtime")
        fields = dict.fromkeys(times, f"@{TIMESTAMP_SECONDS}")
        fields |= {f"{field}_extra": "0" for field in times}
        if entry is not None:
            fields |= {
                "uid": str(entry.user_id),
                "gid": str(entry.group_id),
                "mode": f"0{entry.mode:o}",
            }
        lines.extend(f'sif "/{name}" {field} {value}\n' for field, value in fields.items())
    superblock = ("mkfs_time", "wtime", "lastcheck")
    lines.extend(f"ssv {field} @{TIMESTAMP_SECONDS}\n" for field in superblock)
    script = work_dir / "debugfs.script"
    script.write_text("".join(lines), encoding="utf-8")
    _run(["debugfs", "-w", "-f", str(script), str(path)])


def make_boot_partition(
    contents: dict[str, bytes], path: Path, work_dir: Path, size_bytes: int
) -> None:
    """Write a FAT file system with syslinux and the given files to `path`."""
    with path.open("wb") as stream:
        stream.truncate(size_bytes)
    sectors = str(size_bytes // _SECTOR_BYTES)
    # The BIOS reads it through the whole disk: it has to know how many sectors lie before it.
    _run(
        ["mformat", "-i", str(path), "-T", sectors, "-h", "64", "-s", "32",
         "-H", str(_MIB // _SECTOR_BYTES), "-N", _FAT_SERIAL, "-v", "NUBELET", "::"]
    )  # fmt: skip
    _run(["syslinux", "--install", str(path)])
    for name, content in contents.items():
        source = work_dir / name
        source.write_bytes(content)
        os.utime(source, (TIMESTAMP_SECONDS, TIMESTAMP_SECONDS))
        _run(["mcopy", "-m", "-i", str(path), str(source), f"::{name}"])


def join_disk(boot: Path, root: Path, path: Path) -> None:
    """Write a raw disk: MBR, the active boot partition at 1 MiB, the root partition behind it."""
    starts = [_MIB, _MIB + boot.stat().st_size]
    kinds = (0x0E, 0x83)
    table = b""
    for number, part in enumerate((boot, root)):
        first, count = starts[number] // _SECTOR_BYTES, part.stat().st_size // _SECTOR_BYTES
        # The old cylinder numbers are filled with their greatest value: "see the sector numbers".
        beyond = b"\xfe\xff\xff"
        active = b"\x80" if number == 0 else b"\x00"
        table += (
            active + beyond + bytes([kinds[number]]) + beyond + struct.pack("<II", first, count)
        )
    code = _MBR_CODE.read_bytes()[:440].ljust(440, b"\0")
    with path.open("wb") as stream:
        stream.write(
            code + struct.pack("<IH", _DISK_SIGNATURE, 0) + table.ljust(64, b"\0") + b"\x55\xaa"
        )
        for start, part in zip(starts, (boot, root), strict=True):
            stream.seek(start)
            with part.open("rb") as source:
                shutil.copyfileobj(source, stream, _MIB)


def compress_disk(raw: Path, path: Path) -> None:
    """Write the raw disk as a compressed qcow2 image (read by every QEMU since 1.1)."""
    _run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(raw), str(path)])


def _program(name: str) -> str | None:
    """Find a program also where only root's search path looks."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin")


def _run(command: Sequence[str]) -> None:
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "TZ": "UTC",
        "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
        "SOURCE_DATE_EPOCH": str(TIMESTAMP_SECONDS),
        "E2FSPROGS_FAKE_TIME": str(TIMESTAMP_SECONDS),
        "MTOOLS_SKIP_CHECK": "1",
    }
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise GuestBuildError(
            f"{command[0]} failed: {finished.stderr.strip() or finished.stdout.strip()}"
        )
