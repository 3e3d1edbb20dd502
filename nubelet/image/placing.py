"""Data that lies somewhere already becomes an image's: by the location API, and by PATCH.

A location inside a store of this cloud could be somebody else's data (OSSN-0065, OSSN-0090): only
services and administrators may name one, and never the data of another image. Anybody who may
change the image may name data on the web.

In OpenStack: glance/api/v2/images.py, glance/location.py.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.image import locations, loose_data, quotas
from nubelet.image.images import Image
from nubelet.image.images import update as update_image
from nubelet.image.locations import Location
from nubelet.image.model import image, image_location
from nubelet.image.operations import IMPORT_LOCATION
from nubelet.image.patching import Change
from nubelet.image.stores import ImageStore, Stores, StoreUnreachable
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, Forbidden
from nubelet.kernel.http import schemas
from nubelet.kernel.operations import journal

_HASHES = ("checksum", "os_hash_algo", "os_hash_value")
_LOCATION = {
    "type": "object",
    "required": ["url", "metadata"],
    "properties": {
        "url": {"type": "string", "minLength": 1, "maxLength": 2048},
        "metadata": {"type": "object"},
        "validation_data": {
            "type": "object",
            "properties": {name: {"type": "string"} for name in _HASHES},
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}


def add_by_operation(
    ctx: Context, tx: Tx, found: Image, url: str, validation_data: Mapping[str, str]
) -> None:
    """A queued image gets its data from a location; an operation finds it and hashes it.

    Raises Conflict unless the image is queued, BadRequest for a URL or hash that cannot be.
    """
    row = found.row
    if row.status != "queued":
        raise Conflict(
            f"Image {row.id} is {row.status}: a location is added only while it is queued."
        )
    store, key = _place(ctx, tx, found, url)
    validation_data = {name: each.lower() for name, each in validation_data.items()}
    check_hashes(validation_data)
    quotas.require_upload(ctx.cloud, tx, row.owner, staged=False)
    update_image(tx, row.id, status="importing")
    journal.start(
        tx,
        IMPORT_LOCATION,
        project_id=row.owner or "",
        subject_type="image",
        subject_id=row.id,
        ctx=ctx,
        inputs={
            "store": store.name,
            "key": key,
            "url": url,
            "validation_data": dict(validation_data),
            "hashes": ctx.cloud.settings.image.hash_locations,
        },
    )


def check_hashes(given: Mapping[str, str]) -> None:
    """Raise BadRequest for hashes that no data can have."""
    algorithm, value = given.get("os_hash_algo"), given.get("os_hash_value")
    if (algorithm is None) != (value is None):
        raise BadRequest("os_hash_algo and os_hash_value must be given together.")
    if algorithm is not None and value is not None:
        if algorithm not in hashlib.algorithms_guaranteed or algorithm.startswith("shake"):
            raise BadRequest(f"os_hash_algo: {algorithm!r} is not a known hash algorithm.")
        digits = hashlib.new(algorithm, usedforsecurity=False).digest_size * 2
        if not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", value):
            raise BadRequest(f"os_hash_value must be {digits} hexadecimal digits for {algorithm}.")
    checksum = given.get("checksum")
    if checksum is not None and not re.fullmatch("[0-9a-fA-F]{32}", checksum):
        raise BadRequest("checksum must be 32 hexadecimal digits.")


def _place(ctx: Context, tx: Tx, found: Image, url: str) -> tuple[ImageStore, str]:
    """The store and key of a URL that the caller may give to this image."""
    store, key = ctx.cloud.get(Stores).find(url)
    if store.read_only:
        return store, key
    target = found.target(ctx)
    if store.type == "file" or not (ctx.is_admin or ctx.allows("fetch_image_location", target)):
        raise BadRequest(f"Invalid location: {url!r} is inside a store of this cloud.")
    owner = tx.scalar(
        sa.select(image_location.c.image_id).where(
            image_location.c.store == store.name, image_location.c.key == key
        )
    )
    if owner is not None and owner != found.row.id:
        raise BadRequest(f"Invalid location: {url!r} is the data of another image.")
    if any(each.store == store.name and each.key == key for each in loose_data.find(tx)):
        raise BadRequest(f"Invalid location: {url!r} is data that is being removed or written.")
    return store, key


# --- By PATCH ---------------------------------------------------------------------------------


def measure(ctx: Context, changes: Iterable[Change]) -> dict[str, int | None]:
    """How large the data at new locations is, by their URLs. Asks the stores: not in a transaction.

    Raises BadRequest for a location that is malformed or cannot be read.
    """
    sizes: dict[str, int | None] = {}
    for change in changes:
        if change.name != "locations" or change.op == "remove":
            continue
        _require_shown(ctx, change.op)
        for each in [change.value] if change.op == "add" else change.value:
            store, key = ctx.cloud.get(Stores).find(each["url"])
            try:
                sizes[each["url"]] = store.size(key)
            except StoreUnreachable as error:
                raise BadRequest(f"Invalid location: {error}") from None
    return sizes


def check(change: Change) -> None:
    """Raise BadRequest for a change of locations that is malformed."""
    depth = {"add": True, "remove": True, "replace": False}[change.op]
    if depth != (change.position is not None):
        raise BadRequest(f"Invalid JSON pointer for this resource: '/{change.name}'")
    if change.op == "remove":
        return
    values = [change.value] if change.op == "add" else change.value
    schemas.check({"type": "array", "items": _LOCATION}, values, "locations")
    if not values:
        raise Forbidden("Cannot set locations to empty list.")


def apply(
    ctx: Context,
    tx: Tx,
    found: Image,
    changes: Sequence[Change],
    sizes: Mapping[str, int | None],
) -> list[Location]:
    """Make the changes of a patch that are about locations; returns those that are gone."""
    row, removed = found.row, []
    values: dict[str, str] = {}
    present = list(found.locations)
    for change in changes:
        _authorize(ctx, found, change.op)
        if row.status not in (("active",) if change.op == "remove" else ("active", "queued")):
            raise Conflict(f"Image {row.id} is {row.status}: its locations cannot be changed now.")
        if change.op == "remove":
            removed.append(_remove(present, change.position or ""))
        elif change.op == "add":
            values |= _validated(row, change.value, values)
            _require_same_size(row, change.value["url"], sizes)
            _insert(present, _new(ctx, tx, found, change.value), change.position or "")
        else:
            for each in change.value:
                values |= _validated(row, each, values)
            present = _replaced(ctx, tx, found, present, change.value)
    locations.replace(tx, row.id, present)
    if row.status == "queued" and present:
        size = next(iter(sizes.values()), None)
        tx.update(image, image.c.id == row.id, status="active", size=size, **values)
    return removed


def _require_shown(ctx: Context, op: str) -> None:
    if not ctx.cloud.settings.image.show_locations:
        raise Forbidden(f"It's not allowed to {op} locations if locations are invisible.")


def _authorize(ctx: Context, found: Image, op: str) -> None:
    _require_shown(ctx, op)
    rule = "delete_image_location" if op == "remove" else "set_image_location"
    ctx.authorize(rule, found.target(ctx))


def _require_same_size(row: Any, url: str, sizes: Mapping[str, int | None]) -> None:
    """What an image has does not change: another copy of it is as long."""
    if row.status == "active" and row.size is not None and sizes.get(url) != row.size:
        raise BadRequest(
            f"The image has {row.size} bytes, what lies at {url!r} "
            f"{'says nothing of its size' if sizes.get(url) is None else sizes[url]}."
        )


def _new(ctx: Context, tx: Tx, found: Image, value: Mapping[str, Any]) -> Location:
    store, key = _place(ctx, tx, found, value["url"])
    return Location(store.name, key, _own_words(value))


def _own_words(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in value["metadata"].items() if name != "store"}


def _insert(present: list[Location], new: Location, position: str) -> None:
    if any((each.store, each.key) == (new.store, new.key) for each in present):
        raise BadRequest(f"The location {new.key} exists already.")
    at = len(present) if position == "-" else _index(position)
    if at > len(present):
        raise BadRequest("Invalid position for adding a location.")
    present.insert(at, new)


def _remove(present: list[Location], position: str) -> Location:
    at = _index(position)
    if at >= len(present):
        raise BadRequest("Invalid position for removing a location.")
    if len(present) == 1:
        raise Forbidden("Cannot remove last location in the image.")
    return present.pop(at)


def _index(position: str) -> int:
    if not position.isdecimal():
        raise BadRequest(f"Invalid position of a location: {position}.")
    return int(position)


def _replaced(
    ctx: Context, tx: Tx, found: Image, present: list[Location], wanted: list[Mapping[str, Any]]
) -> list[Location]:
    """The same places with other metadata, or the first places of an image that has none."""
    if not present:
        made: list[Location] = []
        for value in wanted:
            _insert(made, _new(ctx, tx, found, value), "-")
        return made
    stores = ctx.cloud.get(Stores)
    known = {each.url(stores): each for each in present}
    urls = [value["url"] for value in wanted]
    if sorted(urls) != sorted(known):
        raise BadRequest("Original locations is not empty: only their metadata can be replaced.")
    return [known[value["url"]]._replace(metadata=_own_words(value)) for value in wanted]


def _validated(row: Any, value: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, str]:
    """The hashes that come with a location: new ones for a queued image, else the known ones."""
    given = {name: each.lower() for name, each in value.get("validation_data", {}).items()}
    if row.status == "queued":
        check_hashes(given)
    for name, each in given.items():
        known = getattr(row, name) if row.status != "queued" else before.get(name, each)
        if known != each:
            raise Conflict(f"{name} of the image is {known}, not {each} as the location says.")
    return dict(given)
