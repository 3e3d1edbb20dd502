"""Several stores: where uploads go, copies, deleting from one, and what users see of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nubelet.image import Stores, check
from nubelet.image.stores import StoreUnreachable
from nubelet.image.stores.file import FileUpload
from tests.cloud import TestedCloud, make_cloud
from tests.image_files import owners
from tests.web import served

URL = "/image/v2/images"
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    folder = tmp_path_factory.mktemp("image")
    made = make_cloud(
        folder,
        services=("identity", "image"),
        options={
            "image.stores": {
                "archive": {"type": "file", "directory": str(folder / "archive"), "weight": 9},
                "web": {"type": "http", "description": "elsewhere"},
            },
            "image.web_download_networks": ("127.0.0.1/32",),
        },
    )
    yield made
    made.close()


@pytest.fixture
def client(tested: TestedCloud) -> httpx.Client:
    return tested.client("member")


@pytest.fixture
def admin(tested: TestedCloud) -> httpx.Client:
    return tested.client("admin")


def create(client: httpx.Client) -> str:
    made = client.post(URL, json={"disk_format": "raw", "container_format": "bare"})
    assert made.headers["OpenStack-image-store-ids"] == "file,archive,web"
    return str(made.json()["id"])


def upload(client: httpx.Client, one: str, **headers: str) -> httpx.Response:
    return client.put(f"{URL}/{one}/file", content=b"content", headers=OCTETS | headers)


def imported(tested: TestedCloud, client: httpx.Client, **asked: Any) -> Any:
    one = create(client)
    client.put(f"{URL}/{one}/stage", content=b"content", headers=OCTETS)
    body = {"method": {"name": "glance-direct"}, **asked}
    answer = client.post(f"{URL}/{one}/import", json=body)
    assert answer.status_code == 202, answer.text
    tested.settle()
    return client.get(f"{URL}/{one}").json()


def holding(tested: TestedCloud, one: str) -> list[str]:
    """The stores that really have data of an image."""
    return [each.name for each in tested.cloud.get(Stores) if one in owners(each.list_ids())]


def lose(tested: TestedCloud, name: str, one: str) -> None:
    """The data of an image goes from a store, and nobody knows."""
    store = tested.cloud.get(Stores).get(name)
    [key] = [key for key in store.list_ids() if owners([key]) == [one]]
    store.delete(key)


def test_what_stores_there_are(client: httpx.Client, admin: httpx.Client) -> None:
    shown = {each["id"]: each for each in client.get("/image/v2/info/stores").json()["stores"]}
    assert shown["file"]["default"] == "true"
    assert "default" not in shown["archive"]
    assert shown["web"] == {"id": "web", "description": "elsewhere", "read-only": "true"}
    assert client.get("/image/v2/info/stores/detail").status_code == 403
    stores = admin.get("/image/v2/info/stores/detail").json()["stores"]
    detail = {each["id"]: each for each in stores}
    assert (detail["archive"]["type"], detail["archive"]["weight"]) == ("file", 9)
    assert detail["archive"]["properties"]["data_dir"].endswith("archive")
    assert detail["web"]["properties"] == {}


def test_uploads_go_to_the_default_store_or_the_one_that_is_named(
    tested: TestedCloud, client: httpx.Client
) -> None:
    one, two = create(client), create(client)
    assert upload(client, one).status_code == 204
    assert upload(client, two, **{"x-image-meta-store": "archive"}).status_code == 204
    assert client.get(f"{URL}/{one}").json()["stores"] == "file"
    assert client.get(f"{URL}/{two}").json()["stores"] == "archive"
    assert (holding(tested, one), holding(tested, two)) == (["file"], ["archive"])
    assert client.get(f"{URL}/{two}/file").content == b"content"
    three = create(client)
    for name in ("nowhere", "web"):
        answer = upload(client, three, **{"x-image-meta-store": name})
        assert (answer.status_code, name in answer.json()["message"]) == (400, True)
    assert client.get(f"{URL}/{three}").json()["status"] == "queued"


def test_an_import_to_all_stores_leaves_out_those_that_are_read_only(
    tested: TestedCloud, client: httpx.Client
) -> None:
    shown = imported(tested, client, all_stores=True)
    assert (shown["status"], shown["stores"]) == ("active", "archive,file")  # by weight
    assert holding(tested, shown["id"]) == ["file", "archive"]


def test_an_import_names_its_stores(tested: TestedCloud, client: httpx.Client) -> None:
    assert imported(tested, client, stores=["archive"])["stores"] == "archive"
    one = create(client)
    client.put(f"{URL}/{one}/stage", content=b"content", headers=OCTETS)
    for stores, status in ((["web"], 400), (["nowhere"], 409)):
        body = {"method": {"name": "glance-direct"}, "stores": stores}
        answer = client.post(f"{URL}/{one}/import", json=body)
        assert (answer.status_code, stores[0] in answer.json()["message"]) == (status, True)


@pytest.mark.parametrize("must", [True, False])
def test_a_store_that_fails(
    tested: TestedCloud, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, must: bool
) -> None:
    commit = FileUpload.commit

    def broken(self: FileUpload) -> None:
        if self._target.parent.name == "archive":
            raise OSError("the archive burns")
        commit(self)

    monkeypatch.setattr(FileUpload, "commit", broken)
    shown = imported(tested, client, all_stores=True, all_stores_must_succeed=must)
    [task] = client.get(f"{URL}/{shown['id']}/tasks").json()["tasks"]
    if must:
        assert (shown["status"], task["status"]) == ("queued", "failure")
        assert shown["os_glance_failed_import"] == "file,archive"
        assert "the archive burns" in task["message"]
        assert holding(tested, shown["id"]) == []
    else:
        assert (shown["status"], task["status"]) == ("active", "success")
        assert (shown["stores"], shown["os_glance_failed_import"]) == ("file", "archive")
        assert holding(tested, shown["id"]) == ["file"]


def test_an_import_goes_to_the_store_of_the_header(
    tested: TestedCloud, client: httpx.Client
) -> None:
    one, body = create(client), {"method": {"name": "glance-direct"}}
    client.put(f"{URL}/{one}/stage", content=b"content", headers=OCTETS)

    def start(name: str, **more: object) -> int:
        headers = {"X-Image-Meta-Store": name}
        return client.post(
            f"{URL}/{one}/import", json={**body, **more}, headers=headers
        ).status_code

    assert start("nowhere") == 409
    assert start("archive", stores=["file"]) == 400
    assert start("archive", all_stores=True) == 400
    assert start("archive") == 202
    tested.settle()
    assert holding(tested, one) == ["archive"]


@pytest.mark.parametrize("there", [False, True])
def test_a_store_whose_folder_is_gone_is_named(tmp_path: Path, there: bool) -> None:
    """Unmounted, or something else in its place: 503, and nothing waits for it to come back."""
    archive = tmp_path / "archive"
    stores = {"archive": {"type": "file", "directory": str(archive)}}
    tested = make_cloud(
        tmp_path, services=("identity", "image"), options={"image.stores": stores}, hosts=()
    )
    try:
        client = tested.client("member")
        wanted = {"disk_format": "raw", "container_format": "bare"}
        one, two = (str(client.post(URL, json=wanted).json()["id"]) for _ in range(2))
        archive.rmdir()
        if there:
            archive.write_bytes(b"")
        answer = upload(client, one, **{"X-Image-Meta-Store": "archive"})
        assert (answer.status_code, "archive" in answer.json()["message"]) == (503, True)
        assert str(tmp_path) not in answer.text
        assert client.get(f"{URL}/{one}").json()["status"] == "queued"
        assert upload(client, one).status_code == 204
        client.put(f"{URL}/{two}/stage", content=b"content", headers=OCTETS)
        body = {"method": {"name": "glance-direct"}, "stores": ["archive"]}
        assert client.post(f"{URL}/{two}/import", json=body).status_code == 202
        tested.settle()
        [task] = client.get(f"{URL}/{two}/tasks").json()["tasks"]
        assert task["status"] == "failure"
        assert str(tmp_path) not in task["message"]
        for loop in ("image.note_strays", "image.clean_up_uploads"):
            tested.reconcile(loop)
        assert "archive cannot be reached" in "\n".join(check(tested.cloud))
    finally:
        tested.close()


def test_an_image_is_copied_and_deleted_from_a_store(
    tested: TestedCloud, client: httpx.Client, admin: httpx.Client
) -> None:
    one = create(client)
    upload(client, one)
    body = {"method": {"name": "copy-image"}, "all_stores": True}
    assert client.post(f"{URL}/{one}/import", json=body).status_code == 403
    assert admin.post(f"{URL}/{one}/import", json=body).status_code == 202
    tested.settle()
    shown = client.get(f"{URL}/{one}").json()
    assert (shown["status"], shown["stores"]) == ("active", "archive,file")
    assert holding(tested, one) == ["file", "archive"]
    assert shown["os_glance_importing_to_stores"] == shown["os_glance_failed_import"] == ""
    assert admin.post(f"{URL}/{one}/import", json=body).status_code == 202  # nothing to do
    named = {"method": {"name": "copy-image"}, "stores": ["archive"]}
    again = admin.post(f"{URL}/{one}/import", json=named)
    assert (again.status_code, "already present" in again.json()["message"]) == (409, True)
    path = f"/image/v2/stores/file/{one}"
    assert client.delete(path).status_code == 403
    assert admin.delete(path).status_code == 204
    tested.settle()
    assert client.get(f"{URL}/{one}").json()["stores"] == "archive"
    assert holding(tested, one) == ["archive"]
    assert client.get(f"{URL}/{one}/file").content == b"content"
    assert admin.delete(path).status_code == 404
    assert admin.delete(f"/image/v2/stores/nowhere/{one}").status_code == 404
    last = admin.delete(f"/image/v2/stores/archive/{one}")
    assert (last.status_code, "only data" in last.json()["message"]) == (403, True)
    assert admin.delete(f"/image/v2/stores/archive/{create(client)}").status_code == 409


def test_a_copy_of_damaged_data_is_not_made(
    tested: TestedCloud, client: httpx.Client, admin: httpx.Client
) -> None:
    one = create(client)
    upload(client, one)
    [path] = tested.cloud.settings.image.directory.glob(f"{one}*")
    path.write_bytes(b"CONTENT")
    body = {"method": {"name": "copy-image"}, "stores": ["archive"]}
    assert admin.post(f"{URL}/{one}/import", json=body).status_code == 202
    tested.settle()
    shown = client.get(f"{URL}/{one}").json()
    assert (shown["stores"], shown["os_glance_failed_import"]) == ("file", "archive")
    [task] = client.get(f"{URL}/{one}/tasks").json()["tasks"]
    assert (task["status"], "damaged" in task["message"]) == ("failure", True)
    assert holding(tested, one) == ["file"]


def test_data_is_read_from_another_store_when_one_lacks_it(
    tested: TestedCloud, client: httpx.Client
) -> None:
    one = imported(tested, client, all_stores=True)["id"]
    lose(tested, "archive", one)
    assert client.get(f"{URL}/{one}/file").content == b"content"
    lose(tested, "file", one)
    assert client.get(f"{URL}/{one}/file").status_code == 404


def test_a_store_that_cannot_be_reached_is_told(
    tested: TestedCloud, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = create(client), create(client)
    upload(client, one)

    def gone(*args: Any) -> None:
        raise StoreUnreachable("no route")

    store = tested.cloud.get(Stores).default
    monkeypatch.setattr(store, "size", gone)
    monkeypatch.setattr(FileUpload, "commit", gone)
    for answer in (client.get(f"{URL}/{one}/file"), upload(client, two)):
        assert (answer.status_code, "no route" in answer.json()["message"]) == (503, True)
    assert client.get(f"{URL}/{two}").json()["status"] == "queued"


def test_what_is_deleted_leaves_every_store(
    tested: TestedCloud, client: httpx.Client, tmp_path: Path
) -> None:
    one = imported(tested, client, all_stores=True)["id"]
    assert client.delete(f"{URL}/{one}").status_code == 204
    tested.settle()
    assert holding(tested, one) == []


def test_data_on_the_web_is_read_in_ranges(
    tested: TestedCloud, client: httpx.Client, tmp_path: Path
) -> None:
    with served(tmp_path, {"image": bytes(range(256))}) as url:
        one = create(client)
        location = {"url": f"{url}/image"}
        answer = client.post(f"{URL}/{one}/locations", json=location)
        assert answer.status_code == 202
        tested.settle()
        whole = client.get(f"{URL}/{one}/file")
        assert (whole.status_code, whole.content) == (200, bytes(range(256)))
        part = client.get(f"{URL}/{one}/file", headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
        assert part.headers["Content-Range"] == "bytes 10-19/256"
    assert client.get(f"{URL}/{one}/file").status_code == 503
