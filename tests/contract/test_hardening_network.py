"""What owners and administrators may not do to ports that the network service serves with."""

from __future__ import annotations

import pytest

from nubelet.network import doctor

V2 = "/network/v2.0"


@pytest.fixture
def leg(cloud):
    """A router's leg on a network of the member's: its id and the router's."""
    member = cloud.client("member")
    network = member.post(f"{V2}/networks", json={"network": {}}).json()["network"]["id"]
    subnet = member.post(
        f"{V2}/subnets",
        json={"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}},
    ).json()["subnet"]["id"]
    router = member.post(f"{V2}/routers", json={"router": {}}).json()["router"]["id"]
    added = member.put(f"{V2}/routers/{router}/add_router_interface", json={"subnet_id": subnet})
    return added.json()["port_id"], router


@pytest.mark.parametrize("caller", ["member", "admin"])
@pytest.mark.parametrize(
    "changes",
    [{"device_owner": ""}, {"device_id": ""}, {"device_owner": "compute:x", "device_id": "x"}],
)
def test_a_routers_leg_is_not_taken_from_it(cloud, leg, caller, changes):
    """Else it could be deleted, or put into a server, with the router still counting on it."""
    port, router = leg
    client = cloud.client(caller)
    answer = client.put(f"{V2}/ports/{port}", json={"port": changes})
    assert answer.status_code == 409
    assert answer.json()["NeutronError"]["type"] == "ServicePortInUse"
    assert client.delete(f"{V2}/ports/{port}").status_code == 409
    assert doctor.check(cloud.cloud) == []
    removed = client.put(f"{V2}/routers/{router}/remove_router_interface", json={"port_id": port})
    assert removed.status_code == 200


def test_a_routers_leg_may_be_said_to_be_what_it_is(cloud, leg):
    port, router = leg
    same = {"device_id": router, "device_owner": "network:router_interface", "name": "leg"}
    answer = cloud.client("admin").put(f"{V2}/ports/{port}", json={"port": same})
    assert answer.status_code == 200


def test_a_mac_address_cannot_be_taken_away(cloud):
    admin = cloud.client("admin")
    network = admin.post(f"{V2}/networks", json={"network": {}}).json()["network"]["id"]
    port = admin.post(f"{V2}/ports", json={"port": {"network_id": network}}).json()["port"]["id"]
    answer = admin.put(f"{V2}/ports/{port}", json={"port": {"mac_address": None}})
    assert answer.status_code == 400
    assert "mac_address" in answer.text


# --- Templates of rules: what stands in them is in every group to come ---------------------------

TEMPLATES = f"{V2}/default-security-group-rules"


def _template(remote: str) -> dict[str, object]:
    return {
        "default_security_group_rule": {
            "direction": "ingress",
            "remote_group_id": remote,
            "used_in_default_sg": True,
            "used_in_non_default_sg": True,
        }
    }


@pytest.mark.parametrize("remote", ["x", "00000000-0000-4000-8000-000000000000"])
def test_a_template_cannot_name_a_group_that_is_not_there(cloud, remote):
    """Else no project could have a group, and so no port, any more."""
    answer = cloud.client("admin").post(TEMPLATES, json=_template(remote))
    assert answer.status_code == 404
    assert cloud.client("member").get(f"{V2}/security-groups").status_code == 200


def test_a_template_goes_with_the_group_it_names(cloud):
    admin = cloud.client("admin")
    group = admin.post(f"{V2}/security-groups", json={"security_group": {"name": "g"}})
    group_id = group.json()["security_group"]["id"]
    made = admin.post(TEMPLATES, json=_template(group_id))
    assert made.status_code == 201
    before = cloud.client("member").get(f"{V2}/security-groups").json()["security_groups"]
    assert group_id in {rule["remote_group_id"] for rule in before[0]["security_group_rules"]}
    assert admin.delete(f"{V2}/security-groups/{group_id}").status_code == 204
    after = cloud.client("stranger").get(f"{V2}/security-groups")
    assert after.status_code == 200, after.text
    assert group_id not in after.text
    assert group_id not in admin.get(TEMPLATES).text
