"""What the matrix asks of the network service.

Its handlers read bodies themselves, so the routes have no schema to make an example from: every
route that takes a body is here.
"""

from __future__ import annotations

from typing import Any

from tests.authorization.asking import Example
from tests.authorization.worlds import Things, World

V2 = "/network/v2.0"
_CIDR = {"own": 1, "other": 2, "foreign": 3}


def things(world: World) -> Things:
    """One of everything, with tags; an external network of the administrator's."""
    number = _CIDR[world.name]

    def new(path: str, _by: Any = world.member, **values: Any) -> str:
        noun = path.replace("-", "_").removesuffix("s").replace("policie", "policy")
        return str(_by(f"{V2}/{path}", {noun: values}, noun, "id"))

    network = new("networks", name="walked")
    cidr = f"10.{number}.0.0/24"
    subnet = new("subnets", network_id=network, cidr=cidr, ip_version=4)
    group = new("security-groups", name="walked")
    outside = new(
        "networks", world.admin, name=f"outside-{world.name}", **{"router:external": True}
    )
    new("subnets", world.admin, network_id=outside, cidr=f"172.2{number}.0.0/24", ip_version=4)
    router = new("routers", name="walked", external_gateway_info={"network_id": outside})
    pool = new("subnetpools", name="walked", prefixes=[f"10.1{number}.0.0/16"])
    port = new("ports", network_id=network)
    floating = new("floatingips", floating_network_id=outside)
    leg_network = new("networks", name="leg")
    leg = new("subnets", network_id=leg_network, cidr=f"10.{number}.1.0/24", ip_version=4)
    agents = {
        each["agent_type"]: each["id"]
        for each in world.admin.client.get(f"{V2}/agents").json()["agents"]
    }
    attached = new(
        "subnets",
        network_id=new("networks", name="attached"),
        cidr=f"10.{number}.3.0/24",
        ip_version=4,
    )
    for each in (subnet, attached):
        place = f"{V2}/routers/{router}/add_router_interface"
        world.member(place, {"subnet_id": each}, method="PUT")
    hosted = world.admin.client.post(
        f"{V2}/agents/{agents['DHCP agent']}/dhcp-networks", json={"network_id": network}
    )
    assert hosted.status_code in (201, 409), hosted.text
    hosted = world.admin.client.post(
        f"{V2}/agents/{agents['L3 agent']}/l3-routers", json={"router_id": router}
    )
    assert hosted.status_code in (201, 409), hosted.text
    world.admin(f"{V2}/quotas/{world.project_id}", {"quota": {"network": 50}}, method="PUT")
    found = {
        "networks/id": network,
        "network_id": network,
        "subnets/id": subnet,
        "ports/id": port,
        "bare_port_id": new("ports", network_id=network, security_groups=[]),
        "routers/id": router,
        "router_id": router,
        "floatingips/id": floating,
        "security-groups/id": group,
        "security-group-rules/id": new(
            "security-group-rules", security_group_id=group, direction="ingress"
        ),
        "default-security-group-rules/id": new(
            "default-security-group-rules",
            world.admin,
            direction="ingress",
            protocol="tcp",
            port_range_min=number,
            port_range_max=number,
        ),
        "subnetpools/id": pool,
        "address-scopes/id": new("address-scopes", name="walked", ip_version=4),
        "quotas/id": world.project_id,
        "tag": "walked",
        "public_outside_id": outside,
        "leg_id": leg,
        "leg_network_id": leg_network,
        "floating_pool": f"outside-{world.name}",
        "spare_network_id": new("networks", name="spare"),
        "spare_subnet_id": new(
            "subnets",
            network_id=new("networks", name="below"),
            cidr=f"10.{number}.2.0/24",
            ip_version=4,
        ),
        "spare_router_id": new("routers", name="spare"),
        "spare_security_group_id": new("security-groups", name="spare"),
        "attached_subnet_id": attached,
        "number": str(number),
        "agents/id": agents["DHCP agent"],
        "agent_id": agents["DHCP agent"],
        "l3_agent_id": agents["L3 agent"],
        "alias": "router",
    }
    found["rbac-policies/id"] = new(
        "rbac-policies",
        object_type="network",
        object_id=network,
        action="access_as_shared",
        target_tenant="0" * 32,
    )
    for collection in _TAGGED:
        thing = found[f"{collection}/id"]
        world.member(f"{V2}/{collection}/{thing}/tags/walked", None, method="PUT")
    return found


_TAGGED = (
    "networks",
    "subnets",
    "ports",
    "routers",
    "floatingips",
    "subnetpools",
    "security-groups",
)
_NAMED = {"name": "x"}
_FOR = {"project_id": "{project_id}"}
_CREATED: dict[str, dict[str, Any]] = {
    "networks": {},
    "subnets": {"network_id": "{network_id}", "cidr": "10.99.0.0/24", "ip_version": 4},
    "ports": {"network_id": "{network_id}"},
    "routers": {},
    "floatingips": {"floating_network_id": "{public_outside_id}"},
    "security-groups": {"name": "x"},
    "security-group-rules": {
        "security_group_id": "{security-groups/id}",
        "direction": "egress",
        "protocol": "tcp",
    },
    "subnetpools": {"name": "x", "prefixes": ["10.98.0.0/16"]},
    "address-scopes": {"name": "x", "ip_version": 6},
    "rbac-policies": {
        "object_type": "network",
        "object_id": "{network_id}",
        "action": "access_as_shared",
        "target_tenant": "1" * 32,
    },
}
_FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    "networks": (
        "POST PUT",
        {
            "shared": True,
            "router:external": True,
            "is_default": True,
            "provider:network_type": "vxlan",
        },
    ),
    "subnets": ("POST PUT", {"service_types": ["network:router_gateway"]}),
    "ports": (
        "POST PUT",
        {
            "device_owner": "network:walked",
            "mac_address": "fa:16:3e:00:00:01",
            "fixed_ips": [{"subnet_id": "{subnets/id}"}],
            "fixed_ips:ip_address": None,
            "port_security_enabled": False,
            "binding:host_id": "host1",
            "binding:profile": {"x": "y"},
            "binding:vnic_type": "normal",
            "allowed_address_pairs": [{"ip_address": "10.{number}.0.77"}],
        },
    ),
    "routers": (
        "POST PUT",
        {
            "external_gateway_info": {"network_id": "{public_outside_id}"},
            "enable_snat": None,
            "external_fixed_ips": None,
        },
    ),
    "subnetpools": ("POST", {"shared": True, "is_default": True}),
    "address-scopes": ("POST", {"shared": True}),
}
# Fields that have a rule of their own inside another field.
_INSIDE: dict[str, dict[str, Any]] = {
    "networks:is_default": {"is_default": True, "router:external": True},
    "port_security_enabled": {"port_security_enabled": False, "security_groups": []},
    "fixed_ips:ip_address": {"fixed_ips": [{"ip_address": "10.{number}.0.88"}]},
    "enable_snat": {
        "external_gateway_info": {"network_id": "{public_outside_id}", "enable_snat": False}
    },
    "external_fixed_ips": {
        "external_gateway_info": {"network_id": "{public_outside_id}", "external_fixed_ips": []}
    },
}


def _noun(collection: str) -> str:
    return collection.replace("-", "_").removesuffix("s").replace("policie", "policy")


def _examples() -> dict[str, Example]:
    made: dict[str, Example] = {}
    for collection, body in _CREATED.items():
        noun, path = _noun(collection), f"/v2.0/{collection}"
        made[f"POST {path}"] = Example({noun: {**body, **_FOR}})
        if collection not in ("security-group-rules", "rbac-policies"):
            change = {"description": "x"} if collection == "floatingips" else _NAMED
            made[f"PUT {path}/{{id}}"] = Example({noun: change})
        methods, fields = _FIELDS.get(collection, ("", {}))
        for field, value in fields.items():
            asked = _INSIDE.get(f"{collection}:{field}", _INSIDE.get(field, {field: value}))
            if "POST" in methods:
                made[f"POST {path} ({field})"] = Example({noun: {**body, **_FOR, **asked}})
            if "PUT" in methods:
                made[f"PUT {path}/{{id}} ({field})"] = Example({noun: asked})
    for collection in _TAGGED:
        place = f"/v2.0/{collection}/{{id}}/tags"
        made[f"POST {place}"] = made[f"PUT {place}"] = Example({"tags": ["x"]})
    return made


_ROUTER, _POOL = "/v2.0/routers/{id}", "/v2.0/subnetpools/{id}"
_LEG = {"subnet_id": "{leg_id}"}
_WILDCARD = {**_CREATED["rbac-policies"], "target_tenant": "*"}
EXAMPLES = _examples() | {
    "PUT /v2.0/rbac-policies/{id}": Example({"rbac_policy": {"target_tenant": "2" * 32}}),
    "PUT /v2.0/rbac-policies/{id} (everybody)": Example({"rbac_policy": {"target_tenant": "*"}}),
    "POST /v2.0/rbac-policies (everybody)": Example({"rbac_policy": _WILDCARD}),
    "POST /v2.0/default-security-group-rules": Example(
        {"default_security_group_rule": {"direction": "ingress", "protocol": "udp"}}
    ),
    "POST /v2.0/networks (unnamed project)": Example({"network": {}}),
    "PUT /v2.0/ports/{id} (device_owner)": Example(
        {"port": {"device_owner": "network:walked"}}, things={"ports/id": "{bare_port_id}"}
    ),
    "DELETE /v2.0/networks/{id}": Example(things={"networks/id": "{spare_network_id}"}),
    "DELETE /v2.0/subnets/{id}": Example(things={"subnets/id": "{spare_subnet_id}"}),
    "DELETE /v2.0/security-groups/{id}": Example(
        things={"security-groups/id": "{spare_security_group_id}"}
    ),
    f"DELETE {_ROUTER}": Example(things={"routers/id": "{spare_router_id}"}),
    f"PUT {_ROUTER}/add_router_interface": Example(_LEG),
    f"PUT {_ROUTER}/remove_router_interface": Example({"subnet_id": "{attached_subnet_id}"}),
    f"PUT {_ROUTER}/add_extraroutes": Example({"router": {"routes": []}}),
    f"PUT {_ROUTER}/remove_extraroutes": Example({"router": {"routes": []}}),
    f"PUT {_POOL}/add_prefixes": Example({"prefixes": ["10.97.0.0/16"]}),
    f"PUT {_POOL}/remove_prefixes": Example({"prefixes": ["10.96.0.0/16"]}),
    "PUT /v2.0/quotas/{id}": Example({"quota": {"network": 5}}),
    "PUT /v2.0/agents/{id}": Example({"agent": {"description": "x"}}),
    "POST /v2.0/agents/{agent_id}/dhcp-networks": Example({"network_id": "{spare_network_id}"}),
    "POST /v2.0/agents/{agent_id}/l3-routers": Example(
        {"router_id": "{spare_router_id}"}, things={"agent_id": "{l3_agent_id}"}
    ),
    "GET /v2.0/agents/{agent_id}/l3-routers": Example(things={"agent_id": "{l3_agent_id}"}),
    "DELETE /v2.0/agents/{agent_id}/l3-routers/{router_id}": Example(
        things={"agent_id": "{l3_agent_id}"}
    ),
}
