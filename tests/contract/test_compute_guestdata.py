"""What guests are told: by 169.254.169.254 and on the config drive, and never anyone else's."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from nubelet import compute, network
from nubelet.compute import guestdata, servers
from nubelet.node.wire import MetadataRequest, MetadataResponse
from tests.cloud import TestedCloud, make_cloud
from tests.compute_calls import Caller, Project
from tests.contract.test_compute_contract import PUBLIC_KEY

SCRIPT = b"#!/bin/sh\necho hello\n"


class Guest:
    """A server, and what it asks."""

    def __init__(self, cloud: TestedCloud, project: Project, server_id: str) -> None:
        self.cloud, self.project, self.server_id = cloud, project, server_id
        with cloud.cloud.database.read() as tx:
            port = network.ports_of(tx, [server_id])[server_id][0]
        self.ip, self.mac, self.port_id = port.addresses[0].ip, port.mac, port.id

    def ask(self, path: str, **fields: Any) -> MetadataResponse:
        given: dict[str, Any] = {
            "path": path,
            "source_ip": self.ip,
            "network_id": self.project.network_id,
        }
        return compute.metadata(self.cloud.cloud, MetadataRequest(**(given | fields)))

    def text(self, path: str) -> str:
        answer = self.ask(path)
        assert answer.status == 200, (path, answer)
        return answer.body.decode()

    def json(self, path: str) -> Any:
        return msgspec.json.decode(self.text(path))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path_factory.mktemp("metadata"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def project(cloud: TestedCloud) -> Project:
    return Project(cloud)


@pytest.fixture(scope="module")
def guest(cloud: TestedCloud, project: Project) -> Guest:
    member = Caller(cloud)
    member.post("/os-keypairs", {"keypair": {"name": "mine", "public_key": PUBLIC_KEY}}, 201)
    server_id = project.boot(
        member,
        name="web",
        key_name="mine",
        metadata={"role": "front"},
        user_data=base64.b64encode(SCRIPT).decode(),
        hostname="web-1",
        networks=[{"uuid": project.network_id, "tag": "outside"}],
    )
    return Guest(cloud, project, server_id)


def test_openstack_tree(guest: Guest) -> None:
    assert guest.text("/openstack").splitlines()[-1] == "latest"
    assert guest.text("/openstack/latest/").splitlines() == [
        "meta_data.json",
        "network_data.json",
        "password",
        "user_data",
        "vendor_data.json",
        "vendor_data2.json",
    ]
    told = guest.json("/openstack/latest/meta_data.json")
    assert told["uuid"] == guest.server_id
    assert told["name"] == "web"
    assert told["hostname"] == "web-1"
    assert told["meta"] == {"role": "front"}
    assert told["public_keys"] == {"mine": PUBLIC_KEY}
    assert told["keys"] == [{"name": "mine", "type": "ssh", "data": PUBLIC_KEY}]
    assert told["devices"] == [{"type": "nic", "mac": guest.mac, "tags": ["outside"]}]
    assert told["availability_zone"] == "nova"
    assert len(base64.b64decode(told["random_seed"])) == 512
    assert guest.ask("/openstack/latest/user_data").body == SCRIPT
    assert guest.json("/openstack/latest/vendor_data.json") == {}


def test_network_data_lets_a_guest_configure_itself(guest: Guest) -> None:
    told = guest.json("/openstack/latest/network_data.json")
    [link], [net] = told["links"], told["networks"]
    assert link["ethernet_mac_address"] == guest.mac
    assert link["vif_id"] == guest.port_id
    assert link["mtu"]
    assert (net["type"], net["link"], net["network_id"]) == (
        "ipv4_dhcp",
        link["id"],
        guest.project.network_id,
    )
    assert told["services"] == [{"type": "dns", "address": "9.9.9.9"}]


def test_old_versions_know_less(guest: Guest) -> None:
    old = guest.text("/openstack/2012-08-10").splitlines()
    assert old == ["meta_data.json", "user_data"]
    assert "random_seed" not in guest.json("/openstack/2012-08-10/meta_data.json")
    assert guest.ask("/openstack/2012-08-10/network_data.json").status == 404
    assert guest.ask("/openstack/1999-01-01/meta_data.json").status == 404


def test_ec2_tree(guest: Guest) -> None:
    assert guest.text("/").splitlines()[-1] == "latest"
    assert guest.text("/latest").splitlines() == ["meta-data/", "user-data"]
    names = guest.text("/latest/meta-data/").splitlines()
    assert {"instance-id", "hostname", "local-ipv4", "public-keys/", "placement/"} <= set(names)
    assert guest.text("/latest/meta-data/local-ipv4") == guest.ip
    assert guest.text("/latest/meta-data/hostname") == "web-1"
    assert guest.text("/latest/meta-data/instance-id").startswith("i-")
    assert guest.text("/latest/meta-data/public-keys/") == "0=mine"
    assert guest.text("/latest/meta-data/public-keys/0/openssh-key") == PUBLIC_KEY
    assert guest.text("/2009-04-04/meta-data/placement/availability-zone") == "nova"
    assert guest.ask("/latest/user-data").body == SCRIPT
    assert "public-keys/" not in guest.text("/1.0/meta-data").splitlines()


@pytest.mark.parametrize(
    "path",
    [
        "/latest/meta-data/nothing",
        "/nothing",
        "/openstack/latest/x",
        "/latest/meta-data/hostname/x",
        "/openstack/content/0000",
        "/latest/meta-data/public-keys/0/_name",
    ],
)
def test_what_is_not_there(guest: Guest, path: str) -> None:
    assert guest.ask(path).status == 404


def test_only_the_address_says_who_asks(guest: Guest) -> None:
    """Neither another network nor an unknown address nor headers give away anything."""
    path = "/openstack/latest/meta_data.json"
    other = "00000000-0000-4000-8000-000000000000"
    assert guest.ask(path, network_id=other).status == 404
    assert guest.ask(path, source_ip="10.0.0.250").status == 404
    assert guest.ask(path, source_ip="10.0.0.1").status == 404
    lying = guest.ask(
        path,
        source_ip="10.0.0.250",
        headers=(("X-Instance-ID", guest.server_id), ("X-Forwarded-For", guest.ip)),
    )
    assert lying.status == 404
    assert guest.ask(path, method="DELETE").status == 405


def test_the_same_address_on_another_projects_network_is_another_server(
    cloud: TestedCloud, guest: Guest
) -> None:
    """Projects may overlap in their addresses."""
    stranger = cloud.client("stranger", OpenStack_API_Version="compute 2.104")
    net = stranger.post("/network/v2.0/networks", json={"network": {"name": "theirs"}})
    network_id = net.json()["network"]["id"]
    stranger.post(
        "/network/v2.0/subnets",
        json={"subnet": {"network_id": network_id, "cidr": "10.0.0.0/24", "ip_version": 4}},
    )
    image_id = guest.project.new_image("theirs", "stranger")
    made = stranger.post(
        "/compute/v2.1/servers",
        json={
            "server": {
                "name": "theirs",
                "flavorRef": guest.project.flavor_id,
                "imageRef": image_id,
                "networks": [{"uuid": network_id, "fixed_ip": guest.ip}],
            }
        },
    )
    assert made.status_code == 202, made.text
    cloud.settle()
    told = guest.ask("/latest/meta-data/hostname", network_id=network_id)
    assert told.body == b"theirs"
    assert guest.text("/latest/meta-data/hostname") == "web-1"


def test_a_port_that_names_anothers_server_is_told_and_shown_nothing(
    cloud: TestedCloud, guest: Guest
) -> None:
    """Whoever owns a port may write any id of a device on it."""
    stranger = cloud.client("stranger", OpenStack_API_Version="compute 2.104")
    net = stranger.post("/network/v2.0/networks", json={"network": {"name": "trap"}})
    network_id = net.json()["network"]["id"]
    stranger.post(
        "/network/v2.0/subnets",
        json={"subnet": {"network_id": network_id, "cidr": "10.7.0.0/24", "ip_version": 4}},
    )
    port = {"network_id": network_id, "device_owner": "compute:nova", "device_id": guest.server_id}
    made = stranger.post("/network/v2.0/ports", json={"port": port})
    assert made.status_code == 201, made.text
    ip = made.json()["port"]["fixed_ips"][0]["ip_address"]
    for path in ("/openstack/latest/user_data", "/latest/meta-data/hostname"):
        assert guest.ask(path, source_ip=ip, network_id=network_id).status == 404
    shown = cloud.client("member").get(f"/compute/v2.1/servers/{guest.server_id}").json()["server"]
    found = [each["addr"] for ports in shown["addresses"].values() for each in ports]
    assert ip not in found
    assert guest.ip in found
    listed = cloud.client("member").get(f"/compute/v2.1/servers?ip={ip}").json()["servers"]
    assert listed == []


def test_a_deleted_server_is_told_nothing(cloud: TestedCloud, project: Project) -> None:
    server_id = project.boot(Caller(cloud))
    gone = Guest(cloud, project, server_id)
    assert gone.ask("/latest/meta-data/hostname").status == 200
    project.free(server_id)
    assert gone.ask("/latest/meta-data/hostname").status == 404


def test_password_is_told_once(cloud: TestedCloud, guest: Guest) -> None:
    path = "/openstack/2013-04-04/password"
    assert guest.text(path) == ""
    assert guest.ask(path, method="POST", body=b"x" * 2000).status == 400
    assert guest.ask(path, method="POST", body=b"c2VjcmV0").status == 200
    assert guest.ask(path, method="POST", body=b"b3RoZXI=").status == 409
    assert guest.text(path) == "c2VjcmV0"
    shown = Caller(cloud).get(f"/servers/{guest.server_id}/os-server-password")
    assert shown == {"password": "c2VjcmV0"}
    Caller(cloud).delete(f"/servers/{guest.server_id}/os-server-password", 204)
    assert guest.text(path) == ""


def test_config_drive_has_the_same_files(cloud: TestedCloud, guest: Guest) -> None:
    with cloud.cloud.database.read() as tx:
        row = servers.get(tx, guest.server_id)
        files = guestdata.config_drive_files(cloud.cloud, tx, row)
    told = msgspec.json.decode(files["openstack/latest/meta_data.json"])
    assert told["uuid"] == guest.server_id
    assert files["openstack/latest/user_data"] == SCRIPT
    assert files["ec2/latest/user-data"] == SCRIPT
    assert msgspec.json.decode(files["ec2/latest/meta-data.json"])["local-ipv4"] == guest.ip
    assert "openstack/2018-08-27/network_data.json" in files


def test_personality_until_2_56(cloud: TestedCloud, project: Project) -> None:
    content = base64.b64encode(b"in the file").decode()
    server_id = project.boot(
        Caller(cloud, "2.56"),
        config_drive=True,
        personality=[{"path": "/etc/banner", "contents": content}],
    )
    of = Guest(cloud, project, server_id)
    told = of.json("/openstack/latest/meta_data.json")
    assert told["files"] == [{"path": "/etc/banner", "content_path": "/content/0000"}]
    assert of.text("/openstack/content/0000") == "in the file"
    project.free(server_id)
