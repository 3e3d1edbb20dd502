"""Starting an import: what must hold for each method, and which stores it goes to.

In OpenStack: glance/api/v2/images.py import_image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nubelet.image import quotas, staging, web_download
from nubelet.image.images import Image
from nubelet.image.operations import IMPORT_IMAGE, import_image
from nubelet.image.operations.import_image import GLANCE_DIRECT, GLANCE_DOWNLOAD, WEB_DOWNLOAD
from nubelet.image.operations.storing import COPY_IMAGE
from nubelet.image.schemas import UUID
from nubelet.image.stores import Stores
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict
from nubelet.kernel.operations import journal

_WANTED_STATUS = {
    GLANCE_DIRECT: "uploading",
    WEB_DOWNLOAD: "queued",
    GLANCE_DOWNLOAD: "queued",
    COPY_IMAGE: "active",
}


def methods(ctx: Context) -> tuple[str, ...]:
    """The ways to import that this cloud offers."""
    return ctx.cloud.settings.image.import_methods


def check_method(ctx: Context, method: Mapping[str, Any]) -> None:
    """Raise BadRequest for a method that is not offered, or lacks what it needs."""
    name = method["name"]
    if name not in methods(ctx):
        raise BadRequest(
            f"Unknown import method name '{name}'; there are {', '.join(methods(ctx))}."
        )
    if name == WEB_DOWNLOAD:
        if not method.get("uri"):
            raise BadRequest("URI is required if using 'web-download' method.")
        web_download.check(method["uri"], ctx.cloud.settings.image.web_download_networks)
    elif name == GLANCE_DOWNLOAD:
        for needed in ("glance_image_id", "glance_region"):
            if not method.get(needed):
                raise BadRequest(f"'{needed}' needs to be set for 'glance-download' method.")
        if not re.fullmatch(UUID, method["glance_image_id"]):
            raise BadRequest("Remote image id does not look like a UUID.")


def start(ctx: Context, tx: Tx, found: Image, asked: Mapping[str, Any]) -> None:
    """Start the import that the body of a request asks for."""
    method = asked["method"]
    _require_ready(tx, found, method["name"])
    stores = _choose_stores(ctx, found, asked)
    if not stores:
        return  # it is in all of them
    if method["name"] == GLANCE_DOWNLOAD:
        method = {"glance_service_interface": "public", **method}
    copies, is_staged = method["name"] == COPY_IMAGE, method["name"] == GLANCE_DIRECT
    if not copies:
        staged_bytes = found.row.size or 0 if is_staged else None
        quotas.require_import(ctx.cloud, tx, found.row.owner, staged_bytes=staged_bytes)
    staged_key = staging.key_of(tx, found.row.id) if is_staged else ""
    import_image.begin(tx, found.row.id, stores, copies=copies)
    journal.start(
        tx,
        IMPORT_IMAGE,
        project_id=found.row.owner or "",
        subject_type="image",
        subject_id=found.row.id,
        ctx=ctx,
        inputs={
            "image_id": found.row.id,
            "import_req": {**asked, "method": method},
            "backend": stores,
            **({} if copies else preparation(ctx)),
            **({"staged": staged_key} if staged_key else {}),
        },
    )


def preparation(ctx: Context) -> dict[str, Any]:
    """What is done with the data on its way, as an input of the operation."""
    wanted = ctx.cloud.settings.image
    inject = "inject_image_metadata" in wanted.import_plugins and "admin" not in ctx.roles
    return {
        "plugins": list(wanted.import_plugins),
        "conversion_format": wanted.conversion_format,
        "inject": dict(wanted.inject_properties) if inject else {},
    }


def _require_ready(tx: Tx, found: Image, name: str) -> None:
    row, wanted = found.row, _WANTED_STATUS[name]
    if row.status != wanted or row.upload_id is not None:
        raise Conflict(
            f"Image needs to be in {wanted} state to use '{name}' method; it "
            f"is {row.status}" + (" and its data is still coming." if row.upload_id else ".")
        )
    if name == COPY_IMAGE:
        open_ones = journal.find(tx, subject_id=row.id, kind=IMPORT_IMAGE.kind, states=journal.OPEN)
        if open_ones:
            raise Conflict(f"Image {row.id} has an active task {open_ones[0].id}.")
    elif name != GLANCE_DOWNLOAD and not (row.disk_format and row.container_format):
        raise Conflict("Properties disk_format, container_format must be set prior to import.")


def _choose_stores(ctx: Context, found: Image, asked: Mapping[str, Any]) -> list[str]:
    """The names of the stores that the data shall come to."""
    stores = ctx.cloud.get(Stores)
    writable = [store.name for store in stores.writable()]
    named = list(dict.fromkeys(asked.get("stores") or ()))
    if asked.get("all_stores"):
        if named:
            raise BadRequest("The 'all_stores' parameter must not be set together with 'stores'.")
        chosen = writable
    else:
        chosen = named or [stores.default.name]
    unknown = set(chosen) - set(stores.names)
    if unknown:
        raise Conflict(f"Store for image import not found: {', '.join(sorted(unknown))}")
    if set(chosen) - set(writable):
        raise BadRequest(
            f"These stores are read-only: {', '.join(sorted(set(chosen) - set(writable)))}."
        )
    if asked["method"]["name"] == COPY_IMAGE:
        present = {each.store for each in found.locations}
        if named and set(named) & present:
            raise Conflict(
                f"Image is already present at store {', '.join(sorted(set(named) & present))}."
            )
        chosen = [name for name in chosen if name not in present]
    return chosen
