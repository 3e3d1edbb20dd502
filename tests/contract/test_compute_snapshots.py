"""createImage and createBackup: what the answer, the image and the refusals say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud import TestedCloud, make_cloud
from tests.compute_calls import Caller, Project, read_contract
from tests.published import Contract


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path_factory.mktemp("snapshots"), run_operations=False)
    yield made
    made.close()


@pytest.fixture(scope="module")
def project(cloud: TestedCloud) -> Project:
    return Project(cloud)


@pytest.fixture(scope="module")
def contract(published: Path) -> Contract:
    return read_contract(published)


@pytest.fixture
def member(cloud: TestedCloud, contract: Contract) -> Caller:
    return Caller(cloud, "2.104", "member", contract)


@pytest.fixture(scope="module")
def server_id(cloud: TestedCloud, project: Project) -> str:
    """Of an image with properties, min_disk and min_ram."""
    project.image_id = project.new_image(
        "special", hw_vif_model="e1000", own="yes", img_signature="abc", min_disk=1, min_ram=64
    )
    return project.boot(Caller(cloud, "2.104"))


def show_image(cloud: TestedCloud, image_id: str, status: int = 200) -> dict[str, Any]:
    answer = cloud.client("member").get(f"/image/v2/images/{image_id}")
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json() if status == 200 else {}
    return found


def task_state(member: Caller, server_id: str) -> str | None:
    return member.get(f"/servers/{server_id}")["server"]["OS-EXT-STS:task_state"]  # type: ignore[no-any-return]


def test_the_image_tells_where_it_comes_from(
    cloud: TestedCloud, project: Project, member: Caller, server_id: str
) -> None:
    given = {"name": "shot", "metadata": {"mine": "1", "own": "changed"}}
    image_id = member.act(server_id, "createImage", given)["image_id"]
    queued = show_image(cloud, image_id)
    assert (queued["status"], queued["visibility"]) == ("queued", "private")
    assert task_state(member, server_id) == "image_snapshot_pending"
    cloud.settle()
    assert task_state(member, server_id) is None
    found = show_image(cloud, image_id)
    expected = {
        "name": "shot",
        "status": "active",
        "disk_format": "qcow2",
        "container_format": "bare",
        "min_disk": 1,
        "min_ram": 64,
        "virtual_size": 1 << 30,
        "owner": cloud.user("member").project_id,
        "owner_id": cloud.user("member").project_id,
        "user_id": cloud.user("member").user_id,
        "image_type": "snapshot",
        "image_state": "available",
        "image_location": "snapshot",
        "instance_uuid": server_id,
        "base_image_ref": project.image_id,
        "hw_vif_model": "e1000",
        "mine": "1",
        "own": "changed",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "img_signature" not in found
    actions = member.get(f"/servers/{server_id}/os-instance-actions")["instanceActions"]
    assert actions[0]["action"] == "createImage"


def test_a_server_can_be_made_of_it(cloud: TestedCloud, project: Project, member: Caller) -> None:
    server_id = project.boot(member)
    image_id = member.act(server_id, "createImage", {"name": "again"})["image_id"]
    cloud.settle()
    second = project.boot(member, imageRef=image_id)
    assert project.show(second)["status"] == "ACTIVE"
    again = member.act(second, "createImage", {"name": "of the second"})["image_id"]
    cloud.settle()
    found = show_image(cloud, again)
    assert (found["base_image_ref"], found["instance_uuid"]) == (image_id, second)
    for one in (server_id, second):
        member.delete(f"/servers/{one}", 204)
    cloud.settle()


def test_until_2_44_the_location_names_the_image(
    cloud: TestedCloud, contract: Contract, server_id: str
) -> None:
    old = Caller(cloud, "2.44", "member", contract)
    for body in (
        {"createImage": {"name": "old"}},
        {"createBackup": {"name": "old", "backup_type": "daily", "rotation": "3"}},
    ):
        answer = old.call("POST", f"/servers/{server_id}/action", body, status=202)
        assert answer.content == b""
        image_id = answer.headers["Location"].rsplit("/", 1)[1]
        cloud.settle()
        assert show_image(cloud, image_id)["status"] == "active"


def test_one_at_a_time_and_the_state_is_named(
    cloud: TestedCloud, member: Caller, server_id: str
) -> None:
    image_id = member.act(server_id, "createImage", {"name": "first"})["image_id"]
    for action, argument in (
        ("createImage", {"name": "second"}),
        ("createBackup", {"name": "second", "backup_type": "d", "rotation": 1}),
        ("os-stop", None),
    ):
        refused = member.act(server_id, action, argument, 409)
        assert "task_state image_snapshot_pending" in refused["conflictingRequest"]["message"]
    cloud.settle()
    assert show_image(cloud, image_id)["status"] == "active"


@pytest.mark.parametrize(
    ("first", "back", "status"),
    [
        ("os-stop", "os-start", "SHUTOFF"),
        ("pause", "unpause", "PAUSED"),
        ("suspend", "resume", "SUSPENDED"),
        ("lock", "unlock", "ACTIVE"),
    ],
)
def test_states_in_which_it_is_allowed(
    cloud: TestedCloud, member: Caller, server_id: str, first: str, back: str, status: str
) -> None:
    member.act(server_id, first)
    cloud.settle()
    image_id = member.act(server_id, "createImage", {"name": first})["image_id"]
    cloud.settle()
    assert show_image(cloud, image_id)["status"] == "active"
    assert member.get(f"/servers/{server_id}")["server"]["status"] == status
    member.act(server_id, back)
    cloud.settle()


def test_a_server_in_error_is_refused(
    cloud: TestedCloud, contract: Contract, member: Caller, server_id: str
) -> None:
    admin = Caller(cloud, "2.104", "admin", contract)
    admin.act(server_id, "os-resetState", {"state": "error"})
    refused = member.act(server_id, "createImage", {"name": "no"}, 409)
    assert "vm_state error" in refused["conflictingRequest"]["message"]
    admin.act(server_id, "os-resetState", {"state": "active"})


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({}, 400, "name"),
        ({"name": ""}, 400, "name"),
        ({"name": "n" * 256}, 400, "name"),
        ({"name": "n", "other": 1}, 400, "other"),
        ({"name": "n", "metadata": {"k": "v" * 256}}, 400, "longer than 255"),
        ({"name": "n", "metadata": {"": "v"}}, 400, "metadata"),
        ({"name": "n", "metadata": {"min_disk": "0"}}, 400, "min_disk"),
        ({"name": "n", "metadata": {"os_glance_x": "v"}}, 403, "os_glance_x"),
        ({"name": "n", "metadata": {f"k{n}": "v" for n in range(129)}}, 403, "128"),
    ],
)
def test_what_is_refused(
    member: Caller, server_id: str, given: dict[str, Any], status: int, words: str
) -> None:
    refused = member.act(server_id, "createImage", given, status)
    (error,) = refused.values()
    assert words in error["message"]
    assert task_state(member, server_id) is None


def test_of_others_nothing(cloud: TestedCloud, member: Caller, server_id: str) -> None:
    assert "itemNotFound" in member.act("no-such", "createImage", {"name": "n"}, 404)
    reader = Caller(cloud, "2.104", "reader")
    assert "forbidden" in reader.act(server_id, "createImage", {"name": "n"}, 403)


def test_a_host_that_fails_leaves_no_image_and_says_why(
    cloud: TestedCloud, member: Caller, server_id: str
) -> None:
    for agent in cloud.agents.values():
        agent.disks.faults.fail_next("ensure_snapshot", "disk_full", "The disk of host x is full")
    image_id = member.act(server_id, "createImage", {"name": "n"})["image_id"]
    cloud.settle()
    show_image(cloud, image_id, 404)
    found = member.get(f"/servers/{server_id}")["server"]
    assert (found["status"], found["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
    path = f"/servers/{server_id}/os-instance-actions"
    action = member.get(path)["instanceActions"][0]
    assert action["message"] == "The disk of host x is full"
    for agent in cloud.agents.values():
        agent.disks.faults.clear()


def test_backups_rotate(cloud: TestedCloud, member: Caller, server_id: str) -> None:
    made = []
    for kind, rotation in (("weekly", 2), ("d", 2), ("d", 2), ("d", 2)):
        given = {"name": f"{kind} {len(made)}", "backup_type": kind, "rotation": rotation}
        made.append(member.act(server_id, "createBackup", given)["image_id"])
        assert task_state(member, server_id) == "image_backup"
        cloud.settle()
    kept = [show_image(cloud, made[number]) for number in (0, 2, 3)]
    assert [each["backup_type"] for each in kept] == ["weekly", "d", "d"]
    assert kept[0]["image_type"] == "backup"
    show_image(cloud, made[1], 404)
    none = {"name": "none", "backup_type": "d", "rotation": 0}
    member.act(server_id, "createBackup", none)
    cloud.settle()
    for image_id in made[1:]:
        show_image(cloud, image_id, 404)
    show_image(cloud, made[0])
