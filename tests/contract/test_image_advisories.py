"""What once went wrong in image services and was published: one test for each kind, so that it
never goes wrong here. The number of the advisory stands with each."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from nubelet.formats import vmdk
from nubelet.image import uploads
from tests.cloud import TestedCloud, make_cloud
from tests.web import served

PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
DATA = {"Content-Type": "application/octet-stream"}
IMAGES = "/image/v2/images"
SECRET = b"a secret of the host"


@pytest.fixture
def tested(tmp_path: Path) -> Iterator[TestedCloud]:
    made = make_cloud(
        tmp_path,
        services=("identity", "image"),
        hosts=(),
        options={"image.max_bytes": 2 << 20},
    )
    yield made
    made.close()


@pytest.fixture
def member(tested: TestedCloud) -> httpx.Client:
    return tested.client("member")


def create(client: httpx.Client, disk_format: str = "raw", **more: Any) -> str:
    answer = client.post(
        IMAGES, json={"disk_format": disk_format, "container_format": "bare", **more}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def upload(client: httpx.Client, image_id: str, data: Any) -> httpx.Response:
    return client.put(f"{IMAGES}/{image_id}/file", content=data, headers=DATA)


def import_staged(client: httpx.Client, image_id: str, data: bytes) -> None:
    """Stage the data and begin its import."""
    staged = client.put(f"{IMAGES}/{image_id}/stage", content=data, headers=DATA)
    assert staged.status_code == 204, staged.text
    begun = client.post(f"{IMAGES}/{image_id}/import", json={"method": {"name": "glance-direct"}})
    assert begun.status_code == 202, begun.text


def status(client: httpx.Client, image_id: str) -> str:
    return str(client.get(f"{IMAGES}/{image_id}").json()["status"])


def stored_bytes(tested: TestedCloud) -> int:
    """Bytes of image data on the disk, parts and staged data included."""
    folder = tested.cloud.settings.image.directory
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def qcow2(
    *, backing: bytes = b"", data_file: bytes = b"", features: int = 0, size: int = 1 << 20
) -> bytes:
    head = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 512 if backing else 0, len(backing), 16, size)
    head = head.ljust(72, b"\0") + struct.pack(">Q", features)
    head = head.ljust(100, b"\0") + struct.pack(">I", 104)
    if data_file:
        head += struct.pack(">II", 0x44415441, len(data_file)) + data_file
    return head.ljust(512, b"\0") + backing + bytes(70_000)


def flat_vmdk(path: str) -> bytes:
    return (
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        f'createType="monolithicFlat"\nRW 2048 FLAT "{path}" 0\n'
    ).encode()


def sparse_vmdk_around(text: bytes, capacity: int) -> bytes:
    """A sparse file whose description is of another disk."""
    head = struct.pack("<4sIIQQQQIQQ", vmdk.MAGIC, 1, 3, capacity, 128, 1, 20, 512, 21, 26).ljust(
        512, b"\0"
    )
    return head + text.ljust(20 * 512, b"\0") + bytes(65536)


# --- Data that points outside itself ------------------------------------------------------------

HARMFUL = {
    # OSSA-2015-014, CVE-2015-5163: the backing file is read when the image is converted
    "backing file": ("qcow2", qcow2(backing=b"/etc/passwd")),
    # OSSA-2024-001, CVE-2024-32498: the data file is read when the image is used
    "data file": ("qcow2", qcow2(data_file=b"/etc/passwd", features=4)),
    "data file without its bit": ("qcow2", qcow2(data_file=b"/etc/passwd")),
    # OSSA-2023-002, CVE-2022-47951: the extents of a description are files of the host
    "flat vmdk": ("vmdk", flat_vmdk("/etc/passwd")),
    "flat vmdk in a sparse one": ("vmdk", sparse_vmdk_around(flat_vmdk("/etc/passwd"), 0)),
    "flat vmdk in a sparse one with a size": (
        "vmdk",
        sparse_vmdk_around(flat_vmdk("/etc/passwd"), 2048),
    ),
    # OSSA-2024-002, CVE-2024-40767, and OSSA-2024-003, CVE-2024-44082: the same, declared as what
    # nobody looks into
    "backing file as raw": ("raw", qcow2(backing=b"/etc/passwd")),
    "data file as raw": ("raw", qcow2(data_file=b"/etc/passwd", features=4)),
    "flat vmdk as raw": ("raw", flat_vmdk("/etc/passwd")),
    "flat vmdk as ami": ("ami", flat_vmdk("/etc/passwd")),
    "qcow2 as iso": ("iso", qcow2()),
    # A disk of more bytes than a column holds, or a host could ever have (CVE-2015-5162 and kin)
    "endless disk": ("qcow2", qcow2(size=(1 << 64) - 512)),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_data_that_lies_is_refused_on_upload(
    tested: TestedCloud, member: httpx.Client, name: str
) -> None:
    declared, data = HARMFUL[name]
    one = create(member, declared)
    answer = upload(member, one, data)
    assert answer.status_code in (400, 415), answer.text
    assert status(member, one) == "queued"
    assert stored_bytes(tested) == 0


@pytest.mark.parametrize("name", HARMFUL)
def test_data_that_lies_is_refused_on_import(
    tested: TestedCloud, member: httpx.Client, name: str
) -> None:
    declared, data = HARMFUL[name]
    one = create(member, declared)
    import_staged(member, one, data)
    tested.settle()
    assert status(member, one) == "queued"
    [task] = member.get(f"{IMAGES}/{one}/tasks").json()["tasks"]
    assert task["status"] == "failure"
    tested.reconcile("image.clean_up_uploads")
    assert stored_bytes(tested) == 0


@pytest.fixture(scope="module")
def unchecked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    """A cloud whose operator lets in what is not as it is declared."""
    made = make_cloud(
        tmp_path_factory.mktemp("unchecked"),
        services=("identity", "image"),
        hosts=(),
        options={"image.require_format_match": False},
    )
    yield made
    made.close()


@pytest.mark.parametrize("name", HARMFUL)
def test_an_operator_may_let_such_data_in(
    unchecked: TestedCloud, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """The log says which image it is. Hosts look themselves (tests/unit/test_node_disks.py)."""
    declared, data = HARMFUL[name]
    client = unchecked.client("member")
    uploaded, imported = create(client, declared), create(client, declared)
    assert upload(client, uploaded, data).status_code == 204
    import_staged(client, imported, data)
    unchecked.settle()
    for each in (uploaded, imported):
        shown = client.get(f"{IMAGES}/{each}").json()
        assert (shown["status"], shown["size"]) == ("active", len(data))
        assert shown["virtual_size"] is None
        assert f"image {each}: " in caplog.text
        assert shown["os_hash_value"] == hashlib.sha512(data).hexdigest()
        assert client.get(f"{IMAGES}/{each}/file").content == data


def test_what_is_converted_is_looked_at_whatever_is_let_in(
    unchecked: TestedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = unchecked.cloud.settings.image
    monkeypatch.setattr(
        unchecked.cloud,
        "settings",
        msgspec.structs.replace(
            unchecked.cloud.settings,
            image=msgspec.structs.replace(options, import_plugins=("image_conversion",)),
        ),
    )
    client = unchecked.client("member")
    one = create(client, "qcow2")
    import_staged(client, one, HARMFUL["backing file"][1])
    unchecked.settle()
    assert status(client, one) == "queued"
    [task] = client.get(f"{IMAGES}/{one}/tasks").json()["tasks"]
    assert "backing file" in task["message"]


# --- Data that never ends -----------------------------------------------------------------------


def endless(pieces: int, piece: bytes = bytes(1 << 20)) -> Iterator[bytes]:
    for _ in range(pieces):
        yield piece


def test_the_largest_size_holds_without_a_stated_length(
    tested: TestedCloud, member: httpx.Client
) -> None:
    """OSSA-2014-028, CVE-2014-5356."""
    one = create(member)
    assert upload(member, one, endless(5)).status_code == 413
    assert status(member, one) == "queued"
    answer = member.put(f"{IMAGES}/{one}/stage", content=endless(5), headers=DATA)
    assert answer.status_code == 413
    assert stored_bytes(tested) == 0


@pytest.mark.parametrize("target", ["file", "stage"])
def test_what_is_deleted_while_it_comes_leaves_nothing(
    tested: TestedCloud, member: httpx.Client, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """OSSA-2015-003 and OSSA-2015-020, CVE-2014-9623 and CVE-2015-5286: disk that nobody pays."""
    one = create(member)
    deleted = threading.Event()
    consume = uploads.consume

    def slow(*args: Any, **kwargs: Any) -> Any:
        facts = consume(*args, **kwargs)
        if not deleted.is_set():
            deleted.set()
            assert member.delete(f"{IMAGES}/{one}").status_code == 204
        return facts

    monkeypatch.setattr(uploads, "consume", slow)
    answer = member.put(f"{IMAGES}/{one}/{target}", content=bytes(1 << 20), headers=DATA)
    assert deleted.is_set()
    assert answer.status_code in (404, 410)
    tested.settle()
    tested.reconcile("image.clean_up_uploads")
    assert stored_bytes(tested) == 0
    assert member.get(f"{IMAGES}/{one}").status_code == 404


def test_what_is_deleted_while_it_is_imported_leaves_nothing(
    tested: TestedCloud, member: httpx.Client
) -> None:
    """CVE-2014-9684, CVE-2015-1881 and CVE-2015-3289: staged data of images that are gone."""
    for _ in range(3):
        one = create(member)
        member.put(f"{IMAGES}/{one}/stage", content=bytes(4096), headers=DATA)
        body = {"method": {"name": "glance-direct"}}
        assert member.post(f"{IMAGES}/{one}/import", json=body).status_code == 202
        assert member.delete(f"{IMAGES}/{one}").status_code == 204
    other = create(member)
    member.put(f"{IMAGES}/{other}/stage", content=bytes(4096), headers=DATA)
    assert member.delete(f"{IMAGES}/{other}").status_code == 204
    tested.settle()
    tested.reconcile("image.clean_up_uploads")
    assert stored_bytes(tested) == 0


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_a_packed_image_does_not_fill_the_disk(tmp_path: Path, pack: Any) -> None:
    """Decompression bombs: what unpacks to more than an image may have is given up on the way."""
    tested = make_cloud(
        tmp_path,
        services=("identity", "image"),
        hosts=(),
        options={"image.max_bytes": 2 << 20, "image.import_plugins": ("image_decompression",)},
    )
    try:
        client = tested.client("member")
        one = create(client, container_format="compressed")
        bomb = pack(bytes(64 << 20))
        assert len(bomb) < 1 << 20
        assert client.put(f"{IMAGES}/{one}/stage", content=bomb, headers=DATA).status_code == 204
        body = {"method": {"name": "glance-direct"}}
        assert client.post(f"{IMAGES}/{one}/import", json=body).status_code == 202
        tested.settle()
        assert status(client, one) == "queued"
        [task] = client.get(f"{IMAGES}/{one}/tasks").json()["tasks"]
        assert str(2 << 20) in task["message"], task
        tested.reconcile("image.clean_up_uploads")
        assert stored_bytes(tested) == 0
    finally:
        tested.close()


# --- States and data that do not change behind a user's back -------------------------------------


def test_the_state_of_an_image_is_not_for_users(member: httpx.Client) -> None:
    """OSSA-2015-019, CVE-2015-5251."""
    one = create(member)
    assert upload(member, one, SECRET).status_code == 204
    for name in ("status", "checksum", "size", "os_hash_value", "os_hash_algo", "created_at"):
        change = [{"op": "replace", "path": f"/{name}", "value": "queued"}]
        answer = member.patch(f"{IMAGES}/{one}", json=change, headers=PATCH)
        assert answer.status_code == 403, name
        headers = {"x-image-meta-status": "queued"}
        member.patch(f"{IMAGES}/{one}", json=[], headers=PATCH | headers)
    assert member.post(IMAGES, json={"status": "active"}).status_code == 403
    assert status(member, one) == "active"


def test_the_data_of_an_active_image_is_never_replaced(member: httpx.Client) -> None:
    """OSSA-2016-006, CVE-2016-0757: other bytes under a known id."""
    one = create(member, visibility="shared")
    assert upload(member, one, SECRET).status_code == 204
    shown = member.get(f"{IMAGES}/{one}").json()
    assert upload(member, one, b"other").status_code == 409
    assert member.put(f"{IMAGES}/{one}/stage", content=b"x", headers=DATA).status_code == 409
    for body in (
        {"method": {"name": "glance-direct"}},
        {"method": {"name": "web-download", "uri": "http://93.184.216.34/x"}},
    ):
        assert member.post(f"{IMAGES}/{one}/import", json=body).status_code == 409
    for change in (
        [{"op": "remove", "path": "/locations"}],
        [{"op": "replace", "path": "/locations", "value": []}],
        [{"op": "remove", "path": "/locations/0"}],
        [{"op": "replace", "path": "/direct_url", "value": "http://93.184.216.34/x"}],
        [{"op": "replace", "path": "/disk_format", "value": "qcow2"}],
    ):
        answer = member.patch(f"{IMAGES}/{one}", json=change, headers=PATCH)
        assert answer.status_code in (400, 403, 409), (change, answer.status_code)
    after = member.get(f"{IMAGES}/{one}").json()
    assert {**after, "updated_at": ""} == {**shown, "updated_at": ""}
    assert member.get(f"{IMAGES}/{one}/file").content == SECRET


def test_the_id_of_a_deleted_image_is_never_given_again(tested: TestedCloud) -> None:
    """CVE-2022-4134: whoever wrote a public image's id down would get another one's data."""
    member, admin = tested.client("member"), tested.client("admin")
    one = create(admin, visibility="public")
    assert upload(admin, one, SECRET).status_code == 204
    assert admin.delete(f"{IMAGES}/{one}").status_code == 204
    for settled in (False, True):
        if settled:
            tested.settle()
        for client in (member, admin):
            answer = client.post(IMAGES, json={"id": one, "visibility": "community"})
            assert answer.status_code == 409, answer.text
    assert member.get(f"{IMAGES}/{one}").status_code == 404


# --- Ways into our networks and files -----------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        # OSSA-2026-004: addresses in other spellings, and inside other addresses
        "http://127.0.0.1/x",
        "http://2130706433/x",
        "http://0x7f000001/x",
        "http://0177.0.0.1/x",
        "http://127.1/x",
        "http://localhost/x",
        "http://[::1]/x",
        "http://[::ffff:169.254.169.254]/x",
        "http://[64:ff9b::a9fe:a9fe]/x",
        "http://169.254.169.254/latest/meta-data",
        "http://user@93.184.216.34/x",
        "http://93.184.216.34:6379/x",
        # OSSA-2014-041 and OSSA-2015-002, CVE-2014-9493 and CVE-2015-1195: files of the host
        "file:///etc/passwd",
        "filesystem:///etc/passwd",
        "file+http:///etc/passwd",
        "swift+config://ref/container/object",
        # CVE-2017-7200: services that are not for users
        "gopher://127.0.0.1:11211/x",
        "ftp://127.0.0.1/x",
    ],
)
def test_a_url_of_a_user_leads_to_no_place_of_ours(
    tested: TestedCloud, member: httpx.Client, uri: str
) -> None:
    one = create(member)
    body = {"method": {"name": "web-download", "uri": uri}}
    answer = member.post(f"{IMAGES}/{one}/import", json=body)
    assert answer.status_code == 400, answer.text
    assert status(member, one) == "queued"
    for change in ("add", "replace"):
        location = {"url": uri, "metadata": {}}
        patch = [{"op": change, "path": "/locations", "value": [location]}]
        answer = member.patch(f"{IMAGES}/{one}", json=patch, headers=PATCH)
        assert answer.status_code in (400, 403, 409), answer.text
    answer = member.post(f"{IMAGES}/{one}/locations", json={"url": uri})
    assert answer.status_code in (400, 403, 404, 409), answer.text
    tested.settle()
    assert status(member, one) == "queued"


@pytest.mark.parametrize("identifier", ["../../etc/passwd", "..", "x/../y", "a" * 5000, "\\..\\x"])
def test_an_identifier_is_no_path(
    tested: TestedCloud, member: httpx.Client, identifier: str
) -> None:
    """OSSA-2014-041's kin: files are named by what we made, not by what a user wrote."""
    assert member.post(IMAGES, json={"id": identifier}).status_code == 400
    answer = upload(member, identifier.replace("/", "%2F"), b"x")
    assert answer.status_code in (400, 404, 414)
    assert stored_bytes(tested) == 0


@pytest.fixture
def with_web(tmp_path: Path) -> Iterator[TestedCloud]:
    """A cloud whose users may name data on the web, of this machine too."""
    made = make_cloud(
        tmp_path / "cloud",
        services=("identity", "image"),
        hosts=(),
        options={
            "image.stores": {"web": {"type": "http"}},
            "image.web_download_networks": ("127.0.0.1/32",),
            "image.show_locations": True,
        },
    )
    yield made
    made.close()


@pytest.mark.parametrize("name", HARMFUL)
@pytest.mark.parametrize("said", [True, False])
def test_data_that_lies_is_refused_where_it_lies(
    with_web: TestedCloud, tmp_path: Path, name: str, said: bool
) -> None:
    """What an image only has the location of is inspected as well (OSSA-2024-001 and its kin)."""
    declared, data = HARMFUL[name]
    client = with_web.client("member")
    one = create(client, declared)
    body: dict[str, Any] = {}
    if said:
        digest = hashlib.sha512(data).hexdigest()
        body = {"validation_data": {"os_hash_algo": "sha512", "os_hash_value": digest}}
    with served(tmp_path, {"image": data}) as url:
        answer = client.post(f"{IMAGES}/{one}/locations", json={"url": f"{url}/image", **body})
        assert answer.status_code == 202, answer.text
        with_web.settle()
        shown = client.get(f"{IMAGES}/{one}").json()
        assert (shown["status"], shown["os_hash_value"]) == ("queued", None)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "filesystem:///etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/x",
        "http://2130706433/x",
        "http://[::ffff:10.0.0.1]/x",
        "swift+https://user:password@host/container/object",
        "rbd://a/b/c/d",
        "s3://key:secret@host/bucket/object",
        "cinder://x",
    ],
)
def test_a_location_leads_to_no_place_of_ours(with_web: TestedCloud, url: str) -> None:
    client = with_web.client("member")
    one = create(client)
    answer = client.post(f"{IMAGES}/{one}/locations", json={"url": url})
    assert answer.status_code == 400, answer.text
    patch = [{"op": "replace", "path": "/locations", "value": [{"url": url, "metadata": {}}]}]
    answer = client.patch(f"{IMAGES}/{one}", json=patch, headers=PATCH)
    assert answer.status_code == 400, answer.text
    with_web.settle()
    assert status(client, one) == "queued"


# --- Who sees and changes what -------------------------------------------------------------------


def test_images_of_others_are_neither_deleted_nor_shared(
    tested: TestedCloud, member: httpx.Client
) -> None:
    """CVE-2012-4573, CVE-2012-5482 (deletion), CVE-2013-4354 (members added by members)."""
    admin, stranger = tested.client("admin"), tested.client("stranger")
    public = create(admin, visibility="public")
    shared = create(member, visibility="shared")
    private = create(member, visibility="private")
    project = tested.user("stranger").project_id
    assert member.post(f"{IMAGES}/{shared}/members", json={"member": project}).status_code == 200
    accept = {"status": "accepted"}
    assert stranger.put(f"{IMAGES}/{shared}/members/{project}", json=accept).status_code == 200
    for one in (public, shared, private):
        assert stranger.delete(f"{IMAGES}/{one}").status_code in (403, 404)
        more = {"member": uuid4().hex}
        assert stranger.post(f"{IMAGES}/{one}/members", json=more).status_code in (403, 404)
        assert upload(stranger, one, b"x").status_code in (403, 404)
    assert admin.get(f"{IMAGES}/{private}").status_code == 200
    assert len(member.get(f"{IMAGES}/{shared}/members").json()["members"]) == 1


def test_lists_never_show_what_is_not_for_the_caller(
    tested: TestedCloud, member: httpx.Client
) -> None:
    """Hidden, private and unshared images, by every visibility a list can be asked for."""
    stranger = tested.client("stranger")
    private = create(member, visibility="private", name="n")
    shared = create(member, visibility="shared", name="n")
    hidden = create(member, visibility="private", name="n", os_hidden=True)
    for visibility in ("", "all", "private", "shared", "public", "community"):
        for hiding in ("", "true", "false"):
            for member_status in ("", "all", "pending", "accepted"):
                query = {"name": "n", "member_status": member_status}
                query |= {"visibility": visibility, "os_hidden": hiding}
                params = {key: value for key, value in query.items() if value}
                answer = stranger.get(IMAGES, params=params)
                assert answer.json().get("images") == [], params
    seen = {each["id"] for each in member.get(IMAGES, params={"name": "n"}).json()["images"]}
    assert seen == {private, shared}
    found = member.get(IMAGES, params={"name": "n", "os_hidden": "true"}).json()["images"]
    assert [each["id"] for each in found] == [hidden]
    assert stranger.get(f"{IMAGES}/{private}").status_code == 404
    for marker in (private, str(uuid4())):  # the answer tells not which of them there is
        assert stranger.get(IMAGES, params={"marker": marker}).status_code == 400
    assert member.get(IMAGES, params={"marker": private}).status_code == 200


def test_no_answer_tells_where_the_data_lies(tested: TestedCloud, member: httpx.Client) -> None:
    """CVE-2013-0212, CVE-2013-1840 and CVE-2014-1948: addresses and passwords of stores."""
    one = create(member)
    assert upload(member, one, SECRET).status_code == 204
    folder = str(tested.cloud.settings.image.directory)
    answers = [
        member.get(f"{IMAGES}/{one}"),
        member.get(IMAGES),
        member.get(f"{IMAGES}/{one}/file"),
        member.get("/image/v2/info/stores"),
        member.get(f"{IMAGES}/{one}/tasks"),
        upload(member, one, b"again"),
    ]
    for answer in answers:
        text = answer.text + repr(dict(answer.headers))
        assert folder not in text, answer.url
        assert "file:/" not in text, answer.url
