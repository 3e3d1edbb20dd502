"""Security groups for clients that know only compute: the network service's, in compute's words.

Compute's rules are all of incoming traffic; -1 stands for "any" in ports of ICMP. What the network
service refuses as a conflict is a bad request here.

In OpenStack: nova/network/security_group_api.py.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nubelet import network
from nubelet.compute import server_ports
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict
from nubelet.kernel.ids import is_uuid

View = dict[str, Any]
_GROUPS, _RULES = "security_groups", "security_group_rules"
_ANYWHERE = {"IPv4": "0.0.0.0/0", "IPv6": "::/0"}


@contextlib.contextmanager
def conflicts_as_bad_requests() -> Iterator[None]:
    """What contradicts the state of a group is 400 in this API."""
    try:
        yield
    except Conflict as error:
        raise BadRequest(error.message) from None


def require_uuid(identifier: str) -> str:
    """The identifier; raises BadRequest for one that cannot be any."""
    if not is_uuid(identifier):
        raise BadRequest(f"Security group id should be uuid: {identifier[:60]}")
    return identifier


def groups(ctx: Context, tx: Tx, project_id: str | None) -> list[View]:
    """The groups of a project, or (None) all that the caller may see."""
    more = {} if project_id is None else {"project_id": project_id}
    return _views(ctx, tx, network.list_resources(ctx.within("network"), tx, _GROUPS, **more))


def groups_of_server(ctx: Context, tx: Tx, server_id: str) -> list[View]:
    """The groups that the ports of a server are in, each once."""
    ids = {
        group_id
        for port in server_ports.ports_of(tx, [server_id])[server_id]
        for group_id in port.security_group_ids
    }
    return (
        _views(ctx, tx, network.list_resources(ctx.within("network"), tx, _GROUPS, id=ids))
        if ids
        else []
    )


def group(ctx: Context, tx: Tx, group_id: str) -> View:
    """One group; raises NotFound."""
    found = network.show_resource(ctx.within("network"), tx, _GROUPS, require_uuid(group_id))
    return _views(ctx, tx, [found])[0]


def create_group(ctx: Context, tx: Tx, name: str, description: str) -> View:
    """A new group of the caller's project."""
    with conflicts_as_bad_requests():
        made = network.create_resource(
            ctx.within("network"), tx, _GROUPS, {"name": name, "description": description}
        )
    return _views(ctx, tx, [made])[0]


def update_group(ctx: Context, tx: Tx, group_id: str, name: str, description: str) -> View:
    """Change name and description."""
    with conflicts_as_bad_requests():
        changed = network.update_resource(
            ctx.within("network"),
            tx,
            _GROUPS,
            require_uuid(group_id),
            {"name": name, "description": description},
        )
    return _views(ctx, tx, [changed])[0]


def delete_group(ctx: Context, tx: Tx, group_id: str) -> None:
    """Remove a group that no server is in."""
    row = network.show_resource(ctx.within("network"), tx, _GROUPS, require_uuid(group_id))
    if row["name"] == "default":
        raise BadRequest(f"Unable to delete system group '{row['name']}'")
    with conflicts_as_bad_requests():
        network.delete_resource(ctx.within("network"), tx, _GROUPS, group_id)


def create_rule(ctx: Context, tx: Tx, given: Mapping[str, Any]) -> View:
    """A new rule of a group; raises BadRequest for one that makes no sense or is there."""
    within = ctx.within("network")
    parent = network.show_resource(within, tx, _GROUPS, require_uuid(given["parent_group_id"]))
    values = {"security_group_id": parent["id"], "direction": "ingress", **_incoming(given)}
    if given.get("group_id"):
        remote = network.show_resource(within, tx, _GROUPS, require_uuid(given["group_id"]))
        values["remote_group_id"] = remote["id"]
    with conflicts_as_bad_requests():
        made = network.create_resource(within, tx, _RULES, values)
    return _rule_views(ctx, tx, [made])[made["id"]]


def delete_rule(ctx: Context, tx: Tx, rule_id: str) -> None:
    """Remove a rule."""
    network.delete_resource(ctx.within("network"), tx, _RULES, require_uuid(rule_id))


# --- Reading a rule ------------------------------------------------------------------------------


def _incoming(given: Mapping[str, Any]) -> View:
    """The network service's attributes of a rule in compute's words."""
    protocol = given.get("ip_protocol")
    if protocol is not None:
        protocol = str(protocol).lower()
    low, high = given.get("from_port"), given.get("to_port")
    if given.get("group_id"):
        if not protocol and low is None and high is None:
            return {"ethertype": "IPv4"}
        low, high = _open_range(protocol, low, high)
        prefix, ethertype = None, "IPv4"
    else:
        prefix, ethertype = _prefix(given.get("cidr"))
    if not protocol or low is None or high is None:
        raise BadRequest("Not enough parameters to build a valid rule.")
    first, last = _checked_range(protocol, low, high)
    return {
        "ethertype": ethertype,
        "protocol": protocol,
        "remote_ip_prefix": prefix,
        "port_range_min": None if first < 0 else first,
        "port_range_max": None if last < 0 else last,
    }


def _open_range(protocol: str | None, low: Any, high: Any) -> tuple[Any, Any]:
    """With a group as the other side everything is open that is not narrowed."""
    if low is not None or high is not None:
        return low, high
    return (-1, -1) if protocol == "icmp" else (1, 65535)


def _prefix(cidr: Any) -> tuple[str, str]:
    if cidr is None:
        return _ANYWHERE["IPv4"], "IPv4"
    try:
        parsed = ipaddress.ip_network(str(cidr), strict=False)
    except ValueError:
        raise BadRequest(f"{str(cidr)[:60]} is not a valid IP network.") from None
    return str(cidr), f"IPv{parsed.version}"


def _checked_range(protocol: str, low: Any, high: Any) -> tuple[int, int]:
    if protocol not in ("tcp", "udp", "icmp"):
        raise BadRequest(f"Invalid IP protocol {protocol[:60]}: it is tcp, udp or icmp.")
    try:
        first, last = int(low), int(high)
    except (TypeError, ValueError):
        what = "Type and code" if protocol == "icmp" else "From and to ports"
        raise BadRequest(
            f"{what} must be integers, not {str(low)[:20]} and {str(high)[:20]}."
        ) from None
    if protocol == "icmp":
        if not (-1 <= first <= 255 and -1 <= last <= 255):
            raise BadRequest(
                f"Invalid port range {first}:{last}. For ICMP, the type:code must be valid."
            )
    elif not 1 <= first <= last <= 65535:
        raise BadRequest(
            f"Invalid port range {first}:{last}. Valid ports are 1 to 65535, the "
            "first not greater than the last."
        )
    return first, last


# --- Showing -------------------------------------------------------------------------------------


def _views(ctx: Context, tx: Tx, found: Sequence[View]) -> list[View]:
    rules = [
        rule
        for each in found
        for rule in each["security_group_rules"]
        if rule["direction"] == "ingress"
    ]
    shown = _rule_views(ctx, tx, rules)
    return [
        {
            "id": each["id"],
            "name": each["name"],
            "description": each["description"] or "",
            "tenant_id": each["project_id"],
            "rules": [
                shown[rule["id"]] for rule in each["security_group_rules"] if rule["id"] in shown
            ],
        }
        for each in found
    ]


def _rule_views(ctx: Context, tx: Tx, rules: Sequence[View]) -> dict[str, View]:
    """Rule id -> how it is shown. Rules about groups that the caller cannot see are left out."""
    ids = {rule["remote_group_id"] for rule in rules if rule["remote_group_id"]}
    remote = (
        {
            each["id"]: {"name": each["name"], "tenant_id": each["project_id"]}
            for each in network.list_resources(ctx.within("network"), tx, _GROUPS, id=ids)
        }
        if ids
        else {}
    )
    return {
        rule["id"]: _rule_view(rule, remote.get(rule["remote_group_id"]))
        for rule in rules
        if not rule["remote_group_id"] or rule["remote_group_id"] in remote
    }


def _rule_view(rule: View, group: View | None) -> View:
    protocol, low, high = rule["protocol"], rule["port_range_min"], rule["port_range_max"]
    if protocol and low is None and high is None:
        low, high = {"tcp": (1, 65535), "udp": (1, 65535)}.get(protocol, (-1, -1))
    elif protocol == "icmp" and high is None:
        high = -1
    prefix = rule["remote_ip_prefix"] or _ANYWHERE[rule["ethertype"]]
    return {
        "id": rule["id"],
        "parent_group_id": rule["security_group_id"],
        "ip_protocol": protocol,
        "from_port": low,
        "to_port": high,
        "group": group or {},
        "ip_range": {} if group else {"cidr": prefix},
    }
