"""What is refused, with which status, and that the message names the cause."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from nubelet.node import errors
from tests.cloud import TestedCloud, make_cloud
from tests.compute_calls import Caller, Project

NOWHERE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path_factory.mktemp("refusals"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def project(cloud: TestedCloud) -> Project:
    made = Project(cloud)
    made.raise_quotas(instances=-1, cores=-1, ram=-1)
    return made


@pytest.fixture
def member(cloud: TestedCloud) -> Caller:
    return Caller(cloud)


@pytest.fixture
def admin(cloud: TestedCloud) -> Caller:
    return Caller(cloud, who="admin")


@pytest.fixture(scope="module")
def server_id(cloud: TestedCloud, project: Project) -> str:
    return project.boot(Caller(cloud))


def refusal(caller: Caller, method: str, path: str, body: Any, status: int) -> str:
    """The message of a refusal, in the envelope of the Compute API."""
    answer = caller.call(method, path, body)
    assert answer.status_code == status, (path, answer.status_code, answer.text)
    [(kind, told)] = answer.json().items()
    names = {
        400: "badRequest",
        403: "forbidden",
        404: "itemNotFound",
        409: "conflictingRequest",
        401: "unauthorized",
        413: "overLimit",
    }
    assert kind == names[status]
    assert told["code"] == status
    return str(told["message"])


CREATIONS: list[tuple[str, dict[str, Any], int, str]] = [
    ("no image", {"imageRef": ""}, 400, "imageRef"),
    ("unknown image", {"imageRef": NOWHERE}, 400, f"Image {NOWHERE} could not be found"),
    ("image that is no id", {"imageRef": "x/y"}, 400, "Invalid imageRef"),
    ("unknown flavor", {"flavorRef": "none"}, 400, "Flavor none could not be found"),
    ("unknown key", {"key_name": "none"}, 400, "Invalid key_name"),
    ("empty name", {"name": ""}, 400, "name"),
    ("spaces around the name", {"name": " x "}, 400, "name"),
    ("too long a name", {"name": "x" * 256}, 400, "name"),
    ("unknown field", {"color": "red"}, 400, "color"),
    ("bad user data", {"user_data": "not base64!"}, 400, "base 64"),
    ("bad access address", {"accessIPv4": "1.2.3"}, 400, "accessIPv4"),
    ("metadata key", {"metadata": {"a" * 256: "x"}}, 400, "metadata"),
    ("metadata value", {"metadata": {"a": "x" * 256}}, 400, "a"),
    ("too much metadata", {"metadata": {str(n): "x" for n in range(129)}}, 403, "metadata"),
    ("tag with comma", {"tags": ["a,b"]}, 400, "tags"),
    ("too many tags", {"tags": [str(n) for n in range(51)]}, 400, "tags"),
    ("counts the wrong way", {"min_count": 3, "max_count": 2}, 400, "min_count must be"),
    ("no server", {"min_count": 0}, 400, "min_count"),
    ("count that is no number", {"max_count": "x"}, 400, "max_count"),
    ("unknown network", {"networks": [{"uuid": NOWHERE}]}, 400, NOWHERE),
    ("network that is no id", {"networks": [{"uuid": "abc"}]}, 400, "networks"),
    ("unknown port", {"networks": [{"port": NOWHERE}]}, 400, NOWHERE),
    ("auto and more", {"networks": "all"}, 400, "networks"),
    ("unknown security group", {"security_groups": [{"name": "none"}]}, 400, "none"),
    ("unknown zone", {"availability_zone": "mars"}, 400, "mars"),
    ("zone of four parts", {"availability_zone": "a:b:c:d"}, 400, "a:b:c:d"),
    ("forced host", {"availability_zone": "nova:host1"}, 403, "forced_host"),
    ("named host", {"host": "host1"}, 403, "requested_destination"),
    ("certificates", {"trusted_image_certificates": ["x"]}, 400, "trusted_image_certificates"),
    (
        "volume",
        {
            "block_device_mapping_v2": [
                {
                    "boot_index": 0,
                    "source_type": "volume",
                    "destination_type": "volume",
                    "uuid": NOWHERE,
                }
            ]
        },
        400,
        "volume",
    ),
    (
        "old volume",
        {"block_device_mapping": [{"device_name": "/dev/vda", "volume_id": NOWHERE}]},
        400,
        "volume",
    ),
    (
        "image on a volume",
        {
            "block_device_mapping_v2": [
                {
                    "boot_index": 0,
                    "source_type": "image",
                    "destination_type": "volume",
                    "volume_size": 1,
                    "uuid": NOWHERE,
                }
            ]
        },
        400,
        "volume",
    ),
    (
        "swap beyond the flavor",
        {
            "block_device_mapping_v2": [
                {
                    "boot_index": -1,
                    "source_type": "blank",
                    "destination_type": "local",
                    "guest_format": "swap",
                    "volume_size": 1,
                }
            ]
        },
        400,
        "Swap",
    ),
    ("host name with a dot at 2.90", {"hostname": "a/b"}, 400, "hostname"),
]


@pytest.mark.parametrize(
    ("fields", "status", "named"),
    [each[1:] for each in CREATIONS],
    ids=[each[0] for each in CREATIONS],
)
def test_creations_that_are_refused(
    member: Caller, project: Project, fields: dict[str, Any], status: int, named: str
) -> None:
    body = project.body(member, **fields)
    message = refusal(member, "POST", "/servers", body, status)
    assert named in message


def test_hints_that_are_refused(member: Caller, project: Project) -> None:
    for hints, named in (
        ({"group": NOWHERE}, NOWHERE),
        ({"group": "x"}, "x"),
        ({"same_host": "x"}, "same_host"),
        ({"query": "["}, "query"),
        ({"build_near_host_ip": "here"}, "build_near_host_ip"),
    ):
        body = project.body(member) | {"os:scheduler_hints": hints}
        assert named in refusal(member, "POST", "/servers", body, 400)


def test_an_image_that_does_not_fit_the_flavor(member: Caller, project: Project) -> None:
    large = project.new_image("large", min_ram=4096)
    assert "4096 MiB" in refusal(
        member, "POST", "/servers", project.body(member, imageRef=large), 400
    )
    wide = project.new_image("wide", min_disk=50)
    assert "minimum size" in refusal(
        member, "POST", "/servers", project.body(member, imageRef=wide), 400
    )


def test_another_projects_image_and_port_do_not_exist(
    cloud: TestedCloud, project: Project, member: Caller
) -> None:
    theirs = project.new_image("private", "stranger", visibility="private")
    assert "could not be found" in refusal(
        member, "POST", "/servers", project.body(member, imageRef=theirs), 400
    )
    port = project.new_port()
    stranger = Caller(cloud, who="stranger")
    body = project.body(stranger, imageRef=theirs, networks=[{"port": port["id"]}])
    assert port["id"] in refusal(stranger, "POST", "/servers", body, 400)


def test_a_port_is_used_once(member: Caller, project: Project, server_id: str) -> None:
    port = project.new_port()
    first = project.boot(member, networks=[{"port": port["id"]}])
    again = project.body(member, networks=[{"port": port["id"]}])
    assert "still in use" in refusal(member, "POST", "/servers", again, 409)
    many = project.body(member, networks=[{"port": project.new_port()["id"]}], max_count=2)
    assert "port" in refusal(member, "POST", "/servers", many, 400)
    project.free(first)
    free = project.cloud.client("member").get(f"/network/v2.0/ports/{port['id']}").json()["port"]
    assert (free["device_id"], free["status"]) == ("", "DOWN")


def test_of_several_networks_one_must_be_named(cloud: TestedCloud, project: Project) -> None:
    stranger = cloud.client("stranger")
    for name in ("one", "two"):
        made = stranger.post("/network/v2.0/networks", json={"network": {"name": name}}).json()
        stranger.post(
            "/network/v2.0/subnets",
            json={
                "subnet": {
                    "network_id": made["network"]["id"],
                    "cidr": "10.9.0.0/24",
                    "ip_version": 4,
                }
            },
        )
    caller = Caller(cloud, who="stranger")
    image_id = project.new_image("theirs", "stranger")
    body = project.body(caller, imageRef=image_id)
    assert "Multiple possible networks" in refusal(caller, "POST", "/servers", body, 409)


# --- States ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "argument"), [("os-start", None), ("unpause", None), ("resume", None)]
)
def test_actions_in_the_wrong_state(
    member: Caller, server_id: str, action: str, argument: Any
) -> None:
    message = refusal(member, "POST", f"/servers/{server_id}/action", {action: argument}, 409)
    assert "while it is in vm_state active" in message
    assert server_id in message


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"reboot": {}}, "type"),
        ({"reboot": {"type": "warm"}}, "type"),
        ({"fly": None}, "fly"),
        ({}, "action"),
        ({"os-resetState": {"state": "gone"}}, "state"),
        ({"rebuild": {}}, "imageRef"),
        ({"os-getConsoleOutput": {"length": "x"}}, "length"),
        ({"os-getConsoleOutput": {"length": -5}}, "length"),
        ({"addSecurityGroup": {}}, "name"),
        ({"lock": {"locked_reason": ""}}, "locked_reason"),
    ],
)
def test_malformed_actions(admin: Caller, server_id: str, body: Any, named: str) -> None:
    assert named in refusal(admin, "POST", f"/servers/{server_id}/action", body, 400)


def test_what_is_not_there(member: Caller, server_id: str) -> None:
    for method, path in (
        ("GET", f"/servers/{NOWHERE}"),
        ("PUT", f"/servers/{NOWHERE}"),
        ("DELETE", f"/servers/{NOWHERE}"),
        ("GET", f"/servers/{NOWHERE}/metadata"),
        ("GET", f"/servers/{server_id}/metadata/none"),
        ("DELETE", f"/servers/{server_id}/metadata/none"),
        ("GET", f"/servers/{server_id}/ips/none"),
        ("GET", f"/servers/{NOWHERE}/ips"),
        ("GET", f"/servers/{server_id}/os-interface/{NOWHERE}"),
        ("DELETE", f"/servers/{server_id}/os-interface/{NOWHERE}"),
        ("GET", f"/servers/{server_id}/tags/none"),
        ("GET", "/flavors/none"),
        ("DELETE", "/os-keypairs/none"),
    ):
        body = {"server": {"name": "x"}} if method == "PUT" else None
        refusal(member, method, path, body, 404)
    for path in ("/no-such-thing", "/os-fping", "/servers/x/y/z", "/os-volumes_boot"):
        assert member.call("GET", path).status_code == 404


def test_locks(member: Caller, admin: Caller, server_id: str, cloud: TestedCloud) -> None:
    member.act(server_id, "lock", {"locked_reason": "do not touch"})
    shown = member.get(f"/servers/{server_id}")["server"]
    assert (shown["locked"], shown["locked_reason"]) == (True, "do not touch")
    for method, path, body in (
        ("POST", "/action", {"os-stop": None}),
        ("DELETE", "", None),
        ("PUT", "/metadata", {"metadata": {}}),
        ("POST", "/os-interface", {"interfaceAttachment": {}}),
    ):
        assert "is locked" in refusal(member, method, f"/servers/{server_id}{path}", body, 409)
    assert server_id in [each["id"] for each in member.get("/servers?locked=true")["servers"]]
    member.act(server_id, "unlock")
    admin.act(server_id, "lock")
    assert "unlock_override" in refusal(
        member, "POST", f"/servers/{server_id}/action", {"unlock": None}, 403
    )
    admin.act(server_id, "unlock")


# --- Others ------------------------------------------------------------------------------------


def test_others_see_and_change_nothing(cloud: TestedCloud, server_id: str) -> None:
    stranger = Caller(cloud, who="stranger")
    path = f"/servers/{server_id}"
    for method, rest, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("PUT", "", {"server": {"name": "x"}}),
        ("POST", "/action", {"os-stop": None}),
        ("GET", "/metadata", None),
        ("GET", "/os-interface", None),
        ("GET", "/ips", None),
        ("GET", "/tags", None),
        ("POST", "/action", {"os-getConsoleOutput": {}}),
    ):
        refusal(stranger, method, path + rest, body, 404)
    assert server_id not in [each["id"] for each in stranger.get("/servers")["servers"]]
    assert "get_all_tenants" in refusal(stranger, "GET", "/servers?all_tenants=1", None, 403)
    refusal(stranger, "GET", f"/servers?marker={server_id}", None, 400)


def test_readers_only_read(cloud: TestedCloud, project: Project, server_id: str) -> None:
    reader = Caller(cloud, who="reader")
    reader.get(f"/servers/{server_id}")
    for method, path, body, rule in (
        ("POST", "/servers", project.body(reader), "servers:create"),
        ("DELETE", f"/servers/{server_id}", None, "servers:delete"),
        ("POST", f"/servers/{server_id}/action", {"os-stop": None}, "servers:stop"),
        ("POST", f"/servers/{server_id}/action", {"os-getConsoleOutput": {}}, "os-console-output"),
        ("POST", f"/servers/{server_id}/metadata", {"metadata": {}}, "server-metadata:create"),
    ):
        assert rule in refusal(reader, method, path, body, 403)


def test_members_are_no_administrators(member: Caller, server_id: str) -> None:
    for method, path, body, rule in (
        (
            "POST",
            "/flavors",
            {"flavor": {"name": "x", "ram": 1, "vcpus": 1, "disk": 1}},
            "os-flavor-manage:create",
        ),
        ("GET", f"/servers/{server_id}/diagnostics", None, "os-server-diagnostics"),
        (
            "POST",
            f"/servers/{server_id}/action",
            {"os-resetState": {"state": "error"}},
            "os-admin-actions:reset_state",
        ),
    ):
        assert rule in refusal(member, method, path, body, 403)


# --- Quotas ------------------------------------------------------------------------------------


def test_quotas_name_what_is_used_up(cloud: TestedCloud, project: Project, member: Caller) -> None:
    present = len(member.get("/servers")["servers"])
    project.raise_quotas(instances=present + 1, cores=-1, ram=-1)
    try:
        made = member.post("/servers", project.body(member, max_count=5), 202)
        cloud.settle()
        assert len(member.get("/servers")["servers"]) == present + 1
        message = refusal(member, "POST", "/servers", project.body(member), 403)
        assert f"already used {present + 1} of {present + 1} instances" in message
        project.free(made["server"]["id"])
        message = refusal(member, "POST", "/servers", project.body(member, min_count=2), 403)
        assert "requested 2" in message
    finally:
        project.raise_quotas(instances=-1)


def test_a_quota_holds_under_a_race(cloud: TestedCloud, project: Project, member: Caller) -> None:
    present = len(member.get("/servers")["servers"])
    project.raise_quotas(instances=present + 3)
    statuses: list[int] = []

    def create() -> None:
        caller = Caller(cloud)
        statuses.append(
            caller.call("POST", "/servers", project.body(caller, name="raced")).status_code
        )

    threads = [threading.Thread(target=create) for _ in range(10)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    project.raise_quotas(instances=-1)
    assert sorted(statuses) == [202] * 3 + [403] * 7
    cloud.settle()
    project.free(*(each["id"] for each in member.get("/servers?name=raced")["servers"]))


# --- Hosts that refuse -------------------------------------------------------------------------


def test_no_valid_host_says_why_for_each_host(
    project: Project, admin: Caller, member: Caller
) -> None:
    huge = admin.post(
        "/flavors", {"flavor": {"name": "huge", "ram": 1 << 30, "vcpus": 1, "disk": 1}}, 200
    )["flavor"]["id"]
    failed = project.show(project.boot(member, flavorRef=huge), who="member")
    assert failed["status"] == "ERROR"
    message = failed["fault"]["message"]
    assert message.startswith("No valid host was found. host1: ")
    for name in ("host1", "host2"):
        assert f"{name}: " in message
    assert "memory" in message
    assert failed["fault"]["code"] == 500
    project.free(failed["id"])


def test_the_next_host_is_tried_when_one_refuses(
    cloud: TestedCloud, project: Project, member: Caller
) -> None:
    for agent in cloud.agents.values():
        agent.hypervisor.faults.fail_next("ensure_guest", errors.HYPERVISOR_REFUSED, "no today")
    refused = project.boot(member)
    shown = project.show(refused)
    assert shown["status"] == "ERROR"
    assert "host1: no today" in shown["fault"]["message"]
    assert "host2: no today" in shown["fault"]["message"]
    cloud.agents["host1"].hypervisor.faults.clear()
    cloud.agents["host2"].hypervisor.faults.clear()
    busy = project.show(project.boot(member))["OS-EXT-SRV-ATTR:host"]
    other = next(name for name in cloud.agents if name != busy)
    cloud.agents[other].hypervisor.faults.fail_next(
        "ensure_guest", errors.HYPERVISOR_REFUSED, "not here", keep=True
    )
    try:
        servers = [project.show(project.boot(member)) for _ in range(2)]
        assert {each["OS-EXT-SRV-ATTR:host"] for each in servers} == {busy}
    finally:
        cloud.agents[other].hypervisor.faults.clear()
    project.free(refused, *(each["id"] for each in servers))


def test_a_missing_image_file_is_told(cloud: TestedCloud, project: Project, member: Caller) -> None:
    image_id = project.new_image("vanishes")
    path = cloud.cloud.settings.image.directory
    for found in path.rglob(f"*{image_id}*"):
        found.unlink()
    failed = project.show(project.boot(member, imageRef=image_id), who="member")
    assert failed["status"] == "ERROR"
    assert image_id in failed["fault"]["message"]
    project.free(failed["id"])


def test_anti_affinity_keeps_servers_apart(project: Project, member: Caller) -> None:
    group = member.post(
        "/os-server-groups", {"server_group": {"name": "apart", "policy": "anti-affinity"}}, 200
    )["server_group"]["id"]
    ids = []
    for _ in range(3):
        body = project.body(member) | {"os:scheduler_hints": {"group": group}}
        ids.append(member.post("/servers", body, 202)["server"]["id"])
    project.cloud.settle()
    shown = [project.show(each) for each in ids]
    assert {each.get("OS-EXT-SRV-ATTR:host") for each in shown[:2]} == {"host1", "host2"}
    assert shown[2]["status"] == "ERROR"
    assert "(anti-affinity)" in shown[2]["fault"]["message"]
    project.free(*ids)


def test_user_data_is_kept_as_given(project: Project, member: Caller) -> None:
    text = base64.b64encode(b"x" * 1000).decode()
    server_id = project.boot(member, user_data=text)
    assert project.show(server_id)["OS-EXT-SRV-ATTR:user_data"] == text
    project.free(server_id)
