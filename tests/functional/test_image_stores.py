"""Every store of images against the real thing: one suite for all of them, and a cloud on each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nubelet.image import ImageStore, Stores, make_stores
from nubelet.image.stores import StoreUnreachable, pieces
from nubelet.kernel.ids import new_hex, new_uuid
from nubelet.settings import load
from tests.cloud import TestedCloud, make_cloud
from tests.image_stores import BACKENDS, Options
from tests.serving import free_port, listening

pytestmark = pytest.mark.timeout(600)
MIB = 1 << 20
DATA = os.urandom(11 * MIB + 12345)  # more than two parts of S3


@pytest.fixture(scope="module", params=BACKENDS)
def options(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Options]:
    with BACKENDS[request.param](tmp_path_factory.mktemp(request.param)) as found:
        yield found


@pytest.fixture(scope="module")
def store(options: Options, tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    settings = load(
        environ={},
        overrides={
            "state_dir": tmp_path_factory.mktemp("state"),
            "image.stores": {"tested": dict(options)},
        },
    )
    return make_stores(settings).get("tested")


def written(store: ImageStore, data: bytes = DATA) -> str:
    key = store.new_key(new_uuid(), new_hex())
    upload = store.begin(key)
    for begin in range(0, len(data), MIB):
        upload.write(data[begin : begin + MIB])
    upload.commit()
    return key


def read(store: ImageStore, key: str, offset: int, length: int) -> bytes:
    return b"".join(pieces(store.read(key, offset, length)))


def test_data_comes_back_whole_and_in_parts(store: ImageStore) -> None:
    key = written(store)
    assert store.size(key) == len(DATA)
    assert read(store, key, 0, len(DATA)) == DATA
    for offset, length in ((0, 1), (MIB - 1, 2), (5 * MIB - 7, 3 * MIB), (len(DATA) - 1, 1)):
        assert read(store, key, offset, length) == DATA[offset : offset + length]
    assert key in store.list_ids()
    store.delete(key)
    assert store.size(key) is None
    assert key not in store.list_ids()
    store.delete(key)  # none is no error


def test_empty_data_is_data(store: ImageStore) -> None:
    key = written(store, b"")
    assert store.size(key) == 0
    assert read(store, key, 0, 0) == b""
    store.delete(key)


def test_nothing_is_seen_before_it_is_complete(store: ImageStore) -> None:
    key = store.new_key(new_uuid(), new_hex())
    upload = store.begin(key)
    for begin in range(0, len(DATA), MIB):
        upload.write(DATA[begin : begin + MIB])
    assert store.size(key) is None
    assert key not in store.list_ids()
    upload.abort()
    assert store.size(key) is None
    again = store.begin(key)  # what was aborted is in nobody's way
    again.write(b"other")
    again.commit()
    assert read(store, key, 0, 5) == b"other"
    store.delete(key)


def test_what_a_dead_upload_left_is_removed(store: ImageStore, options: Options) -> None:
    key = store.new_key(new_uuid(), new_hex())
    upload = store.begin(key)
    for begin in range(0, len(DATA), MIB):
        upload.write(DATA[begin : begin + MIB])
    if options["type"] == "rbd":
        upload._close()  # type: ignore[attr-defined]  # a process that dies lets its devices go
    store.delete(key)
    assert left_behind(store, key) == []


def left_behind(store: Any, key: str) -> list[str]:
    """What is in a store of an upload that did not complete."""
    if store.type == "file":
        return [path.name for path in store._folder.glob(f"{key}*")]
    if store.type == "s3":
        found: list[str] = store._open_uploads(key)
        return found
    if store.type == "swift":
        return [str(name) for name in store._list(store.segments, f"{key}/")]
    return [name for name in store._connected().list() if name.startswith(key)]


def test_a_location_leads_back_to_its_key(store: ImageStore) -> None:
    key = store.new_key(new_uuid(), new_hex())
    url = store.url(key)
    assert store.key(url) == key
    assert "secret" not in url
    for other in ("http://example.org/x", "rbd://other/images/x/snap", "file:///etc/passwd", "x"):
        assert store.key(other) is None


def test_a_store_that_is_not_there_is_unreachable(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nubelet.image.stores import remote

    monkeypatch.setattr(remote, "_AGAIN_SECONDS", ())
    wrong: dict[str, Any] = dict(options)
    for name in ("endpoint", "auth_url"):
        if name in wrong:
            wrong[name] = "http://127.0.0.1:9/"
    if options["type"] == "rbd":
        wrong["pool"] = "nothing"
    if options["type"] == "file":
        return  # a folder is made when it is missing
    settings = load(
        environ={}, overrides={"state_dir": tmp_path, "image.stores": {"tested": wrong}}
    )
    lost = make_stores(settings).get("tested")
    for call in (lambda: lost.size("x"), lost.list_ids, lambda: lost.begin("x")):
        with pytest.raises(StoreUnreachable):
            call()


# --- A cloud on it ------------------------------------------------------------------------------

URL = "/image/v2/images"
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def tested(options: Options, tmp_path: Path) -> Iterator[TestedCloud]:
    made = make_cloud(
        tmp_path,
        services=("identity", "image"),
        options={"image.stores": {"tested": dict(options)}, "image.default_store": "tested"},
    )
    yield made
    made.close()


def test_a_node_fetches_an_image_from_it(options: Options, tmp_path: Path) -> None:
    from nubelet.image import image_spec
    from nubelet.kernel import clock
    from nubelet.node.disks.file.fetching import fetch
    from nubelet.node.disks.file.space import Space
    from nubelet.node.errors import HostError

    port = free_port()
    tested = make_cloud(
        tmp_path,
        services=("identity", "image"),
        options={
            "image.stores": {"tested": dict(options)},
            "image.default_store": "tested",
            "http.public_url": f"http://127.0.0.1:{port}",
        },
    )
    try:
        client = tested.client("member")
        one = client.post(URL, json={"disk_format": "raw", "container_format": "bare"}).json()["id"]
        client.put(f"{URL}/{one}/file", content=DATA, headers=OCTETS)
        with tested.cloud.database.read() as tx:
            spec = image_spec(tested.cloud, tx, one)
        with listening(tested.app, port):
            fetch(spec, tmp_path / "fetched", Space(tmp_path, "host1"))
            assert (tmp_path / "fetched").read_bytes() == DATA
            if options["type"] == "file":
                return  # a link to the file
            now = clock.now()
            clock.use_source(lambda: now + 3601_000_000)
            with pytest.raises(HostError, match="403"):
                fetch(spec, tmp_path / "late", Space(tmp_path, "host1"))
            forged = f"/image/data/{new_uuid()}?{spec.url.partition('?')[2]}"
            assert client.get(forged).status_code == 403
            assert client.get(f"/image/data/{one}").status_code == 403
    finally:
        clock.use_source(None)
        tested.close()


def test_an_image_lives_in_it(tested: TestedCloud) -> None:
    client, admin = tested.client("member"), tested.client("admin")
    store = tested.cloud.get(Stores).get("tested")
    one = client.post(URL, json={"disk_format": "raw", "container_format": "bare"}).json()["id"]
    assert client.put(f"{URL}/{one}/file", content=DATA, headers=OCTETS).status_code == 204
    shown = client.get(f"{URL}/{one}").json()
    assert (shown["status"], shown["size"], shown["stores"]) == ("active", len(DATA), "tested")
    assert client.get(f"{URL}/{one}/file").content == DATA
    part = client.get(f"{URL}/{one}/file", headers={"Range": "bytes=1048570-1048585"})
    assert (part.status_code, part.content) == (206, DATA[1048570:1048586])
    body = {"method": {"name": "copy-image"}, "stores": ["file"]}
    assert admin.post(f"{URL}/{one}/import", json=body).status_code == 202
    tested.settle()
    assert client.get(f"{URL}/{one}").json()["stores"] == "tested,file"
    assert admin.delete(f"/image/v2/stores/tested/{one}").status_code == 204
    tested.settle()
    assert [key for key in store.list_ids() if key.startswith(one)] == []
    body = {"method": {"name": "copy-image"}, "stores": ["tested"]}
    assert admin.post(f"{URL}/{one}/import", json=body).status_code == 202
    tested.settle()
    assert client.get(f"{URL}/{one}").json()["stores"] == "file,tested"
    assert client.delete(f"{URL}/{one}").status_code == 204
    tested.settle()
    assert [key for key in store.list_ids() if key.startswith(one)] == []
