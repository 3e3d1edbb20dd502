"""POST /servers: everything that can be known at once is checked, then rows and operations are
written, all in one transaction.

What takes time is `operations/create_server.py`. The order of checks follows nova's, so that a
request with several faults is told the same one.

In OpenStack: nova/compute/api.py _create_instance.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nubelet.compute import (
    flavors,
    keypairs,
    quotas,
    server_destinations,
    server_disks,
    server_images,
    server_networks,
    servers,
    states,
)
from nubelet.compute.api import schemas as s
from nubelet.compute.model import server, server_nic
from nubelet.kernel import clock, events
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound, QuotaExceeded
from nubelet.kernel.ids import new_uuid
from nubelet.kernel.operations import journal

ROOT_DEVICE = "/dev/vda"
_RESERVATION = string.ascii_lowercase + string.digits
_PASSWORD = "".join(c for c in string.ascii_letters + string.digits if c not in "lI1O0o")
MAX_USER_DATA = 65535


@dataclass(frozen=True)
class Created:
    """What a creation made."""

    server_ids: list[str]
    reservation_id: str
    admin_password: str
    security_groups: list[str]


def new_password() -> str:
    """A password for the answer of a creation or rebuild."""
    return "".join(secrets.choice(_PASSWORD) for _ in range(12))


def create(ctx: Context, tx: Tx, given: Mapping[str, Any], hints: Mapping[str, Any]) -> Created:
    """Make as many servers as asked (between min_count and max_count, as the quota allows)."""
    lowest, highest = _counts(given)
    flavor = _flavor(ctx, tx, given["flavorRef"])
    destination = server_destinations.resolve(ctx, tx, given)
    layout = server_disks.lay_out(flavor, _block_devices(given))
    image = server_images.find(ctx, tx, _image_id(given, layout), flavor)
    values = {
        **_plain(ctx, tx, given),
        "project_id": ctx.project_id or "",
        "user_id": ctx.user_id,
        "flavor_id": flavor["id"],
        "flavor": flavor,
        "vcpus": flavor["vcpus"],
        "memory_mb": flavor["memory_mb"],
        "image_id": image.id,
        "image_properties": image.properties,
        "disks": layout.disks,
        "pinned_availability_zone": destination.zone,
        "requested_host": destination.host,
        "is_forced": destination.forced,
        "scheduler_hints": server_destinations.check_hints(ctx, tx, hints),
    }
    cards = server_networks.resolve(ctx, tx, given.get("networks"), highest)
    names = _group_names(given)
    group_ids = server_networks.security_group_ids(ctx, tx, names)
    count = _count_within_quota(ctx, tx, flavor, lowest, highest)
    group = server_destinations.group_of(ctx, tx, hints, count)
    ids = _insert(
        ctx,
        tx,
        given,
        values,
        cards,
        count,
        _Extras(given.get("tags", ()), group.id if group else None, group_ids),
    )
    return Created(ids, values["reservation_id"], given.get("adminPass") or new_password(), names)


# --- Reading the request -----------------------------------------------------------------------


def _counts(given: Mapping[str, Any]) -> tuple[int, int]:
    lowest = s.as_int("min_count", given.get("min_count", 1), 1)
    highest = s.as_int("max_count", given.get("max_count", lowest), 1)
    if lowest > highest:
        raise BadRequest("min_count must be <= max_count")
    return lowest, highest


def _flavor(ctx: Context, tx: Tx, reference: Any) -> dict[str, Any]:
    identifier = str(reference).rstrip("/").rsplit("/", 1)[-1]
    try:
        return flavors.snapshot(flavors.find(ctx, tx, identifier))
    except NotFound as error:
        raise BadRequest(error.message) from None


def _block_devices(given: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    if given.get("block_device_mapping"):
        raise BadRequest(server_disks.NO_VOLUMES.format("block_device_mapping"))
    mappings = given.get("block_device_mapping_v2") or ()
    if (
        mappings
        and not given.get("imageRef")
        and not any(str(each.get("boot_index")) == "0" for each in mappings)
    ):
        raise BadRequest(
            "Block Device Mapping is Invalid: Boot sequence for the instance and "
            "image/block device mapping combination is not valid."
        )
    return mappings


def _image_id(given: Mapping[str, Any], layout: server_disks.Layout) -> str:
    named = given.get("imageRef")
    if layout.image_id is None:
        return server_images.read_reference(named)
    image_id = server_images.read_reference(layout.image_id)
    if named and server_images.read_reference(named) != image_id:
        raise BadRequest(
            "Block Device Mapping is Invalid: imageRef and the block device with "
            "boot_index 0 name different images."
        )
    return image_id


def _plain(ctx: Context, tx: Tx, given: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that follow from single fields."""
    if given.get("trusted_image_certificates"):
        raise BadRequest(
            "trusted_image_certificates: this cloud does not verify signatures of "
            "images, so it refuses servers that rely on it."
        )
    limits = quotas.of(ctx.cloud).limits(tx, ctx.project_id or "")
    metadata = dict(given.get("metadata") or {})
    servers.require_metadata_quota(limits["metadata_items"], metadata)
    return {
        **_key(ctx, tx, given.get("key_name")),
        "description": given.get("description") if ctx.at_least(2, 19) else given["name"],
        "user_data": check_user_data(given.get("user_data")),
        "personality": check_personality(given.get("personality"), limits),
        "config_drive": s.as_bool(given.get("config_drive", False)),
        "metadata": metadata,
        "disk_config": given.get("OS-DCF:diskConfig", "MANUAL"),
        "access_ipv4": servers.canonical_address(given.get("accessIPv4")),
        "access_ipv6": servers.canonical_address(given.get("accessIPv6")),
        "root_device_name": ROOT_DEVICE,
        "reservation_id": "r-" + "".join(secrets.choice(_RESERVATION) for _ in range(8)),
    }


def _key(ctx: Context, tx: Tx, name: str | None) -> dict[str, Any]:
    if name is None:
        return {"key_name": None, "key_type": None, "public_key": None}
    return key_of(ctx, tx, ctx.user_id, name)


def key_of(ctx: Context, tx: Tx, user_id: str, name: str) -> dict[str, Any]:
    """The columns that copy a keypair into a server; raises BadRequest for an unknown one."""
    try:
        row = keypairs.find(tx, user_id, name)
    except NotFound:
        raise BadRequest(f"Invalid key_name provided: there is no keypair '{name}'.") from None
    return {"key_name": row.name, "key_type": row.type, "public_key": row.public_key}


def check_user_data(text: str | None) -> str | None:
    """User data as given, if it is base64 and not too long; raises BadRequest."""
    if text is None:
        return None
    if len(text) > MAX_USER_DATA:
        raise BadRequest(
            "User data too large. User data must be no larger than "
            f"{MAX_USER_DATA} bytes once base64 encoded. Your data is {len(text)} "
            "bytes"
        )
    try:
        base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("User data needs to be valid base 64.") from None
    return text


def check_personality(
    files: Sequence[Mapping[str, str]] | None, limits: Mapping[str, int]
) -> list[dict[str, str]]:
    """Files to be put into the server (until 2.56): within the quota, and base64."""
    files = files or ()
    if 0 <= limits["injected_files"] < len(files):
        raise QuotaExceeded(
            "injected_files",
            limit=limits["injected_files"],
            used=0,
            requested=len(files),
            message="Personality file limit exceeded",
        )
    checked = []
    for each in files:
        path, contents = each.get("path", ""), each.get("contents", "")
        try:
            size = len(base64.b64decode("".join(contents.split()), validate=True))
        except (binascii.Error, ValueError):
            raise BadRequest(
                f"Personality content for {path} cannot be decoded: it is not base64"
            ) from None
        for name, amount, what in (
            ("injected_file_path_bytes", len(path), "path"),
            ("injected_file_content_bytes", size, "content"),
        ):
            if 0 <= limits[name] < amount:
                raise QuotaExceeded(
                    name,
                    limit=limits[name],
                    used=0,
                    requested=amount,
                    message=f"Personality file {what} exceeds maximum: {amount} "
                    f"of {limits[name]} bytes",
                )
        checked.append({"path": path, "contents": contents})
    return checked


def _group_names(given: Mapping[str, Any]) -> list[str]:
    names = [each["name"] for each in given.get("security_groups", ()) if "name" in each]
    return list(dict.fromkeys(names)) or ["default"]


def _count_within_quota(
    ctx: Context, tx: Tx, flavor: Mapping[str, Any], lowest: int, highest: int
) -> int:
    """How many servers the quota allows; raises QuotaExceeded for less than `lowest`."""
    project_id = ctx.project_id or ""
    each = {"instances": 1, "cores": flavor["vcpus"], "ram": flavor["memory_mb"]}
    tx.lock("quota", "compute", project_id)
    count = highest
    if highest > lowest:
        left = quotas.left(ctx, tx, project_id)
        for name, amount in each.items():
            if name in left:
                count = min(count, left[name] // amount)
        count = max(count, lowest)
    quotas.require(ctx, tx, project_id, **{name: amount * count for name, amount in each.items()})
    return count


# --- Writing it down -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Extras:
    """What belongs to each of the servers besides its row."""

    tags: Sequence[str]
    group_id: str | None
    security_group_ids: list[str]


def _insert(
    ctx: Context,
    tx: Tx,
    given: Mapping[str, Any],
    values: Mapping[str, Any],
    cards: Sequence[server_networks.RequestedNic],
    count: int,
    extras: _Extras,
) -> list[str]:
    now = clock.now()
    rows = []
    for index in range(count):
        server_id = new_uuid()
        name = given["name"] if count == 1 else f"{given['name']}-{index + 1}"
        rows.append(
            {
                **values,
                "id": server_id,
                "name": name,
                "launch_index": index,
                "hostname": _hostname(given, server_id, name, index if count > 1 else None),
                "vm_state": states.BUILDING,
                "task_state": states.SCHEDULING,
                "power_state": states.NO_POWER_STATE,
                "created_at": now,
                "updated_at": now,
            }
        )
    tx.insert(server, *rows)
    for row in rows:
        _insert_parts(ctx, tx, row, cards, extras)
    return [row["id"] for row in rows]


def _hostname(given: Mapping[str, Any], server_id: str, name: str, index: int | None) -> str:
    if given.get("hostname"):
        return str(given["hostname"]) + ("" if index is None else f"-{index + 1}")
    return servers.hostname_of(name, server_id)


def _insert_parts(
    ctx: Context,
    tx: Tx,
    row: Mapping[str, Any],
    cards: Sequence[server_networks.RequestedNic],
    extras: _Extras,
) -> None:
    from nubelet.compute.operations import CREATE_SERVER

    if cards:
        tx.insert(server_nic, *(card.row(row["id"]) for card in cards))
    if extras.tags:
        servers.set_tags(tx, row["id"], extras.tags)
    if extras.group_id:
        server_destinations.join_group(tx, extras.group_id, row["id"])
    events.emit(
        tx,
        "server.created",
        project_id=row["project_id"],
        subject_type="server",
        subject_id=row["id"],
        ctx=ctx,
        payload={"name": row["name"]},
    )
    journal.start(
        tx,
        CREATE_SERVER,
        project_id=row["project_id"],
        subject_type="server",
        subject_id=row["id"],
        ctx=ctx,
        inputs={"security_group_ids": extras.security_group_ids},
    )
