"""Every operation on servers, flavors and keys at each microversion where its shape changes: the
documented status, and an answer that the published schema accepts."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nubelet.compute import SERVICE
from tests.cloud import TestedCloud, make_cloud
from tests.compute_calls import Caller, Project, exercised, read_contract
from tests.published import Contract

VERSIONS = [
    f"2.{minor}"
    for minor in (
        1,
        2,
        3,
        9,
        10,
        16,
        19,
        26,
        32,
        33,
        35,
        37,
        42,
        47,
        48,
        49,
        52,
        54,
        55,
        57,
        58,
        61,
        63,
        64,
        69,
        70,
        71,
        73,
        74,
        75,
        78,
        83,
        84,
        86,
        88,
        90,
        92,
        94,
        96,
        98,
        100,
        102,
        104,
    )
]


@pytest.fixture(scope="module")
def compute_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path_factory.mktemp("compute"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def project(compute_cloud: TestedCloud) -> Project:
    made = Project(compute_cloud)
    made.raise_quotas(instances=-1, cores=-1, ram=-1, key_pairs=-1)
    return made


@pytest.fixture(scope="module")
def contract(published: Path) -> Contract:
    return read_contract(published)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def member(compute_cloud: TestedCloud, contract: Contract, version: str) -> Caller:
    return Caller(compute_cloud, version, "member", contract)


@pytest.fixture
def admin(compute_cloud: TestedCloud, contract: Contract, version: str) -> Caller:
    return Caller(compute_cloud, version, "admin", contract)


def test_flavors(member: Caller, admin: Caller) -> None:
    name = f"flavor at {admin.version}"
    given: dict[str, Any] = {
        "name": name,
        "ram": "256",
        "vcpus": 1,
        "disk": 1,
        "OS-FLV-EXT-DATA:ephemeral": 1,
        "swap": 64,
        "os-flavor-access:is_public": "False",
    }
    if admin.at_least(55):
        given["description"] = "for tests"
    made = admin.post("/flavors", {"flavor": given}, 200)["flavor"]
    assert made["ram"] == 256
    assert made["swap"] == 64
    path = f"/flavors/{made['id']}"
    assert admin.get(path)["flavor"] == made
    assert member.call("GET", path).status_code == 404  # private
    assert made["id"] in [each["id"] for each in admin.get("/flavors?is_public=None")["flavors"]]
    assert made["id"] in [
        each["id"] for each in admin.get("/flavors/detail?is_public=False&minRam=200")["flavors"]
    ]
    assert made["id"] not in [each["id"] for each in member.get("/flavors")["flavors"]]

    project_id = member.cloud.user("member").project_id
    added = admin.post(f"{path}/action", {"addTenantAccess": {"tenant": project_id}}, 200)
    assert {"flavor_id": made["id"], "tenant_id": project_id} in added["flavor_access"]
    admin.get(f"{path}/os-flavor-access")
    member.get(path)
    admin.post(f"{path}/action", {"removeTenantAccess": {"tenant": project_id}}, 200)

    specs = {"hw:cpu_policy": "shared", "own:key": "any"}
    assert admin.post(f"{path}/os-extra_specs", {"extra_specs": specs}, 200) == {
        "extra_specs": specs
    }
    assert admin.get(f"{path}/os-extra_specs")["extra_specs"] == specs
    assert admin.put(f"{path}/os-extra_specs/own:key", {"own:key": "other"}) == {"own:key": "other"}
    assert admin.get(f"{path}/os-extra_specs/own:key") == {"own:key": "other"}
    admin.delete(f"{path}/os-extra_specs/own:key", 200)
    bad = admin.call("POST", f"{path}/os-extra_specs", {"extra_specs": {"hw:numa_nodes": "x"}})
    assert bad.status_code == (400 if admin.at_least(86) else 200)
    if admin.at_least(55):
        changed = admin.put(path, {"flavor": {"description": "changed"}})["flavor"]
        assert changed["description"] == "changed"
    if admin.at_least(102):
        assert [
            each["id"] for each in admin.get(f"/flavors?name={name}&is_public=None")["flavors"]
        ] == [made["id"]]
    admin.delete(path, 202)
    assert admin.call("GET", path).status_code == 404


PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPmbJsN3mZ3ZBqYoWqN9Zl4cWg4Ff8WlEqEDpMxy0Vt "
    "someone@example.org"
)


def test_keypairs(member: Caller, admin: Caller) -> None:
    name = f"key {member.version}".replace(".", "-")
    status = 201 if member.at_least(2) else 200
    made = member.post(
        "/os-keypairs", {"keypair": {"name": name, "public_key": PUBLIC_KEY}}, status
    )["keypair"]
    assert "private_key" not in made
    assert made["public_key"] == PUBLIC_KEY
    shown = member.get(f"/os-keypairs/{name}")["keypair"]
    assert shown["fingerprint"] == made["fingerprint"]
    assert name in [each["keypair"]["name"] for each in member.get("/os-keypairs")["keypairs"]]
    if admin.at_least(10):
        user_id = member.cloud.user("member").user_id
        of_user = admin.get(f"/os-keypairs?user_id={user_id}")["keypairs"]
        assert name in [each["keypair"]["name"] for each in of_user]
    generated = member.call("POST", "/os-keypairs", {"keypair": {"name": name + " made"}})
    if member.at_least(92):
        assert generated.status_code == 400
    else:
        assert generated.status_code == status
        assert "PRIVATE KEY" in generated.json()["keypair"]["private_key"]
        member.delete(f"/os-keypairs/{name} made", 204 if member.at_least(2) else 202)
    member.delete(f"/os-keypairs/{name}", 204 if member.at_least(2) else 202)


def test_a_servers_life(member: Caller, admin: Caller, project: Project) -> None:
    more: dict[str, Any] = {
        "metadata": {"role": "web"},
        "config_drive": True,
        "user_data": base64.b64encode(b"#!/bin/sh").decode(),
    }
    if member.at_least(19):
        more["description"] = "a server"
    if member.at_least(52):
        more["tags"] = ["blue", "green"]
    if member.at_least(90):
        more["hostname"] = "web-1"
    server_id = project.boot(member, **more)
    path = f"/servers/{server_id}"
    shown = member.get(path)["server"]
    assert shown["status"] == "ACTIVE"
    assert shown["config_drive"] == "True"
    assert ("OS-EXT-SRV-ATTR:host" in shown) is False
    assert [each["addr"] for each in shown["addresses"]["inside"]]
    seen = admin.get(path)["server"]
    assert seen["OS-EXT-SRV-ATTR:host"] in ("host1", "host2")
    assert ("OS-EXT-SRV-ATTR:user_data" in seen) == member.at_least(3)
    assert seen.get("host_status") == ("UP" if member.at_least(16) else None)
    assert server_id in [each["id"] for each in member.get("/servers")["servers"]]
    assert server_id in [each["id"] for each in member.get("/servers/detail")["servers"]]
    admin.get("/servers/detail?all_tenants=1&limit=1")
    changed = member.put(path, {"server": {"name": "renamed", "accessIPv4": "192.0.2.1"}})
    assert changed["server"]["name"] == "renamed"
    power_actions(member, project, server_id)
    parts(member, admin, project, server_id)
    member.delete(path, 204)
    project.cloud.settle()
    assert member.call("GET", path).status_code == 404


def power_actions(member: Caller, project: Project, server_id: str) -> None:
    for action, argument, status in (
        ("os-stop", None, "SHUTOFF"),
        ("os-start", None, "ACTIVE"),
        ("reboot", {"type": "SOFT"}, "ACTIVE"),
        ("pause", None, "PAUSED"),
        ("unpause", None, "ACTIVE"),
        ("suspend", None, "SUSPENDED"),
        ("resume", None, "ACTIVE"),
        ("reboot", {"type": "HARD"}, "ACTIVE"),
        ("lock", None, "ACTIVE"),
        ("unlock", None, "ACTIVE"),
    ):
        member.act(server_id, action, argument)
        project.cloud.settle()
        assert project.show(server_id)["status"] == status, action
    rebuilt = member.act(server_id, "rebuild", {"imageRef": project.image_id, "name": "again"})
    assert rebuilt["server"]["name"] == "again"
    assert rebuilt["server"]["adminPass"]
    project.cloud.settle()
    assert project.show(server_id)["status"] == "ACTIVE"
    output = member.act(server_id, "os-getConsoleOutput", {"length": 2}, 200)["output"]
    assert len(output.splitlines()) == 2


def parts(member: Caller, admin: Caller, project: Project, server_id: str) -> None:
    path = f"/servers/{server_id}"
    assert member.get(f"{path}/ips")["addresses"]["inside"]
    assert member.get(f"{path}/ips/inside")["inside"]
    assert member.get(f"{path}/metadata")["metadata"] == {"role": "web"}
    member.post(f"{path}/metadata", {"metadata": {"a": "1"}}, 200)
    member.put(f"{path}/metadata", {"metadata": {"b": "2"}})
    member.put(f"{path}/metadata/b", {"meta": {"b": "3"}})
    assert member.get(f"{path}/metadata/b") == {"meta": {"b": "3"}}
    member.delete(f"{path}/metadata/b", 204)
    admin.get(f"{path}/diagnostics")
    interfaces(member, project, server_id)
    assert member.get(f"{path}/os-server-password") == {"password": ""}
    member.delete(f"{path}/os-server-password", 204)
    if member.at_least(26):
        member.put(f"{path}/tags", {"tags": ["one", "two"]})
        member.put(f"{path}/tags/three", None, 201)
        member.put(f"{path}/tags/three", None, 204)
        assert member.call("GET", f"{path}/tags/three").status_code == 204
        assert member.get(f"{path}/tags")["tags"] == ["one", "three", "two"]
        member.delete(f"{path}/tags/three", 204)
        member.delete(f"{path}/tags", 204)
    if member.at_least(78):
        member.get(f"{path}/topology")


def interfaces(member: Caller, project: Project, server_id: str) -> None:
    path = f"/servers/{server_id}/os-interface"
    assert len(member.get(path)["interfaceAttachments"]) == 1
    given: dict[str, Any] = {"net_id": project.network_id}
    if member.at_least(49):
        given["tag"] = "public"
    made = member.post(path, {"interfaceAttachment": given}, 200)["interfaceAttachment"]
    project.cloud.settle()
    shown = member.get(f"{path}/{made['port_id']}")["interfaceAttachment"]
    assert shown["port_state"] == "ACTIVE"
    assert shown.get("tag") == ("public" if member.at_least(70) else None)
    member.delete(f"{path}/{made['port_id']}", 202)
    project.cloud.settle()
    assert len(member.get(path)["interfaceAttachments"]) == 1


OURS = ("/servers", "/flavors", "/os-keypairs")
# Tested beside what they are about: test_compute_admin_projects.py, test_compute_admin_proxies.py,
# test_compute_snapshots.py.
ELSEWHERE = (
    "os-instance-actions",
    "os-security-groups",
    "addSecurityGroup",
    "removeSecurityGroup",
    "addFloatingIp",
    "removeFloatingIp",
    "addFixedIp",
    "removeFixedIp",
    "os-resetState",
    "forceDelete",
    "createImage",
    "createBackup",
)


def test_no_operation_is_left_out(
    compute_cloud: TestedCloud, contract: Contract, project: Project
) -> None:
    """An operation on servers, flavors or keys that the walks above do not call fails here."""
    member = Caller(compute_cloud, "2.104", "member", contract)
    admin = Caller(compute_cloud, "2.104", "admin", contract)
    test_flavors(member, admin)
    test_keypairs(member, admin)
    test_a_servers_life(member, admin, project)
    missing = [
        (route.method, route.path, route.action)
        for route in SERVICE.routes
        if route.path.startswith(OURS)
        and route.serves((2, 104))
        and not any(word in ELSEWHERE for word in (*route.path.split("/"), route.action))
        and (route.method, route.path, route.action) not in exercised
    ]
    assert not missing


def test_resetting_and_forcing(
    compute_cloud: TestedCloud, contract: Contract, project: Project
) -> None:
    """States set by hand, and deletion whatever the state."""
    admin = Caller(compute_cloud, "2.104", "admin", contract)
    server_id = project.boot(Caller(compute_cloud))
    admin.act(server_id, "os-resetState", {"state": "error"})
    assert project.show(server_id)["status"] == "ERROR"
    admin.act(server_id, "os-resetState", {"state": "active"})
    assert project.show(server_id)["status"] == "ACTIVE"
    Caller(compute_cloud, contract=contract).act(server_id, "forceDelete")
    compute_cloud.settle()
    assert admin.call("GET", f"/servers/{server_id}").status_code == 404


def test_security_groups_of_a_server(
    compute_cloud: TestedCloud, contract: Contract, project: Project
) -> None:
    member = Caller(compute_cloud, "2.104", "member", contract)
    group = (
        compute_cloud.client("member")
        .post("/network/v2.0/security-groups", json={"security_group": {"name": "extra"}})
        .json()["security_group"]
    )
    server_id = project.boot(member, security_groups=[{"name": "default"}])

    def names() -> set[str]:
        shown = member.get(f"/servers/{server_id}")["server"]
        return {each["name"] for each in shown["security_groups"]}

    member.act(server_id, "addSecurityGroup", {"name": "extra"})
    assert names() == {"default", "extra"}
    member.act(server_id, "addSecurityGroup", {"name": group["id"]})
    member.act(server_id, "removeSecurityGroup", {"name": "default"})
    assert names() == {"extra"}
    assert (
        member.call(
            "POST", f"/servers/{server_id}/action", {"removeSecurityGroup": {"name": "default"}}
        ).status_code
        == 404
    )
    assert (
        member.call(
            "POST", f"/servers/{server_id}/action", {"addSecurityGroup": {"name": "none"}}
        ).status_code
        == 404
    )
    project.free(server_id)
