"""A session with the unmodified openstacksdk: what the commands do, done from a program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.command import CommandCloud

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandCloud]:
    made = CommandCloud(tmp_path_factory.mktemp("sdk"), "--fake", "--nodes", "2")
    made.up()
    yield made
    made.purge()


@pytest.fixture(scope="module")
def sdk(cloud: CommandCloud) -> Iterator[Any]:
    import openstack

    made = openstack.connect(
        auth_url=f"{cloud.url}/identity/v3",
        username="admin",
        password=cloud.password,
        project_name="admin",
        user_domain_id="default",
        project_domain_id="default",
        region_name="RegionOne",
        load_yaml_config=False,
        load_envvars=False,
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def inside(sdk: Any) -> Any:
    network = sdk.network.create_network(name="inside")
    subnet = sdk.network.create_subnet(
        network_id=network.id, ip_version=4, cidr="10.0.0.0/24", name="inside"
    )
    outside = sdk.network.create_network(
        name="outside",
        is_router_external=True,
        provider_network_type="flat",
        provider_physical_network="external",
    )
    sdk.network.create_subnet(
        network_id=outside.id, ip_version=4, cidr="172.30.0.0/24", is_dhcp_enabled=False
    )
    router = sdk.network.create_router(name="way", external_gateway_info={"network_id": outside.id})
    sdk.network.add_interface_to_router(router, subnet_id=subnet.id)
    return network


def test_identity(cloud: CommandCloud, sdk: Any) -> None:
    identity = sdk.identity
    domain = identity.create_domain(name="d")
    project = identity.create_project(name="p", domain_id=domain.id, tags=["a"])
    user = identity.create_user(name="u", domain_id=domain.id, password="secret")
    group = identity.create_group(name="g", domain_id=domain.id)
    role = identity.create_role(name="r")
    identity.add_user_to_group(user, group)
    assert identity.check_user_in_group(user, group)
    assert [found.id for found in identity.group_users(group)] == [user.id]
    identity.assign_project_role_to_user(project, user, role)
    assert identity.validate_user_has_project_role(project, user, role)
    identity.assign_project_role_to_group(project, group, role)
    identity.assign_domain_role_to_user(domain, user, role)
    identity.assign_system_role_to_user(user, role, "all")
    assert len(list(identity.role_assignments(role_id=role.id))) == 4
    assert [found.name for found in identity.user_projects(user)] == ["p"]
    for unassign in (
        lambda: identity.unassign_project_role_from_user(project, user, role),
        lambda: identity.unassign_project_role_from_group(project, group, role),
        lambda: identity.unassign_domain_role_from_user(domain, user, role),
        lambda: identity.unassign_system_role_from_user(user, role, "all"),
    ):
        unassign()
    region = identity.create_region(id="far")
    service = identity.create_service(type="testing", name="s")
    endpoint = identity.create_endpoint(
        service_id=service.id, interface="public", url="http://x.example.org", region_id="far"
    )
    assert identity.get_endpoint(endpoint.id).url == "http://x.example.org"
    identity.delete_endpoint(endpoint)
    identity.delete_service(service)
    identity.delete_region(region)
    identity.remove_user_from_group(user, group)
    identity.update_user(user, is_enabled=False)
    assert not identity.get_user(user).is_enabled
    identity.delete_role(role)
    identity.update_domain(domain, is_enabled=False)
    identity.delete_domain(domain)
    assert identity.find_domain("d") is None
    assert identity.find_user(user.id) is None


def test_images(sdk: Any) -> None:
    image = sdk.image.create_image(
        name="i", data=b"12345", disk_format="raw", container_format="bare", tags=["t"], wait=True
    )
    assert sdk.image.get_image(image.id).size == 5
    image = sdk.image.update_image(image, name="j", os_distro="debian")
    assert image.os_distro == "debian"
    assert sdk.image.download_image(image).content == b"12345"
    sdk.image.add_tag(image, "u")
    sdk.image.remove_tag(image, "t")
    assert sdk.image.get_image(image.id).tags == ["u"]
    sdk.image.deactivate_image(image)
    sdk.image.reactivate_image(image)
    project = sdk.identity.create_project(name="with")
    image = sdk.image.update_image(image, visibility="shared")
    sdk.image.add_member(image, member=project.id)
    assert [member.status for member in sdk.image.members(image)] == ["pending"]
    sdk.image.remove_member(project.id, image)
    sdk.identity.delete_project(project)
    assert "j" in {found.name for found in sdk.image.images()}
    sdk.image.delete_image(image)
    assert sdk.image.find_image("j") is None


def test_network(sdk: Any, inside: Any) -> None:
    network = sdk.network
    made = network.create_network(name="n", description="x")
    subnet = network.create_subnet(
        network_id=made.id,
        ip_version=6,
        cidr="fd00::/64",
        ipv6_address_mode="slaac",
        ipv6_ra_mode="slaac",
    )
    assert network.update_subnet(subnet, name="s").name == "s"
    port = network.create_port(network_id=made.id)
    assert port.fixed_ips[0]["subnet_id"] == subnet.id
    network.set_tags(port, ["a", "b"])
    assert sorted(network.get_port(port.id).tags) == ["a", "b"]
    network.delete_port(port)
    group = network.create_security_group(name="g")
    rule = network.create_security_group_rule(
        security_group_id=group.id,
        direction="ingress",
        protocol="tcp",
        port_range_min=1,
        port_range_max=9,
        remote_group_id=group.id,
    )
    assert rule.id in {
        found["id"] for found in network.get_security_group(group.id).security_group_rules
    }
    network.delete_security_group_rule(rule)
    network.delete_security_group(group)
    address = network.create_ip(floating_network_id=network.find_network("outside").id)
    port = network.create_port(network_id=inside.id)
    assert network.update_ip(address, port_id=port.id).fixed_ip_address
    network.delete_ip(address)
    network.delete_port(port)
    network.delete_network(made)
    assert {agent.host for agent in network.agents()} == {"fake-1", "fake-2"}
    assert "router" in {extension.alias for extension in network.extensions()}
    assert list(network.availability_zones())
    project = sdk.current_project_id
    assert network.update_quota(project, networks=77).networks == 77
    network.delete_quota(project)


def test_pages_of_a_list(sdk: Any, inside: Any) -> None:
    made = sdk.network.create_ports(
        [{"network_id": inside.id, "name": f"page-{number}"} for number in range(7)]
    )
    assert len(list(made)) == 7
    ids = [port.id for port in sdk.network.ports(network_id=inside.id, limit=2)]
    assert len(ids) == len(set(ids))
    assert len(ids) == len(list(sdk.network.ports(network_id=inside.id)))
    for port in sdk.network.ports(network_id=inside.id):
        if port.name.startswith("page-"):
            sdk.network.delete_port(port)


def test_servers(cloud: CommandCloud, sdk: Any, inside: Any) -> None:
    compute = sdk.compute
    image = sdk.image.create_image(
        name="boots", data=b"12345", disk_format="raw", container_format="bare", wait=True
    )
    flavor = compute.create_flavor(name="small", ram=64, vcpus=1, disk=1)
    compute.create_flavor_extra_specs(flavor, {"a": "b"})
    key = compute.create_keypair(name="mine")
    assert "PRIVATE KEY" in key.private_key
    group = compute.create_server_group(name="apart", policy="anti-affinity")
    server = compute.create_server(
        name="one",
        image_id=image.id,
        flavor_id=flavor.id,
        key_name="mine",
        networks=[{"uuid": inside.id}],
        metadata={"a": "b"},
        scheduler_hints={"group": group.id},
    )
    server = compute.wait_for_server(server, interval=0.1, wait=90)
    assert server.addresses["inside"]
    for act, status in (
        (lambda: compute.stop_server(server), "SHUTOFF"),
        (lambda: compute.start_server(server), "ACTIVE"),
        (lambda: compute.reboot_server(server, "HARD"), "ACTIVE"),
        (lambda: compute.pause_server(server), "PAUSED"),
        (lambda: compute.unpause_server(server), "ACTIVE"),
        (lambda: compute.suspend_server(server), "SUSPENDED"),
        (lambda: compute.resume_server(server), "ACTIVE"),
        (lambda: compute.rebuild_server(server, image=image.id), "ACTIVE"),
    ):
        act()
        _settled(sdk, server, status)
    compute.lock_server(server)
    compute.unlock_server(server)
    compute.set_server_metadata(server, c="d")
    assert compute.get_server_metadata(server).metadata == {"a": "b", "c": "d"}
    compute.add_tag_to_server(server, "t")
    assert compute.get_server(server.id).tags == ["t"]
    assert "system ready" in compute.get_server_console_output(server)["output"]
    assert {"create", "stop"} <= {event.action for event in compute.server_actions(server)}
    port = sdk.network.create_port(network_id=inside.id)
    compute.create_server_interface(server, port_id=port.id)
    assert len(list(compute.server_interfaces(server))) == 2
    compute.delete_server_interface(port.id, server=server)
    assert list(compute.server_ips(server))
    assert compute.get_server_diagnostics(server)
    compute.delete_server(server)
    compute.wait_for_delete(server, interval=0.1, wait=90)
    assert compute.get_limits().absolute.total_cores is not None
    assert len(list(compute.hypervisors(details=True))) == 2
    assert {service.binary for service in compute.services()} >= {"nova-compute"}
    aggregate = compute.create_aggregate(name="a", availability_zone="az")
    compute.add_host_to_aggregate(aggregate, "fake-1")
    assert "az" in {zone.name for zone in compute.availability_zones()}
    compute.remove_host_from_aggregate(aggregate, "fake-1")
    compute.delete_aggregate(aggregate)
    assert {provider.name for provider in sdk.placement.resource_providers()} == {
        "fake-1",
        "fake-2",
    }
    compute.delete_server_group(group)
    compute.delete_keypair("mine")
    compute.delete_flavor(flavor)
    sdk.image.delete_image(image)
    cloud.login()
    cloud.assert_whole()


def test_the_cloud_layer(sdk: Any, inside: Any) -> None:
    """One call that boots a server with a floating IP and waits for it."""
    image = sdk.create_image(
        "whole", data=b"12345", disk_format="raw", container_format="bare", wait=True
    )
    sdk.create_flavor("whole", 64, 1, 1)
    server = sdk.create_server(
        "whole", image=image, flavor="whole", network="inside", auto_ip=True, wait=True, timeout=120
    )
    assert server.status == "ACTIVE"
    kinds = {address["OS-EXT-IPS:type"] for address in server.addresses["inside"]}
    assert kinds == {"fixed", "floating"}
    assert sdk.delete_server(server.id, wait=True, delete_ips=True)
    assert sdk.list_floating_ips() == []
    sdk.delete_flavor("whole")
    sdk.delete_image(image.id)


def _settled(sdk: Any, server: Any, status: str) -> None:
    import time

    until = time.monotonic() + 90
    while (shown := sdk.compute.get_server(server.id)).status != status or shown.task_state:
        assert time.monotonic() < until, f"{shown.status} {shown.task_state}, not {status}"
        time.sleep(0.02)
