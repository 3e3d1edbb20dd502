"""Bodies of the Compute API name things of other projects: they are as good as unknown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cloud import TestedCloud, make_cloud
from tests.compute_calls import Caller, Project


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path_factory.mktemp("foreign"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def project(cloud: TestedCloud) -> Project:
    return Project(cloud)


@pytest.fixture
def member(cloud: TestedCloud) -> Caller:
    return Caller(cloud)


@pytest.mark.parametrize("name", ["kernel_id", "ramdisk_id"])
def test_kernel_and_ramdisk_are_images_the_caller_may_see(
    member: Caller, project: Project, name: str
) -> None:
    secret = project.new_image("secret", who="stranger")
    bait = project.new_image("bait", **{name: secret})
    answer = member.call("POST", "/servers", project.body(member, imageRef=bait), 400)
    assert f"Image {secret} could not be found" in answer.text
    good = project.new_image("good", **{name: project.image_id})
    server_id = project.boot(member, imageRef=good)
    rebuilt = member.call(
        "POST", f"/servers/{server_id}/action", {"rebuild": {"imageRef": bait}}, 400
    )
    assert f"Image {secret} could not be found" in rebuilt.text
    project.free(server_id)


def test_a_port_on_an_external_network_needs_the_rule_of_the_network(
    cloud: TestedCloud, member: Caller, project: Project
) -> None:
    admin = cloud.client("admin")
    outside = Project._made(
        admin.post(
            "/network/v2.0/networks", json={"network": {"name": "out", "router:external": True}}
        )
    )["network"]["id"]
    subnet = {"network_id": outside, "cidr": "203.0.113.0/24", "ip_version": 4}
    Project._made(admin.post("/network/v2.0/subnets", json={"subnet": subnet}))
    port = project.new_port(network_id=outside)["id"]
    body = project.body(member, networks=[{"port": port}])
    assert "external network" in member.call("POST", "/servers", body, 403).text
    server_id = project.boot(member, networks=[{"uuid": project.network_id}])
    attach = {"interfaceAttachment": {"port_id": port}}
    member.call("POST", f"/servers/{server_id}/os-interface", attach, 403)
    project.free(server_id)


def test_a_port_of_another_project_on_the_callers_network_is_not_the_callers(
    cloud: TestedCloud, member: Caller, project: Project
) -> None:
    owner = cloud.user("stranger").project_id
    port = project.new_port("admin", project_id=owner)["id"]
    body = project.body(member, networks=[{"port": port}])
    assert f"Port id {port} could not be found" in member.call("POST", "/servers", body, 400).text
    server_id = project.boot(member, networks=[{"uuid": project.network_id}])
    attach = {"interfaceAttachment": {"port_id": port}}
    member.call("POST", f"/servers/{server_id}/os-interface", attach, 400)
    project.free(server_id)


def test_a_marker_tells_nothing_of_a_hidden_image(cloud: TestedCloud, project: Project) -> None:
    secret = project.new_image("secret", who="stranger")
    old = Caller(cloud, "2.35")
    assert (
        f"marker [{secret}] not found"
        in old.call("GET", f"/images?marker={secret}", status=400).text
    )


@pytest.mark.parametrize(
    "hints", [{"query": '["=", "$host", "host1"]'}, {"build_near_host_ip": "127.0.0.1"}]
)
def test_hints_about_hosts_are_for_who_may_name_one(
    cloud: TestedCloud, member: Caller, project: Project, hints: dict[str, str]
) -> None:
    body = {**project.body(member, networks="none"), "os:scheduler_hints": hints}
    refused = member.call("POST", "/servers", body, 403)
    assert "compute:servers:create:requested_destination" in refused.text
    made = Caller(cloud, who="admin").call("POST", "/servers", body, 202)
    assert made.json()["server"]["id"]
