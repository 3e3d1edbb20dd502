"""Rules of security groups, and the rules that new groups begin with.

In OpenStack: neutron/db/securitygroups_db.py and securitygroups_default_rules_db.py.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.ids import new_uuid
from nubelet.network import presence, records, refusals
from nubelet.network.model import (
    default_security_group_rule,
    security_group,
    security_group_rule,
)
from nubelet.network.quotas import quotas
from nubelet.network.records import Who

PARENT = "PARENT"  # in a template: the new group itself
# Names of protocols that a rule may use; numbers from 0 to 255 go as well.
PROTOCOLS = {
    "ah": 51,
    "dccp": 33,
    "egp": 8,
    "esp": 50,
    "gre": 47,
    "icmp": 1,
    "icmpv6": 58,
    "igmp": 2,
    "ipip": 4,
    "ipv6-encap": 41,
    "ipv6-frag": 44,
    "ipv6-icmp": 58,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "ipv6-route": 43,
    "ospf": 89,
    "pgm": 113,
    "rsvp": 46,
    "sctp": 132,
    "tcp": 6,
    "udp": 17,
    "udplite": 136,
    "vrrp": 112,
}
_WITH_PORTS = {33, 6, 17, 132, 136}
_ICMP = {1, 58}
_ONLY_IPV6 = {
    "icmpv6",
    "ipv6-encap",
    "ipv6-frag",
    "ipv6-icmp",
    "ipv6-nonxt",
    "ipv6-opts",
    "ipv6-route",
}
_ETHERTYPES = {"ipv4": "IPv4", "ipv6": "IPv6"}
ATTRIBUTES = (
    "direction",
    "ethertype",
    "protocol",
    "port_range_min",
    "port_range_max",
    "remote_ip_prefix",
    "remote_group_id",
)


def find(tx: Tx, rule_id: str) -> Any:
    """The row of a rule; raises SecurityGroupRuleNotFound."""
    row = tx.first(sa.select(security_group_rule).where(security_group_rule.c.id == rule_id))
    if row is None:
        raise refusals.not_found("SecurityGroupRule", rule_id)
    return row


def create(ctx: Context, tx: Tx, values: dict[str, Any]) -> str:
    """Add a rule to a group; SecurityGroupRuleExists for one that is there already."""
    rule = checked(values)
    group = _group(ctx, tx, values["security_group_id"])
    if rule["remote_group_id"]:
        _group(ctx, tx, rule["remote_group_id"])
    quotas(ctx).require(tx, values["project_id"], security_group_rule=1)
    tx.lock("network", "security-group", group.id)
    same = tx.scalar(
        sa.select(security_group_rule.c.id).where(
            security_group_rule.c.security_group_id == group.id,
            security_group_rule.c.sameness == rule["sameness"],
        )
    )
    if same:
        raise refusals.conflict(
            "SecurityGroupRuleExists", f"Security group rule already exists. Rule id is {same}."
        )
    rule_id = records.insert(ctx, tx, security_group_rule, **{**values, **rule})
    records.bump(tx, security_group, group.id)
    if rule["remote_group_id"]:
        for host in presence.hosts_of(tx, presence.SECURITY_GROUP, group.id):
            presence.want(tx, host, presence.SECURITY_GROUP, [rule["remote_group_id"]])
    presence.touch(tx, presence.SECURITY_GROUP, [group.id])
    return rule_id


def delete(ctx: Context, tx: Tx, row: Any) -> None:
    """Remove a rule."""
    records.remove(ctx, tx, security_group_rule, row)
    records.bump(tx, security_group, row.security_group_id)
    presence.touch(tx, presence.SECURITY_GROUP, [row.security_group_id])
    if row.remote_group_id:
        presence.collect(tx, presence.hosts_of(tx, presence.SECURITY_GROUP, row.remote_group_id))


def _group(ctx: Context, tx: Tx, group_id: str) -> Any:
    from nubelet.network import security_groups

    statement = sa.select(security_group).where(security_group.c.id == group_id)
    condition = security_groups.visible(ctx)
    row = tx.first(statement if condition is None else statement.where(condition))
    if row is None:
        raise refusals.not_found("SecurityGroup", group_id)
    return row


# --- Checking --------------------------------------------------------------------------------


def checked(values: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a rule in their proper form, and its sameness; 400 for nonsense."""
    rule = {name: values.get(name) for name in ATTRIBUTES}
    ethertype = _ETHERTYPES.get(str(rule["ethertype"] or "IPv4").lower())
    if ethertype is None:
        raise refusals.invalid(
            f"Security group rule for ethertype '{rule['ethertype']}' not supported. Allowed "
            "values are ['IPv4', 'IPv6'].",
            "SecurityGroupRuleInvalidEtherType",
        )
    rule["ethertype"] = ethertype
    rule["protocol"] = _protocol(rule["protocol"])
    _check_protocol(rule)
    if rule["remote_ip_prefix"] and rule["remote_group_id"]:
        raise refusals.invalid(
            "Only remote_ip_prefix or remote_group_id may be provided.",
            "SecurityGroupRemoteGroupAndRemoteIpPrefix",
        )
    rule["remote_ip_prefix"] = _prefix(rule["remote_ip_prefix"], ethertype)
    rule["sameness"] = _sameness(rule)
    return rule


def _protocol(given: Any) -> str | None:
    if given is None or given == "" or str(given).lower() == "any":
        return None
    text = str(given).lower()
    if text in PROTOCOLS or (re.fullmatch(r"[0-9]{1,3}", text) and int(text) <= 255):
        return text
    raise refusals.invalid(
        f"Security group rule protocol {given} not supported. Only protocol values "
        f"{sorted(PROTOCOLS)} and integer representations [0 to 255] are supported.",
        "SecurityGroupRuleInvalidProtocol",
    )


def protocol_number(protocol: str | None) -> int | None:
    """The number of a protocol in a rule; None for any."""
    if protocol is None:
        return None
    return PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol)


def _check_protocol(rule: dict[str, Any]) -> None:
    low, high = rule["port_range_min"], rule["port_range_max"]
    number = protocol_number(rule["protocol"])
    if rule["protocol"] in _ONLY_IPV6 and rule["ethertype"] == "IPv4":
        raise refusals.invalid(
            f"Invalid ethertype {rule['ethertype']} for protocol {rule['protocol']}.",
            "SecurityGroupEthertypeConflictWithProtocol",
        )
    if low is None and high is None:
        return
    if number is None:
        raise refusals.invalid(
            "Must also specify protocol if port range is given.",
            "SecurityGroupProtocolRequiredWithPorts",
        )
    if number in _ICMP:
        _check_icmp(low, high)
    elif number in _WITH_PORTS:
        _check_ports(low, high)
    else:
        raise refusals.invalid(
            f"Port range cannot be specified for protocol {rule['protocol']}. Port range is only "
            "supported for ['dccp', 'sctp', 'tcp', 'udp', 'udplite'].",
            "SecurityGroupInvalidProtocolForPort",
        )


def _check_icmp(kind: int | None, code: int | None) -> None:
    for name, field, value in (("type", "port-range-min", kind), ("code", "port-range-max", code)):
        if value is not None and not 0 <= value <= 255:
            raise refusals.invalid(
                f"Invalid value for ICMP {name} ({field}) {value}. It must be 0 to 255.",
                "SecurityGroupInvalidIcmpValue",
            )
    if kind is None:
        raise refusals.invalid(
            f"ICMP code (port-range-max) {code} is provided but ICMP type "
            "(port-range-min) is missing.",
            "SecurityGroupMissingIcmpType",
        )


def _check_ports(low: int | None, high: int | None) -> None:
    for value in (low, high):
        if value is not None and not 0 <= value <= 65535:
            raise refusals.invalid(
                f"Invalid value for port {value}", "SecurityGroupInvalidPortValue"
            )
    if low is None or high is None or low > high:
        raise refusals.invalid(
            "For TCP/UDP protocols, port_range_min must be <= port_range_max",
            "SecurityGroupInvalidPortRange",
        )


def _prefix(given: str | None, ethertype: str) -> str | None:
    if not given:
        return None
    try:
        network = ipaddress.ip_network(given, strict=False)
    except ValueError:
        raise refusals.invalid(f"Invalid CIDR {given} given as IP prefix.", "InvalidCIDR") from None
    if f"IPv{network.version}" != ethertype:
        raise refusals.invalid(
            f"Conflicting value ethertype {ethertype} for CIDR {given}",
            "SecurityGroupRuleParameterConflict",
        )
    return given if "/" in given else f"{given}/{network.max_prefixlen}"


def normalized(prefix: str | None) -> str | None:
    """A prefix without its host bits."""
    return None if prefix is None else str(ipaddress.ip_network(prefix, strict=False))


def _sameness(rule: dict[str, Any]) -> str:
    """Equal for rules that allow the same: names and numbers of protocols, and "everywhere" in
    its two spellings, are not told apart."""
    prefix = normalized(rule["remote_ip_prefix"])
    if prefix in ("0.0.0.0/0", "::/0"):
        prefix = None
    number = protocol_number(rule["protocol"])
    parts = (
        rule["direction"],
        rule["ethertype"],
        number,
        rule["port_range_min"],
        rule["port_range_max"],
        prefix,
        rule["remote_group_id"],
    )
    return "|".join("" if part is None else str(part) for part in parts)


# --- What new groups begin with --------------------------------------------------------------

_FIRST = tuple(
    (direction, ethertype, PARENT if direction == "ingress" else None, direction == "egress")
    for direction in ("egress", "ingress")
    for ethertype in ("IPv4", "IPv6")
)


def seed_templates(tx: Tx) -> None:
    """The templates of a new cloud: everything out, and in from the default group's members."""
    if tx.first(sa.select(default_security_group_rule.c.id).limit(1)):
        return
    for direction, ethertype, remote, everywhere in _FIRST:
        values = {"direction": direction, "ethertype": ethertype, "remote_group_id": remote}
        rule = checked(values)
        identifier = uuid.uuid5(uuid.NAMESPACE_DNS, f"{direction}.{ethertype}.default")
        tx.insert(
            default_security_group_rule,
            id=str(identifier),
            description="",
            used_in_default_sg=True,
            used_in_non_default_sg=everywhere,
            created_at=clock.now(),
            **rule,
        )


def insert_defaults(ctx: Who, tx: Tx, group_id: str, project_id: str, *, is_default: bool) -> None:
    """Give a new group the rules of the templates."""
    t = default_security_group_rule.c
    used = t.used_in_default_sg if is_default else t.used_in_non_default_sg
    now = clock.now()
    rows = []
    for template in tx.all(
        sa.select(default_security_group_rule).where(used).order_by(t.created_at, t.id)
    ):
        values = {name: getattr(template, name) for name in ATTRIBUTES}
        if values["remote_group_id"] == PARENT:
            values["remote_group_id"] = group_id
        rows.append(
            {
                "id": new_uuid(),
                "project_id": project_id,
                "security_group_id": group_id,
                "description": template.description,
                "tags": [],
                "revision_number": 1,
                "created_at": now,
                "updated_at": now,
                **values,
                "sameness": _sameness(values),
            }
        )
    if rows:
        tx.insert(security_group_rule, *rows)
