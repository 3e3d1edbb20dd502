"""`POST /servers/{id}/action`: start, stop, reboot, rebuild, pause, lock, console and others.

API reference: https://docs.openstack.org/api-ref/compute/#servers-run-an-action-servers-action
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nubelet.compute import (
    console,
    server_actions,
    server_creation,
    server_security_groups,
    server_snapshots,
    servers,
    states,
)
from nubelet.compute.api import schemas as s
from nubelet.compute.api import server_schemas
from nubelet.compute.api.server_views import ServerViews
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Handler, Route, SchemaSource, by_version

_API = "os_compute_api:"
_PATH = "/servers/{server_id}/action"
_NOTHING: s.Schema = {}  # old clients send null, {}, or anything


def _power(action: str) -> Handler:
    """A handler of an action that brings the guest to another power state."""

    def handler(ctx: Context, request: Request) -> object:
        with ctx.cloud.database.write() as tx:
            row = servers.find_to_change(ctx, tx, request.params["server_id"])
            server_actions.power(ctx, tx, row, action)
        return Response(202)

    handler.__doc__ = f"The {action} action."
    return handler


def _on_row(
    work: Callable[[Context, Tx, Any, Any], None], action: str, *, locked: bool = False
) -> Handler:
    """A handler that does something quick with the server's row and the action's argument."""

    def handler(ctx: Context, request: Request) -> object:
        with ctx.cloud.database.write() as tx:
            row = servers.find_to_change(ctx, tx, request.params["server_id"], locked=locked)
            work(ctx, tx, row, request.body[action])
        return Response(202)

    handler.__doc__ = f"The {action} action."
    return handler


def reboot(ctx: Context, request: Request) -> object:
    """Restart the guest; softly, or as by the power switch."""
    hard = request.body["reboot"]["type"].upper() == "HARD"
    with ctx.cloud.database.write() as tx:
        row = servers.find_to_change(ctx, tx, request.params["server_id"])
        server_actions.power(ctx, tx, row, "reboot", hard=hard)
    return Response(202)


def rebuild(ctx: Context, request: Request) -> object:
    """Make the server anew from an image."""
    given = request.body["rebuild"]
    with ctx.cloud.database.write() as tx:
        row = servers.find_to_change(ctx, tx, request.params["server_id"])
        server_actions.rebuild(ctx, tx, row, given)
        changed = servers.find(ctx, tx, row.id)
        shown = ServerViews(ctx, request, full=ctx.at_least(2, 75)).one(tx, changed)
    shown["adminPass"] = given.get("adminPass") or server_creation.new_password()
    if ctx.at_least(2, 54):
        shown["key_name"] = changed.key_name
    shown.pop("OS-EXT-SRV-ATTR:user_data", None)  # it stands below, for everybody
    if ctx.at_least(2, 57):
        shown["user_data"] = changed.user_data
    return Response(202, {"server": shown}, {"Location": request.url.removesuffix("/action")})


def create_image(ctx: Context, request: Request) -> object:
    """Make an image of the server's disk."""
    given = request.body["createImage"]
    with ctx.cloud.database.write() as tx:
        # A lock guards against changes, and this changes nothing of the server.
        row = servers.find_to_change(ctx, tx, request.params["server_id"], locked=True)
        metadata = given.get("metadata", {})
        image_id = server_snapshots.snapshot(ctx, tx, row, given["name"], metadata)
    return _image_answer(ctx, image_id)


def create_backup(ctx: Context, request: Request) -> object:
    """Make an image of the server's disk, and forget the oldest ones."""
    given = request.body["createBackup"]
    rotation = s.as_int("rotation", given["rotation"])
    with ctx.cloud.database.write() as tx:
        row = servers.find_to_change(ctx, tx, request.params["server_id"], locked=True)
        image_id = server_snapshots.backup(
            ctx,
            tx,
            row,
            given["name"],
            given.get("metadata", {}),
            backup_type=given["backup_type"],
            rotation=rotation,
        )
    return _image_answer(ctx, image_id, kept=rotation > 0)


def _image_answer(ctx: Context, image_id: str, *, kept: bool = True) -> Response:
    if ctx.at_least(2, 45):
        return Response(202, {"image_id": image_id})
    location = {"Location": f"{ctx.base_url}/image/images/{image_id}"}
    return Response(202, headers=location if kept else {})


def console_output(ctx: Context, request: Request) -> object:
    """The last lines of the serial console."""
    asked = request.body["os-getConsoleOutput"] or {}
    length = asked.get("length")
    lines = None if length is None else s.as_int("length", length, -s.MAX_INT)
    with ctx.cloud.database.read() as tx:
        row = servers.find(ctx, tx, request.params["server_id"])
        ctx.authorize(target=servers.target_of(row))
    return {"output": console.read(ctx, row, None if lines is not None and lines < 0 else lines)}


def _lock(ctx: Context, tx: Tx, row: Any, argument: Any) -> None:
    reason = (argument or {}).get("locked_reason") if ctx.at_least(2, 73) else None
    servers.lock(ctx, tx, row, reason)


def _unlock(ctx: Context, tx: Tx, row: Any, argument: Any) -> None:
    servers.unlock(ctx, tx, row)


def _reset_state(ctx: Context, tx: Tx, row: Any, argument: Any) -> None:
    servers.reset_state(
        ctx, tx, row, states.ACTIVE if argument["state"] == "active" else states.ERROR
    )


def _force_delete(ctx: Context, tx: Tx, row: Any, argument: Any) -> None:
    server_actions.delete(ctx, tx, row)


def _add_group(ctx: Context, tx: Tx, row: Any, argument: Any) -> None:
    server_security_groups.add(ctx, tx, row, argument["name"])


def _remove_group(ctx: Context, tx: Tx, row: Any, argument: Any) -> None:
    server_security_groups.remove(ctx, tx, row, argument["name"])


def _action(
    name: str,
    handler: Handler,
    rule: str,
    argument: SchemaSource = None,
    *,
    status: int = 202,
    **more: Any,
) -> Route:
    body = (
        argument
        if callable(argument)
        else s.wrapped(name, dict(argument) if argument is not None else _NOTHING)
    )
    return Route(
        method="POST",
        path=_PATH,
        action=name,
        handler=handler,
        rule=_API + rule,
        rule_needs_target=True,
        body=body,
        status=status,
        **more,
    )


_GROUP = s.obj({"name": s.NAME}, ("name",))
_LOCK = by_version(
    ((2, 1), s.wrapped("lock", _NOTHING)),
    (
        (2, 73),
        s.wrapped(
            "lock",
            {
                "type": ["object", "null"],
                "additionalProperties": False,
                "properties": {
                    "locked_reason": {"type": "string", "minLength": 1, "maxLength": 255}
                },
            },
        ),
    ),
)
_UNLOCK = by_version(
    ((2, 1), s.wrapped("unlock", _NOTHING)), ((2, 73), s.wrapped("unlock", {"type": "null"}))
)
_CONSOLE: s.Schema = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "length": {"type": ["integer", "string", "null"], "pattern": "^-?[0-9]+$", "minimum": -1}
    },
}
_REBOOT = s.obj(
    {"type": {"type": "string", "enum": ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]}},
    ("type",),
)
_IMAGE = s.obj({"name": s.NAME, "metadata": s.METADATA}, ("name",))
_BACKUP = s.obj(
    {
        "name": s.NAME,
        "backup_type": {"type": "string", "maxLength": 255},
        "rotation": s.integer(),
        "metadata": s.METADATA,
    },
    ("name", "backup_type", "rotation"),
)
_IMAGE_ANSWER = by_version(
    ((2, 1), None),
    ((2, 45), {"type": "object", "properties": {"image_id": s.UUID}, "required": ["image_id"]}),
)
_STATE = s.obj({"state": {"type": "string", "enum": ["active", "error"]}}, ("state",))

ROUTES = (
    _action("os-start", _power("start"), "servers:start"),
    _action("os-stop", _power("stop"), "servers:stop"),
    _action("reboot", reboot, "servers:reboot", _REBOOT),
    _action(
        "rebuild",
        rebuild,
        "servers:rebuild",
        server_schemas.rebuild_body,
        response=s.answer("server", {}),
    ),
    _action("createImage", create_image, "servers:create_image", _IMAGE, response=_IMAGE_ANSWER),
    _action("createBackup", create_backup, "os-create-backup", _BACKUP, response=_IMAGE_ANSWER),
    _action("pause", _power("pause"), "os-pause-server:pause"),
    _action("unpause", _power("unpause"), "os-pause-server:unpause"),
    _action("suspend", _power("suspend"), "os-suspend-server:suspend"),
    _action("resume", _power("resume"), "os-suspend-server:resume"),
    _action("lock", _on_row(_lock, "lock", locked=True), "os-lock-server:lock", _LOCK),
    _action("unlock", _on_row(_unlock, "unlock", locked=True), "os-lock-server:unlock", _UNLOCK),
    _action("forceDelete", _on_row(_force_delete, "forceDelete"), "os-deferred-delete:force"),
    _action(
        "os-resetState",
        _on_row(_reset_state, "os-resetState", locked=True),
        "os-admin-actions:reset_state",
        _STATE,
    ),
    _action(
        "os-getConsoleOutput",
        console_output,
        "os-console-output",
        _CONSOLE,
        status=200,
        response={"type": "object", "properties": {"output": {"type": "string"}}},
    ),
    _action(
        "addSecurityGroup",
        _on_row(_add_group, "addSecurityGroup", locked=True),
        "os-security-groups:add",
        _GROUP,
    ),
    _action(
        "removeSecurityGroup",
        _on_row(_remove_group, "removeSecurityGroup", locked=True),
        "os-security-groups:remove",
        _GROUP,
    ),
)
