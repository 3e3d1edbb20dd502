"""Build the guest image: `python -m nubelet.guest.build --output DIR`.

From package files to five artefacts, without root, mounts, loop devices or a compiler:
resolve packages -> content key -> (nothing to do, or) fetch -> unpack -> two trees -> initrd, live
system, ext4 root -> boot partition -> disk -> manifest. Next to read: system.py, then disk.py.
"""

import argparse
import fcntl
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from nubelet.guest import disk
from nubelet.guest.artefacts import (
    FILE_NAMES,
    GuestBuildError,
    GuestImage,
    describe,
    read_manifest,
    write_manifest,
)
from nubelet.guest.folders import cache_dir, image_dir
from nubelet.guest.modules import ModuleCollection
from nubelet.guest.packages import Archive, Package, unpack
from nubelet.guest.system import (
    KERNEL_COMMAND_LINE,
    ROOT_LABEL,
    fill_in,
    initrd_tree,
    overlay,
    overlay_files,
    root_tree,
)
from nubelet.guest.tree import to_initramfs

_MIB = 1024 * 1024
_ROOT_BYTES = 28 * _MIB

Progress = Callable[[str], None]


def build(
    output_dir: Path, cache_dir: Path, progress: Progress = lambda message: None
) -> GuestImage:
    """Make the guest image in `output_dir`, or find that it is there already and current.

    `cache_dir` keeps the downloaded packages between builds. `progress` is told each step in a few
    words. Two builds of one folder wait for each other. Raises `GuestBuildError`, naming the
    package to install or the command that failed.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    with _locked(output_dir):
        return _build(output_dir, cache_dir, progress)


def _build(output_dir: Path, cache_dir: Path, progress: Progress) -> GuestImage:
    present = read_manifest(output_dir)
    archive = Archive(cache_dir)
    try:
        packages = archive.resolve()
    except GuestBuildError as error:
        # A machine that is offline keeps the image it has, unless the image's own files changed.
        if present is None or present.content_key.split("-")[0] != _overlay_key():
            raise
        progress(f"keeping the guest image: package versions unknown ({error})")
        return present
    key = content_key(packages)
    if present is not None and present.content_key == key:
        progress("guest image is current")
        return present
    if missing := disk.missing_packages():
        raise GuestBuildError(f"programs are missing, install: apt-get install {' '.join(missing)}")
    progress(f"fetching {len(packages)} packages")
    try:
        package_files = archive.fetch(packages)
    except GuestBuildError as error:
        progress(f"fetching fresh package lists ({error})")
        packages = archive.refresh()
        key = content_key(packages)
        package_files = archive.fetch(packages)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=output_dir) as work:
        image = _assemble(package_files, Path(work), output_dir, key, progress)
    write_manifest(image, output_dir)
    progress(f"guest image ready, disk {image.disk.size_bytes / 1e6:.1f} MB")
    return image


def _assemble(
    package_files: Sequence[Path], work: Path, output_dir: Path, key: str, progress: Progress
) -> GuestImage:
    progress("unpacking packages")
    unpacked = work / "unpacked"
    for package_file in package_files:
        unpack(package_file, unpacked)
    modules = ModuleCollection(next((unpacked / "lib/modules").iterdir()))
    kernel = (unpacked / f"boot/vmlinuz-{modules.release}").read_bytes()
    progress(f"composing the root file system, kernel {modules.release}")
    root = root_tree(unpacked, modules)
    initrd = to_initramfs(initrd_tree(unpacked, modules))
    (work / FILE_NAMES["kernel"]).write_bytes(kernel)
    (work / FILE_NAMES["initrd"]).write_bytes(initrd)
    (work / FILE_NAMES["live"]).write_bytes(to_initramfs(root))
    disk.make_ext4(root, work / FILE_NAMES["rootfs"], work, _ROOT_BYTES)
    progress("writing the disk image")
    _make_disk(work, kernel, initrd)
    for name in FILE_NAMES.values():
        # Renamed, never written in place: a running guest may have the old file open.
        (work / name).chmod(0o644)
        (work / name).replace(output_dir / name)
    return GuestImage(
        content_key=key,
        kernel_release=modules.release,
        kernel_command_line=KERNEL_COMMAND_LINE,
        root_label=ROOT_LABEL,
        **{role: describe(output_dir / name) for role, name in FILE_NAMES.items()},
    )


def _make_disk(work: Path, kernel: bytes, initrd: bytes) -> None:
    boot_dir = work / "boot"
    boot_dir.mkdir()
    contents = {
        "vmlinuz": kernel,
        "initrd.img": initrd,
        "syslinux.cfg": fill_in((overlay() / "boot" / "syslinux.cfg").read_bytes()),
    }
    room = sum(len(content) for content in contents.values()) + 2 * _MIB
    size = -(-room // _MIB) * _MIB
    disk.make_boot_partition(contents, work / "boot.fat", boot_dir, size)
    disk.join_disk(work / "boot.fat", work / FILE_NAMES["rootfs"], work / "disk.raw")
    disk.compress_disk(work / "disk.raw", work / FILE_NAMES["disk"])


def content_key(packages: Sequence[Package]) -> str:
    """Return a hash of all that goes into the image: this folder's files and the packages."""
    digest = hashlib.sha256(_overlay_key().encode())
    for package in packages:
        digest.update(f"{package.file_name} {package.digest}\n".encode())
    return f"{_overlay_key()}-{digest.hexdigest()[:32]}"


def _overlay_key() -> str:
    digest = hashlib.sha256()
    sources = {
        item.name: item.read_bytes()
        for item in files("nubelet.guest").iterdir()
        if item.name.endswith(".py")
    }
    for path, content in sorted({**sources, **overlay_files(overlay(), "overlay/")}.items()):
        digest.update(f"{path} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:32]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="nubelet.guest.build", description="Build the guest image."
    )
    parser.add_argument(
        "--output", type=Path, default=image_dir(), help="folder for the image files"
    )
    parser.add_argument("--cache", type=Path, default=cache_dir(), help="folder for package files")
    parser.add_argument("--force", action="store_true", help="build even when nothing changed")
    options = parser.parse_args(arguments)
    if options.force:
        (options.output / "manifest.json").unlink(missing_ok=True)
    begin = time.monotonic()
    try:
        image = build(
            options.output.resolve(),
            options.cache.resolve(),
            lambda message: _say(f"{time.monotonic() - begin:6.1f} s  {message}"),
        )
    except GuestBuildError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for role in FILE_NAMES:
        artefact = getattr(image, role)
        _say(f"{artefact.size_bytes / 1e6:8.2f} MB  {artefact.sha256}  {artefact.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
