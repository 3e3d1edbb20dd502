"""What it costs to delete versions of a key that were uploaded in parts: as much for each of them,
however many there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nubelet.object_store.s3 import objects, removing, versions
from nubelet.object_store.storage import ObjectPath, Policies, Policy
from nubelet.object_store.storage.local import LocalStorage
from tests.operations.test_object_store_crash import Api
from tests.operations.test_s3_crash import BUCKET, _small_parts, ask, begin, complete, kept
from tests.operations.test_s3_garbage import sweep

pytestmark = pytest.mark.crash
small_parts = _small_parts
KEY = ObjectPath("AUTH_p", BUCKET, "k")


class Counted:
    """A storage that counts what it is asked, and the entries of listings that it gave."""

    def __init__(self, folder: Path) -> None:
        self._store: Any = LocalStorage(folder, Policies([Policy(0, "one", True)]))
        self.calls = 0
        self.entries = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def counted(*what: Any, **how: Any) -> Any:
            self.calls += 1
            answer = found(*what, **how)
            if name == "list_objects":
                self.entries += len(answer)
            return answer

        return counted


def uploaded(folder: Path, count: int) -> tuple[Api, Counted, list[str]]:
    """A key with so many versions, each made of parts; their ids, the newest first."""
    store = Counted(folder)
    api = Api(folder, store)
    api("PUT", f"/{BUCKET}", x_versions_enabled="true")
    for _each in range(count):
        complete(api, begin(api))
    sweep(api)
    assert len(kept(api)) == 2 * count
    store.calls = store.entries = 0
    return api, store, [each.id for each in versions.of_key(api.store, KEY)]


def one_by_one(api: Api, ids: list[str]) -> None:
    for version in ids:
        removing.remove(ask(api, "DELETE", "k", versionId=version), "k", version, {})


def at_once(api: Api, ids: list[str]) -> None:
    named = "".join(f"<Object><Key>k</Key><VersionId>{each}</VersionId></Object>" for each in ids)
    asked = ask(api, "POST", "", f"<Delete>{named}</Delete>".encode())
    asked.request.headers["content-md5"] = "is looked at by the server"
    answer = objects.delete_many(asked)
    assert b"<Error>" not in answer.body


@pytest.mark.parametrize("delete", [one_by_one, at_once])
@pytest.mark.parametrize("order", ["newest first", "oldest first"])
def test_each_version_costs_the_same_however_many_there_are(
    tmp_path: Path, delete: Any, order: str
) -> None:
    costs = []
    for count in (12, 36):
        api, store, ids = uploaded(tmp_path / str(count), count)
        delete(api, ids if order == "newest first" else ids[::-1])
        costs.append((store.calls / count, store.entries / count))
        assert kept(api) == []
        assert list(versions.of_key(api.store, KEY)) == []
    (few_calls, few_entries), (many_calls, many_entries) = costs
    assert many_calls < few_calls + 1
    if delete is at_once:  # else the listing is read once for each request, 1,000 entries a call
        assert many_entries < few_entries + 5


def test_each_that_is_brought_back_costs_the_same_however_many_there_are(tmp_path: Path) -> None:
    costs = []
    for count in (12, 36):
        store = Counted(tmp_path / str(count))
        api = Api(tmp_path / str(count), store)
        api("PUT", "/archive")
        api("PUT", f"/{BUCKET}", x_versions_location="archive")
        for _each in range(count):
            complete(api, begin(api))
        sweep(api)
        store.calls = 0
        for left in range(count, 0, -1):
            assert len(kept(api)) == 2 * left
            objects.delete(ask(api, "DELETE", "k"))
        assert kept(api) == []
        costs.append(store.calls / count)
    assert costs[1] < costs[0] + 1
