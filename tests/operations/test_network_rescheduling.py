"""A router taken off its node leads nowhere, and says so until another node has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cloud import make_cloud


def test_floating_ips_are_down_while_no_node_has_their_router(tmp_path: Path) -> None:
    cloud = make_cloud(tmp_path, hosts=("host1",))
    client = cloud.client("admin")

    def call(method: str, path: str, body: object = None) -> Any:
        answer = client.request(method, f"/network/v2.0{path}", json=body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def status() -> str:
        cloud.reconcile("networks")
        return str(call("GET", f"/floatingips/{floating}")["floatingip"]["status"])

    outside = call(
        "POST",
        "/networks",
        {
            "network": {
                "router:external": True,
                "provider:network_type": "flat",
                "provider:physical_network": "external",
            }
        },
    )["network"]["id"]
    inside = call("POST", "/networks", {"network": {}})["network"]["id"]
    for network, cidr in ((outside, "172.24.4.0/24"), (inside, "10.0.0.0/24")):
        call("POST", "/subnets", {"subnet": {"network_id": network, "cidr": cidr, "ip_version": 4}})
    subnet = call("GET", f"/subnets?network_id={inside}")["subnets"][0]["id"]
    router = call(
        "POST", "/routers", {"router": {"external_gateway_info": {"network_id": outside}}}
    )["router"]["id"]
    call("PUT", f"/routers/{router}/add_router_interface", {"subnet_id": subnet})
    port = call("POST", "/ports", {"port": {"network_id": inside}})["port"]["id"]
    floating = call(
        "POST", "/floatingips", {"floatingip": {"floating_network_id": outside, "port_id": port}}
    )["floatingip"]["id"]
    assert status() == "ACTIVE"

    agent = call("GET", "/agents?agent_type=L3%20agent")["agents"][0]["id"]
    call("DELETE", f"/agents/{agent}/l3-routers/{router}")
    assert status() == "DOWN"
    call("POST", f"/agents/{agent}/l3-routers", {"router_id": router})
    assert status() == "ACTIVE"
    cloud.close()
