"""Two at one key of S3 at the same moment: what was written stays, whoever deletes meanwhile."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nubelet.kernel.errors import ApiError
from nubelet.object_store.call import Call, pieces
from nubelet.object_store.reconcilers import expire_until
from nubelet.object_store.s3 import (
    endings,
    multipart,
    objects,
    parts,
    preconditions,
    removing,
    versions,
)
from nubelet.object_store.s3.asked import Asked
from nubelet.object_store.s3.bodies import Upload
from nubelet.object_store.s3.errors import S3Error, translated
from nubelet.object_store.s3.rules import TAGS
from nubelet.object_store.storage import Missing, ObjectPath, OpenObject
from tests.operations.test_object_store_crash import Api
from tests.operations.test_s3_crash import (
    BUCKET,
    _small_parts,
    ask,
    begin,
    body,
    complete,
    kept,
    part,
    swept,
)

pytestmark = pytest.mark.crash
small_parts = _small_parts
MISSED = ("PreconditionFailed", "NoSuchKey")


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path)


def bucket(api: Api, state: str) -> None:
    api("PUT", f"/{BUCKET}", x_versions_enabled="true")
    if state == "Suspended":
        api("POST", f"/{BUCKET}", x_versions_enabled="false")


def put(api: Api, data: bytes) -> str:
    answer = objects.put(ask(api, "PUT", "k", data))
    return answer.headers["x-amz-version-id"]


def put_while(api: Api, data: bytes, meanwhile: Callable[[], object]) -> str:
    """A PUT of which something happens when its body is on its way."""
    asked = ask(api, "PUT", "k", data)

    def chunks(size: int) -> Iterator[bytes]:
        meanwhile()
        yield data

    upload = Upload(asked.headers, chunks, None, b"")
    return objects.put(replace(asked, upload=upload)).headers["x-amz-version-id"]


def delete(api: Api, **query: str) -> Any:
    return objects.delete(ask(api, "DELETE", "k", **query)).headers


@pytest.mark.parametrize("state", ["Enabled", "Suspended"])
@pytest.mark.parametrize("earlier", [0, 1])
def test_a_write_that_ends_while_the_current_version_is_deleted_stays(
    api: Api, monkeypatch: pytest.MonkeyPatch, earlier: int, state: str
) -> None:
    bucket(api, "Enabled")
    for number in range(earlier):
        put(api, b"%d" % number)
    bucket(api, state)
    version = put(api, b"deleted")
    look = versions.of_key

    def then_write(*where: Any) -> Any:
        monkeypatch.setattr(versions, "of_key", look)
        found = list(look(*where))
        put(api, b"newer")
        return iter(found)

    monkeypatch.setattr(versions, "of_key", then_write)
    delete(api, versionId=version)
    assert body(api) == b"newer"


@pytest.mark.parametrize("state", ["Enabled", "Suspended"])
@pytest.mark.parametrize("earlier", [0, 1])
def test_a_write_that_began_before_the_current_version_is_deleted_stays(
    api: Api, earlier: int, state: str
) -> None:
    bucket(api, "Enabled")
    for number in range(earlier):
        put(api, b"%d" % number)
    bucket(api, state)
    version = put(api, b"deleted")
    put_while(api, b"newer", lambda: delete(api, versionId=version))
    assert body(api) == b"newer"


@pytest.mark.parametrize("state", ["Enabled", "Suspended"])
def test_a_write_stays_that_is_newer_than_the_marker(
    api: Api, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    bucket(api, "Enabled")
    put(api, b"deleted")
    bucket(api, state)
    put_object, written = api.store.put_object, []

    def then_write(path: Any, *what: Any, **how: Any) -> Any:
        stored = put_object(path, *what, **how)
        if not written:
            written.append(path)
            put(api, b"newer")
        return stored

    monkeypatch.setattr(api.store, "put_object", then_write)
    assert delete(api)["x-amz-delete-marker"] == "true"
    assert body(api) == b"newer"


def test_of_two_markers_of_suspended_versions_one_stays(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket(api, "Enabled")
    put(api, b"kept")
    bucket(api, "Suspended")
    empty, asked = removing._empty_name, []

    def then_delete(*where: Any) -> None:
        if not asked:
            asked.append(where)
            delete(api)
        empty(*where)

    monkeypatch.setattr(removing, "_empty_name", then_delete)
    delete(api)
    assert body(api) is None
    found = list(versions.of_key(api.store, ask(api, "GET", "k").path))
    assert [each.is_marker for each in found] == [True, False]


@pytest.mark.parametrize("state", ["Enabled", "Suspended"])
def test_the_marker_of_a_key_that_is_written_again_can_be_deleted(api: Api, state: str) -> None:
    bucket(api, "Enabled")
    put(api, b"old")
    bucket(api, state)
    marker = delete(api)["x-amz-version-id"]
    put_while(api, b"newer", lambda: delete(api, versionId=marker))
    assert body(api) == b"newer"


@pytest.mark.parametrize("state", ["", "Enabled", "Suspended"])
def test_a_delete_with_a_condition_takes_what_it_was_asked_of_and_nothing_newer(
    api: Api, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    if state:
        bucket(api, "Enabled")
        bucket(api, state)
    else:
        api("PUT", f"/{BUCKET}")
    objects.put(ask(api, "PUT", "k", b"seen"))
    said = {"if-match": objects.show(ask(api, "HEAD", "k")).headers["ETag"]}
    check = preconditions.check

    def then_write(*what: Any) -> Any:
        seen = check(*what)
        patched.undo()
        objects.put(ask(api, "PUT", "k", b"newer"))
        return seen

    with monkeypatch.context() as patched:
        patched.setattr(preconditions, "check", then_write)
        with pytest.raises(ApiError) as refused:
            removing.remove(ask(api, "DELETE", "k"), "k", "", said)
    assert translated(refused.value).s3_code == "PreconditionFailed"
    assert body(api) == b"newer"
    found = versions.of_key(api.store, ask(api, "GET", "k").path)
    assert [each for each in found if each.is_marker] == []
    said = {"if-match": objects.show(ask(api, "HEAD", "k")).headers["ETag"]}
    removing.remove(ask(api, "DELETE", "k"), "k", "", said)
    assert body(api) is None


@pytest.mark.parametrize("state", ["", "Enabled", "Suspended"])
@pytest.mark.parametrize("other", ["put", "delete"])
def test_of_a_delete_and_another_change_that_expect_the_same_one_happens(
    api: Api, monkeypatch: pytest.MonkeyPatch, state: str, other: str
) -> None:
    """In a cluster a delete alone asks nobody for a promise: it must be a write with a condition
    that decides. Here the other change is decided behind the look, before the store deletes."""
    if state:
        bucket(api, "Enabled")
        bucket(api, state)
    else:
        api("PUT", f"/{BUCKET}")
    etag = objects.put(ask(api, "PUT", "k", b"seen")).headers["ETag"]
    delete_object, put_object, writes = api.store.delete_object, api.store.put_object, []

    def counted(path: Any, *what: Any, expected: Any = None, **how: Any) -> Any:
        if expected:
            writes.append(path)
        return put_object(path, *what, expected=expected, **how)

    def not_of_the_key(path: Any, *what: Any, **how: Any) -> None:
        if path == KEY:
            assert writes == [KEY]
            # Whoever still expects what was seen comes too late.
            if other == "put":
                assert refused(lambda: put_if(api, "if-match", etag, b"B")) in MISSED
            else:
                again = ask(api, "DELETE", "k")
                then = lambda: removing.remove(again, "k", "", {"if-match": etag})  # noqa: E731
                assert refused(then) in MISSED
        delete_object(path, *what, **how)

    monkeypatch.setattr(api.store, "put_object", counted)
    monkeypatch.setattr(api.store, "delete_object", not_of_the_key)
    removing.remove(ask(api, "DELETE", "k"), "k", "", {"if-match": etag})
    assert body(api) is None
    assert writes == [KEY]


@pytest.mark.parametrize("state", ["", "Enabled", "Suspended"])
@pytest.mark.parametrize("moment", ["after the look", "before the name is emptied"])
def test_of_two_deletes_that_expect_the_same_one_happens(
    api: Api, monkeypatch: pytest.MonkeyPatch, state: str, moment: str
) -> None:
    """The other one is done wholly in between: there is nothing any more that could be taken."""
    if state:
        bucket(api, "Enabled")
        bucket(api, state)
    else:
        api("PUT", f"/{BUCKET}")
    etag = objects.put(ask(api, "PUT", "k", b"seen")).headers["ETag"]
    module, name = {
        "after the look": (preconditions, "check"),
        "before the name is emptied": (versions, "state"),
    }[moment]
    usual, others = getattr(module, name), []

    def remove() -> dict[str, str]:
        return removing.remove(ask(api, "DELETE", "k"), "k", "", {"if-match": etag})

    def then_delete(*what: Any) -> Any:
        found = usual(*what)
        patched.undo()
        others.append(remove())
        return found

    with monkeypatch.context() as patched:
        patched.setattr(module, name, then_delete)
        assert refused(remove) in MISSED
    assert body(api) is None
    markers = [each for each in versions.of_key(api.store, KEY) if each.is_marker]
    told = [each.get("x-amz-version-id") for each in others]
    if state == "Enabled":
        assert [each.id for each in markers] == told
    else:
        assert len(markers) == (1 if state else 0)
        assert told == [versions.NULL if state else None]


def test_what_a_killed_delete_with_a_condition_left_is_nothing_and_goes(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}")
    etag = objects.put(ask(api, "PUT", "k", b"seen")).headers["ETag"]

    def killed(*what: Any, **how: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(api.store, "delete_object", killed)
        with pytest.raises(KeyboardInterrupt):
            removing.remove(ask(api, "DELETE", "k"), "k", "", {"if-match": etag})
    assert body(api) is None
    assert refused(lambda: objects.show(ask(api, "GET", "k"))) == "NoSuchKey"
    assert put_if(api, "if-none-match", "*", b"new") == 200
    assert body(api) == b"new"
    expire_until(api.store, time.time())
    assert body(api) == b"new"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("state", ["", "Enabled"])
@pytest.mark.parametrize("look", range(1, 4))
def test_a_part_of_a_key_that_is_overwritten_is_of_one_write(
    api: Api, monkeypatch: pytest.MonkeyPatch, look: int, state: str, method: str
) -> None:
    api("PUT", f"/{BUCKET}", **({"x_versions_enabled": "true"} if state else {}))  # type: ignore[arg-type]
    complete(api, begin(api))
    looks, call = [], Asked.ask

    def then_write(asked: Asked, at: Call) -> Any:
        found = call(asked, at)
        if at.path == KEY and at.is_read:
            looks.append(at)
            if len(looks) == look:
                monkeypatch.setattr(Asked, "ask", call)
                objects.put(ask(api, "PUT", "k", b"newer"))
        return found

    monkeypatch.setattr(Asked, "ask", then_write)
    answer = objects.show(ask(api, method, "k", partNumber="1"))
    told = {name.lower(): value for name, value in answer.headers.items()}
    size, parts_count = told["content-range"].rpartition("/")[2], told.get("x-amz-mp-parts-count")
    if told["etag"].endswith('-2"'):
        assert (size, parts_count) == ("12", "2")
        expected = b"aaaaaaa"
    else:
        assert (size, parts_count) == ("5", None)
        expected = b"newer"
    assert answer.status == 206
    if method == "GET" and (state or look < 3):  # parts go with their key
        assert b"".join(pieces(answer)) == expected


def test_a_condition_of_a_read_is_about_what_is_sent(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}")
    etag = objects.put(ask(api, "PUT", "k", b"seen")).headers["ETag"]
    then_once(monkeypatch, Asked, "ask", lambda: objects.put(ask(api, "PUT", "k", b"newer")))
    at = ask(api, "GET", "k")
    at.request.headers["if-match"] = etag  # type: ignore[index]
    assert refused(lambda: objects.show(at)) == "PreconditionFailed"


class Behind:
    """A storage of which a replica is behind: it has what was there at first, and tells those who
    do not ask for the newest."""

    def __init__(self, api: Api, monkeypatch: pytest.MonkeyPatch, *paths: ObjectPath) -> None:
        self.open = api.store.open_object
        self.stale: dict[ObjectPath, OpenObject | Missing] = {}
        for path in paths:
            try:
                self.stale[path] = self.open(path, 0)
            except Missing as missing:
                self.stale[path] = missing
        monkeypatch.setattr(api.store, "open_object", self)

    def __call__(self, path: ObjectPath, policy: int, *, newest: bool = False) -> OpenObject:
        found = None if newest else self.stale.get(path)
        if isinstance(found, Missing):
            raise found
        return found or self.open(path, policy, newest=newest)


def put_if(api: Api, name: str, said: str, data: bytes) -> int:
    asked = ask(api, "PUT", "k", data)
    asked.request.headers[name] = said
    return objects.put(asked).status


KEY = ObjectPath("AUTH_p", BUCKET, "k")


@pytest.mark.parametrize("state", ["", "Enabled", "Suspended"])
def test_the_condition_is_asked_of_what_is_replaced(
    api: Api, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    api("PUT", f"/{BUCKET}")
    if state:
        bucket(api, state)
    etag = objects.put(ask(api, "PUT", "k", b"old")).headers["ETag"]
    Behind(api, monkeypatch, KEY)
    assert put_if(api, "if-match", etag, b"A") == 200
    with pytest.raises(S3Error) as refused:
        put_if(api, "if-match", etag, b"B")
    assert refused.value.s3_code == "PreconditionFailed"


def test_a_key_that_a_replica_has_not_yet_is_there(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}")
    Behind(api, monkeypatch, KEY)
    assert put_if(api, "if-none-match", "*", b"A") == 200
    with pytest.raises(S3Error) as refused:
        put_if(api, "if-none-match", "*", b"B")
    assert refused.value.s3_code == "PreconditionFailed"


@pytest.mark.parametrize(
    ("is_there", "where", "name"),
    [
        (False, versions, "written_at"),
        (True, versions, "written_at"),
        (True, preconditions, "_compare"),
    ],
)
def test_a_condition_that_ends_to_hold_while_it_is_asked(
    api: Api, monkeypatch: pytest.MonkeyPatch, is_there: bool, where: Any, name: str
) -> None:
    api("PUT", f"/{BUCKET}")
    said = ("if-none-match", "*")
    if is_there:
        said = ("if-match", objects.put(ask(api, "PUT", "k", b"old")).headers["ETag"])
    then_once(monkeypatch, where, name, lambda: objects.put(ask(api, "PUT", "k", b"newer")))
    assert refused(lambda: put_if(api, *said, b"mine")) == "PreconditionFailed"
    assert body(api) == b"newer"


def test_a_condition_that_begins_to_hold_while_it_is_asked(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}")
    etag = f'"{hashlib.md5(b"newer", usedforsecurity=False).hexdigest()}"'
    write = ask(api, "PUT", "k", b"newer")
    then_once(monkeypatch, versions, "written_at", lambda: objects.put(write))
    seen = preconditions.check(ask(api, "PUT", "k"), {"if-match": etag})
    assert seen == versions.written_at(api.store, KEY) != ""


def test_a_condition_on_what_changes_all_the_time(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}")
    etag = objects.put(ask(api, "PUT", "k", b"same")).headers["ETag"]
    compare = preconditions._compare

    def then_write(*what: Any) -> None:
        compare(*what)
        objects.put(ask(api, "PUT", "k", b"same"))

    monkeypatch.setattr(preconditions, "_compare", then_write)
    assert refused(lambda: put_if(api, "if-match", etag, b"B")) == "ConditionalRequestConflict"
    assert body(api) == b"same"


def test_tags_are_added_to_the_metadata_that_was_written_last(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}")
    objects.put(ask(api, "PUT", "k", b"old"))
    Behind(api, monkeypatch, KEY)
    api("POST", f"/{BUCKET}/k", x_object_meta_colour="red")
    objects.rewrite(ask(api, "PUT", "k"), {TAGS: "a=b"})
    found = api.store.open_object(KEY, 0, newest=True).metadata
    assert (found[TAGS], found["x-object-meta-colour"]) == ("a=b", "red")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_what_becomes_a_version_is_what_was_written_last(
    api: Api, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    api("PUT", f"/{BUCKET}")
    Behind(api, monkeypatch, KEY)
    api("PUT", f"/{BUCKET}/k", b"kept")
    api("POST", f"/{BUCKET}", x_versions_enabled="true")
    api(method, f"/{BUCKET}/k", b"newer!" if method == "PUT" else b"")
    assert [each.is_null for each in versions.of_key(api.store, KEY)] == [False, True]
    version = list(versions.of_key(api.store, KEY))[1].id
    answer = api("GET", f"/{BUCKET}/k", query=f"version-id={version}")
    assert answer.body == b"kept"


def test_parts_of_what_a_replica_has_not_yet_are_in_use(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}")
    Behind(api, monkeypatch, KEY)
    upload_id = begin(api)
    complete(api, upload_id)
    assert len(parts.in_use(ask(api, "GET", "k"))) == 2


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_parts_of_a_key_that_cannot_be_asked_stay(
    api: Api, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    api("PUT", f"/{BUCKET}")
    complete(api, begin(api))
    before = kept(api)
    look = Asked.ask

    def unavailable(asked: Asked, call: Call) -> Any:
        if call.method == method and call.path == KEY:
            raise ApiError("Devices do not answer.", status=503)
        return look(asked, call)

    with monkeypatch.context() as patched:
        patched.setattr(Asked, "ask", unavailable)
        with pytest.raises(ApiError):
            parts.in_use(ask(api, "GET", "k"))
        with pytest.raises(ApiError):
            objects.put(ask(api, "PUT", "k", b"newer"))
    assert kept(api) == before
    assert body(api) == b"aaaaaaabbbbb"


def then_once(
    monkeypatch: pytest.MonkeyPatch, where: Any, name: str, then: Callable[[], object]
) -> None:
    """Something happens right behind the next call of a function."""
    call = getattr(where, name)

    def called(*what: Any, **how: Any) -> Any:
        monkeypatch.setattr(where, name, call)
        found = call(*what, **how)
        then()
        return found

    monkeypatch.setattr(where, name, called)


def refused(change: Callable[[], object]) -> str:
    with pytest.raises(ApiError) as caught:
        change()
    return translated(caught.value).s3_code


@pytest.mark.parametrize("first", ["complete", "abort"])
@pytest.mark.parametrize("when", ["put_object", "open_object"])
def test_of_completing_an_upload_and_giving_it_up_at_the_same_moment_one_wins(
    api: Api, monkeypatch: pytest.MonkeyPatch, first: str, when: str
) -> None:
    """The other one comes right behind any look at the upload's record, or write of it."""
    for moment in range(20):
        api("PUT", f"/{BUCKET}")
        upload_id = begin(api)
        ends = [lambda: complete(api, upload_id), lambda: given_up(api, upload_id)]  # noqa: B023
        begun, other = ends if first == "complete" else ends[::-1]
        call, seen = getattr(api.store, when), []

        def then_other(path: Any, *what: Any, **how: Any) -> Any:
            found = call(path, *what, **how)  # noqa: B023
            seen.append(path)  # noqa: B023
            if len(seen) == moment + 1:  # noqa: B023
                monkeypatch.setattr(api.store, when, call)  # noqa: B023
                with suppress(S3Error):
                    other()  # noqa: B023
            return found

        monkeypatch.setattr(api.store, when, then_other)
        with suppress(S3Error):
            begun()
        monkeypatch.setattr(api.store, when, call)
        for _ in range(2):
            found = api("GET", f"/{BUCKET}/k")
            assert found.status in (200, 404)
            assert found.status == 404 or b"".join(pieces(found)) == b"aaaaaaabbbbb"
            swept(api)
        assert len(kept(api)) == (2 if found.status == 200 else 0)
        assert refused(lambda: given_up(api, upload_id)) == "NoSuchUpload"  # noqa: B023
        delete(api)
        assert kept(api) == []


def completion(api: Api, upload_id: str) -> Callable[[], Any]:
    """A request to complete an upload, which names the parts that there are now."""
    there = parts.of_upload(ask(api, "GET", "k"), upload_id)
    named = "".join(
        f"<Part><PartNumber>{each.number}</PartNumber><ETag>{each.etag}</ETag></Part>"
        for each in there.values()
    )
    sent = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
    return lambda: multipart.complete(ask(api, "POST", "k", sent, uploadId=upload_id))


def test_who_is_late_to_complete_an_upload_gets_the_same_answer(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one completes it wholly between the look at the record and its change."""
    bucket(api, "Enabled")
    complete_it = completion(api, begin(api))
    decide, others = endings.complete, []

    def then_decide(*what: Any) -> None:
        monkeypatch.setattr(endings, "complete", decide)
        others.append(complete_it())
        decide(*what)

    monkeypatch.setattr(endings, "complete", then_decide)
    late = complete_it()
    assert late.body == others[0].body
    version = late.headers["x-amz-version-id"]
    assert version == others[0].headers["x-amz-version-id"]
    assert [each.id for each in versions.of_key(api.store, KEY)] == [version]
    assert body(api) == b"aaaaaaabbbbb"


def test_a_completion_that_was_killed_behind_the_key_makes_no_other_version(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket(api, "Enabled")
    upload_id = begin(api)
    complete_it = completion(api, upload_id)
    multipart.put_part(part(api, upload_id, 9, b"not used"))
    with monkeypatch.context() as patched:
        for name in ("forget_later", "forget"):
            patched.setattr(parts, name, lambda *what: None)
        first = complete_it()
    again = complete_it()
    assert (again.body, again.headers) == (first.body, first.headers)
    version = again.headers["x-amz-version-id"]
    assert [each.id for each in versions.of_key(api.store, KEY)] == [version]
    assert refused(lambda: given_up(api, upload_id)) == "NoSuchUpload"
    swept(api)
    assert len(kept(api)) == 2
    assert body(api) == b"aaaaaaabbbbb"


@pytest.mark.parametrize("then", ["overwritten", "deleted"])
def test_a_completion_that_was_killed_brings_back_nothing_that_was_changed_since(
    api: Api, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    bucket(api, "Enabled")
    upload_id = begin(api)
    complete_it = completion(api, upload_id)
    with monkeypatch.context() as patched:
        for name in ("forget_later", "forget"):
            patched.setattr(parts, name, lambda *what: None)
        first = complete_it()
    if then == "deleted":
        delete(api)
    else:
        put(api, b"newer")
    there = list(versions.of_key(api.store, KEY))
    again = complete_it()
    assert again.headers["x-amz-version-id"] == first.headers["x-amz-version-id"]
    assert again.body == first.body
    assert list(versions.of_key(api.store, KEY)) == there
    assert body(api) == (None if then == "deleted" else b"newer")
    swept(api)
    assert len(kept(api)) == 2


def test_an_upload_whose_giving_up_was_killed_is_over_and_goes(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}")
    upload_id = begin(api)
    with monkeypatch.context() as patched:
        patched.setattr(parts, "remove", lambda *what: None)
        given_up(api, upload_id)
    assert refused(lambda: complete(api, upload_id)) == "NoSuchUpload"
    assert refused(lambda: multipart.put_part(part(api, upload_id, 1, b"x"))) == "NoSuchUpload"
    swept(api)
    assert kept(api) == []


def test_giving_up_what_a_process_that_died_was_completing_takes_nothing_from_who_lives(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}")
    upload_id = begin(api)
    then_once(monkeypatch, multipart.endings, "complete", lambda: given_up(api, upload_id))
    complete(api, upload_id)
    assert body(api) == b"aaaaaaabbbbb"
    swept(api)
    assert body(api) == b"aaaaaaabbbbb"
    assert len(kept(api)) == 2


def test_who_completes_an_upload_does_not_wait_until_what_told_of_its_parts_is_deleted(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}")
    upload_id = begin(api)
    for number in range(3, 13):
        multipart.put_part(part(api, upload_id, number, b"%d" % number))
    multipart.put_part(part(api, upload_id, 1, b"again"))
    delete_object, deleted = api.store.delete_object, []

    def counted(path: ObjectPath, *what: Any, **how: Any) -> None:
        deleted.append(path.object)
        delete_object(path, *what, **how)

    monkeypatch.setattr(api.store, "delete_object", counted)
    complete(api, upload_id)
    assert deleted == [f"uploads/k/{upload_id}"]
    swept(api)
    assert body(api) == b"againbbbbb" + b"".join(b"%d" % number for number in range(3, 13))
    assert len(kept(api)) == 12


@pytest.mark.parametrize("when", ["_chosen", "_etag", "_write"])
def test_an_upload_is_completed_or_given_up(
    api: Api, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    api("PUT", f"/{BUCKET}")
    upload_id = begin(api)
    give_up = ask(api, "DELETE", "k", uploadId=upload_id)
    then_once(monkeypatch, multipart, when, lambda: multipart.abort(give_up))
    if when == "_write":
        complete(api, upload_id)
        assert body(api) == b"aaaaaaabbbbb"
    else:
        assert refused(lambda: complete(api, upload_id)) == "NoSuchUpload"
        assert body(api) is None
    swept(api)
    assert len(kept(api)) == (2 if when == "_write" else 0)


def test_an_upload_that_is_completed_while_it_is_given_up(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}")
    upload_id = begin(api)
    then_once(monkeypatch, multipart, "_begun", lambda: complete(api, upload_id))
    assert refused(lambda: given_up(api, upload_id)) == "NoSuchUpload"
    swept(api)
    assert body(api) == b"aaaaaaabbbbb"


def test_parts_stay_that_an_earlier_completion_chose(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}", x_versions_enabled="true")
    upload_id = begin(api)
    with monkeypatch.context() as patched:  # it dies before it forgets the upload
        patched.setattr(parts, "forget", lambda *what: None)
        complete(api, upload_id)
    version = objects.show(ask(api, "HEAD", "k")).headers["x-amz-version-id"]
    etag = hashlib.md5(b"aaaaaaa", usedforsecurity=False).hexdigest()
    named = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
    document = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
    multipart.complete(ask(api, "POST", "k", document, uploadId=upload_id))
    assert body(api) == b"aaaaaaa"
    answer = objects.show(ask(api, "GET", "k", versionId=version))
    assert b"".join(pieces(answer)) == b"aaaaaaabbbbb"


def put_part_while(api: Api, upload_id: str, data: bytes, meanwhile: Callable[[], object]) -> None:
    """Part 1 is sent; something happens when its body is on its way."""
    asked = part(api, upload_id, 1, data)

    def chunks(size: int) -> Iterator[bytes]:
        meanwhile()
        yield data

    multipart.put_part(replace(asked, upload=Upload(asked.headers, chunks, None, b"")))


def test_a_part_that_is_sent_while_the_upload_is_completed_changes_nothing(api: Api) -> None:
    api("PUT", f"/{BUCKET}")
    upload_id = begin(api)
    late = lambda: put_part_while(api, upload_id, b"late", lambda: complete(api, upload_id))  # noqa: E731
    assert refused(late) == "NoSuchUpload"
    assert body(api) == b"aaaaaaabbbbb"
    swept(api)
    assert len(kept(api)) == 2


@pytest.mark.parametrize("when", ["_chosen", "_etag", "_write"])
def test_a_part_that_arrives_while_the_upload_is_completed_changes_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    api("PUT", f"/{BUCKET}")
    upload_id = begin(api)
    late = part(api, upload_id, 1, b"late")
    then_once(monkeypatch, multipart, when, lambda: multipart.put_part(late))
    complete(api, upload_id)
    assert body(api) == b"aaaaaaabbbbb"
    swept(api)
    assert len(kept(api)) == 2


@pytest.mark.parametrize("how", ["complete", "abort"])
def test_a_part_that_is_stored_behind_the_end_of_its_upload_goes(
    api: Api, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The last moment in which it asks whether the upload is there is a moment too early."""
    api("PUT", f"/{BUCKET}")
    upload_id = begin(api)
    end = (
        (lambda: complete(api, upload_id))
        if how == "complete"
        else lambda: given_up(api, upload_id)
    )

    def with_its_body() -> None:
        then_once(monkeypatch, multipart, "_upload", end)

    put_part_while(api, upload_id, b"late", with_its_body)
    assert len(kept(api)) == (5 if how == "complete" else 2)
    swept(api)
    assert body(api) == (b"aaaaaaabbbbb" if how == "complete" else None)
    assert len(kept(api)) == (2 if how == "complete" else 0)


def given_up(api: Api, upload_id: str) -> None:
    multipart.abort(ask(api, "DELETE", "k", uploadId=upload_id))


def test_a_sweep_takes_nothing_from_an_upload_under_way(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}")
    upload_id = begin(api)
    with monkeypatch.context() as patched:  # it dies before the upload is over
        patched.setattr(parts, "remove", lambda *what: None)
        complete(api, upload_id)
    multipart.put_part(part(api, upload_id, 2, b"again"))
    swept(api)
    complete(api, upload_id)
    assert body(api) == b"aaaaaaaagain"


def test_of_a_part_that_was_sent_twice_the_one_that_arrived_last_is_chosen(api: Api) -> None:
    api("PUT", f"/{BUCKET}")
    upload_id = begin(api)
    first = parts.of_upload(ask(api, "GET", "k"), upload_id)[1]
    put_part_while(
        api, upload_id, b"last", lambda: multipart.put_part(part(api, upload_id, 1, b"between"))
    )
    named = f"<Part><PartNumber>1</PartNumber><ETag>{first.etag}</ETag></Part>"
    document = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
    older = ask(api, "POST", "k", document, uploadId=upload_id)
    assert refused(lambda: multipart.complete(older)) == "InvalidPart"
    complete(api, upload_id)
    assert body(api) == b"lastbbbbb"
    swept(api)
    assert len(kept(api)) == 2


def test_a_page_of_parts_reads_about_a_page(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api("PUT", f"/{BUCKET}")
    upload_id = begin(api)
    for number in range(3, 41):
        multipart.put_part(part(api, upload_id, number, b"%d" % number))
    list_objects, read = api.store.list_objects, []

    def counted(*what: Any) -> Any:
        found = list_objects(*what)
        read.extend(found)
        return found

    monkeypatch.setattr(api.store, "list_objects", counted)
    marker, numbers = "0", []
    while True:
        read.clear()
        at = ask(api, "GET", "k", **{"max-parts": "5", "part-number-marker": marker})
        at.query["uploadId"] = upload_id  # type: ignore[index]
        page = multipart.list_parts(at).body.decode()
        assert len(read) <= 2 * (5 + 1 + 6)
        numbers += [int(each) for each in re.findall("<PartNumber>([0-9]+)<", page)]
        marker = re.findall("<NextPartNumberMarker>([0-9]+)<", page)[0]
        if "<IsTruncated>true" not in page:
            break
    assert numbers == list(range(1, 41))


def test_parts_of_an_upload_that_an_older_release_began(api: Api) -> None:
    api("PUT", f"/{BUCKET}")
    upload_id = begin(api)
    place = f"/{BUCKET}+segments/parts/{upload_id}"
    for name in kept(api):
        if not name.startswith("uploads/"):
            api("DELETE", f"/{BUCKET}+segments/{name}")
    for number, data in ((1, b"old"), (2, b"older"), (3, b"oldest")):
        api("PUT", f"{place}/{number:05d}", data, content_type="application/x-part")
    put_part_while(api, upload_id, b"new", lambda: None)
    there = parts.of_upload(ask(api, "GET", "k"), upload_id)
    assert [(each.number, each.size) for each in there.values()] == [(1, 3), (2, 5), (3, 6)]
    found = parts.find(ask(api, "GET", "k"), upload_id, 2)
    assert found is not None
    assert found.etag == there[2].etag
    complete(api, upload_id)
    assert body(api) == b"newolderoldest"
    swept(api)
    assert len(kept(api)) == 3
