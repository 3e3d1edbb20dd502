"""The query of GET /servers: which parameters exist when, who may use them, what they mean.

In OpenStack: nova/api/openstack/compute/servers.py _get_servers, schemas/servers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from nubelet.compute import server_ports, states
from nubelet.compute.api import schemas as s
from nubelet.compute.api.patterns import compile_pattern, matches
from nubelet.compute.model import server, server_tag
from nubelet.decoding import prepared
from nubelet.kernel.clock import parse_iso
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Forbidden
from nubelet.kernel.http.fields import Field, Resource, read_bool, read_int, wide
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import by_version

Condition = sa.ColumnElement[bool]
FILTERS_RULE = "os_compute_api:servers:allow_all_filters"
_TEXT: s.Schema = {"type": "string"}
c = server.c

# --- Sorting: nova's column names -> ours ------------------------------------------------------
_SORT_COLUMNS: Final[Mapping[str, str]] = {
    "access_ip_v4": "access_ipv4",
    "access_ip_v6": "access_ipv6",
    "auto_disk_config": "disk_config",
    "availability_zone": "availability_zone",
    "config_drive": "config_drive",
    "created_at": "created_at",
    "deleted_at": "deleted_at",
    "display_description": "description",
    "display_name": "name",
    "host": "host",
    "hostname": "hostname",
    "id": "auto_id",
    "image_ref": "image_id",
    "instance_type_id": "flavor_id",
    "key_name": "key_name",
    "launch_index": "launch_index",
    "launched_at": "launched_at",
    "locked_by": "locked_by",
    "memory_mb": "memory_mb",
    "node": "host",
    "power_state": "power_state",
    "project_id": "project_id",
    "reservation_id": "reservation_id",
    "root_device_name": "root_device_name",
    "task_state": "task_state",
    "terminated_at": "terminated_at",
    "updated_at": "updated_at",
    "user_id": "user_id",
    "uuid": "id",
    "vcpus": "vcpus",
    "vm_state": "vm_state",
}
# Columns that all servers here have alike; sorting by them changes nothing.
_CONSTANT_SORT_KEYS: Final = (
    "architecture",
    "cell_name",
    "cleaned",
    "default_ephemeral_device",
    "default_swap_device",
    "deleted",
    "disable_terminate",
    "ephemeral_gb",
    "ephemeral_key_uuid",
    "kernel_id",
    "key_data",
    "launched_on",
    "os_type",
    "progress",
    "ramdisk_id",
    "root_gb",
    "shutdown_terminate",
    "user_data",
    "vm_mode",
)
_ADMIN_SORT_KEYS: Final = ("host", "node")
SERVERS = Resource(
    "server",
    "servers",
    server,
    tuple(
        Field(name=name, schema=_TEXT, column=column, show=False, sort=True)
        for name, column in _SORT_COLUMNS.items()
    ),
)


def sortable(ctx: Context, request: Request) -> Request:
    """The request without sort keys that order nothing or are not for the caller."""
    keys = request.query.get("sort_key", [])
    allowed = ctx.allows(FILTERS_RULE)
    kept = [
        (key, index)
        for index, key in enumerate(keys)
        if key not in _CONSTANT_SORT_KEYS and (allowed or key not in _ADMIN_SORT_KEYS)
    ]
    if len(kept) == len(keys):
        return request
    directions = request.query.get("sort_dir", [])
    query = {
        name: values
        for name, values in request.query.items()
        if name not in ("sort_key", "sort_dir")
    }
    if kept:
        query["sort_key"] = [key for key, _ in kept]
        if directions:
            query["sort_dir"] = [directions[min(index, len(directions) - 1)] for _, index in kept]
    return Request(
        **{slot: getattr(request, slot) for slot in Request.__slots__} | {"query": query}
    )


# --- Filtering -----------------------------------------------------------------------------------
FilterMaker = Callable[[str, list[str]], Condition]


def _regex(column: sa.ColumnElement[Any]) -> FilterMaker:
    return lambda name, values: sa.or_(*(matches(column, name, value) for value in values))


def _equal(column: sa.ColumnElement[Any]) -> FilterMaker:
    return lambda name, values: column.in_(values)


def _integer(column: sa.ColumnElement[Any]) -> FilterMaker:
    def make(name: str, values: list[str]) -> Condition:
        return wide(column).in_([read_int(name, value) for value in values])

    return make


def _time(column: sa.ColumnElement[Any]) -> FilterMaker:
    return lambda name, values: column.in_([read_moment(name, value) for value in values])


def _config_drive(name: str, values: list[str]) -> Condition:
    return c.config_drive.in_([bool(value) and read_bool(name, value) for value in values])


def _state(column: sa.ColumnElement[Any]) -> FilterMaker:
    return lambda name, values: column.in_([value.lower() for value in values])


def _disk_config(name: str, values: list[str]) -> Condition:
    return c.disk_config.in_(["AUTO" if read_bool(name, value) else "MANUAL" for value in values])


def _progress(name: str, values: list[str]) -> Condition:
    return sa.true() if "0" in values else sa.false()


def _last_segments(column: sa.ColumnElement[Any]) -> FilterMaker:
    """Ids that may be given as URLs."""
    return lambda name, values: column.in_(
        [value.rstrip("/").rsplit("/", 1)[-1] for value in values]
    )


_FOR_ALL: Final[Mapping[str, FilterMaker]] = {
    "name": _regex(c.name),
    "display_name": _regex(c.name),
    "image": _last_segments(c.image_id),
    "image_ref": _last_segments(c.image_id),
    "flavor": _last_segments(c.flavor_id),
    "reservation_id": _equal(c.reservation_id),
}
_FOR_ALL_SINCE_83: Final[Mapping[str, FilterMaker]] = {
    "availability_zone": _regex(c.availability_zone),
    "config_drive": _config_drive,
    "key_name": _regex(c.key_name),
    "created_at": _time(c.created_at),
    "launched_at": _time(c.launched_at),
    "terminated_at": _time(c.terminated_at),
    "power_state": _integer(c.power_state),
    "task_state": _state(c.task_state),
    "vm_state": _state(c.vm_state),
    "progress": _progress,
    "user_id": _equal(c.user_id),
}
_FOR_ADMINISTRATORS: Final[Mapping[str, FilterMaker]] = {
    **_FOR_ALL_SINCE_83,
    "host": _equal(c.host),
    "node": _equal(c.host),
    "hostname": _regex(c.hostname),
    "uuid": _equal(c.id),
    "description": _regex(c.description),
    "display_description": _regex(c.description),
    "access_ip_v4": _regex(c.access_ipv4),
    "access_ip_v6": _regex(c.access_ipv6),
    "auto_disk_config": _disk_config,
    "launch_index": _integer(c.launch_index),
    "locked_by": _equal(c.locked_by),
    "root_device_name": _regex(c.root_device_name),
}
# Known to nova, and about things that no server here has.
_WITHOUT_MEANING: Final = (
    "block_device_mapping",
    "info_cache",
    "kernel_id",
    "pci_devices",
    "ramdisk_id",
    "security_groups",
    "services",
    "soft_deleted",
    "system_metadata",
)
_SPECIAL: Final = (
    "all_tenants",
    "changes-since",
    "deleted",
    "ip",
    "ip6",
    "limit",
    "marker",
    "metadata",
    "project_id",
    "status",
    "tenant_id",
)

_NAMES = dict.fromkeys(
    (*_FOR_ALL, *_FOR_ADMINISTRATORS, *_WITHOUT_MEANING, *_SPECIAL), s.ANY_VALUES
)
_BASE: s.Schema = {
    **_NAMES,
    "limit": s.NUMBERS,
    "sort_key": s.array({"type": "string", "enum": [*_SORT_COLUMNS, *_CONSTANT_SORT_KEYS]}),
    "sort_dir": s.ANY_VALUES,
}
_TAGS: s.Schema = dict.fromkeys(("tags", "tags-any", "not-tags", "not-tags-any"), s.ANY_VALUES)
_BEFORE: s.Schema = {"changes-before": s.ANY_VALUES}
_LOCKED: s.Schema = {"locked": s.ANY_VALUES}

QUERY = by_version(
    ((2, 1), s.query(_BASE)),
    ((2, 26), s.query(_BASE | _TAGS)),
    ((2, 66), s.query(_BASE | _TAGS | _BEFORE)),
    ((2, 73), s.query(_BASE | _TAGS | _BEFORE | _LOCKED)),
    ((2, 75), s.query(_BASE | _TAGS | _BEFORE | _LOCKED, extra=False)),
)


def conditions(ctx: Context, tx: Tx, request: Request) -> list[Condition] | None:
    """What the query asks for; None when nothing can match."""
    query, all_filters = request.query, ctx.allows(FILTERS_RULE)
    known: dict[str, FilterMaker] = {**_FOR_ALL}
    if ctx.at_least(2, 83):
        known |= _FOR_ALL_SINCE_83
    if all_filters:
        known |= _FOR_ADMINISTRATORS
    found = [make(name, query[name]) for name, make in known.items() if name in query]
    found += _whose(ctx, request)
    found += _when(ctx, query)
    status = _status(ctx, query)
    if status is None:
        return None
    found += [status, *_deleted(ctx, query, all_filters), *_tags(ctx, query)]
    if ctx.at_least(2, 73) and "locked" in query:
        locked = read_bool("locked", query["locked"][0])
        found.append(c.locked_by.is_not(None) if locked else c.locked_by.is_(None))
    if "metadata" in query:
        found += _metadata(query["metadata"])
    return found + _address(ctx, tx, query, found)


def _whose(ctx: Context, request: Request) -> list[Condition]:
    if _all_projects(ctx, request):
        named = request.query.get("project_id") or request.query.get("tenant_id")
        return [c.project_id.in_(named)] if named else []
    return [c.project_id == ctx.project_id]


def _all_projects(ctx: Context, request: Request) -> bool:
    text = request.first("all_tenants")
    if text is None or (text and not read_bool("all_tenants", text)):
        return False
    ctx.authorize(f"{ctx.rule}:get_all_tenants")
    return True


def read_moment(name: str, text: str) -> int:
    """A time in a query; raises BadRequest naming the parameter."""
    try:
        return parse_iso(text)
    except ValueError:
        raise BadRequest(f"Invalid filter field: {name}. '{text}' is not a time.") from None


def _when(ctx: Context, query: Mapping[str, list[str]]) -> list[Condition]:
    found: list[Condition] = []
    since = before = None
    if "changes-since" in query:
        since = read_moment("changes-since", query["changes-since"][0])
        found.append(c.updated_at >= since)
    if ctx.at_least(2, 66) and "changes-before" in query:
        before = read_moment("changes-before", query["changes-before"][0])
        found.append(c.updated_at <= before)
    if since is not None and before is not None and since > before:
        raise BadRequest("The value of changes-since must be less than or equal to changes-before.")
    return found


def _status(ctx: Context, query: Mapping[str, list[str]]) -> Condition | None:
    wanted = query.get("status")
    if not wanted:
        return sa.true()
    alternatives: list[Condition] = []
    for status in wanted:
        for vm_state, tasks in states.conditions_of(status) or ():
            others = states.tasks_shown_in(vm_state)
            task = (
                sa.or_(c.task_state.is_(None), c.task_state.not_in(others))
                if tasks is None
                else c.task_state.in_(tasks)
            )
            alternatives.append(sa.and_(c.vm_state == vm_state, task))
    if alternatives:
        return sa.or_(*alternatives)
    if ctx.at_least(2, 38):
        raise BadRequest(f"Invalid status value: {', '.join(wanted)}")
    return None


def _deleted(ctx: Context, query: Mapping[str, list[str]], all_filters: bool) -> list[Condition]:
    if any(status.upper() == "DELETED" for status in query.get("status", ())):
        if not all_filters:
            raise Forbidden("Only administrators may list deleted instances", code=FILTERS_RULE)
        return [c.deleted_at.is_not(None)]
    if all_filters and "deleted" in query:
        deleted = read_bool("deleted", query["deleted"][0] or "true")
        return [c.deleted_at.is_not(None) if deleted else c.deleted_at.is_(None)]
    return [] if "changes-since" in query else [c.deleted_at.is_(None)]


def _tags(ctx: Context, query: Mapping[str, list[str]]) -> list[Condition]:
    if not ctx.at_least(2, 26):
        return []
    found: list[Condition] = []
    for name, every, without in (
        ("tags", True, False),
        ("tags-any", False, False),
        ("not-tags", True, True),
        ("not-tags-any", False, True),
    ):
        if name not in query:
            continue
        asked = [tag for value in query[name] for tag in value.split(",")]
        having = [
            sa.exists().where(server_tag.c.server_id == c.id, server_tag.c.tag == tag)
            for tag in asked
        ]
        condition = sa.and_(*having) if every else sa.or_(*having)
        found.append(sa.not_(condition) if without else condition)
    return found


def _metadata(values: list[str]) -> list[Condition]:
    """Items that the metadata has: `metadata={"key": "value"}`."""
    found: list[Condition] = []
    for value in values:
        try:
            items = msgspec.json.decode(value, type=prepared(dict[str, str]))
        except msgspec.MsgspecError:
            raise BadRequest(
                f"Invalid filter metadata: '{value}' is not a JSON object of texts."
            ) from None
        for item in items.items():
            # Keys have no quotes in them, so the encoded item stands in the column as it is.
            encoded = msgspec.json.encode(dict([item])).decode()[1:-1]
            text = sa.type_coerce(c.metadata, sa.Text)
            found.append(
                sa.or_(
                    text.startswith("{" + encoded, autoescape=True),
                    text.contains("," + encoded, autoescape=True),
                )
            )
    return found


def _address(
    ctx: Context, tx: Tx, query: Mapping[str, list[str]], others: list[Condition]
) -> list[Condition]:
    """`ip` and `ip6`: network knows the addresses, so its answer becomes a list of ids."""
    asked = [
        (name, version)
        for name, version in (("ip", 4), ("ip6", 6))
        if name in query and (name == "ip" or ctx.at_least(2, 5) or ctx.is_admin)
    ]
    if not asked:
        return []
    ids = [row.id for row in tx.all(sa.select(c.id).where(*others))]
    ports = server_ports.ports_of(tx, ids) if ids else {}
    for name, version in asked:
        patterns = [compile_pattern(name, value) for value in query[name]]
        ids = [
            server_id
            for server_id in ids
            if any(
                pattern.search(address.ip)
                for port in ports.get(server_id, ())
                for address in port.addresses
                if address.version == version
                for pattern in patterns
            )
        ]
    return [c.id.in_(ids)]
