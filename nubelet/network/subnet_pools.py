"""Subnet pools and address scopes: where subnets come from that do not name their range.

In OpenStack: neutron/ipam/subnet_alloc.py and neutron/db/address_scope_db.py.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.ids import new_uuid
from nubelet.network import addresses, records, refusals, sharing
from nubelet.network.addresses import IpNetwork
from nubelet.network.model import address_scope, subnet, subnet_pool
from nubelet.network.quotas import quotas

PREFIX_DELEGATION = "prefix_delegation"


def visible(ctx: Context, table: sa.Table, object_type: str) -> sa.ColumnElement[bool] | None:
    """Which pools or scopes the caller may know of: own and shared ones."""
    if ctx.is_admin:
        return None
    return sa.or_(
        table.c.project_id == ctx.project_id, table.c.id.in_(sharing.granted(ctx, object_type))
    )


def find_visible(ctx: Context, tx: Tx, pool_id: str) -> Any:
    """The row of a pool that the caller may use; else SubnetPoolNotFound."""
    statement = sa.select(subnet_pool).where(subnet_pool.c.id == pool_id)
    condition = visible(ctx, subnet_pool, "subnetpool")
    row = tx.first(statement if condition is None else statement.where(condition))
    if row is None:
        raise refusals.not_found("SubnetPool", pool_id)
    return row


def default_pool(ctx: Context, tx: Tx, ip_version: int) -> str:
    """The default pool of an IP version; 404 when there is none."""
    pool_id = tx.scalar(
        sa.select(subnet_pool.c.id).where(
            subnet_pool.c.is_default, subnet_pool.c.ip_version == ip_version
        )
    )
    if pool_id is None:
        raise refusals.not_found("SubnetPool", f"default for IPv{ip_version}")
    return str(pool_id)


def create(ctx: Context, tx: Tx, values: dict[str, Any]) -> str:
    """Insert a pool; its lengths are filled in from its prefixes."""
    quotas(ctx).require(tx, values["project_id"], subnetpool=1)
    prefixes = compacted(values["prefixes"])
    values = {
        **values,
        "prefixes": [str(each) for each in prefixes],
        "ip_version": prefixes[0].version,
    }
    _fill_lengths(values, prefixes[0])
    _check_lengths(values, prefixes[0])
    _check_scope(ctx, tx, values, prefixes, "")
    if values["is_default"]:
        _require_no_default(tx, values["ip_version"], "")
    pool_id = records.insert(ctx, tx, subnet_pool, **values)
    if values["shared"]:
        sharing.open_to_all(tx, "subnetpool", pool_id, values["project_id"], sharing.SHARED)
    return pool_id


def update(ctx: Context, tx: Tx, row: Any, changes: dict[str, Any]) -> None:
    """Change attributes. Prefixes may only be added: others may hold subnets."""
    after = {**row._mapping, **changes}
    prefixes = compacted(after["prefixes"])
    if "prefixes" in changes:
        _require_still_covered(row.prefixes, prefixes)
        changes["prefixes"] = [str(each) for each in prefixes]
    _check_lengths(after, prefixes[0])
    if {"prefixes", "address_scope_id"} & set(changes):
        _check_scope(ctx, tx, after, prefixes, row.id)
    if changes.get("is_default"):
        _require_no_default(tx, row.ip_version, row.id)
    records.change(ctx, tx, subnet_pool, row, **changes)


def add_prefixes(ctx: Context, tx: Tx, row: Any, added: Sequence[str]) -> list[str]:
    """Add prefixes; returns all of them."""
    tx.lock("network", "subnetpool", row.id)
    prefixes = compacted([*row.prefixes, *added])
    _check_scope(ctx, tx, row._mapping, prefixes, row.id)
    texts = [str(each) for each in prefixes]
    records.change(ctx, tx, subnet_pool, row, prefixes=texts)
    return texts


def remove_prefixes(ctx: Context, tx: Tx, row: Any, removed: Sequence[str]) -> list[str]:
    """Remove prefixes no subnet lies in; returns what is left."""
    tx.lock("network", "subnetpool", row.id)
    gone = compacted(removed)
    used = [ipaddress.ip_network(each.cidr) for each in _subnets(tx, row.id)]
    for prefix in gone:
        if addresses.overlapping(used, prefix):
            raise refusals.conflict(
                "IllegalSubnetPoolPrefixUpdate",
                f"Illegal update to prefixes: {prefix} is in use by subnets of this pool.",
            )
    left: list[IpNetwork] = [ipaddress.ip_network(each) for each in row.prefixes]
    for prefix in gone:
        left = [piece for each in left for piece in _without(each, prefix)]
    if not left:
        raise refusals.conflict(
            "IllegalSubnetPoolPrefixUpdate",
            "Illegal update to prefixes: a pool needs at least one prefix.",
        )
    texts = [str(each) for each in _merged(left)]
    records.change(ctx, tx, subnet_pool, row, prefixes=texts)
    return texts


def delete(ctx: Context, tx: Tx, row: Any) -> None:
    """Remove a pool no subnet comes from."""
    if _subnets(tx, row.id):
        raise refusals.conflict(
            "SubnetPoolDeleteError",
            "Unable to delete subnet pool: Subnet pool has existing allocations.",
        )
    sharing.forget(tx, row.id)
    records.remove(ctx, tx, subnet_pool, row)


# --- Allocation ------------------------------------------------------------------------------


def allocate(
    ctx: Context,
    tx: Tx,
    pool_id: str,
    values: dict[str, Any],
    cidr: str | None,
    prefix_length: int | None,
) -> IpNetwork:
    """A range for a subnet: the given one if it is free, else the first free one."""
    pool = find_visible(ctx, tx, pool_id)
    if pool.ip_version != values["ip_version"]:
        raise refusals.malformed(
            f"Cannot allocate IPv{values['ip_version']} subnet from "
            f"IPv{pool.ip_version} subnet pool"
        )
    tx.lock("network", "subnetpool", pool_id)
    wanted = addresses.parse_network(cidr) if cidr else None
    length = wanted.prefixlen if wanted else prefix_length or pool.default_prefixlen
    _check_length(pool, length)
    used = sorted(
        (ipaddress.ip_network(each.cidr) for each in _subnets(tx, pool_id)),
        key=lambda each: int(each.network_address),
    )
    _check_quota(tx, pool, values["project_id"], length)
    prefixes = [ipaddress.ip_network(each) for each in pool.prefixes]
    if wanted is None:
        found = _first_free(prefixes, used, length)
        if found is None:
            raise _allocation_error(f"Insufficient prefix space to allocate subnet size /{length}")
        return found
    if not any(_inside(wanted, each) for each in prefixes) or addresses.overlapping(used, wanted):
        raise _allocation_error(
            "Cannot allocate requested subnet from the available set of prefixes"
        )
    return wanted


def _allocation_error(reason: str) -> Exception:
    return refusals.conflict("SubnetAllocationError", f"Failed to allocate subnet: {reason}.")


def _first_free(
    prefixes: Sequence[IpNetwork],
    used: Sequence[IpNetwork],
    length: int,
) -> IpNetwork | None:
    for prefix in prefixes:
        if length < prefix.prefixlen:
            continue
        size = 1 << (prefix.max_prefixlen - length)
        at = int(prefix.network_address)
        for taken in used:
            first, last = int(taken.network_address), int(taken.broadcast_address)
            if last < at:
                continue
            if first >= at + size:
                break
            at = -(-(last + 1) // size) * size
        if at + size - 1 <= int(prefix.broadcast_address):
            return ipaddress.ip_network((type(prefix.network_address)(at), length))
    return None


def _check_length(pool: Any, length: int) -> None:
    if length < pool.min_prefixlen:
        raise refusals.malformed(
            f"Unable to allocate subnet with prefix length {length}, minimum "
            f"allowed prefix is {pool.min_prefixlen}."
        )
    if length > pool.max_prefixlen:
        raise refusals.malformed(
            f"Unable to allocate subnet with prefix length {length}, maximum "
            f"allowed prefix is {pool.max_prefixlen}."
        )


def _check_quota(tx: Tx, pool: Any, project_id: str, length: int) -> None:
    """The quota of a pool counts addresses (IPv4) or networks of /64 (IPv6) per project."""
    if pool.default_quota is None:
        return
    unit = 32 if pool.ip_version == 4 else 64
    used = sum(
        2 ** max(unit - ipaddress.ip_network(each.cidr).prefixlen, 0)
        for each in _subnets(tx, pool.id)
        if each.project_id == project_id
    )
    if used + 2 ** max(unit - length, 0) > pool.default_quota:
        raise refusals.conflict(
            "SubnetPoolQuotaExceeded", "Per-project subnet pool prefix quota exceeded."
        )


def _subnets(tx: Tx, pool_id: str) -> Sequence[Any]:
    return tx.all(
        sa.select(subnet.c.cidr, subnet.c.project_id).where(subnet.c.subnetpool_id == pool_id)
    )


# --- Prefixes --------------------------------------------------------------------------------


def compacted(prefixes: Sequence[str]) -> list[IpNetwork]:
    """Prefixes of one IP version, joined where they touch; 400 for others."""
    if not prefixes:
        raise refusals.malformed("Invalid input for prefixes. Reason: at least one is needed.")
    found = [addresses.parse_network(each, "prefixes") for each in prefixes]
    if len({each.version for each in found}) > 1:
        raise refusals.malformed("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
    return _merged(found)


def _merged(prefixes: Sequence[IpNetwork]) -> list[IpNetwork]:
    return list(ipaddress.collapse_addresses(prefixes))  # type: ignore[type-var]


def _without(prefix: IpNetwork, gone: IpNetwork) -> list[IpNetwork]:
    if not addresses.overlapping([gone], prefix):
        return [prefix]
    if _inside(prefix, gone):
        return []
    return list(prefix.address_exclude(gone))  # type: ignore[arg-type]


def _inside(part: IpNetwork, whole: IpNetwork) -> bool:
    return part.version == whole.version and part.subnet_of(whole)  # type: ignore[arg-type]


def _fill_lengths(values: dict[str, Any], prefix: IpNetwork) -> None:
    smallest = 8 if prefix.version == 4 else 64
    values["min_prefixlen"] = values.get("min_prefixlen") or smallest
    values["max_prefixlen"] = values.get("max_prefixlen") or prefix.max_prefixlen
    values["default_prefixlen"] = values.get("default_prefixlen") or values["min_prefixlen"]


def _check_lengths(values: Any, prefix: IpNetwork) -> None:
    low, default, high = (
        values[name] for name in ("min_prefixlen", "default_prefixlen", "max_prefixlen")
    )
    for name, value in (
        ("min_prefixlen", low),
        ("default_prefixlen", default),
        ("max_prefixlen", high),
    ):
        if not 0 <= value <= prefix.max_prefixlen:
            raise refusals.malformed(
                f"Illegal prefix bounds: {name}={value}, allowed are 0 to {prefix.max_prefixlen}."
            )
    if not low <= default <= high:
        raise refusals.malformed(
            f"Illegal prefix bounds: min_prefixlen={low}, default_prefixlen={default}, "
            f"max_prefixlen={high}."
        )


def _require_still_covered(before: Sequence[str], after: Sequence[IpNetwork]) -> None:
    for text in before:
        prefix = ipaddress.ip_network(text)
        if not any(_inside(prefix, each) for each in after):
            raise refusals.malformed(f"Illegal update to prefixes: {text} would be removed.")


def _check_scope(
    ctx: Context, tx: Tx, values: Any, prefixes: Sequence[IpNetwork], pool_id: str
) -> None:
    """Within an address scope no two pools overlap."""
    scope_id = values["address_scope_id"]
    if not scope_id:
        return
    scope = tx.first(sa.select(address_scope).where(address_scope.c.id == scope_id))
    if scope is None or (
        not ctx.is_admin
        and scope.project_id != ctx.project_id
        and not sharing.shared_ids(ctx, tx, "address_scope", [scope_id])
    ):
        raise refusals.not_found("AddressScope", scope_id)
    if scope.ip_version != values["ip_version"]:
        raise refusals.malformed(
            f"Illegal subnetpool association: subnetpool {pool_id} cannot "
            f"associate with address scope {scope_id}: another ip_version."
        )
    tx.lock("network", "address-scope", scope_id)
    for other in tx.all(
        sa.select(subnet_pool).where(
            subnet_pool.c.address_scope_id == scope_id, subnet_pool.c.id != pool_id
        )
    ):
        theirs = [ipaddress.ip_network(each) for each in other.prefixes]
        if any(addresses.overlapping(theirs, each) for each in prefixes):
            raise refusals.conflict(
                "AddressScopePrefixConflict",
                "Failed to associate address "
                "scope: subnetpools within an address scope must have unique "
                "prefixes.",
            )


def _require_no_default(tx: Tx, ip_version: int, pool_id: str) -> None:
    other = tx.scalar(
        sa.select(subnet_pool.c.id).where(
            subnet_pool.c.is_default,
            subnet_pool.c.ip_version == ip_version,
            subnet_pool.c.id != pool_id,
        )
    )
    if other:
        raise refusals.invalid(
            f"A default subnetpool for this IP family has already been set. "
            f"Only one default may exist per IP family: {other}"
        )


# --- Address scopes --------------------------------------------------------------------------


def create_scope(ctx: Context, tx: Tx, values: dict[str, Any]) -> str:
    """Insert an address scope."""
    identifier = new_uuid()
    tx.insert(
        address_scope,
        id=identifier,
        project_id=values["project_id"],
        name=values["name"],
        ip_version=values["ip_version"],
        created_at=clock.now(),
    )
    if values["shared"]:
        sharing.open_to_all(tx, "address_scope", identifier, values["project_id"], sharing.SHARED)
    return identifier


def update_scope(ctx: Context, tx: Tx, row: Any, changes: dict[str, Any]) -> None:
    """Change name or sharing; what is shared stays shared."""
    if "shared" in changes and changes["shared"] != sharing.is_open(tx, row.id, sharing.SHARED):
        if not changes["shared"]:
            raise refusals.malformed(
                "Unable to update address scope: Shared address scope can't be unshared."
            )
        sharing.open_to_all(tx, "address_scope", row.id, row.project_id, sharing.SHARED)
    if "name" in changes:
        tx.update(address_scope, address_scope.c.id == row.id, name=changes["name"])


def delete_scope(ctx: Context, tx: Tx, row: Any) -> None:
    """Remove an address scope no pool is in."""
    if tx.first(sa.select(subnet_pool.c.id).where(subnet_pool.c.address_scope_id == row.id)):
        raise refusals.conflict(
            "AddressScopeInUse",
            "Unable to complete operation on address "
            f"scope {row.id}. There are one or more subnet pools in use on the "
            "address scope.",
        )
    sharing.forget(tx, row.id)
    tx.delete(address_scope, address_scope.c.id == row.id)
