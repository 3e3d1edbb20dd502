"""Ports: addresses, MAC addresses, filters, bindings, owners."""

from __future__ import annotations

import threading
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
        json={"quota": {"port": -1, "security_group": -1}},
    )
    yield made
    made.close()


def ips(port: dict[str, Any]) -> list[str]:
    return [each["ip_address"] for each in port["fixed_ips"]]


def test_a_new_port_is_complete(world: NetworkWorld) -> None:
    inside = world.subnet()
    made = world.create("port", network_id=inside["network_id"], name="p", tags=["a"])
    assert world.show("port", made["id"]) == made
    assert ips(made) == ["10.0.0.3"]  # DHCP has 10.0.0.2
    assert made["mac_address"].startswith("fa:16:3e:")
    assert made["status"] == "DOWN"
    assert made["tags"] == ["a"]
    group = world.list("security_group", "?name=default")[0]
    assert made["security_groups"] == [group["id"]]
    assert made["dns_assignment"] == [
        {
            "ip_address": "10.0.0.3",
            "hostname": "host-10-0-0-3",
            "fqdn": "host-10-0-0-3.openstacklocal.",
        }
    ]
    assert "binding:host_id" not in made
    assert made["binding:vnic_type"] == "normal"


def test_a_network_without_subnets_gives_no_addresses(shared: NetworkWorld) -> None:
    port = shared.create("port", network_id=shared.create("network")["id"])
    assert port["fixed_ips"] == []


@pytest.mark.parametrize(
    ("fixed", "status", "kind"),
    [
        ([{"ip_address": "10.0.1.9"}], 400, "InvalidIpForNetwork"),
        ([{"ip_address": "10.0.0.255"}], 400, "InvalidIpForSubnet"),
        ([{"ip_address": "ten"}], 400, "HTTPBadRequest"),
        ([{"subnet_id": NOBODY}], 404, "SubnetNotFound"),
        ([{"ip_address": "10.0.0.3"}, {"ip_address": "10.0.0.3"}], 400, "InvalidInput"),
        ([{"ip_address": "10.0.0.2"}], 409, "IpAddressAlreadyAllocated"),
        ([{}], 400, "HTTPBadRequest"),
        ("10.0.0.3", 400, "HTTPBadRequest"),
        ([{"address": "10.0.0.3"}], 400, "HTTPBadRequest"),
    ],
)
def test_impossible_addresses_are_refused(
    shared: NetworkWorld, fixed: Any, status: int, kind: str
) -> None:
    inside = shared.subnet()
    shared.cannot_create(status, kind, "port", network_id=inside["network_id"], fixed_ips=fixed)


def test_addresses_are_given_as_asked(shared: NetworkWorld) -> None:
    inside = shared.subnet()
    network, subnet = inside["network_id"], inside["id"]
    other = shared.subnet("10.0.1.0/24", network=network, enable_dhcp=False)
    for fixed, expected in (
        ([], []),
        ([{"ip_address": "10.0.0.1"}], ["10.0.0.1"]),
        ([{"subnet_id": other["id"]}], ["10.0.1.2"]),
        (
            [{"subnet_id": subnet, "ip_address": "10.0.0.77"}, {"subnet_id": other["id"]}],
            ["10.0.0.77", "10.0.1.3"],
        ),
    ):
        assert ips(shared.create("port", network_id=network, fixed_ips=fixed)) == expected
    shared.cannot_create(
        400,
        "InvalidInput",
        "port",
        network_id=network,
        fixed_ips=[{"subnet_id": shared.subnet()["id"]}],
    )
    shared.cannot_create(
        400,
        "InvalidIpForSubnet",
        "port",
        network_id=network,
        fixed_ips=[{"subnet_id": subnet, "ip_address": "10.0.1.50"}],
    )


def test_when_no_address_is_left_it_is_said(shared: NetworkWorld) -> None:
    inside = shared.subnet(
        enable_dhcp=False, allocation_pools=[{"start": "10.0.0.9", "end": "10.0.0.9"}]
    )
    network = inside["network_id"]
    first = shared.create("port", network_id=network)
    said = shared.cannot_create(409, "IpAddressGenerationFailure", "port", network_id=network)
    assert network in said
    shared.delete("port", first["id"])
    assert ips(shared.create("port", network_id=network)) == ["10.0.0.9"]


def test_mac_addresses(shared: NetworkWorld) -> None:
    network = shared.create("network")["id"]
    port = shared.create("port", network_id=network, mac_address="FA:16:3E:11:22:33")
    assert port["mac_address"] == "fa:16:3e:11:22:33"
    shared.cannot_create(
        409, "MacAddressInUse", "port", network_id=network, mac_address="fa:16:3e:11:22:33"
    )
    shared.create(
        "port", network_id=shared.create("network")["id"], mac_address="fa:16:3e:11:22:33"
    )
    for mac in ("01:00:5e:00:00:01", "fa:16", ""):
        shared.cannot_create(
            400, "HTTPBadRequest", "port", network_id=network, mac_address=mac or "zz"
        )
    shared.cannot_update(
        403, "PolicyNotAuthorized", "port", port["id"], mac_address="fa:16:3e:11:22:34"
    )
    changed = shared.update("port", port["id"], "admin", mac_address="fa:16:3e:11:22:34")
    assert changed["mac_address"] == "fa:16:3e:11:22:34"


def test_a_new_mac_address_makes_a_new_slaac_address(shared: NetworkWorld) -> None:
    inside = shared.subnet("fd00::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac")
    port = shared.create("port", network_id=inside["network_id"], mac_address="fa:16:3e:00:00:01")
    assert ips(port) == ["fd00::f816:3eff:fe00:1"]
    changed = shared.update("port", port["id"], "admin", mac_address="fa:16:3e:00:00:02")
    assert ips(changed) == ["fd00::f816:3eff:fe00:2"]
    shared.cannot_create(
        400,
        "AllocationOnAutoAddressSubnet",
        "port",
        network_id=inside["network_id"],
        fixed_ips=[{"ip_address": "fd00::7"}],
    )


def test_addresses_change(shared: NetworkWorld) -> None:
    inside = shared.subnet()
    network, subnet = inside["network_id"], inside["id"]
    second = shared.subnet("10.0.1.0/24", network=network, enable_dhcp=False)
    port = shared.create("port", network_id=network)
    before = ips(port)[0]
    both = shared.update(
        "port", port["id"], fixed_ips=[{"subnet_id": subnet}, {"subnet_id": second["id"]}]
    )
    assert ips(both) == [before, "10.0.1.2"], "what is asked for again stays as it is"
    assert both["revision_number"] > port["revision_number"]
    one = shared.update("port", port["id"], fixed_ips=[{"ip_address": "10.0.0.99"}])
    assert ips(one) == ["10.0.0.99"]
    again = shared.create("port", network_id=network, fixed_ips=[{"ip_address": before}])
    assert ips(again) == [before], "what was given up is free"
    shared.cannot_update(
        409, "IpAddressAlreadyAllocated", "port", port["id"], fixed_ips=[{"ip_address": before}]
    )
    assert ips(shared.show("port", port["id"])) == ["10.0.0.99"]
    assert ips(shared.update("port", port["id"], fixed_ips=[])) == []


def test_several_ports_at_once(shared: NetworkWorld) -> None:
    inside = shared.subnet()
    network = inside["network_id"]
    made = shared.ok(
        "POST",
        "/ports",
        json={
            "ports": [{"network_id": network, "name": str(n), "tags": [f"t{n}"]} for n in range(20)]
        },
    )["ports"]
    assert [port["name"] for port in made] == [str(n) for n in range(20)]
    assert len({ip for port in made for ip in ips(port)}) == 20
    assert made[3]["tags"] == ["t3"]
    before = len(shared.list("port"))
    shared.refused(
        409,
        "IpAddressAlreadyAllocated",
        "POST",
        "/ports",
        json={
            "ports": [
                {"network_id": network},
                {"network_id": network, "fixed_ips": [{"ip_address": ips(made[0])[0]}]},
            ]
        },
    )
    assert len(shared.list("port")) == before


# --- Filters ---------------------------------------------------------------------------------


def test_security_groups_of_a_port(shared: NetworkWorld) -> None:
    network = shared.create("network")["id"]
    one = shared.create("security_group", name="one")["id"]
    theirs = shared.create("security_group", "stranger", name="theirs")["id"]
    port = shared.create("port", network_id=network, security_groups=[one])
    assert port["security_groups"] == [one]
    assert shared.create("port", network_id=network, security_groups=[])["security_groups"] == []
    for unknown in (NOBODY, theirs):
        shared.cannot_create(
            404, "SecurityGroupNotFound", "port", network_id=network, security_groups=[unknown]
        )
    assert shared.update("port", port["id"], security_groups=[])["security_groups"] == []
    shared.update("port", port["id"], security_groups=[one])
    shared.refused(409, "SecurityGroupInUse", "DELETE", f"/security-groups/{one}")
    assert [each["id"] for each in shared.list("port", f"?security_groups={one}")] == [port["id"]]


def test_port_security(shared: NetworkWorld) -> None:
    network = shared.create("network")["id"]
    bare = shared.create("port", network_id=network, port_security_enabled=False)
    assert bare["security_groups"] == []
    group = shared.list("security_group", "?name=default")[0]["id"]
    shared.cannot_create(
        400,
        "PortSecurityAndIPRequiredForSecurityGroups",
        "port",
        network_id=network,
        port_security_enabled=False,
        security_groups=[group],
    )
    shared.cannot_create(
        409,
        "AddressPairAndPortSecurityRequired",
        "port",
        network_id=network,
        port_security_enabled=False,
        allowed_address_pairs=[{"ip_address": "10.0.0.9"}],
    )
    port = shared.create("port", network_id=network)
    shared.cannot_update(
        409, "PortSecurityPortHasSecurityGroup", "port", port["id"], port_security_enabled=False
    )
    changed = shared.update("port", port["id"], port_security_enabled=False, security_groups=[])
    assert changed["port_security_enabled"] is False
    open_network = shared.create("network", port_security_enabled=False)["id"]
    assert shared.create("port", network_id=open_network)["port_security_enabled"] is False


def test_address_pairs(shared: NetworkWorld) -> None:
    network = shared.create("network")["id"]
    port = shared.create(
        "port",
        network_id=network,
        allowed_address_pairs=[
            {"ip_address": "10.0.0.0/28"},
            {"ip_address": "10.0.0.9", "mac_address": "FA:16:3E:00:00:09"},
        ],
    )
    assert port["allowed_address_pairs"] == [
        {"ip_address": "10.0.0.0/28", "mac_address": port["mac_address"]},
        {"ip_address": "10.0.0.9", "mac_address": "fa:16:3e:00:00:09"},
    ]
    assert (
        shared.update("port", port["id"], allowed_address_pairs=None)["allowed_address_pairs"] == []
    )
    for pairs, kind in (
        ([{"mac_address": "fa:16:3e:00:00:09"}], "HTTPBadRequest"),
        ([{"ip_address": "ten"}], "HTTPBadRequest"),
        ([{"ip_address": "0.0.0.0/0"}], "HTTPBadRequest"),
        ([{"ip_address": "10.0.0.9"}] * 2, "HTTPBadRequest"),
        ([{"ip_address": f"10.0.0.{n}"} for n in range(11)], "AllowedAddressPairExhausted"),
    ):
        shared.cannot_create(400, kind, "port", network_id=network, allowed_address_pairs=pairs)


def test_dhcp_options(shared: NetworkWorld) -> None:
    network = shared.create("network")["id"]
    port = shared.create(
        "port",
        network_id=network,
        extra_dhcp_opts=[
            {"opt_name": "bootfile-name", "opt_value": "pxe.0"},
            {"opt_name": "dns-server", "opt_value": "fd00::9", "ip_version": "6"},
        ],
    )
    assert port["extra_dhcp_opts"] == [
        {"opt_name": "bootfile-name", "opt_value": "pxe.0", "ip_version": 4},
        {"opt_name": "dns-server", "opt_value": "fd00::9", "ip_version": 6},
    ]
    changed = shared.update(
        "port",
        port["id"],
        extra_dhcp_opts=[
            {"opt_name": "bootfile-name", "opt_value": None},
            {"opt_name": "mtu", "opt_value": "1400"},
        ],
    )
    assert {each["opt_name"] for each in changed["extra_dhcp_opts"]} == {"dns-server", "mtu"}
    shared.cannot_create(
        400, "HTTPBadRequest", "port", network_id=network, extra_dhcp_opts=[{"opt_value": "x"}]
    )


def test_names(shared: NetworkWorld) -> None:
    network = shared.create("network", dns_domain="blue.example.")["id"]
    inside = shared.subnet(network=network)
    port = shared.create("port", network_id=inside["network_id"], dns_name="web")
    assert port["dns_assignment"][0]["fqdn"] == "web.blue.example."
    shared.cannot_create(400, "HTTPBadRequest", "port", network_id=network, dns_name="-web")


# --- Who -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mac_address", "fa:16:3e:00:00:77"),
        ("fixed_ips", [{"ip_address": "10.0.0.99"}]),
        ("port_security_enabled", False),
        ("allowed_address_pairs", [{"ip_address": "10.0.0.9"}]),
        ("device_owner", "network:router_interface"),
    ],
)
def test_what_only_the_networks_owner_may_set(
    shared: NetworkWorld,
    name: str,
    value: Any,
) -> None:
    network = shared.create("network", "admin", shared=True)["id"]
    shared.create("subnet", "admin", network_id=network, ip_version=4, cidr="10.0.0.0/24")
    said = shared.cannot_create(
        403, "PolicyNotAuthorized", "port", network_id=network, **{name: value}
    )
    assert f"create_port:{name}" in said
    if name != "device_owner":
        mine = shared.subnet()["network_id"]
        shared.create("port", network_id=mine, **{name: value})


def test_members_may_choose_a_subnet_of_a_shared_network(shared: NetworkWorld) -> None:
    network = shared.create("network", "admin", shared=True)["id"]
    inside = shared.create("subnet", "admin", network_id=network, ip_version=4, cidr="10.0.0.0/24")
    port = shared.create("port", network_id=network, fixed_ips=[{"subnet_id": inside["id"]}])
    said = shared.cannot_update(
        403, "PolicyNotAuthorized", "port", port["id"], fixed_ips=[{"ip_address": "10.0.0.9"}]
    )
    assert "update_port:fixed_ips" in said


def test_binding_is_for_operators(shared: NetworkWorld) -> None:
    network = shared.create("network")["id"]
    port = shared.create("port", network_id=network)
    for verb, call in (
        (
            "create",
            lambda: shared.cannot_create(
                403, "PolicyNotAuthorized", "port", network_id=network, **{"binding:host_id": "h"}
            ),
        ),
        (
            "update",
            lambda: shared.cannot_update(
                403, "PolicyNotAuthorized", "port", port["id"], **{"binding:host_id": "h"}
            ),
        ),
    ):
        assert f"{verb}_port:binding:host_id" in call()
    seen = shared.show("port", port["id"], "admin")
    assert (
        seen["binding:vif_type"],
        seen["binding:host_id"],
        seen["binding:vif_details"],
        seen["binding:profile"],
    ) == ("unbound", "", {}, {})
    bound = shared.update("port", port["id"], "admin", **{"binding:host_id": "host1"})
    assert bound["binding:vif_type"] == "tap"
    assert bound["binding:vif_details"] == {"port_filter": True, "connectivity": "l2"}
    lost = shared.update("port", port["id"], "admin", **{"binding:host_id": "nowhere"})
    assert lost["binding:vif_type"] == "binding_failed"
    free = shared.update("port", port["id"], "admin", **{"binding:host_id": ""})
    assert free["binding:vif_type"] == "unbound"
    said = shared.cannot_update(
        403, "PolicyNotAuthorized", "port", port["id"], "admin", **{"binding:profile": {"a": 1}}
    )
    assert "binding:profile" in said
    shared.cannot_create(
        400, "HTTPBadRequest", "port", network_id=network, **{"binding:vnic_type": "magic"}
    )


def test_others_ports_do_not_exist_but_a_networks_owner_sees_all_on_it(world: NetworkWorld) -> None:
    mine = world.create("port", network_id=world.create("network")["id"])
    for method, body in (("GET", None), ("PUT", {"port": {"name": "x"}}), ("DELETE", None)):
        world.refused(404, "PortNotFound", method, f"/ports/{mine['id']}", "stranger", json=body)
    assert world.list("port", caller="stranger") == []
    world.cannot_create(404, "NetworkNotFound", "port", "stranger", network_id=mine["network_id"])
    world.refused(403, "PolicyNotAuthorized", "DELETE", f"/ports/{mine['id']}", "reader")
    guest = world.create(
        "port", "admin", network_id=mine["network_id"], project_id=world.project("stranger")
    )
    assert {each["id"] for each in world.list("port")} == {mine["id"], guest["id"]}
    assert [each["id"] for each in world.list("port", caller="stranger")] == [guest["id"]]
    world.cannot_update(403, "PolicyNotAuthorized", "port", guest["id"], name="x")
    world.delete("port", guest["id"])


def test_nobody_enters_the_router_of_others(world: NetworkWorld) -> None:
    theirs = world.create("router", "stranger")
    world.cannot_create(
        409,
        "DeviceIDNotOwnedByTenant",
        "port",
        network_id=world.create("network")["id"],
        device_id=theirs["id"],
        device_owner="network:router_interface",
    )


def test_quota_and_unknown_networks(world: NetworkWorld) -> None:
    world.ok("PUT", f"/quotas/{world.project()}", "admin", json={"quota": {"port": 1}})
    network = world.create("network")["id"]
    world.create("port", network_id=network)
    world.cannot_create(409, "OverQuota", "port", network_id=network)
    world.cannot_create(404, "NetworkNotFound", "port", network_id=NOBODY)
    world.cannot_create(400, "HTTPBadRequest", "port")


def test_lists_are_filtered(world: NetworkWorld) -> None:
    inside = world.subnet(enable_dhcp=False)
    network = inside["network_id"]
    for number, owner in ((12, "compute:nova"), (120, "")):
        world.create(
            "port",
            network_id=network,
            name=f"p{number}",
            device_owner=owner,
            device_id=f"d{number}",
            fixed_ips=[{"ip_address": f"10.0.0.{number}"}],
        )
    other = world.create(
        "port", network_id=world.create("network")["id"], name="other", admin_state_up=False
    )

    def names(query: str, caller: str = "member") -> list[str]:
        return sorted(each["name"] for each in world.list("port", query, caller))

    assert names("?fixed_ips=ip_address=10.0.0.12") == ["p12"]
    assert names("?fixed_ips=ip_address=10.0.0.12&fixed_ips=ip_address=10.0.0.120") == [
        "p12",
        "p120",
    ]
    assert names("?fixed_ips=ip_address_substr=0.12") == ["p12", "p120"]
    assert names(f"?fixed_ips=subnet_id={inside['id']}&fixed_ips=ip_address_substr=120") == ["p120"]
    assert names("?device_owner=compute:nova") == ["p12"]
    assert names("?device_id=d12&device_id=d120") == ["p12", "p120"]
    assert names("?device_id=") == ["other"]
    assert names(f"?mac_address={other['mac_address']}") == ["other"]
    assert names("?admin_state_up=False") == ["other"]
    assert names(f"?network_id={network}&name=p12") == ["p12"]
    assert names("?status=ACTIVE") == []
    assert names("?binding:host_id=&name=p12", "admin") == ["p12"]
    world.refused(400, "HTTPBadRequest", "GET", "/ports?fixed_ips=10.0.0.1")
    only = world.list("port", "?fields=id&fields=mac_address&limit=1&sort_key=name")
    assert only == [{"id": other["id"], "mac_address": other["mac_address"]}]


def test_a_list_takes_the_same_queries_however_long_it_is(world: NetworkWorld) -> None:
    import sqlalchemy as sa

    counts = []
    inside = world.subnet(enable_dhcp=False)
    for number in (2, 40):
        world.ok(
            "POST",
            "/ports",
            json={"ports": [{"network_id": inside["network_id"]} for _ in range(number)]},
        )
        seen: list[str] = []
        engine = world.cloud.database.engine

        def listen(_c: Any, _cursor: Any, statement: str, *_: Any, seen: list[str] = seen) -> None:
            if threading.current_thread().name.startswith("api"):  # not what loops do meanwhile
                seen.append(statement)

        sa.event.listen(engine, "before_cursor_execute", listen)
        world.list("port")
        sa.event.remove(engine, "before_cursor_execute", listen)
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 8
