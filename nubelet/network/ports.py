"""Ports: a place on a network with a MAC address, addresses and filters.

Read next: `fixed_ips.py` (their addresses), `security_groups.py`, `bindings.py` (ports on hosts).
In OpenStack: neutron/plugins/ml2/plugin.py create_port.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.fields import UNSET
from nubelet.network import (
    addresses,
    allocation,
    bindings,
    fixed_ips,
    networks,
    presence,
    records,
    refusals,
    security_groups,
)
from nubelet.network.model import (
    dhcp_service,
    floating_ip,
    network,
    port,
    port_address,
    port_security_group,
    router,
    router_interface,
)
from nubelet.network.quotas import quotas
from nubelet.network.records import Who

MAX_ADDRESS_PAIRS = 10
FLOATING = "network:floatingip"
ROUTER_OWNERS = ("network:router_interface", "network:router_gateway")
UNASKED = {
    "status": "DOWN",
    "device_id": "",
    "device_owner": "",
    "name": "",
    "description": "",
    "vnic_type": "normal",
    "binding_profile": {},
    "allowed_address_pairs": [],
    "extra_dhcp_opts": [],
    "dns_name": "",
    "host": "",
    "tags": [],
    "admin_state_up": True,
}


def find(tx: Tx, port_id: str) -> Any:
    """The row of a port; raises PortNotFound."""
    row = tx.first(_BY_ID, id=port_id)
    if row is None:
        raise refusals.not_found("Port", port_id)
    return row


_BY_ID = sa.select(port).where(port.c.id == sa.bindparam("id"))


def visible(ctx: Context) -> sa.ColumnElement[bool] | None:
    """Which ports the caller may know of: own ones, and all on own networks."""
    if ctx.is_admin or ctx.allows("service_api"):
        return None
    return sa.or_(
        port.c.project_id == ctx.project_id,
        port.c.network_id.in_(
            sa.select(network.c.id).where(network.c.project_id == ctx.project_id)
        ),
    )


def create(ctx: Context, tx: Tx, values: dict[str, Any]) -> str:
    """Insert a port; returns its id. What is UNSET or missing is chosen here."""
    values = {**UNASKED, **values}
    of = networks.find_visible(ctx, tx, values["network_id"])
    quotas(ctx).require(tx, values["project_id"], port=1)
    _require_owned_device(ctx, tx, values)
    security = _security(of, values.get("port_security_enabled", UNSET), values["device_owner"])
    groups = _groups(ctx, tx, values, security)
    _check_pairs(values["allowed_address_pairs"], security)
    values["port_security_enabled"] = security
    return _insert(ctx, tx, of, values, groups)


def create_service_port(
    ctx: Who,
    tx: Tx,
    of: Any,
    *,
    device_owner: str,
    device_id: str,
    project_id: str,
    fixed_ips: fixed_ips.FixedIps | None,
    host: str = "",
    **more: Any,
) -> Any:
    """A port of the network service itself (DHCP, routers, floating IPs); returns the row."""
    values = {
        **UNASKED,
        "device_owner": device_owner,
        "device_id": device_id,
        "host": host,
        "project_id": project_id,
        "port_security_enabled": False,
        "network_id": of.id,
        "fixed_ips": UNSET if fixed_ips is None else fixed_ips,
        **more,
    }
    return find(tx, _insert(ctx, tx, of, values, ()))


def _insert(ctx: Who, tx: Tx, of: Any, values: dict[str, Any], groups: Sequence[str]) -> str:
    networks.lock(tx, of.id)
    mac = values.get("mac_address") or UNSET
    if mac is UNSET:
        mac = allocation.free_mac(tx, of.id)
    else:
        mac = addresses.canonical_mac(mac)
        if allocation.mac_used(tx, of.id, mac):
            raise refusals.mac_in_use(of.id, mac)
    asked = values.get("fixed_ips", UNSET)
    chosen = fixed_ips.choose(
        tx, of, None if asked is UNSET else asked or [], mac, values["device_owner"]
    )
    values["allowed_address_pairs"] = _with_mac(values["allowed_address_pairs"], mac)
    port_id = records.insert(ctx, tx, port, **{**values, "mac_address": mac})
    fixed_ips.store(tx, port_id, chosen)
    if groups:
        security_groups.join(tx, port_id, groups)
    if chosen:
        presence.touch_dhcp(tx, [of.id])
    if values["host"] and not values["device_owner"].startswith("network:"):
        bindings.place(tx, find(tx, port_id), values["host"])
    return port_id


def update(ctx: Context, tx: Tx, row: Any, changes: dict[str, Any]) -> None:
    """Change attributes of a port, and whatever hangs on them."""
    of = networks.find(tx, row.network_id)
    after = {**row._mapping, **changes}
    if {"device_owner", "device_id"} & set(changes):
        _require_owned_device(ctx, tx, after)
        if after["device_owner"] != row.device_owner or after["device_id"] != row.device_id:
            _require_no_service(tx, row)
            _require_no_card(ctx, row)
    security = _security(
        of, changes.get("port_security_enabled", row.port_security_enabled), after["device_owner"]
    )
    if "port_security_enabled" in changes:
        changes["port_security_enabled"] = security
    _update_groups(ctx, tx, row, changes, security)
    if "allowed_address_pairs" in changes:
        changes["allowed_address_pairs"] = _with_mac(
            changes["allowed_address_pairs"] or [], changes.get("mac_address", row.mac_address)
        )
        _check_pairs(changes["allowed_address_pairs"], security)
    if "extra_dhcp_opts" in changes:
        changes["extra_dhcp_opts"] = merged_options(
            row.extra_dhcp_opts, changes["extra_dhcp_opts"] or []
        )
    _update_addresses(tx, of, row, changes)
    host = changes.pop("host", None)
    records.change(ctx, tx, port, row, **changes)
    if host is not None and host != row.host:
        bindings.move(tx, find(tx, row.id), host)
    resend(tx, row)


def resend(tx: Tx, row: Any) -> None:
    """A port changed: send it, and what is made of it, again."""
    presence.touch(tx, presence.PORT, [row.id])
    presence.touch_dhcp(tx, [row.network_id])
    presence.touch(tx, presence.ROUTER, _routers_of(tx, row.id))
    presence.touch(tx, presence.SECURITY_GROUP, security_groups.of_port(tx, row.id))


def delete(ctx: Context | None, tx: Tx, row: Any) -> None:
    """Remove a port that no other resource of this service manages."""
    if row.device_owner in ROUTER_OWNERS and _routers_of(tx, row.id):
        raise refusals.service_port(row.id, f"has device owner {row.device_owner}")
    if row.device_owner == FLOATING and tx.first(
        sa.select(floating_ip.c.id).where(floating_ip.c.floating_port_id == row.id)
    ):
        raise refusals.service_port(row.id, f"has device owner {row.device_owner}")
    remove(ctx, tx, row)


def remove(ctx: Who, tx: Tx, row: Any) -> None:
    """Remove a port and everything that hangs on it."""
    from nubelet.network import floating_ips

    networks.lock(tx, row.network_id)
    floating_ips.disassociate_port(ctx, tx, row.id)
    groups = security_groups.of_port(tx, row.id)
    tx.update(dhcp_service, dhcp_service.c.port_id == row.id, port_id=None)
    tx.delete(port_address, port_address.c.port_id == row.id)
    tx.delete(port_security_group, port_security_group.c.port_id == row.id)
    records.remove(ctx, tx, port, row)
    presence.release(tx, presence.PORT, [row.id])
    presence.touch_dhcp(tx, [row.network_id])
    presence.touch(tx, presence.SECURITY_GROUP, groups)


def _routers_of(tx: Tx, port_id: str) -> list[str]:
    """The routers that have this port as a leg, or translate to it."""
    inside = sa.select(router_interface.c.router_id).where(router_interface.c.port_id == port_id)
    outside = sa.select(router.c.id).where(router.c.gateway_port_id == port_id)
    return [found[0] for found in tx.all(inside.union(outside))]


# --- Attributes ------------------------------------------------------------------------------


def _security(of: Any, asked: Any, device_owner: str) -> bool:
    """Is the port filtered? Those of the network service never are."""
    if device_owner.startswith("network:"):
        return False
    return bool(of.port_security_enabled if asked is UNSET else asked)


def _groups(ctx: Context, tx: Tx, values: dict[str, Any], security: bool) -> Sequence[str]:
    asked = values.get("security_groups", UNSET)
    if values["device_owner"].startswith("network:"):
        return ()
    if asked is UNSET:
        if not security or not values["project_id"]:
            return ()
        return [security_groups.default_group(ctx, tx, values["project_id"])]
    if asked and not security:
        raise refusals.invalid(
            "Port security must be enabled and port must have an IP address in "
            "order to use security groups.",
            "PortSecurityAndIPRequiredForSecurityGroups",
        )
    return security_groups.usable(ctx, tx, asked or [], values["project_id"])


def _update_groups(
    ctx: Context,
    tx: Tx,
    row: Any,
    changes: dict[str, Any],
    security: bool,
) -> None:
    present = security_groups.of_port(tx, row.id)
    asked = changes.pop("security_groups", UNSET)
    wanted = list(present) if asked is UNSET else asked or []
    if wanted and not security:
        if asked is UNSET:
            raise refusals.conflict(
                "PortSecurityPortHasSecurityGroup",
                "Port has security group associated. Cannot disable port "
                "security or IP address until security group is removed.",
            )
        raise refusals.invalid(
            "Port security must be enabled and port must have an IP address in "
            "order to use security groups.",
            "PortSecurityAndIPRequiredForSecurityGroups",
        )
    if asked is UNSET or set(wanted) == set(present):
        return
    groups = security_groups.usable(ctx, tx, wanted, row.project_id)
    tx.delete(port_security_group, port_security_group.c.port_id == row.id)
    security_groups.join(tx, row.id, groups)
    presence.touch(tx, presence.SECURITY_GROUP, [*present, *groups])
    if row.host:
        security_groups.want_on(tx, row.host, groups)
        presence.collect(tx, [row.host])
    records.bump(tx, port, row.id)


def _update_addresses(tx: Tx, of: Any, row: Any, changes: dict[str, Any]) -> None:
    from nubelet.network import floating_ips

    networks.lock(tx, of.id)
    mac = row.mac_address
    if "mac_address" in changes:
        mac = changes["mac_address"] = addresses.canonical_mac(changes["mac_address"])
        _change_mac(tx, of, row, mac)
    asked = changes.pop("fixed_ips", None)
    if mac != row.mac_address and row.device_owner not in ROUTER_OWNERS:
        fixed_ips.remake(tx, of, row, mac)
        floating_ips.disassociate_lost(tx, row.id)
    if asked is None:
        return
    owner = changes.get("device_owner", row.device_owner)
    if owner == FLOATING and owner == row.device_owner:
        raise refusals.bad_request("port", "The addresses of a floating IP's port are fixed")
    if fixed_ips.replace(tx, of, row, asked, mac, owner):
        records.bump(tx, port, row.id)
        floating_ips.disassociate_lost(tx, row.id)


def _change_mac(tx: Tx, of: Any, row: Any, mac: str) -> None:
    if mac == row.mac_address:
        return
    if row.host and row.device_owner.startswith("compute:"):
        raise refusals.conflict(
            "PortBound",
            f"Unable to complete operation on port {row.id}, port is already bound, "
            f"old_mac {row.mac_address}, new_mac {mac}.",
        )
    if allocation.mac_used(tx, of.id, mac):
        raise refusals.mac_in_use(of.id, mac)


def _require_owned_device(ctx: Context, tx: Tx, values: dict[str, Any]) -> None:
    """Nobody may put a port into the router of another project."""
    if values["device_owner"] not in ROUTER_OWNERS or ctx.is_admin or not values["device_id"]:
        return
    owner = tx.scalar(sa.select(router.c.project_id).where(router.c.id == values["device_id"]))
    if owner != ctx.project_id:
        raise refusals.conflict(
            "DeviceIDNotOwnedByTenant",
            f"The following device_id {values['device_id']} is not "
            "owned by your project or matches another project's router.",
        )


def _require_no_service(tx: Tx, row: Any) -> None:
    """A port that serves a router or a floating IP leaves it by their API alone."""
    holds = sa.select(floating_ip.c.id).where(floating_ip.c.floating_port_id == row.id)
    if _routers_of(tx, row.id) or (row.device_owner == FLOATING and tx.first(holds)):
        raise refusals.conflict(
            "ServicePortInUse",
            f"Port {row.id} cannot be given to another device via the port API: "
            f"has device owner {row.device_owner}.",
        )


def _require_no_card(ctx: Context, row: Any) -> None:
    """The card of a server leaves it by detaching; an administrator may mend what is broken."""
    if row.host and row.device_owner.startswith("compute:") and not ctx.is_admin:
        raise refusals.conflict(
            "PortBound",
            f"Port {row.id} is bound to server {row.device_id} on a host: detach it from the "
            "server before it is given to another device.",
        )


def _with_mac(pairs: Sequence[dict[str, str]], mac: str) -> list[dict[str, str]]:
    """Address pairs that name no MAC address mean the port's own."""
    return [{"mac_address": mac, **each} for each in pairs]


def _check_pairs(pairs: Sequence[dict[str, str]] | None, security: bool) -> None:
    pairs = pairs or []
    if pairs and not security:
        raise refusals.conflict(
            "AddressPairAndPortSecurityRequired",
            "Port Security must be enabled in order to have allowed address pairs on a port.",
        )
    if len(pairs) > MAX_ADDRESS_PAIRS:
        raise refusals.invalid(
            f"Exceeded maximum amount of allowed address pairs: {MAX_ADDRESS_PAIRS}",
            "AllowedAddressPairExhausted",
        )
    seen = set()
    for each in pairs:
        key = (each.get("mac_address"), each["ip_address"])
        if key in seen:
            raise refusals.malformed(
                f"Request contains duplicate address pair: mac_address "
                f"{key[0]} ip_address {key[1]}."
            )
        seen.add(key)


def merged_options(
    present: Sequence[dict[str, Any]],
    changes: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """DHCP options after an update: named ones replace, a null value removes, others stay."""
    merged = {(each["opt_name"], each["ip_version"]): each["opt_value"] for each in present}
    for each in changes:
        key = (each["opt_name"], int(each.get("ip_version") or 4))
        if each.get("opt_value") is None:
            merged.pop(key, None)
        else:
            merged[key] = each["opt_value"]
    return [
        {"opt_name": name, "opt_value": value, "ip_version": version}
        for (name, version), value in merged.items()
    ]
