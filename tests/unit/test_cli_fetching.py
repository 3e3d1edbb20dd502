"""`nubelet image fetch` below the command: names, lists of checksums, downloads that go on."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import lzma
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from nubelet.cli.fetching import checksums, downloads, sources, unpacking
from nubelet.cli.fetching.checksums import Checksum

A, B = "a" * 64, "b" * 128


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        (f"{A}  disk.qcow2\n", Checksum("sha256", A)),
        (f"{A} *disk.qcow2\n", Checksum("sha256", A)),
        (f"{A}  ./sub/disk.qcow2\n", Checksum("sha256", A)),
        (f"{A.upper()}  disk.qcow2\r\n", Checksum("sha256", A)),
        (f"SHA256 (disk.qcow2) = {A}\n", Checksum("sha256", A)),
        (
            f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# disk.qcow2: 5 bytes\n"
            f"SHA256 (other) = {'c' * 64}\n"
            f"SHA256 (disk.qcow2) = {A}\n-----BEGIN PGP SIGNATURE-----",
            Checksum("sha256", A),
        ),
        (f"{A}  disk.qcow2\n{B}  disk.qcow2\n", Checksum("sha512", B)),
        (f"{B}\n", Checksum("sha512", B)),
        (f"{A}  other.qcow2\n", None),
        (f"{A}  disk.qcow2.xz\n", None),
        (f"{A}  not-disk.qcow2\n", None),
        (f"{'a' * 63}  disk.qcow2\n", None),
        ("<html>not found</html>", None),
        ("", None),
    ],
)
def test_lists_of_checksums(listing: str, expected: Checksum | None) -> None:
    assert checksums.look_up(listing, "disk.qcow2") == expected


def test_stated_checksums() -> None:
    assert checksums.parse(f"sha256:{A}") == Checksum("sha256", A)
    assert checksums.parse(A.upper()) == Checksum("sha256", A)
    for text in ("sha256:xyz", f"sha512:{A}", "", "sha256:", f"md5:{A}", "a" * 65):
        with pytest.raises(click.ClickException, match="not a checksum"):
            checksums.parse(text)


@pytest.mark.parametrize("machine", sources.machines())
@pytest.mark.parametrize("name", list(sources.known()))
def test_known_images_say_all_that_is_needed(name: str, machine: str) -> None:
    found = sources.find(name, machine, None)
    assert found.url
    assert found.url.startswith("https://")
    assert "{" not in found.url
    assert found.checksums
    assert found.checksums.startswith("https://")
    assert found.properties["os_distro"]
    assert found.properties["os_version"]
    assert found.properties["architecture"] == machine
    assert found.min_ram


def test_what_a_word_means(tmp_path: Path) -> None:
    known = sources.find("debian-12", "x86_64", "http://mirror.example/d/")
    assert known.url == "http://mirror.example/d/debian-12-genericcloud-amd64.qcow2"
    assert known.checksums == "http://mirror.example/d/SHA512SUMS"
    url = "http://example.org/x/debian-12-genericcloud-arm64.qcow2?a=b"
    guessed = sources.find(url, "x86_64", None)
    assert (guessed.url, guessed.checksums, guessed.name) == (url, None, "debian-12")
    assert guessed.properties["architecture"] == "aarch64"
    file = tmp_path / "mine.qcow2"
    file.write_bytes(b"x")
    own = sources.find(str(file), "x86_64", None)
    assert (own.path, own.url, own.name, own.properties) == (file, None, "mine", {})
    with pytest.raises(click.ClickException, match=r"did you mean .*debian-12"):
        sources.find("debian-21", "x86_64", None)
    with pytest.raises(click.ClickException, match="neither a file"):
        sources.find("ftp://example.org/x", "x86_64", None)


CONTENT = bytes(range(256)) * 8192  # 2 MiB


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; breaks off after `breaks` bytes, once for each number there."""

    breaks: list[int]
    asked: list[str | None]
    tag: str

    def do_GET(self) -> None:
        kind = type(self)
        wanted = self.headers.get("Range")
        kind.asked.append(wanted)
        if self.path != "/disk":
            self.send_error(404)
            return
        start = 0
        if wanted and self.headers.get("If-Range") == kind.tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        data = CONTENT[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", kind.tag)
        self.end_headers()
        if kind.breaks:
            data = data[: kind.breaks.pop(0)]
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        return


@pytest.fixture
def server() -> Iterator[tuple[str, type[Server]]]:
    kind = type("OneServer", (Server,), {"breaks": [], "asked": [], "tag": '"one"'})
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}", kind
    made.shutdown()
    made.server_close()


def nothing(done: int, total: int | None) -> None:
    assert total is None or done <= total


def test_a_download_goes_on_where_it_broke_off(
    server: tuple[str, type[Server]], tmp_path: Path
) -> None:
    url, kind = server
    kind.breaks = [700_000, 500_000]
    path = downloads.target(tmp_path, f"{url}/disk")
    downloads.fetch(f"{url}/disk", path, nothing)
    assert path.read_bytes() == CONTENT
    assert kind.asked == [None, "bytes=700000-", "bytes=1200000-"]
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_the_next_command_goes_on_too(server: tuple[str, type[Server]], tmp_path: Path) -> None:
    url, kind = server
    kind.breaks = [700_000, 0, 0]
    path = downloads.target(tmp_path, f"{url}/disk")
    with pytest.raises(click.ClickException, match="after 700000 bytes; the same command goes on"):
        downloads.fetch(f"{url}/disk", path, nothing)
    assert not path.exists()
    kind.breaks, kind.asked = [], []
    downloads.fetch(f"{url}/disk", path, nothing)
    assert kind.asked == ["bytes=700000-"]
    assert path.read_bytes() == CONTENT


def test_another_file_of_the_same_name_begins_anew(
    server: tuple[str, type[Server]], tmp_path: Path
) -> None:
    url, kind = server
    kind.breaks = [700_000, 0, 0]
    path = downloads.target(tmp_path, f"{url}/disk")
    with pytest.raises(click.ClickException):
        downloads.fetch(f"{url}/disk", path, nothing)
    kind.breaks, kind.tag = [], '"two"'
    downloads.fetch(f"{url}/disk", path, nothing)
    assert path.read_bytes() == CONTENT


def test_what_is_not_there_is_said(server: tuple[str, type[Server]], tmp_path: Path) -> None:
    url, _ = server
    with pytest.raises(click.ClickException, match="404"):
        downloads.fetch(f"{url}/none", tmp_path / "x", nothing)
    assert downloads.fetch_text(f"{url}/none") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".xz", ".gz", ""])
def test_packed_files(tmp_path: Path, suffix: str) -> None:
    pack = {".xz": lzma.compress, ".gz": gzip.compress, "": bytes}[suffix]
    path = tmp_path / f"disk.qcow2{suffix}"
    path.write_bytes(pack(CONTENT))
    found = unpacking.unpacked(path, tmp_path, lambda more: None)
    assert found.name == "disk.qcow2"
    assert hashlib.sha256(found.read_bytes()).digest() == hashlib.sha256(CONTENT).digest()


def test_a_bomb_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_BYTES", 1 << 20)
    path = tmp_path / "disk.gz"
    path.write_bytes(gzip.compress(bytes(8 << 20)))
    with pytest.raises(click.ClickException, match="holds more"):
        unpacking.unpacked(path, tmp_path, lambda more: None)
    path.write_bytes(b"not packed")
    with pytest.raises(click.ClickException, match="cannot be unpacked"):
        unpacking.unpacked(path, tmp_path, lambda more: None)
    assert [each.name for each in tmp_path.iterdir()] == ["disk.gz"]
