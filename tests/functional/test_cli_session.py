"""Sessions with the unmodified `openstack` command: each command of what the cloud offers succeeds
and shows what was asked for."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.command import CommandCloud
from tests.functional.openstack_cli import OpenStackCli

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandCloud]:
    made = CommandCloud(tmp_path_factory.mktemp("cli"), "--fake", "--nodes", "2")
    with pytest.MonkeyPatch.context() as patch:
        # Each command logs in anew; nobody attacks this password.
        patch.setenv("NUBELET_IDENTITY_PASSWORD_HASH_COST", "1")
        made.up()
    yield made
    made.purge()


@pytest.fixture(scope="module")
def cli(cloud: CommandCloud) -> OpenStackCli:
    return OpenStackCli(cloud.url, cloud.password)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "image"
    file.write_bytes(b"image" * 1000)
    return file


@pytest.fixture(scope="module")
def network(cli: OpenStackCli) -> str:
    """A network with addresses, and an external one, for servers."""
    cli("network create inside")
    cli("subnet create inside --network inside --subnet-range 10.20.0.0/24")
    cli(
        "network create outside --external --provider-network-type flat "
        "--provider-physical-network external"
    )
    cli("subnet create outside --network outside --subnet-range 172.30.0.0/24 --no-dhcp")
    cli("router create way")
    cli("router set way --external-gateway outside")
    cli("router add subnet way inside")
    return "inside"


# --- Networks ---------------------------------------------------------------------------------


def test_networks_subnets_and_ports(cli: OpenStackCli) -> None:
    cli("network create n1 --description x --mtu 1400")
    cli("network set n1 --description y --disable")
    cli("network set n1 --enable --tag t")
    assert cli.ask("network show n1")["tags"] == ["t"]
    cli("network unset n1 --tag t")
    assert "n1" in cli("network list --long")
    cli(
        "subnet create s1 --network n1 --subnet-range 10.9.0.0/24 --dns-nameserver 9.9.9.9 "
        "--allocation-pool start=10.9.0.10,end=10.9.0.200 "
        "--host-route destination=10.99.0.0/24,gateway=10.9.0.5"
    )
    cli("subnet set s1 --description x --dns-nameserver 8.8.8.8")
    assert set(cli.ask("subnet show s1")["dns_nameservers"]) == {"8.8.8.8", "9.9.9.9"}
    cli("subnet unset s1 --dns-nameserver 8.8.8.8")
    assert [row["Name"] for row in cli.ask("subnet list --network n1")] == ["s1"]
    cli(
        "port create p1 --network n1 --fixed-ip subnet=s1,ip-address=10.9.0.50 "
        "--mac-address fa:16:3e:00:00:01"
    )
    pair = "--allowed-address ip-address=10.9.0.77,mac-address=fa:16:3e:00:00:01"
    cli(f"port set p1 --description y {pair}")
    assert cli.ask("port show p1")["fixed_ips"][0]["ip_address"] == "10.9.0.50"
    cli(f"port unset p1 {pair}")
    cli("port set p1 --no-security-group --disable-port-security")
    assert "p1" in cli("port list --network n1 --long")
    for line in ("port delete p1", "subnet delete s1", "network delete n1"):
        cli(line)


def test_routers_and_floating_ips(cli: OpenStackCli, network: str) -> None:
    cli("router create r1 --description x")
    cli("router set r1 --description y --external-gateway outside")
    cli("network create n3")
    cli("subnet create s3 --network n3 --subnet-range 10.3.0.0/24")
    cli("router add subnet r1 s3")
    cli("network create n4")
    cli("subnet create s4 --network n4 --subnet-range 10.4.0.0/24")
    cli("port create p4 --network n4")
    cli("router add port r1 p4")
    cli("router add route r1 --route destination=10.77.0.0/24,gateway=10.3.0.9")
    assert cli.ask("router show r1")["routes"]
    cli("router remove route r1 --route destination=10.77.0.0/24,gateway=10.3.0.9")
    cli("router set r1 --route destination=10.78.0.0/24,gateway=10.3.0.9")
    cli("router unset r1 --route destination=10.78.0.0/24,gateway=10.3.0.9")
    assert "r1" in cli("router list --long")
    cli("port create p3 --network n3")
    address = cli.ask("floating ip create outside --description x")["floating_ip_address"]
    cli(f"floating ip set {address} --port p3")
    assert cli.ask(f"floating ip show {address}")["fixed_ip_address"]
    cli(f"floating ip set {address} --description y")
    cli(f"floating ip unset {address} --port")
    assert address in cli("floating ip list --long")
    cli(f"floating ip delete {address}")
    for line in (
        "router remove port r1 p4",
        "router remove subnet r1 s3",
        "router unset r1 --external-gateway",
        "router delete r1",
        "port delete p3",
        "network delete n3 n4",
    ):
        cli(line)


def test_security_groups(cli: OpenStackCli) -> None:
    cli("security group create sg1 --description x")
    cli("security group set sg1 --name sg2 --description y")
    rule = cli.ask(
        "security group rule create sg2 --protocol tcp --dst-port 22 --remote-ip 192.0.2.0/24"
    )
    assert rule["port_range_max"] == 22
    cli("security group rule create sg2 --protocol icmp --ingress")
    cli("security group rule create sg2 --egress --ethertype IPv6 --remote-group sg2")
    assert cli.ask(f"security group rule show {rule['id']}")["protocol"] == "tcp"
    assert len(cli.ask("security group rule list sg2 --long")) == 5
    cli(f"security group rule delete {rule['id']}")
    assert cli.ask("security group show sg2")["description"] == "y"
    assert "sg2" in cli("security group list")
    cli("security group delete sg2")


def test_agents_zones_quotas_and_extensions(cli: OpenStackCli) -> None:
    agents = cli.ask("network agent list")
    assert {agent["Host"] for agent in agents} == {"fake-1", "fake-2"}
    cli(f"network agent show {agents[0]['ID']}")
    cli(f"network agent set {agents[0]['ID']} --disable")
    cli(f"network agent set {agents[0]['ID']} --enable")
    assert cli.ask("availability zone list --long")
    assert cli.ask("availability zone list --network")
    assert cli.ask("availability zone list --compute")
    cli("project create spenders")
    cli("quota set spenders --networks 5 --instances 3 --key-pairs 7")
    shown = {row["Resource"]: row["Limit"] for row in cli.ask("quota show spenders")}
    assert (shown["networks"], shown["instances"], shown["key-pairs"]) == (5, 3, 7)
    for line in (
        "quota show --default",
        "quota show --usage",
        "quota show --network spenders",
        "quota list --compute",
        "quota list --network",
        "quota delete spenders",
    ):
        cli(line)
    cli("project delete spenders")
    assert cli.ask("extension list --network")
    assert "router" in cli("extension show router")


def test_sharing_scopes_and_pools(cli: OpenStackCli) -> None:
    cli("project create guests")
    cli("network create open")
    rule = cli.ask(
        "network rbac create --type network --action access_as_shared --target-project guests open"
    )["id"]
    assert rule in cli("network rbac list")
    cli(f"network rbac show {rule}")
    cli(f"network rbac delete {rule}")
    cli("address scope create a1")
    cli("address scope set a1 --name a2")
    cli("address scope show a2")
    cli(
        "subnet pool create pool --pool-prefix 10.55.0.0/16 --default-prefix-length 24 "
        "--address-scope a2"
    )
    cli("subnet pool set pool --description x")
    assert cli.ask("subnet pool show pool")["description"] == "x"
    made = cli.ask("subnet create cut --network open --subnet-pool pool")
    assert made["cidr"].startswith("10.55.")
    cli("ip availability list")
    cli("ip availability show open")
    for line in (
        "network delete open",
        "subnet pool delete pool",
        "address scope delete a2",
        "project delete guests",
    ):
        cli(line)


# --- Compute ----------------------------------------------------------------------------------


def test_flavors_keypairs_and_server_groups(cli: OpenStackCli, tmp_path: Path) -> None:
    cli("project create few")
    cli("flavor create f1 --ram 128 --disk 1 --vcpus 1 --property a=b --description x")
    cli("flavor create f2 --ram 64 --disk 1 --vcpus 1 --private --project few --id 77")
    cli("flavor set f1 --property c=d --description y")
    cli("flavor unset f1 --property a")
    assert cli.ask("flavor show f1")["properties"] == {"c": "d"}
    cli("flavor set 77 --project admin")
    cli("flavor unset 77 --project admin")
    assert {"f1", "f2"} <= {row["Name"] for row in cli.ask("flavor list --all --long")}
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    cli(f"keypair create k1 --public-key {key}.pub")
    cli(f"keypair create k2 --private-key {tmp_path}/k2")
    assert "PRIVATE KEY" in (tmp_path / "k2").read_text()
    assert "k1" in cli("keypair list")
    assert (
        cli("keypair show k1 --public-key").split()[:2]
        == (tmp_path / "key.pub").read_text().split()[:2]
    )
    cli("server group create g1 --policy anti-affinity")
    assert cli.ask("server group show g1")["policy"] == "anti-affinity"
    assert "g1" in cli("server group list --long")
    for line in (
        "server group delete g1",
        "keypair delete k1 k2",
        "flavor delete f1 f2",
        "project delete few",
    ):
        cli(line)


def test_the_life_of_a_server(
    cloud: CommandCloud, cli: OpenStackCli, network: str, data: Path
) -> None:
    cli(f"image create boots --disk-format raw --container-format bare --file {data}")
    cli("flavor create small --ram 64 --disk 1 --vcpus 1")
    cli(f"keypair create mine --private-key {data.parent}/mine")
    cli("server group create apart --policy soft-anti-affinity")
    cli("security group create guards")
    made = cli.ask(
        "server create v1 --image boots --flavor small --network inside "
        "--key-name mine --security-group guards --property a=b --config-drive True "
        f"--user-data {data.parent}/mine --server-group apart --wait"
    )
    assert made["status"] == "ACTIVE"
    cli("server create w --image boots --flavor small --network inside --min 2 --max 2 --wait")
    cli("port create fixed --network inside")
    cli("server create v2 --image boots --flavor small --port fixed --wait")
    cli(
        "server create v3 --image boots --flavor small --network inside --hostname hh "
        "--description d --tag t --os-compute-api-version 2.90 --wait"
    )
    assert len(cli.ask("server list --long --all-projects")) == 5
    assert len(cli.ask("server list --flavor small --image boots --status ACTIVE")) == 5
    assert len(cli.ask("server list --name v3 --tags t --os-compute-api-version 2.90")) == 1
    assert len(cli.ask("server list --ip 10.20.0")) == 5

    cli("server set v1 --name v1 --property c=d")
    cli("server unset v1 --property a")
    assert cli.ask("server show v1")["properties"] == {"c": "d"}
    cli("server set v1 --description z --tag u --hostname renamed --os-compute-api-version 2.90")
    assert cli.ask("server show v1 --os-compute-api-version 2.90")["tags"] == ["u"]
    cli("server unset v1 --description --tag u --os-compute-api-version 2.90")
    cli("server show v1 --diagnostics")
    cli("server set v1 --state active --auto-approve")

    for line, status in (
        ("stop v1", "SHUTOFF"),
        ("start v1", "ACTIVE"),
        ("reboot v1 --wait", "ACTIVE"),
        ("reboot v1 --hard --wait", "ACTIVE"),
        ("pause v1", "PAUSED"),
        ("unpause v1", "ACTIVE"),
        ("suspend v1", "SUSPENDED"),
        ("resume v1", "ACTIVE"),
        ("rebuild v1 --image boots --name v1 --wait", "ACTIVE"),
    ):
        cli(f"server {line}")
        _wait_for_status(cloud, made["id"], status)
    cli("server image create v1 --name shot --property a=b --wait")
    # The image has its data a moment before the server's task ends, as in Nova.
    _wait_for_status(cloud, made["id"], "ACTIVE")
    shot = cli.ask("image show shot")
    assert (shot["status"], shot["properties"]["a"]) == ("active", "b")
    cli("server backup create v1 --name night --type daily --rotate 1 --wait")
    _wait_for_status(cloud, made["id"], "ACTIVE")
    cli("image delete shot night")
    cli("server lock v1 --reason why --os-compute-api-version 2.90")
    assert cli.ask("server show v1 --os-compute-api-version 2.90")["locked_reason"] == "why"
    cli("server unlock v1")

    assert "system ready" in cli("console log show v1")
    events = {row["Action"] for row in cli.ask("server event list v1 --long")}
    assert {"create", "stop", "start", "reboot", "rebuild", "pause", "suspend"} <= events
    request = cli.ask("server event list v1")[0]["Request ID"]
    assert cli.ask(f"server event show v1 {request}")["request_id"] == request
    _plug(cli)
    cli("usage show")
    cli("server delete v1 v2 v3 w-1 w-2 --wait")
    assert cli.ask("server list --all-projects") == []
    assert cli.ask("server list --deleted")
    for line in (
        "port delete fixed",
        "server group delete apart",
        "keypair delete mine",
        "security group delete guards",
        "flavor delete small",
        "image delete boots",
    ):
        cli(line)
    cloud.login()
    cloud.assert_whole()


def _plug(cli: OpenStackCli) -> None:
    """Networks, ports, addresses and security groups come to the server v1 and go."""
    cli("network create more")
    cli("subnet create more --network more --subnet-range 10.21.0.0/24")
    cli("server add network v1 more")
    assert "more" in cli.ask("server show v1")["addresses"]
    cli("server remove network v1 more")
    cli("port create plug --network more")
    cli("server add port v1 plug")
    cli("server remove port v1 plug")
    cli("port delete plug")  # what the user made is not the server's to remove
    fixed = cli.ask("server add fixed ip v1 more")
    assert fixed
    cli("server remove network v1 more")
    address = cli.ask("floating ip create outside")["floating_ip_address"]
    cli(f"server add floating ip v1 {address}")
    assert address in cli.ask("server show v1")["addresses"]["inside"]
    cli(f"server remove floating ip v1 {address}")
    cli("server add security group v1 default")
    cli("server remove security group v1 guards")
    assert [group["name"] for group in cli.ask("server show v1")["security_groups"]] == ["default"]
    cli(f"floating ip delete {address}")
    until = time.monotonic() + 200
    while cli.ask("port list --network more --device-owner compute:nova"):
        # a removed interface goes by and by
        assert time.monotonic() < until
    cli("network delete more")


def _wait_for_status(cloud: CommandCloud, server: str, status: str) -> None:
    cloud.login()
    until = time.monotonic() + 200
    with cloud.client() as client:
        while (shown := client.get(f"/compute/v2.1/servers/{server}").json()["server"])[
            "status"
        ] != status or shown["OS-EXT-STS:task_state"]:
            assert time.monotonic() < until, f"{shown['status']} instead of {status}"
            time.sleep(0.02)


def test_hosts_aggregates_and_usage(cli: OpenStackCli) -> None:
    cli("aggregate create a1 --zone az1 --property x=y")
    cli("aggregate add host a1 fake-1")
    assert "az1" in cli("availability zone list --compute")
    cli("aggregate set a1 --property z=t --name a2")
    cli("aggregate unset a2 --property z")
    assert cli.ask("aggregate show a2")["hosts"] == ["fake-1"]
    assert "a2" in cli("aggregate list --long")
    cli("aggregate remove host a2 fake-1")
    cli("aggregate delete a2")
    assert {row["Hypervisor Hostname"] for row in cli.ask("hypervisor list --long")} == {
        "fake-1",
        "fake-2",
    }
    assert cli.ask("hypervisor list --matching fake-2")
    assert cli.ask("hypervisor show fake-1")["hypervisor_hostname"] == "fake-1"
    assert cli.ask("hypervisor stats show")["count"] == 2
    service = "compute service set fake-2 nova-compute"
    cli(f"{service} --disable --disable-reason broken")
    assert "broken" in cli("compute service list --long --service nova-compute")
    cli(f"{service} --enable")
    cli(f"{service} --down")
    cli(f"{service} --up")
    for line in (
        "usage list",
        "limits show --absolute",
        "limits show --rate",
        "host list",
        "host show fake-1",
    ):
        cli(line)
