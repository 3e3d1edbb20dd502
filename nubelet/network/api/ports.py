"""/ports.

The list of ports is the longest one clients ask for, so its view is one plain function.

API reference: https://docs.openstack.org/api-ref/network/v2/#ports
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Raw

from nubelet.kernel.clock import iso_seconds
from nubelet.kernel.context import Context
from nubelet.kernel.database import Json, Tx
from nubelet.kernel.http.fields import Condition, Field, Resource
from nubelet.network import addresses, fixed_ips, networks, ports, refusals, security_groups
from nubelet.network.api.attributes import (
    STANDARD_FILTERS,
    TEXT,
    UUID,
    flag,
    identity,
    shown,
    standard,
    standard_conditions,
    text,
)
from nubelet.network.api.networks import columns
from nubelet.network.api.noun import Noun, Values, View
from nubelet.network.api.subnets import owners
from nubelet.network.model import host, network, port, port_address, port_security_group

Addressed = tuple[str, str]  # subnet id, address
VNIC_TYPES = (
    "normal",
    "direct",
    "macvtap",
    "baremetal",
    "direct-physical",
    "virtio-forwarder",
    "smart-nic",
    "vdpa",
    "accelerator-direct",
    "accelerator-direct-physical",
    "remote-managed",
)
_BINDING = ("binding:host_id", "binding:profile", "binding:vif_type", "binding:vif_details")
_FIXED_IPS = {
    "type": ["array", "null"],
    "items": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "subnet_id": {**UUID, "type": ["string", "null"]},
            "ip_address": {"type": ["string", "null"], "maxLength": 45},
        },
    },
}
_PAIRS = {
    "type": ["array", "null"],
    "items": {
        "type": "object",
        "required": ["ip_address"],
        "additionalProperties": False,
        "properties": {
            "ip_address": {"type": "string", "maxLength": 49},
            "mac_address": {"type": ["string", "null"]},
            "active": {"type": "boolean"},
        },
    },
}
_OPTIONS = {
    "type": ["array", "null"],
    "items": {
        "type": "object",
        "required": ["opt_name"],
        "additionalProperties": False,
        "properties": {
            "opt_name": {"type": "string", "minLength": 1, "maxLength": 64},
            "opt_value": {"type": ["string", "null"], "minLength": 1, "maxLength": 255},
            "ip_version": {"type": ["integer", "string"]},
        },
    },
}
_DNS_NAME = {
    "type": ["string", "null"],
    "maxLength": 253,
    "pattern": r"^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.|$))*$",
}
_RULE = "{verb}_port:"


def _fixed_ips_filter(values: list[str], ctx: Context) -> Condition:
    """`fixed_ips=ip_address=10.0.0.5`, `subnet_id=...`, `ip_address_substr=...`."""
    wanted: dict[str, list[str]] = {}
    for value in values:
        name, equals, what = value.partition("=")
        if not equals or name not in ("ip_address", "subnet_id", "ip_address_substr"):
            raise refusals.malformed(f"Invalid filter fixed_ips={value}")
        wanted.setdefault(name, []).append(what)
    conditions = []
    for name, whats in wanted.items():
        c = port_address.c
        found = (
            c.ip.in_(whats)
            if name == "ip_address"
            else c.subnet_id.in_(whats)
            if name == "subnet_id"
            else sa.or_(*(c.ip.contains(what, autoescape=True) for what in whats))
        )
        conditions.append(port.c.id.in_(sa.select(c.port_id).where(found)))
    return sa.and_(*conditions)


def _security_groups_filter(values: list[str], ctx: Context) -> Condition:
    c = port_security_group.c
    return port.c.id.in_(sa.select(c.port_id).where(c.security_group_id.in_(values)))


PORTS = Resource(
    "port",
    "ports",
    port,
    (
        *identity(),
        text("name"),
        Field(name="network_id", schema=UUID, create="required", filter="exact", sort=True),
        flag("admin_state_up", default=True),
        Field(
            name="mac_address",
            schema={"type": ["string", "null"], "maxLength": 17},
            create="optional",
            update=True,
            filter="exact",
            sort=True,
            rule=_RULE + "mac_address",
        ),
        Field(
            name="fixed_ips",
            schema=_FIXED_IPS,
            create="optional",
            update=True,
            filter=_fixed_ips_filter,
            rule=_RULE + "fixed_ips",
        ),
        shown("status", TEXT, filter="exact", sort=True),
        text("device_id"),
        text("device_owner", rule=_RULE + "device_owner"),
        Field(
            name="binding:host_id",
            column="host",
            schema={**TEXT, "type": ["string", "null"]},
            create="optional",
            update=True,
            default="",
            filter="exact",
            sort=True,
            rule=_RULE + "binding:host_id",
        ),
        Field(
            name="binding:profile",
            column="binding_profile",
            schema={"type": ["object", "null"]},
            create="optional",
            update=True,
            default={},
            rule=_RULE + "binding:profile",
        ),
        shown("binding:vif_type", TEXT),
        shown("binding:vif_details", {"type": "object"}),
        Field(
            name="binding:vnic_type",
            column="vnic_type",
            schema={"type": "string", "enum": list(VNIC_TYPES)},
            create="optional",
            update=True,
            default="normal",
            filter="exact",
            sort=True,
            rule=_RULE + "binding:vnic_type",
        ),
        flag("port_security_enabled", default=None, rule=_RULE + "port_security_enabled"),
        Field(
            name="security_groups",
            schema={"type": ["array", "null"], "items": UUID},
            create="optional",
            update=True,
            filter=_security_groups_filter,
        ),
        Field(
            name="allowed_address_pairs",
            schema=_PAIRS,
            create="optional",
            update=True,
            default=[],
            rule=_RULE + "allowed_address_pairs",
        ),
        Field(name="extra_dhcp_opts", schema=_OPTIONS, create="optional", update=True, default=[]),
        Field(
            name="dns_name",
            schema=_DNS_NAME,
            create="optional",
            update=True,
            default="",
            filter="exact",
            sort=True,
        ),
        shown("dns_assignment", {"type": "array"}),
        *standard(),
    ),
)


class Ports(Noun):
    """Ports."""

    resource, kind, rule, path = PORTS, "Port", "port", "/ports"
    parts = {
        "fixed_ips": ("ip_address", "subnet_id"),
        "allowed_address_pairs": ("ip_address", "mac_address"),
    }
    extra_filters = STANDARD_FILTERS

    def selection(self) -> Sequence[Any]:
        """Columns in the order of `_view`; what is JSON stays text, and is answered as it is."""
        return [
            sa.type_coerce(port.c[name], sa.Text).label(name)
            if isinstance(port.c[name].type, Json)
            else port.c[name]
            for name in _SELECTION
        ]

    def visible(self, ctx: Context) -> sa.ColumnElement[bool] | None:
        """Own ones and those on own networks."""
        return ports.visible(ctx)

    def conditions(
        self,
        ctx: Context,
        query: Mapping[str, list[str]],
    ) -> Iterable[sa.ColumnElement[bool]]:
        """Tags and times."""
        return standard_conditions(port, query)

    def targets(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[Values]:
        """Owner of the port and of its network, and what the port is for."""
        found = owners(ctx, tx, [row.network_id for row in rows])
        return [
            {
                "project_id": row.project_id,
                "tenant_id": row.project_id,
                "device_owner": row.device_owner,
                **found[row.network_id],
            }
            for row in rows
        ]

    def new_target(self, ctx: Context, tx: Tx, values: Values) -> Values:
        """A port is created on a network: its owner counts."""
        networks.find_visible(ctx, tx, values["network_id"])
        found = owners(ctx, tx, [values["network_id"]])
        return {**super().new_target(ctx, tx, values), **found[values["network_id"]]}

    def present(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[View]:
        """Ports as answered."""
        ids = [row.id for row in rows]
        found = fixed_ips.brief(tx, ids)
        groups = security_groups.of_ports(tx, ids)
        known = {row.name for row in tx.all(sa.select(host.c.name))}
        domains = {
            row.id: row.dns_domain
            for row in tx.all(
                sa.select(network.c.id, network.c.dns_domain).where(network.c.dns_domain != "")
            )
        }
        hidden = [name for name in _BINDING if not ctx.allows(f"get_port:{name}")]
        views = [
            _view(row, found[row[0]], groups[row[0]], known, domains.get(row[2]) or DEFAULT_DOMAIN)
            for row in rows
        ]
        if hidden:
            for view in views:
                for name in hidden:
                    del view[name]
        return views

    def create(self, ctx: Context, tx: Tx, values: Values) -> str:
        """POST."""
        if values["port_security_enabled"] is None:
            del values["port_security_enabled"]
        return ports.create(ctx, tx, columns(PORTS, _normal(values)))

    def update(self, ctx: Context, tx: Tx, row: Any, changes: Values) -> None:
        """PUT."""
        options = changes.get("extra_dhcp_opts")
        changes = columns(PORTS, _normal(changes))
        if options is not None:  # here a null value removes an option
            changes["extra_dhcp_opts"] = options
        ports.update(ctx, tx, row, changes)

    def delete(self, ctx: Context, tx: Tx, row: Any) -> None:
        """DELETE."""
        ports.delete(ctx, tx, row)


DEFAULT_DOMAIN = "openstacklocal."


_BOUND = {"port_filter": True, "connectivity": "l2"}
_SELECTION = (
    "id",
    "name",
    "network_id",
    "project_id",
    "mac_address",
    "admin_state_up",
    "status",
    "device_id",
    "device_owner",
    "port_security_enabled",
    "allowed_address_pairs",
    "extra_dhcp_opts",
    "vnic_type",
    "host",
    "binding_profile",
    "dns_name",
    "description",
    "tags",
    "revision_number",
    "created_at",
    "updated_at",
)


def _view(
    row: Any,
    own: Sequence[Addressed],
    groups: list[str],
    hosts: set[str],
    domain: str,
) -> View:
    # Taken apart at once: access by name costs more than all the rest, for a thousand ports.
    (
        identifier,
        name,
        network_id,
        project_id,
        mac,
        up,
        status,
        device_id,
        device_owner,
        security,
        pairs,
        options,
        vnic_type,
        host_name,
        profile,
        dns_name,
        description,
        tags,
        revision,
        created_at,
        updated_at,
    ) = row
    known = host_name != "" and host_name in hosts
    return {
        "id": identifier,
        "name": name,
        "network_id": network_id,
        "tenant_id": project_id,
        "project_id": project_id,
        "mac_address": mac,
        "admin_state_up": up,
        "status": status,
        "device_id": device_id,
        "device_owner": device_owner,
        "fixed_ips": [{"subnet_id": subnet_id, "ip_address": ip} for subnet_id, ip in own],
        "security_groups": groups,
        "port_security_enabled": security,
        "allowed_address_pairs": Raw(pairs),
        "extra_dhcp_opts": Raw(options),
        "binding:vnic_type": vnic_type,
        "binding:host_id": host_name,
        "binding:profile": Raw(profile),
        "binding:vif_type": "tap" if known else "binding_failed" if host_name else "unbound",
        "binding:vif_details": _BOUND if known else {},
        "dns_name": dns_name,
        "dns_assignment": [_dns(dns_name, ip, domain) for _subnet_id, ip in own],
        "description": description,
        "tags": Raw(tags),
        "revision_number": revision,
        "created_at": iso_seconds(created_at),
        "updated_at": iso_seconds(updated_at),
    }


def _dns(name: str, ip: str, domain: str) -> dict[str, str]:
    name = name or "host-" + ip.replace(":" if ":" in ip else ".", "-")
    return {"ip_address": ip, "hostname": name, "fqdn": f"{name}.{domain}"}


def _normal(values: Values) -> Values:
    """Attributes in their canonical form."""
    values = dict(values)
    for name, empty in (
        ("binding:host_id", ""),
        ("binding:profile", {}),
        ("dns_name", ""),
        ("allowed_address_pairs", []),
        ("extra_dhcp_opts", []),
        ("security_groups", []),
    ):
        if name in values and values[name] is None:
            values[name] = empty
    if "allowed_address_pairs" in values:
        values["allowed_address_pairs"] = [_pair(each) for each in values["allowed_address_pairs"]]
    if "extra_dhcp_opts" in values:
        values["extra_dhcp_opts"] = [
            {
                "opt_name": each["opt_name"],
                "opt_value": each["opt_value"],
                "ip_version": _version(each),
            }
            for each in values["extra_dhcp_opts"]
            if each.get("opt_value") is not None
        ]
    if values.get("fixed_ips"):
        values["fixed_ips"] = [
            {name: value for name, value in each.items() if value} for each in values["fixed_ips"]
        ]
    return values


def _version(option: dict[str, Any]) -> int:
    version = str(option.get("ip_version") or 4)
    if version not in ("4", "6"):
        raise refusals.malformed(
            "Invalid input for extra_dhcp_opts. Reason: ip_version must be 4 or 6."
        )
    return int(version)


def _pair(pair: dict[str, Any]) -> dict[str, str]:
    ip = pair["ip_address"]
    if "/" in ip:
        network_ = addresses.parse_network(ip, "allowed_address_pairs")
        if network_.prefixlen == 0:
            raise refusals.malformed(
                "Invalid input for allowed_address_pairs. Reason: a prefix "
                "length of 0 is not allowed."
            )
    else:
        addresses.parse_address(ip, "allowed_address_pairs")
    normal = {"ip_address": ip}
    if pair.get("mac_address"):
        normal["mac_address"] = addresses.canonical_mac(
            pair["mac_address"], "allowed_address_pairs"
        )
    return normal


NOUN = Ports()
ROUTES = NOUN.routes()
