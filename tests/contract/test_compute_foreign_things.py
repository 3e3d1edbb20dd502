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


def test_hints_about_servers_tell_nothing_of_another_projects(
    cloud: TestedCloud, member: Caller, project: Project
) -> None:
    """Named, they are as good as gone: `same_host` finds no host, `different_host` any."""
    theirs = _made_by(cloud, project, "stranger", networks="none")
    shown = {}
    for server_id in (theirs, "00000000-1111-2222-3333-444444444444"):
        body = {**project.body(member, networks="none"), "os:scheduler_hints": {}}
        body["os:scheduler_hints"] = {"same_host": [server_id]}
        lonely = member.post("/servers", body, 202)["server"]["id"]
        cloud.settle()
        answer = project.show(lonely, "member")
        shown[server_id] = (answer["status"], answer["fault"]["message"].replace(lonely, ""))
        project.free(lonely)
    assert len(set(shown.values())) == 1, shown
    assert next(iter(shown.values()))[0] == "ERROR"
    hosts = {}
    for _ in range(2):  # the two hosts of the cloud: a hint that counts keeps off one of them
        body["os:scheduler_hints"] = {"different_host": [theirs, *hosts]}
        made = member.post("/servers", body, 202)["server"]["id"]
        cloud.settle()
        hosts[made] = project.show(made)["OS-EXT-SRV-ATTR:host"]
    assert len(set(hosts.values())) == 2, hosts
    project.free(theirs, *hosts)


def test_an_administrator_may_name_the_servers_of_others_in_hints(
    cloud: TestedCloud, project: Project
) -> None:
    theirs = _made_by(cloud, project, "stranger", networks="none")
    admin = Caller(cloud, who="admin")
    hints = {"same_host": [theirs]}
    body = {**project.body(admin, networks="none"), "os:scheduler_hints": hints}
    beside = admin.post("/servers", body, 202)["server"]["id"]
    cloud.settle()
    host = "OS-EXT-SRV-ATTR:host"
    assert project.show(beside)[host] == project.show(theirs)[host]
    project.free(theirs, beside)


def _made_by(cloud: TestedCloud, project: Project, who: str, **fields: object) -> str:
    """A server of that persona, of its own image."""
    caller = Caller(cloud, who=who)
    return project.boot(caller, imageRef=project.new_image("own", who), **fields)
