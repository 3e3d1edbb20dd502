"""What goes away elsewhere goes away here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nubelet.compute import doctor as compute_doctor
from nubelet.kernel import events
from tests.cloud import TestedCloud, make_cloud
from tests.compute_calls import Caller, Project
from tests.contract.test_compute_contract import PUBLIC_KEY


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path, hosts=("host1",))
    yield made
    made.close()


def test_a_deleted_port_leaves_its_server(cloud: TestedCloud) -> None:
    project, member = Project(cloud), Caller(cloud)
    server_id = project.boot(member)
    [card] = member.get(f"/servers/{server_id}/os-interface")["interfaceAttachments"]
    gone = cloud.client("member").delete(f"/network/v2.0/ports/{card['port_id']}")
    assert gone.status_code == 204
    cloud.reconcile("departures")
    cloud.settle()
    assert member.get(f"/servers/{server_id}/os-interface")["interfaceAttachments"] == []
    assert cloud.agents["host1"].hypervisor.observe_guest(server_id).nics == ()
    assert member.get(f"/servers/{server_id}")["server"]["status"] == "ACTIVE"


def test_keys_of_a_deleted_user_go(cloud: TestedCloud) -> None:
    member = Caller(cloud)
    member.post("/os-keypairs", {"keypair": {"name": "mine", "public_key": PUBLIC_KEY}}, 201)
    with cloud.cloud.database.write() as tx:
        events.emit(
            tx,
            "user.deleted",
            project_id=None,
            subject_type="user",
            subject_id=cloud.user("member").user_id,
        )
    cloud.reconcile("departures")
    assert member.get("/os-keypairs")["keypairs"] == []


def test_access_of_a_deleted_project_goes(cloud: TestedCloud) -> None:
    admin, project_id = Caller(cloud, who="admin"), cloud.user("stranger").project_id
    path = (
        "/flavors/"
        + admin.post(
            "/flavors",
            {
                "flavor": {
                    "name": "private",
                    "ram": 64,
                    "vcpus": 1,
                    "disk": 1,
                    "os-flavor-access:is_public": False,
                }
            },
            200,
        )["flavor"]["id"]
    )
    admin.post(f"{path}/action", {"addTenantAccess": {"tenant": project_id}}, 200)
    with cloud.cloud.database.write() as tx:
        events.emit(
            tx,
            "project.deleted",
            project_id=project_id,
            subject_type="project",
            subject_id=str(project_id),
        )
    cloud.reconcile("departures")
    assert admin.get(f"{path}/os-flavor-access")["flavor_access"] == []


def test_ports_that_are_deleted_together_all_leave(cloud: TestedCloud) -> None:
    project, member = Project(cloud), Caller(cloud)
    server_id = project.boot(member)
    client = cloud.client("member", OpenStack_API_Version="compute 2.90")
    path = f"/compute/v2.1/servers/{server_id}/os-interface"
    for _ in range(2):
        body = {"interfaceAttachment": {"net_id": project.network_id}}
        assert client.post(path, json=body).status_code == 200
        cloud.settle()
    cards = client.get(path).json()["interfaceAttachments"]
    assert len(cards) == 3
    for card in cards:
        assert client.delete(f"/network/v2.0/ports/{card['port_id']}").status_code == 204
    cloud.reconcile("departures")
    cloud.settle()
    assert client.get(path).json()["interfaceAttachments"] == []
    assert cloud.agents["host1"].hypervisor.observe_guest(server_id).nics == ()
    assert compute_doctor.check(cloud.cloud) == []
