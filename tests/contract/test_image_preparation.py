"""What imports do with data on its way: from another region, unpacked, converted, injected."""

from __future__ import annotations

import bz2
import gzip
import http.server
import io
import lzma
import os
import struct
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from nubelet.kernel.http.app import Authenticator
from tests.cloud import TestedCloud, make_cloud
from tests.serving import listening

URL = "/image/v2/images"
OCTETS = {"Content-Type": "application/octet-stream"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
DISK = os.urandom(65536) + bytes(4 << 20)


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = make_cloud(
        tmp_path_factory.mktemp("image"),
        services=("identity", "image"),
        options={
            "image.import_plugins": (
                "image_decompression",
                "image_conversion",
                "inject_image_metadata",
            ),
            "image.conversion_format": "qcow2",
            "image.inject_properties": {"os_shutdown_timeout": "60"},
            "image.max_bytes": 16 << 20,
        },
    )
    yield made
    made.close()


@pytest.fixture
def client(tested: TestedCloud) -> httpx.Client:
    return tested.client("member")


def imported(tested: TestedCloud, client: httpx.Client, data: bytes, **values: Any) -> Any:
    body = {"disk_format": "raw", "container_format": "bare", **values}
    one = client.post(URL, json=body).json()["id"]
    assert client.put(f"{URL}/{one}/stage", content=data, headers=OCTETS).status_code == 204
    started = client.post(f"{URL}/{one}/import", json={"method": {"name": "glance-direct"}})
    assert started.status_code == 202, started.text
    tested.settle()
    return client.get(f"{URL}/{one}").json()


def task_of(client: httpx.Client, image: Any) -> Any:
    [task] = client.get(f"{URL}/{image['id']}/tasks").json()["tasks"]
    return task


def zipped(*names: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(name, data)
        return file.getvalue()

    return pack


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-c"], input=data, check=True, capture_output=True).stdout


def lha_member(name: str, method: bytes, packed: bytes, size: int, crc: int) -> bytes:
    """A member of an archive with a header of level 0."""
    head = method + struct.pack("<IIIBBB", len(packed), size, 0, 0x20, 0, len(name))
    head += name.encode() + struct.pack("<H", crc)
    return bytes([len(head), sum(head) & 255]) + head + packed


def crc16(data: bytes) -> int:
    table, crc = [], 0
    for each in range(256):
        for _ in range(8):
            each = (each >> 1) ^ 0xA001 if each & 1 else each >> 1
        table.append(each)
    for byte in data:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 255]
    return crc


def lha(*names: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        crc = crc16(data)
        return b"".join(lha_member(name, b"-lh0-", data, len(data), crc) for name in names) + b"\0"

    return pack


def lha_bomb(size: int) -> bytes:
    """Zeros by the method lh5: a block whose only symbol takes no bits says 64 KiB in 46 bits."""
    bits, left = "", size
    while left:
        count = min(left, 65535)
        bits += f"{count:016b}" + "0" * (5 + 5 + 9 + 9 + 4 + 4)
        left -= count
    bits += "0" * (-len(bits) % 8)
    return (
        lha_member("disk", b"-lh5-", int(bits, 2).to_bytes(len(bits) // 8, "big"), size, 0) + b"\0"
    )


def as_raw(content: bytes, disk_format: str, folder: Path) -> bytes:
    """The disk that an image holds, read by qemu-img."""
    source, target = folder / "source", folder / "target"
    source.write_bytes(content)
    command = ["qemu-img", "convert", "-f", disk_format, "-O", "raw", source, target]
    subprocess.run(command, check=True)
    return target.read_bytes()


def test_a_disk_is_converted(tested: TestedCloud, client: httpx.Client, tmp_path: Path) -> None:
    shown = imported(tested, client, DISK)
    assert (shown["status"], shown["disk_format"]) == ("active", "qcow2")
    assert shown["virtual_size"] == len(DISK)
    content = client.get(f"{URL}/{shown['id']}/file").content
    assert len(content) == shown["size"] < len(DISK)
    assert as_raw(content, "qcow2", tmp_path) == DISK
    assert task_of(client, shown)["status"] == "success"


@pytest.mark.parametrize(("disk_format", "made"), [("vmdk", "vmdk"), ("vhd", "vpc")])
def test_other_formats_are_converted(
    tested: TestedCloud, client: httpx.Client, tmp_path: Path, disk_format: str, made: str
) -> None:
    (tmp_path / "raw").write_bytes(DISK)
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", made, tmp_path / "raw", tmp_path / "made"],
        check=True,
    )
    data = (tmp_path / "made").read_bytes()
    shown = imported(tested, client, data, disk_format=disk_format)
    assert (shown["status"], shown["disk_format"]) == ("active", "qcow2")
    content = client.get(f"{URL}/{shown['id']}/file").content
    assert as_raw(content, "qcow2", tmp_path)[: len(DISK)] == DISK


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, lzma.compress, bz2.compress, zipped("disk"), zstd, lha("disk")],
    ids=["gzip", "xz", "bzip2", "zip", "zstd", "lha"],
)
def test_a_compressed_disk_is_unpacked(
    tested: TestedCloud, client: httpx.Client, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    shown = imported(tested, client, pack(DISK), container_format="compressed")
    assert shown["status"] == "active", task_of(client, shown)
    assert (shown["container_format"], shown["disk_format"]) == ("bare", "qcow2")
    content = client.get(f"{URL}/{shown['id']}/file").content
    assert as_raw(content, "qcow2", tmp_path) == DISK


def test_iso_images_stay_what_they_are(tested: TestedCloud, client: httpx.Client) -> None:
    iso = bytes(32768) + b"\x01CD001\x01" + bytes(64 << 10)
    shown = imported(tested, client, iso, disk_format="iso")
    assert (shown["status"], shown["disk_format"]) == ("active", "iso")
    assert client.get(f"{URL}/{shown['id']}/file").content == iso


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"not compressed at all", "none of gzip"),
        (gzip.compress(DISK)[:-100], "cannot be decompressed"),
        (zipped("one", "two")(b"x"), "2 files"),
        (gzip.compress(bytes(17 << 20)), "larger than"),  # it would fill the disk
        (zstd(DISK)[:-100], "cannot be decompressed"),
        (zstd(bytes(17 << 20)), "larger than"),
        (lha("one", "two")(b"x"), "2 files"),
        (lha("cut")(DISK)[:-100], "ends too early"),
        (lha_bomb(17 << 20), "larger than"),
        (b"..-lh5-" + bytes(100), "cannot be decompressed"),
        (lha("disk")(DISK)[:-9] + b"damaged!\0", "cannot be decompressed"),
    ],
    ids=[
        *("nothing", "gzip-cut", "zip-two-files", "gzip-bomb", "zstd-cut", "zstd-bomb"),
        *("lha-two-files", "lha-cut", "lha-bomb", "lha-nonsense", "lha-damaged"),
    ],
)
def test_what_cannot_be_unpacked_fails(
    tested: TestedCloud, client: httpx.Client, data: bytes, words: str
) -> None:
    shown = imported(tested, client, data, container_format="compressed")
    assert (shown["status"], shown["container_format"]) == ("queued", "compressed")
    task = task_of(client, shown)
    assert (task["status"], words in task["message"]) == ("failure", True), task["message"]


def test_a_lying_format_is_never_given_to_a_tool(
    tested: TestedCloud, client: httpx.Client, tmp_path: Path
) -> None:
    path = tmp_path / "evil"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw"]
    subprocess.run([*command, path, "1M"], check=True)
    for disk_format in ("raw", "qcow2"):
        shown = imported(tested, client, path.read_bytes(), disk_format=disk_format)
        assert shown["status"] == "queued"
        assert task_of(client, shown)["status"] == "failure"
    folder = tested.cloud.settings.image.directory / "staging"
    assert [each.name for each in folder.iterdir()] == []


def test_properties_are_given_to_images_of_users(tested: TestedCloud, client: httpx.Client) -> None:
    assert imported(tested, client, DISK)["os_shutdown_timeout"] == "60"
    assert "os_shutdown_timeout" not in imported(tested, tested.client("admin"), DISK)


# --- From another region ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestedCloud, TestedCloud]]:
    """Two clouds, the second of which asks the identity of the first, as regions do."""
    here = make_cloud(tmp_path_factory.mktemp("here"), services=("identity", "image"))
    there = make_cloud(tmp_path_factory.mktemp("there"), services=("image",))
    there.cloud.provide(Authenticator, here.cloud.get(Authenticator))  # type: ignore[type-abstract]
    admin = here.client("admin")
    with listening(there.app) as url:
        admin.post("/identity/v3/regions", json={"region": {"id": "RegionTwo"}})
        [service] = admin.get("/identity/v3/services?type=image").json()["services"]
        endpoint = {
            "service_id": service["id"],
            "interface": "public",
            "region_id": "RegionTwo",
            "url": f"{url}/image",
        }
        made = admin.post("/identity/v3/endpoints", json={"endpoint": endpoint})
        assert made.status_code == 201, made.text
        yield here, there
    there.close()
    here.close()


def member_of(regions: tuple[TestedCloud, TestedCloud]) -> tuple[httpx.Client, httpx.Client]:
    """The same member in both."""
    here, there = regions
    client, other = here.client("member"), there.client(None)
    other.headers["X-Auth-Token"] = client.headers["X-Auth-Token"]
    return client, other


def fetch(client: httpx.Client, one: str, **method: str) -> httpx.Response:
    asked = {"name": "glance-download", "glance_region": "RegionTwo", **method}
    return client.post(f"{URL}/{one}/import", json={"method": asked})


def test_an_image_comes_from_another_region(regions: tuple[TestedCloud, TestedCloud]) -> None:
    client, other = member_of(regions)
    values = {
        "hw_cpu_cores": "5",
        "trait:STORAGE_DISK_SSD": "required",
        "os_distro": "rhel",
        "speed": "88mph",
    }
    body = {"disk_format": "raw", "container_format": "bare", **values}
    source = other.post(URL, json=body).json()["id"]
    assert other.put(f"{URL}/{source}/file", content=DISK, headers=OCTETS).status_code == 204
    body = {"disk_format": "iso", "container_format": "ovf", "hw_cpu_cores": "1", "mine": "x"}
    one = client.post(URL, json=body).json()["id"]
    assert fetch(client, one, glance_image_id=source).status_code == 202
    regions[0].settle()
    shown = client.get(f"{URL}/{one}").json()
    assert shown["status"] == "active", task_of(client, shown)
    assert (shown["disk_format"], shown["container_format"]) == ("raw", "bare")
    assert (shown["hw_cpu_cores"], shown["os_distro"], shown["mine"]) == ("5", "rhel", "x")
    assert shown["trait:STORAGE_DISK_SSD"] == "required"
    assert "speed" not in shown
    assert client.get(f"{URL}/{one}/file").content == DISK
    journal = task_of(client, shown)
    assert client.headers["X-Auth-Token"] not in str(journal)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({"glance_image_id": str(uuid4())}, "answered 404"),
        ({"glance_image_id": str(uuid4()), "glance_region": "Nowhere"}, "region Nowhere"),
        ({"glance_image_id": str(uuid4()), "glance_service_interface": "x"}, "no x endpoint"),
    ],
)
def test_what_is_not_there_fails_the_import(
    regions: tuple[TestedCloud, TestedCloud], method: dict[str, str], words: str
) -> None:
    client, _ = member_of(regions)
    one = client.post(URL, json={"os_distro": "debian"}).json()["id"]
    assert fetch(client, one, **method).status_code == 202
    regions[0].settle()
    shown = client.get(f"{URL}/{one}").json()
    assert (shown["status"], shown["os_distro"]) == ("queued", "debian")
    task = task_of(client, shown)
    assert (task["status"], words in task["message"]) == ("failure", True), task["message"]


def test_the_image_of_another_region_is_named_by_its_id(
    regions: tuple[TestedCloud, TestedCloud],
) -> None:
    client, _ = member_of(regions)
    one = client.post(URL, json={}).json()["id"]
    answer = fetch(client, one, glance_image_id="foo")
    assert (answer.status_code, "does not look like a UUID" in answer.text) == (400, True)
    for lacking in ({}, {"glance_image_id": str(uuid4()), "glance_region": ""}):
        assert fetch(client, one, **lacking).status_code == 400


def delegated(cloud: TestedCloud, how: str) -> str:
    """A token of the administrator, by whom he delegated his role of a member only."""
    admin, owner, to = cloud.client("admin"), cloud.user("admin"), cloud.user("stranger")
    if how == "an application credential":
        values: dict[str, Any] = {"name": str(uuid4()), "roles": [{"name": "member"}]}
        url = f"/identity/v3/users/{owner.user_id}/application_credentials"
        answer = admin.post(url, json={"application_credential": values})
        assert answer.status_code == 201, answer.text
        made = answer.json()["application_credential"]
        methods = {"application_credential": {"id": made["id"], "secret": made["secret"]}}
        auth: dict[str, Any] = {"identity": {"methods": list(methods), **methods}}
    else:
        values = {
            "trustor_user_id": owner.user_id,
            "trustee_user_id": to.user_id,
            "project_id": owner.project_id,
            "impersonation": how == "a trust",
            "roles": [{"name": "member"}],
        }
        answer = admin.post("/identity/v3/OS-TRUST/trusts", json={"trust": values})
        assert answer.status_code == 201, answer.text
        given = {"id": cloud.client("stranger").headers["X-Auth-Token"]}
        auth = {
            "identity": {"methods": ["token"], "token": given},
            "scope": {"OS-TRUST:trust": {"id": answer.json()["trust"]["id"]}},
        }
    answer = cloud.client(None).post("/identity/v3/auth/tokens", json={"auth": auth})
    assert answer.status_code == 201, answer.text
    return str(answer.headers["X-Subject-Token"])


@pytest.mark.parametrize(
    "how", ["an application credential", "a trust", "a trust without impersonation"]
)
def test_what_was_delegated_is_worth_no_more_in_another_region(
    regions: tuple[TestedCloud, TestedCloud], how: str
) -> None:
    here, there = regions
    _, other = member_of(regions)
    body = {"disk_format": "raw", "container_format": "bare"}
    private = other.post(URL, json=body).json()["id"]
    assert other.put(f"{URL}/{private}/file", content=DISK, headers=OCTETS).status_code == 204
    for token, status in (
        (here.client("admin").headers["X-Auth-Token"], "active"),
        (delegated(here, how), "queued"),
    ):
        client = here.client(None)
        client.headers["X-Auth-Token"] = token
        one = client.post(URL, json={}).json()["id"]
        assert fetch(client, one, glance_image_id=private).status_code == 202
        here.settle()
        shown = client.get(f"{URL}/{one}").json()
        assert shown["status"] == status
    assert "answered 404" in task_of(client, shown)["message"]
    # What it may see, it may fetch.
    theirs = there.client(None)
    theirs.headers["X-Auth-Token"] = token
    source = theirs.post(URL, json=body).json()["id"]
    assert theirs.put(f"{URL}/{source}/file", content=DISK, headers=OCTETS).status_code == 204
    assert fetch(client, one, glance_image_id=source).status_code == 202
    here.settle()
    assert client.get(f"{URL}/{one}").json()["status"] == "active"


def test_another_region_leads_nowhere_else(regions: tuple[TestedCloud, TestedCloud]) -> None:
    """OSSA-2026-004, CVE-2026-34881: not to a service of ours, nor with the token to others."""
    client, _ = member_of(regions)
    met: list[str] = []

    class Trap(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            met.append(self.path)
            if self.path.startswith("/trap"):
                self.send_response(200)
            else:
                self.send_response(302)
                self.send_header("Location", "/trap")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    admin = regions[0].client("admin")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Trap)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    admin.post("/identity/v3/regions", json={"region": {"id": "RegionThree"}})
    [service] = admin.get("/identity/v3/services?type=image").json()["services"]
    endpoint = {
        "service_id": service["id"],
        "interface": "public",
        "region_id": "RegionThree",
        "url": f"http://127.0.0.1:{server.server_port}/image",
    }
    assert admin.post("/identity/v3/endpoints", json={"endpoint": endpoint}).status_code == 201
    one, source = client.post(URL, json={}).json()["id"], str(uuid4())
    asked = fetch(client, one, glance_image_id=source, glance_region="RegionThree")
    assert asked.status_code == 202, asked.text
    regions[0].settle()
    server.shutdown()
    server.server_close()
    shown = client.get(f"{URL}/{one}").json()
    assert shown["status"] == "queued"
    assert "answered 302" in task_of(client, shown)["message"]
    assert set(met) == {f"/image/v2/images/{source}"}
