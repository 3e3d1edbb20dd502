"""What Swift's clients rely on in the small: parts of large objects, links to links, lists of
versions backwards, texts of refusals."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
import types
from collections.abc import Iterator
from typing import Any

import pytest

from nubelet.object_store import limits
from nubelet.object_store.features import later_deletes
from nubelet.object_store.storage import Outdated, timestamps
from tests.object_store_calls import ROOT, Account, Store, make_store

EMPTY = hashlib.md5(b"", usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    yield from make_store(tmp_path_factory.mktemp("objects"), open_expired=True)


@pytest.fixture
def account(store: Store) -> Account:
    return store.account()


@pytest.fixture
def path(account: Account) -> str:
    return account.container()


def put_large(account: Account, path: str, name: str = "big", **query: str) -> Any:
    for number, data in enumerate((b"aaaa", b"bbb")):
        account.put(f"{path}/part/{number}", data)
    manifest = [{"path": f"{path}/part/{number}"} for number in range(2)]
    return account(
        "PUT",
        f"{path}/{name}",
        params={"multipart-manifest": "put", **query},
        content=json.dumps(manifest).encode(),
    )


# --- Large objects ----------------------------------------------------------------------------


def test_a_part_is_a_range_of_the_whole(account: Account, path: str) -> None:
    assert put_large(account, path).status_code == 201
    got = account("GET", f"{path}/big", params={"part-number": "2"})
    assert (got.status_code, got.content) == (206, b"bbb")
    assert got.headers["content-range"] == "bytes 4-6/7"
    assert got.headers["x-parts-count"] == "2"
    manifest = account("GET", f"{path}/big", params={"multipart-manifest": "get"})
    assert got.headers["x-manifest-etag"] == manifest.headers["etag"]
    head = account("HEAD", f"{path}/big", params={"part-number": "1"})
    assert (head.status_code, head.headers["content-length"]) == (206, "4")
    beyond = account("GET", f"{path}/big", params={"part-number": "3"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */7")
    for wrong in ("0", "x", "-1", ""):
        assert account("GET", f"{path}/big", params={"part-number": wrong}).status_code == 400
    copied = account(
        "COPY", f"{path}/big", params={"part-number": "1"}, headers={"Destination": f"{path}/one"}
    )
    assert copied.status_code == 201
    assert account.get(f"{path}/one").content == b"aaaa"


def test_the_answer_of_a_heartbeat_says_at_its_end_how_it_went(account: Account, path: str) -> None:
    done = put_large(account, path, heartbeat="on")
    assert done.status_code == 202
    blanks, _, text = done.text.partition("\r\n\r\n")
    assert blanks.strip() == ""
    assert "Response Status: 201 Created" in text.splitlines()
    assert account.get(f"{path}/big").content == b"aaaabbb"
    failed = account(
        "PUT",
        f"{path}/bad",
        params={"multipart-manifest": "put", "heartbeat": "on"},
        headers={"Accept": "application/json"},
        content=json.dumps([{"path": f"{path}/none"}]).encode(),
    )
    assert failed.status_code == 202
    assert failed.json()["Response Status"] == "400 Bad Request"
    assert failed.json()["Errors"] == [[f"{path}/none", "404 Not Found"]]
    assert account.get(f"{path}/bad").status_code == 404


def test_segments_are_deleted_later(store: Store, account: Account, path: str) -> None:
    put_large(account, path)
    query = {"multipart-manifest": "delete", "async": "on"}
    assert account("DELETE", f"{path}/big", params=query).status_code == 204
    assert account.names(path) == ["part/0", "part/1"]
    account.put(f"{path}/part/1", b"written since")
    later_deletes.delete_noted(store.storage)
    assert account.names(path) == ["part/1"]
    assert account("DELETE", f"{path}/part/1", params=query).status_code == 400


def test_deleting_large_objects_in_two_containers_is_not_for_later(account: Account) -> None:
    one, two = account.container(), account.container()
    account.put(f"{one}/a", b"1")
    account.put(f"{two}/b", b"1")
    manifest = json.dumps([{"path": f"{one}/a"}, {"path": f"{two}/b"}]).encode()
    query = {"multipart-manifest": "put"}
    account("PUT", f"{one}/big", params=query, content=manifest)
    refused = account(
        "DELETE", f"{one}/big", params={"multipart-manifest": "delete", "async": "on"}
    )
    assert refused.status_code == 400
    assert account.get(f"{one}/big").status_code == 200


def test_a_manifest_as_it_was_sent_has_its_own_type(account: Account, path: str) -> None:
    put_large(account, path)
    query = {"multipart-manifest": "get", "format": "raw"}
    raw = account("GET", f"{path}/big", params=query)
    assert raw.headers["content-type"] == "application/octet-stream"
    assert raw.headers["etag"] == hashlib.md5(raw.content, usedforsecurity=False).hexdigest()


def test_several_ranges_of_a_dynamic_object_are_all_of_it(account: Account, path: str) -> None:
    account.put(f"{path}/s1", b"abc")
    account.put(f"{path}/s2", b"def")
    account.put(f"{path}/all", b"", X_Object_Manifest=f"{path[1:]}/s")
    got = account.get(f"{path}/all", Range="bytes=0-1,3-4")
    assert (got.status_code, got.content) == (200, b"abcdef")


# --- Links ------------------------------------------------------------------------------------


def test_a_static_link_is_bound_to_what_its_name_has(account: Account, path: str) -> None:
    etag = account.put(f"{path}/o", b"one", Content_Type="a/b").headers["etag"]
    place = f"{path[1:]}/o"
    linked = account.put(f"{path}/s", b"", X_Symlink_Target=place, X_Symlink_Target_Etag=etag)
    assert linked.status_code == 201
    entry = next(
        each
        for each in account("GET", path, params={"format": "json"}).json()
        if each["name"] == "s"
    )
    assert (entry["content_type"], entry["symlink_bytes"]) == ("a/b", 3)
    account.put(f"{path}/d", b"", X_Symlink_Target=place)
    account.put(f"{path}/sd", b"", X_Symlink_Target=f"{path[1:]}/d", X_Symlink_Target_Etag=EMPTY)
    assert account.get(f"{path}/sd").content == b"one"
    account.put(f"{path}/o", b"two")
    for headers in ({}, {"If_Match": "other"}, {"If_None_Match": "*"}):
        got = account.get(f"{path}/s", **headers)
        assert got.status_code == 409
        assert got.headers["content-location"].endswith(place)
    account.delete(f"{path}/o")
    gone = account.get(f"{path}/d")
    assert (gone.status_code, gone.headers["content-location"][-len(place) :]) == (404, place)


def test_a_post_tells_where_a_link_leads(account: Account, path: str) -> None:
    etag = account.put(f"{path}/o", b"one").headers["etag"]
    account.put(f"{path}/s", b"", X_Symlink_Target=f"{path[1:]}/o", X_Symlink_Target_Etag=etag)
    told = account.client.post(
        f"{account.url}{path}/s", headers={"X-Object-Meta-A": "1"}, follow_redirects=False
    )
    assert told.status_code == 307
    assert told.headers["location"] == f"{account.url}{path}/o"
    assert told.headers["x-symlink-target-etag"] == etag


# --- Versions ---------------------------------------------------------------------------------


def versions(account: Account, path: str, **query: str) -> list[tuple[str, str, bool]]:
    answer = account("GET", path, params={"versions": "", **query})
    assert answer.status_code == 200, answer.text
    return [(each["name"], each["version_id"], each["is_latest"]) for each in answer.json()]


def test_versions_are_listed_both_ways_page_by_page(account: Account) -> None:
    path = account.container(X_Versions_Enabled="true")
    name = "X-Object-Version-Id"
    for each in ("a", "b", "c"):
        account.put(f"{path}/{each}", b"1")
        account.put(f"{path}/{each}", b"2")
    assert account.delete(f"{path}/b").status_code == 204
    again = account.delete(f"{path}/b")
    assert again.status_code == 404
    assert again.headers[name]
    whole = versions(account, path)
    assert [each[0] for each in whole] == ["a"] * 2 + ["b"] * 4 + ["c"] * 2
    assert [each[2] for each in whole] == [True, False, True, False, False, False, True, False]
    assert versions(account, path, reverse="true") == whole[::-1]
    for way, expected in (("", whole), ("true", whole[::-1])):
        found: list[tuple[str, str, bool]] = []
        query: dict[str, str] = {"reverse": way, "limit": "3"}
        while page := versions(account, path, **query):
            found += page
            query |= {"marker": page[-1][0], "version_marker": page[-1][1]}
        assert found == expected
    for kind in ("plain", "xml"):
        refused = account("GET", path, params={"versions": "", "format": kind})
        assert refused.status_code == 406


def test_metadata_is_the_newest_versions_and_expiry_the_names(account: Account) -> None:
    path = account.container(X_Versions_Enabled="true")
    version = account.put(f"{path}/o", b"1", X_Delete_After="90").headers["X-Object-Version-Id"]
    posted = account.post(f"{path}/o", X_Object_Meta_A="1", Content_Type="a/b", X_Delete_After="1")
    assert (posted.status_code, posted.text) == (202, "")
    assert posted.headers["X-Object-Version-Id"] == version
    time.sleep(1.1)
    assert account.get(f"{path}/o").status_code == 404
    kept = account("GET", f"{path}/o", params={"version-id": version})
    assert (kept.content, kept.headers["content-type"]) == (b"1", "a/b")
    assert kept.headers["x-object-meta-a"] == "1"


@pytest.mark.parametrize("versions", ["true", ""])
def test_whether_an_object_expires_too_soon_is_judged_once(
    account: Account, monkeypatch: pytest.MonkeyPatch, versions: str
) -> None:
    """A body may take longer than the object will live."""
    path = account.container(**({"X_Versions_Enabled": versions} if versions else {}))
    for method in ("PUT", "POST"):
        moments = itertools.chain([time.time()], itertools.repeat(time.time() + 60))
        monkeypatch.setattr(limits, "time", types.SimpleNamespace(time=lambda m=moments: next(m)))
        done = account(method, f"{path}/o", content=b"", headers={"X-Delete-After": "30"})
        assert done.status_code in (201, 202), done.text
        monkeypatch.undo()
        kept = account("HEAD", f"{path}/o", params={"symlink": "get"})
        assert 0 < int(kept.headers["X-Delete-At"]) - time.time() <= 30


# --- Objects ----------------------------------------------------------------------------------


def test_a_post_without_a_type_keeps_the_last_one(account: Account, path: str) -> None:
    account.put(f"{path}/o", b"1", Content_Type="a/a")
    account.post(f"{path}/o", Content_Type="b/b")
    account.post(f"{path}/o", X_Object_Meta_A="1")
    assert account.head(f"{path}/o").headers["content-type"] == "b/b"


def test_a_condition_on_when_it_expires(account: Account, path: str) -> None:
    account.put(f"{path}/o", b"1", X_Delete_At="1" * 100)
    assert account.head(f"{path}/o").headers["x-delete-at"] == "9999999999"
    assert account.delete(f"{path}/o", X_If_Delete_At="x").status_code == 400
    assert account.delete(f"{path}/o", X_If_Delete_At="5").status_code == 412
    assert account.delete(f"{path}/o", X_If_Delete_At="9999999999").status_code == 204


def test_owners_open_what_has_expired(store: Store, account: Account) -> None:
    path = account.container(X_Container_Read=".r:*")
    account.put(f"{path}/o", b"1", X_Delete_After="1")
    time.sleep(1.1)
    assert account.get(f"{path}/o").status_code == 404
    assert account.get(f"{path}/o", X_Open_Expired="true").content == b"1"
    anyone = store.seen_by(None)
    assert anyone.get(f"{path}/o", X_Open_Expired="true").status_code == 404


def test_what_is_older_changes_nothing_and_says_so(
    store: Store, account: Account, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.put(f"{path}/o", b"new")
    monkeypatch.setattr(timestamps, "now", lambda: timestamps.normal(1000))
    assert account.put(f"{path}/o", b"old").status_code == 202
    assert account.post(f"{path}/o", X_Object_Meta_A="1").status_code == 409
    assert account.delete(f"{path}/o").status_code == 409
    assert account.get(f"{path}/o").content == b"new"
    assert Outdated("1").status == 409


def test_refusals_of_programs_are_their_cause(account: Account, path: str) -> None:
    refused = account.put(f"{path}/o", b"1", X_Delete_At="1")
    assert (refused.status_code, refused.text) == (400, "X-Delete-At in past")
    markup = account.put(f"{path}/o", b"", X_Symlink_Target="none")
    assert markup.headers["content-type"].startswith("text/plain")
    hostile = account.client.get(f"{ROOT}/v1/%3Cb%3E%22%0Ax/c")
    assert "\n" not in hostile.headers.get("www-authenticate", "")
    assert b"<b>" not in hostile.content
    anyone = account.client.get(f"{ROOT}/v1/AUTH_x%22%0A%3Cb%3E", headers={"X-Auth-Token": ""})
    assert anyone.status_code in (401, 403)


def test_empty_lists_and_preflights(account: Account, path: str) -> None:
    account.post(path, X_Container_Meta_A="1")
    first = account.head(path).headers
    assert first["content-length"] == "0"
    assert account("GET", path, params={"marker": "a\0"}).status_code == 204
    assert account.get(path, Origin="http://a.example").status_code == 204
    asked = account("OPTIONS", path, headers={"Origin": "http://a.example"})
    assert asked.status_code == 401


def test_a_range_may_be_written_with_blanks(account: Account, path: str) -> None:
    account.put(f"{path}/o", b"0123456789")
    for text in ("BYTES=0-2", "bytes = 0 - 2"):
        assert account.get(f"{path}/o", Range=text).content == b"012"


def test_a_range_is_of_the_object_that_was_begun(account: Account, path: str) -> None:
    """What continues a download gets all of the object if it is another one by now."""
    first = account.put(f"{path}/o", b"0123456789").headers
    assert put_large(account, path).status_code == 201
    large = account.head(f"{path}/big").headers
    for name, seen, part, whole in (
        ("o", first, b"45", b"0123456789"),
        ("big", large, b"bb", b"aaaabbb"),
    ):
        for told in (seen["etag"], f'"{seen["etag"].strip(chr(34))}"', seen["last-modified"]):
            got = account.get(f"{path}/{name}", Range="bytes=4-5", If_Range=told)
            assert (got.status_code, got.content) == (206, part)
        for told in ("0" * 32, '"other"', f'W/"{seen["etag"]}"', "Fri, 01 Jan 2010 00:00:00 GMT"):
            got = account.get(f"{path}/{name}", Range="bytes=4-5", If_Range=told)
            assert (got.status_code, got.content) == (200, whole)


def test_a_copy_expires_when_its_source_does(account: Account, path: str) -> None:
    account.put(f"{path}/o", b"1", X_Delete_After="1000")
    at = account.head(f"{path}/o").headers["x-delete-at"]
    copied = account("COPY", f"{path}/o", headers={"Destination": f"{path}/copy"})
    assert copied.headers["x-delete-at"] == at
    assert account.head(f"{path}/copy").headers["x-delete-at"] == at
    account.put(f"{path}/later", X_Copy_From=f"{path}/o", X_Delete_At="9999999999")
    assert account.head(f"{path}/later").headers["x-delete-at"] == "9999999999"
    account.put(f"{path}/sooner", X_Copy_From=f"{path}/o", X_Delete_After="500")
    assert account.head(f"{path}/sooner").headers["x-delete-at"] < at
    account.put(f"{path}/fresh", X_Copy_From=f"{path}/o", X_Fresh_Metadata="true")
    assert "x-delete-at" not in account.head(f"{path}/fresh").headers


def test_a_copy_of_what_has_expired_stays(account: Account, path: str) -> None:
    account.put(f"{path}/o", b"1", X_Delete_After="1")
    time.sleep(1.1)
    saved = account.put(f"{path}/saved", X_Copy_From=f"{path}/o", X_Open_Expired="true")
    assert saved.status_code == 201
    kept = account.get(f"{path}/saved")
    assert (kept.content, "x-delete-at" in kept.headers) == (b"1", False)


def test_a_copy_tells_of_which_version_it_is(account: Account) -> None:
    path = account.container(X_Versions_Enabled="true")
    version = account.put(f"{path}/o", b"1").headers["x-object-version-id"]
    account.put(f"{path}/o", b"2")
    copied = account(
        "COPY", f"{path}/o", params={"version-id": version}, headers={"Destination": f"{path}/p"}
    )
    assert copied.headers["x-copied-from-version-id"] == version
    assert account.get(f"{path}/p").content == b"1"


def test_no_time_to_live_is_refused(account: Account, path: str) -> None:
    assert account.put(f"{path}/o", b"1", X_Delete_After="0").status_code == 400
    assert account.head(f"{path}/o").status_code == 404


# --- Requests ---------------------------------------------------------------------------------


def test_what_the_client_calls_its_request(account: Account, path: str) -> None:
    seen = account.head(path, X_Trans_Id_Extra="upload-7%C3%BC" + "x" * 40).headers
    assert seen["x-trans-id"].endswith("-upload-7%C3%BC" + "x" * 18)
    assert seen["x-openstack-request-id"] == seen["x-trans-id"]
    odd = account.head(path, X_Trans_Id_Extra='a b"<').headers["x-trans-id"]
    assert odd.endswith("-a%20b%22%3C")


def test_a_refused_method_names_those_there_are(account: Account, path: str) -> None:
    for where in ("", path, f"{path}/o"):
        refused = account("PATCH", where)
        assert refused.status_code == 405
        assert {"GET", "PUT", "POST"} <= set(refused.headers["allow"].split(", "))


def test_an_empty_name_before_another_is_no_path(account: Account) -> None:
    assert account("GET", "//o").status_code == 412
    assert account.client.get(f"{ROOT}/v1//c").status_code == 412


def test_listings_say_that_they_depend_on_what_is_accepted(account: Account) -> None:
    """Else a cache shows JSON to who wants text."""
    path = account.container(X_Container_Meta_Access_Control_Allow_Origin="http://a.example")
    for where in ("", path):
        for method in ("GET", "HEAD"):
            seen = account(method, where, headers={"Accept": "application/json"})
            assert seen.headers["vary"] == "Accept"
        assert "vary" not in account("GET", where, params={"format": "json"}).headers
    assert account.get(path, Origin="http://a.example").headers["vary"] == "Accept, Origin"


def test_a_list_of_containers_tells_their_policies(store: Store) -> None:
    account = store.account()
    path = account.container(X_Storage_Policy="Policy-0")
    asked = {"prefix": path[1:]}
    (shown,) = account("GET", params={"format": "json", **asked}).json()
    assert shown["storage_policy"] == "Policy-0"
    document = account("GET", params={"format": "xml", "delimiter": "-", "prefix": "c"}).text
    assert '<subdir name="c-" />' in document
    document = account("GET", params={"format": "xml", **asked}).text
    assert "</last_modified><storage_policy>Policy-0</storage_policy></container>" in document


def test_an_account_that_was_deleted_is_gone(store: Store) -> None:
    account = store.account("stranger")
    account.container()
    store.storage.delete_account(account.name, timestamps.now())
    assert (account.get().status_code, account.head().status_code) == (410, 410)
    assert account.put("/new").status_code == 404
