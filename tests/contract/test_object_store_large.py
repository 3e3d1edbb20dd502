"""Large objects (static and dynamic), copies and links."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.object_store_calls import Account, Store, make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    yield from make_store(tmp_path_factory.mktemp("objects"))


@pytest.fixture
def account(store: Store) -> Account:
    return store.account()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def put_manifest(account: Account, path: str, entries: Any, **headers: str) -> httpx.Response:
    return account(
        "PUT",
        path,
        params={"multipart-manifest": "put"},
        content=json.dumps(entries).encode(),
        headers=headers,
    )


@pytest.fixture
def parts(account: Account) -> tuple[str, list[dict[str, Any]]]:
    """A container with segments of 5, 4 and 3 bytes."""
    path = account.container()
    entries = []
    for name, data in (("1", b"hello"), ("2", b" you"), ("3", b"all")):
        etag = account.put(f"{path}/part/{name}", data).headers["etag"]
        entries.append({"path": f"{path}/part/{name}", "etag": etag, "size_bytes": len(data)})
    return path, entries


# --- Static large objects ---------------------------------------------------------------------


def test_a_manifest_is_read_as_one_object(account: Account, parts: Any) -> None:
    path, entries = parts
    answer = put_manifest(account, f"{path}/big", entries, **{"Content-Type": "a/b"})
    assert answer.status_code == 201, answer.text
    etag = md5("".join(each["etag"] for each in entries).encode())
    assert answer.headers["etag"] == f'"{etag}"'
    got = account.get(f"{path}/big")
    assert got.content == b"hello youall"
    assert got.headers["etag"] == f'"{etag}"'
    assert got.headers["x-static-large-object"] == "True"
    assert got.headers["content-type"] == "a/b"
    head = account.head(f"{path}/big")
    assert head.headers["content-length"] == "12"
    assert head.headers["etag"] == f'"{etag}"'
    entry = account("GET", path, params={"format": "json", "prefix": "big"}).json()[0]
    assert entry["bytes"] == 12
    assert entry["content_type"] == "a/b"
    assert entry["slo_etag"] == f'"{etag}"'


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("bytes=0-4", 206, b"hello"),
        ("bytes=3-9", 206, b"lo youa"),
        ("bytes=-2", 206, b"ll"),
        ("bytes=11-", 206, b"l"),
        ("bytes=12-", 416, None),
    ],
)
def test_ranges_of_a_large_object(
    account: Account, parts: Any, asked: str, status: int, content: bytes | None
) -> None:
    path, entries = parts
    put_manifest(account, f"{path}/big", entries)
    answer = account.get(f"{path}/big", Range=asked)
    assert answer.status_code == status
    if content is not None:
        assert answer.content == content
        assert answer.headers["content-range"].endswith("/12")
    several = account.get(f"{path}/big", Range="bytes=0-1,4-6")
    assert several.status_code == 206
    assert b"\r\n\r\nhe\r\n" in several.content
    assert b"\r\n\r\no y\r\n" in several.content


def test_conditions_of_a_large_object_are_about_the_whole(account: Account, parts: Any) -> None:
    path, entries = parts
    etag = put_manifest(account, f"{path}/big", entries).headers["etag"]
    assert account.get(f"{path}/big", If_Match=etag).status_code == 200
    assert account.get(f"{path}/big", If_Match="other").status_code == 412
    answer = account.get(f"{path}/big", If_None_Match=etag)
    assert (answer.status_code, answer.headers["etag"]) == (304, etag)


def test_parts_of_segments_and_bytes_of_the_manifest(account: Account, parts: Any) -> None:
    path, _ = parts
    data = base64.b64encode(b"-inline-").decode()
    entries = [
        {"path": f"{path}/part/1", "range": "1-3"},
        {"data": data},
        {"path": f"{path}/part/3", "range": "-1"},
        {"path": f"{path}/part/2", "range": "2-"},
    ]
    answer = put_manifest(account, f"{path}/mixed", entries)
    assert answer.status_code == 201, answer.text
    assert account.get(f"{path}/mixed").content == b"ell-inline-lou"
    assert account.get(f"{path}/mixed", Range="bytes=2-5").content == b"l-in"
    manifest = account("GET", f"{path}/mixed", params={"multipart-manifest": "get"}).json()
    assert manifest[0]["range"] == "1-3"
    assert manifest[1]["data"] == data


def test_manifests_may_be_nested(account: Account, parts: Any) -> None:
    path, entries = parts
    inner = put_manifest(account, f"{path}/inner", entries).headers["etag"].strip('"')
    outer = [
        {"path": f"{path}/inner", "etag": inner, "size_bytes": 12},
        {"path": f"{path}/inner", "range": "6-8"},
    ]
    assert put_manifest(account, f"{path}/outer", outer).status_code == 201
    assert account.get(f"{path}/outer").content == b"hello youallyou"
    assert account.get(f"{path}/outer", Range="bytes=4-13").content == b"o youallyo"
    answer = account("DELETE", f"{path}/outer", params={"multipart-manifest": "delete"})
    assert answer.status_code == 200
    assert account.names(path) == []


@pytest.mark.parametrize(
    ("entries", "cause"),
    [
        ("{", "JSON"),
        ({}, "list"),
        ([], "at least one"),
        ([{"etag": "x"}], "path"),
        ([{"path": "/only-container"}], "does not refer to an object"),
        ([{"path": "CONTAINER/part/1", "size_bytes": 6}], "Size Mismatch"),
        ([{"path": "CONTAINER/part/1", "etag": "0" * 32}], "Etag Mismatch"),
        ([{"path": "CONTAINER/part/9"}], "404 Not Found"),
        ([{"path": "CONTAINER/part/1", "range": "9-12"}], "Unsatisfiable"),
        ([{"path": "CONTAINER/part/1", "range": "x"}], "invalid range"),
        ([{"path": "CONTAINER/part/1", "other": 1}], "extraneous"),
        ([{"path": "CONTAINER/part/1"}, {"data": "%%%"}], "base64"),
        ([{"data": "aGk="}], "at least one"),
    ],
)
def test_wrong_manifests_are_refused(
    account: Account, parts: Any, entries: Any, cause: str
) -> None:
    path, _ = parts
    text = entries if isinstance(entries, str) else json.dumps(entries)
    answer = account(
        "PUT",
        f"{path}/big",
        params={"multipart-manifest": "put"},
        content=text.replace("CONTAINER", path).encode(),
    )
    assert answer.status_code == 400
    assert cause in answer.text
    assert account.head(f"{path}/big").status_code == 404


def test_a_manifest_of_too_many_segments(account: Account, parts: Any) -> None:
    path, entries = parts
    assert put_manifest(account, f"{path}/big", entries[:1] * 1001).status_code == 413
    assert put_manifest(account, f"{path}/big", entries[:1] * 1000).status_code == 201
    assert account.head(f"{path}/big").headers["content-length"] == "5000"


def test_a_wrong_etag_of_the_whole_is_refused(account: Account, parts: Any) -> None:
    path, entries = parts
    assert put_manifest(account, f"{path}/big", entries, Etag="0" * 32).status_code == 422


def test_a_segment_that_changed_is_not_served(account: Account, parts: Any) -> None:
    path, entries = parts
    put_manifest(account, f"{path}/big", entries)
    account.put(f"{path}/part/1", b"HELLO")
    assert account.get(f"{path}/big").status_code == 409
    account.delete(f"{path}/part/1")
    assert account.get(f"{path}/big").status_code == 409
    assert account.head(f"{path}/big").status_code == 200


def test_deleting_only_the_manifest_keeps_the_segments(account: Account, parts: Any) -> None:
    path, entries = parts
    put_manifest(account, f"{path}/big", entries)
    assert account.delete(f"{path}/big").status_code == 204
    assert account.names(path) == ["part/1", "part/2", "part/3"]


def test_a_manifest_can_be_stored_again(account: Account, parts: Any) -> None:
    path, entries = parts
    put_manifest(account, f"{path}/big", entries)
    raw = account("GET", f"{path}/big", params={"multipart-manifest": "get", "format": "raw"})
    assert raw.json() == entries
    assert put_manifest(account, f"{path}/again", raw.json()).status_code == 201


def test_segments_of_others_stay_theirs(store: Store, account: Account, parts: Any) -> None:
    path, entries = parts
    put_manifest(account, f"{path}/big", entries)
    public = account.container(X_Container_Read=".r:*")
    put_manifest(account, f"{public}/big", entries)
    anyone = store.seen_by(None)
    assert anyone.head(f"{public}/big").status_code == 200
    assert (
        anyone.get(f"{public}/big").status_code == 409
    )  # the manifest is readable, the whole is not
    account.post(path, X_Container_Read=".r:*")
    assert anyone.get(f"{public}/big").content == b"hello youall"


# --- Dynamic large objects --------------------------------------------------------------------


def test_a_dynamic_object_is_what_its_prefix_has_now(account: Account, parts: Any) -> None:
    path, entries = parts
    answer = account.put(f"{path}/dyn", X_Object_Manifest=f"{path[1:]}/part/")
    assert answer.status_code == 201
    got = account.get(f"{path}/dyn")
    assert got.content == b"hello youall"
    assert got.headers["x-object-manifest"] == f"{path[1:]}/part/"
    etag = md5("".join(each["etag"] for each in entries).encode())
    assert got.headers["etag"] == f'"{etag}"'
    assert account.head(f"{path}/dyn").headers["content-length"] == "12"
    account.put(f"{path}/part/4", b"!")
    assert account.get(f"{path}/dyn").content == b"hello youall!"
    assert account.get(f"{path}/dyn", Range="bytes=4-9").content == b"o youa"
    assert account.get(f"{path}/dyn", If_None_Match=etag).status_code == 200
    assert account("GET", f"{path}/dyn", params={"multipart-manifest": "get"}).content == b""


@pytest.mark.parametrize("manifest", ["x", "/", "c/p?x", "c/p&x", "c/"])
def test_wrong_dynamic_manifests(account: Account, manifest: str) -> None:
    path = account.container() + "/dyn"
    assert account.put(path, X_Object_Manifest=manifest).status_code == 400


# --- Copies -----------------------------------------------------------------------------------


def test_copies(account: Account) -> None:
    path, other = account.container(), account.container()
    account.put(f"{path}/o", b"data", X_Object_Meta_A="1", Content_Type="a/b")
    answer = account("COPY", f"{path}/o", headers={"Destination": f"{other}/copy"})
    assert answer.status_code == 201
    assert answer.headers["x-copied-from"] == f"{path[1:]}/o"
    assert answer.headers["x-copied-from-last-modified"]
    assert answer.headers["x-object-meta-a"] == "1"
    copy = account.get(f"{other}/copy")
    assert (copy.content, copy.headers["x-object-meta-a"]) == (b"data", "1")
    assert copy.headers["content-type"] == "a/b"
    account.put(f"{other}/two", X_Copy_From=f"{path}/o", X_Object_Meta_B="2", Content_Type="c/d")
    headers = account.head(f"{other}/two").headers
    assert headers["x-object-meta-a"] == "1"
    assert headers["x-object-meta-b"] == "2"
    assert headers["content-type"] == "c/d"
    account.put(f"{other}/three", X_Copy_From=f"{path}/o", X_Fresh_Metadata="true")
    assert "x-object-meta-a" not in account.head(f"{other}/three").headers


def test_a_copy_to_itself_changes_metadata(account: Account) -> None:
    path = account.container() + "/o"
    account.put(path, b"data", X_Object_Meta_A="1")
    answer = account.put(path, X_Copy_From=path, X_Object_Meta_A="2")
    assert answer.status_code == 201
    got = account.get(path)
    assert (got.content, got.headers["x-object-meta-a"]) == (b"data", "2")


def test_wrong_copies(store: Store, account: Account) -> None:
    path = account.container()
    account.put(f"{path}/o", b"data")
    assert account("COPY", f"{path}/o").status_code == 412
    assert account("COPY", f"{path}/o", headers={"Destination": "x"}).status_code == 412
    assert account("COPY", f"{path}/no", headers={"Destination": f"{path}/p"}).status_code == 404
    assert account("COPY", f"{path}/o", headers={"Destination": "no/p"}).status_code == 404
    assert account.put(f"{path}/p", b"body", X_Copy_From=f"{path}/o").status_code == 400
    assert account.put(f"{path}/p", X_Copy_From="x").status_code == 412
    answer = account("COPY", f"{path}/o", headers={"Destination": f"{path}/p", "If-Match": "x"})
    assert answer.status_code == 412
    stranger = store.account("stranger")
    mine = stranger.container()
    answer = stranger.put(f"{mine}/o", X_Copy_From=f"{path}/o", X_Copy_From_Account=account.name)
    assert answer.status_code == 403
    answer = account(
        "COPY",
        f"{path}/o",
        headers={"Destination": f"{mine}/o", "Destination-Account": stranger.name},
    )
    assert answer.status_code == 403


def test_a_part_can_be_copied(account: Account) -> None:
    path = account.container()
    account.put(f"{path}/o", b"0123456789")
    account.put(f"{path}/p", X_Copy_From=f"{path}/o", Range="bytes=2-4")
    assert account.get(f"{path}/p").content == b"234"


def test_a_copy_of_a_large_object_is_whole(account: Account, parts: Any) -> None:
    path, entries = parts
    put_manifest(account, f"{path}/big", entries)
    account.put(f"{path}/whole", X_Copy_From=f"{path}/big")
    whole = account.get(f"{path}/whole")
    assert whole.content == b"hello youall"
    assert "x-static-large-object" not in whole.headers
    account(
        "PUT",
        f"{path}/manifest",
        params={"multipart-manifest": "get"},
        headers={"X-Copy-From": f"{path}/big"},
    )
    assert account.head(f"{path}/manifest").headers["x-static-large-object"] == "True"
    assert account.get(f"{path}/manifest").content == b"hello youall"


# --- Links ------------------------------------------------------------------------------------


def test_a_link_is_followed(account: Account) -> None:
    path, other = account.container(), account.container()
    account.put(f"{path}/target", b"data", X_Object_Meta_A="1")
    assert account.put(f"{other}/link", X_Symlink_Target=f"{path[1:]}/target").status_code == 201
    got = account.get(f"{other}/link")
    assert (got.content, got.headers["x-object-meta-a"]) == (b"data", "1")
    assert got.headers["content-location"] == f"/v1/{account.name}{path}/target"
    assert account.get(f"{other}/link", Range="bytes=1-2").content == b"at"
    link = account("HEAD", f"{other}/link", params={"symlink": "get"})
    assert link.headers["x-symlink-target"] == f"{path[1:]}/target"
    assert link.headers["content-length"] == "0"
    entry = account("GET", other, params={"format": "json"}).json()[0]
    assert entry["symlink_path"] == f"/v1/{account.name}{path}/target"
    account.delete(f"{path}/target")
    assert account.get(f"{other}/link").status_code == 404
    assert account.delete(f"{other}/link").status_code == 204


def test_a_static_link_is_good_for_one_content(account: Account) -> None:
    path = account.container()
    etag = account.put(f"{path}/t", b"data").headers["etag"]
    headers = {"X_Symlink_Target": f"{path[1:]}/t"}
    assert account.put(f"{path}/l", X_Symlink_Target_Etag="0" * 32, **headers).status_code == 409
    assert account.put(f"{path}/l", X_Symlink_Target_Etag=etag, **headers).status_code == 201
    assert account.get(f"{path}/l").content == b"data"
    account.put(f"{path}/t", b"other")
    assert account.get(f"{path}/l").status_code == 409


def test_wrong_links(store: Store, account: Account) -> None:
    path = account.container()
    assert account.put(f"{path}/l", b"x", X_Symlink_Target="a/b").status_code == 400
    assert account.put(f"{path}/l", X_Symlink_Target="a").status_code == 412
    assert account.put(f"{path}/l", X_Symlink_Target=f"{path[1:]}/l").status_code == 400
    for number in range(3):
        account.put(f"{path}/{number}", X_Symlink_Target=f"{path[1:]}/{number + 1}")
    account.put(f"{path}/3", b"end")
    assert account.get(f"{path}/1").content == b"end"
    assert account.get(f"{path}/0").status_code == 409
    answer = account.post(f"{path}/1", X_Object_Meta_A="1")
    assert answer.status_code == 307
    assert answer.headers["location"].endswith(f"{path}/2")
    secret = store.account("stranger").container()
    store.account("stranger").put(f"{secret}/o", b"secret")
    account.put(
        f"{path}/spy",
        X_Symlink_Target=f"{secret[1:]}/o",
        X_Symlink_Target_Account=store.account("stranger").name,
    )
    assert account.get(f"{path}/spy").status_code == 403


def test_a_link_can_be_copied(account: Account) -> None:
    path = account.container()
    account.put(f"{path}/t", b"data")
    account.put(f"{path}/l", X_Symlink_Target=f"{path[1:]}/t")
    account("COPY", f"{path}/l", params={"symlink": "get"}, headers={"Destination": f"{path}/copy"})
    head = account("HEAD", f"{path}/copy", params={"symlink": "get"})
    assert head.headers["x-symlink-target"] == f"{path[1:]}/t"
    account("COPY", f"{path}/l", headers={"Destination": f"{path}/data"})
    assert "x-symlink-target" not in account.head(f"{path}/data").headers
    assert account.get(f"{path}/data").content == b"data"
