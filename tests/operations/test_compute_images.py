"""Images of servers, with every fault at every step: what failed leaves no image without its data,
no data without an image and no copy on the host, and the server is what it was."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from nubelet import image
from nubelet.compute.operations import CREATE_BACKUP, CREATE_IMAGE
from nubelet.image import Stores
from nubelet.image import reconcilers as image_reconcilers
from nubelet.kernel.errors import NotFound
from nubelet.kernel.operations import journal
from nubelet.node.client import NodeClient
from nubelet.node.errors import NODE_ERROR, HostError
from nubelet.node.wire import SnapshotPart
from tests.image_files import owners
from tests.operations import harness
from tests.operations.harness import Scenario
from tests.operations.test_compute_servers import ServerWorld


class Snapshot(ServerWorld):
    """A running server, of which an image is made."""

    vm_state, power = "active", "running"

    def prepare(self) -> None:
        if not self.server_id:
            self.server_id = self.running_server()

    def act(self) -> None:
        made = self.caller.act(self.server_id, "createImage", {"name": "shot"})
        self.image_id = made["image_id"]

    def image(self) -> dict[str, Any] | None:
        """The image as its owner sees it."""
        answer = self.tested.client("member").get(f"/image/v2/images/{self.image_id}")
        return answer.json() if answer.status_code == 200 else None

    def copies(self) -> list[str]:
        """What differs from a server of which nothing is being made."""
        found = self.state(self.vm_state, self.power)
        for name, agent in self.tested.agents.items():
            found += [f"copy {one} on {name}" for one in agent.disks.observe().snapshots]
        return found

    def nothing_left(self) -> list[str]:
        found, made = self.copies(), self.image()
        if made is not None and made["status"] == "active":
            return found  # it has its data: its owner may have it in use already
        if made is not None:
            found.append(f"the image {made}")
        for store in self.cloud.get(Stores):
            if self.image_id in owners(store.list_ids()):
                found.append(f"data in the store {store.name}")
        return found

    def all_there(self) -> list[str]:
        found, made = self.copies(), self.image()
        if made is None or made["status"] != "active":
            return [*found, f"the image {made}"]
        if not made["size"] or made["virtual_size"] != 1 << 30:
            found.append(f"size {made['size']}, virtual size {made['virtual_size']}")
        return found


class SnapshotOff(Snapshot):
    """The same of a server that is off."""

    vm_state, power = "stopped", "shutdown"

    def prepare(self) -> None:
        if not self.server_id:
            self.server_id = self.running_server()
            self.caller.act(self.server_id, "os-stop")
            self.tested.settle()


class Backup(Snapshot):
    """A backup, when there is one already and one may stay."""

    def prepare(self) -> None:
        super().prepare()
        self.backup()
        self.tested.settle()
        self.older = self.image_id

    def act(self) -> None:
        self.backup()

    def backup(self) -> None:
        wanted = {"name": "night", "backup_type": "daily", "rotation": 1}
        self.image_id = self.caller.act(self.server_id, "createBackup", wanted)["image_id"]

    def all_there(self) -> list[str]:
        with self.cloud.database.read() as tx:
            try:
                image.require_image(tx, self.older)
                left = ["the older backup"]
            except NotFound:
                left = []
        return super().all_there() + left


def _only(*faults: str) -> dict[str, str]:
    why = "create_image meets the rest in the same steps"
    return dict.fromkeys(harness.FAULTS.keys() - set(faults), why)


SCENARIOS = [
    dataclasses.replace(each, shared=True)
    for each in (
        Scenario("create_image", CREATE_IMAGE, Snapshot),
        Scenario("create_image_off", CREATE_IMAGE, SnapshotOff, leave_out=_only("kill_after")),
        Scenario(
            "create_backup",
            CREATE_BACKUP,
            Backup,
            inputs={"rotation": 1},
            leave_out=_only("repeat", "kill_after"),
        ),
    )
]


@pytest.mark.parametrize("case", harness.cases(*SCENARIOS), ids=str)
def test_crash(case: harness.Case, tmp_path: Path) -> None:
    case.run(tmp_path)


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = Snapshot(tmp_path)
    yield made
    made.close()


def _run_until(world: Snapshot, task_state: str) -> None:
    """Let the operation come as far as this."""
    for _ in range(400):
        with world.cloud.database.read() as tx:
            if world.row(tx).task_state == task_state:
                return
        try:
            world.tested.runner.run_until_idle(0.0)
        except TimeoutError:
            time.sleep(0.01)
    raise AssertionError(f"never {task_state}")


@pytest.mark.parametrize("task_state", ["image_snapshot_pending", "image_snapshot"])
def test_a_deleted_server_ends_its_image(world: Snapshot, task_state: str) -> None:
    world.begin()
    _run_until(world, task_state)
    world.caller.delete(f"/servers/{world.server_id}", 204)
    world.tested.settle()
    assert world.traces() == []
    assert world.image() is None
    world.vm_state, world.power = "deleted", ""
    assert world.nothing_left() == []


def test_a_deleted_image_ends_its_operation_and_the_server_goes_on(world: Snapshot) -> None:
    operation_id = world.begin()
    _run_until(world, "image_snapshot")
    answer = world.tested.client("member").delete(f"/image/v2/images/{world.image_id}")
    assert answer.status_code == 204
    world.tested.settle()
    with world.cloud.database.read() as tx:
        (record,) = journal.find(tx, operation_id=operation_id)
    assert record.state == "failed"
    assert world.image_id in (record.error or "")
    assert world.nothing_left() == []


def test_an_image_deleted_while_its_data_comes_ends_the_operation(
    world: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data of an upload that is under way belongs to nobody then."""
    from nubelet.compute.operations import create_image
    from nubelet.image import uploads

    monkeypatch.setattr(create_image, "PIECE_BYTES", 1000)
    monkeypatch.setattr(uploads, "RENEW_SECONDS", 0.01)
    read = world.tested.agents["host1"].disks.read_snapshot
    pieces: list[int] = []
    answers: list[Any] = []

    def slow(guest_id: str, snapshot_id: str, offset: int, length: int) -> bytes:
        pieces.append(offset)
        if len(pieces) == 2:
            answers.append(
                world.tested.client("member").delete(f"/image/v2/images/{world.image_id}")
            )
        if len(pieces) > 2:
            time.sleep(0.05)
        return read(guest_id, snapshot_id, offset, length)

    for agent in world.tested.agents.values():
        monkeypatch.setattr(agent.disks, "read_snapshot", slow)
    world.begin()
    world.tested.settle()
    assert [answer.status_code for answer in answers] == [204], answers[0].text
    assert len(pieces) < 100, "it was not stopped"
    assert world.nothing_left() == []


def _killed_in_the_middle_of_the_upload(world: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has sent one piece, and ends without any chance to clean up; its lease runs out."""
    from nubelet.compute.operations import create_image
    from nubelet.image import uploads
    from nubelet.image.stores.file import FileUpload

    pieces: list[int] = []
    read = NodeClient.read_snapshot

    def read_one(client: NodeClient, part: SnapshotPart) -> bytes:
        if pieces:
            raise harness.Killed
        pieces.append(part.offset)
        return read(client, part)

    with monkeypatch.context() as patch:
        patch.setattr(create_image, "PIECE_BYTES", 1000)
        patch.setattr(uploads, "_give_up", lambda *_: None)
        patch.setattr(FileUpload, "abort", lambda _: None)
        patch.setattr(NodeClient, "read_snapshot", read_one)
        world.begin()
        with pytest.raises(harness.Killed):
            _run_until(world, "never")
    made = world.image()
    assert made is not None
    assert made["status"] == "saving"
    assert _parts(world) != []
    with world.cloud.database.write() as tx:
        tx.update(journal.operation, journal.operation.c.state.in_(journal.OPEN), lease_until=0)


def _parts(world: Snapshot) -> list[str]:
    """Files of uploads that are not complete."""
    return [path.name for path in world.cloud.settings.image.directory.glob("*.part")]


def test_who_follows_a_worker_killed_in_the_middle_of_the_upload_sends_all(
    world: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    _killed_in_the_middle_of_the_upload(world, monkeypatch)
    world.tested.settle()
    assert world.all_there() == []
    assert _parts(world) == []
    assert image_reconcilers.check(world.cloud) == []


def test_a_server_deleted_after_that_leaves_no_image(
    world: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither `saving` nor `queued`, and no data."""
    _killed_in_the_middle_of_the_upload(world, monkeypatch)
    world.caller.delete(f"/servers/{world.server_id}", 204)
    world.tested.settle()
    assert world.image() is None
    world.vm_state, world.power = "deleted", ""
    assert world.nothing_left() == []
    assert _parts(world) == []


def test_a_copy_that_had_to_stay_on_a_host_is_removed_later(world: Snapshot) -> None:
    world.prepare()
    with world.cloud.database.read() as tx:
        host = world.row(tx).host
    agent = world.tested.agents[host]
    from nubelet.compute import guests
    from nubelet.node.wire import TakeSnapshot

    with world.cloud.database.read() as tx:
        disk = guests.disks(world.row(tx))[0]
    for _ in range(2):
        agent._ensure_snapshot(TakeSnapshot(id="left", guest_id=world.server_id, disk=disk))
    assert agent.disks.observe().snapshots == {"left": world.server_id}
    world.tested.reconcile("stray_guests")
    assert agent.disks.observe().snapshots == {}


def test_a_server_deleted_after_its_image_was_active_leaves_the_image(
    world: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits until the image is active and then deletes the server keeps the image."""
    from nubelet.compute.operations import create_image

    fill = image.fill_snapshot

    def fill_and_delete(*words: Any) -> None:
        fill(*words)
        world.caller.delete(f"/servers/{world.server_id}", 204)

    monkeypatch.setattr(create_image.image, "fill_snapshot", fill_and_delete)
    world.begin()
    world.tested.settle()
    made = world.image()
    assert made is not None
    assert made["status"] == "active"
    assert world.image_id in owners(world.cloud.get(Stores).default.list_ids())
    world.vm_state, world.power = "deleted", ""
    assert world.copies() == []


def test_a_copy_that_cannot_be_removed_does_not_cost_the_image(
    world: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(guest_id: str, snapshot_id: str) -> None:
        raise HostError(NODE_ERROR, "the disk is read-only")

    operation_id = None
    with monkeypatch.context() as patch:
        world.prepare()
        for agent in world.tested.agents.values():
            patch.setattr(agent.disks, "remove_snapshot", refuse)
        operation_id = world.begin()
        world.tested.settle()
    with world.cloud.database.read() as tx:
        (record,) = journal.find(tx, operation_id=operation_id)
    assert record.state == "done", record.error
    assert len(world.all_there()) == 1, "only the copy"
    world.tested.reconcile("stray_guests")
    assert world.all_there() == []


def test_copies_of_guests_that_this_cloud_does_not_know_stay(world: Snapshot) -> None:
    world.prepare()
    from nubelet.compute import guests
    from nubelet.node.wire import TakeSnapshot

    with world.cloud.database.read() as tx:
        row = world.row(tx)
        disk = guests.disks(row)[0]
    agent = world.tested.agents[row.host]
    for _ in range(2):
        agent._ensure_snapshot(TakeSnapshot(id="left", guest_id=world.server_id, disk=disk))
    folder = agent.disks._snapshots
    (folder / world.server_id).rename(folder / "of-another-cloud")
    world.tested.reconcile("stray_guests")
    assert agent.disks.observe().snapshots == {"left": "of-another-cloud"}


def test_images_of_strangers_do_not_count_as_backups(world: Snapshot) -> None:
    """Not even for an administrator, who sees them: they would push out the real ones."""
    world.prepare()
    admin = world.tested.client("admin", OpenStack_API_Version="compute 2.90")

    def backup() -> str:
        wanted = {"name": "night", "backup_type": "daily", "rotation": 1}
        answer = admin.post(
            f"/compute/v2.1/servers/{world.server_id}/action", json={"createBackup": wanted}
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["image_id"])

    first = backup()
    world.tested.settle()
    second = backup()
    likeness = {
        "name": "night",
        "disk_format": "qcow2",
        "container_format": "bare",
        "image_type": "backup",
        "backup_type": "daily",
        "instance_uuid": world.server_id,
    }
    answer = world.tested.client("stranger").post("/image/v2/images", json=likeness)
    assert answer.status_code == 201, answer.text
    world.tested.settle()
    found = {one: admin.get(f"/image/v2/images/{one}").status_code for one in (first, second)}
    assert found == {first: 404, second: 200}


def test_a_hidden_backup_neither_counts_nor_goes(world: Snapshot) -> None:
    """As with Nova, which rotates what a plain list of images shows."""
    world.prepare()
    member = world.tested.client("member", OpenStack_API_Version="compute 2.90")

    def backup() -> str:
        wanted = {"name": "night", "backup_type": "daily", "rotation": 2}
        answer = member.post(
            f"/compute/v2.1/servers/{world.server_id}/action", json={"createBackup": wanted}
        )
        assert answer.status_code == 202, answer.text
        world.tested.settle()
        return str(answer.json()["image_id"])

    hidden = backup()
    answer = member.patch(
        f"/image/v2/images/{hidden}",
        json=[{"op": "replace", "path": "/os_hidden", "value": True}],
        headers={"Content-Type": "application/openstack-images-v2.1-json-patch"},
    )
    assert answer.status_code == 200, answer.text
    kept = [backup() for _ in range(3)]
    found = {one: member.get(f"/image/v2/images/{one}").status_code for one in (hidden, *kept)}
    assert found == {hidden: 200, kept[0]: 404, kept[1]: 200, kept[2]: 200}


def test_uploads_leave_workers_for_others(world: Snapshot) -> None:
    from nubelet.compute.operations import create_image

    for _ in range(create_image._UPLOADS_AT_ONCE):
        assert create_image._uploads.acquire(blocking=False)
    try:
        world.begin()
        _run_until(world, "image_pending_upload")
        made = world.image()
        assert made is not None
        assert made["status"] == "queued"
    finally:
        for _ in range(create_image._UPLOADS_AT_ONCE):
            create_image._uploads.release()
    world.tested.settle()
    assert world.all_there() == []
