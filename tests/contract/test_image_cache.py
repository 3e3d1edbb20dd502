"""The image cache: queued by administrators and by downloads from afar, kept within its limit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from nubelet.image import Stores
from nubelet.image.cache.entries import reconciler_name
from nubelet.image.cache.filling import NotCached
from nubelet.kernel.http.messages import FileBody
from tests.cloud import TestedCloud, make_cloud

IMAGES, CACHE = "/image/v2/images", "/image/v2/cache"
DATA = {"Content-Type": "application/octet-stream"}
LIMIT = 10_000


@pytest.fixture
def tested(tmp_path: Path) -> Iterator[TestedCloud]:
    made = make_cloud(
        tmp_path,
        services=("identity", "image"),
        hosts=(),
        options={"image.cache_bytes": LIMIT},
    )
    yield made
    made.close()


@pytest.fixture
def admin(tested: TestedCloud) -> httpx.Client:
    return tested.client("admin")


@pytest.fixture
def member(tested: TestedCloud) -> httpx.Client:
    return tested.client("member")


class FarAway:
    """Makes the default store one that is read over a network; counts how often."""

    def __init__(self, tested: TestedCloud, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = 0
        self.spoil = False
        store = tested.cloud.get(Stores).default
        near = store.read

        def read(key: str, offset: int, length: int) -> Iterator[bytes]:
            body = near(key, offset, length)
            assert isinstance(body, FileBody)
            self.reads += 1
            data = Path(body.path).read_bytes()[offset : offset + length]
            return iter([data[:-1] + b"?"] if self.spoil else [data[:7], data[7:]])

        monkeypatch.setattr(store, "read", read)


@pytest.fixture
def far(tested: TestedCloud, monkeypatch: pytest.MonkeyPatch) -> FarAway:
    return FarAway(tested, monkeypatch)


def create(client: httpx.Client, data: bytes = b"content of it", **more: Any) -> str:
    body = {"disk_format": "raw", "container_format": "bare", **more}
    one = str(client.post(IMAGES, json=body).json()["id"])
    if data:
        answer = client.put(f"{IMAGES}/{one}/file", content=data, headers=DATA)
        assert answer.status_code == 204, answer.text
    return one


def fill(tested: TestedCloud) -> None:
    tested.reconcile(reconciler_name(tested.cloud))


def state(admin: httpx.Client) -> tuple[dict[str, dict[str, Any]], list[str]]:
    shown = admin.get(CACHE).json()
    return {each["image_id"]: each for each in shown["cached_images"]}, shown["queued_images"]


def files(tested: TestedCloud) -> set[str]:
    folder = tested.cloud.settings.image.cache_directory
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_a_queued_image_is_cached_and_served(
    tested: TestedCloud, admin: httpx.Client, member: httpx.Client, far: FarAway, published: Path
) -> None:
    one = create(member)
    assert admin.put(f"{CACHE}/{one}").status_code == 202
    assert admin.put(f"{CACHE}/{one}").status_code == 202  # it is queued already
    assert state(admin) == ({}, [one])
    fill(tested)
    cached, queued = state(admin)
    assert queued == []
    sample = json.loads(
        (published / "samples/glance/v2/samples/cache-list-response.json").read_text()
    )
    assert admin.get(CACHE).json().keys() == sample.keys()
    assert cached[one].keys() == sample["cached_images"][0].keys()
    assert (cached[one]["size"], cached[one]["hits"]) == (len(b"content of it"), 0)
    assert far.reads == 1
    assert member.get(f"{IMAGES}/{one}/file").content == b"content of it"
    part = member.get(f"{IMAGES}/{one}/file", headers={"Range": "bytes=3-6"})
    assert (part.status_code, part.content) == (206, b"tent")
    assert far.reads == 1
    again, _ = state(admin)
    assert again[one]["hits"] == 2
    assert again[one]["last_accessed"] > cached[one]["last_accessed"]
    assert again[one]["last_modified"] == cached[one]["last_modified"]


def test_a_download_from_afar_queues_itself(
    tested: TestedCloud, admin: httpx.Client, member: httpx.Client, far: FarAway
) -> None:
    one = create(member)
    assert member.get(f"{IMAGES}/{one}/file", headers={"Range": "bytes=0-2"}).status_code == 206
    assert state(admin) == ({}, [])
    assert member.get(f"{IMAGES}/{one}/file").status_code == 200
    assert state(admin) == ({}, [one])
    fill(tested)
    reads = far.reads
    assert member.get(f"{IMAGES}/{one}/file").content == b"content of it"
    assert far.reads == reads


def test_an_image_of_this_disk_takes_no_second_place(
    tested: TestedCloud, admin: httpx.Client, member: httpx.Client
) -> None:
    one = create(member)
    member.get(f"{IMAGES}/{one}/file")
    assert state(admin) == ({}, [])  # it is near already
    admin.put(f"{CACHE}/{one}")
    fill(tested)
    cached = tested.cloud.settings.image.cache_directory / one
    assert cached.stat().st_nlink == 2
    assert member.get(f"{IMAGES}/{one}/file").content == b"content of it"
    assert member.delete(f"{IMAGES}/{one}").status_code == 204
    tested.settle()
    fill(tested)
    assert files(tested) == set()


@pytest.mark.parametrize("persona", ["member", "reader", "stranger", "nobody", "manager"])
def test_only_administrators_see_and_steer_it(
    tested: TestedCloud, member: httpx.Client, persona: str
) -> None:
    one, client = create(member), tested.client(persona)
    for method, path in (
        ("GET", CACHE),
        ("PUT", f"{CACHE}/{one}"),
        ("PUT", f"{CACHE}/{uuid4()}"),
        ("DELETE", f"{CACHE}/{one}"),
        ("DELETE", CACHE),
        ("POST", f"{CACHE}/clean"),
        ("POST", f"{CACHE}/prune"),
    ):
        assert client.request(method, path).status_code == 403, (method, path)


def test_what_cannot_be_cached(admin: httpx.Client, member: httpx.Client) -> None:
    assert admin.put(f"{CACHE}/{uuid4()}").status_code == 404
    assert admin.put(f"{CACHE}/non-existing-image-id").status_code == 404
    assert admin.put(f"{CACHE}/{create(member, b'')}").status_code == 400
    refused = admin.put(f"{CACHE}/{create(member, bytes(LIMIT + 1))}")
    assert refused.status_code == 400
    assert str(LIMIT) in refused.json()["message"]
    assert admin.delete(f"{CACHE}/{uuid4()}").status_code == 404
    assert admin.delete(f"{CACHE}/{create(member)}").status_code == 204


def test_deleting_and_clearing(
    tested: TestedCloud, admin: httpx.Client, member: httpx.Client, far: FarAway
) -> None:
    first, second, third = (create(member) for _ in range(3))
    for one in (first, second):
        admin.put(f"{CACHE}/{one}")
    fill(tested)
    assert admin.delete(f"{CACHE}/{first}").status_code == 204
    assert files(tested) == {second}
    admin.put(f"{CACHE}/{third}")
    assert admin.delete(CACHE, headers={"x-image-cache-clear-target": "odd"}).status_code == 400
    assert [len(each) for each in state(admin)] == [1, 1]
    queue = {"x-image-cache-clear-target": "queue"}
    assert admin.delete(CACHE, headers=queue).status_code == 204
    assert [len(each) for each in state(admin)] == [1, 0]
    admin.put(f"{CACHE}/{third}")
    cache = {"x-image-cache-clear-target": "cache"}
    assert admin.delete(CACHE, headers=cache).status_code == 204
    assert [len(each) for each in state(admin)] == [0, 1]
    fill(tested)
    admin.put(f"{CACHE}/{first}")
    assert admin.delete(CACHE).status_code == 204
    assert state(admin) == ({}, [])
    fill(tested)
    assert files(tested) == set()


def test_what_was_not_read_for_long_goes_first(
    tested: TestedCloud, admin: httpx.Client, member: httpx.Client, far: FarAway
) -> None:
    first, second, third = (create(member, bytes(4_000)) for _ in range(3))
    for one in (first, second):
        admin.put(f"{CACHE}/{one}")
        fill(tested)
    member.get(f"{IMAGES}/{first}/file")
    admin.put(f"{CACHE}/{third}")
    fill(tested)
    assert state(admin)[0].keys() == {first, third} == files(tested)
    assert admin.post(f"{CACHE}/prune").json() == {
        "total_files_pruned": 0,
        "total_bytes_pruned": 0,
    }
    with tested.cloud.database.write() as tx:  # the limit was lowered meanwhile
        from nubelet.image.cache.model import image_cache

        tx.update(image_cache, image_cache.c.image_id == third, size=LIMIT - 3_000)
    assert admin.post(f"{CACHE}/prune").json() == {
        "total_files_pruned": 1,
        "total_bytes_pruned": 4_000,
    }
    assert state(admin)[0].keys() == {third}


def test_damage_is_found_and_forgotten(
    tested: TestedCloud, admin: httpx.Client, member: httpx.Client, far: FarAway
) -> None:
    one, other, gone = create(member), create(member), create(member)
    for each in (one, other, gone):
        admin.put(f"{CACHE}/{each}")
    fill(tested)
    folder = tested.cloud.settings.image.cache_directory
    (folder / one).write_bytes(b"short")
    (folder / str(uuid4())).write_bytes(b"nobody's")
    (folder / f"{other}.4194305.part").write_bytes(b"of a process that died")
    assert member.get(f"{IMAGES}/{one}/file").content == b"content of it"  # never the damaged copy
    assert member.delete(f"{IMAGES}/{gone}").status_code == 204
    assert admin.post(f"{CACHE}/clean").status_code == 200
    assert state(admin)[0].keys() == {other}
    assert files(tested) == {other}


def test_a_copy_that_is_not_the_image_is_not_kept(
    tested: TestedCloud, admin: httpx.Client, member: httpx.Client, far: FarAway
) -> None:
    one = create(member)
    admin.put(f"{CACHE}/{one}")
    far.spoil = True
    with pytest.raises(NotCached, match="hash"):
        fill(tested)
    assert files(tested) == set()
    assert state(admin) == ({}, [one])
    far.spoil = False
    fill(tested)
    assert state(admin)[0].keys() == {one}


def test_a_kill_between_data_and_row_leaves_nothing_wrong(
    tested: TestedCloud,
    admin: httpx.Client,
    member: httpx.Client,
    far: FarAway,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from nubelet.image.cache import entries

    one = create(member)
    admin.put(f"{CACHE}/{one}")
    mark = entries.mark_cached
    monkeypatch.setattr(entries, "mark_cached", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fill(tested)
    monkeypatch.setattr(entries, "mark_cached", mark)
    assert files(tested) == {one}
    assert state(admin) == ({}, [one])
    fill(tested)
    assert state(admin)[0].keys() == {one} == files(tested)


def test_what_is_cached_is_asked_for_its_rule_all_the_same(
    tested: TestedCloud, admin: httpx.Client, member: httpx.Client, far: FarAway
) -> None:
    """OSSA-2013-027, CVE-2013-4428: downloads from the cache that no rule was asked about."""
    one = create(member, visibility="private")
    admin.put(f"{CACHE}/{one}")
    fill(tested)
    assert tested.client("stranger").get(f"{IMAGES}/{one}/file").status_code == 404
    assert tested.client("reader").get(f"{IMAGES}/{one}/file").status_code == 403
    assert member.post(f"{IMAGES}/{one}/actions/deactivate").status_code == 204
    assert member.get(f"{IMAGES}/{one}/file").status_code == 403
    assert admin.get(f"{IMAGES}/{one}/file").content == b"content of it"


def test_a_cloud_without_a_cache(tmp_path: Path) -> None:
    tested = make_cloud(
        tmp_path, services=("identity", "image"), hosts=(), options={"image.cache_bytes": 0}
    )
    try:
        admin = tested.client("admin")
        assert admin.get(CACHE).status_code == 404
        assert admin.put(f"{CACHE}/{uuid4()}").status_code == 404
        versions = {each["id"] for each in admin.get("/image/versions").json()["versions"]}
        assert not versions & {"v2.14", "v2.16"}
        fill(tested)
    finally:
        tested.close()
