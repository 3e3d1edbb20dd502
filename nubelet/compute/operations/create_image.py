"""create_image, create_backup: the disk of a server becomes an image, while the server goes on.

    begin_image    the task begins                              undo: the image goes
    copy_disk      a copy on the host, as of one moment         undo: the copy goes
    upload_image   piece by piece into the image service
    rotate         (backups) the oldest ones go
    end_task       the copy goes, the task ends

The image was made by the request, whose answer names it. The data comes over the bus, a few MiB at
a time, asked for by the worker: so it needs no way into the cloud that is open to others, nothing
holds it in memory, and the worker can stop between two pieces. A deletion of the server, or of the
image, ends it; so does any failure, which leaves no image. Once the image has all its data it
stays, whatever happens to the server or to the copy.

In OpenStack: nova/compute/manager.py snapshot_instance, backup_instance, _rotate_backups.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Final

from nubelet import image
from nubelet.compute import guests, states
from nubelet.compute.operations import hosting
from nubelet.kernel.errors import ApiError, ServiceUnavailable
from nubelet.kernel.operations.run import Run
from nubelet.kernel.operations.steps import Operation, Retry, Step, Wait
from nubelet.node.client import NodeClient, NodeError, NodeUnreachable
from nubelet.node.wire import SnapshotName, SnapshotPart, TakeSnapshot

PIECE_BYTES: Final = 4 << 20
_DEADLINE_SECONDS = 24 * 3600
_RETRY = Retry(attempts=8, max_delay_seconds=10.0, transient=(ServiceUnavailable,))
# Until a host that does not answer counts as down, and longer.
_PATIENT = Retry(attempts=60, max_delay_seconds=10.0)
# An upload holds a worker: others must be left for everything else that is done in the cloud.
_UPLOADS_AT_ONCE: Final = 4
_uploads = threading.BoundedSemaphore(_UPLOADS_AT_ONCE)
_NEXT_UPLOAD_SECONDS = 0.5
_FIRST_LOOK_SECONDS, _LATER_LOOK_SECONDS = 0.1, 2.0
_TOLD_PERCENT = 10  # how often progress is told


class Stopped(Exception):  # noqa: N818 - a state
    """The operation was asked to end in the middle of the upload."""


def _image_id(run: Run) -> str:
    return str(run.inputs["image_id"])


def _host(run: Run) -> str:
    return str(run.inputs["host"])


def begin_image(run: Run) -> None:
    """The task is under way."""
    task = states.IMAGE_BACKUP if "rotation" in run.inputs else states.IMAGE_SNAPSHOT
    hosting.change(run, task_state=task)


def discard_image(run: Run) -> None:
    """There is no image that waits for its data. (The user may have deleted it; one that has its
    data is the user's.)"""
    with run.cloud.database.write() as tx:
        image.discard_snapshot(run.ctx("image"), tx, _image_id(run))


def copy_disk(run: Run) -> Wait | dict[str, Any]:
    """Have the host copy the root disk, and look how far it is."""
    with run.cloud.database.read() as tx:
        image.require_image(tx, _image_id(run))
        row = hosting.server_of(run, tx)
    root = next(disk for disk in guests.disks(row) if disk.role == "root")
    state = hosting.node(run, _host(run)).ensure_snapshot(
        TakeSnapshot(
            id=_image_id(run),
            guest_id=run.subject_id,
            disk=root,
            quiesce=guests.quiesce(row.image_properties),
        ),
        run.fence,
    )
    if state.is_done:
        hosting.change(run, task_state=states.IMAGE_PENDING_UPLOAD)
        return {"size_bytes": state.size_bytes}
    looks = int(run.outputs.get("looks", 0))
    percent = 100 * state.copied_bytes // max(state.total_bytes, 1)
    told = _tell(run, "copied", percent, int(run.outputs.get("told_percent", 0)))
    seconds = min(_FIRST_LOOK_SECONDS * 1.5**looks, _LATER_LOOK_SECONDS)
    return Wait(seconds, {"looks": min(looks + 1, 20), "told_percent": told})


def _tell(run: Run, what: str, percent: int, told: int) -> int:
    """Say how far it is, from time to time; returns what was said last."""
    if percent < told + _TOLD_PERCENT:
        return told
    run.note("note", f"{what} {percent} % of the disk", host=_host(run))
    return percent


def remove_copy(run: Run) -> None:
    """The host has no copy of the disk, and makes none."""
    name = SnapshotName(id=_image_id(run), guest_id=run.subject_id)
    hosting.leave_down_host(
        run, _host(run), lambda: hosting.node(run, _host(run)).remove_snapshot(name, run.fence)
    )


def upload_image(run: Run) -> Wait | None:
    """The image has the data, looked at as any upload is."""
    if not _uploads.acquire(blocking=False):
        return Wait(_NEXT_UPLOAD_SECONDS)
    try:
        hosting.change(run, task_state=states.IMAGE_UPLOADING)
        image.fill_snapshot(run, _image_id(run), _pieces(run))
    finally:
        _uploads.release()
    return None


def _pieces(run: Run) -> Iterator[bytes]:
    client = NodeClient(
        run.cloud.bus, _host(run)
    )  # without a trail: it would say the same each time
    offset, told, size = 0, 0, int(run.outputs["size_bytes"])
    while offset < size:
        if run.stopping:
            raise Stopped("the upload was stopped")
        piece = client.read_snapshot(
            SnapshotPart(
                id=_image_id(run), guest_id=run.subject_id, offset=offset, length=PIECE_BYTES
            )
        )
        if not piece:
            raise ValueError(f"the copy of the disk ended after {offset} of {size} bytes")
        yield piece
        offset += len(piece)
        told = _tell(run, "uploaded", 100 * offset // size, told)


def rotate(run: Run) -> None:
    """Of the backups of this type only the newest stay. One that cannot be deleted stays too.

    Only the project's own count: whoever sees more could be made to delete them by images of others
    that say the same of themselves. Hidden ones (`os_hidden`) neither count nor go: Nova asks for
    a plain list of images, and that is without them.
    """
    ctx = run.ctx("image")
    query = {
        "owner": [str(ctx.project_id)],
        "image_type": ["backup"],
        "backup_type": [run.inputs["backup_type"]],
        "instance_uuid": [run.subject_id],
    }
    with run.cloud.database.read() as tx:
        found = image.list_images(ctx, tx, query, marker=None, limit=1000)
    for each in found[run.inputs["rotation"] :]:
        try:
            with run.cloud.database.write() as tx:
                image.delete_image(ctx, tx, each.row.id)
        except ApiError as error:
            run.note("note", f"backup {each.row.id} stays: {error.message}", ok=False)


def end_task(run: Run) -> None:
    """Nothing is being done to the server any more."""
    try:
        remove_copy(run)
    except NodeUnreachable:
        raise
    except NodeError as error:  # stray_guests removes it
        run.note("note", f"the copy of the disk stays for now: {error.message}", ok=False)
    hosting.change(run, task_state=None)


def on_failed(run: Run, reason: str) -> None:
    """The server is what it was; the action tells why there is no image."""
    discard_image(run)  # of an operation that ended before its first step
    hosting.fail(run, reason)


def _operation(kind: str, title: str, *more: Step) -> Operation:
    return Operation(
        kind=kind,
        title=title,
        deadline_seconds=_DEADLINE_SECONDS,
        on_failed=on_failed,
        steps=(
            Step("begin_image", begin_image, discard_image),
            Step("copy_disk", copy_disk, remove_copy, retry=_RETRY),
            Step(
                "upload_image",
                upload_image,
                retry=_RETRY,
                why_no_undo="an image that has its data stays; undoing begin_image removes others",
            ),
            *more,
            Step(
                "end_task",
                end_task,
                retry=_PATIENT,
                why_no_undo="it changes nothing but the task; the copy is not needed any more",
            ),
        ),
    )


CREATE_IMAGE = _operation("create_image", "making an image of the server")
CREATE_BACKUP = _operation(
    "create_backup",
    "making a backup of the server",
    Step("rotate", rotate, why_no_undo="deleted backups cannot come back; they were too many"),
)
