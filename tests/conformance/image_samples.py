"""Samples of image formats, usable and harmful, with the manifest that Tempest wants of them.

Tempest's tempest.api.image.v2.test_images_formats uploads and imports each of them. Real files are
made by qemu-img; what qemu-img does not make is made here by hand.
"""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

MIB = 1 << 20


class Sample(NamedTuple):
    """name; the file; the disk_format it is declared with; must the image service take it?; is it
    of that format and of no other?"""

    name: str
    filename: str
    format: str
    usable: bool
    unmistakable: bool = True


# name, format of qemu-img, its options, disk_format
_MADE = (
    ("qcow2", "qcow2", "compat=1.1", "qcow2"),
    ("qcow2-old", "qcow2", "compat=0.10", "qcow2"),
    ("qcow2-extended", "qcow2", "extended_l2=on", "qcow2"),
    ("raw", "raw", "", "raw"),
    ("vmdk-sparse", "vmdk", "subformat=monolithicSparse", "vmdk"),
    ("vmdk-stream", "vmdk", "subformat=streamOptimized", "vmdk"),
    ("vhd-dynamic", "vpc", "subformat=dynamic", "vhd"),
    ("vhd-fixed", "vpc", "subformat=fixed", "vhd"),
    ("vhdx", "vhdx", "", "vhdx"),
    ("vdi", "vdi", "", "vdi"),
    ("ploop", "parallels", "", "ploop"),
)


def make(folder: Path, *, unmistakable: bool = False) -> list[Sample]:
    """Write all samples, or only the `unmistakable` ones, and manifest.yaml into a folder."""
    source = folder / "source.raw"
    source.write_bytes(bytes(MIB) + os.urandom(65536) + bytes(2 * MIB - 65536))
    samples = [_convert(source, *row) for row in _MADE]
    samples += [
        _write(folder, "iso", "iso", _iso(), usable=True),
        _write(folder, "gpt", "gpt", _gpt(), usable=True),
        _write(folder, "iso-hybrid", "iso", _iso(_gpt()), usable=True),
        _with_backing_file(folder),
        _with_data_file(folder),
        _flat_vmdk(folder),
        _write(folder, "vmdk-description", "vmdk", _description("/etc/passwd"), usable=False),
        _write(
            folder,
            "qcow2-as-raw",
            "raw",
            (folder / "qcow2").read_bytes(),
            usable=False,
            unmistakable=False,
        ),
        _write(folder, "raw-as-qcow2", "qcow2", os.urandom(MIB), usable=False, unmistakable=False),
    ]
    samples = [sample for sample in samples if sample.unmistakable or not unmistakable]
    lines = ["images:"]
    for sample in samples:
        lines += [
            f"  - name: {sample.name}",
            f"    filename: {sample.filename}",
            f"    format: {sample.format}",
            f"    usable: {str(sample.usable).lower()}",
        ]
    (folder / "manifest.yaml").write_text("\n".join(lines) + "\n")
    return samples


def _qemu_img(*words: str) -> None:
    subprocess.run(["qemu-img", *words], check=True, capture_output=True)


def _convert(source: Path, name: str, qemu_format: str, options: str, disk_format: str) -> Sample:
    target = source.parent / name
    more = ("-o", options) if options else ()
    _qemu_img("convert", "-f", "raw", "-O", qemu_format, *more, str(source), str(target))
    # A fixed VHD is a raw disk with some bytes behind it.
    return Sample(name, name, disk_format, True, name != "vhd-fixed")


def _write(
    folder: Path,
    name: str,
    disk_format: str,
    data: bytes,
    *,
    usable: bool,
    unmistakable: bool = True,
) -> Sample:
    (folder / name).write_bytes(data)
    return Sample(name, name, disk_format, usable, unmistakable)


def _iso(around: bytes = b"") -> bytes:
    data = bytearray(around.ljust(MIB, b"\0"))
    data[0x8000:0x8007] = b"\x01CD001\x01"  # the primary volume descriptor
    data[0x8800:0x8807] = b"\xffCD001\x01"  # the end of the descriptors
    return bytes(data)


def _gpt() -> bytes:
    data = bytearray(MIB)
    data[446:462] = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff" * 3, 1, MIB // 512 - 1)
    data[510:512] = b"\x55\xaa"
    data[512:524] = b"EFI PART\0\0\1\0"
    return bytes(data)


def _with_backing_file(folder: Path) -> Sample:
    name = "qcow2-backing-file"
    _qemu_img("create", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw",
              str(folder / name), "1M")  # fmt: skip
    return Sample(name, name, "qcow2", False)


def _with_data_file(folder: Path) -> Sample:
    name = "qcow2-data-file"
    options = f"data_file={folder}/data,data_file_raw=on"
    _qemu_img("create", "-f", "qcow2", "-o", options, str(folder / name), "1M")
    return Sample(name, name, "qcow2", False)


def _flat_vmdk(folder: Path) -> Sample:
    name = "vmdk-flat"
    _qemu_img("create", "-f", "vmdk", "-o", "subformat=monolithicFlat", str(folder / name), "1M")
    return Sample(name, name, "vmdk", False)


def _description(path: str) -> bytes:
    return (
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        f'createType="monolithicFlat"\nRW 2048 FLAT "{path}" 0\n'
    ).encode()
