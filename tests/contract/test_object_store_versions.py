"""Versions: the style with ids, and the two older ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.object_store_calls import Account, Store, make_store

VERSION = "x-object-version-id"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    yield from make_store(tmp_path_factory.mktemp("objects"))


@pytest.fixture
def account(store: Store) -> Account:
    return store.account()


@pytest.fixture
def path(account: Account) -> str:
    return account.container(X_Versions_Enabled="true")


def of(account: Account, method: str, path: str, version: str, **more: Any) -> httpx.Response:
    return account(method, path, params={"version-id": version}, **more)


def listing(account: Account, path: str, **query: Any) -> list[tuple[str, str, bool]]:
    answer = account("GET", path, params={"versions": "", "format": "json", **query})
    assert answer.status_code == 200
    return [(each["name"], each["version_id"], each["is_latest"]) for each in answer.json()]


def test_each_write_is_a_version(account: Account, path: str) -> None:
    one = account.put(f"{path}/o", b"one", X_Object_Meta_A="1").headers[VERSION]
    two = account.put(f"{path}/o", b"twotwo", Content_Type="a/b").headers[VERSION]
    now = account.get(f"{path}/o")
    assert (now.content, now.headers[VERSION]) == (b"twotwo", two)
    assert now.headers["content-location"].endswith(f"{path}/o?version-id={two}")
    old = of(account, "GET", f"{path}/o", one)
    assert (old.content, old.headers[VERSION]) == (b"one", one)
    assert old.headers["x-object-meta-a"] == "1"
    assert of(account, "HEAD", f"{path}/o", one).headers["content-length"] == "3"
    assert listing(account, path) == [("o", two, True), ("o", one, False)]
    (entry,) = account("GET", path, params={"format": "json"}).json()
    assert (entry["bytes"], entry["content_type"]) == (6, "a/b")
    assert entry["hash"] == now.headers["etag"]
    head = account.head(path)
    assert head.headers["x-versions-enabled"] == "True"
    assert head.headers["x-container-bytes-used"] == "9"
    assert head.headers["x-container-object-count"] == "1"


def test_a_delete_is_a_version_too(account: Account, path: str) -> None:
    one = account.put(f"{path}/o", b"one").headers[VERSION]
    gone = account.delete(f"{path}/o")
    assert gone.status_code == 204
    marker = gone.headers[VERSION]
    assert account.get(f"{path}/o").status_code == 404
    assert account.names(path) == []
    assert listing(account, path) == [("o", marker, True), ("o", one, False)]
    assert of(account, "GET", f"{path}/o", marker).status_code == 404
    assert of(account, "GET", f"{path}/o", one).content == b"one"
    assert account.delete(path).status_code == 409
    for version in (one, marker):
        assert of(account, "DELETE", f"{path}/o", version).status_code == 204
    assert listing(account, path) == []
    assert account.delete(path).status_code == 204


def test_a_version_is_made_current_again(account: Account, path: str) -> None:
    one = account.put(f"{path}/o", b"one").headers[VERSION]
    two = account.put(f"{path}/o", b"two").headers[VERSION]
    answer = of(account, "PUT", f"{path}/o", one)
    assert (answer.status_code, answer.headers[VERSION]) == (201, one)
    assert account.get(f"{path}/o").content == b"one"
    assert listing(account, path) == [("o", two, False), ("o", one, True)]
    assert of(account, "DELETE", f"{path}/o", one).status_code == 204
    assert account.get(f"{path}/o").status_code == 404
    assert of(account, "GET", f"{path}/o", two).content == b"two"


def test_an_object_from_before_becomes_a_version(account: Account) -> None:
    path = account.container()
    account.put(f"{path}/o", b"before", X_Object_Meta_A="1")
    assert account.post(path, X_Versions_Enabled="true").status_code == 204
    assert listing(account, path) == [("o", "null", True)]
    assert account.get(f"{path}/o").headers[VERSION] == "null"
    assert of(account, "GET", f"{path}/o", "null").content == b"before"
    account.put(f"{path}/o", b"after")
    (_, (_, old, _)) = listing(account, path)
    answer = of(account, "GET", f"{path}/o", old)
    assert (answer.content, answer.headers["x-object-meta-a"]) == (b"before", "1")


def test_versions_can_be_switched_off(account: Account, path: str) -> None:
    one = account.put(f"{path}/o", b"one").headers[VERSION]
    account.post(path, X_Versions_Enabled="false")
    assert account.head(path).headers["x-versions-enabled"] == "False"
    account.put(f"{path}/o", b"two")
    assert account.get(f"{path}/o").content == b"two"
    assert of(account, "GET", f"{path}/o", one).content == b"one"
    assert account.delete(f"{path}/o").status_code == 204
    assert account.get(f"{path}/o").status_code == 404
    assert [each[1] for each in listing(account, path)] == [one]


def test_a_listing_of_versions_goes_page_by_page(account: Account, path: str) -> None:
    ids = {name: [] for name in "abc"}  # type: ignore[var-annotated]
    for name in ("a", "b", "b", "b", "c"):
        ids[name].insert(0, account.put(f"{path}/{name}", b"x").headers[VERSION])
    whole = [(name, version) for name in "abc" for version in ids[name]]
    assert [each[:2] for each in listing(account, path)] == whole
    found: list[tuple[str, str]] = []
    query: dict[str, str] = {}
    while page := listing(account, path, limit=2, **query):
        found += [each[:2] for each in page]
        query = {"marker": found[-1][0], "version_marker": found[-1][1]}
    assert found == whole
    assert [each[:2] for each in listing(account, path, prefix="b")] == whole[1:4]
    assert [each[:2] for each in listing(account, path, marker="a")] == whole[1:]


def test_wrong_versions(store: Store, account: Account, path: str) -> None:
    one = account.put(f"{path}/o", b"one").headers[VERSION]
    assert of(account, "GET", f"{path}/o", "nonsense").status_code == 400
    assert of(account, "GET", f"{path}/o", "1000000000.00000").status_code == 404
    assert of(account, "GET", f"{account.container()}/o", one).status_code == 400
    for name, status in (("stranger", 403), (None, 401)):
        other = store.seen_by(name)
        for method in ("GET", "PUT", "DELETE"):
            assert of(other, method, f"{path}/o", one).status_code == status
    assert account.put(f"{path}/o", b"2", If_None_Match="*").status_code == 412


def test_a_reader_of_the_container_reads_what_is_there_but_no_versions(
    store: Store, account: Account, path: str
) -> None:
    one = account.put(f"{path}/o", b"one").headers[VERSION]
    account.post(path, X_Container_Read=".r:*")
    anyone = store.seen_by(None)
    assert anyone.get(f"{path}/o").content == b"one"
    assert of(account, "GET", f"{path}/o", one).content == b"one"
    assert of(anyone, "GET", f"{path}/o", one).status_code == 401
    assert of(anyone, "DELETE", f"{path}/o", one).status_code == 401


def test_large_objects_are_versioned(account: Account, path: str) -> None:
    parts = account.container()
    account.put(f"{parts}/p1", b"hello")
    account.put(f"{path}/dyn", X_Object_Manifest=f"{parts[1:]}/p")
    assert account.get(f"{path}/dyn").content == b"hello"
    account(
        "PUT",
        f"{path}/slo",
        params={"multipart-manifest": "put"},
        json=[{"path": f"{parts}/p1"}, {"path": f"{parts}/p1"}],
    )
    got = account.get(f"{path}/slo")
    assert (got.content, got.headers["x-static-large-object"]) == (b"hellohello", "True")
    old = got.headers[VERSION]
    account.put(f"{path}/slo", b"plain")
    assert account.get(f"{path}/slo").content == b"plain"
    assert of(account, "GET", f"{path}/slo", old).content == b"hellohello"


# --- The older styles -------------------------------------------------------------------------


def test_a_delete_brings_the_old_object_back(account: Account) -> None:
    old = account.container()
    path = account.container(X_Versions_Location=old[1:])
    assert account.head(path).headers["x-versions-location"] == old[1:]
    account.put(f"{path}/o", b"one", X_Object_Meta_A="1")
    assert account.names(old) == []
    account.put(f"{path}/o", b"two")
    account.put(f"{path}/o", b"three")
    names = account.names(old)
    assert len(names) == 2
    assert all(name.startswith("001o/") for name in names)
    assert account.delete(f"{path}/o").status_code == 204
    assert account.get(f"{path}/o").content == b"two"
    account.delete(f"{path}/o")
    got = account.get(f"{path}/o")
    assert (got.content, got.headers["x-object-meta-a"]) == (b"one", "1")
    assert account.names(old) == []
    account.delete(f"{path}/o")
    assert account.get(f"{path}/o").status_code == 404


def test_history_keeps_everything(account: Account) -> None:
    old = account.container()
    path = account.container(X_History_Location=old[1:])
    account.put(f"{path}/o", b"one")
    account.put(f"{path}/o", b"two")
    assert account.delete(f"{path}/o").status_code == 204
    assert account.get(f"{path}/o").status_code == 404
    entries = account("GET", old, params={"format": "json"}).json()
    assert [each["bytes"] for each in entries] == [3, 3, 0]
    assert "x-deleted" in entries[-1]["content_type"]


def test_wrong_locations(account: Account) -> None:
    path = account.container()
    both = {"X_Versions_Location": "a", "X_History_Location": "b"}
    assert account.post(path, **both).status_code == 400
    assert account.post(path, X_Versions_Location="a/b").status_code == 412
    account.post(path, X_Versions_Location="not-there")
    account.put(f"{path}/first", b"1")
    assert account.put(f"{path}/first", b"2").status_code == 412
    assert account.post(path, X_Remove_Versions_Location="x").status_code == 204
    assert "x-versions-location" not in account.head(path).headers
    assert account.put(f"{path}/first", b"2").status_code == 201


def test_a_versioned_object_tells_when_it_expires(account: Account) -> None:
    path = account.container(X_Versions_Enabled="true")
    at = str(int(time.time()) + 3600)
    version = account.put(f"{path}/o", b"1", X_Delete_At=at).headers["x-object-version-id"]
    for answer in (account.head(f"{path}/o"), account.get(f"{path}/o")):
        assert answer.headers["x-delete-at"] == at
    account("COPY", f"{path}/o", headers={"Destination": f"{path[1:]}/copy"})
    assert account.head(f"{path}/copy").headers["x-delete-at"] == at
    account.post(f"{path}/o", X_Object_Meta_A="1")
    assert "x-delete-at" not in account.head(f"{path}/o").headers
    assert "x-delete-at" not in account.head(f"{path}/o?version-id={version}").headers
