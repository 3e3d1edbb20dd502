"""The tables of the network service.

Addresses are text in canonical form. What must never be given out twice has a unique
constraint: an address in a network, a MAC in a network, a VXLAN id or physical network in the
cloud, a fixed address behind a floating one, a project's default security group.

`presence` is different: it says what shall be, and what is, on which node (README.md, "How it
becomes real").
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.kernel.database import Id, Json, Micros, Name, metadata

Address = sa.String(45)
Cidr = sa.String(49)


def _standard(*, named: bool = True) -> list[sa.Column[Any]]:
    """The columns that every resource of the Networking API has."""
    name = [sa.Column("name", Name, nullable=False, default="")] if named else []
    return [
        sa.Column("id", Id, primary_key=True),
        sa.Column("project_id", Id, nullable=False, index=True),
        *name,
        sa.Column("description", Name, nullable=False, default=""),
        sa.Column("tags", Json, nullable=False, default=list),
        sa.Column("revision_number", sa.Integer, nullable=False, default=0),
        sa.Column("created_at", Micros, nullable=False),
        sa.Column("updated_at", Micros, nullable=False),
    ]


def _refers(
    column: str, *, cascade: bool = False, nullable: bool = False, name: str | None = None
) -> sa.Column[Any]:
    target, _, _ = column.partition(".")
    key = sa.ForeignKey(column, ondelete="CASCADE" if cascade else None)
    return sa.Column(name or f"{target}_id", Id, key, nullable=nullable, index=True)


network = sa.Table(
    "network",
    metadata,
    *_standard(),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    sa.Column("network_type", sa.String(16), nullable=False),
    sa.Column("physical_network", Name),
    sa.Column("segmentation_id", sa.Integer),
    # "vxlan:42", "flat:external"; NULL for local networks, which cannot meet.
    sa.Column("segment_key", Name, unique=True),
    sa.Column("mtu", sa.Integer, nullable=False),
    sa.Column("external", sa.Boolean, nullable=False, index=True),
    sa.Column("is_default", sa.Boolean, nullable=False, default=False),
    sa.Column("port_security_enabled", sa.Boolean, nullable=False),
    sa.Column("dns_domain", Name, nullable=False, default=""),
    sa.Column("availability_zone_hints", Json, nullable=False, default=list),
    # An operator took it off its last node: none is chosen until one is named.
    sa.Column("unscheduled", sa.Boolean, nullable=False, default=False),
)

subnet = sa.Table(
    "subnet",
    metadata,
    *_standard(),
    _refers("network.id"),
    sa.Column("ip_version", sa.Integer, nullable=False),
    sa.Column("cidr", Cidr, nullable=False),
    sa.Column("gateway_ip", Address),
    sa.Column("enable_dhcp", sa.Boolean, nullable=False),
    sa.Column("ipv6_ra_mode", sa.String(16)),
    sa.Column("ipv6_address_mode", sa.String(16)),
    sa.Column("dns_nameservers", Json, nullable=False, default=list),
    sa.Column("host_routes", Json, nullable=False, default=list),
    sa.Column("service_types", Json, nullable=False, default=list),
    sa.Column("subnetpool_id", Id, sa.ForeignKey("subnet_pool.id"), index=True),
)

# An allocation pool. `next_index` is where the search for a free address begins, so that
# addresses are not used again at once and the search seldom meets a used one.
subnet_range = sa.Table(
    "subnet_range",
    metadata,
    sa.Column("id", Id, primary_key=True),
    _refers("subnet.id", cascade=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("first", Address, nullable=False),
    sa.Column("last", Address, nullable=False),
    # Addresses beyond 2^62 of one pool are never chosen by us, only by users.
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("next_index", sa.BigInteger, nullable=False, default=0),
)

port = sa.Table(
    "port",
    metadata,
    *_standard(),
    _refers("network.id"),
    sa.Column("mac_address", sa.String(17), nullable=False),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("device_id", Name, nullable=False, default="", index=True),
    sa.Column("device_owner", Name, nullable=False, default=""),
    sa.Column("host", Name, nullable=False, default="", index=True),
    sa.Column("vnic_type", sa.String(32), nullable=False, default="normal"),
    sa.Column("binding_profile", Json, nullable=False, default=dict),
    sa.Column("port_security_enabled", sa.Boolean, nullable=False),
    sa.Column("allowed_address_pairs", Json, nullable=False, default=list),
    sa.Column("extra_dhcp_opts", Json, nullable=False, default=list),
    sa.Column("dns_name", Name, nullable=False, default=""),
    sa.UniqueConstraint("network_id", "mac_address"),
)

port_address = sa.Table(
    "port_address",
    metadata,
    _refers("port.id", cascade=True),
    sa.Column("subnet_id", Id, sa.ForeignKey("subnet.id"), primary_key=True),
    sa.Column("ip", Address, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    # Where it lies in an allocation pool; NULL outside of all pools.
    sa.Column("range_id", Id, sa.ForeignKey("subnet_range.id", ondelete="SET NULL")),
    sa.Column("range_index", sa.BigInteger),
    sa.Index("ix_port_address_range", "range_id", "range_index", unique=True),
)

security_group = sa.Table(
    "security_group",
    metadata,
    *_standard(),
    sa.Column("stateful", sa.Boolean, nullable=False),
    # The project whose default group this is.
    sa.Column("default_of", Id, unique=True),
)

security_group_rule = sa.Table(
    "security_group_rule",
    metadata,
    *_standard(named=False),
    _refers("security_group.id", cascade=True),
    sa.Column("direction", sa.String(8), nullable=False),
    sa.Column("ethertype", sa.String(4), nullable=False),
    sa.Column("protocol", sa.String(40)),
    sa.Column("port_range_min", sa.Integer),
    sa.Column("port_range_max", sa.Integer),
    sa.Column("remote_ip_prefix", Cidr),
    _refers("security_group.id", cascade=True, nullable=True, name="remote_group_id"),
    # All that makes two rules the same, in one text.
    sa.Column("sameness", Name, nullable=False),
    sa.UniqueConstraint("security_group_id", "sameness"),
)

# What new groups begin with.
default_security_group_rule = sa.Table(
    "default_security_group_rule",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("description", Name, nullable=False, default=""),
    sa.Column("direction", sa.String(8), nullable=False),
    sa.Column("ethertype", sa.String(4), nullable=False),
    sa.Column("protocol", sa.String(40)),
    sa.Column("port_range_min", sa.Integer),
    sa.Column("port_range_max", sa.Integer),
    sa.Column("remote_ip_prefix", Cidr),
    sa.Column("remote_group_id", Id),  # a group, or PARENT: the new group itself
    sa.Column("used_in_default_sg", sa.Boolean, nullable=False),
    sa.Column("used_in_non_default_sg", sa.Boolean, nullable=False),
    sa.Column("sameness", Name, nullable=False, unique=True),
    sa.Column("created_at", Micros, nullable=False),
)

port_security_group = sa.Table(
    "port_security_group",
    metadata,
    sa.Column("port_id", Id, sa.ForeignKey("port.id", ondelete="CASCADE"), primary_key=True),
    sa.Column(
        "security_group_id", Id, sa.ForeignKey("security_group.id"), primary_key=True, index=True
    ),
)

router = sa.Table(
    "router",
    metadata,
    *_standard(),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("enable_snat", sa.Boolean, nullable=False, default=True),
    sa.Column("gateway_port_id", Id, sa.ForeignKey("port.id"), unique=True),
    sa.Column("gateway_network_id", Id, sa.ForeignKey("network.id"), index=True),
    sa.Column("routes", Json, nullable=False, default=list),
    sa.Column("availability_zone_hints", Json, nullable=False, default=list),
    sa.Column("host", Name, nullable=False, default="", index=True),
    sa.Column("unscheduled", sa.Boolean, nullable=False, default=False),
)

# A leg of a router on a project network (its leg outside is router.gateway_port_id).
router_interface = sa.Table(
    "router_interface",
    metadata,
    sa.Column("port_id", Id, sa.ForeignKey("port.id"), primary_key=True),
    _refers("router.id"),
)

floating_ip = sa.Table(
    "floating_ip",
    metadata,
    *_standard(named=False),
    sa.Column("floating_network_id", Id, sa.ForeignKey("network.id"), nullable=False, index=True),
    sa.Column("floating_ip_address", Address, nullable=False),
    sa.Column("floating_port_id", Id, sa.ForeignKey("port.id"), nullable=False, unique=True),
    sa.Column("port_id", Id, sa.ForeignKey("port.id"), index=True),
    sa.Column("fixed_ip_address", Address),
    sa.Column("router_id", Id, sa.ForeignKey("router.id"), index=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("dns_name", Name, nullable=False, default=""),
    sa.Column("dns_domain", Name, nullable=False, default=""),
    sa.UniqueConstraint("port_id", "fixed_ip_address"),
)

address_scope = sa.Table(
    "address_scope",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, nullable=False, index=True),
    sa.Column("name", Name, nullable=False, default=""),
    sa.Column("ip_version", sa.Integer, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
)

subnet_pool = sa.Table(
    "subnet_pool",
    metadata,
    *_standard(),
    sa.Column("address_scope_id", Id, sa.ForeignKey("address_scope.id"), index=True),
    sa.Column("ip_version", sa.Integer, nullable=False),
    sa.Column("prefixes", Json, nullable=False),
    sa.Column("default_prefixlen", sa.Integer, nullable=False),
    sa.Column("min_prefixlen", sa.Integer, nullable=False),
    sa.Column("max_prefixlen", sa.Integer, nullable=False),
    sa.Column("default_quota", sa.BigInteger),
    sa.Column("is_default", sa.Boolean, nullable=False, default=False),
)

# Who else may use a thing. A shared network is one with an entry for "*".
rbac_policy = sa.Table(
    "network_rbac_policy",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, nullable=False, index=True),
    sa.Column("object_type", sa.String(32), nullable=False),
    sa.Column("object_id", Id, nullable=False, index=True),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("target_tenant", Id, nullable=False, index=True),
    sa.Column("created_at", Micros, nullable=False),
    sa.UniqueConstraint("object_id", "action", "target_tenant", name="uq_network_rbac_policy"),
)

# A node that serves networks, as its heartbeats describe it.
host = sa.Table(
    "network_host",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("switching", Name, nullable=False),
    sa.Column("tunnel_ip", Address, nullable=False),
    sa.Column("physical_networks", Json, nullable=False, default=list),
    sa.Column("started_at", Micros, nullable=False),
    sa.Column("seen_at", Micros, nullable=False),
    # When what is on the host was last compared with what shall be there.
    sa.Column("observed_at", Micros, nullable=False, default=0),
    # `started_at` of the node process to which everything was sent.
    sa.Column("synced_start", Micros, nullable=False, default=0),
    # Something was taken off the host: what nothing needs any more may go too.
    sa.Column("collect", sa.Boolean, nullable=False, default=False),
    # No heartbeats for long, and its work was given to others.
    sa.Column("lost", sa.Boolean, nullable=False, default=False),
)

agent = sa.Table(
    "network_agent",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column(
        "host",
        Name,
        sa.ForeignKey("network_host.name", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    sa.Column("agent_type", sa.String(32), nullable=False),
    sa.Column("binary", sa.String(64), nullable=False),
    sa.Column("topic", sa.String(32), nullable=False),
    sa.Column("availability_zone", Name),
    sa.Column("admin_state_up", sa.Boolean, nullable=False, default=True),
    sa.Column("description", Name, nullable=False, default=""),
    sa.Column("created_at", Micros, nullable=False),
    sa.UniqueConstraint("host", "agent_type"),
)

# Which node serves DHCP of which network, with which port.
dhcp_service = sa.Table(
    "network_dhcp_service",
    metadata,
    sa.Column("network_id", Id, sa.ForeignKey("network.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("host", Name, primary_key=True, index=True),
    sa.Column("port_id", Id, sa.ForeignKey("port.id")),
)

# What shall be on a node (or shall go from it) and what was done about it.
# Behind the wish while applied != wanted.
presence = sa.Table(
    "network_presence",
    metadata,
    sa.Column("host", Name, primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("subject_id", Id, primary_key=True, index=True),
    sa.Column("absent", sa.Boolean, nullable=False, default=False),
    # Grows with every change of the subject; the fence of the node calls.
    sa.Column("wanted", sa.BigInteger, nullable=False),
    sa.Column("applied", sa.BigInteger, nullable=False, default=0),
    sa.Column("made", sa.Boolean, nullable=False, default=False),  # was it ever applied?
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    sa.Column("not_before", Micros, nullable=False, default=0),
    sa.Column("error", sa.Text, nullable=False, default=""),
)
sa.Index(
    "ix_network_presence_behind",
    presence.c.host,
    sqlite_where=presence.c.applied != presence.c.wanted,
    postgresql_where=presence.c.applied != presence.c.wanted,
)
