"""A cloud with networks for tests: the network service alone, on fake hosts that were heard of.

    def test_something(world):
        network = world.create("network", name="blue")         # as the member of project "one"
        world.create("subnet", network_id=network["id"], ip_version=4, cidr="10.0.0.0/24")
        world.refused(409, "NetworkInUse", "delete", f"/networks/{network['id']}")
        world.realize()                                        # the reconciler has run

`caller=` takes a persona of tests/personas.py.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import httpx

import nubelet.network as network_service
from nubelet.kernel import guards
from nubelet.kernel.ids import new_uuid
from nubelet.kernel.operations.run import Run
from nubelet.node.wire import Heartbeat, NetworkState
from tests.cloud import DATABASE, TestedCloud, make_cloud

PREFIX = "/network/v2.0"
PLURALS = {
    "security_group": "security-groups",
    "security_group_rule": "security-group-rules",
    "address_scope": "address-scopes",
    "rbac_policy": "rbac-policies",
    "default_security_group_rule": "default-security-group-rules",
}


def path_of(noun: str) -> str:
    """/networks for network."""
    return "/" + PLURALS.get(noun, f"{noun}s")


class NetworkWorld:
    """A cloud and short words for what tests of networks do."""

    def __init__(
        self,
        tmp_path: Path,
        hosts: tuple[str, ...] = ("host1", "host2"),
        options: dict[str, object] | None = None,
        database: str = DATABASE,
    ) -> None:
        self.tested: TestedCloud = make_cloud(
            tmp_path, services=("network",), hosts=hosts, options=options, database=database
        )
        self.cloud = self.tested.cloud
        self._starts = itertools.count(1)
        self._clients: dict[str | None, httpx.Client] = {}
        for name in hosts:
            self.beat(name)

    def close(self) -> None:
        self.tested.close()

    # --- Requests ---------------------------------------------------------------------------

    def call(
        self,
        method: str,
        path: str,
        caller: str | None = "member",
        *,
        json: Any = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        if caller not in self._clients:
            self._clients[caller] = self.tested.client(caller)
        return self._clients[caller].request(
            method.upper(), PREFIX + path, json=json, headers=headers
        )

    def ok(
        self,
        method: str,
        path: str,
        caller: str | None = "member",
        *,
        json: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        answer = self.call(method, path, caller, json=json, headers=headers)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def refused(
        self,
        status: int,
        kind: str,
        method: str,
        path: str,
        caller: str | None = "member",
        *,
        json: Any = None,
        headers: dict[str, str] | None = None,
    ) -> str:
        """The call must be refused with this status and type; returns the sentence."""
        answer = self.call(method, path, caller, json=json, headers=headers)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        error = answer.json()["NeutronError"]
        assert set(error) == {"type", "message", "detail"}
        assert error["type"] == kind, error
        return str(error["message"])

    def create(self, noun: str, caller: str = "member", /, **values: Any) -> dict[str, Any]:
        found = self.ok("POST", path_of(noun), caller, json={noun: values})[noun]
        assert isinstance(found, dict)
        return found

    def cannot_create(
        self, status: int, kind: str, noun: str, caller: str = "member", /, **values: Any
    ) -> str:
        return self.refused(status, kind, "POST", path_of(noun), caller, json={noun: values})

    def update(self, noun: str, identifier: str, caller: str = "member", /, **values: Any) -> Any:
        return self.ok("PUT", f"{path_of(noun)}/{identifier}", caller, json={noun: values})[noun]

    def cannot_update(
        self,
        status: int,
        kind: str,
        noun: str,
        identifier: str,
        caller: str = "member",
        /,
        **values: Any,
    ) -> str:
        return self.refused(
            status, kind, "PUT", f"{path_of(noun)}/{identifier}", caller, json={noun: values}
        )

    def show(self, noun: str, identifier: str, caller: str = "member") -> Any:
        return self.ok("GET", f"{path_of(noun)}/{identifier}", caller)[noun]

    def list(self, noun: str, query: str = "", caller: str = "member") -> list[dict[str, Any]]:
        answer = self.ok("GET", f"{path_of(noun)}{query}", caller)
        found = next(value for key, value in answer.items() if not key.endswith("_links"))
        assert isinstance(found, list)
        return found

    def delete(self, noun: str, identifier: str, caller: str = "member") -> None:
        self.ok("DELETE", f"{path_of(noun)}/{identifier}", caller)

    # --- Ready-made -------------------------------------------------------------------------

    def project(self, caller: str = "member") -> str:
        return str(self.tested.user(caller).project_id)

    def subnet(
        self,
        cidr: str = "10.0.0.0/24",
        network: str | None = None,
        **values: Any,
    ) -> dict[str, Any]:
        """A subnet, on a network of its own unless one is named."""
        network = network or self.create("network")["id"]
        values.setdefault("ip_version", 6 if ":" in cidr else 4)
        return self.create("subnet", network_id=network, cidr=cidr, **values)

    def external(self, cidr: str = "172.24.4.0/24", **values: Any) -> dict[str, Any]:
        """The external network with its subnet."""
        found = self.create(
            "network",
            "admin",
            name="public",
            **{
                "router:external": True,
                "provider:network_type": "flat",
                "provider:physical_network": "external",
                **values,
            },
        )
        self.create(
            "subnet", "admin", network_id=found["id"], ip_version=4, cidr=cidr, enable_dhcp=False
        )
        return found

    def routed(self, cidr: str = "10.0.0.0/24") -> dict[str, Any]:
        """An external network, a subnet inside, and a router between them."""
        outside = self.external()
        inside = self.subnet(cidr)
        router = self.create("router", external_gateway_info={"network_id": outside["id"]})
        self.ok(
            "PUT", f"/routers/{router['id']}/add_router_interface", json={"subnet_id": inside["id"]}
        )
        return {
            "external": outside,
            "subnet": inside,
            "router": router,
            "network_id": inside["network_id"],
        }

    # --- Nodes ------------------------------------------------------------------------------

    def beat(self, name: str, *, restarted: bool = False) -> None:
        """A heartbeat of a host."""
        agent = self.tested.agents[name]
        if restarted or not hasattr(agent, "test_start"):
            agent.test_start = next(self._starts)  # type: ignore[attr-defined]
        network_service.heartbeat(
            self.cloud,
            Heartbeat(host=agent.observe_host(), switching="fake", started_at=agent.test_start),
        )  # type: ignore[attr-defined]

    def realize(self) -> None:
        """The reconciler runs until it has nothing to do."""
        for _ in range(2):
            self.tested.reconcile("networks")

    def on(self, name: str) -> NetworkState:
        """What a host carries."""
        return self.tested.agents[name].switching.observe()

    def switching(self, name: str) -> Any:
        return self.tested.agents[name].switching

    def run(self) -> Run:
        """An operation's run, as compute has when it puts a port on a host."""
        return Run(
            self.cloud, new_uuid(), "test", self.project(), "server", new_uuid(), {}, attempt=1
        )

    def put(self, port_id: str, host: str) -> None:
        with guards.node_calls_allowed():
            network_service.ensure_port_on_host(self.run(), port_id, host)

    def take(self, port_id: str, host: str) -> None:
        with guards.node_calls_allowed():
            network_service.remove_port_from_host(self.run(), port_id, host)

    def doctor(self) -> list[str]:
        assert network_service.SERVICE.check is not None
        return network_service.SERVICE.check(self.cloud)
