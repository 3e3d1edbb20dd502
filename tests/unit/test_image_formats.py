"""The inspection of image data: real files made by qemu-img, and files made by hand to do harm."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nubelet.image.formats import Inspector
from nubelet.kernel.errors import BadRequest, UnsupportedMediaType

MIB = 1 << 20
needs_qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="no qemu-img")
PIECES = [1 << 30, 64 * 1024, MIB, 4099]


def inspect(
    data: bytes,
    declared: str,
    container: str = "bare",
    piece: int = 1 << 30,
) -> int | None:
    """What the inspector makes of the data, fed in pieces."""
    inspector = Inspector(declared, container)
    for begin in range(0, len(data), piece):
        inspector.feed(data[begin : begin + piece])
    return inspector.finish()


def refused(data: bytes, declared: str, **more: Any) -> str:
    """The words with which data of the right format is refused."""
    with pytest.raises(BadRequest) as caught:
        inspect(data, declared, **more)
    return caught.value.message


def mismatch(data: bytes, declared: str, **more: Any) -> str:
    """The words with which data of another format is refused."""
    with pytest.raises(UnsupportedMediaType) as caught:
        inspect(data, declared, **more)
    return caught.value.message


def made(
    folder: Path, qemu_format: str, *options: str, source_format: str = "raw", content: bytes = b""
) -> bytes:
    """A file of 3 MiB and a bit of content, converted by qemu-img."""
    source, target = folder / "source", folder / f"made.{qemu_format}"
    with source.open("wb") as file:
        file.truncate(3 * MIB)
        file.write(content)
        file.seek(MIB)
        file.write(os.urandom(70_000))
    subprocess.run(
        [
            "qemu-img",
            "convert",
            "-f",
            source_format,
            "-O",
            qemu_format,
            *options,
            str(source),
            str(target),
        ],
        check=True,
        capture_output=True,
    )
    return target.read_bytes()


@needs_qemu_img
@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(
    ("qemu_format", "declared", "options", "size"),
    [
        ("qcow2", "qcow2", (), 3 * MIB),
        ("qcow2", "qcow2", ("-o", "compat=0.10"), 3 * MIB),
        ("qcow2", "qcow2", ("-c",), 3 * MIB),
        ("qcow2", "qcow2", ("-o", "extended_l2=on,compression_type=zstd"), 3 * MIB),
        ("raw", "raw", (), 3 * MIB),
        ("vmdk", "vmdk", (), 3 * MIB),
        ("vmdk", "vmdk", ("-o", "subformat=streamOptimized"), 3 * MIB),
        ("vpc", "vhd", (), 3168256),  # VHD rounds up to whole cylinders
        ("vpc", "vhd", ("-o", "subformat=fixed"), 3168256),
        ("vhdx", "vhdx", (), 3 * MIB),
        ("vdi", "vdi", (), 3 * MIB),
        ("parallels", "ploop", (), 3 * MIB),
    ],
)
def test_real_images_pass_and_tell_their_size(
    tmp_path: Path, qemu_format: str, declared: str, options: tuple[str, ...], size: int, piece: int
) -> None:
    assert inspect(made(tmp_path, qemu_format, *options), declared, piece=piece) == size


@needs_qemu_img
@pytest.mark.parametrize(
    "qemu_format", ["qcow2", "qcow", "vmdk", "vpc", "vhdx", "vdi", "qed", "parallels"]
)
@pytest.mark.parametrize(
    "declared",
    ["raw", "ami", "ari", "aki", "iso", "gpt", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "ploop"],
)
def test_what_is_declared_wrongly_is_refused(
    tmp_path: Path, qemu_format: str, declared: str
) -> None:
    right = {"vpc": "vhd", "parallels": "ploop", "qcow": "qcow2"}.get(qemu_format, qemu_format)
    if right == declared:
        pytest.skip("that is right")
    text = mismatch(made(tmp_path, qemu_format), declared)
    assert "did not match disk_format" in text
    assert declared in text


@needs_qemu_img
def test_a_fixed_vhd_has_its_only_mark_at_the_end(tmp_path: Path) -> None:
    data = made(tmp_path, "vpc", "-o", "subformat=fixed")
    assert inspect(data, "raw") == len(data)  # read as raw it harms nobody
    mismatch(data[:-512], "vhd")


@needs_qemu_img
@pytest.mark.parametrize("compat", ["0.10", "1.1"])
def test_a_backing_file_is_refused(tmp_path: Path, compat: str) -> None:
    target = tmp_path / "x.qcow2"
    subprocess.run(
        [
            "qemu-img",
            "create",
            "-f",
            "qcow2",
            "-u",
            "-b",
            "/etc/passwd",
            "-F",
            "raw",
            "-o",
            f"compat={compat}",
            str(target),
            "1M",
        ],
        check=True,
        capture_output=True,
    )
    assert "backing file" in refused(target.read_bytes(), "qcow2")


@needs_qemu_img
def test_an_external_data_file_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "x.qcow2"
    subprocess.run(
        [
            "qemu-img",
            "create",
            "-f",
            "qcow2",
            "-o",
            f"data_file={tmp_path}/data,data_file_raw=on",
            str(target),
            "1M",
        ],
        check=True,
        capture_output=True,
    )
    data = bytearray(target.read_bytes())
    assert "external data file" in refused(bytes(data), "qcow2")
    data[79] &= ~4  # without the feature bit the name is still there
    assert "external data file" in refused(bytes(data), "qcow2")


def qcow2(**changes: int) -> bytes:
    """A qcow2 header made by hand."""
    fields = {
        "version": 3,
        "backing_offset": 0,
        "backing_length": 0,
        "cluster_bits": 16,
        "size": MIB,
        "features": 0,
        "header_length": 104,
        **changes,
    }
    head = struct.pack(
        ">4sIQIIQ",
        b"QFI\xfb",
        fields["version"],
        fields["backing_offset"],
        fields["backing_length"],
        fields["cluster_bits"],
        fields["size"],
    )
    return (
        (head.ljust(72, b"\0") + struct.pack(">Q", fields["features"])).ljust(100, b"\0")
        + struct.pack(">I", fields["header_length"])
        + bytes(70_000)
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 1}, "version"),
        ({"version": 4}, "version"),
        ({"backing_offset": 512}, "backing file"),
        ({"backing_length": 3}, "backing file"),
        ({"features": 1 << 1}, "corrupt"),
        ({"features": 1 << 2}, "external data file"),
        ({"features": 1 << 5}, "unknown"),
        ({"features": 1 << 63}, "unknown"),
        ({"cluster_bits": 40}, "clusters"),
        ({"header_length": 0}, "shorter"),
        ({"header_length": 103}, "shorter"),
        ({"header_length": 1 << 31}, "longer"),
        ({"size": (1 << 64) - 1}, "no disk has"),
    ],
)
def test_dangerous_qcow2_headers_are_refused(changes: dict[str, int], words: str) -> None:
    assert inspect(qcow2(), "qcow2") == MIB
    assert words in refused(qcow2(**changes), "qcow2")


@pytest.mark.parametrize("length", [4, 30, 71, 90])
def test_a_cut_off_header_is_refused(length: int) -> None:
    assert "incomplete" in refused(qcow2()[:length], "qcow2")


def test_a_qcow2_extension_cannot_hide_behind_what_is_kept() -> None:
    data = bytearray(qcow2(cluster_bits=21)[:104].ljust(3 * MIB, b"\0"))
    hidden = 512 * 1024  # all that is kept of the head
    data[104:112] = struct.pack(">II", 0x12345678, hidden - 112)
    name = b"/etc/passwd"
    data[hidden : hidden + 8 + len(name)] = struct.pack(">II", 0x44415441, len(name)) + name
    assert "too far" in refused(bytes(data), "qcow2")


DESCRIPTION = """# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="{kind}"

# Extent description
{extent}

# The Disk Data Base
#DDB
ddb.adapterType = "ide"
"""


def sparse(
    kind: str = "monolithicSparse",
    extent: str = 'RW 2048 SPARSE "disk.vmdk"',
    more: str = "",
    capacity: int = 2048,
    at_end: bool = False,
    offset: int = 1,
    footer: dict[str, int] | None = None,
) -> bytes:
    """A sparse VMDK made by hand."""
    text = (DESCRIPTION.format(kind=kind, extent=extent) + more).encode()

    def header(**changes: int) -> bytes:
        fields = {"capacity": capacity, "offset": offset, "size": 20, **changes}
        return struct.pack(
            "<4sIIQQQQIQQ",
            b"KDMV",
            1,
            3,
            fields["capacity"],
            128,
            fields["offset"],
            fields["size"],
            512,
            21,
            0xFFFFFFFFFFFFFFFF if at_end else 26,
        ).ljust(512, b"\0")

    body = header() + bytes(512 * max(offset - 1, 0)) + text.ljust(20 * 512, b"\0") + bytes(65536)
    if at_end:
        body += bytes(512) + header(**footer or {}) + bytes(512)
    return body


def test_a_vmdk_that_contains_its_disk_passes() -> None:
    assert inspect(sparse(), "vmdk") == MIB
    assert inspect(sparse("streamOptimized", at_end=True), "vmdk") == MIB
    assert inspect(sparse(offset=2000), "vmdk") == MIB  # described behind the kept head
    assert inspect(sparse(offset=2000), "vmdk", piece=1000) == MIB


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (sparse("monolithicFlat"), "type"),
        (sparse("twoGbMaxExtentSparse"), "type"),
        (sparse(""), "type"),
        (sparse("vmfsRaw"), "type"),
        (sparse("custom"), "type"),
        (sparse(extent='RW 2048 FLAT "disk.vmdk" 0'), "extent"),
        (sparse(extent='RW 2048 SPARSE "/etc/passwd"'), "extent"),
        (sparse(extent='RW 2048 SPARSE "../disk.vmdk"'), "extent"),
        (sparse(extent='RW 2048 SPARSE "nbd://host"'), "extent"),
        (sparse(extent='RW 2048 VMFS "a"'), "extent"),
        (sparse(extent="RW 2048 ZERO"), "extent"),
        (sparse(extent='RW 2048 SPARSE "a"\nRW 2048 SPARSE "b"'), "extents"),
        (sparse(extent=""), "extents"),
        (sparse(extent='RW 4096 SPARSE "a"'), "size"),
        (sparse(more='parentFileNameHint="/etc/passwd"\n'), "parent"),
        (sparse(more="parentCID=00000001\n"), "parent"),
        (sparse(more="something else\n"), "nobody knows"),
        (sparse(more='createType="monolithicSparse"\n'), "twice"),
        (sparse(more='RW 1 FLAT "/etc/passwd" 0 a=b\n'), "nobody knows"),
        (sparse(extent='RW 0 SPARSE "other-image"', capacity=0), "elsewhere"),
        (sparse(capacity=1 << 60, extent=f'RW {1 << 60} SPARSE "a"'), "no disk has"),
        (sparse(offset=0), "description"),
        (sparse()[:1000], "description"),
        (sparse("streamOptimized", at_end=True, footer={"offset": 50}), "contradict"),
        (sparse("streamOptimized", at_end=True, footer={"capacity": 1}), "contradict"),
        (sparse("streamOptimized", at_end=True)[:-700], "second header"),
        (
            DESCRIPTION.format(kind="monolithicFlat", extent='RW 1 FLAT "/etc/passwd" 0').encode(),
            "other files",
        ),
        (b"COWD" + bytes(4096), "COWD"),
    ],
)
def test_a_vmdk_that_points_elsewhere_is_refused(data: bytes, words: str) -> None:
    assert words in refused(data, "vmdk")


@pytest.mark.parametrize("prefix", [b"", b" \n", b"\t"])
def test_a_description_of_a_disk_is_not_raw(prefix: bytes) -> None:
    text = (
        prefix
        + DESCRIPTION.format(kind="monolithicFlat", extent='RW 1 FLAT "/etc/passwd" 0').encode()
    )
    mismatch(text, "raw")


@needs_qemu_img
def test_differencing_disks_are_refused(tmp_path: Path) -> None:
    vhd = bytearray(made(tmp_path, "vpc"))
    vhd[60:64] = struct.pack(">I", 4)
    assert "parent" in refused(bytes(vhd), "vhd")
    vhd = bytearray(made(tmp_path, "vpc"))
    vhd[-512 + 48 : -512 + 56] = struct.pack(">Q", 1)
    assert "contradict" in refused(bytes(vhd), "vhd")
    vdi = bytearray(made(tmp_path, "vdi"))
    vdi[76:80] = struct.pack("<I", 4)
    assert "type 4" in refused(bytes(vdi), "vdi")
    vdi = bytearray(made(tmp_path, "vdi"))
    vdi[440] = 1
    assert "parent" in refused(bytes(vdi), "vdi")


@needs_qemu_img
@pytest.mark.parametrize("piece", PIECES)
def test_a_vhdx_with_a_parent_is_refused(tmp_path: Path, piece: int) -> None:
    from nubelet.formats import microsoft

    data = bytearray(made(tmp_path, "vhdx"))
    parameters = data.index(microsoft._PARAMETERS)
    table = data.rindex(b"metadata", 0, parameters)
    place = struct.unpack("<I", data[parameters + 16 : parameters + 20])[0]
    data[table + place + 4] |= 2
    assert "parent" in refused(bytes(data), "vhdx", piece=piece)
    data = bytearray(made(tmp_path, "vhdx"))
    data[parameters : parameters + 16] = microsoft._PARENT
    assert "parent" in refused(bytes(data), "vhdx", piece=piece)
    data = bytearray(made(tmp_path, "vhdx"))
    data[192 * 1024 : 192 * 1024 + 4] = b"xxxx"
    assert "region" in refused(bytes(data), "vhdx", piece=piece)


def iso() -> bytes:
    data = bytearray(70_000)
    data[0x8000:0x8006] = b"\x01CD001"
    return bytes(data)


def partitioned() -> bytes:
    data = bytearray(MIB)
    data[446:462] = struct.pack("<B3sB3sII", 0x80, b"", 0x83, b"", 2048, 4096)
    data[510:512] = b"\x55\xaa"
    return bytes(data)


def test_discs_and_partitioned_disks() -> None:
    assert inspect(iso(), "iso") == 70_000
    mismatch(iso(), "raw")
    mismatch(bytes(70_000), "iso")
    hybrid = bytearray(partitioned())
    hybrid[0x8000:0x8006] = b"\x01CD001"
    assert inspect(bytes(hybrid), "iso") == MIB
    mismatch(bytes(hybrid), "raw")
    assert inspect(partitioned(), "gpt") == MIB
    assert inspect(partitioned(), "raw") == MIB
    assert inspect(bytes(512) + b"EFI PART" + bytes(1000), "gpt") == 1520
    mismatch(bytes(MIB), "gpt")
    mismatch(partitioned(), "qcow2")
    both = bytearray(qcow2())
    both[0x8000:0x8006] = b"\x01CD001"  # a qcow2 that would pass for a disc
    mismatch(bytes(both), "iso")


def test_raw_is_what_is_nothing_else() -> None:
    assert inspect(b"", "raw") == 0
    assert inspect(b"x", "raw") == 1
    assert inspect(os.urandom(3 * MIB), "raw", piece=4096) == 3 * MIB
    assert inspect(b"LUKS\xba\xbe\0\1" + bytes(4096), "raw") == 4104
    assert inspect(bytes(4096), "ami") == 4096
    mismatch(b"QED\0" + bytes(4096), "raw")
    mismatch(b"Bochs Virtual HD Image" + bytes(4096), "raw")
    mismatch(b"", "qcow2")


def test_a_container_around_a_disk_is_not_a_disk() -> None:
    archive = bytes(257) + b"ustar" + bytes(4096)
    for container in ("ova", "docker", "compressed"):
        assert inspect(archive, "vmdk", container) is None
        mismatch(qcow2(backing_offset=8), "qcow2", container=container)
        mismatch(sparse(extent='RW 2048 SPARSE "/etc/passwd"'), "vmdk", container=container)
    assert "backing" in refused(qcow2(backing_offset=8), "qcow2", container="ovf")


def test_what_is_wrong_is_refused_before_all_of_it_has_come() -> None:
    inspector = Inspector("raw")
    inspector.feed(qcow2()[: 64 * 1024])
    with pytest.raises(UnsupportedMediaType):
        inspector.feed(bytes(MIB))


def test_memory_does_not_grow_with_the_data() -> None:
    import tracemalloc

    inspector, piece = Inspector("raw"), os.urandom(MIB)
    tracemalloc.start()
    for _ in range(256):
        inspector.feed(piece)
    assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    tracemalloc.stop()
    assert inspector.finish() == 256 * MIB


@needs_qemu_img
def test_tempests_samples_are_judged_as_their_manifest_says(tmp_path: Path) -> None:
    from tests.conformance import image_samples

    for sample in image_samples.make(tmp_path):
        data = (tmp_path / sample.filename).read_bytes()
        if sample.usable:
            assert inspect(data, sample.format), sample
        else:
            with pytest.raises((BadRequest, UnsupportedMediaType)):
                inspect(data, sample.format)
