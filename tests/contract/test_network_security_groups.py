"""Security groups, their rules, and what new groups begin with."""

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


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkWorld]:
    """One world for tests that need nothing of their own."""
    made = NetworkWorld(tmp_path_factory.mktemp("world"))
    made.ok(
        "PUT",
        f"/quotas/{made.project()}",
        "admin",
        json={"quota": {"security_group": -1, "security_group_rule": -1}},
    )
    yield made
    made.close()


def short(rule: dict[str, Any]) -> tuple[str, str, bool]:
    return rule["direction"], rule["ethertype"], rule["remote_group_id"] is not None


def test_every_project_has_a_default_group(world: NetworkWorld) -> None:
    found = world.list("security_group")
    assert [each["name"] for each in found] == ["default"]
    assert sorted(short(rule) for rule in found[0]["security_group_rules"]) == [
        ("egress", "IPv4", False),
        ("egress", "IPv6", False),
        ("ingress", "IPv4", True),
        ("ingress", "IPv6", True),
    ]
    assert all(rule["belongs_to_default_sg"] for rule in found[0]["security_group_rules"])
    assert world.list("security_group", caller="stranger")[0]["id"] != found[0]["id"]
    for name in ("default", "Default"):
        world.cannot_create(409, "SecurityGroupDefaultAlreadyExists", "security_group", name=name)
    path = f"/security-groups/{found[0]['id']}"
    world.refused(409, "SecurityGroupCannotRemoveDefault", "DELETE", path)
    world.cannot_update(
        409, "SecurityGroupCannotUpdateDefault", "security_group", found[0]["id"], name="x"
    )
    assert world.update("security_group", found[0]["id"], description="d")["description"] == "d"
    world.ok("DELETE", path, "admin")
    assert len(world.list("security_group")) == 1, "it comes back when it is looked for"


def test_a_new_group_lets_everything_out_and_nothing_in(shared: NetworkWorld) -> None:
    made = shared.create("security_group", name="g", description="d", tags=["a"])
    assert shared.show("security_group", made["id"]) == made
    assert (made["stateful"], made["shared"], made["tags"]) == (True, False, ["a"])
    assert sorted(short(rule) for rule in made["security_group_rules"]) == [
        ("egress", "IPv4", False),
        ("egress", "IPv6", False),
    ]
    shared.cannot_update(
        409, "SecurityGroupDefaultAlreadyExists", "security_group", made["id"], name="default"
    )
    shared.delete("security_group", made["id"])
    shared.refused(404, "SecurityGroupNotFound", "GET", f"/security-groups/{made['id']}")


def test_a_group_in_use_stays_and_keeps_its_manner(shared: NetworkWorld) -> None:
    made = shared.create("security_group", name="g")
    port = shared.create(
        "port", network_id=shared.create("network")["id"], security_groups=[made["id"]]
    )
    shared.refused(409, "SecurityGroupInUse", "DELETE", f"/security-groups/{made['id']}")
    shared.cannot_update(409, "SecurityGroupInUse", "security_group", made["id"], stateful=False)
    shared.delete("port", port["id"])
    assert shared.update("security_group", made["id"], stateful=False)["stateful"] is False


def rule(world: NetworkWorld, group: str, **values: Any) -> dict[str, Any]:
    return world.create(
        "security_group_rule", security_group_id=group, **{"direction": "ingress", **values}
    )


def test_a_rule_is_complete(shared: NetworkWorld) -> None:
    group = shared.create("security_group", name="g")["id"]
    made = rule(
        shared,
        group,
        protocol="tcp",
        port_range_min=22,
        port_range_max=22,
        remote_ip_prefix="10.0.0.7/24",
        description="ssh",
    )
    assert shared.show("security_group_rule", made["id"]) == made
    assert made["ethertype"] == "IPv4"
    assert (made["remote_ip_prefix"], made["normalized_cidr"]) == ("10.0.0.7/24", "10.0.0.0/24")
    assert made["belongs_to_default_sg"] is False
    inside = shared.show("security_group", group)
    assert made["id"] in {each["id"] for each in inside["security_group_rules"]}
    shared.delete("security_group_rule", made["id"])
    shared.refused(404, "SecurityGroupRuleNotFound", "GET", f"/security-group-rules/{made['id']}")
    assert shared.show("security_group", group)["revision_number"] > inside["revision_number"]


@pytest.mark.parametrize(
    ("values", "answered"),
    [
        ({"protocol": 6}, "6"),
        ({"protocol": "UDP"}, "udp"),
        ({"protocol": None}, None),
        ({"protocol": "any"}, None),
        ({"protocol": "icmp", "port_range_min": 8}, "icmp"),
        ({"protocol": "icmp", "port_range_min": 8, "port_range_max": 0}, "icmp"),
        ({"protocol": "ipv6-icmp", "ethertype": "ipv6"}, "ipv6-icmp"),
        ({"protocol": 255}, "255"),
        ({"protocol": "tcp", "port_range_min": "80", "port_range_max": "90"}, "tcp"),
        ({"remote_ip_prefix": "192.0.2.1"}, None),
        ({"direction": "egress", "protocol": "esp"}, "esp"),
    ],
)
def test_rules_that_mean_something(
    shared: NetworkWorld, values: dict[str, Any], answered: str | None
) -> None:
    made = rule(shared, shared.create("security_group", name="g")["id"], **values)
    assert made["protocol"] == answered


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"protocol": "carrier-pigeon"}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": 256}, "SecurityGroupRuleInvalidProtocol"),
        ({"ethertype": "IPv5"}, "SecurityGroupRuleInvalidEtherType"),
        ({"direction": "sideways"}, "HTTPBadRequest"),
        (
            {"protocol": "tcp", "port_range_min": -1, "port_range_max": 5},
            "SecurityGroupInvalidPortValue",
        ),
        (
            {"protocol": "tcp", "port_range_min": 5, "port_range_max": 65536},
            "SecurityGroupInvalidPortValue",
        ),
        (
            {"protocol": "tcp", "port_range_min": 9, "port_range_max": 5},
            "SecurityGroupInvalidPortRange",
        ),
        ({"protocol": "tcp", "port_range_max": 5}, "SecurityGroupInvalidPortRange"),
        ({"port_range_min": 5, "port_range_max": 5}, "SecurityGroupProtocolRequiredWithPorts"),
        (
            {"protocol": "esp", "port_range_min": 5, "port_range_max": 5},
            "SecurityGroupInvalidProtocolForPort",
        ),
        ({"protocol": "icmp", "port_range_min": 256}, "SecurityGroupInvalidIcmpValue"),
        ({"protocol": "icmp", "port_range_max": 0}, "SecurityGroupMissingIcmpType"),
        ({"protocol": "icmpv6"}, "SecurityGroupEthertypeConflictWithProtocol"),
        ({"remote_ip_prefix": "fd00::/64"}, "SecurityGroupRuleParameterConflict"),
        ({"remote_ip_prefix": "ten"}, "InvalidCIDR"),
        ({"protocol": "tcp", "port_range_min": "many"}, "HTTPBadRequest"),
    ],
)
def test_rules_that_mean_nothing(shared: NetworkWorld, values: dict[str, Any], kind: str) -> None:
    group = shared.create("security_group", name="g")["id"]
    shared.cannot_create(
        400,
        kind,
        "security_group_rule",
        security_group_id=group,
        **{"direction": "ingress", **values},
    )


def test_remote_sides(shared: NetworkWorld) -> None:
    one = shared.create("security_group", name="one")["id"]
    two = shared.create("security_group", name="two")["id"]
    shared.cannot_create(
        400,
        "SecurityGroupRemoteGroupAndRemoteIpPrefix",
        "security_group_rule",
        security_group_id=one,
        direction="ingress",
        remote_group_id=two,
        remote_ip_prefix="10.0.0.0/8",
    )
    for unknown in (NOBODY, "bad_group_id"):
        shared.cannot_create(
            404,
            "SecurityGroupNotFound",
            "security_group_rule",
            security_group_id=one,
            direction="ingress",
            remote_group_id=unknown,
        )
    shared.cannot_create(
        404,
        "SecurityGroupNotFound",
        "security_group_rule",
        security_group_id=NOBODY,
        direction="ingress",
    )
    made = rule(shared, one, remote_group_id=two)
    shared.delete("security_group", two)
    shared.refused(404, "SecurityGroupRuleNotFound", "GET", f"/security-group-rules/{made['id']}")


@pytest.mark.parametrize(
    ("first", "same"),
    [
        ({}, {}),
        ({"protocol": "tcp"}, {"protocol": "6"}),
        ({"protocol": None}, {"protocol": "any"}),
        (
            {"protocol": "icmpv6", "ethertype": "IPv6"},
            {"protocol": "ipv6-icmp", "ethertype": "IPv6"},
        ),
        ({"remote_ip_prefix": "0.0.0.0/0"}, {}),
        ({"remote_ip_prefix": "10.0.0.1/24"}, {"remote_ip_prefix": "10.0.0.0/24"}),
    ],
)
def test_the_same_rule_twice_is_refused(
    shared: NetworkWorld, first: dict[str, Any], same: dict[str, Any]
) -> None:
    group = shared.create("security_group", name="g")["id"]
    made = rule(shared, group, **first)
    said = shared.cannot_create(
        409,
        "SecurityGroupRuleExists",
        "security_group_rule",
        security_group_id=group,
        **{"direction": "ingress", **same},
    )
    assert made["id"] in said
    rule(shared, group, direction="egress", **{**same, "protocol": 99, "ethertype": "IPv4"})


def test_several_rules_at_once_or_none(shared: NetworkWorld) -> None:
    group = shared.create("security_group", name="g")["id"]
    body = [
        {
            "security_group_id": group,
            "direction": "ingress",
            "protocol": "tcp",
            "port_range_min": n,
            "port_range_max": n,
        }
        for n in (1, 2)
    ]
    made = shared.ok("POST", "/security-group-rules", json={"security_group_rules": body})
    assert len(made["security_group_rules"]) == 2
    shared.refused(
        409,
        "SecurityGroupRuleExists",
        "POST",
        "/security-group-rules",
        json={"security_group_rules": [{**body[0], "port_range_max": 9}, body[1]]},
    )
    assert len(shared.list("security_group_rule", f"?security_group_id={group}")) == 4


def test_quotas(world: NetworkWorld) -> None:
    world.ok(
        "PUT",
        f"/quotas/{world.project()}",
        "admin",
        json={"quota": {"security_group": 2, "security_group_rule": 7}},
    )
    made = world.create("security_group", name="g")
    world.cannot_create(409, "OverQuota", "security_group", name="h")
    rule(world, made["id"], protocol="tcp")
    world.cannot_create(
        409,
        "OverQuota",
        "security_group_rule",
        security_group_id=made["id"],
        direction="ingress",
        protocol="udp",
    )


def test_others_groups_do_not_exist(world: NetworkWorld) -> None:
    made = world.create("security_group", name="g")
    one = made["security_group_rules"][0]["id"]
    for path in (f"/security-groups/{made['id']}", f"/security-group-rules/{one}"):
        kind = "SecurityGroupRuleNotFound" if "rules" in path else "SecurityGroupNotFound"
        world.refused(404, kind, "GET", path, "stranger")
        world.refused(404, kind, "DELETE", path, "stranger")
        world.refused(403, "PolicyNotAuthorized", "DELETE", path, "reader")
    world.cannot_create(
        404,
        "SecurityGroupNotFound",
        "security_group_rule",
        "stranger",
        security_group_id=made["id"],
        direction="ingress",
    )
    world.cannot_create(403, "PolicyNotAuthorized", "security_group", "reader", name="x")
    assert {each["name"] for each in world.list("security_group", caller="stranger")} == {"default"}


def test_rules_are_filtered(shared: NetworkWorld) -> None:
    group = shared.create("security_group", name="g")["id"]
    rule(shared, group, protocol="tcp", port_range_min=22, port_range_max=22)

    def count(query: str) -> int:
        return len(shared.list("security_group_rule", f"?security_group_id={group}&{query}"))

    assert (
        count("direction=ingress"),
        count("protocol=tcp"),
        count("port_range_min=22"),
        count("ethertype=IPv6"),
        count("belongs_to_default_sg=true"),
    ) == (1, 1, 1, 1, 0)


def test_what_new_groups_begin_with_can_be_changed(world: NetworkWorld) -> None:
    assert len(world.list("default_security_group_rule")) == 4
    world.cannot_create(
        403,
        "PolicyNotAuthorized",
        "default_security_group_rule",
        direction="ingress",
        protocol="tcp",
    )
    made = world.create(
        "default_security_group_rule",
        "admin",
        direction="ingress",
        protocol="tcp",
        port_range_min=22,
        port_range_max=22,
        used_in_default_sg=True,
    )
    assert world.show("default_security_group_rule", made["id"]) == made
    world.cannot_create(
        409,
        "DefaultSecurityGroupRuleExists",
        "default_security_group_rule",
        "admin",
        direction="ingress",
        protocol="tcp",
        port_range_min=22,
        port_range_max=22,
    )
    for name in ("default", "g"):
        found = (
            world.list("security_group", "?name=default")[0]
            if name == "default"
            else world.create("security_group", name=name)
        )
        assert any(each["protocol"] == "tcp" for each in found["security_group_rules"]), name
    world.delete("default_security_group_rule", made["id"], "admin")
    world.refused(
        404,
        "SecurityGroupDefaultRuleNotFound",
        "GET",
        f"/default-security-group-rules/{made['id']}",
    )
