"""The pieces of the guest image's builder that need neither packages nor QEMU."""

import gzip
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from nubelet.guest import Artefact, GuestImage
from nubelet.guest.artefacts import (
    FILE_NAMES,
    GuestBuildError,
    describe,
    read_manifest,
    write_manifest,
)
from nubelet.guest.disk import join_disk
from nubelet.guest.elf import needed_libraries
from nubelet.guest.modules import ModuleCollection
from nubelet.guest.packages import Package, parse_uris
from nubelet.guest.system import fill_in, overlay, overlay_files
from nubelet.guest.tree import Tree, to_initramfs


def make_image(folder: Path) -> GuestImage:
    for role, name in FILE_NAMES.items():
        (folder / name).write_bytes(role.encode())
    artefacts = {role: describe(folder / name) for role, name in FILE_NAMES.items()}
    return GuestImage("key", "6.1", "quiet", "label", **artefacts)


def test_manifest_is_read_back_also_from_another_place(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    image = make_image(first)
    write_manifest(image, first)
    assert read_manifest(first) == image
    moved = first.rename(tmp_path / "moved")
    again = read_manifest(moved)
    assert again is not None
    assert again.disk == Artefact(moved / "disk.qcow2", image.disk.sha256, 4)


@pytest.mark.parametrize("damage", ["missing", "shorter", "broken manifest", "no manifest"])
def test_damaged_output_counts_as_none(tmp_path: Path, damage: str) -> None:
    write_manifest(make_image(tmp_path), tmp_path)
    if damage == "missing":
        (tmp_path / "live.img").unlink()
    elif damage == "shorter":
        (tmp_path / "vmlinuz").write_bytes(b"")
    elif damage == "broken manifest":
        (tmp_path / "manifest.json").write_text("{")
    else:
        (tmp_path / "manifest.json").unlink()
    assert read_manifest(tmp_path) is None


def test_package_lines_of_apt() -> None:
    output = (
        "Get:1 noise\n"
        "'http://deb.example/b_1%3a2_amd64.deb' b_1%3a2_amd64.deb 20 SHA256:AB\n"
        "'http://deb.example/a_1_amd64.deb' a_1_amd64.deb 10 SHA512:cd\n"
    )
    assert parse_uris(output, ["a", "b"]) == [
        Package("a", "a_1_amd64.deb", 10, "sha512", "cd"),
        Package("b", "b_1%3a2_amd64.deb", 20, "sha256", "ab"),
    ]
    with pytest.raises(GuestBuildError, match="no file for c"):
        parse_uris(output, ["a", "c"])


def test_a_cached_package_is_used_only_when_it_is_the_one_in_the_index(tmp_path: Path) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(b"content")
    digest = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    assert Package("a", "a.deb", 7, "sha256", digest).matches(path)
    assert not Package("a", "a.deb", 7, "sha256", "0" * 64).matches(path)
    assert not Package("a", "a.deb", 8, "sha256", digest).matches(path)
    assert not Package("a", "b.deb", 7, "sha256", digest).matches(tmp_path / "b.deb")


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs cpio to read the archive back")
def test_initramfs_is_an_archive_with_modes_owners_and_links(tmp_path: Path) -> None:
    tree = Tree()
    tree.add_file("usr/bin/busybox", b"program", 0o4755)
    tree.add_link("bin", "usr/bin")
    tree.add_folder("home/cirros", 0o750, 1000)
    archive = to_initramfs(tree)
    assert archive == to_initramfs(tree)
    listed = subprocess.run(
        ["cpio", "-itvn", "--quiet"],
        input=gzip.decompress(archive),
        capture_output=True,
        check=True,
    )
    lines = [line.split() for line in listed.stdout.decode().splitlines()]
    rows = {line[8]: line for line in lines}
    assert list(rows) == ["bin", "home", "home/cirros", "usr", "usr/bin", "usr/bin/busybox"]
    assert rows["bin"][-2:] == ["->", "usr/bin"]
    assert rows["usr/bin/busybox"][0] == "-rwsr-xr-x"
    assert rows["home/cirros"][0] == "drwxr-x---"
    assert rows["home/cirros"][2:4] == ["1000", "1000"]


def make_module(folder: Path, name: str, depends: str, alias: str = "") -> None:
    strings = [f"depends={depends}", f"name={name}"] + ([f"alias={alias}"] if alias else [])
    folder.joinpath(f"{name}.ko").write_bytes(b"\0" + "\0".join(strings).encode() + b"\0")


def test_modules_bring_what_they_need_and_an_index(tmp_path: Path) -> None:
    release = tmp_path / "6.1-test"
    (release / "kernel").mkdir(parents=True)
    (release / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    make_module(release / "kernel", "virtio_net", "net-failover,virtio", "virtio:d00000001v*")
    make_module(release / "kernel", "net_failover", "failover")
    make_module(release / "kernel", "failover", "")
    make_module(release / "kernel", "virtio", "")
    make_module(release / "kernel", "unused", "")
    modules = ModuleCollection(release)
    assert modules.with_dependencies(["ext4"]) == []
    with pytest.raises(GuestBuildError, match="no driver e1000"):
        modules.with_dependencies(["e1000"])
    tree = Tree()
    modules.add_to(tree, ["virtio-net"])
    folder = "usr/lib/modules/6.1-test"
    assert f"{folder}/unused.ko" not in tree
    line = tree[f"{folder}/modules.dep"].content.decode().splitlines()[-1]
    assert line == "virtio_net.ko: net_failover.ko failover.ko virtio.ko"
    assert tree[f"{folder}/modules.alias"].content == b"alias virtio:d00000001v* virtio_net\n"


def test_libraries_of_a_program() -> None:
    shell = Path("/bin/sh").resolve().read_bytes()
    assert "libc.so.6" in needed_libraries(shell)


def test_disk_has_two_partitions_where_its_table_says(tmp_path: Path) -> None:
    code = Path("/usr/lib/syslinux/mbr/mbr.bin")
    if not code.exists():
        pytest.skip("needs syslinux-common")
    boot, root, disk = tmp_path / "boot", tmp_path / "root", tmp_path / "disk"
    boot.write_bytes(b"B" * 1024 * 1024)
    root.write_bytes(b"R" * 2 * 1024 * 1024)
    join_disk(boot, root, disk)
    data = disk.read_bytes()
    assert data[510:512] == b"\x55\xaa"
    for number, (kind, content) in enumerate(((0x0E, b"B"), (0x83, b"R"))):
        entry = data[446 + 16 * number : 462 + 16 * number]
        first, count = struct.unpack("<II", entry[8:])
        assert entry[4] == kind
        assert set(data[first * 512 : (first + count) * 512]) == set(content)
    assert data[446] == 0x80


def test_no_mark_of_the_overlay_is_left_open() -> None:
    for path, content in overlay_files(overlay()).items():
        assert b"@ROOT_LABEL@" not in fill_in(content), path
        assert b"@COMMAND_LINE@" not in fill_in(content), path
        assert b"@VERSION@" not in fill_in(content), path


def test_every_script_of_the_overlay_is_valid_shell(tmp_path: Path) -> None:
    shell = ["busybox", "sh"] if shutil.which("busybox") else ["sh"]
    script = tmp_path / "script"
    for path, content in overlay_files(overlay()).items():
        if content.startswith(b"#!"):
            script.write_bytes(fill_in(content))
            checked = subprocess.run([*shell, "-n", str(script)], capture_output=True, check=False)
            assert checked.returncode == 0, (path, checked.stderr)
