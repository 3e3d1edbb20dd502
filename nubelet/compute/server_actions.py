"""Actions on servers that take time: check the state, set the task, start the operation.

Each is one transaction; the operation does the rest. `states.ACTIONS` says what is allowed.

In OpenStack: nova/compute/api.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nubelet import image
from nubelet.compute import (
    hosts,
    quotas,
    server_creation,
    server_images,
    servers,
    states,
)
from nubelet.compute.operations import (
    CREATE_BACKUP,
    CREATE_IMAGE,
    DELETE_SERVER,
    POWER_OPERATIONS,
    REBUILD_SERVER,
)
from nubelet.compute.scheduling import filters, request_for
from nubelet.compute.scheduling.hosts import all_hosts
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict
from nubelet.kernel.operations import journal
from nubelet.kernel.operations.steps import Operation

Row = Any


def begin(
    ctx: Context,
    tx: Tx,
    row: Row,
    operation: Operation,
    task: str | None,
    inputs: Mapping[str, Any],
    **values: Any,
) -> str:
    """Set the task and start the operation; returns the operation's id."""
    servers.change(tx, row.id, ctx, task_state=task, **values)
    return journal.start(
        tx,
        operation,
        project_id=row.project_id,
        subject_type="server",
        subject_id=row.id,
        inputs=inputs,
        ctx=ctx,
    )


def power(ctx: Context, tx: Tx, row: Row, action: str, *, hard: bool = False) -> None:
    """start, stop, reboot (soft or hard), pause, unpause, suspend or resume."""
    rule = states.require("reboot_hard" if hard else action, row)
    require_host_up(ctx, tx, row)
    begin(
        ctx,
        tx,
        row,
        POWER_OPERATIONS[action],
        rule.task,
        {"power_state": row.power_state, "vm_state": row.vm_state, "hard": hard},
    )


def require_host_up(ctx: Context, tx: Tx, row: Row) -> None:
    """Raise Conflict when the server's host cannot be asked to do anything."""
    if not row.host:
        raise Conflict(f"Instance {row.id} is not on a host.")
    host = hosts.find(tx, row.host)
    if not hosts.is_up(ctx.cloud.settings, host):
        raise Conflict(
            f"Service is unavailable at this time: host {row.host} of instance {row.id} is down."
        )


def delete(ctx: Context, tx: Tx, row: Row) -> None:
    """Delete a server from whatever state; what is being done to it is stopped. A second time
    changes nothing."""
    states.require("delete", row)
    if journal.find(tx, subject_id=row.id, kind=DELETE_SERVER.kind, states=journal.OPEN):
        return
    for waiting in journal.find(tx, subject_id=row.id, states=(journal.PENDING,)):
        if waiting.kind in (CREATE_IMAGE.kind, CREATE_BACKUP.kind):
            # It has done no step that could be undone, yet its image is there.
            image.discard_snapshot(ctx.within("image"), tx, waiting.inputs["image_id"])
    begin(ctx, tx, row, DELETE_SERVER, states.DELETING, {})


def rebuild(ctx: Context, tx: Tx, row: Row, given: Mapping[str, Any]) -> None:
    """Make the server anew from an image, with whatever else the request changes."""
    rule = states.require("rebuild", row)
    require_host_up(ctx, tx, row)
    if given.get("preserve_ephemeral"):
        raise BadRequest(
            "preserve_ephemeral: the hypervisors of this cloud cannot keep the "
            "ephemeral disk over a rebuild."
        )
    if given.get("trusted_image_certificates"):
        raise BadRequest(
            "trusted_image_certificates: this cloud does not verify signatures of "
            "images, so it refuses servers that rely on it."
        )
    wanted = server_images.read_reference(given["imageRef"])
    found = server_images.find(ctx, tx, wanted, row.flavor)
    values = {
        "image_id": found.id,
        "image_properties": found.properties,
        **_changes(ctx, tx, row, given),
    }
    _require_fitting_host(ctx, tx, row, found.properties)
    begin(
        ctx,
        tx,
        row,
        REBUILD_SERVER,
        rule.task,
        {"host": row.host, "stopped": row.vm_state == states.STOPPED},
        **values,
    )


def _changes(ctx: Context, tx: Tx, row: Row, given: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a rebuild changes besides the image."""
    found = servers.plain_changes(given)
    limits = quotas.of(ctx.cloud).limits(tx, row.project_id)
    if "metadata" in given:
        servers.require_metadata_quota(limits["metadata_items"], given["metadata"])
        found["metadata"] = dict(given["metadata"])
    if "personality" in given:
        found["personality"] = server_creation.check_personality(given["personality"], limits)
    if "user_data" in given:
        found["user_data"] = server_creation.check_user_data(given["user_data"])
    if "key_name" in given:
        found |= {"key_name": None, "key_type": None, "public_key": None}
        if given["key_name"] is not None:
            found |= server_creation.key_of(ctx, tx, row.user_id, given["key_name"])
    return found


def _require_fitting_host(ctx: Context, tx: Tx, row: Row, properties: Mapping[str, str]) -> None:
    """The server stays on its host, so the image must fit that one."""
    host = next((each for each in all_hosts(ctx.cloud.settings, tx) if each.name == row.host), None)
    if host is None:
        return
    reason = filters.image(host, replace(request_for(tx, row, {}), image_properties=properties))
    if reason:
        raise BadRequest(f"The image cannot be used on host {row.host} of the server: {reason}")
