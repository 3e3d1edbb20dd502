"""CPU per request of the whole control plane, beside today's OpenStack.

The peer's figures are those of a full OpenStack (keystone 30, nova 34, neutron 29) on two cores
of the same kind of machine; only the ratio means anything elsewhere.
"""

from __future__ import annotations

from benchmarks.measuring import BenchCloud, Client, cpu_ms_per_request, row

SERVERS, PORTS, USERS, IMAGES = 1000, 1000, 1000, 1000


def main() -> None:
    """Fill a fake cloud and measure."""
    cloud = BenchCloud("--fake", "--nodes", "20")
    cloud.up()
    try:
        cloud.login()
        client = Client(cloud)
        server_id = fill(client)
        measure(cloud, client, server_id)
    finally:
        cloud.down()


def fill(client: Client) -> str:
    """A thousand of each; returns the id of one server."""
    project = client.ok(
        "GET", "/identity/v3/auth/tokens", **{"X-Subject-Token": client.cloud.token}
    )["token"]["project"]["id"]
    client.ok(
        "PUT",
        f"/compute/v2.1/os-quota-sets/{project}",
        {"quota_set": {"instances": -1, "cores": -1, "ram": -1}},
    )
    client.ok("PUT", f"/network/v2.0/quotas/{project}", {"quota": {"port": -1}})
    for number in range(4):
        client.ok(
            "POST",
            "/compute/v2.1/flavors",
            {
                "flavor": {
                    "name": f"bench-{number}",
                    "ram": 64,
                    "vcpus": 1,
                    "disk": 1,
                    "id": f"b{number}",
                }
            },
        )
    image = make_image(client)
    network = client.ok("POST", "/network/v2.0/networks", {"network": {"name": "bench"}})[
        "network"
    ]["id"]
    client.ok(
        "POST",
        "/network/v2.0/subnets",
        {"subnet": {"network_id": network, "cidr": "10.0.0.0/20", "ip_version": 4}},
    )
    for _ in range(SERVERS // 100):
        client.ok(
            "POST",
            "/compute/v2.1/servers",
            {
                "server": {
                    "name": "bench",
                    "imageRef": image,
                    "flavorRef": "b0",
                    "min_count": 100,
                    "max_count": 100,
                    "networks": [{"uuid": network}],
                }
            },
        )
    wait_until_active(client, SERVERS)
    for _ in range(IMAGES - 1):
        client.ok(
            "POST",
            "/image/v2/images",
            {"name": "bench", "disk_format": "raw", "container_format": "bare"},
        )
    for number in range(USERS):
        client.ok("POST", "/identity/v3/users", {"user": {"name": f"bench-{number}"}})
    return str(client.ok("GET", "/compute/v2.1/servers?limit=1")["servers"][0]["id"])


def make_image(client: Client) -> str:
    """A small active image."""
    image = str(
        client.ok(
            "POST",
            "/image/v2/images",
            {"name": "bench", "disk_format": "raw", "container_format": "bare"},
        )["id"]
    )
    client.connection.request(
        "PUT",
        f"/image/v2/images/{image}/file",
        body=b"x" * 4096,
        headers={"X-Auth-Token": client.cloud.token, "Content-Type": "application/octet-stream"},
    )
    answer = client.connection.getresponse()
    answer.read()
    assert answer.status == 204, answer.status
    return image


def wait_until_active(client: Client, count: int) -> None:
    """Until so many servers are ACTIVE."""
    import time

    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        active = client.ok("GET", "/compute/v2.1/servers?status=ACTIVE&limit=1000")["servers"]
        if len(active) >= count:
            return
        time.sleep(0.2)
    raise TimeoutError(f"only {len(active)} of {count} servers are ACTIVE")


def measure(cloud: BenchCloud, client: Client, server_id: str) -> None:
    """Print the figures."""
    token = {"X-Auth-Token": cloud.token}
    subject = token | {"X-Subject-Token": cloud.token}

    def get(
        title: str,
        path: str,
        target: float | None,
        peer: float | None,
        count: int,
        headers: dict[str, str] = token,
    ) -> None:
        row(
            title,
            cpu_ms_per_request(cloud, lambda: client.raw(path, headers), count=count),
            "ms",
            target,
            peer,
        )

    get("validate a token", "/identity/v3/auth/tokens", 0.35, 3.9, 1500, subject)
    get("list 1,000 users", "/identity/v3/users", 25, 187, 20)
    get("show a server", f"/compute/v2.1/servers/{server_id}", 0.7, 57, 600)
    get("list 1,000 servers with details", "/compute/v2.1/servers/detail", 40, 5565, 15)
    get("list 100 servers with details", "/compute/v2.1/servers/detail?limit=100", None, 494, 60)
    get("list flavors with details", "/compute/v2.1/flavors/detail", 1, 9.7, 600)
    get("list 1,000 ports", "/network/v2.0/ports?limit=1000", 25, 613, 20)
    get("list one image", "/image/v2/images?limit=1", None, 4.3, 300)
    get("list 1,000 images", "/image/v2/images?limit=1000", 20, None, 20)


if __name__ == "__main__":
    main()
