"""Subnet pools, address scopes, and opening things to other projects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.network_world import NetworkWorld

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NetworkWorld]:
    made = NetworkWorld(tmp_path)
    yield made
    made.close()


def pool(world: NetworkWorld, caller: str = "member", **values: Any) -> dict[str, Any]:
    return world.create(
        "subnetpool",
        caller,
        **{"name": "p", "prefixes": ["10.8.0.0/22"], "default_prefixlen": 24, **values},
    )


def from_pool(world: NetworkWorld, pool_id: str, **values: Any) -> dict[str, Any]:
    return world.create(
        "subnet",
        network_id=world.create("network")["id"],
        subnetpool_id=pool_id,
        **{"ip_version": 4, **values},
    )


def test_a_pool_is_complete(world: NetworkWorld) -> None:
    made = pool(world, prefixes=["10.8.1.0/24", "10.8.0.0/24"], default_prefixlen="26")
    assert world.show("subnetpool", made["id"]) == made
    assert made["prefixes"] == ["10.8.0.0/23"], "prefixes that touch are one"
    assert (made["default_prefixlen"], made["min_prefixlen"], made["max_prefixlen"]) == (
        "26",
        "8",
        "32",
    )
    assert made["ip_version"] == 4


@pytest.mark.parametrize(
    "values",
    [
        {"prefixes": []},
        {"prefixes": ["ten"]},
        {"prefixes": ["10.0.0.0/8", "fd00::/48"]},
        {"min_prefixlen": 25},
        {"max_prefixlen": 33},
        {"default_prefixlen": 7, "min_prefixlen": 8},
        {"name": None},
        {"default_quota": -1},
    ],
)
def test_crooked_pools_are_refused(world: NetworkWorld, values: dict[str, Any]) -> None:
    world.cannot_create(
        400,
        "HTTPBadRequest",
        "subnetpool",
        **{"name": "p", "prefixes": ["10.8.0.0/22"], "default_prefixlen": 24, **values},
    )


def test_subnets_come_from_pools(world: NetworkWorld) -> None:
    made = pool(world)
    assert from_pool(world, made["id"])["cidr"] == "10.8.0.0/24"
    assert from_pool(world, made["id"], prefixlen=25)["cidr"] == "10.8.1.0/25"
    chosen = from_pool(world, made["id"], cidr="10.8.2.0/24")
    assert (chosen["cidr"], chosen["subnetpool_id"]) == ("10.8.2.0/24", made["id"])
    assert from_pool(world, made["id"])["cidr"] == "10.8.3.0/24"
    network = world.create("network")["id"]

    def cannot(status: int, kind: str, **values: Any) -> None:
        world.cannot_create(
            status,
            kind,
            "subnet",
            network_id=network,
            subnetpool_id=made["id"],
            **{"ip_version": 4, **values},
        )

    cannot(409, "SubnetAllocationError")
    cannot(409, "SubnetAllocationError", cidr="10.8.2.128/25")
    cannot(409, "SubnetAllocationError", cidr="192.0.2.0/24")
    cannot(400, "HTTPBadRequest", prefixlen=7)
    cannot(400, "HTTPBadRequest", ip_version=6)
    assert from_pool(world, made["id"], prefixlen=25)["cidr"] == "10.8.1.128/25"
    world.refused(409, "SubnetPoolDeleteError", "DELETE", f"/subnetpools/{made['id']}")
    world.delete("subnet", chosen["id"])
    assert from_pool(world, made["id"])["cidr"] == "10.8.2.0/24", "what was given back is free"


def test_a_pool_has_a_quota_for_each_project(world: NetworkWorld) -> None:
    made = pool(world, default_quota=300)
    from_pool(world, made["id"])
    world.cannot_create(
        409,
        "SubnetPoolQuotaExceeded",
        "subnet",
        ip_version=4,
        network_id=world.create("network")["id"],
        subnetpool_id=made["id"],
    )


def test_prefixes_are_added_and_removed(world: NetworkWorld) -> None:
    made = pool(world)
    path = f"/subnetpools/{made['id']}"
    assert world.ok("PUT", f"{path}/add_prefixes", json={"prefixes": ["10.9.0.0/24"]}) == {
        "prefixes": ["10.8.0.0/22", "10.9.0.0/24"]
    }
    from_pool(world, made["id"])
    world.refused(
        409,
        "IllegalSubnetPoolPrefixUpdate",
        "PUT",
        f"{path}/remove_prefixes",
        json={"prefixes": ["10.8.0.0/24"]},
    )
    assert world.ok("PUT", f"{path}/remove_prefixes", json={"prefixes": ["10.8.2.0/23"]}) == {
        "prefixes": ["10.8.0.0/23", "10.9.0.0/24"]
    }
    world.refused(400, "HTTPBadRequest", "PUT", f"{path}/add_prefixes", json={"prefixes": "x"})
    world.cannot_update(400, "HTTPBadRequest", "subnetpool", made["id"], prefixes=["10.9.0.0/24"])
    changed = world.update("subnetpool", made["id"], name="q", default_prefixlen=26)
    assert (changed["name"], changed["default_prefixlen"]) == ("q", "26")


def test_a_default_pool_serves_subnets_that_ask_for_it(world: NetworkWorld) -> None:
    network = world.create("network")["id"]
    world.cannot_create(
        404,
        "SubnetPoolNotFound",
        "subnet",
        network_id=network,
        ip_version=4,
        use_default_subnetpool=True,
    )
    world.cannot_create(
        403,
        "PolicyNotAuthorized",
        "subnetpool",
        name="p",
        is_default=True,
        prefixes=["10.8.0.0/22"],
    )
    made = pool(world, "admin", is_default=True, shared=True)
    world.cannot_create(
        400,
        "InvalidInput",
        "subnetpool",
        "admin",
        name="q",
        is_default=True,
        prefixes=["10.7.0.0/22"],
    )
    found = world.create("subnet", network_id=network, ip_version=4, use_default_subnetpool=True)
    assert found["subnetpool_id"] == made["id"]


def test_address_scopes_hold_pools_apart(world: NetworkWorld) -> None:
    scope = world.create("address_scope", name="s", ip_version=4)
    assert world.show("address_scope", scope["id"]) == scope
    one = pool(world, address_scope_id=scope["id"])
    world.cannot_create(
        409,
        "AddressScopePrefixConflict",
        "subnetpool",
        name="q",
        prefixes=["10.8.2.0/24"],
        address_scope_id=scope["id"],
    )
    world.cannot_create(
        400,
        "HTTPBadRequest",
        "subnetpool",
        name="q",
        prefixes=["fd00::/48"],
        address_scope_id=scope["id"],
    )
    world.cannot_create(
        404,
        "AddressScopeNotFound",
        "subnetpool",
        name="q",
        prefixes=["10.1.0.0/24"],
        address_scope_id=NOBODY,
    )
    world.refused(409, "AddressScopeInUse", "DELETE", f"/address-scopes/{scope['id']}")
    inside = from_pool(world, one["id"])
    assert world.show("network", inside["network_id"])["ipv4_address_scope"] == scope["id"]
    assert world.update("address_scope", scope["id"], name="t")["name"] == "t"
    world.cannot_create(403, "PolicyNotAuthorized", "address_scope", name="x", shared=True)
    shared = world.create("address_scope", "admin", name="x", shared=True)
    assert world.show("address_scope", shared["id"])["shared"] is True
    world.cannot_update(400, "HTTPBadRequest", "address_scope", shared["id"], "admin", shared=False)
    world.delete("address_scope", shared["id"], "admin")


def test_others_pools_and_scopes_do_not_exist_unless_shared(world: NetworkWorld) -> None:
    made = pool(world)
    scope = world.create("address_scope", name="s")
    world.refused(404, "SubnetPoolNotFound", "GET", f"/subnetpools/{made['id']}", "stranger")
    world.refused(
        404, "AddressScopeNotFound", "DELETE", f"/address-scopes/{scope['id']}", "stranger"
    )
    shared = pool(world, "admin", name="all", shared=True)
    assert [each["name"] for each in world.list("subnetpool", caller="stranger")] == ["all"]
    assert world.show("subnetpool", shared["id"], "stranger")["shared"] is True
    world.cannot_update(
        403, "PolicyNotAuthorized", "subnetpool", shared["id"], "stranger", name="x"
    )


# --- RBAC ------------------------------------------------------------------------------------


def test_a_network_is_opened_to_one_project(world: NetworkWorld) -> None:
    network = world.create("network")["id"]
    entry = world.create(
        "rbac_policy",
        object_type="network",
        object_id=network,
        action="access_as_shared",
        target_tenant=world.project("stranger"),
    )
    assert world.show("rbac_policy", entry["id"]) == entry
    assert world.show("network", network, "stranger")["shared"] is True
    assert world.show("network", network)["shared"] is False
    port = world.create("port", "stranger", network_id=network)
    world.refused(409, "RbacPolicyInUse", "DELETE", f"/rbac-policies/{entry['id']}")
    world.delete("port", port["id"], "stranger")
    world.delete("rbac_policy", entry["id"])
    world.refused(404, "NetworkNotFound", "GET", f"/networks/{network}", "stranger")


def test_only_owners_open_and_only_operators_open_to_all(world: NetworkWorld) -> None:
    network = world.create("network")["id"]
    entry = {
        "object_type": "network",
        "object_id": network,
        "action": "access_as_shared",
        "target_tenant": world.project("stranger"),
    }
    world.cannot_create(404, "NetworkNotFound", "rbac_policy", "stranger", **entry)
    said = world.cannot_create(
        403, "PolicyNotAuthorized", "rbac_policy", **{**entry, "target_tenant": "*"}
    )
    assert "target_tenant" in said
    world.cannot_create(
        400, "InvalidInput", "rbac_policy", **{**entry, "action": "access_as_external"}
    )
    world.cannot_create(400, "HTTPBadRequest", "rbac_policy", **{**entry, "object_type": "moon"})
    made = world.create("rbac_policy", **entry)
    world.cannot_create(409, "DuplicateRbacPolicy", "rbac_policy", **entry)
    world.refused(404, "RbacPolicyNotFound", "GET", f"/rbac-policies/{made['id']}", "stranger")
    changed = world.update("rbac_policy", made["id"], target_tenant="third")
    assert changed["target_tenant"] == "third"
    world.refused(404, "NetworkNotFound", "GET", f"/networks/{network}", "stranger")


@pytest.mark.parametrize("noun", ["security_group", "subnetpool", "address_scope"])
def test_other_things_are_opened_too(world: NetworkWorld, noun: str) -> None:
    made = pool(world) if noun == "subnetpool" else world.create(noun, name="x")
    path = f"/{'subnetpools' if noun == 'subnetpool' else noun.replace('_', '-') + 's'}"
    assert world.call("GET", f"{path}/{made['id']}", "stranger").status_code == 404
    world.create(
        "rbac_policy",
        object_type=noun,
        object_id=made["id"],
        action="access_as_shared",
        target_tenant=world.project("stranger"),
    )
    assert world.show(noun, made["id"], "stranger")["shared"] is True
    assert [each["id"] for each in world.list(noun, "?shared=true", "stranger")] == [made["id"]]


def test_quota_of_entries(world: NetworkWorld) -> None:
    world.ok("PUT", f"/quotas/{world.project()}", "admin", json={"quota": {"rbac_policy": 0}})
    world.cannot_create(
        409,
        "OverQuota",
        "rbac_policy",
        object_type="network",
        object_id=world.create("network")["id"],
        action="access_as_shared",
        target_tenant="x",
    )
