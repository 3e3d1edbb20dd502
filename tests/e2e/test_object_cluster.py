"""Five storage nodes as machines of their own, in three zones, and two proxies before them.

What processes on one machine cannot show: cables that are cut (nobody answers, nobody refuses),
disks that are full, clocks that are wrong.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from nubelet.object_store.cluster.storage import ClusterStorage
from nubelet.object_store.storage import ObjectPath, timestamps
from tests.functional.command import CommandCloud
from tests.object_cluster import ACCOUNT, ObjectCluster, eventually
from tests.object_load import Load, assert_whole, get, names, put
from tests.object_network import ObjectNetwork, running, small_disk

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.timeout(600),
]
WHOLE_SECONDS = 60.0
World = tuple[ObjectCluster, ObjectNetwork]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("objects")) as (cluster, network):
        cluster.storage.put_account(ACCOUNT, timestamps.now(), {})
        yield cluster, network


@pytest.fixture
def container(world: World, request: pytest.FixtureRequest) -> str:
    name = str(request.node.name)
    world[0].storage.put_container(ACCOUNT, name, timestamps.now(), {})
    return name


def test_what_one_proxy_writes_another_one_reads(world: World, container: str) -> None:
    cluster, _ = world
    other = ClusterStorage(cluster.folder)
    try:
        path = put(cluster, container, "o", b"one")
        assert b"".join(other.open_object(path, 0).read()) == b"one"
        other.put_object(path, 0, timestamps.now(), {"content-type": "a/b"}, [b"two"])
        assert get(cluster, path) == b"two"
    finally:
        other.close()


@pytest.fixture(scope="module")
def proxies(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[CommandCloud]]:
    made: list[CommandCloud] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUBELET_OBJECT_STORE_CLUSTER", str(world[0].folder))
        patch.setenv("NUBELET_OBJECT_STORE_USERS", json.dumps({"test:tester": "testing .admin"}))
        try:
            for _ in range(2):
                made.append(
                    CommandCloud(tmp_path_factory.mktemp("proxy"), "--only", "object-store")
                )
                made[-1].up()
            yield made
        finally:
            for proxy in made:
                with suppress(ProcessLookupError, FileNotFoundError):
                    proxy.kill()


def _log_in(proxy: CommandCloud) -> httpx.Client:
    """A client whose paths begin at the account."""
    headers = {"X-Auth-User": "test:tester", "X-Auth-Key": "testing"}
    answer = httpx.get(f"{proxy.url}/object-store/auth/v1.0", headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    account = answer.headers["x-storage-url"].rpartition("/")[2]
    return httpx.Client(
        base_url=f"{proxy.url}/object-store/v1/{account}",
        headers={"X-Auth-Token": answer.headers["x-auth-token"]},
        timeout=60,
    )


def test_two_proxies_are_one_store_and_one_is_enough(
    world: World, proxies: list[CommandCloud]
) -> None:
    """One of them is killed while both write, and a storage node too: what either acknowledged is
    there, and all that is listed is whole."""
    clients = [_log_in(proxy) for proxy in proxies]
    one, other = clients
    assert one.put("/both").status_code == 201
    assert one.put("/both/shared", content=b"one").status_code == 201
    assert other.get("/both/shared").content == b"one"
    assert other.put("/both/shared", content=b"two").status_code == 201
    assert one.get("/both/shared", headers={"X-Newest": "true"}).content == b"two"
    assert one.delete("/both/shared").status_code == 204
    assert other.get("/both/shared", headers={"X-Newest": "true"}).status_code == 404

    acknowledged: list[dict[str, bytes]] = [{}, {}]
    ended = threading.Event()

    def write(number: int) -> None:
        while not ended.is_set():
            name, data = f"{number}-{len(acknowledged[number])}", os.urandom(50_000)
            try:
                if clients[number].put(f"/both/{name}", content=data).status_code == 201:
                    acknowledged[number][name] = data
            except httpx.HTTPError:
                return  # it was killed

    def at_least(count: int, number: int) -> None:
        assert len(acknowledged[number]) >= count

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    node = world[0].nodes[1]
    try:
        for number in range(2):
            eventually(lambda: at_least(5, number), 120)  # noqa: B023
        proxies[0].kill()
        node.kill()
        goal = len(acknowledged[1]) + 10
        eventually(lambda: at_least(goal, 1), 120)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        if node.process is None:
            node.start()
            world[0].wait_until_up([node])
    for name, data in (acknowledged[0] | acknowledged[1]).items():
        assert other.get(f"/both/{name}").content == data

    def check() -> None:
        listed = {each["name"]: each["bytes"] for each in other.get("/both?format=json").json()}
        assert set(acknowledged[0] | acknowledged[1]) <= set(listed)
        assert all(len(other.get(f"/both/{name}").content) == listed[name] for name in listed)

    eventually(check, WHOLE_SECONDS)


@pytest.mark.parametrize("zone", [1, 3])
def test_a_zone_is_cut_off_under_load(world: World, container: str, zone: int) -> None:
    cluster, network = world
    with Load(cluster, container) as load:
        load.go_on(10)
        network.cut(zone)
        try:
            time.sleep(8.0)  # what waited for it has given up
            load.go_on(10)
        finally:
            network.cut(zone, off=False)
        load.go_on(10)
    load.check()
    eventually(load.check_whole, WHOLE_SECONDS)


def test_a_full_disk_is_stood_in_for(world: World, container: str) -> None:
    cluster, _ = world
    node = cluster.nodes[4]  # alone in its zone: it holds a replica of everything
    device = node.folder / "d0"
    node.kill()
    with small_disk(device, "4m"):
        node.start()
        cluster.wait_until_up([node])
        # SQLite and metadata need little; a file takes the rest.
        data = os.urandom(300_000)
        paths = [put(cluster, container, f"o{number}", data) for number in range(25)]
        room = os.statvfs(device)  # a sixteenth is kept to empty it again
        assert (room.f_bavail - room.f_blocks // 16) * room.f_frsize < len(data)
        for path in paths:
            assert len(cluster.holders(*path)) >= 2
            assert get(cluster, path) == data
        node.kill()
    cluster.wipe(node)  # a larger disk
    node.start()
    cluster.wait_until_up([node])
    for path in paths:
        eventually(lambda: assert_whole(cluster, path, data), WHOLE_SECONDS)  # noqa: B023
    eventually(lambda: _assert_listed(cluster, container, paths), WHOLE_SECONDS)


def _assert_listed(cluster: ObjectCluster, container: str, paths: list[ObjectPath]) -> None:
    for _ in range(6):  # whichever replica answers
        assert names(cluster, container) == sorted(path.object for path in paths)


@pytest.mark.parametrize("offset", [-7200.0, 7200.0])
def test_a_node_whose_clock_is_wrong_does_no_harm(
    world: World, container: str, offset: float
) -> None:
    cluster, _ = world
    node = cluster.nodes[0]
    node.kill()
    node.start(clock_offset_seconds=offset)
    with Load(cluster, container) as load:
        load.go_on(30)
    load.check()
    node.kill()
    node.start()
    cluster.wait_until_up([node])
    eventually(load.check_whole, WHOLE_SECONDS)


def test_a_disk_that_goes_away_is_not_written_beside(world: World, container: str) -> None:
    """Where the mounted disk is gone its folder must not be filled."""
    cluster, _ = world
    node = cluster.nodes[3]
    device, aside = node.folder / "d0", node.folder.parent / "aside"
    device.rename(aside)
    try:
        path = put(cluster, container, "o", b"data")
        assert not device.exists()
        assert get(cluster, path) == b"data"
    finally:
        with suppress(FileNotFoundError):
            aside.rename(device)
    eventually(lambda: assert_whole(cluster, path, b"data"), WHOLE_SECONDS)
    assert isinstance(path, ObjectPath)
