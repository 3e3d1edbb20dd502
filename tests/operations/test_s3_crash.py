"""kill -9 at every stage of changes of keys that were uploaded in parts: the old or the new key,
never a mix, and no part that outlives its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nubelet.kernel.http.messages import Request, Response
from nubelet.object_store.api import objects as swift_objects
from nubelet.object_store.s3 import garbage, multipart, objects, parts
from nubelet.object_store.s3.asked import Asked
from nubelet.object_store.s3.bodies import Upload
from nubelet.object_store.storage import Listing, Missing, ObjectPath, timestamps
from tests.operations import test_object_store_crash
from tests.operations.test_object_store_crash import Api, crash_everywhere

pytestmark = pytest.mark.crash
BUCKET = "old"  # one whose totals crash_everywhere looks at
_no_waiting_for_disks = test_object_store_crash._no_waiting_for_disks
PARTS = {1: b"a" * 7, 2: b"b" * 5}


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "SMALLEST_BYTES", 1)


def ask(api: Api, method: str, key: str, body: bytes = b"", **query: str) -> Asked:
    headers = {"content-length": str(len(body)), "content-type": "x/y"}
    request = Request(
        method=method,
        path=f"/s3/{BUCKET}/{key}",
        base="/s3",
        params={},
        query={name: [value] for name, value in query.items()},
        headers=headers,
        chunks=lambda size: iter((body,)),
        raw_path=f"/{BUCKET}/{key}".encode(),
    )
    upload = Upload(headers, request.chunks, None, b"")
    return Asked(api.context, api.store, request, "AUTH_p", BUCKET, key, query, upload)


def begin(api: Api, key: str = "k") -> str:
    """An upload with its parts."""
    answer: Response = multipart.begin(ask(api, "POST", key))
    upload_id: str = answer.body.decode().partition("<UploadId>")[2].partition("<")[0]
    for number, data in PARTS.items():
        multipart.put_part(part(api, upload_id, number, data, key))
    return upload_id


def part(api: Api, upload_id: str, number: int, data: bytes, key: str = "k") -> Asked:
    """A part is asked to be stored."""
    return ask(api, "PUT", key, data, uploadId=upload_id, partNumber=str(number))


def complete(api: Api, upload_id: str, key: str = "k") -> None:
    there = parts.of_upload(ask(api, "GET", key), upload_id)
    named = "".join(
        f"<Part><PartNumber>{each.number}</PartNumber><ETag>{each.etag}</ETag></Part>"
        for each in there.values()
    )
    body = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
    multipart.complete(ask(api, "POST", key, body, uploadId=upload_id))


def kept(api: Api) -> list[str]:
    """What lies in the container of parts."""
    try:
        found = api.store.list_objects("AUTH_p", f"{BUCKET}+segments", Listing())
    except Missing:
        return []
    return [each.name for each in found]


def _parts(api: Api) -> list[str]:
    """The parts that there are, whatever the listing knows yet."""
    return [
        name
        for name in kept(api)
        if name.startswith("parts/") and api("HEAD", f"/{BUCKET}+segments/{name}").status == 200
    ]


def swept(api: Api) -> None:
    garbage.sweep_until(api.store, timestamps.seconds(timestamps.now()) + 60)
    for entry in api.store.list_objects(garbage.ACCOUNT, garbage.CONTAINER, Listing()):
        # One that is listed and gone: the listing does not know yet.
        with pytest.raises(Missing):
            api.store.open_object(ObjectPath(garbage.ACCOUNT, garbage.CONTAINER, entry.name), 0)


def body(api: Api) -> bytes | None:
    return api.body(f"/{BUCKET}/k")


@pytest.fixture(autouse=True)
def _totals_of_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    # Intents and parts are further objects of the account: they are counted here.
    monkeypatch.setattr(test_object_store_crash, "_totals_are_right", lambda api: None)


def test_completing(tmp_path: Path) -> None:
    uploads: dict[str, str] = {}

    def setup(api: Api) -> None:
        api("PUT", f"/{BUCKET}")
        api("PUT", f"/{BUCKET}/k", b"before")
        uploads["id"] = begin(api)

    def check(api: Api) -> None:
        assert body(api) in (b"before", b"".join(PARTS.values()))

    def change(api: Api) -> Any:
        complete(api, uploads["id"])

    crash_everywhere(tmp_path, setup, change, check)


def test_sending_a_part_again(tmp_path: Path) -> None:
    uploads: dict[str, str] = {}

    def setup(api: Api) -> None:
        api("PUT", f"/{BUCKET}")
        uploads["id"] = begin(api)

    def check(api: Api) -> None:
        marker = f"/{BUCKET}+segments/uploads/k/{uploads['id']}"
        if api("HEAD", marker).status != 404:  # it is looked at twice
            complete(api, uploads["id"])
        assert body(api) in (b"aaaaaaabbbbb", b"againbbbbb")
        swept(api)
        assert body(api) in (b"aaaaaaabbbbb", b"againbbbbb")

    def change(api: Api) -> Any:
        multipart.put_part(part(api, uploads["id"], 1, b"again"))

    crash_everywhere(tmp_path, setup, change, check)


@pytest.mark.parametrize("what", ["complete", "abort"])
def test_a_completion_that_was_killed_can_be_asked_for_again_or_given_up(
    tmp_path: Path, what: str
) -> None:
    uploads: dict[str, str] = {}
    whole = b"".join(PARTS.values())

    def setup(api: Api) -> None:
        api("PUT", f"/{BUCKET}")
        uploads["id"] = begin(api)

    def check(api: Api) -> None:
        before = body(api)
        assert before in (None, whole)
        marker = f"/{BUCKET}+segments/uploads/k/{uploads['id']}"
        if api("HEAD", marker).status == 404:  # it was forgotten; its listing may not know yet
            assert before == whole or what == "abort"
            return
        if what == "complete":
            complete(api, uploads["id"])
            assert body(api) == whole
            assert len(_parts(api)) == 2
        else:
            multipart.abort(ask(api, "DELETE", "k", uploadId=uploads["id"]))
            assert body(api) == before
            swept(api)  # who died could have been about to write the key
            assert body(api) == before
            assert len(_parts(api)) == (2 if before else 0)

    crash_everywhere(tmp_path, setup, lambda api: complete(api, uploads["id"]), check)


@pytest.mark.parametrize("what", ["delete", "overwrite"])
def test_parts_go_with_their_key(tmp_path: Path, what: str) -> None:
    whole = b"".join(PARTS.values())

    def setup(api: Api) -> None:
        api("PUT", f"/{BUCKET}")
        complete(api, begin(api))
        # So that there is an account of intents before it is looked for.
        garbage.forget(
            api.store, garbage.intend(api.store, ask(api, "GET", "x").call("GET").path, "", [])
        )

    def change(api: Api) -> Any:
        if what == "delete":
            objects.delete(ask(api, "DELETE", "k"))
        else:
            objects.put(ask(api, "PUT", "k", b"new"))

    def check(api: Api) -> None:
        after = None if what == "delete" else b"new"
        found = body(api)
        assert found in (whole, after)
        swept(api)
        assert body(api) == found
        assert len(_parts(api)) == (2 if found == whole else 0)

    crash_everywhere(tmp_path, setup, change, check)


def test_a_completion_by_a_process_whose_clock_is_behind_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored is newer, so it stays, with its parts; the upload leaves none."""
    api = Api(tmp_path)
    api("PUT", f"/{BUCKET}")
    first, second = begin(api), begin(api)
    complete(api, first)
    write = objects.replace

    def behind(asked: Asked, call: Any, new_parts: Any = ()) -> Response:
        call.notes[swift_objects.TIMESTAMP] = "1000000000.00000"
        return write(asked, call, new_parts)

    with monkeypatch.context() as patched:
        patched.setattr(objects, "replace", behind)
        complete(api, second)
    assert body(api) == b"".join(PARTS.values())
    swept(api)
    assert [name for name in _parts(api) if first not in name] == []
    third = begin(api)
    complete(api, third)
    swept(api)
    assert {name.split("/")[1] for name in _parts(api)} == {third}


@pytest.mark.parametrize("what", ["move", "delete"])
def test_parts_of_what_is_moved_elsewhere(tmp_path: Path, what: str) -> None:
    """When it is overwritten, and when it is deleted there."""
    whole = b"".join(PARTS.values())

    def setup(api: Api) -> None:
        api("PUT", "/c")
        api("PUT", f"/{BUCKET}", x_history_location="c")
        complete(api, begin(api))
        swept(api)
        if what == "delete":
            objects.put(ask(api, "PUT", "k", b"new"))

    def change(api: Api) -> Any:
        if what == "move":
            return objects.put(ask(api, "PUT", "k", b"new"))
        [moved] = api.listed("/c")
        return api("DELETE", f"/c/{moved}")

    def check(api: Api) -> None:
        api.store.catch_up(thorough=True)
        garbage.sweep_archived_until(api.store, timestamps.seconds(timestamps.now()) + 60)
        moved = [api.body(f"/c/{name}") for name in api.listed("/c")]
        assert body(api) in (whole, b"new")
        assert moved in ([], [whole])
        is_named = body(api) == whole or moved != []
        assert is_named or what == "delete"
        assert len(_parts(api)) == (2 if is_named else 0)

    crash_everywhere(tmp_path, setup, change, check)
