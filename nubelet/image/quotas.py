"""What a project may have of images: registered as unified limits, counted from rows.

    image_count_total      images; one more must not be too many
    image_count_uploading  images whose data comes, is staged or imported; likewise
    image_size_total       MiB of stored data; there must not be too much yet
    image_stage_total      MiB of data that waits for its import; likewise

Nobody knows how large an upload will be, so the sizes are asked for what is there before: the
last upload may pass a limit, the next one is refused. An import knows what was staged, and counts
it. In OpenStack: glance/quota/keystone.py.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet import identity
from nubelet.image.model import IMPORTING, image, image_location, image_property
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import QuotaExceeded
from nubelet.kernel.quotas import UNLIMITED

COUNT, UPLOADING = "image_count_total", "image_count_uploading"
SIZE, STAGE = "image_size_total", "image_stage_total"
_MIB = 1 << 20
_COMING = ("saving", "uploading", "importing")

_OWNER: sa.BindParameter[Any] = sa.bindparam("owner")
_of_owner = image.c.owner == _OWNER
_bytes = sa.func.coalesce(sa.func.sum(image.c.size), 0)
# An active image that is being copied to another store passes through the staging area, too.
_copying = sa.and_(
    image.c.status == "active",
    image.c.id.in_(
        sa.select(image_property.c.image_id).where(
            image_property.c.name == IMPORTING, image_property.c.value != ""
        )
    ),
)
_COUNTS: dict[str, sa.Select[Any]] = {
    COUNT: sa.select(sa.func.count()).select_from(image).where(_of_owner),
    UPLOADING: sa.select(sa.func.count())
    .select_from(image)
    .where(_of_owner, sa.or_(image.c.status.in_(_COMING), _copying)),
    SIZE: sa.select(_bytes)  # each copy in a store counts
    .select_from(image.join(image_location, image_location.c.image_id == image.c.id))
    .where(_of_owner, image.c.status.in_(("active", "deactivated"))),
    STAGE: sa.select(_bytes).where(
        _of_owner, sa.or_(image.c.status.in_(("uploading", "importing")), _copying)
    ),
}
RESOURCES = (SIZE, STAGE, COUNT, UPLOADING)


def limits(cloud: Cloud, tx: Tx, project_id: str) -> dict[str, int]:
    """The limits of a project, those of the sizes in MiB; -1 is unlimited."""
    found = identity.project_limits(tx, project_id, "image", cloud.settings.identity.region)
    return {name: found.get(name, UNLIMITED) for name in RESOURCES}


def usage(tx: Tx, project_id: str, name: str) -> int:
    """How much of a resource a project has now, sizes in whole MiB."""
    counted = int(tx.scalar(_COUNTS[name], owner=project_id))
    return counted // _MIB if name in (SIZE, STAGE) else counted


def require_image(cloud: Cloud, tx: Tx, project_id: str | None) -> None:
    """Raise QuotaExceeded unless the project may have one more image."""
    _require(cloud, tx, project_id, {COUNT: 1})


def require_upload(cloud: Cloud, tx: Tx, project_id: str | None, *, staged: bool) -> None:
    """Raise QuotaExceeded unless data of one more image may come, to be staged or stored."""
    _require(cloud, tx, project_id, {UPLOADING: 1, STAGE if staged else SIZE: 0})


def require_import(
    cloud: Cloud, tx: Tx, project_id: str | None, *, staged_bytes: int | None
) -> None:
    """Raise QuotaExceeded unless an import may begin: of data that is staged already, or (None) of
    data that has yet to come through the staging area."""
    if staged_bytes is None:
        _require(cloud, tx, project_id, {UPLOADING: 1, STAGE: 0, SIZE: 0})
    else:
        _require(cloud, tx, project_id, {SIZE: staged_bytes // _MIB})


def _require(cloud: Cloud, tx: Tx, project_id: str | None, wanted: dict[str, int]) -> None:
    if project_id is None:  # nobody's image
        return
    tx.lock("quota", "image", project_id)
    allowed = limits(cloud, tx, project_id)
    for name, more in wanted.items():
        if allowed[name] == UNLIMITED:
            continue
        used = usage(tx, project_id, name)
        if used + more > allowed[name]:
            raise QuotaExceeded(
                name,
                limit=allowed[name],
                used=used,
                requested=more,
                message=f"Project {project_id} is over a limit for [Resource {name} is over "
                f"limit of {allowed[name]} due to current usage {used} and delta {more}]",
            )
