"""What is on the disk of a store with encryption, and what its users see."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from nubelet.object_store import Storage, rotate_keys
from nubelet.object_store.storage import ObjectPath
from tests.object_store_calls import Account, Store, make_store

SECRET = b"very-secret-words " * 8000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    yield from make_store(tmp_path_factory.mktemp("objects"), encryption=True)


@pytest.fixture
def account(store: Store) -> Account:
    return store.account()


def everything_on_disk(store: Store) -> bytes:
    import os

    found = b""
    for path in Path(store.tested.cloud.settings.object_store.directory).rglob("*"):
        if path.is_file():
            found += path.read_bytes()
            for name in os.listxattr(path):
                found += os.getxattr(path, name)
    return found


def test_users_see_no_difference(account: Account) -> None:
    path = account.container()
    etag = hashlib.md5(SECRET).hexdigest()
    answer = account.put(f"{path}/o", SECRET, X_Object_Meta_A="blue", Etag=etag)
    assert (answer.status_code, answer.headers["etag"]) == (201, etag)
    assert account.put(f"{path}/p", SECRET, Etag="0" * 32).status_code == 422
    got = account.get(f"{path}/o")
    assert got.content == SECRET
    assert (got.headers["etag"], got.headers["x-object-meta-a"]) == (etag, "blue")
    assert account.get(f"{path}/o", If_None_Match=etag).status_code == 304
    for start, end in ((0, 0), (5, 5), (17, 40), (70_001, 140_000)):
        part = account.get(f"{path}/o", Range=f"bytes={start}-{end}")
        assert part.content == SECRET[start : end + 1]
    several = account.get(f"{path}/o", Range="bytes=1-3,100001-100005")
    assert SECRET[1:4] in several.content
    assert SECRET[100001:100006] in several.content
    (entry,) = account("GET", path, params={"format": "json"}).json()
    assert (entry["hash"], entry["bytes"]) == (etag, len(SECRET))
    account.post(f"{path}/o", X_Object_Meta_B="green")
    head = account.head(f"{path}/o").headers
    assert "x-object-meta-a" not in head
    assert head["x-object-meta-b"] == "green"
    assert account.get(f"{path}/o").content == SECRET


def test_features_work_on_top(account: Account) -> None:
    path = account.container(X_Versions_Enabled="true")
    parts = account.container()
    account.put(f"{parts}/1", b"hello ")
    account.put(f"{parts}/2", b"you", X_Object_Meta_A="1")
    answer = account(
        "PUT",
        f"{path}/big",
        params={"multipart-manifest": "put"},
        json=[{"path": f"{parts}/1"}, {"path": f"{parts}/2"}],
    )
    assert account.get(f"{path}/big").content == b"hello you"
    assert account.get(f"{path}/big").headers["etag"] == answer.headers["etag"]
    account.put(f"{path}/copy", X_Copy_From=f"{parts}/2")
    got = account.get(f"{path}/copy")
    assert (got.content, got.headers["x-object-meta-a"]) == (b"you", "1")
    account.put(f"{parts}/dyn", X_Object_Manifest=f"{parts[1:]}/%31")
    assert account.get(f"{parts}/dyn").content == b"hello "
    account.put(f"{parts}/link", X_Symlink_Target=f"{parts[1:]}/1")
    assert account.get(f"{parts}/link").content == b"hello "


def test_nothing_readable_is_stored(store: Store, account: Account) -> None:
    path = account.container()
    account.put(f"{path}/o", SECRET, X_Object_Meta_A="a-secret-color")
    account.post(f"{path}/o", X_Object_Meta_A="another-secret-color")
    found = everything_on_disk(store)
    assert b"very-secret-words" not in found
    assert b"secret-color" not in found
    assert hashlib.md5(SECRET).hexdigest().encode() not in found
    assert base64.b64encode(b"very-secret") not in found


def test_secrets_are_rotated(store: Store, account: Account) -> None:
    path = account.container()
    account.put(f"{path}/old", b"old", X_Object_Meta_A="1")
    settings = store.tested.cloud.settings
    number = rotate_keys(settings)
    account.put(f"{path}/new", b"new")
    assert account.get(f"{path}/old").content == b"old"
    assert account.get(f"{path}/old").headers["x-object-meta-a"] == "1"
    assert account.get(f"{path}/new").content == b"new"
    account.post(f"{path}/old", X_Object_Meta_A="2")
    assert account.get(f"{path}/old").headers["x-object-meta-a"] == "2"
    entries = account("GET", path, params={"format": "json"}).json()
    assert [each["hash"] for each in entries] == [
        hashlib.md5(data).hexdigest() for data in (b"new", b"old")
    ]
    assert number == "000002"


def test_objects_from_before_are_served(tmp_path: Path) -> None:
    for made in make_store(tmp_path):
        account = made.account()
        path = account.container()
        account.put(f"{path}/o", b"plain", X_Object_Meta_A="1")
        before = ObjectPath(account.name, path.strip("/"), "o")
    for made in make_store(tmp_path, encryption=True):
        opened = made.tested.cloud.get(Storage).open_object(before, 0)  # type: ignore[type-abstract]
        assert b"".join(opened.read()) == b"plain"
        assert opened.metadata["x-object-meta-a"] == "1"
        opened.close()
