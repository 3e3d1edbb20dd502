"""Object lock when two want something else of a version at once, and what loops delete."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nubelet.kernel.context import Credentials
from nubelet.kernel.errors import Conflict
from nubelet.object_store.features import later_deletes, object_lock
from nubelet.object_store.features.object_lock import Lock, Locked
from nubelet.object_store.features.version_names import hidden
from nubelet.object_store.reconcilers import expire_until
from nubelet.object_store.s3 import buckets, locks, objects, versions
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage import ContainerInfo, Missing, ObjectPath, timestamps
from tests.operations.test_object_store_crash import Api
from tests.operations.test_s3_crash import BUCKET, ask, body

pytestmark = pytest.mark.crash
PATH = ObjectPath("AUTH_p", BUCKET, "k")


@pytest.fixture
def api(tmp_path: Path) -> Api:
    made = Api(tmp_path)
    made("PUT", f"/{BUCKET}", x_versions_enabled="true")
    enable(made)
    return made


def enable(api: Api) -> None:
    headers = {object_lock.OF_BUCKET: object_lock.kept(object_lock.Rule())}
    api.store.put_container("AUTH_p", BUCKET, timestamps.now(), headers)


def put(api: Api) -> str:
    return objects.put(ask(api, "PUT", "k", b"kept")).headers["x-amz-version-id"]


def hold(api: Api, version: str, is_held: bool = True) -> None:
    object_lock.change(api.store, PATH, version, lambda lock: Lock(is_held=is_held))


def claim(api: Api, version: str) -> ObjectPath:
    record = object_lock.claim(api.store, PATH, version, lambda lock: False)
    assert record is not None
    return record


def test_a_version_that_is_being_deleted_cannot_be_locked(api: Api) -> None:
    version = put(api)
    record = claim(api, version)
    claim(api, version)  # by another who deletes it
    with pytest.raises(Conflict):
        hold(api, version)
    object_lock.forget(api.store, record)
    hold(api, version)
    with pytest.raises(Locked):
        claim(api, version)


def test_a_deletion_that_died_is_over_after_a_while(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = put(api)
    claim(api, version)
    later = object_lock._now() + object_lock._GOING_SECONDS + 1
    monkeypatch.setattr(object_lock, "_now", lambda: later)
    hold(api, version)
    with pytest.raises(Locked):
        claim(api, version)


@pytest.mark.parametrize("first", ["hold", "claim"])
def test_of_a_lock_and_a_deletion_at_once_one_comes_first(
    api: Api, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    version = put(api)
    read = object_lock._read

    def then_the_other(*where: Any) -> Any:
        found = read(*where)
        monkeypatch.setattr(object_lock, "_read", read)
        (hold if first == "hold" else claim)(api, version)
        return found

    monkeypatch.setattr(object_lock, "_read", then_the_other)
    with pytest.raises(Locked if first == "hold" else Conflict):
        (claim if first == "hold" else hold)(api, version)


def test_a_version_that_went_while_it_was_locked_is_not_locked(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = put(api)
    write = object_lock._write

    def then_delete(*what: Any) -> Any:
        monkeypatch.setattr(object_lock, "_write", write)
        objects.delete(ask(api, "DELETE", "k", versionId=version))
        return write(*what)

    monkeypatch.setattr(object_lock, "_write", then_delete)
    with pytest.raises(Missing):
        object_lock.change(api.store, PATH, version, lambda lock: Lock(is_held=True))


def test_a_lock_holds_where_a_device_does_not_know_yet_of_the_buckets(api: Api) -> None:
    given = ask(api, "PUT", "k", b"kept")
    call = given.call("PUT", headers={"content-length": "0"})
    call.notes[object_lock.GIVEN] = Lock(is_held=True)
    versions = [objects.replace(given, call).headers["X-Object-Version-Id"], put(api)]
    hold(api, versions[1])
    without = {object_lock.OF_BUCKET: ""}
    api.store.put_container("AUTH_p", BUCKET, timestamps.now(), without)
    for version in versions:
        answer = api("DELETE", f"/{BUCKET}/k", query=f"version-id={version}")
        assert answer.status == 403
        with pytest.raises(S3Error) as refused:
            objects.delete(ask(api, "DELETE", "k", versionId=version))
        assert refused.value.s3_code == "AccessDenied"


@pytest.mark.parametrize("is_held", [True, False])
def test_the_expirer_leaves_what_is_locked(tmp_path: Path, is_held: bool) -> None:
    api = Api(tmp_path)
    api("PUT", f"/{BUCKET}")
    soon = int(timestamps.seconds(timestamps.now())) + 1000
    api("PUT", f"/{BUCKET}/k", b"kept", x_delete_at=str(soon))
    api("POST", f"/{BUCKET}", x_versions_enabled="true")
    enable(api)
    hold(api, "null", is_held)
    assert expire_until(api.store, soon + 1) == (0 if is_held else 1)
    assert body(api) == (b"kept" if is_held else None)
    if is_held:
        hold(api, "null", is_held=False)
        assert expire_until(api.store, soon + 1) == 1


def test_parts_of_what_may_be_locked_are_not_deleted_later(api: Api) -> None:
    api("PUT", f"/{BUCKET}+segments")
    api("PUT", "/other")
    api("PUT", "/gone+segments")
    for container in (f"{BUCKET}+segments", "other", "gone+segments"):
        path = ObjectPath("AUTH_p", container, "part")
        api.store.put_object(path, 0, timestamps.now(), {}, [b"x"])
        later_deletes.note(api.store, [path])
    later_deletes.delete_noted(api.store)
    assert api.body("/other/part") is None
    assert api.body("/gone+segments/part") is None
    assert api.body(f"/{BUCKET}+segments/part") == b"x"


def test_locks_go_with_their_bucket(api: Api) -> None:
    version = put(api)
    hold(api, version)
    hold(api, version, is_held=False)
    objects.delete(ask(api, "DELETE", "k", versionId=version))
    claim_of_nothing = object_lock._record(PATH, "null")
    api.store.put_object(claim_of_nothing, 0, timestamps.now(), {}, [b"{}"])
    buckets.delete(ask(api, "DELETE", ""))
    with pytest.raises(Missing):
        api.store.container("AUTH_p", claim_of_nothing.container)


@pytest.fixture
def later(tmp_path: Path) -> Api:
    """A bucket whose key is from before its versions were kept."""
    api = Api(tmp_path)
    api("PUT", f"/{BUCKET}")
    api("PUT", f"/{BUCKET}/k", b"kept")
    return api


def sizes(api: Api) -> list[int]:
    """Of the versions that there are."""
    answer = api("GET", f"/{BUCKET}", query="versions=&format=json")
    assert isinstance(answer.body, bytes)
    return [each["bytes"] for each in json.loads(answer.body)]


def null_version(api: Api) -> str:
    """The hidden version that was under the name."""
    return next(each.id for each in versions.of_key(api.store, PATH) if each.is_null)


def must_stay(api: Api) -> None:
    """The null version is there, and locked."""
    assert 4 in sizes(api)
    version = null_version(api)
    answer = api("GET", f"/{BUCKET}/k", query=f"version-id={version}")
    assert answer.body == b"kept"
    assert api("DELETE", f"/{BUCKET}/k", query=f"version-id={version}").status == 403


def test_restoring_a_version_keeps_what_was_under_the_name(api: Api) -> None:
    version = objects.put(ask(api, "PUT", "k", b"first!")).headers["x-amz-version-id"]
    without = {object_lock.OF_BUCKET: ""}
    api.store.put_container("AUTH_p", BUCKET, timestamps.now(), without)
    api("POST", f"/{BUCKET}", x_versions_enabled="false")
    api("PUT", f"/{BUCKET}/k", b"kept")
    api("POST", f"/{BUCKET}", x_versions_enabled="true")
    enable(api)
    hold(api, "null")
    assert api("PUT", f"/{BUCKET}/k", query=f"version-id={version}").status == 201
    assert body(api) == b"first!"
    must_stay(api)


def test_a_null_version_that_is_deleted_is_not_kept_by_what_takes_its_place(tmp_path: Path) -> None:
    api = Api(tmp_path)
    api("PUT", f"/{BUCKET}", x_versions_enabled="true")
    api("PUT", f"/{BUCKET}/k", b"first!")
    api("POST", f"/{BUCKET}", x_versions_enabled="false")
    api("PUT", f"/{BUCKET}/k", b"gone")
    api("POST", f"/{BUCKET}/k", x_object_meta_a="later than the data")
    objects.delete(ask(api, "DELETE", "k", versionId="null"))
    assert body(api) == b"first!"
    assert sizes(api) == [6]


def expire(api: Api) -> None:
    """The key has expired a second ago, and the expirer has not come yet."""
    now = timestamps.now()
    api.store.post_object(PATH, 0, now, {"x-delete-at": str(int(timestamps.seconds(now)) - 1)})


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_what_is_locked_is_kept_though_it_has_expired(later: Api, method: str) -> None:
    expire(later)
    later("POST", f"/{BUCKET}", x_versions_enabled="true")
    enable(later)
    hold(later, "null")
    assert body(later) is None
    later(method, f"/{BUCKET}/k", b"newer!")
    must_stay(later)


def test_what_has_expired_and_is_not_locked_becomes_no_version(later: Api) -> None:
    expire(later)
    later("POST", f"/{BUCKET}", x_versions_enabled="true")
    enable(later)
    later("PUT", f"/{BUCKET}/k", b"newer!")
    assert sizes(later) == [6]


def test_a_version_stays_when_its_name_would_have_expired(later: Api) -> None:
    soon = int(timestamps.seconds(timestamps.now())) + 1000
    later("POST", f"/{BUCKET}/k", x_delete_at=str(soon))
    later("POST", f"/{BUCKET}", x_versions_enabled="true")
    enable(later)
    hold(later, "null")
    later("PUT", f"/{BUCKET}/k", b"newer!")
    assert expire_until(later.store, soon + 1) == 0
    must_stay(later)


@pytest.mark.parametrize("is_held", [True, False])
def test_the_expirer_leaves_hidden_versions_that_are_locked(later: Api, is_held: bool) -> None:
    later("POST", f"/{BUCKET}", x_versions_enabled="true")
    enable(later)
    later("PUT", f"/{BUCKET}/k", b"newer!")
    hold(later, null_version(later), is_held)
    soon = int(timestamps.seconds(timestamps.now())) + 1000
    at = versions.place(PATH, null_version(later))
    later.store.post_object(at, 0, timestamps.now(), {"x-delete-at": str(soon)})
    assert expire_until(later.store, soon + 1) == (0 if is_held else 1)


@pytest.mark.parametrize("is_held", [True, False])
@pytest.mark.parametrize("header", ["x_delete_at", "x_delete_after"])
def test_what_is_locked_is_not_made_to_expire(later: Api, header: str, is_held: bool) -> None:
    later("POST", f"/{BUCKET}", x_versions_enabled="true")
    enable(later)
    hold(later, "null", is_held)
    said = {header: "9000000000" if header == "x_delete_at" else "1000"}
    answer = later("POST", f"/{BUCKET}/k", **said)
    assert answer.status == (403 if is_held else 202)
    assert later("POST", f"/{BUCKET}/k", x_object_meta_a="b").status == 202


def manifest(api: Api) -> None:
    """A large object of another container whose segment is the key."""
    api("PUT", "/other")
    named = json.dumps([{"path": f"/{BUCKET}/k"}]).encode()
    assert api("PUT", "/other/m", named, query="multipart-manifest=put").status == 201


def test_segments_whose_versions_are_kept_are_not_deleted_later(later: Api) -> None:
    manifest(later)
    later("POST", f"/{BUCKET}", x_versions_enabled="true")
    enable(later)
    hold(later, "null")
    later("DELETE", "/other/m", query="multipart-manifest=delete&async=on")
    later_deletes.delete_noted(later.store)
    assert later("HEAD", "/other/m").status == 404
    assert body(later) is None
    must_stay(later)


def test_segments_that_were_locked_after_they_were_noted_stay(later: Api) -> None:
    manifest(later)
    later("DELETE", "/other/m", query="multipart-manifest=delete&async=on")
    later("POST", f"/{BUCKET}", x_versions_enabled="true")
    enable(later)
    hold(later, "null")
    later_deletes.delete_noted(later.store)
    assert body(later) == b"kept"


def retained(api: Api, until: str) -> str:
    """The end of the key's retention as it is shown; raises what refuses to set it."""
    put(api)
    root = f"<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>{until}</RetainUntilDate>"
    document = f"{root}</Retention>".encode()
    locks.update_retention(ask(api, "PUT", "k", document))
    shown = locks.show_retention(ask(api, "GET", "k"))
    assert isinstance(shown.body, bytes)
    assert objects.show(ask(api, "GET", "k")).status == 200
    return shown.body.decode().partition("<RetainUntilDate>")[2].partition("<")[0]


def test_a_retention_ends_before_the_year_10000(api: Api) -> None:
    assert retained(api, "9999-12-31T23:59:59Z") == "9999-12-31T23:59:59.000Z"
    assert retained(api, "9999-12-31T23:59:59.500Z") == "9999-12-31T23:59:59.500Z"
    for until in ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-01:00"):
        with pytest.raises(S3Error) as refused:
            retained(api, until)
        assert refused.value.s3_code == "InvalidArgument"


def test_a_key_whose_retention_was_let_end_later_is_shown(api: Api) -> None:
    version = put(api)
    later = Lock(mode="COMPLIANCE", until=253_402_304_400.0)
    object_lock.change(api.store, PATH, version, lambda lock: later)
    headers = objects.show(ask(api, "GET", "k")).headers
    assert headers["x-amz-object-lock-retain-until-date"] == "9999-12-31T23:59:59.000Z"


def count_nothing(api: Api, patched: pytest.MonkeyPatch, container: str) -> None:
    """A device that answers for a container has not heard yet of what is in it."""
    look = api.store.container

    def behind(account: str, name: str, **how: Any) -> ContainerInfo:
        found = look(account, name, **how)
        return replace(found, object_count=0) if name == container else found

    patched.setattr(api.store, "container", behind)


def test_a_bucket_with_versions_that_are_not_counted_yet_stays_locked(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = put(api)
    hold(api, version)
    api("DELETE", f"/{BUCKET}/k")
    count_nothing(api, monkeypatch, hidden(BUCKET))
    assert api("DELETE", f"/{BUCKET}").status == 409
    assert object_lock.rule_of(api.store.container("AUTH_p", BUCKET)) is not None
    assert api("DELETE", f"/{BUCKET}/k", query=f"version-id={version}").status == 403


def test_a_container_that_is_not_deleted_goes_on_keeping_versions(
    later: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    later("POST", f"/{BUCKET}", x_versions_enabled="true")
    with monkeypatch.context() as patched:
        count_nothing(later, patched, BUCKET)
        assert later("DELETE", f"/{BUCKET}").status == 409
    assert later.store.container("AUTH_p", hidden(BUCKET)).object_count == 0
    assert later("PUT", f"/{BUCKET}/k", b"newer!").status == 201
    assert sizes(later) == [6, 4]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_the_container_of_versions_is_made_again(later: Api, method: str) -> None:
    later("POST", f"/{BUCKET}", x_versions_enabled="true")
    later.store.delete_container("AUTH_p", hidden(BUCKET), timestamps.now())
    assert later(method, f"/{BUCKET}/k", b"newer!").status < 300
    assert len(sizes(later)) == 2


def test_who_may_not_delete_a_container_does_not_delete_that_of_its_versions(later: Api) -> None:
    later("POST", f"/{BUCKET}", x_versions_enabled="true")
    later("DELETE", f"/{BUCKET}/k", query="version-id=null")
    later.context.credentials = Credentials(user_id="x", project_id="other", roles=("member",))
    assert later("DELETE", f"/{BUCKET}").status == 403
    assert later.store.container("AUTH_p", hidden(BUCKET)).object_count == 0
