"""What a build leaves in its output folder, and the manifest that tells whether it is current.

The manifest carries a content key: a hash of everything that goes into the image. A second build
with the same key and unharmed files has nothing to do. Next to read: build.py.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

MANIFEST_NAME = "manifest.json"


class GuestBuildError(Exception):
    """The image could not be built; the message names the cause and the way out."""


@dataclass(frozen=True)
class Artefact:
    """One finished file: where it is, how long it is, what it hashes to (SHA-256, hex)."""

    path: Path
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class GuestImage:
    """A complete build. `kernel_command_line` is what a direct boot of `vmlinuz` should pass."""

    content_key: str
    kernel_release: str
    kernel_command_line: str
    root_label: str
    disk: Artefact
    """qcow2 disk: boots by BIOS; its root file system grows to the size of its disk."""
    kernel: Artefact
    initrd: Artefact
    """Finds and mounts the root file system of a disk."""
    live: Artefact
    """The whole system as an initial RAM file system: the quickest boot, forgets everything."""
    rootfs: Artefact
    """Bare ext4 root file system, for a kernel / ramdisk / disk triple."""


FILE_NAMES = {
    "disk": "disk.qcow2",
    "kernel": "vmlinuz",
    "initrd": "initrd.img",
    "live": "live.img",
    "rootfs": "rootfs.ext4",
}


def describe(path: Path) -> Artefact:
    """Hash and measure one file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Artefact(path=path, sha256=digest, size_bytes=path.stat().st_size)


def write_manifest(image: GuestImage, output_dir: Path) -> None:
    """Write the manifest; only file names go into it, so the folder may be moved."""
    document = asdict(image)
    for role, name in FILE_NAMES.items():
        document[role]["path"] = name
    partial = output_dir / (MANIFEST_NAME + ".part")
    partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    partial.replace(output_dir / MANIFEST_NAME)


def read_manifest(output_dir: Path) -> GuestImage | None:
    """Return the build described in `output_dir`, or None when there is none that is whole.

    Sizes are compared, hashes are not: this is asked at every start and has to be instant.
    """
    try:
        document = json.loads((output_dir / MANIFEST_NAME).read_text(encoding="utf-8"))
        for role, name in FILE_NAMES.items():
            fields = {**document[role], "path": output_dir / name}
            document[role] = Artefact(**fields)
            if document[role].path.stat().st_size != document[role].size_bytes:
                return None
        return GuestImage(**document)
    except (OSError, ValueError, KeyError, TypeError):
        return None
