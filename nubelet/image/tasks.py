"""Tasks: operations on images as their users see them. Their table is the journal.

A task is there as long as the journal remembers its operation. In OpenStack: glance/domain Task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.image import imports, patching, property_protection, quotas, web_download
from nubelet.image.model import image_progress
from nubelet.image.operations import IMPORT_IMAGE, IMPORT_LOCATION
from nubelet.image.operations.import_image import WEB_DOWNLOAD
from nubelet.image.schemas import CREATE, WRITABLE
from nubelet.image.stores import Stores
from nubelet.kernel.clock import iso_micros, iso_seconds
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http import schemas
from nubelet.kernel.ids import new_uuid
from nubelet.kernel.operations import journal

KINDS = (IMPORT_IMAGE.kind, IMPORT_LOCATION.kind)
TYPES = ("import", "api_image_import", "location_import")
STATUSES = ("pending", "processing", "success", "failure")
_STATES = {
    journal.DONE: "success",
    journal.FAILED: "failure",
    journal.CANCELLED: "failure",
    journal.PENDING: "pending",
}
KEPT_MICROS = 48 * 3600 * 1_000_000
_DEFAULTS = {
    "visibility": "shared",
    "protected": False,
    "os_hidden": False,
    "min_disk": 0,
    "min_ram": 0,
}


def type_of(record: journal.Record) -> str:
    """What kind of task an operation is."""
    if record.kind == IMPORT_LOCATION.kind:
        return "location_import"
    return "import" if "task" in record.inputs else "api_image_import"


def status_of(record: journal.Record) -> str:
    """How a task fares. An operation is `pending` in the journal until its first step is done."""
    if record.state == journal.PENDING and record.started_at is not None:
        return "processing"
    return _STATES.get(record.state, "processing")


def find_all(ctx: Context, tx: Tx) -> list[journal.Record]:
    """The tasks that the caller may see, newest first."""
    owner = None if ctx.is_admin else (ctx.project_id or "")
    found = [
        record
        for kind in KINDS
        for record in journal.find(tx, kind=kind, project_id=owner, newest_first=True)
    ]
    return sorted(found, key=lambda record: (record.created_at, record.id), reverse=True)


def find(ctx: Context, tx: Tx, task_id: str) -> journal.Record:
    """One task; raises NotFound, also for tasks of others."""
    for record in journal.find(tx, operation_id=task_id):
        if record.kind in KINDS and _may_see(ctx, record):
            return record
    raise NotFound(message=f"No task found with ID {task_id}")


def of_image(ctx: Context, tx: Tx, image_id: str) -> list[journal.Record]:
    """The tasks of an image that the caller may see, newest first: who may use an image is not told
    where it came from, and by which signed URL."""
    return [
        record
        for record in journal.find(tx, subject_id=image_id, newest_first=True)
        if record.kind in KINDS and _may_see(ctx, record)
    ]


def _may_see(ctx: Context, record: journal.Record) -> bool:
    return ctx.is_admin or record.project_id == ctx.project_id


def messages(tx: Tx, records: Iterable[journal.Record]) -> dict[str, str]:
    """What tasks say of how far they have come, by their ids."""
    ids = [record.id for record in records if record.is_open]
    if not ids:
        return {}
    rows = tx.all(sa.select(image_progress).where(image_progress.c.operation_id.in_(ids)))
    return {row.operation_id: row.message for row in rows}


def show_of_image(record: journal.Record, message: str = "") -> dict[str, Any]:
    """A task beside its image."""
    return {
        "id": record.id,
        "type": type_of(record),
        "image_id": record.subject_id,
        "status": status_of(record),
        "owner": record.project_id,
        "user_id": record.user_id,
        "request_id": record.request_id,
        "input": _input(record),
        "result": _result(record),
        "message": record.error or message,
        "created_at": iso_micros(record.created_at),
        "updated_at": iso_micros(record.updated_at),
        "expires_at": _expires(record, iso_micros),
    }


def show(record: journal.Record, message: str = "", *, brief: bool = False) -> dict[str, Any]:
    """A task by itself; `brief` as it stands in lists."""
    view: dict[str, Any] = {
        "id": record.id,
        "type": type_of(record),
        "status": status_of(record),
        "owner": record.project_id,
        "created_at": iso_seconds(record.created_at),
        "updated_at": iso_seconds(record.updated_at),
        "self": f"/v2/tasks/{record.id}",
        "schema": "/v2/schemas/task",
    }
    expires = _expires(record, iso_seconds)
    if expires is not None:
        view["expires_at"] = expires
    if brief:
        return view
    return view | {
        "input": _input(record),
        "result": _result(record),
        "message": record.error or message,
        "image_id": record.subject_id,
        "request_id": record.request_id,
        "user_id": record.user_id,
    }


def _input(record: journal.Record) -> Mapping[str, Any]:
    if "task" in record.inputs:
        return dict(record.inputs["task"])
    inputs = record.inputs
    if record.kind == IMPORT_LOCATION.kind:
        return {
            "image_id": record.subject_id,
            "loc_url": inputs["url"],
            "validation_data": inputs["validation_data"],
        }
    return {name: inputs[name] for name in ("image_id", "import_req", "backend") if name in inputs}


def _result(record: journal.Record) -> dict[str, Any] | None:
    done = record.state == journal.DONE and "task" in record.inputs
    return {"image_id": record.subject_id} if done else None


def _expires(record: journal.Record, spell: Any) -> str | None:
    if record.finished_at is None:
        return None
    return str(spell(record.finished_at + KEPT_MICROS))


# --- Creation ---------------------------------------------------------------------------------


def create(ctx: Context, tx: Tx, wanted: Mapping[str, Any]) -> journal.Record:
    """Start a task of type `import`: it makes an image of what lies at a URL.

    Raises BadRequest for inputs that cannot be.
    """
    if wanted["type"] != "import":
        raise BadRequest(f"Tasks of type {wanted['type']!r} are not created by users.")
    asked = wanted["input"]
    for name in ("import_from", "import_from_format", "image_properties"):
        if not asked.get(name):
            raise BadRequest(f"Input does not contain '{name}' field.")
    web_download.check(asked["import_from"], ctx.cloud.settings.image.web_download_networks)
    new_image = _new_image(ctx, asked["image_properties"], asked["import_from_format"])
    quotas.require_image(ctx.cloud, tx, new_image["values"]["owner"])
    quotas.require_import(ctx.cloud, tx, new_image["values"]["owner"], staged_bytes=None)
    stores, image_id = [ctx.cloud.get(Stores).default.name], new_uuid()
    operation_id = journal.start(
        tx,
        IMPORT_IMAGE,
        project_id=ctx.project_id or "",
        subject_type="image",
        subject_id=image_id,
        ctx=ctx,
        inputs={
            "task": dict(asked),
            "new_image": new_image,
            "import_req": {"method": {"name": WEB_DOWNLOAD, "uri": asked["import_from"]}},
            "backend": stores,
            **imports.preparation(ctx),
        },
    )
    return journal.find(tx, operation_id=operation_id)[0]


def _new_image(ctx: Context, properties: Any, disk_format: Any) -> dict[str, Any]:
    """The image that a task will make, checked as if it were created over HTTP."""
    if not isinstance(properties, dict):
        raise BadRequest("image_properties must be an object.")
    schemas.check(CREATE, properties, "image_properties")
    given = {"disk_format": disk_format, "container_format": "bare", **properties}
    schemas.check(CREATE, given, "image_properties")
    tags = given.pop("tags", [])
    values = {name: given.pop(name) for name in WRITABLE.keys() & given.keys()}
    for name in given:
        patching.refuse_protected(name)
    values = {"name": None, **_DEFAULTS, "owner": ctx.project_id, **values}
    target = {"project_id": values["owner"], "owner": values["owner"]}
    ctx.authorize("add_image", target)
    property_protection.require(ctx, {}, given)
    if values["visibility"] == "public":
        ctx.authorize("publicize_image", target)
    if values["visibility"] == "community":
        ctx.authorize("communitize_image", target)
    return {"values": values, "properties": given, "tags": tags}
