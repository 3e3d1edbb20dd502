"""Accounts, containers and objects as Swift's API documents them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest

from tests.object_store_calls import ROOT, Account, Store, make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    yield from make_store(tmp_path_factory.mktemp("objects"), policies=("gold", "silver"))


@pytest.fixture
def account(store: Store) -> Account:
    return store.account()


# --- Accounts ---------------------------------------------------------------------------------


def test_an_account_that_was_never_written_is_empty(store: Store) -> None:
    fresh = store.account("stranger")
    answer = fresh.head()
    assert answer.status_code == 204
    assert answer.headers["x-account-container-count"] == "0"
    assert fresh.get().status_code == 204
    assert fresh("GET", params={"format": "json"}).json() == []


def test_account_metadata_is_set_kept_and_removed(account: Account) -> None:
    assert account.post(X_Account_Meta_Color="blue", X_Account_Meta_Size="9").status_code == 204
    assert account.post(X_Account_Meta_Size="").status_code == 204
    head = account.head()
    assert head.headers["x-account-meta-color"] == "blue"
    assert "x-account-meta-size" not in head.headers
    assert account.post(X_Remove_Account_Meta_Color="x").status_code == 204
    assert "x-account-meta-color" not in account.head().headers


def test_an_account_counts_its_containers_and_objects(store: Store) -> None:
    account = store.account("admin")
    one = account.container()
    two = account.container(X_Storage_Policy="silver")
    account.put(f"{one}/a", b"12345")
    account.put(f"{two}/b", b"123")
    headers = account.head().headers
    assert headers["x-account-container-count"] == "2"
    assert headers["x-account-object-count"] == "2"
    assert headers["x-account-bytes-used"] == "8"
    assert headers["x-account-storage-policy-silver-bytes-used"] == "3"
    account.delete(f"{two}/b")
    account.delete(two)
    assert account.head().headers["x-account-bytes-used"] == "5"
    assert account.names("") == [one[1:]]


@pytest.mark.parametrize(
    ("headers", "cause"),
    [
        ({"X-Account-Meta-" + "n" * 129: "x"}, "name too long"),
        ({"X-Account-Meta-A": "v" * 257}, "longer than 256"),
        ({f"X-Account-Meta-{each}": "x" for each in range(91)}, "Too many"),
        ({f"X-Account-Meta-{each}": "x" * 250 for each in range(20)}, "too large"),
        ({"X-Account-Meta-": "x"}, "empty"),
    ],
)
def test_account_metadata_has_limits(account: Account, headers: dict[str, str], cause: str) -> None:
    answer = account("POST", headers=headers)
    assert answer.status_code == 400
    assert cause in answer.text


# --- Containers -------------------------------------------------------------------------------


def test_a_container_is_made_once_and_removed_when_empty(account: Account) -> None:
    assert account.put("/twice").status_code == 201
    assert account.put("/twice").status_code == 202
    account.put("/twice/o", b"x")
    assert account.delete("/twice").status_code == 409
    account.delete("/twice/o")
    assert account.delete("/twice").status_code == 204
    assert account.delete("/twice").status_code == 404
    assert account.get("/twice").status_code == 404
    assert account.put("/twice").status_code == 201
    assert account.names("/twice") == []


def test_a_deleted_container_keeps_no_metadata(account: Account) -> None:
    path = account.container(X_Container_Meta_Old="1", X_Container_Read=".r:*")
    account.delete(path)
    account.put(path)
    headers = account.head(path).headers
    assert "x-container-meta-old" not in headers
    assert "x-container-read" not in headers


def test_a_policy_is_chosen_when_a_container_is_made(account: Account) -> None:
    path = account.container(X_Storage_Policy="SILVER")
    assert account.head(path).headers["x-storage-policy"] == "silver"
    assert account.put(path, X_Storage_Policy="gold").status_code == 409
    assert account.put(path).status_code == 202
    assert account.put("/nothing", X_Storage_Policy="tin").status_code == 400
    account.put(f"{path}/o", b"in silver")
    assert account.get(f"{path}/o").content == b"in silver"


def test_container_names_are_checked(store: Store, account: Account) -> None:
    assert account.put("/" + "x" * 256).status_code == 201
    assert account.put("/" + "x" * 257).status_code == 400
    assert account.put("/%ff").status_code == 412
    assert account.put("/a%00b").status_code == 412
    assert account.post("/missing", X_Container_Meta_A="1").status_code == 404
    assert store.tested.client("member").get(f"{ROOT}/v2/x").status_code == 404


# --- Objects ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "a/b//c",
        "/lead",
        "trail/",
        "ü%é\u2603",
        "x" * 1024,
        "a b?#&;",
    ],
)
def test_names_are_kept_as_they_are(account: Account, name: str) -> None:
    path = account.container()
    url = f"{path}/{quote(name, safe='')}"
    assert account.put(url, b"data").status_code == 201
    assert account.get(url).content == b"data"
    assert account.names(path) == [name]
    assert account.delete(url).status_code == 204
    assert account.get(url).status_code == 404


def test_an_escaped_slash_is_a_slash(account: Account) -> None:
    path = account.container()
    account.put(f"{path}/a%2Fb", b"1")
    assert account.get(f"{path}/a/b").content == b"1"


def test_object_names_have_a_limit(account: Account) -> None:
    assert account.put(f"{account.container()}/{'x' * 1025}").status_code == 400


def test_what_a_put_says_comes_back(account: Account) -> None:
    path = account.container() + "/o"
    answer = account.put(
        path,
        b"hello",
        Content_Type="text/x-thing",
        X_Object_Meta_Color="blue",
        Content_Disposition="attachment",
        Content_Encoding="gzip",
        X_Secret="no",
    )
    assert answer.status_code == 201
    assert answer.headers["etag"] == hashlib.md5(b"hello").hexdigest()
    head = account.head(path)
    assert head.status_code == 200
    assert head.headers["content-length"] == "5"
    assert head.headers["content-type"] == "text/x-thing"
    assert head.headers["x-object-meta-color"] == "blue"
    assert head.headers["content-disposition"] == "attachment"
    assert head.headers["content-encoding"] == "gzip"
    assert "x-secret" not in head.headers
    assert head.headers["last-modified"] == answer.headers["last-modified"]


def test_a_post_replaces_metadata_and_keeps_the_data(account: Account) -> None:
    path = account.container() + "/o"
    account.put(path, b"hello", X_Object_Meta_A="1", Content_Type="a/b", Content_Encoding="gzip")
    assert account.post(path, X_Object_Meta_B="2").status_code == 202
    headers = account.head(path).headers
    assert "x-object-meta-a" not in headers
    assert "content-encoding" not in headers
    assert headers["x-object-meta-b"] == "2"
    assert headers["content-type"] == "a/b"
    account.post(path, Content_Type="c/d")
    assert account.head(path).headers["content-type"] == "c/d"
    container = "/" + path.split("/")[1]
    (entry,) = account("GET", container, params={"format": "json"}).json()
    assert (entry["content_type"], entry["bytes"]) == ("c/d", 5)
    account.put(path, b"new")
    assert "x-object-meta-b" not in account.head(path).headers
    assert account.post(path + "x").status_code == 404


def test_the_type_is_guessed_from_the_name(account: Account) -> None:
    path = account.container()
    account.put(f"{path}/a.html", b"x")
    account.put(f"{path}/b.html", b"x", Content_Type="a/b", X_Detect_Content_Type="true")
    for name in ("a", "b"):
        assert account.head(f"{path}/{name}.html").headers["content-type"] == "text/html"


def test_a_wrong_etag_is_refused_and_leaves_nothing(account: Account) -> None:
    path = account.container()
    assert account.put(f"{path}/o", b"x", Etag="0" * 32).status_code == 422
    assert account.get(f"{path}/o").status_code == 404
    assert account.names(path) == []
    account.put(f"{path}/o", b"old")
    assert account.put(f"{path}/o", b"x", Etag="0" * 32).status_code == 422
    assert account.get(f"{path}/o").content == b"old"
    right = hashlib.md5(b"x").hexdigest()
    assert account.put(f"{path}/o", b"x", Etag=f'"{right}"').status_code == 201


def test_a_put_into_nothing_is_refused(account: Account) -> None:
    assert account.put("/no-such-container/o", b"x").status_code == 404


def test_a_body_needs_a_length(account: Account) -> None:
    path = account.container() + "/o"
    answer = account("PUT", path, content=iter([b"ab", b"c"]))
    assert answer.status_code == 201  # chunked
    assert account.get(path).content == b"abc"
    answer = account("PUT", path, content=b"", headers={"Content-Length": "6000000000"})
    assert answer.status_code == 413


def test_put_only_if_absent(account: Account) -> None:
    path = account.container() + "/o"
    assert account.put(path, b"1", If_None_Match="*").status_code == 201
    assert account.put(path, b"2", If_None_Match="*").status_code == 412
    assert account.get(path).content == b"1"
    assert account.put(path, b"2", If_None_Match="abc").status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-Match": "ETAG"}, 200),
        ({"If-Match": '"ETAG"'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": "other"}, 412),
        ({"If-None-Match": "ETAG"}, 304),
        ({"If-None-Match": "other, ETAG"}, 304),
        ({"If-None-Match": "other"}, 200),
        ({"If-Modified-Since": "Fri, 01 Jan 2010 00:00:00 GMT"}, 200),
        ({"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 304),
        ({"If-Unmodified-Since": "Fri, 01 Jan 2010 00:00:00 GMT"}, 412),
        ({"If-Unmodified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200),
        ({"If-Unmodified-Since": "nonsense"}, 200),
    ],
)
def test_conditions(account: Account, headers: dict[str, str], status: int) -> None:
    path = account.container() + "/o"
    etag = account.put(path, b"data").headers["etag"]
    asked = {name: value.replace("ETAG", etag) for name, value in headers.items()}
    for method in ("GET", "HEAD"):
        answer = account(method, path, headers=asked)
        assert answer.status_code == status
        assert answer.headers["etag"] == etag
    assert answer.content == b""


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=5-", 206, b"56789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-30", 206, b"0123456789"),
        ("bytes=8-100", 206, b"89"),
        ("bytes=10-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=4-2", 200, b"0123456789"),
        ("nonsense", 200, b"0123456789"),
        ("bytes=a-b", 200, b"0123456789"),
    ],
)
def test_ranges(account: Account, asked: str, status: int, content: bytes | None) -> None:
    path = account.container() + "/o"
    account.put(path, b"0123456789")
    answer = account.get(path, Range=asked)
    assert answer.status_code == status
    if content is not None:
        assert answer.content == content
    else:
        assert answer.headers["content-range"] == "bytes */10"


def test_several_ranges(account: Account) -> None:
    path = account.container() + "/o"
    data = bytes(range(256)) * 1024
    account.put(path, data, Content_Type="a/b")
    answer = account.get(path, Range="bytes=0-1,200000-200003,-2")
    assert answer.status_code == 206
    boundary = answer.headers["content-type"].removeprefix("multipart/byteranges; boundary=")
    parts = answer.content.split(f"--{boundary}".encode())
    assert len(answer.content) == int(answer.headers["content-length"])
    bodies = [part.partition(b"\r\n\r\n")[2][:-2] for part in parts[1:-1]]
    assert bodies == [data[:2], data[200000:200004], data[-2:]]
    assert b"Content-Type: a/b\r\nContent-Range: bytes 0-1/262144" in parts[1]
    assert account.get(path, Range="bytes=" + ",".join(["0-9"] * 51)).status_code == 416


def test_metadata_has_limits(account: Account) -> None:
    path = account.container() + "/o"
    headers = {f"X-Object-Meta-{each}": "x" * 40 for each in range(90)}
    assert account("PUT", path, content=b"x", headers=headers).status_code == 201
    assert account.head(path).headers["x-object-meta-89"] == "x" * 40
    more: Any = headers | {"X-Object-Meta-More": "x"}
    assert account("PUT", path, content=b"x", headers=more).status_code == 400
    assert account("POST", path, headers=more).status_code == 400
    assert (
        account("PUT", path, content=b"x", headers={"X-Object-Meta-A": b"\xff"}).status_code == 400
    )  # type: ignore[dict-item]
    assert account.put(path, b"x", X_Object_Manifest="y" * 8193).status_code == 400


def test_metadata_may_be_text_of_any_kind(account: Account) -> None:
    path = account.container() + "/o"
    account("PUT", path, content=b"x", headers={"X-Object-Meta-A": "blé ☃".encode()})  # type: ignore[dict-item]
    raw = {name.lower(): value for name, value in account.head(path).headers.raw}
    assert raw[b"x-object-meta-a"].decode() == "blé ☃"


def test_expiry(store: Store, account: Account) -> None:
    path = account.container() + "/o"
    assert account.put(path, b"x", X_Delete_At="abc").status_code == 400
    assert account.put(path, b"x", X_Delete_At="1000").status_code == 400
    assert account.put(path, b"x", X_Delete_After="-1").status_code == 400
    assert account.put(path, b"x", X_Delete_After="1000").status_code == 201
    assert int(account.head(path).headers["x-delete-at"]) > 1_700_000_000
    assert account.post(path).status_code == 202
    assert "x-delete-at" not in account.head(path).headers


# --- Listings ---------------------------------------------------------------------------------

NAMES = ["a", "b/1", "b/2", "b/c/3", "b/", "c", "d//e", "é", "z"]


@pytest.fixture(scope="module")
def listed(store: Store) -> tuple[Account, str]:
    account = store.account()
    path = account.container()
    for name in NAMES:
        account.put(f"{path}/{quote(name)}", name.encode(), Content_Type="text/plain")
    return account, path


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, sorted(NAMES)),
        ({"limit": 2}, ["a", "b/"]),
        ({"marker": "b/c/3"}, ["c", "d//e", "z", "é"]),
        ({"end_marker": "b/2"}, ["a", "b/", "b/1"]),
        ({"marker": "a", "end_marker": "b/2"}, ["b/", "b/1"]),
        ({"prefix": "b/"}, ["b/", "b/1", "b/2", "b/c/3"]),
        ({"prefix": "b/", "delimiter": "/"}, ["b/", "b/1", "b/2", "b/c/"]),
        ({"delimiter": "/"}, ["a", "b/", "c", "d/", "z", "é"]),
        ({"delimiter": "/", "limit": 2}, ["a", "b/"]),
        ({"delimiter": "/", "marker": "b/"}, ["c", "d/", "z", "é"]),
        ({"delimiter": "/", "reverse": "true"}, ["é", "z", "d/", "c", "b/", "a"]),
        ({"delimiter": "//"}, ["a", "b/", "b/1", "b/2", "b/c/3", "c", "d//", "z", "é"]),
        ({"reverse": "on", "marker": "c", "limit": 2}, ["b/c/3", "b/2"]),
        ({"reverse": "on", "end_marker": "d"}, ["é", "z", "d//e"]),
        ({"path": "b"}, ["b/1", "b/2"]),
        ({"path": ""}, ["a", "b/", "c", "z", "é"]),
        ({"prefix": "nothing"}, []),
        ({"limit": 0}, []),
    ],
)
def test_listings(
    listed: tuple[Account, str], query: dict[str, object], expected: list[str]
) -> None:
    account, path = listed
    assert account.names(path, **query) == expected


def test_listing_formats(listed: tuple[Account, str]) -> None:
    account, path = listed
    plain = account("GET", path, params={"prefix": "b/", "delimiter": "/"})
    assert plain.text == "b/\nb/1\nb/2\nb/c/\n"
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    entry = account("GET", path, params={"prefix": "a"}, headers={"Accept": "application/json"})
    (found,) = entry.json()
    assert found["bytes"] == 1
    assert found["hash"] == hashlib.md5(b"a").hexdigest()
    assert found["content_type"] == "text/plain"
    assert len(found["last_modified"]) == 26
    answer = account("GET", path, params={"format": "xml", "prefix": "b/", "delimiter": "/"})
    root = ElementTree.fromstring(answer.content)
    assert (root.tag, root.get("name")) == ("container", path[1:])
    assert [each.findtext("name") for each in root] == ["b/", "b/1", "b/2", "b/c/"]
    assert root.find("subdir").get("name") == "b/c/"  # type: ignore[union-attr]
    root = ElementTree.fromstring(account("GET", params={"format": "xml"}).content)
    assert root.tag == "account"
    assert account.get(path, Accept="image/png").status_code == 406
    assert account("GET", path, params={"limit": "10001"}).status_code == 412
    assert account("GET", params={"limit": "10001"}).status_code == 412
    assert account("GET", path, params={"prefix": "x"}).status_code == 204


# --- Who may ----------------------------------------------------------------------------------


def test_nobody_else_sees_an_account(store: Store) -> None:
    owner = store.account()
    path = owner.container()
    owner.put(f"{path}/o", b"x")
    for name, status in (("stranger", 403), (None, 401), ("nobody", 403), ("admin", 403)):
        other = store.seen_by(name)
        for url in ("", path, f"{path}/o", "/nothing", "/nothing/o"):
            for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
                assert other(method, url).status_code == status, (name, method, url)
    assert store.seen_by("reader").get(f"{path}/o").content == b"x"
    assert store.seen_by("reader").put(f"{path}/p", b"x").status_code == 403
    assert store.account().put("").status_code == 403
    assert store.account().delete("").status_code == 403


def test_access_lists(store: Store) -> None:
    owner = store.account()
    stranger = store.tested.user("stranger")
    path = owner.container(
        X_Container_Read=f"{stranger.project_id}:*", X_Container_Write=f"*:{stranger.user_id}"
    )
    other = store.seen_by("stranger")
    assert other.put(f"{path}/o", b"x").status_code == 201
    assert other.get(f"{path}/o").content == b"x"
    assert other.get(path).status_code == 200
    assert "x-container-read" not in other.head(path).headers
    assert "x-container-read" in owner.head(path).headers
    assert other.post(path, X_Container_Meta_A="1").status_code == 403
    assert other.delete(path).status_code == 403
    assert store.seen_by("admin").get(f"{path}/o").status_code == 403
    owner.post(path, X_Remove_Container_Read="x")
    assert other.get(f"{path}/o").status_code == 403
    assert other.delete(f"{path}/o").status_code == 204


def test_referrers(store: Store) -> None:
    owner = store.account()
    path = owner.container(X_Container_Read=".r:*,.r:-.bad.example")
    owner.put(f"{path}/o", b"x")
    anyone = store.seen_by(None)
    assert anyone.get(f"{path}/o").status_code == 200
    assert anyone.get(f"{path}/o", Referer="http://www.bad.example/x").status_code == 401
    assert anyone.get(path).status_code == 401
    assert anyone.put(f"{path}/o", b"y").status_code == 401
    owner.post(path, X_Container_Read=".r:.good.example, .rlistings")
    assert anyone.get(path, Referer="http://www.good.example/").status_code == 200
    assert anyone.get(path).status_code == 401
    assert owner.post(path, X_Container_Write=".r:*").status_code == 400
    assert owner.post(path, X_Container_Read=".x:*").status_code == 400


def test_an_account_can_be_shared(store: Store) -> None:
    owner = store.account()
    path = owner.container()
    owner.put(f"{path}/o", b"x")
    user = store.tested.user("stranger")
    who = f"{user.project_id}:{user.user_id}"
    other = store.seen_by("stranger")
    assert owner.post(X_Account_Access_Control=json.dumps({"read-only": [who]})).status_code == 204
    assert other.get(f"{path}/o").status_code == 200
    assert other.get().status_code == 200
    assert other.put(f"{path}/p", b"y").status_code == 403
    owner.post(X_Account_Access_Control=json.dumps({"read-write": [who]}))
    assert other.put(f"{path}/p", b"y").status_code == 201
    assert other.post(X_Account_Meta_A="1").status_code == 403
    assert "x-account-access-control" not in other.head().headers
    assert "x-account-access-control" in owner.head().headers
    assert owner.post(X_Account_Access_Control='{"read-only": 1}').status_code == 400
    assert owner.post(X_Account_Access_Control="nonsense").status_code == 400
    assert owner.post(X_Account_Access_Control="").status_code == 204
    assert other.get(f"{path}/o").status_code == 403


# --- What is said of the store ----------------------------------------------------------------


def test_info_and_errors(store: Store) -> None:
    anyone = store.tested.client(None)
    info = anyone.get(f"{ROOT}/info").json()["swift"]
    assert info["max_object_name_length"] == 1024
    assert [each["name"] for each in info["policies"]] == ["gold", "silver"]
    assert anyone.get(f"{ROOT}/healthcheck").text == "OK"
    owner = store.account()
    assert owner("PATCH", "/x").status_code == 405
    assert owner("PUT", "/x/o", headers={"X-Object-Sysmeta-A": "1"}).status_code == 404
    answer = owner.get("/nothing")
    assert answer.headers["x-trans-id"].startswith("tx")
    assert answer.headers["x-openstack-request-id"] == answer.headers["x-trans-id"]
    assert answer.headers["content-type"] == "text/html; charset=UTF-8"
