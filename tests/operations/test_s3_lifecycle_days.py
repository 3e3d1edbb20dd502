"""What a lifecycle counts its days from, and what it does with what goes wrong."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from nubelet.kernel.errors import ApiError
from nubelet.object_store.s3 import objects, parts, removing, versions
from nubelet.object_store.s3.asked import Asked
from nubelet.object_store.storage import ObjectPath, timestamps
from tests.operations.test_object_store_crash import Api
from tests.operations.test_s3_crash import (
    BUCKET,
    _small_parts,
    ask,
    begin,
    complete,
    kept,
    swept,
)
from tests.operations.test_s3_lifecycle_crash import EXPIRE, NONCURRENT, apply, configure

pytestmark = pytest.mark.crash
small_parts = _small_parts
DAY = 86_400
TAGGING = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path)


def old(api: Api, monkeypatch: pytest.MonkeyPatch, *keys: str, days: float = 5) -> None:
    """A bucket with keys that were made so long ago."""
    now = timestamps.now
    with monkeypatch.context() as patched:
        patched.setattr(
            timestamps, "now", lambda: timestamps.normal(timestamps.seconds(now()) - days * DAY)
        )
        api("PUT", f"/{BUCKET}")
        for key in keys:
            objects.put(ask(api, "PUT", key, b"old"))


def test_days_do_not_begin_again_with_a_change_of_tags(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    old(api, monkeypatch, "k", "same")
    configure(api, EXPIRE)
    objects.update_tags(ask(api, "PUT", "k", TAGGING))
    objects.put(ask(api, "PUT", "young", b"new"))
    found = api.store.open_object(ObjectPath("AUTH_p", BUCKET, "k"), 0)
    made = timestamps.seconds(found.metadata["x-backend-data-timestamp"])
    told = {key: objects.show(ask(api, "HEAD", key)).headers for key in ("k", "same")}
    assert told["k"]["x-amz-expiration"] == told["same"]["x-amz-expiration"]
    assert made < time.time() - 4 * DAY
    apply(api, days=0)
    assert [api.body(f"/{BUCKET}/{key}") for key in ("k", "same", "young")] == [None, None, b"new"]


def test_young_keys_are_not_looked_at_whatever_the_age_of_their_bucket(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    old(api, monkeypatch, "old", "tagged")
    configure(api, EXPIRE)
    objects.update_tags(ask(api, "PUT", "tagged", TAGGING))
    for key in ("young", "young and tagged"):
        objects.put(ask(api, "PUT", key, b"new"))
    objects.update_tags(ask(api, "PUT", "young and tagged", TAGGING))
    opened, open_object = [], api.store.open_object

    def counted(path: ObjectPath, *what: Any, **how: Any) -> Any:
        opened.append(path)
        return open_object(path, *what, **how)

    monkeypatch.setattr(api.store, "open_object", counted)
    apply(api, days=0)
    assert {path.object for path in opened if path.container == BUCKET} == {"old", "tagged"}
    assert [api.body(f"/{BUCKET}/{key}") for key in ("old", "tagged")] == [None, None]


@pytest.mark.parametrize("error", [ApiError("Devices do not answer.", status=503), ValueError("x")])
def test_one_key_that_cannot_be_deleted_stops_no_others(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    old(api, monkeypatch, *(f"k{number}" for number in range(9)))
    configure(api, EXPIRE)
    expire = removing.expire

    def unless_bad(at: Asked, seen: str) -> Any:
        if at.key in ("k0", "k3", "k4"):
            raise error
        return expire(at, seen)

    with monkeypatch.context() as patched:
        patched.setattr(removing, "expire", unless_bad)
        with pytest.raises(type(error)):
            apply(api, days=0)
    there = [number for number in range(9) if api.body(f"/{BUCKET}/k{number}") is not None]
    assert there == [0, 3, 4]
    apply(api, days=0)  # the bucket was not done
    assert all(api.body(f"/{BUCKET}/k{number}") is None for number in there)


def looks_of(api: Api, monkeypatch: pytest.MonkeyPatch, count: int) -> int:
    """How many objects are opened for so many versions, each made of parts, to expire."""
    api("PUT", f"/{BUCKET}", x_versions_enabled="true")  # type: ignore[arg-type]
    for _ in range(count):
        complete(api, begin(api))
    objects.put(ask(api, "PUT", "k", b"current"))
    swept(api)
    assert len(kept(api)) == 2 * count
    configure(api, NONCURRENT)
    opened, open_object = [], api.store.open_object

    def counted(path: ObjectPath, *what: Any, **how: Any) -> Any:
        opened.append(path)
        return open_object(path, *what, **how)

    with monkeypatch.context() as patched:
        patched.setattr(api.store, "open_object", counted)
        apply(api)
    assert kept(api) == []
    assert api.body(f"/{BUCKET}/k") == b"current"
    return len(opened)


def test_each_of_many_versions_costs_the_same_to_expire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, more = (
        looks_of(Api(tmp_path / str(count)), monkeypatch, count) / count for count in (4, 16)
    )
    assert more <= few


def test_parts_of_two_versions_stay_with_the_one_that_stays(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api("PUT", f"/{BUCKET}", x_versions_enabled="true")  # type: ignore[arg-type]
    upload_id = begin(api)
    with monkeypatch.context() as patched:  # who completes it dies before it is forgotten
        patched.setattr(parts, "forget", lambda *what: None)
        complete(api, upload_id)
    complete(api, upload_id)
    configure(api, NONCURRENT)
    apply(api)
    assert len(list(versions.of_key(api.store, ObjectPath("AUTH_p", BUCKET, "k")))) == 1
    swept(api)
    assert api.body(f"/{BUCKET}/k") == b"aaaaaaabbbbb"
