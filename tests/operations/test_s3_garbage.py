"""What is carried out an hour later takes what is nobody's, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nubelet.kernel.errors import ApiError
from nubelet.object_store.features.version_names import DELETE_MARKER
from nubelet.object_store.s3 import buckets, garbage, multipart, objects, parts, removing, versions
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage import Listing, ObjectPath, timestamps
from nubelet.object_store.storage import objects as storage_objects
from tests.operations import test_s3_crash
from tests.operations.test_object_store_crash import Api
from tests.operations.test_s3_crash import BUCKET, _small_parts, ask, begin, body, complete, kept

pytestmark = pytest.mark.crash
small_parts = _small_parts


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path)


def sweep(api: Api) -> None:
    garbage.sweep_until(api.store, timestamps.seconds(timestamps.now()) + 60)


def test_parts_stay_though_a_listing_of_versions_is_behind(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}", x_versions_enabled="true")
    complete(api, begin(api))
    complete(api, begin(api))  # the first is a version now
    sweep(api)
    before = kept(api)
    assert len(before) == 4
    complete(api, begin(api))
    added = {name for name in kept(api) if name.startswith("parts/")} - set(before)
    before = sorted({*before, *added})
    monkeypatch.setattr(versions, "of_key", lambda *what: iter(()))
    sweep(api)
    assert kept(api) == before
    assert body(api) == b"aaaaaaabbbbb"


def test_parts_stay_that_become_a_versions_meanwhile(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The null version is moved from under the name when the key is written again."""
    api("PUT", f"/{BUCKET}")
    complete(api, begin(api))
    sweep(api)
    parts_then = kept(api)
    api("POST", f"/{BUCKET}", x_versions_enabled="true")
    path = ObjectPath("AUTH_p", BUCKET, "k")
    garbage.intend(api.store, path, "", parts_then)
    named, is_written = garbage._named, []

    def named_and_written(store: Any, path: ObjectPath, version: str) -> Any:
        yield from named(store, path, version)
        if not is_written:
            is_written.append(True)
            api("PUT", f"/{BUCKET}/k", b"newer")

    monkeypatch.setattr(garbage, "_named", named_and_written)
    sweep(api)
    assert is_written
    assert set(parts_then) <= set(kept(api))


def test_an_upload_whose_bytes_are_gone_is_not_completed(api: Api) -> None:
    """Its abort, or an earlier completion, died in the middle."""
    api("PUT", f"/{BUCKET}")
    upload_id = begin(api)
    gone = parts.bytes_of(ask(api, "GET", "k"), upload_id)[:1]
    there = parts.of_upload(ask(api, "GET", "k"), upload_id).values()
    parts.remove(ask(api, "DELETE", "k"), gone)
    named = "".join(
        f"<Part><PartNumber>{each.number}</PartNumber><ETag>{each.etag}</ETag></Part>"
        for each in there
    )
    document = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
    with pytest.raises(S3Error) as caught:
        multipart.complete(ask(api, "POST", "k", document, uploadId=upload_id))
    assert caught.value.s3_code == "InvalidPart"
    assert body(api) is None


def test_a_full_disk_can_be_emptied(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api("PUT", f"/{BUCKET}")
    complete(api, begin(api))
    other = begin(api, "other")
    monkeypatch.setattr(storage_objects, "RESERVE_BYTES", 1 << 60)
    statvfs = os.statvfs

    def nearly_full(path: str) -> Any:
        room = statvfs(path)
        return SimpleNamespace(f_blocks=room.f_blocks, f_frsize=room.f_frsize, f_bavail=1)

    monkeypatch.setattr(os, "statvfs", nearly_full)
    assert api("PUT", f"/{BUCKET}/new", b"x").status == 507
    removing.remove(ask(api, "DELETE", "k"), "k", "", {})
    multipart.abort(ask(api, "DELETE", "other", uploadId=other))
    sweep(api)
    assert kept(api) == []


def test_one_that_cannot_be_carried_out_keeps_nobody_waiting(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}")
    complete(api, begin(api))
    sweep(api)
    [first, second] = kept(api)
    garbage.intend(api.store, ObjectPath("AUTH_p", BUCKET, "away"), "", [first])
    garbage.intend(api.store, ObjectPath("AUTH_p", BUCKET, "other"), "", [second])
    named = garbage._named

    def unless_away(store: Any, path: ObjectPath, version: str) -> Any:
        if path.object == "away":
            raise ApiError("Devices do not answer.", status=503)
        return named(store, path, version)

    with monkeypatch.context() as patched:
        patched.setattr(garbage, "_named", unless_away)
        with pytest.raises(ApiError):
            sweep(api)
    assert kept(api) == [first]
    sweep(api)  # that one was not forgotten
    assert kept(api) == []


def test_a_version_that_became_the_current_one_is_not_removed_as_an_old_one(api: Api) -> None:
    api("PUT", f"/{BUCKET}", x_versions_enabled="true")
    api("PUT", f"/{BUCKET}/k", b"one")
    current = versions.under_name(api.store, ObjectPath("AUTH_p", BUCKET, "k"))
    assert current is not None
    with pytest.raises(S3Error):
        removing.remove_version(ask(api, "DELETE", "k"), current, unless_current=True)
    assert body(api) == b"one"


@pytest.mark.parametrize("style", ["x_versions_location", "x_history_location"])
@pytest.mark.parametrize("change", ["put", "complete", "copy"])
def test_parts_stay_of_what_is_moved_to_a_container_of_versions(
    api: Api, style: str, change: str
) -> None:
    api("PUT", "/archive")
    api("PUT", f"/{BUCKET}", **{style: "archive"})
    complete(api, begin(api))
    if change == "put":
        objects.put(ask(api, "PUT", "k", b"new"))
    elif change == "copy":
        objects.put(ask(api, "PUT", "other", b"new"))
        at = ask(api, "PUT", "k")
        at.request.headers["x-amz-copy-source"] = f"{BUCKET}/other"
        objects.put(at)
    else:
        complete(api, begin(api))
    sweep(api)
    [moved] = api.store.list_objects("AUTH_p", "archive", Listing())
    assert api.body(f"/archive/{moved.name}") == b"aaaaaaabbbbb"
    objects.delete(ask(api, "DELETE", "k"))
    sweep(api)
    found = api.store.list_objects("AUTH_p", "archive", Listing())
    if style == "x_versions_location":  # it was brought back
        assert found == []
        assert body(api) == b"aaaaaaabbbbb"
        assert len(kept(api)) == 2
        objects.delete(ask(api, "DELETE", "k"))
        sweep(api)
        assert (body(api), kept(api)) == (None, [])
    else:
        assert body(api) is None
        for each in found:
            if each.content_type == DELETE_MARKER:
                continue
            expected = (
                b"aaaaaaabbbbb" if each.name == moved.name or change == "complete" else b"new"
            )
            assert api.body(f"/archive/{each.name}") == expected


def test_parts_that_a_killed_change_was_about_to_lose_stay_where_they_were_moved(api: Api) -> None:
    api("PUT", "/archive")
    api("PUT", f"/{BUCKET}", x_versions_location="archive")
    complete(api, begin(api))
    path = ObjectPath("AUTH_p", BUCKET, "k")
    garbage.intend(api.store, path, "", [each for each in kept(api) if each.startswith("parts/")])
    api("PUT", f"/{BUCKET}/k", b"new")
    sweep(api)
    [moved] = api.store.list_objects("AUTH_p", "archive", Listing())
    assert api.body(f"/archive/{moved.name}") == b"aaaaaaabbbbb"


def archived(api: Api) -> list[str]:
    """What is in the container that old objects are moved to, but for notes of deletes."""
    found = api.store.list_objects("AUTH_p", "archive", Listing())
    return [each.name for each in found if each.content_type != DELETE_MARKER]


def sweep_archived(api: Api) -> None:
    garbage.sweep_archived_until(api.store, timestamps.seconds(timestamps.now()) + 60)


@pytest.mark.parametrize("style", ["x_versions_location", "x_history_location"])
def test_parts_go_when_what_was_moved_is_deleted(api: Api, style: str) -> None:
    api("PUT", "/archive")
    api("PUT", f"/{BUCKET}", **{style: "archive"})
    complete(api, begin(api))
    complete(api, begin(api))
    objects.put(ask(api, "PUT", "k", b"new"))
    sweep(api)
    sweep_archived(api)
    assert len(kept(api)) == 4
    first, second = archived(api)
    api("DELETE", f"/archive/{first}")
    sweep_archived(api)
    assert len(kept(api)) == 2
    assert api.body(f"/archive/{second}") == b"aaaaaaabbbbb"
    api("PUT", f"/archive/{second}", b"something else")
    sweep_archived(api)
    assert kept(api) == []
    assert body(api) == b"new"


@pytest.mark.parametrize("style", ["x_versions_location", "x_history_location"])
@pytest.mark.parametrize("after", ["", "elsewhere"])
def test_parts_of_what_was_moved_stay_wherever_it_would_be_moved_now(
    api: Api, style: str, after: str
) -> None:
    for name in ("archive", "elsewhere"):
        api("PUT", f"/{name}")
    api("PUT", f"/{BUCKET}", **{style: "archive"})
    complete(api, begin(api))
    path = ObjectPath("AUTH_p", BUCKET, "k")
    garbage.intend(api.store, path, "", [each for each in kept(api) if each.startswith("parts/")])
    api("PUT", f"/{BUCKET}/k", b"new")
    assert api("POST", f"/{BUCKET}", **{style: after}).status == 204
    sweep(api)  # what was killed before the location was changed
    [moved] = archived(api)
    assert api.body(f"/archive/{moved}") == b"aaaaaaabbbbb"


def test_a_bucket_stays_as_long_as_what_was_moved_is_made_of_its_parts(api: Api) -> None:
    api("PUT", "/archive")
    api("PUT", f"/{BUCKET}", x_history_location="archive")
    complete(api, begin(api))
    objects.delete(ask(api, "DELETE", "k"))
    [moved] = archived(api)
    with pytest.raises(S3Error) as caught:
        buckets.delete(ask(api, "DELETE", ""))
    assert (caught.value.s3_code, "archive" in caught.value.message) == ("BucketNotEmpty", True)
    assert api.body(f"/archive/{moved}") == b"aaaaaaabbbbb"
    api("DELETE", f"/archive/{moved}")
    buckets.delete(ask(api, "DELETE", ""))
    assert kept(api) == []


@pytest.mark.parametrize("style", ["x_versions_location", "x_history_location"])
def test_what_was_made_of_an_empty_part_is_moved(
    api: Api, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", "/archive")
    api("PUT", f"/{BUCKET}", **{style: "archive"})
    monkeypatch.setattr(test_s3_crash, "PARTS", {1: b""})
    complete(api, begin(api))
    objects.put(ask(api, "PUT", "k", b"new"))
    assert body(api) == b"new"
    [moved] = archived(api)
    assert api.body(f"/archive/{moved}") == b""


def test_parts_of_what_is_moved_just_now_stay(api: Api) -> None:
    api("PUT", "/archive")
    api("PUT", f"/{BUCKET}", x_history_location="archive")
    complete(api, begin(api))
    objects.put(ask(api, "PUT", "k", b"new"))
    sweep(api)
    [moved] = archived(api)
    api("DELETE", f"/archive/{moved}")
    garbage.sweep_archived_until(api.store, timestamps.seconds(timestamps.now()) - 60)
    assert len(kept(api)) == 2
    sweep_archived(api)
    assert kept(api) == []


def test_parts_of_what_was_brought_back_stay(api: Api) -> None:
    api("PUT", "/archive")
    api("PUT", f"/{BUCKET}", x_versions_location="archive")
    complete(api, begin(api))
    for _each in range(2):
        objects.put(ask(api, "PUT", "k", b"new"))
        objects.delete(ask(api, "DELETE", "k"))
        sweep_archived(api)
    assert archived(api) == []
    assert body(api) == b"aaaaaaabbbbb"
    objects.put(ask(api, "PUT", "k", b"new"))
    [moved] = archived(api)
    sweep_archived(api)
    assert api.body(f"/archive/{moved}") == b"aaaaaaabbbbb"


def test_parts_of_what_is_in_a_container_that_was_used_before_stay(api: Api) -> None:
    """The bucket moves old objects elsewhere by now."""
    api("PUT", "/archive")
    api("PUT", "/newer")
    api("PUT", f"/{BUCKET}", x_versions_location="archive")
    complete(api, begin(api))
    objects.put(ask(api, "PUT", "k", b"new"))
    objects.delete(ask(api, "DELETE", "k"))  # it is brought back
    objects.put(ask(api, "PUT", "k", b"new"))
    api("POST", f"/{BUCKET}", x_versions_location="newer")
    objects.put(ask(api, "PUT", "k", b"newer"))
    sweep_archived(api)
    [moved] = archived(api)
    assert api.body(f"/archive/{moved}") == b"aaaaaaabbbbb"


@pytest.mark.parametrize("how", ["moved on", "a version"])
def test_parts_stay_as_long_as_what_was_moved_is_kept_elsewhere(api: Api, how: str) -> None:
    api("PUT", "/attic")
    headers = {"x_history_location": "attic"} if how == "moved on" else {"x_versions_enabled": "on"}
    api("PUT", "/archive", **headers)
    api("PUT", f"/{BUCKET}", x_history_location="archive")
    complete(api, begin(api))
    objects.put(ask(api, "PUT", "k", b"new"))
    sweep(api)
    [moved] = archived(api)
    api("DELETE", f"/archive/{moved}")
    sweep_archived(api)
    assert archived(api) == []
    assert len(kept(api)) == 2
    if how == "moved on":
        found = api.store.list_objects("AUTH_p", "attic", Listing())
        for each in found:
            api("DELETE", f"/attic/{each.name}")
    else:
        path = ObjectPath("AUTH_p", "archive", moved)
        for version in list(versions.of_key(api.store, path)):
            api("DELETE", f"/archive/{moved}", query=f"version-id={version.id}")
    sweep_archived(api)
    assert kept(api) == []
