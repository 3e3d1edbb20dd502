"""Every operation once, against the published samples: path, status, attributes and their types.

For networks the samples and `routes.tsv` are the contract (the OpenAPI document of this service
is known to be wrong in places). An operation of SERVICE that the walk below does not use fails
the suite, and so does a published operation of our resources that SERVICE does not have.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nubelet.network import SERVICE
from tests.network_world import NetworkWorld

# Attributes of samples that belong to extensions we do not have.
OTHERS = {
    "qos_policy_id",
    "qos_network_policy_id",
    "vlan_transparent",
    "qinq",
    "pvlan",
    "pvlan_type",
    "pvlan_community",
    "l2_adjacency",
    "segment_id",
    "dns_publish_fixed_ip",
    "data_plane_status",
    "ip_allocation",
    "propagate_uplink_status",
    "hardware_offload_type",
    "trusted",
    "distributed",
    "ha",
    "flavor_id",
    "service_type_id",
    "conntrack_helpers",
    "port_forwardings",
    "remote_address_group_id",
    "numa_affinity_policy",
    "device_profile",
    "resource_request",
    "hints",
    "segments",
    "ip_availability_details",
    "enable_ndp_proxy",
    "external_gateways",
    "enable_default_route_bfd",
    "enable_default_route_ecmp",
    "trunk_details",
    "evpn_vni",
    # of the agents that upstream has, and of rules, which we do not tag
    "resource_versions",
    "resources_synced",
    "ha_state",
    # of other drivers
    "mac_learning_enabled",
    "ovs_hybrid_plug",
    # slips of the pen in samples
    "used_in_default_non_sg",
    "revisio[n_number",
}
# Where a sample is at odds with the service it describes: pool lengths are text, a group has no
# belongs_to_default_sg, and dns_domain of ports is an extension of its own (of networks not).
ODD = re.compile(
    r"\.(default|min|max)_prefixlen |security_group\.belongs_to_default_sg|"
    r"ports?(\[\])?\.dns_domain|vif_details"
)
# The collections of the issue, and operations below them that belong to other extensions.
COLLECTIONS = {
    "networks",
    "subnets",
    "ports",
    "routers",
    "floatingips",
    "security-groups",
    "security-group-rules",
    "default-security-group-rules",
    "subnetpools",
    "address-scopes",
    "rbac-policies",
    "agents",
    "availability_zones",
    "extensions",
    "quotas",
    "service-providers",
    "network-ip-availabilities",
}
ABSENT = re.compile(
    r"/(port_forwardings|bindings|conntrack_helpers|onboard_network_subnets|"
    r"(add|update|remove)_external_gateways|bgp-\w+|associations|metering\S*)(/|$)"
)


class Published(NamedTuple):
    """One row of routes.tsv."""

    method: str
    path: str
    statuses: set[int]
    samples: tuple[str, ...]


def template(path: str) -> str:
    """A path with all parameters named alike."""
    path = re.sub(r"^/v2\.0", "", path).rstrip("/")
    if path.startswith("/{resource_type}/"):
        path = path.replace("{resource_type}", "networks", 1)
    return re.sub(r"\{[^}]*\}", "{}", path)


@pytest.fixture(scope="module")
def routes(published: Path) -> list[Published]:
    with (published / "samples/neutron/routes.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        Published(
            row["method"],
            template(row["path"]),
            {int(code) for code in re.findall(r"\d+", row["success_codes"])},
            tuple(name for name in row["response_samples"].split(";") if name),
        )
        for row in rows
    ]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NetworkWorld]:
    made = NetworkWorld(tmp_path)
    yield made
    made.close()


class Walk:
    """Calls, remembered by the route they took."""

    def __init__(self, world: NetworkWorld) -> None:
        self.world = world
        self.answers: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        self._routes = [
            (
                route.method,
                template(route.path),
                re.compile("^" + re.sub(r"\{\}", "[^/]+", template(route.path)) + "$"),
            )
            for route in SERVICE.routes
        ]
        # literal segments win over parameters, as in the service itself
        self._routes.sort(key=lambda each: each[1].count("{}"))

    def __call__(self, method: str, path: str, json: Any = None, caller: str = "admin") -> Any:
        answer = self.world.call(method, path, caller, json=json)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        body = answer.json() if answer.content else None
        bare = path.partition("?")[0]
        for verb, name, pattern in self._routes:
            if verb == method and pattern.match(bare):
                self.answers.setdefault((method, name), []).append((answer.status_code, body))
                break
        return body


def crud(
    walk: Walk,
    path: str,
    singular: str,
    create: dict[str, Any],
    update: dict[str, Any] | None = None,
    *,
    delete: bool = False,
) -> str:
    """All standard operations of a noun; returns the id."""
    made = walk("POST", path, {singular: create})[singular]
    walk("GET", path)
    walk("GET", f"{path}/{made['id']}")
    if update is not None:
        walk("PUT", f"{path}/{made['id']}", {singular: update})
    if delete:
        walk("DELETE", f"{path}/{made['id']}")
    return str(made["id"])


def walk_all(walk: Walk) -> None:
    """Every operation, in an order that works."""
    walk.world.call("GET", "", None)
    project = walk.world.project("admin")
    outside = walk(
        "POST",
        "/networks",
        {
            "network": {
                "name": "public",
                "router:external": True,
                "provider:network_type": "flat",
                "provider:physical_network": "external",
            }
        },
    )["network"]["id"]
    walk(
        "POST",
        "/subnets",
        {
            "subnet": {
                "network_id": outside,
                "ip_version": 4,
                "cidr": "172.24.4.0/24",
                "enable_dhcp": False,
            }
        },
    )
    network = crud(walk, "/networks", "network", {"name": "n"}, {"name": "m"})
    scope = crud(walk, "/address-scopes", "address_scope", {"name": "s"}, {"name": "t"})
    pool = crud(
        walk,
        "/subnetpools",
        "subnetpool",
        {
            "name": "p",
            "prefixes": ["10.0.0.0/16"],
            "default_prefixlen": 24,
            "address_scope_id": scope,
        },
        {"name": "q"},
    )
    for verb in ("add_prefixes", "remove_prefixes"):
        walk("PUT", f"/subnetpools/{pool}/{verb}", {"prefixes": ["10.77.0.0/16"]})
    subnet = crud(
        walk,
        "/subnets",
        "subnet",
        {
            "network_id": network,
            "ip_version": 4,
            "subnetpool_id": pool,
            "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}],
        },
        {"name": "x"},
    )
    port = crud(
        walk,
        "/ports",
        "port",
        {
            "network_id": network,
            "dns_name": "web",
            "allowed_address_pairs": [{"ip_address": "10.0.0.99"}],
            "extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1400"}],
        },
        {"name": "y"},
    )
    router = crud(
        walk,
        "/routers",
        "router",
        {"name": "r", "external_gateway_info": {"network_id": outside}},
        {"name": "s"},
    )
    walk("PUT", f"/routers/{router}/add_router_interface", {"subnet_id": subnet})
    route = {"router": {"routes": [{"destination": "192.0.2.0/24", "nexthop": "10.0.0.9"}]}}
    walk("PUT", f"/routers/{router}/add_extraroutes", route)
    walk("PUT", f"/routers/{router}/remove_extraroutes", route)
    floating = crud(
        walk,
        "/floatingips",
        "floatingip",
        {"floating_network_id": outside, "port_id": port},
        {"description": "z"},
    )
    group = crud(walk, "/security-groups", "security_group", {"name": "g"}, {"name": "h"})
    crud(
        walk,
        "/security-group-rules",
        "security_group_rule",
        {"security_group_id": group, "direction": "ingress"},
        delete=True,
    )
    crud(
        walk,
        "/default-security-group-rules",
        "default_security_group_rule",
        {"direction": "ingress", "protocol": "tcp"},
        delete=True,
    )
    crud(
        walk,
        "/rbac-policies",
        "rbac_policy",
        {
            "object_type": "network",
            "object_id": network,
            "action": "access_as_shared",
            "target_tenant": "x",
        },
        {"target_tenant": "y"},
        delete=True,
    )
    walk_tags(
        walk,
        {
            "networks": network,
            "subnets": subnet,
            "ports": port,
            "routers": router,
            "floatingips": floating,
            "subnetpools": pool,
            "security-groups": group,
        },
    )
    walk_agents(walk, network, router)
    walk("GET", "/network-ip-availabilities")
    walk("GET", f"/network-ip-availabilities/{network}")
    walk("GET", "/extensions")
    walk("GET", "/extensions/router")
    walk("GET", "/service-providers")
    walk("GET", "/availability_zones")
    walk_quotas(walk, project)
    walk("DELETE", f"/floatingips/{floating}")
    walk("PUT", f"/routers/{router}/remove_router_interface", {"subnet_id": subnet})
    for path in (
        f"/routers/{router}",
        f"/ports/{port}",
        f"/subnets/{subnet}",
        f"/networks/{network}",
        f"/subnetpools/{pool}",
        f"/address-scopes/{scope}",
        f"/security-groups/{group}",
    ):
        walk("DELETE", path)


def walk_tags(walk: Walk, things: dict[str, str]) -> None:
    for collection, identifier in things.items():
        place = f"/{collection}/{identifier}/tags"
        walk("PUT", f"{place}/red")
        walk("GET", f"{place}/red")
        walk("GET", place)
        walk("PUT", place, {"tags": ["blue", "green"]})
        walk("POST", place, {"tags": ["red"]})
        walk("DELETE", f"{place}/red")
        walk("DELETE", place)


def walk_agents(walk: Walk, network: str, router: str) -> None:
    walk("GET", "/agents")
    served = walk("GET", f"/networks/{network}/dhcp-agents")["agents"][0]["id"]
    hosting = walk("GET", f"/routers/{router}/l3-agents")["agents"][0]["id"]
    walk("GET", f"/agents/{served}")
    walk("PUT", f"/agents/{served}", {"agent": {"description": "d"}})
    walk("GET", f"/agents/{served}/dhcp-networks")
    walk("DELETE", f"/agents/{served}/dhcp-networks/{network}")
    walk("POST", f"/agents/{served}/dhcp-networks", {"network_id": network})
    walk("GET", f"/agents/{hosting}/l3-routers")
    walk("DELETE", f"/agents/{hosting}/l3-routers/{router}")
    walk("POST", f"/agents/{hosting}/l3-routers", {"router_id": router})
    from nubelet.kernel import clock

    silent = walk("GET", "/agents?host=host2")["agents"][0]["id"]
    clock.use_source(lambda: __import__("time").time_ns() // 1000 + 3_600_000_000)
    try:
        walk("DELETE", f"/agents/{silent}")
    finally:
        clock.use_source(None)


def walk_quotas(walk: Walk, project: str) -> None:
    for path in (
        "",
        "/tenant",
        "/project",
        f"/{project}",
        f"/{project}/default",
        f"/{project}/default.json",
        f"/{project}/details",
        f"/{project}/details.json",
    ):
        walk("GET", f"/quotas{path}")
    walk("PUT", f"/quotas/{project}", {"quota": {"network": 50}})
    walk("GET", "/quotas")
    walk("DELETE", f"/quotas/{project}")


def shapes(sample: Any, answer: Any, where: str) -> list[str]:
    """Where the answer lacks what the sample has, or has it in another type."""
    if isinstance(sample, dict) and isinstance(answer, dict):
        said = []
        for name, value in sample.items():
            if name in OTHERS or (where.endswith("rules[]") and name == "tags"):
                continue
            if where.endswith((".configurations", ".vif_details", ".binding:profile")):
                continue
            if name not in answer:
                said.append(f"{where}.{name} is missing")
            else:
                said += shapes(value, answer[name], f"{where}.{name}")
        return said
    if isinstance(sample, list) and isinstance(answer, list):
        return shapes(sample[0], answer[0], f"{where}[]") if sample and answer else []
    number = (int, float)
    alike = isinstance(answer, type(sample)) or (
        isinstance(sample, number) and isinstance(answer, number)
    )
    if (
        sample is None
        or answer is None
        or (alike and isinstance(sample, bool) == isinstance(answer, bool))
    ):
        return []
    return [f"{where} is {answer!r}, published as {sample!r}"]


def test_every_operation_answers_as_published(
    world: NetworkWorld, published: Path, routes: list[Published]
) -> None:
    walk = Walk(world)
    walk_all(walk)
    ours = {(route.method, template(route.path)) for route in SERVICE.routes if route.prefixed}
    unused = {each for each in ours if each not in walk.answers and each[1]}
    assert unused == set(), "operations without a contract test"
    said = []
    for row in routes:
        for status, body in walk.answers.get((row.method, row.path), ()):
            name = f"{row.method} {row.path}"
            if row.statuses and status not in row.statuses:
                said.append(f"{name} answers {status}, published is {row.statuses}")
            for sample in row.samples:
                found = json.loads((published / "samples/neutron" / sample).read_text())
                if isinstance(body, dict) and set(found) & set(body):
                    said += [each for each in shapes(found, body, name) if not ODD.search(each)]
    assert not said, "\n".join(sorted(set(said)))


def test_what_is_published_of_our_resources_is_there(routes: list[Published]) -> None:
    ours = {(route.method, template(route.path)) for route in SERVICE.routes}
    missing = {
        f"{row.method} {row.path}"
        for row in routes
        if (row.method, row.path) not in ours
        and row.path.strip("/").split("/")[0] in COLLECTIONS
        and not ABSENT.search(row.path)
    }
    assert not missing, "\n".join(sorted(missing))
