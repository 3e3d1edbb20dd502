"""Images as rows: who sees them, how they are made, changed and deleted.

In OpenStack: glance/domain, glance/db and the policy layer between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from nubelet.image import locations, loose_data, operations, quotas
from nubelet.image.cache import entries as cache_entries
from nubelet.image.locations import Location
from nubelet.image.model import (
    image,
    image_former,
    image_location,
    image_member,
    image_property,
    image_tag,
)
from nubelet.image.schemas import RESERVED_PREFIX
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx, by_ids
from nubelet.kernel.errors import Conflict, Forbidden, NotFound, TooLarge
from nubelet.kernel.operations import journal

MAX_PROPERTIES = MAX_TAGS = MAX_MEMBERS = 128


@dataclass(slots=True)
class Image:
    """An image with its properties, tags and locations."""

    row: Any
    properties: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    locations: list[Location] = field(default_factory=list)
    is_member: bool = False

    def target(self, ctx: Context) -> dict[str, Any]:
        """What policy rules see of it."""
        return {
            "project_id": self.row.owner,
            "owner": self.row.owner,
            "visibility": self.row.visibility,
            "status": self.row.status,
            "member_id": ctx.project_id if self.is_member else None,
        }


_by_id = sa.select(image).where(image.c.id == sa.bindparam("id"))
_BY_ID = {False: _by_id, True: _by_id.with_for_update()}
_p, _t, _l = image_property.c, image_tag.c, image_location.c
_PROPERTIES = by_ids(_p.image_id, sa.select(_p.image_id, _p.name, _p.value).where)
_TAGS = by_ids(_t.image_id, sa.select(_t.image_id, _t.tag).where)
_LOCATIONS = by_ids(
    _l.image_id,
    sa.select(_l.image_id, _l.store, _l.key, _l.metadata).order_by(_l.position, _l.seq).where,
)


def find(ctx: Context, tx: Tx, image_id: str) -> Image:
    """An image that the caller may see; raises NotFound for any other.

    In a transaction that may write, nobody else changes it until the end.
    """
    found = find_any(tx, image_id)
    row = found.row
    if row.visibility == "shared" and row.owner != ctx.project_id:
        found.is_member = (
            tx.first(
                sa.select(image_member.c.status).where(
                    image_member.c.image_id == image_id,
                    image_member.c.member_id == (ctx.project_id or ""),
                )
            )
            is not None
        )
    if not may_see(ctx, found):
        raise _not_found(image_id)
    return found


def find_for_service(ctx: Context, tx: Tx, image_id: str) -> Image:
    """As `find`; a service of the cloud sees every image."""
    if ctx.allows("service_api", {}):
        return find_any(tx, image_id)
    return find(ctx, tx, image_id)


def find_any(tx: Tx, image_id: str) -> Image:
    """An image, whoever asks; raises NotFound."""
    row = tx.first(_BY_ID[tx.writable], id=image_id)
    if row is None:
        raise _not_found(image_id)
    return complete(tx, [row])[0]


def _not_found(image_id: str) -> NotFound:
    return NotFound(message=f"No image found with ID {image_id}")


def may_see(ctx: Context, found: Image) -> bool:
    """Own, public, community, shared with the caller, or the caller is an administrator; and the
    rule `get_image` lets them: it knows of no callers without a project."""
    row = found.row
    seen = (
        row.visibility in ("public", "community")
        or found.is_member
        or (row.owner is not None and row.owner == ctx.project_id)
        or ctx.is_admin
    )
    return seen and ctx.allows("get_image", found.target(ctx))


def complete(tx: Tx, rows: Iterable[Any]) -> list[Image]:
    """Rows of all columns with their properties, tags and locations, in three queries."""
    by_id = {row[0]: Image(row) for row in rows}  # row.id takes ten times as long
    if by_id:
        ids = list(by_id)
        for image_id, name, value in _PROPERTIES(tx, ids):
            by_id[image_id].properties[name] = value
        for image_id, tag in _TAGS(tx, ids):
            by_id[image_id].tags.append(tag)
        for image_id, *place in _LOCATIONS(tx, ids):
            by_id[image_id].locations.append(Location(*place))
    return list(by_id.values())


def visible(ctx: Context, visibility: str | None, member_status: str) -> sa.ColumnElement[bool]:
    """Which images a list shows. Community images only when asked for by name."""
    project = ctx.project_id or ""
    shared = sa.and_(
        image.c.visibility == "shared", image.c.id.in_(_memberships(project, member_status))
    )
    own = image.c.owner == project
    if visibility == "all":
        return (
            sa.true()
            if ctx.is_admin
            else sa.or_(own, image.c.visibility.in_(("public", "community")), shared)
        )
    if visibility == "public":
        return image.c.visibility == "public"
    if visibility == "community":
        return image.c.visibility == "community"
    if visibility == "shared":
        mine = sa.and_(image.c.visibility == "shared", own)
        return image.c.visibility == "shared" if ctx.is_admin else sa.or_(mine, shared)
    if visibility == "private":
        private = image.c.visibility == "private"
        return private if ctx.is_admin else sa.and_(private, own)
    everything = sa.or_(image.c.visibility != "community", own)
    return everything if ctx.is_admin else sa.or_(own, image.c.visibility == "public", shared)


def _memberships(project_id: str, member_status: str) -> sa.Select[Any]:
    statement = sa.select(image_member.c.image_id).where(image_member.c.member_id == project_id)
    if member_status != "all":
        statement = statement.where(image_member.c.status == member_status)
    return statement


def create(
    ctx: Context,
    tx: Tx,
    image_id: str,
    values: Mapping[str, Any],
    properties: Mapping[str, str],
    tags: Iterable[str],
) -> Image:
    """A new image in `queued`; raises Conflict for an id that is taken, or was, QuotaExceeded."""
    tx.lock("image", image_id)
    taken = [sa.select(table.c.id).where(table.c.id == image_id) for table in (image, image_former)]
    if any(map(tx.first, taken)):
        raise Conflict(f"Image ID {image_id} already exists!")
    quotas.require_image(ctx.cloud, tx, values["owner"])
    now = clock.now()
    tx.insert(image, id=image_id, status="queued", created_at=now, updated_at=now, **values)
    set_properties(tx, image_id, properties, {})
    set_tags(tx, image_id, tags)
    return find(ctx, tx, image_id)


def update(tx: Tx, image_id: str, **values: Any) -> None:
    """Change columns and the time of change."""
    tx.update(image, image.c.id == image_id, updated_at=clock.now(), **values)


def set_properties(
    tx: Tx, image_id: str, wanted: Mapping[str, str], present: Mapping[str, str]
) -> None:
    """The image has exactly these additional properties; raises TooLarge for too many."""
    users_own = [name for name in wanted if not name.startswith(RESERVED_PREFIX)]
    require_quota("properties", len(users_own), MAX_PROPERTIES)
    gone = present.keys() - wanted.keys()
    if gone:
        tx.delete(
            image_property, image_property.c.image_id == image_id, image_property.c.name.in_(gone)
        )
    tx.insert(
        image_property,
        *(
            {"image_id": image_id, "name": name, "value": value}
            for name, value in wanted.items()
            if name not in present
        ),
    )
    for name, value in wanted.items():
        if name in present and present[name] != value:
            tx.update(
                image_property,
                image_property.c.image_id == image_id,
                image_property.c.name == name,
                value=value,
            )


def set_tags(tx: Tx, image_id: str, wanted: Iterable[str]) -> None:
    """The image has exactly these tags; raises TooLarge for too many."""
    rows = [{"image_id": image_id, "tag": tag} for tag in dict.fromkeys(wanted)]
    require_quota("tags", len(rows), MAX_TAGS)
    tx.delete(image_tag, image_tag.c.image_id == image_id)
    tx.insert(image_tag, *rows)


def require_quota(what: str, attempted: int, maximum: int) -> None:
    """Raise TooLarge when an image would have too many of something."""
    if attempted > maximum:
        raise TooLarge(
            f"The limit has been exceeded on the number of allowed image {what}. "
            f"Attempted: {attempted}, Maximum: {maximum}"
        )


def delete(ctx: Context, tx: Tx, found: Image) -> None:
    """Remove an image, unless it is protected; its data is removed by an operation."""
    if found.row.protected:
        raise Forbidden(f"Image {found.row.id} is protected and cannot be deleted.")
    remove(ctx, tx, found)


def remove(ctx: Context, tx: Tx, found: Image) -> None:
    """Remove an image that nobody has come to rely on, or that may be deleted."""
    row = found.row
    _let_go(tx, row.id, found.locations)
    for table in (image_property, image_tag, image_member, image_location):
        tx.delete(table, table.c.image_id == row.id)
    tx.delete(image, image.c.id == row.id)
    tx.insert(image_former, id=row.id, deleted_at=clock.now())
    cache_entries.remove(ctx.cloud, tx, row.id)
    journal.start(
        tx,
        operations.DELETE_IMAGE_DATA,
        project_id=row.owner or "",
        subject_type="image",
        subject_id=row.id,
        inputs={},
        ctx=ctx,
    )


def _let_go(tx: Tx, image_id: str, copies: Iterable[Location]) -> None:
    """Data that is not the image's any more is noted as such."""
    for each in copies:
        locations.remove(tx, image_id, each.store, each.key)
        loose_data.note(tx, image_id, each.store, each.key)


def delete_from_store(ctx: Context, tx: Tx, found: Image, store: str) -> None:
    """Remove the copy in one store; an operation removes its data.

    Raises Conflict unless the image is active, NotFound when the store has none of it, Forbidden
    for the last copy.
    """
    row = found.row
    if row.status != "active":
        raise Conflict(
            f"Image {row.id} is {row.status}: data is removed from a store only while it is active."
        )
    copy = next((each for each in found.locations if each.store == store), None)
    if copy is None:
        raise NotFound(message=f"Image {row.id} is not in the store {store}.")
    if len(found.locations) == 1:
        raise Forbidden(
            f"The store {store} has the only data of image {row.id}: delete the image instead."
        )
    remove_copies(ctx, tx, found, [copy])


def remove_copies(ctx: Context, tx: Tx, found: Image, copies: Iterable[Location]) -> None:
    """The image has these copies no more; an operation removes their data."""
    _let_go(tx, found.row.id, copies)
    update(tx, found.row.id)
    journal.start(
        tx,
        operations.DELETE_COPY,
        project_id=found.row.owner or "",
        subject_type="image",
        subject_id=found.row.id,
        inputs={},
        ctx=ctx,
    )


def set_active(tx: Tx, found: Image, active: bool) -> None:
    """Allow or forbid downloads; raises Forbidden for an image without data."""
    row, wanted = found.row, "active" if active else "deactivated"
    if row.status == wanted:
        return
    if row.status not in ("active", "deactivated"):
        raise Forbidden(
            f"Not allowed to {'re' if active else 'de'}activate image in status '{row.status}'"
        )
    update(tx, row.id, status=wanted)
