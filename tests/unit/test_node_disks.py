"""The file driver's own promises: formats, verification, space, strays."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import msgspec
import pytest

from nubelet.node import trail, wire
from nubelet.node.disks.file import FileDisks
from nubelet.node.errors import HostError

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is missing")


@pytest.fixture
def disks(tmp_path):
    disks = FileDisks(tmp_path / "state", host="host1")
    (tmp_path / "state").mkdir()
    disks.start()
    return disks


def qemu_img(*words: object) -> str:
    return subprocess.run(
        ["qemu-img", *map(str, words)], check=True, capture_output=True, text=True
    ).stdout


def info(path: str) -> dict:
    return msgspec.json.decode(qemu_img("info", "--output=json", "--backing-chain", path))


def image_of(path: Path, disk_format: str, **fields) -> wire.ImageSpec:
    content = path.read_bytes()
    values = {
        "id": "img",
        "url": f"file://{path}",
        "disk_format": disk_format,
        "size_bytes": len(content),
        "hash_value": hashlib.sha512(content).hexdigest(),
    }
    return wire.ImageSpec(**{**values, **fields})


def disk(**fields) -> wire.DiskSpec:
    values = {"id": "d1", "guest_id": "g1", "role": "root", "size_bytes": 16 << 20}
    return wire.DiskSpec(**{**values, **fields})


def drive(disks: FileDisks, *specs: wire.DiskSpec, **fields):
    guest = wire.GuestSpec(id="g1", name="x", vcpus=1, memory_mb=64, disks=specs, **fields)
    return disks.drives(guest)


@pytest.fixture
def qcow2(tmp_path):
    path = tmp_path / "image.qcow2"
    qemu_img("create", "-f", "qcow2", path, "8M")
    return path


def refusal(call) -> HostError:
    with pytest.raises(HostError) as refused:
        call()
    return refused.value


def test_a_disk_is_copied_on_write_with_the_format_stated(disks, qcow2):
    disks.ensure_image(image_of(qcow2, "qcow2"))
    disks.ensure_disk(disk(image_id="img"))
    (root,) = drive(disks, disk(image_id="img"))
    top, base = info(root.path)
    assert top["virtual-size"] == 16 << 20
    assert top["backing-filename-format"] == "qcow2"
    assert base["virtual-size"] == 8 << 20
    assert root.bootable
    assert os.stat(root.path).st_mode & 0o077 == 0


def test_a_disk_without_size_is_as_large_as_its_image(disks, qcow2):
    disks.ensure_image(image_of(qcow2, "qcow2"))
    disks.ensure_disk(disk(image_id="img", size_bytes=0))
    (root,) = drive(disks, disk(image_id="img", size_bytes=0))
    assert info(root.path)[0]["virtual-size"] == 8 << 20


def test_a_raw_disk_is_a_full_copy_and_grows(disks, qcow2):
    disks.ensure_image(image_of(qcow2, "qcow2"))
    for size in (16 << 20, 32 << 20, 32 << 20):
        disks.ensure_disk(disk(image_id="img", format="raw", size_bytes=size))
        (root,) = drive(disks, disk(image_id="img", format="raw"))
        assert os.path.getsize(root.path) == size
    assert disks.remove_image("img") is None


def test_a_qcow2_disk_grows(disks):
    for size in (16 << 20, 32 << 20):
        disks.ensure_disk(disk(size_bytes=size))
        (root,) = drive(disks, disk())
        assert info(root.path)[0]["virtual-size"] == size


def test_a_kill_between_record_and_disk_is_mended(disks, qcow2, tmp_path):
    disks.ensure_image(image_of(qcow2, "qcow2"))
    disks.ensure_disk(disk(image_id="img"))
    (root,) = drive(disks, disk(image_id="img"))
    os.unlink(root.path)  # the record is there, the disk is not yet
    assert refusal(lambda: drive(disks, disk(image_id="img"))).code == "disk_missing"
    disks.ensure_disk(disk(image_id="img"))
    assert drive(disks, disk(image_id="img")) == (root,)


@pytest.mark.parametrize("disk_format", ["vmdk", "vdi", "vhd", "vhdx"])
def test_other_formats_are_converted(disks, qcow2, tmp_path, disk_format):
    path = tmp_path / f"image.{disk_format}"
    kind = "vpc" if disk_format == "vhd" else disk_format
    qemu_img("convert", "-f", "qcow2", "-O", kind, qcow2, path)
    disks.ensure_image(image_of(path, disk_format))
    assert info(disks.image_path("img"))[0]["format"] == "qcow2"
    disks.ensure_disk(disk(image_id="img"))


def test_an_iso_image_is_put_in_as_a_disc_beside_an_empty_disk(disks, tmp_path):
    path = tmp_path / "install.iso"
    path.write_bytes(bytes(0x8000) + b"\x01CD001\x01".ljust(2048, b"\0") + b"\xffCD001\x01")
    disks.ensure_image(image_of(path, "iso"))
    disks.ensure_disk(disk(image_id="img"))
    disc, root = drive(disks, disk(image_id="img"))
    assert (disc.device, disc.bus, disc.read_only, disc.format) == ("cdrom", "sata", True, "raw")
    assert info(root.path)[0]["virtual-size"] == 16 << 20


def test_a_damaged_image_is_refused_and_leaves_nothing(disks, qcow2):
    spec = image_of(qcow2, "qcow2")
    qcow2.write_bytes(qcow2.read_bytes()[:-1] + b"x")
    assert refusal(lambda: disks.ensure_image(spec)).code == "image_corrupt"
    qcow2.write_bytes(b"short")
    assert "5 bytes" in refusal(lambda: disks.ensure_image(spec)).message
    assert disks.observe().images == ()
    assert list((qcow2.parent / "state" / "images").iterdir()) == []


@pytest.mark.parametrize("declared", ["raw", "ami", "vmdk"])
def test_an_image_that_is_another_format_is_refused(disks, qcow2, declared):
    error = refusal(lambda: disks.ensure_image(image_of(qcow2, declared)))
    assert error.code == "image_corrupt"
    assert f"declared as {declared}, but is qcow2" in error.message
    assert disks.observe().images == ()


def test_the_stated_format_counts_not_the_content(disks, qcow2, tmp_path):
    """A raw disk whose bytes look like qcow2 stays raw: its header is a guest's invention."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(65536))
    disks.ensure_image(image_of(source, "raw"))
    (cached,) = (tmp_path / "state" / "images").glob("*.raw")
    cached.write_bytes(qcow2.read_bytes())  # as an earlier release took it
    disks.ensure_disk(disk(image_id="img"))
    (root,) = drive(disks, disk(image_id="img"))
    top = msgspec.json.decode(qemu_img("info", "--output=json", root.path))
    assert top["backing-filename-format"] == "raw"


@pytest.mark.parametrize("by", ["image", "guest"])
def test_a_raw_disk_that_looks_like_qcow2_grows_as_raw(disks, qcow2, tmp_path, by):
    """`resize` that guesses would follow the header, which names a file of this host, and write
    into it (CVE-2026-24708). The header came with an image before those were looked at, or a guest
    writes it."""
    evil = tmp_path / "evil"
    qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", qcow2, evil, "8M")
    header = evil.read_bytes()
    spec = disk(format="raw", size_bytes=16 << 20, image_id="img" if by == "image" else "")
    if by == "image":
        source = tmp_path / "source"
        source.write_bytes(bytes(len(header)))
        disks.ensure_image(image_of(source, "raw"))
        (cached,) = (tmp_path / "state" / "images").glob("*.raw")
        cached.write_bytes(header)
    disks.ensure_disk(spec)
    (root,) = drive(disks, spec)
    if by == "guest":
        with open(root.path, "r+b") as file:
            file.write(header)
    larger = msgspec.structs.replace(spec, size_bytes=32 << 20)
    disks.ensure_disk(larger)
    assert os.path.getsize(root.path) == 32 << 20
    with open(root.path, "rb") as file:
        assert file.read(len(header)) == header
    assert [each.format for each in drive(disks, larger)] == ["raw"]


@pytest.mark.parametrize("disk_format", ["qcow2", "vmdk", "vhd", "vdi"])
def test_no_tool_opens_an_image_before_it_was_looked_at(
    disks, qcow2, tmp_path, monkeypatch, disk_format
):
    """Even `qemu-img info` opens what the header names (OSSA-2024-001)."""
    from nubelet.node import commands

    evil = tmp_path / "evil"
    qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", evil, "8M")
    monkeypatch.setattr(commands, "run", lambda *args, **more: pytest.fail(f"ran {args}"))
    error = refusal(lambda: disks.ensure_image(image_of(evil, disk_format)))
    assert error.code == "image_corrupt"


def test_an_image_that_names_other_files_is_refused(disks, qcow2, tmp_path):
    evil = tmp_path / "evil.qcow2"
    qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", evil, "8M")
    error = refusal(lambda: disks.ensure_image(image_of(evil, "qcow2")))
    assert error.code == "image_corrupt"
    assert "/etc/passwd" in error.message
    data = tmp_path / "data.raw"
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={data}", evil, "8M")
    assert (
        "external data file" in refusal(lambda: disks.ensure_image(image_of(evil, "qcow2"))).message
    )
    flat = tmp_path / "flat.vmdk"
    qemu_img("create", "-f", "vmdk", "-o", "subformat=monolithicFlat", flat, "8M")
    assert refusal(lambda: disks.ensure_image(image_of(flat, "vmdk"))).code == "image_corrupt"


def test_a_format_that_is_no_disk_is_refused(disks, qcow2):
    error = refusal(lambda: disks.ensure_image(image_of(qcow2, "docker")))
    assert (error.code, "docker" in error.message) == ("image_corrupt", True)


def test_a_disk_smaller_than_its_image_is_refused(disks, qcow2):
    disks.ensure_image(image_of(qcow2, "qcow2"))
    error = refusal(lambda: disks.ensure_disk(disk(image_id="img", size_bytes=1 << 20)))
    assert error.code == "disk_too_small"


def test_ephemeral_and_swap_disks_are_formatted(disks):
    for disk_format in ("qcow2", "raw"):
        disks.ensure_disk(
            disk(
                id=f"{disk_format}-eph1", role="ephemeral", size_bytes=64 << 20, format=disk_format
            )
        )
        disks.ensure_disk(
            disk(id=f"{disk_format}-swap", role="swap", size_bytes=8 << 20, format=disk_format)
        )
    specs = (
        disk(id="raw-eph1", role="ephemeral", format="raw"),
        disk(id="raw-swap", role="swap", format="raw"),
        disk(id="qcow2-eph1", role="ephemeral"),
        disk(id="qcow2-swap", role="swap"),
    )
    found = drive(disks, *specs)
    assert not any(drive.bootable for drive in found)
    blkid = subprocess.run(["blkid", "-p", found[0].path], capture_output=True, text=True).stdout
    assert 'LABEL="ephemeral1"' in blkid
    assert 'TYPE="ext4"' in blkid
    assert info(found[2].path)[0]["virtual-size"] == 64 << 20
    blkid = subprocess.run(["blkid", "-p", found[1].path], capture_output=True, text=True).stdout
    assert 'TYPE="swap"' in blkid


@pytest.mark.parametrize(("drive_format", "suffix"), [("iso9660", "iso"), ("vfat", "img")])
def test_config_drives(disks, tmp_path, drive_format, suffix):
    content = wire.ConfigDrive(
        files={
            "openstack/latest/meta_data.json": b'{"uuid": "x"}',
            "ec2/latest/meta-data.json": b"{}",
        },
        format=drive_format,
    )
    disks.ensure_config_drive("g1", content)
    (found,) = drive(disks, config_drive=content)
    assert found.read_only
    assert found.path.endswith(suffix)
    assert os.stat(found.path).st_mode & 0o077 == 0
    blkid = subprocess.run(["blkid", "-p", found.path], capture_output=True, text=True).stdout
    assert ' LABEL="config-2"' in blkid
    if drive_format == "vfat":
        text = subprocess.run(
            ["mtype", "-i", found.path, "::openstack/latest/meta_data.json"],
            capture_output=True,
        ).stdout
        assert text == b'{"uuid": "x"}'
    made = os.stat(found.path).st_ino
    disks.ensure_config_drive("g1", content)
    assert os.stat(found.path).st_ino == made
    changed = wire.ConfigDrive(files={"a": b"b"}, format=drive_format)
    disks.ensure_config_drive("g1", changed)
    assert os.stat(found.path).st_ino != made
    assert disks.observe().unknown_files == ()


def test_a_config_drive_cannot_write_elsewhere(disks):
    for name in ("../../x", "/etc/x", ""):
        content = wire.ConfigDrive(files={name: b"x"})
        with pytest.raises(HostError) as refused:
            disks.ensure_config_drive("g1", content)
        assert refused.value.code == "bad_call"


def test_strays_are_seen_and_half_made_files_go_at_the_start(disks, tmp_path):
    state = tmp_path / "state"
    disks.ensure_disk(disk())
    strays = [
        state / "guests" / "g1" / "core",
        state / "guests" / "file",
        state / "images" / "x.raw",
    ]
    for path in strays:
        path.write_bytes(b"")
    half = [state / "guests" / "g1" / ".d9.qcow2.1-1-1.partial", state / "images" / ".x.1.partial"]
    for path in half:
        path.write_bytes(b"")
    assert set(disks.observe().unknown_files) == {str(path) for path in strays}
    disks.start()
    assert not any(path.exists() for path in half)
    assert all(path.exists() for path in strays)


def test_old_images_are_dropped_used_ones_stay(disks, qcow2, tmp_path):
    for name in ("used", "old", "fresh"):
        disks.ensure_image(image_of(qcow2, "qcow2", id=name))
    disks.ensure_disk(disk(image_id="used"))
    long_ago = time.time() - 2 * 86400
    for name in ("used", "old"):
        os.utime(tmp_path / "state" / "images" / f"{name}.json", (long_ago, long_ago))
    disks.keep_house()
    assert set(disks.observe().images) == {"used", "fresh"}


def test_no_room_is_told_with_host_and_bytes(disks, tmp_path, qcow2):
    full = FileDisks(tmp_path / "state", host="host7", reserve_bytes=1 << 60)
    error = refusal(lambda: full.ensure_disk(disk()))
    assert error.code == "disk_full"
    assert "host host7 is full" in error.message
    assert "4.0 MiB" in error.message
    assert "0 bytes are free" in error.message


@pytest.mark.e2e
def test_a_file_system_that_fills_up_meanwhile_is_told_the_same(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    image, vmdk = tmp_path / "image.raw", tmp_path / "image.vmdk"
    image.write_bytes(os.urandom(8 << 20))
    qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", image, vmdk)
    image.write_bytes(os.urandom(16 << 20))
    content = wire.ConfigDrive(files={"big": os.urandom(4 << 20)})
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=14m", "none", small], check=True)
    try:
        disks = FileDisks(small, host="host7")
        disks.start()
        calls = [
            lambda: disks.ensure_image(image_of(image, "raw", size_bytes=0)),  # while copying
            lambda: disks.ensure_image(image_of(vmdk, "vmdk", size_bytes=0)),  # while converting
            lambda: disks.ensure_disk(disk()),
            lambda: disks.ensure_config_drive("g1", content),
        ]
        for number, call in enumerate(calls):
            if number == 2:
                (small / "filler").write_bytes(bytes(11 << 20))
            error = refusal(call)
            assert error.code == "disk_full"
            assert "host7 is full" in error.message
        disks.remove_disks("g1")
        assert [path.name for path in small.rglob("*") if path.is_file()] == ["filler"]
    finally:
        subprocess.run(["umount", small], check=True)


class _ImageService(http.server.BaseHTTPRequestHandler):
    content = b""
    status = 200
    cut = False

    def do_GET(self):
        self.server.tokens.append(self.headers.get("X-Auth-Token"))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content[:-10] if self.cut else self.content)

    def log_message(self, *words):
        pass


@pytest.fixture
def image_service():
    class Handler(_ImageService):
        pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.tokens = []
    server.handler = Handler
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_image_comes_over_http_with_the_token_and_is_verified(disks, qcow2, image_service):
    image_service.handler.content = qcow2.read_bytes()
    url = f"http://127.0.0.1:{image_service.server_port}/v2/images/img/file"
    with trail.recording() as entries:
        disks.ensure_image(image_of(qcow2, "qcow2", url=url, token="s3cret"))
    assert image_service.tokens == ["s3cret"]
    assert disks.observe().images == ("img",)
    assert f"GET {url}" in [entry.what for entry in entries]
    assert "s3cret" not in repr(entries)


@pytest.mark.parametrize(
    ("status", "cut", "code", "words"),
    [
        (404, False, "image_missing", "answered 404"),
        (403, False, "image_unreachable", "answered 403"),
        (503, False, "image_unreachable", "answered 503"),
        (200, True, "image_unreachable", "could not be fetched"),
    ],
)
def test_what_goes_wrong_over_http(disks, qcow2, image_service, status, cut, code, words):
    handler = image_service.handler
    handler.content, handler.status, handler.cut = qcow2.read_bytes(), status, cut
    url = f"http://127.0.0.1:{image_service.server_port}/x"
    error = refusal(lambda: disks.ensure_image(image_of(qcow2, "qcow2", url=url)))
    assert error.code in (code, "image_corrupt" if cut else code)
    assert words in error.message or "damaged" in error.message
    assert disks.observe().images == ()


def test_nobody_at_the_image_service(disks, qcow2):
    error = refusal(
        lambda: disks.ensure_image(image_of(qcow2, "qcow2", url="http://127.0.0.1:1/x"))
    )
    assert error.code == "image_unreachable"
    assert "refused" in error.message


def test_purge_removes_everything(disks, qcow2, tmp_path):
    disks.ensure_image(image_of(qcow2, "qcow2"))
    disks.ensure_disk(disk(image_id="img"))
    assert disks.purge() == ["disks of guest g1", "image img"]
    assert list((tmp_path / "state").iterdir()) == []
    assert disks.purge() == []
