"""`nubelet image fetch` and `load-definitions` as an operator uses them, with a web server here."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import lzma
import os
import pty
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.command import CommandCloud

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]
needs_qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="no qemu-img")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandCloud]:
    made = CommandCloud(tmp_path_factory.mktemp("fetch"), "--fake")
    made.up()
    made.login()
    yield made
    made.purge()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "web"
    made.mkdir()
    return made


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            return

    handler = functools.partial(Quiet, directory=str(folder))
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def qcow2(path: Path, size: str = "3G") -> bytes:
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", str(path), size], check=True, timeout=60
    )
    return path.read_bytes()


def images(cloud: CommandCloud, name: str) -> list[dict[str, Any]]:
    with cloud.client() as client:
        found = client.get("/image/v2/images", params={"name": name}).json()["images"]
    return list(found)


@needs_qemu_img
def test_a_known_image_comes_from_a_mirror(cloud: CommandCloud, folder: Path, web: str) -> None:
    name = "debian-12-genericcloud-amd64.qcow2"
    data = qcow2(folder / name)
    (folder / "SHA512SUMS").write_text(f"{hashlib.sha512(data).hexdigest()}  {name}\n")
    words = ("image", "fetch", "debian-12", "--mirror", web, "--arch", "x86_64")
    assert "debian-12: image " in cloud.run(*words).stdout
    [shown] = images(cloud, "debian-12")
    assert shown["status"] == "active"
    assert (shown["disk_format"], shown["container_format"]) == ("qcow2", "bare")
    assert (shown["visibility"], shown["min_disk"], shown["min_ram"]) == ("public", 3, 256)
    assert shown["os_hash_value"] == hashlib.sha512(data).hexdigest()
    assert (shown["os_distro"], shown["os_version"]) == ("debian", "12")
    assert (shown["architecture"], shown["hw_disk_bus"]) == ("x86_64", "virtio")
    assert not [key for key in shown if key.startswith("nubelet")]
    assert [path.name for path in (cloud.state_dir / "fetch").iterdir()] == [
        path.name for path in (cloud.state_dir / "fetch").glob("*.lock")
    ]
    assert "is there already" in cloud.run(*words).stdout
    assert len(images(cloud, "debian-12")) == 1


@needs_qemu_img
def test_a_url_is_checked_by_the_list_beside_it(
    cloud: CommandCloud, folder: Path, web: str
) -> None:
    packed = lzma.compress(qcow2(folder / "mine.qcow2", "100M"))
    (folder / "mine.qcow2.xz").write_bytes(packed)
    words = ("image", "fetch", f"{web}/mine.qcow2.xz", "--visibility", "private")
    refused = cloud.run(*words, check=False)
    assert refused.returncode != 0
    assert "no list of checksums" in refused.stderr
    (folder / "mine.qcow2.xz.sha256").write_text(hashlib.sha256(packed).hexdigest())
    cloud.run(*words, "--property", "os_distro=mine", "--property", "hw_video_model=none")
    [shown] = images(cloud, "mine")
    assert (shown["disk_format"], shown["min_disk"]) == ("qcow2", 1)
    assert (shown["os_distro"], shown["hw_video_model"]) == ("mine", "none")
    assert shown["visibility"] == "private"


def test_data_that_was_changed_is_refused(cloud: CommandCloud, folder: Path, web: str) -> None:
    (folder / "bad.raw").write_bytes(b"not what it was" * 1000)
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  bad.raw\n")
    refused = cloud.run("image", "fetch", f"{web}/bad.raw", check=False)
    assert refused.returncode != 0
    assert "does not have the checksum sha256:000" in refused.stderr
    assert images(cloud, "bad") == []
    assert list((cloud.state_dir / "fetch").glob("*bad.raw")) == []
    stated = "sha512:" + hashlib.sha512((folder / "bad.raw").read_bytes()).hexdigest()
    cloud.run("image", "fetch", f"{web}/bad.raw", "--checksum", stated)
    assert [each["status"] for each in images(cloud, "bad")] == ["active"]


@needs_qemu_img
def test_a_file_of_this_machine(cloud: CommandCloud, tmp_path: Path) -> None:
    path = tmp_path / "cirros-0.6.3-x86_64-disk.img"
    qcow2(path, "50M")
    refused = cloud.run("image", "fetch", str(path), "--checksum", "0" * 64, check=False)
    assert "does not have the checksum" in refused.stderr
    cloud.run("image", "fetch", str(path), "--name", "tiny", "--arch", "x86_64")
    [shown] = images(cloud, "tiny")
    assert shown["os_distro"] == "cirros"
    assert path.exists()


@needs_qemu_img
def test_an_image_that_points_outside_itself_does_not_come_in(
    cloud: CommandCloud, tmp_path: Path
) -> None:
    path = tmp_path / "evil.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw",
         str(path), "1M"],
        check=True, timeout=60,
    )  # fmt: skip
    refused = cloud.run("image", "fetch", str(path), check=False)
    assert refused.returncode != 0
    assert "backing file" in refused.stderr
    assert images(cloud, "evil") == []


def test_an_interrupted_upload_is_taken_up(cloud: CommandCloud, tmp_path: Path) -> None:
    path = tmp_path / "left.raw"
    path.write_bytes(os.urandom(4096))
    with cloud.client() as client:
        made = client.post(
            "/image/v2/images",
            json={
                "name": "left",
                "disk_format": "raw",
                "container_format": "bare",
                "nubelet_fetch": hashlib.sha512(path.read_bytes()).hexdigest(),
            },
        ).json()
    cloud.run("image", "fetch", str(path))
    [shown] = images(cloud, "left")
    assert (shown["id"], shown["status"]) == (made["id"], "active")
    assert "nubelet_fetch" not in shown


def test_a_terminal_shows_how_far_it_is_and_a_file_gets_the_result_alone(
    cloud: CommandCloud, tmp_path: Path
) -> None:
    path = tmp_path / "large.raw"
    path.write_bytes(bytes(64 << 20))
    words = [sys.executable, "-m", "nubelet", "image", "fetch", str(path), "--state-dir"]
    words += [str(cloud.state_dir), "--name"]
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as terminal:
        shown = subprocess.Popen(
            [*words, "shown"],
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        )
        os.close(theirs)
        drawn = b""
        with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
            while piece := terminal.read(65536):
                drawn += piece
        said, _ = shown.communicate(timeout=200)
    assert shown.returncode == 0, drawn.decode()
    assert said.startswith("shown: image ")
    for step in ("Hashing", "Uploading"):
        assert f"{step} " in drawn.decode()
    assert "64.0/64.0 MiB" in drawn.decode()  # of the whole
    quiet = subprocess.run([*words, "quiet"], capture_output=True, text=True, timeout=200)
    assert quiet.stdout.startswith("quiet: image ")
    assert quiet.stderr.strip() == ""


def test_mistakes_are_named(cloud: CommandCloud) -> None:
    for words, said in (
        (("debain-12",), "did you mean debian-12"),
        (("debian-12", "--arch", "vax"), "--arch: vax"),
        (("debian-12", "--property", "x"), "--property: x is not KEY=VALUE"),
        (("debian-12", "--mirror", "http://127.0.0.1:9/"), "has no checksum"),
        ((), "Name one of these"),
    ):
        refused = cloud.run("image", "fetch", *words, check=False)
        assert refused.returncode != 0
        assert said in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr


def test_the_usual_definitions_are_loaded_by_one_command(cloud: CommandCloud) -> None:
    first = cloud.run("image", "load-definitions").stdout.splitlines()
    assert len(first) > 15
    assert all(line.startswith("loaded") for line in first)
    again = cloud.run("image", "load-definitions").stdout.splitlines()
    assert all(line.startswith("kept") for line in again)
    with cloud.client() as client:
        shown = client.get("/image/v2/metadefs/namespaces/OS::Compute::Watchdog").json()
    assert json.dumps(shown["properties"]["watchdog_action"])
