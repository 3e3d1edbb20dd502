"""kill -9 at random moments while servers come and go: everything settles, nothing leaks."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.functional.command import CommandCloud, items, pretty

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]

KILLS = 20
CLIENTS = 4
SETTLE_SECONDS = 120


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[CommandCloud]:
    made = CommandCloud(tmp_path, "--fake", "--nodes", "4")
    made.up()
    yield made
    made.purge()


def test_twenty_kills_leave_nothing_stuck_and_nothing_leaked(cloud: CommandCloud) -> None:
    cloud.login()
    body = _prepare(cloud)
    chance = random.Random(20)
    ended = threading.Event()
    clients = [
        threading.Thread(target=_come_and_go, args=(cloud, body, ended, seed))
        for seed in range(CLIENTS)
    ]
    for thread in clients:
        thread.start()
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.05, 0.8))
            cloud.kill()
            cloud.up()
    finally:
        ended.set()
        for thread in clients:
            thread.join()

    _wait_until_settled(cloud)
    _assert_nothing_leaked(cloud)


def _prepare(cloud: CommandCloud) -> dict[str, Any]:
    with cloud.client() as client:
        client.post(
            "/compute/v2.1/flavors",
            json={"flavor": {"name": "k", "id": "k", "ram": 64, "vcpus": 1, "disk": 1}},
        ).raise_for_status()
        network = (
            client.post("/network/v2.0/networks", json={"network": {"name": "k"}})
            .raise_for_status()
            .json()["network"]["id"]
        )
        client.post(
            "/network/v2.0/subnets",
            json={"subnet": {"network_id": network, "cidr": "10.0.0.0/20", "ip_version": 4}},
        ).raise_for_status()
        image = (
            client.post(
                "/image/v2/images",
                json={"name": "k", "disk_format": "raw", "container_format": "bare"},
            )
            .raise_for_status()
            .json()["id"]
        )
        client.put(
            f"/image/v2/images/{image}/file",
            content=b"k" * 1024,
            headers={"Content-Type": "application/octet-stream"},
        ).raise_for_status()
        project = client.get(
            "/identity/v3/auth/tokens", headers={"X-Subject-Token": cloud.token}
        ).json()["token"]["project"]["id"]
        client.put(
            f"/compute/v2.1/os-quota-sets/{project}",
            json={"quota_set": {"instances": -1, "cores": -1, "ram": -1}},
        ).raise_for_status()
        client.put(
            f"/network/v2.0/quotas/{project}", json={"quota": {"port": -1}}
        ).raise_for_status()
    return {
        "server": {
            "name": "k",
            "imageRef": image,
            "flavorRef": "k",
            "networks": [{"uuid": network}],
        }
    }


def _come_and_go(
    cloud: CommandCloud, body: dict[str, Any], ended: threading.Event, seed: int
) -> None:
    """Create and delete servers for as long as the cloud lives, dies and lives."""
    chance = random.Random(seed)
    mine: list[str] = []
    with cloud.client() as client:
        while not ended.is_set():
            try:
                if len(mine) < 3 or chance.random() < 0.5:
                    answer = client.post("/compute/v2.1/servers", json=body)
                    assert answer.status_code in (202, 503), answer.text
                    if answer.status_code == 202:
                        mine.append(answer.json()["server"]["id"])
                else:
                    server = mine.pop(chance.randrange(len(mine)))
                    answer = client.delete(f"/compute/v2.1/servers/{server}")
                    assert answer.status_code in (204, 404, 503), answer.text
            except httpx.TransportError:
                time.sleep(0.05)


def _wait_until_settled(cloud: CommandCloud) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    with cloud.client() as client:
        while True:
            servers = items(client, "/compute/v2.1/servers/detail?all_tenants=1")
            moving = [
                (server["id"], server["status"], server["OS-EXT-STS:task_state"])
                for server in servers
                if server["status"] == "BUILD" or server["OS-EXT-STS:task_state"]
            ]
            if not moving:
                return
            assert time.monotonic() < deadline, f"still in transition: {pretty(moving)}"
            time.sleep(0.2)


def _assert_nothing_leaked(cloud: CommandCloud) -> None:
    with cloud.client() as client:
        servers = items(client, "/compute/v2.1/servers/detail?all_tenants=1")
        assert {server["status"] for server in servers} <= {"ACTIVE"}, pretty(servers)
        ports = items(client, "/network/v2.0/ports?device_owner=compute:nova")
        everyone = {
            port["device_id"]
            for port in items(client, "/network/v2.0/ports")
            if port["device_owner"].startswith("compute:")
        }
        assert everyone <= {server["id"] for server in servers}, pretty(ports)
    cloud.assert_whole(SETTLE_SECONDS)
    guests = {
        path.stem
        for node in (cloud.state_dir / "node").iterdir()
        for path in (node / "hypervisor").glob("*.json")
    }
    assert guests == {server["id"] for server in servers}
