"""What the matrix asks of the compute service."""

from __future__ import annotations

from typing import Any

from tests.authorization.asking import Example
from tests.authorization.worlds import Maker, Things, World

V2 = "/compute/v2.1"
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGfGkbDFzCzKPZ0bL8G2h8XYKLbX1QhZ9oU1w3O3eXyz walked"


def things(world: World) -> Things:
    """A server in each state that an action needs, and what operators make."""
    member, admin = world.member, world.admin
    for maker in (member, admin):
        maker.client.headers["OpenStack-API-Version"] = "compute 2.90"
    name = f"walked-{world.name}"
    flavor = {"name": name, "ram": 64, "vcpus": 1, "disk": 1}
    flavor_id = admin(f"{V2}/flavors", {"flavor": flavor}, "flavor", "id")
    admin(f"{V2}/flavors/{flavor_id}/os-extra_specs", {"extra_specs": {"hw:cpu_policy": "shared"}})
    private = {**flavor, "os-flavor-access:is_public": False}
    closed, shut = (
        admin(f"{V2}/flavors", {"flavor": {**private, "name": f"{word}-{name}"}}, "flavor", "id")
        for word in ("closed", "shut")
    )
    access = {"addTenantAccess": {"tenant": world.project_id}}
    admin(f"{V2}/flavors/{closed}/action", access)
    on = {"port": {"network_id": world.things["network_id"]}}
    port, second = (member("/network/v2.0/ports", on, "port", "id") for _ in range(2))

    def server(networks: Any = "none") -> str:
        body = {
            "name": name,
            "flavorRef": flavor_id,
            "imageRef": world.things["image_id"],
            "networks": networks,
            "metadata": {"walked": "x"},
        }
        return member(f"{V2}/servers", {"server": body}, "server", "id")

    found = {
        "flavor_id": flavor_id,
        "closed_flavor_id": closed,
        "shut_flavor_id": shut,
        "server_id": server([{"port": port}]),
        "port_id": port,
        "stopped_id": server([{"port": second}]),
        "paused_id": server(),
        "suspended_id": server(),
        "network_label": "walked",
        "servers/key": "walked",
        "flavors/key": "hw:cpu_policy",
        "images/key": "walked",
        "servers/tag": "walked",
        "tenant_id": world.project_id,
        "quota_class": "default",
        "host_name": "host1",
        "hypervisor_hostname_pattern": "host1",
        "before_timestamp": "2026-01-01 00:00:00",
        "keypair_user_id": world.user_id,
    }
    world.settle()
    for action, key in (("os-stop", "stopped"), ("pause", "paused"), ("suspend", "suspended")):
        member(f"{V2}/servers/{found[f'{key}_id']}/action", {action: None})
    world.settle()
    member(f"{V2}/servers/{found['server_id']}/tags/walked", None, method="PUT")
    return (
        found | _operated(world, name) | _addresses(world, port) | _seen(world, found["server_id"])
    )


def _operated(world: World, name: str) -> Things:
    """What operators and projects make beside servers."""
    admin, group = world.admin, {"name": name, "policy": "affinity"}
    aggregate = admin(f"{V2}/os-aggregates", {"aggregate": {"name": name}}, "aggregate", "id")
    admin(f"{V2}/os-aggregates/{aggregate}/action", {"add_host": {"host": "host1"}})
    spare = {"aggregate": {"name": f"spare-{name}"}}
    return {
        "aggregate_id": aggregate,
        "spare_aggregate_id": admin(f"{V2}/os-aggregates", spare, "aggregate", "id"),
        "server_group_id": world.member(
            f"{V2}/os-server-groups", {"server_group": group}, "server_group", "id"
        ),
        "security_group_id": world.things["security-groups/id"],
        "security_group_rule_id": world.things["security-group-rules/id"],
        "floating_ip_id": world.things["floatingips/id"],
    }


def _addresses(world: World, port: str) -> Things:
    """A floating IP of the server's, and one that is free."""
    path, outside = "/network/v2.0/floatingips", world.things["public_outside_id"]
    free, bound = (
        world.member(
            path,
            {"floatingip": {"floating_network_id": outside, **more}},
            "floatingip",
            "floating_ip_address",
        )
        for more in ({}, {"port_id": port})
    )
    return {"free_address": free, "bound_address": bound}


def _seen(world: World, server: str) -> Things:
    """What the service itself made."""
    admin = world.admin.client
    services = admin.get(f"{V2}/os-services").json()["services"]
    hosts = admin.get(f"{V2}/os-hypervisors").json()["hypervisors"]
    actions = world.member.client.get(f"{V2}/servers/{server}/os-instance-actions").json()
    return {
        "os-services/service_id": next(s["id"] for s in services if s["binary"] == "nova-compute"),
        "hypervisor_id": hosts[0]["id"],
        "request_id": actions["instanceActions"][0]["request_id"],
    }


def belongings(maker: Maker, user_id: str) -> Things:
    """A key pair."""
    maker.client.headers["OpenStack-API-Version"] = "compute 2.90"
    name = f"walked-{user_id}"
    maker(f"{V2}/os-keypairs", {"keypair": {"name": name, "public_key": _KEY, "type": "ssh"}})
    return {"keypair_name": name, "keypair_user_id": user_id}


_SERVER = "/v2.1/servers/{server_id}"
_ACTION = f"POST {_SERVER}/action"
_FLAVOR = "/v2.1/flavors/{flavor_id}"
_AGGREGATE = "/v2.1/os-aggregates/{aggregate_id}"
_SPARE_AGGREGATE = {"aggregate_id": "{spare_aggregate_id}"}
_CLOSED = {"flavor_id": "{closed_flavor_id}"}
_SERVICE = {"host": "host1", "binary": "nova-compute"}
_BODY = {
    "name": "x",
    "flavorRef": "{flavor_id}",
    "imageRef": "{image_id}",
    "networks": "none",
}


def _in(state: str) -> dict[str, str]:
    return {"server_id": f"{{{state}_id}}"}


EXAMPLES = {
    "GET /v2.1/extensions/{alias}": Example(things={"alias": "os-keypairs"}),
    "GET /v2.1/servers (of all projects)": Example(query="all_tenants=1"),
    "GET /v2.1/servers/detail (of all projects)": Example(query="all_tenants=1"),
    "GET /v2.1/servers (of the project)": Example(query="all_tenants=1&project_id={project_id}"),
    "POST /v2.1/servers": Example({"server": _BODY}),
    "POST /v2.1/servers (with a network)": Example(
        {"server": {**_BODY, "networks": [{"uuid": "{network_id}"}]}}
    ),
    "POST /v2.1/servers (on a host)": Example({"server": {**_BODY, "host": "host1"}}),
    "POST /v2.1/servers (forced to a host)": Example(
        {"server": {**_BODY, "availability_zone": "nova:host1"}}
    ),
    "POST /v2.1/servers (in the group)": Example(
        {"server": _BODY, "os:scheduler_hints": {"group": "{server_group_id}"}}
    ),
    f"{_ACTION} os-start": Example({"os-start": None}, things=_in("stopped")),
    f"{_ACTION} unpause": Example({"unpause": None}, things=_in("paused")),
    f"{_ACTION} resume": Example({"resume": None}, things=_in("suspended")),
    f"{_ACTION} rebuild": Example({"rebuild": {"imageRef": "{image_id}"}}),
    f"{_ACTION} addSecurityGroup": Example({"addSecurityGroup": {"name": "{security-groups/id}"}}),
    f"{_ACTION} removeSecurityGroup": Example({"removeSecurityGroup": {"name": "default"}}),
    f"PUT {_SERVER}/metadata/{{key}}": Example({"meta": {"walked": "y"}}),
    f"PUT {_SERVER}/tags": Example({"tags": ["another"]}),
    f"PUT {_SERVER}/tags/{{tag}}": Example(things={"servers/tag": "another"}),
    f"POST {_SERVER}/os-interface": Example(
        {"interfaceAttachment": {"net_id": "{leg_network_id}"}}
    ),
    f"{_ACTION} addFloatingIp @2.43": Example(
        {"addFloatingIp": {"address": "{free_address}"}}, things=_in("stopped")
    ),
    f"{_ACTION} removeFloatingIp @2.43": Example(
        {"removeFloatingIp": {"address": "{bound_address}"}}
    ),
    f"PUT {_FLAVOR}/os-extra_specs/{{key}}": Example({"hw:cpu_policy": "dedicated"}),
    f"{_FLAVOR.replace('/v2.1', 'POST /v2.1')}/action addTenantAccess": Example(
        {"addTenantAccess": {"tenant": "{project_id}"}}, things={"flavor_id": "{shut_flavor_id}"}
    ),
    f"{_FLAVOR.replace('/v2.1', 'POST /v2.1')}/action removeTenantAccess": Example(
        {"removeTenantAccess": {"tenant": "{project_id}"}}, things=_CLOSED
    ),
    f"GET {_FLAVOR}/os-flavor-access": Example(things=_CLOSED),
    f"GET {_FLAVOR} (of some projects)": Example(things=_CLOSED),
    "GET /v2.1/os-keypairs": Example(query="user_id={keypair_user_id}"),
    "POST /v2.1/os-keypairs": Example(
        {
            "keypair": {
                "name": "another",
                "public_key": _KEY,
                "user_id": "{keypair_user_id}",
                "type": "ssh",
            }
        }
    ),
    "GET /v2.1/os-keypairs/{keypair_name}": Example(query="user_id={keypair_user_id}"),
    "DELETE /v2.1/os-keypairs/{keypair_name}": Example(query="user_id={keypair_user_id}"),
    f"DELETE {_AGGREGATE}": Example(things=_SPARE_AGGREGATE),
    f"POST {_AGGREGATE}/action add_host": Example(
        {"add_host": {"host": "host2"}}, things=_SPARE_AGGREGATE
    ),
    f"POST {_AGGREGATE}/action remove_host": Example({"remove_host": {"host": "host1"}}),
    f"POST {_AGGREGATE}/action set_metadata": Example({"set_metadata": {"metadata": {"x": "y"}}}),
    f"POST {_AGGREGATE}/images": Example({"cache": [{"id": "{image_id}"}]}),
    "PUT /v2.1/os-quota-class-sets/{quota_class}": Example({"quota_class_set": {"cores": 5}}),
    "PUT /v2.1/os-quota-sets/{tenant_id}": Example({"quota_set": {"cores": 50}}),
    "GET /v2.1/os-services (one)": Example(query="binary=nova-compute"),
    "PUT /v2.1/os-services/enable @2.52": Example(_SERVICE),
    "PUT /v2.1/os-services/disable @2.52": Example(_SERVICE),
    "PUT /v2.1/os-services/disable-log-reason @2.52": Example({**_SERVICE, "disabled_reason": "x"}),
    "PUT /v2.1/os-services/force-down @2.52": Example({**_SERVICE, "forced_down": True}),
    "PUT /v2.1/os-services/{service_id}": Example({"status": "disabled"}),
    "POST /v2.1/os-server-external-events": Example(
        {"events": [{"name": "network-changed", "server_uuid": "{server_id}"}]}
    ),
    "POST /v2.1/os-floating-ips @2.35": Example({"pool": "{floating_pool}"}),
    "POST /v2.1/os-security-group-rules @2.35": Example(
        {
            "security_group_rule": {
                "parent_group_id": "{security_group_id}",
                "ip_protocol": "tcp",
                "from_port": 1,
                "to_port": 1,
                "cidr": "10.0.0.0/8",
            }
        }
    ),
    "DELETE /v2.1/os-security-groups/{security_group_id} @2.35": Example(
        things={"security_group_id": "{spare_security_group_id}"}
    ),
    "PUT /v2.1/images/{image_id}/metadata/{key} @2.38": Example({"meta": {"walked": "y"}}),
}
