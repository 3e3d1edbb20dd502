"""Links of Swift's in buckets: S3 asks about what they lead to, and deletes nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nubelet.kernel.context import Context
from nubelet.kernel.errors import ApiError
from nubelet.object_store.call import pieces
from nubelet.object_store.s3 import multipart, objects, parts, removing
from nubelet.object_store.s3.errors import translated
from nubelet.object_store.storage import ObjectPath, timestamps
from tests.operations.test_object_store_crash import Api
from tests.operations.test_s3_crash import BUCKET, _small_parts, ask, begin, body, complete, kept

pytestmark = pytest.mark.crash
small_parts = _small_parts
SECRET = ObjectPath("AUTH_victim", "theirs", "o")


@pytest.fixture
def api(tmp_path: Path) -> Api:
    """A store with an object of somebody else's, and a bucket of the caller's."""
    made = Api(tmp_path)
    now = timestamps.now()
    made.store.put_account(SECRET.account, now, {})
    made.store.put_container(SECRET.account, SECRET.container, now, {})
    metadata = {"content-type": "a/b", "content-length": "6", "x-object-meta-password": "hunter2"}
    made.store.put_object(SECRET, 0, timestamps.now(), metadata, [b"secret"])
    made("PUT", f"/{BUCKET}")
    return made


def link(api: Api, name: str, target: str, **headers: str) -> None:
    answer = api("PUT", f"/{BUCKET}/{name}", X_Symlink_Target=target, **headers)
    assert answer.status == 201


def to_the_secret(api: Api, name: str) -> None:
    link(api, name, "theirs/o", X_Symlink_Target_Account=SECRET.account)


def test_a_part_is_not_copied_from_what_became_somebody_elses(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is a link by the time that its bytes are read."""
    objects.put(ask(api, "PUT", "src", b"mine"))
    look = objects.look_at_source

    def look_and_swap(asked: Any) -> Any:
        found = look(asked)
        to_the_secret(api, "src")
        return found

    monkeypatch.setattr(objects, "look_at_source", look_and_swap)
    upload_id = begin(api)
    asked = ask(api, "PUT", "k", uploadId=upload_id, partNumber="1")
    asked.request.headers["x-amz-copy-source"] = f"/{BUCKET}/src"  # type: ignore[index]
    with pytest.raises(ApiError) as caught:
        multipart.put_part(asked)
    assert translated(caught.value).s3_code == "AccessDenied"


def tag(api: Api) -> None:
    tagging = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    objects.update_tags(ask(api, "PUT", "l", tagging, tagging=""))


def put_if_match(api: Api) -> None:
    asked = ask(api, "PUT", "l", b"new")
    asked.request.headers["if-match"] = '"x"'  # type: ignore[index]
    objects.put(asked)


@pytest.mark.parametrize("change", [tag, put_if_match])
def test_what_a_link_leads_to_is_not_looked_at_unasked(
    api: Api, monkeypatch: pytest.MonkeyPatch, change: Callable[[Api], None]
) -> None:
    monkeypatch.setattr(Context, "allows", lambda *what: False)  # this cloud has no policy
    to_the_secret(api, "l")
    with pytest.raises(ApiError) as caught:
        change(api)
    assert translated(caught.value).s3_code == "AccessDenied"
    shown = api("HEAD", f"/{BUCKET}/l", query="symlink=get")
    assert "hunter2" not in str(shown.headers)


@pytest.mark.parametrize("how", ["delete", "overwrite"])
def test_the_parts_that_a_link_leads_to_stay(api: Api, how: str) -> None:
    complete(api, begin(api))
    before = kept(api)
    link(api, "l", f"{BUCKET}/k")
    if how == "delete":
        removing.remove(ask(api, "DELETE", "l"), "l", "", {})
    else:
        objects.put(ask(api, "PUT", "l", b"new"))
    assert kept(api) == before
    assert body(api) == b"aaaaaaabbbbb"
    assert parts.behind(ask(api, "GET", "k"), {}) != []
    assert b"".join(pieces(objects.show(ask(api, "GET", "k")))) == b"aaaaaaabbbbb"
