"""kill -9 at every stage of applying a bucket's lifecycle: what was to go is gone after the next
run, with all that belongs to it, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nubelet.object_store.s3 import aging, lifecycles, objects
from nubelet.object_store.storage import Listing, Missing, timestamps
from tests.operations import test_object_store_crash, test_s3_crash
from tests.operations.test_object_store_crash import Api, crash_everywhere
from tests.operations.test_s3_crash import BUCKET, PARTS, ask, begin, complete, kept, swept

pytestmark = pytest.mark.crash
_no_waiting_for_disks = test_object_store_crash._no_waiting_for_disks
_small_parts = test_s3_crash._small_parts
_totals_of_the_bucket = test_s3_crash._totals_of_the_bucket
RULES = (
    "<LifecycleConfiguration><Rule><Filter/><Status>Enabled</Status>{}</Rule>"
    "</LifecycleConfiguration>"
)
EXPIRE = "<Expiration><Days>1</Days></Expiration>"
NONCURRENT = (
    "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>"
)
ABORT = (
    "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>"
    "</AbortIncompleteMultipartUpload>"
)
WHOLE = b"".join(PARTS.values())


def configure(api: Api, actions: str) -> None:
    lifecycles.update(ask(api, "PUT", "", RULES.format(actions).encode()))


def apply(api: Api, days: int = 2) -> None:
    aging.apply(api.context.cloud, time.time() + days * 86_400)


def made(api: Api) -> None:
    api("PUT", f"/{BUCKET}")
    complete(api, begin(api))


def test_expiring(tmp_path: Path) -> None:
    def setup(api: Api) -> None:
        made(api)
        configure(api, EXPIRE)

    def check(api: Api) -> None:
        assert api.body(f"/{BUCKET}/k") in (WHOLE, None)
        apply(api)
        assert api.body(f"/{BUCKET}/k") is None
        swept(api)
        api.store.catch_up(thorough=True)
        assert kept(api) == []

    assert crash_everywhere(tmp_path, setup, apply, check) > 20


def test_versions(tmp_path: Path) -> None:
    def setup(api: Api) -> None:
        api("PUT", f"/{BUCKET}", X_Versions_Enabled="true")
        complete(api, begin(api))
        objects.put(ask(api, "PUT", "k", b"new"))
        configure(api, NONCURRENT)

    def check(api: Api) -> None:
        assert api.body(f"/{BUCKET}/k") == b"new"
        apply(api)
        swept(api)
        api.store.catch_up(thorough=True)
        assert api.body(f"/{BUCKET}/k") == b"new"
        assert kept(api) == []
        hidden = api.store.list_objects("AUTH_p", f"\0versions\0{BUCKET}", Listing(reserved=True))
        assert len(hidden) == 1

    assert crash_everywhere(tmp_path, setup, apply, check) > 20


def test_uploads(tmp_path: Path) -> None:
    def setup(api: Api) -> None:
        made(api)
        begin(api, "other")
        configure(api, ABORT)

    def check(api: Api) -> None:
        apply(api)
        swept(api)
        api.store.catch_up(thorough=True)
        assert api.body(f"/{BUCKET}/k") == WHOLE
        assert len(kept(api)) == len(PARTS)

    assert crash_everywhere(tmp_path, setup, apply, check) > 20


def test_setting_rules(tmp_path: Path) -> None:
    """The old rules or the new ones; what the other left goes after a week."""

    def setup(api: Api) -> None:
        made(api)
        configure(api, ABORT)

    def check(api: Api) -> None:
        info = api.store.container("AUTH_p", BUCKET)
        lifecycle = lifecycles.of_bucket(api.store, info)
        assert lifecycle is not None
        [rule] = lifecycle.rules
        assert (rule.abort_days, rule.days) in ((1, 0), (0, 1))
        api.store.catch_up(thorough=True)  # what is in no listing yet is found later
        apply(api, days=8)
        there = api.store.list_objects(lifecycles.ACCOUNT, lifecycles.CONTAINER, Listing())
        left = []
        for each in there:
            try:
                path = lifecycles.place(*each.name.split("/"))
                api.store.open_object(path, lifecycles.policy(api.store)).close()
            except Missing:  # the listing does not know yet
                continue
            left.append(each.name.rpartition("/")[2])
        assert left == [lifecycles.token_of(info)]

    crash_everywhere(tmp_path, setup, lambda api: configure(api, EXPIRE), check)


def test_rules_that_are_used_are_not_forgotten_as_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket that is not found for a moment keeps them."""
    api = Api(tmp_path)
    api("PUT", f"/{BUCKET}")
    configure(api, EXPIRE)
    now = time.time()
    with monkeypatch.context() as patch:
        later = timestamps.normal(now + 7.5 * 86_400)
        patch.setattr(timestamps, "now", lambda: later)
        apply(api, 8)
    with monkeypatch.context() as patch:
        patch.setattr(aging, "_is_of", lambda *_found: False)
        apply(api, 9)
    assert len(api.store.list_objects(lifecycles.ACCOUNT, lifecycles.CONTAINER, Listing())) == 1
