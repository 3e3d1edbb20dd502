"""500 servers created by 8 clients on 20 fake hosts, and one server on a quiet cloud.

OpenStack on the same kind of machine: 354 s for the storm, 1.0 s for one server to ACTIVE.
"""

from __future__ import annotations

import statistics
import threading
import time

from benchmarks.api import make_image
from benchmarks.measuring import BenchCloud, Client, row

STORM, CLIENTS, HOSTS = 500, 8, 20


def main() -> None:
    """Start, one by one, storm, delete all."""
    cloud = BenchCloud("--fake", "--nodes", str(HOSTS))
    row("nubelet up --fake to healthy", cloud.up(), "s", 3, 25)
    try:
        cloud.login()
        client = Client(cloud)
        body = prepare(client)
        times = [boot(client, body) for _ in range(15)]
        row("POST /servers to 202", statistics.median(t[0] for t in times) * 1000, "ms", None, 138)
        row(
            "POST /servers to ACTIVE, quiet cloud",
            statistics.median(t[1] for t in times) * 1000,
            "ms",
            100,
            1014,
        )
        storm(cloud, client, body)
    finally:
        cloud.down()


def prepare(client: Client) -> dict[str, object]:
    """Quota, flavor, image, network; returns a server's body."""
    token = client.ok("GET", "/identity/v3/auth/tokens", **{"X-Subject-Token": client.cloud.token})[
        "token"
    ]
    project = token["project"]["id"]
    client.ok(
        "PUT",
        f"/compute/v2.1/os-quota-sets/{project}",
        {"quota_set": {"instances": -1, "cores": -1, "ram": -1}},
    )
    client.ok("PUT", f"/network/v2.0/quotas/{project}", {"quota": {"port": -1}})
    client.ok(
        "POST",
        "/compute/v2.1/flavors",
        {"flavor": {"name": "storm", "ram": 64, "vcpus": 1, "disk": 1, "id": "storm"}},
    )
    network = client.ok("POST", "/network/v2.0/networks", {"network": {"name": "n"}})["network"]
    client.ok(
        "POST",
        "/network/v2.0/subnets",
        {"subnet": {"network_id": network["id"], "cidr": "10.0.0.0/20", "ip_version": 4}},
    )
    return {
        "server": {
            "name": "storm",
            "imageRef": make_image(client),
            "flavorRef": "storm",
            "networks": [{"uuid": network["id"]}],
        }
    }


def boot(client: Client, body: dict[str, object]) -> tuple[float, float]:
    """One server: seconds to the answer and to ACTIVE."""
    started = time.monotonic()
    server = client.ok("POST", "/compute/v2.1/servers", body)["server"]["id"]
    accepted = time.monotonic() - started
    while True:
        status = client.ok("GET", f"/compute/v2.1/servers/{server}")["server"]["status"]
        if status != "BUILD":
            assert status == "ACTIVE", status
            return accepted, time.monotonic() - started
        time.sleep(0.002)


def storm(cloud: BenchCloud, client: Client, body: dict[str, object]) -> None:
    """All at once; then delete all."""
    present = len(client.ok("GET", "/compute/v2.1/servers?limit=1000")["servers"])
    cpu, started = cloud.cpu_seconds(), time.monotonic()
    in_parallel(cloud, [lambda c: c.ok("POST", "/compute/v2.1/servers", body)] * STORM)
    row("500 servers: all accepted", time.monotonic() - started, "s", None, 352)
    statuses = wait(client, present + STORM)
    row("500 servers: all ACTIVE", time.monotonic() - started, "s", 10, 354)
    row("500 servers: CPU per server", (cloud.cpu_seconds() - cpu) / STORM * 1000, "ms", 16, 1352)
    print(
        f"{'500 servers: lost or in error':<52} {sum(status != 'ACTIVE' for status in statuses):>9}"
    )
    servers = [s["id"] for s in client.ok("GET", "/compute/v2.1/servers?limit=1000")["servers"]]
    started = time.monotonic()
    in_parallel(
        cloud,
        [
            lambda c, s=s: c.ok("DELETE", f"/compute/v2.1/servers/{s}")  # type: ignore
            for s in servers
        ],
    )
    while client.ok("GET", "/compute/v2.1/servers?limit=1")["servers"]:
        time.sleep(0.05)
    row(f"{len(servers)} servers: all deleted", time.monotonic() - started, "s")


def in_parallel(cloud: BenchCloud, work: list) -> None:  # type: ignore[type-arg]
    """Run the pieces of work by CLIENTS clients."""
    pieces = iter(work)
    lock = threading.Lock()

    def run() -> None:
        client = Client(cloud)
        while True:
            with lock:
                piece = next(pieces, None)
            if piece is None:
                return
            piece(client)

    threads = [threading.Thread(target=run) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def wait(client: Client, count: int) -> list[str]:
    """Until no server is in BUILD; their statuses."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        building = client.ok("GET", "/compute/v2.1/servers?status=BUILD&limit=1")["servers"]
        if not building:
            break
        time.sleep(0.05)
    servers = client.ok("GET", "/compute/v2.1/servers/detail?limit=1000")["servers"]
    assert len(servers) == count, (len(servers), count)
    return [server["status"] for server in servers]


if __name__ == "__main__":
    main()
