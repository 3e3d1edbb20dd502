"""What the Compute API once offered of other services: security groups, floating IPs, networks and
images, as old clients use them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests import strict
from tests.cloud import TestedCloud, make_cloud
from tests.compute_calls import Caller, Project, read_contract
from tests.published import Contract

VERSIONS = ["2.1", "2.35"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path_factory.mktemp("proxies"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def project(cloud: TestedCloud) -> Project:
    return Project(cloud)


@pytest.fixture(scope="module")
def contract(published: Path) -> Contract:
    return read_contract(published)


@pytest.fixture(params=VERSIONS)
def member(request: pytest.FixtureRequest, cloud: TestedCloud, contract: Contract) -> Caller:
    return Caller(cloud, str(request.param), "member", contract)


@pytest.fixture
def admin(member: Caller) -> Caller:
    return Caller(member.cloud, member.version, "admin", member.contract)


@pytest.fixture
def stranger(member: Caller) -> Caller:
    return Caller(member.cloud, member.version, "stranger", member.contract)


# --- Security groups -----------------------------------------------------------------------------


def new_group(caller: Caller, name: str = "web") -> dict[str, Any]:
    made = caller.post(
        "/os-security-groups", {"security_group": {"name": name, "description": "for tests"}}, 200
    )
    group: dict[str, Any] = strict.require(
        "security_groups", "create_security_group", caller.number, made
    )["security_group"]
    return group


def test_security_groups(member: Caller, admin: Caller, stranger: Caller) -> None:
    made = new_group(member, " with spaces ")
    path = f"/os-security-groups/{made['id']}"
    assert (made["name"], made["rules"]) == (" with spaces ", [])
    assert member.get(path)["security_group"] == made
    listed = strict.require(
        "security_groups", "list_security_groups", member.number, member.get("/os-security-groups")
    )["security_groups"]
    assert made in listed
    assert "default" in [each["name"] for each in listed]
    assert made in admin.get("/os-security-groups?all_tenants=true")["security_groups"]
    assert made not in admin.get("/os-security-groups")["security_groups"]
    assert made not in stranger.get("/os-security-groups?all_tenants=true")["security_groups"]
    changed = member.put(path, {"security_group": {"name": "new", "description": "other"}})
    assert changed["security_group"] == {**made, "name": "new", "description": "other"}
    default = next(each for each in listed if each["name"] == "default")
    assert member.call("DELETE", f"/os-security-groups/{default['id']}").status_code == 400
    for method, where, status in (
        ("GET", f"/os-security-groups/{uuid4()}", 404),
        ("GET", "/os-security-groups/x", 400),
        ("DELETE", f"/os-security-groups/{uuid4()}", 404),
        ("DELETE", "/os-security-groups/", 404),
    ):
        assert member.call(method, where).status_code == status, where
    for body in (
        {"security_group": {"name": "x"}},
        {"security_group": {"name": "a" * 256, "description": ""}},
        {},
    ):
        assert member.call("POST", "/os-security-groups", body).status_code == 400
    assert stranger.call("GET", path).status_code == 404
    assert stranger.call("DELETE", path).status_code == 404
    reader = Caller(member.cloud, member.version, "reader")
    assert reader.get(path)["security_group"]["name"] == "new"
    assert reader.call("DELETE", path).status_code == 403
    member.delete(path, 202)
    assert member.call("GET", path).status_code == 404


def test_rules_of_security_groups(member: Caller, stranger: Caller) -> None:
    group, other = new_group(member), new_group(member, "other")

    def add(**fields: Any) -> dict[str, Any]:
        made = member.post(
            "/os-security-group-rules",
            {"security_group_rule": {"parent_group_id": group["id"], **fields}},
            200,
        )
        rule: dict[str, Any] = strict.require(
            "security_groups", "create_security_group_rule", member.number, made
        )["security_group_rule"]
        return rule

    ssh = add(ip_protocol="tcp", from_port=22, to_port="22")
    assert {**ssh, "id": ""} == {
        "id": "",
        "parent_group_id": group["id"],
        "ip_protocol": "tcp",
        "from_port": 22,
        "to_port": 22,
        "group": {},
        "ip_range": {"cidr": "0.0.0.0/0"},
    }
    assert add(ip_protocol="tcp", from_port=22, to_port=22, cidr="10.2.3.124/24")["ip_range"] == {
        "cidr": "10.2.3.124/24"
    }
    assert add(ip_protocol="udp", from_port=53, to_port=53, cidr="2001:db8::/64")["ip_range"] == {
        "cidr": "2001:db8::/64"
    }
    ping = add(ip_protocol="icmp", from_port=-1, to_port=-1)
    assert (ping["from_port"], ping["to_port"]) == (-1, -1)
    remote = add(group_id=other["id"], ip_protocol="tcp")
    assert remote["group"] == {"name": "other", "tenant_id": group["tenant_id"]}
    assert (remote["from_port"], remote["to_port"], remote["ip_range"]) == (1, 65535, {})
    everything = add(group_id=other["id"])
    assert (everything["ip_protocol"], everything["from_port"]) == (None, None)
    shown = member.get(f"/os-security-groups/{group['id']}")["security_group"]
    assert [each["id"] for each in shown["rules"]][:1] == [ssh["id"]]
    assert len(shown["rules"]) == 6
    refusals_of_rules(member, group["id"])
    assert stranger.call("DELETE", f"/os-security-group-rules/{ssh['id']}").status_code == 404
    member.delete(f"/os-security-group-rules/{ssh['id']}", 202)
    member.delete(f"/os-security-groups/{other['id']}", 202)
    left = member.get(f"/os-security-groups/{group['id']}")["security_group"]["rules"]
    assert len(left) == 3  # those about the other group went with it
    member.delete(f"/os-security-groups/{group['id']}", 202)


def refusals_of_rules(member: Caller, group_id: str) -> None:
    good = {"parent_group_id": group_id, "ip_protocol": "tcp", "from_port": 22, "to_port": 22}
    for change, status in (
        ({}, 400),
        ({"parent_group_id": str(uuid4())}, 404),
        ({"parent_group_id": "x"}, 400),
        ({"ip_protocol": "999"}, 400),
        ({"from_port": 65536}, 400),
        ({"to_port": 65536}, 400),
        ({"to_port": 21}, 400),
        ({"from_port": "ssh"}, 400),
        ({"cidr": "10.0.0.0/99"}, 400),
        ({"from_port": None}, 400),
        ({"ip_protocol": None}, 400),
        ({"group_id": "x"}, 400),
        ({"group_id": str(uuid4())}, 404),
        ({"ip_protocol": "icmp", "from_port": 256}, 400),
    ):
        answer = member.call(
            "POST", "/os-security-group-rules", {"security_group_rule": {**good, **change}}
        )
        assert answer.status_code == status, (change, answer.text)
    assert member.call("DELETE", f"/os-security-group-rules/{uuid4()}").status_code == 404
    assert member.call("DELETE", "/os-security-group-rules/x").status_code == 400


def test_a_group_with_a_server_stays(member: Caller, project: Project) -> None:
    group = new_group(member, "used")
    server_id = project.boot(member)
    member.act(server_id, "addSecurityGroup", {"name": "used"})
    for caller in (member, Caller(member.cloud, "2.104", "reader", member.contract)):
        listed = strict.require(
            "security_groups",
            "list_security_groups",
            (2, 1),
            caller.get(f"/servers/{server_id}/os-security-groups"),
        )
        assert sorted(each["name"] for each in listed["security_groups"]) == ["default", "used"]
    assert (
        Caller(member.cloud, "2.104", "stranger")
        .call("GET", f"/servers/{server_id}/os-security-groups")
        .status_code
        == 404
    )
    assert member.call("DELETE", f"/os-security-groups/{group['id']}").status_code == 400
    project.free(server_id)
    member.delete(f"/os-security-groups/{group['id']}", 202)


# --- Floating IPs --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outside(cloud: TestedCloud, project: Project) -> dict[str, Any]:
    """An external network, and a router between it and the project's."""
    admin, member = cloud.client("admin"), cloud.client("member")

    def made(client: Any, plural: str, singular: str, **fields: Any) -> dict[str, Any]:
        answer = client.post(f"/network/v2.0/{plural}", json={singular: fields})
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()[singular]
        return found

    network = made(
        admin,
        "networks",
        "network",
        name="public",
        **{
            "router:external": True,
            "provider:network_type": "flat",
            "provider:physical_network": "external",
        },
    )
    made(
        admin,
        "subnets",
        "subnet",
        network_id=network["id"],
        cidr="203.0.113.0/28",
        ip_version=4,
        enable_dhcp=False,
    )
    router = made(member, "routers", "router", external_gateway_info={"network_id": network["id"]})
    answer = member.put(
        f"/network/v2.0/routers/{router['id']}/add_router_interface",
        json={"subnet_id": project.subnet_id},
    )
    assert answer.is_success, answer.text
    return network


def take(caller: Caller, pool: str | None = "public") -> dict[str, Any]:
    body = None if pool is None else {"pool": pool}
    made: dict[str, Any] = strict.require(
        "floating_ips",
        "create_get_floating_ip",
        caller.number,
        caller.post("/os-floating-ips", body, 200),
    )["floating_ip"]
    return made


def test_floating_ips(
    member: Caller, stranger: Caller, project: Project, outside: dict[str, Any]
) -> None:
    assert member.get("/os-floating-ip-pools") == {"floating_ip_pools": [{"name": "public"}]}
    made = [take(member), take(member, outside["id"]), take(member, None)]
    assert {each["pool"] for each in made} == {"public"}
    assert {each["instance_id"] for each in made} == {None}
    path = f"/os-floating-ips/{made[0]['id']}"
    assert member.get(path)["floating_ip"] == made[0]
    listed = strict.require(
        "floating_ips", "list_floating_ips", member.number, member.get("/os-floating-ips")
    )["floating_ips"]
    assert all(each in listed for each in made)
    assert stranger.get("/os-floating-ips")["floating_ips"] == []
    assert stranger.call("GET", path).status_code == 404
    assert stranger.call("DELETE", path).status_code == 404
    assert Caller(member.cloud, member.version, "reader").call("DELETE", path).status_code == 403
    assert member.call("POST", "/os-floating-ips", {"pool": "nowhere"}).status_code == 404
    assert member.call("GET", f"/os-floating-ips/{uuid4()}").status_code == 404
    assert member.call("DELETE", f"/os-floating-ips/{uuid4()}").status_code == 404
    leading_to_servers(member, project, made)
    for each in made:
        member.delete(f"/os-floating-ips/{each['id']}", 202)
    assert member.call("GET", path).status_code == 404


def leading_to_servers(member: Caller, project: Project, made: list[dict[str, Any]]) -> None:
    first, second = project.boot(member), project.boot(member)
    address = made[0]["ip"]
    member.act(first, "addFloatingIp", {"address": address})
    shown = member.get(f"/os-floating-ips/{made[0]['id']}")["floating_ip"]
    assert shown["instance_id"] == first
    assert shown["fixed_ip"].startswith("10.0.0.")
    addresses = member.get(f"/servers/{first}")["server"]["addresses"]["inside"]
    assert {each["addr"]: each["OS-EXT-IPS:type"] for each in addresses} == {
        shown["fixed_ip"]: "fixed",
        address: "floating",
    }
    member.act(first, "addFloatingIp", {"address": made[1]["ip"]}, 400)  # it has one already
    member.act(second, "addFloatingIp", {"address": address})  # it moves
    member.act(first, "removeFloatingIp", {"address": address}, 409)
    member.act(second, "removeFloatingIp", {"address": address})
    assert member.get(f"/os-floating-ips/{made[0]['id']}")["floating_ip"]["instance_id"] is None
    for argument, status in (
        ({"address": "0.0.0.0"}, 404),
        ({"address": ""}, 400),
        ({}, 400),
        ({"address": address, "fixed_address": "10.0.0.250"}, 400),
    ):
        member.act(first, "addFloatingIp", argument, status)
    member.act(first, "removeFloatingIp", {"address": "0.0.0.0"}, 404)
    for who, status in (("stranger", 404), ("reader", 403)):
        Caller(member.cloud, member.version, who).act(
            first, "addFloatingIp", {"address": address}, status
        )
    newer = Caller(member.cloud, "2.43")
    newer.act(first, "addFloatingIp", {"address": address, "fixed_address": shown["fixed_ip"]})
    Caller(member.cloud, "2.44").act(first, "removeFloatingIp", {"address": address}, 404)
    newer.act(first, "removeFloatingIp", {"address": address})
    project.free(first, second)


def test_an_exhausted_pool(cloud: TestedCloud, outside: dict[str, Any]) -> None:
    member, taken = Caller(cloud, "2.35"), []
    while True:
        answer = member.call("POST", "/os-floating-ips", {"pool": "public"})
        if not answer.is_success:
            break
        taken.append(answer.json()["floating_ip"]["id"])
    assert answer.status_code == 404
    assert "No more floating IPs" in answer.text
    for each in taken:
        member.delete(f"/os-floating-ips/{each}", 202)


# --- Networks ------------------------------------------------------------------------------------


def test_networks(member: Caller, admin: Caller, stranger: Caller, project: Project) -> None:
    listed = member.get("/os-networks")["networks"]
    mine = next(each for each in listed if each["id"] == project.network_id)
    assert mine["label"] == "inside"
    assert "mtu" not in mine
    path = f"/os-networks/{project.network_id}"
    assert member.get(path) == {"network": mine}
    assert admin.get(path)["network"]["mtu"] > 1000
    # The published document has two words for one text here: Tempest alone judges.
    plain = Caller(member.cloud, member.version)
    of_project = strict.require(
        "tenant_networks", "list_tenant_networks", member.number, plain.get("/os-tenant-networks")
    )["networks"]
    assert {"id": project.network_id, "label": "inside", "cidr": "None"} in of_project
    strict.require(
        "tenant_networks",
        "get_tenant_network",
        member.number,
        plain.get(f"/os-tenant-networks/{project.network_id}"),
    )
    for caller, network_id in ((stranger, project.network_id), (member, str(uuid4()))):
        assert caller.call("GET", f"/os-networks/{network_id}").status_code == 404
        assert caller.call("GET", f"/os-tenant-networks/{network_id}").status_code == 404
    assert project.network_id not in [
        each["id"] for each in stranger.get("/os-networks")["networks"]
    ]


# --- Images --------------------------------------------------------------------------------------


@pytest.fixture
def images(member: Caller) -> Caller:
    """A caller whose answers only Tempest judges: the published document sorts the links."""
    return Caller(member.cloud, member.version, "member")


def test_images(images: Caller, project: Project) -> None:
    image_id = project.new_image(
        f"one {images.version}",
        min_ram=64,
        architecture="x86_64",
        instance_uuid=str(uuid4()),
        auto_disk_config="True",
    )
    path = f"/images/{image_id}"
    shown = strict.require("images", "get_image", images.number, images.get(path))["image"]
    assert (shown["status"], shown["progress"], shown["minRam"]) == ("ACTIVE", 100, 64)
    assert shown["OS-EXT-IMG-SIZE:size"] == 1024
    assert shown["OS-DCF:diskConfig"] == "AUTO"
    assert shown["metadata"]["architecture"] == "x86_64"
    assert [each["rel"] for each in shown["links"]] == ["self", "bookmark", "alternate"]
    filters(images, shown)
    other = Caller(images.cloud, images.version, "stranger")
    assert other.call("GET", path).status_code == 404
    assert other.call("DELETE", path).status_code == 404
    assert Caller(images.cloud, images.version, "reader").call("DELETE", path).status_code == 403
    for identifier in (str(uuid4()), "invalid", "-1", "11a22b9-12a9-5555-cc11-00ab112223fa-3fac"):
        assert images.call("GET", f"/images/{identifier}").status_code == 404
        assert images.call("DELETE", f"/images/{identifier}").status_code == 404
    images.delete(path, 204)
    assert images.call("GET", path).status_code == 404


def filters(images: Caller, shown: dict[str, Any]) -> None:
    server = f"http://cloud/compute/v2.1/servers/{shown['server']['id']}"
    for query in (
        f"name={shown['name']}",
        "status=ACTIVE",
        f"server={server}",
        f"changes-since={shown['created']}",
        "minRam=64",
        "property-architecture=x86_64",
    ):
        listed = strict.require(
            "images", "list_images", images.number, images.get(f"/images?{query}")
        )["images"]
        assert shown["id"] in [each["id"] for each in listed], query
        detailed = strict.require(
            "images", "list_images_details", images.number, images.get(f"/images/detail?{query}")
        )["images"]
        assert shown in detailed, query
    for query in (
        "name=nothing",
        "status=SAVING",
        f"server={uuid4()}",
        "type=snapshot",
        "changes-since=2100-01-01T00:00:00Z",
    ):
        assert shown["id"] not in [
            each["id"] for each in images.get(f"/images?{query}")["images"]
        ], query
    page = images.get("/images?limit=1")
    assert len(page["images"]) == 1
    rest = images.get("/images" + page["images_links"][0]["href"].partition("/images")[2])
    assert page["images"][0]["id"] not in [each["id"] for each in rest["images"]]
    for query in ("limit=0", "limit=x", f"marker={uuid4()}", "changes-since=soon"):
        assert images.call("GET", f"/images?{query}").status_code == 400, query


@pytest.mark.parametrize("version", ["2.1", "2.38"])
def test_metadata_of_images(
    cloud: TestedCloud, contract: Contract, project: Project, version: str
) -> None:
    member = Caller(cloud, version, "member", contract)
    path = f"/images/{project.new_image('described', a='1')}/metadata"
    assert member.get(path) == {"metadata": {"a": "1"}}
    assert member.post(path, {"metadata": {"b": "2"}}, 200) == {"metadata": {"a": "1", "b": "2"}}
    assert member.put(path, {"metadata": {"c": "3"}}) == {"metadata": {"c": "3"}}
    assert member.put(f"{path}/d", {"meta": {"d": "4"}}) == {"meta": {"d": "4"}}
    assert member.get(f"{path}/d") == {"meta": {"d": "4"}}
    member.delete(f"{path}/d", 204)
    assert member.get(path) == {"metadata": {"c": "3"}}
    nothing = f"/images/{uuid4()}/metadata"
    for method, where, body, status in (
        ("GET", nothing, None, 404),
        ("POST", nothing, {"metadata": {"a": "1"}}, 404),
        ("PUT", nothing, {"metadata": {"a": "1"}}, 404),
        ("GET", f"{nothing}/a", None, 404),
        ("PUT", f"{nothing}/a", {"meta": {"a": "1"}}, 404),
        ("DELETE", f"{nothing}/a", None, 404),
        ("GET", f"{path}/x", None, 404),
        ("DELETE", f"{path}/x", None, 404),
        ("PUT", f"{path}/x", {"meta": {"y": "1"}}, 400),
        ("PUT", path, {"metadata": {"visibility": "public"}}, 400),
        ("PUT", path, {"metadata": {str(each): "x" for each in range(129)}}, 403),
        ("PUT", path, {"metadata": {"k" * 256: "x"}}, 400),
    ):
        assert member.call(method, where, body).status_code == status, (method, where)
    reader = Caller(cloud, version, "reader")
    assert reader.call("PUT", path, {"metadata": {}}).status_code == 403
    assert Caller(cloud, "2.39").call("GET", path).status_code == 404
