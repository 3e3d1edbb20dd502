"""Compute's tables: flavors, keypairs, servers and what belongs to them, hosts and their grouping.

Ids that the API shows are strings (`id`); where order of creation matters or the API once showed
integers there is a growing `auto_id` beside it. A server keeps copies of what may change or go
after its creation (flavor, public key, image properties), so that no later edit alters it.
Servers stay as rows after their deletion (`deleted_at` set): changes-since, actions and usage
tell of them.

Read next: `states.py` (what a server may be in), `servers.py`.

In OpenStack: nova/db/main/models.py, nova/db/api/models.py.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa

from nubelet.kernel.database import Id, Json, Micros, Name, Serial, metadata


class SharedJson(Json):
    """JSON that many rows have alike (flavors, image properties): equal texts are decoded once.

    What is read is shared between rows and threads, so nobody may change it in place.
    """

    cache_ok = True

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else _decoded(value)


@lru_cache(maxsize=4096)
def _decoded(text: str) -> Any:
    return msgspec.json.decode(text)


# Flavor ids are chosen by the administrator and may be any text of 255 characters.
FlavorId = sa.String(255)

flavor = sa.Table(
    "flavor",
    metadata,
    sa.Column("auto_id", Serial, primary_key=True, autoincrement=True),
    sa.Column("id", FlavorId, nullable=False, unique=True),
    sa.Column("name", Name, nullable=False, unique=True),
    sa.Column("description", sa.Text),
    sa.Column("memory_mb", sa.Integer, nullable=False),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("root_gb", sa.Integer, nullable=False),
    sa.Column("ephemeral_gb", sa.Integer, nullable=False),
    sa.Column("swap_mb", sa.Integer, nullable=False),
    sa.Column("rxtx_factor", sa.Float, nullable=False),
    sa.Column("is_public", sa.Boolean, nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False),
    sa.Column("extra_specs", Json, nullable=False),  # key -> value, both text
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sqlite_autoincrement=True,
)

flavor_access = sa.Table(
    "flavor_access",
    metadata,
    sa.Column(
        "flavor_id", FlavorId, sa.ForeignKey("flavor.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("project_id", Id, primary_key=True),
)

keypair = sa.Table(
    "keypair",
    metadata,
    sa.Column("auto_id", Serial, primary_key=True, autoincrement=True),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("type", sa.String(8), nullable=False),  # ssh, x509
    sa.Column("fingerprint", Name, nullable=False),
    sa.Column("public_key", sa.Text, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.UniqueConstraint("user_id", "name"),
    sqlite_autoincrement=True,
)

server = sa.Table(
    "server",
    metadata,
    sa.Column("auto_id", Serial, primary_key=True, autoincrement=True),
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("description", Name),
    sa.Column("hostname", Name, nullable=False),
    sa.Column("vm_state", sa.String(32), nullable=False),
    sa.Column("task_state", sa.String(32)),
    sa.Column("power_state", sa.Integer, nullable=False),
    sa.Column("fault", SharedJson),  # {code, message, details, created}: why it is in ERROR
    sa.Column("host", Name),  # None before a host is chosen
    sa.Column("availability_zone", Name),  # of the host, when it was chosen
    sa.Column("pinned_availability_zone", Name),  # the zone that was asked for
    sa.Column("requested_host", Name),  # the only host that was asked for
    sa.Column("is_forced", sa.Boolean, nullable=False),  # ... whatever the filters say
    sa.Column("scheduler_hints", SharedJson, nullable=False),
    sa.Column("flavor_id", FlavorId, nullable=False),
    sa.Column("flavor", SharedJson, nullable=False),  # a copy: see flavors.snapshot
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("memory_mb", sa.Integer, nullable=False),
    sa.Column("image_id", Id, nullable=False),
    sa.Column("image_properties", SharedJson, nullable=False),  # text -> text, as at creation
    sa.Column("root_device_name", Name, nullable=False),
    sa.Column("disks", SharedJson, nullable=False),  # [{role, size_mb, tag}]: see server_disks.py
    sa.Column("key_name", Name),
    sa.Column("key_type", sa.String(8)),
    sa.Column("public_key", sa.Text),
    sa.Column("user_data", sa.Text),  # base64, as given
    sa.Column("personality", SharedJson, nullable=False),  # [{path, contents}], until 2.56
    sa.Column("config_drive", sa.Boolean, nullable=False),
    sa.Column("metadata", SharedJson, nullable=False),  # text -> text
    sa.Column("disk_config", sa.String(8), nullable=False),  # AUTO, MANUAL
    sa.Column("access_ipv4", sa.String(45), nullable=False),
    sa.Column("access_ipv6", sa.String(45), nullable=False),
    sa.Column("encrypted_password", sa.Text),  # told by the guest: see guestdata/passwords.py
    sa.Column("locked_by", sa.String(8)),  # None (unlocked), owner, admin
    sa.Column("locked_reason", Name),
    sa.Column("reservation_id", sa.String(32), nullable=False),
    sa.Column("launch_index", sa.Integer, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sa.Column("launched_at", Micros),
    sa.Column("terminated_at", Micros),
    sa.Column("deleted_at", Micros),
    sqlite_autoincrement=True,
)
_not_deleted = server.c.deleted_at.is_(None)
sa.Index(
    "ix_server_project",
    server.c.project_id,
    server.c.created_at,
    server.c.auto_id,
    sqlite_where=_not_deleted,
    postgresql_where=_not_deleted,
)
sa.Index("ix_server_created", server.c.created_at, server.c.auto_id)
sa.Index("ix_server_host", server.c.host, sqlite_where=_not_deleted, postgresql_where=_not_deleted)
sa.Index("ix_server_reservation", server.c.reservation_id)
sa.Index("ix_server_updated", server.c.updated_at)

server_tag = sa.Table(
    "server_tag",
    metadata,
    sa.Column("server_id", Id, sa.ForeignKey("server.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("tag", sa.String(80), primary_key=True),
)

# The network cards of a server in their order. The port itself (addresses, MAC, groups) is
# network's; here stands what only compute knows: order, tag, and whether the port is ours to
# delete with the server.
server_nic = sa.Table(
    "server_nic",
    metadata,
    sa.Column("auto_id", Serial, primary_key=True, autoincrement=True),
    sa.Column("server_id", Id, sa.ForeignKey("server.id", ondelete="CASCADE"), nullable=False),
    sa.Column("network_id", Id, nullable=False),
    sa.Column("port_id", Id, unique=True),  # None until the port is made or adopted
    sa.Column("requested_port_id", Id),  # the port that was asked for
    sa.Column("fixed_ip", sa.String(45)),  # the address that was asked for
    sa.Column("tag", sa.String(60)),
    sa.Column("is_own", sa.Boolean, nullable=False),  # made for this server, deleted with it
    sqlite_autoincrement=True,
)
sa.Index("ix_server_nic_server", server_nic.c.server_id, server_nic.c.auto_id)

server_group = sa.Table(
    "server_group",
    metadata,
    sa.Column("auto_id", Serial, primary_key=True, autoincrement=True),
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("project_id", Id, nullable=False, index=True),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("policy", sa.String(32), nullable=False),
    sa.Column("rules", Json, nullable=False),  # {max_server_per_host: n} or {}
    sa.Column("created_at", Micros, nullable=False),
    sqlite_autoincrement=True,
)

server_group_member = sa.Table(
    "server_group_member",
    metadata,
    sa.Column(
        "group_id", Id, sa.ForeignKey("server_group.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("server_id", Id, primary_key=True, index=True),
)

# One row per node of the cloud. The API shows it twice: as a service (nova-compute) and as a
# hypervisor, each with an id of its own.
compute_host = sa.Table(
    "compute_host",
    metadata,
    sa.Column("auto_id", Serial, primary_key=True, autoincrement=True),
    sa.Column("name", Name, nullable=False, unique=True),
    sa.Column("service_id", Id, nullable=False, unique=True),
    sa.Column("hypervisor_id", Id, nullable=False, unique=True),  # the placement provider's too
    sa.Column("disabled", sa.Boolean, nullable=False),
    sa.Column("disabled_reason", Name),
    sa.Column("forced_down", sa.Boolean, nullable=False),
    sa.Column("seen_at", Micros, nullable=False),  # the last heartbeat
    sa.Column("started_at", Micros, nullable=False),  # when the node's agent started
    sa.Column("booted_at", Micros, nullable=False),  # when servers were last brought back there
    sa.Column("switching", sa.String(32), nullable=False),
    sa.Column("state", SharedJson, nullable=False),  # wire.HostState as of the last heartbeat
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sqlite_autoincrement=True,
)

aggregate = sa.Table(
    "compute_aggregate",
    metadata,
    sa.Column("auto_id", Serial, primary_key=True, autoincrement=True),
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("name", Name, nullable=False, unique=True),
    sa.Column("metadata", Json, nullable=False),  # text -> text; availability_zone is one of them
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros),
    sqlite_autoincrement=True,
)

aggregate_host = sa.Table(
    "compute_aggregate_host",
    metadata,
    sa.Column(
        "aggregate_id",
        Id,
        sa.ForeignKey("compute_aggregate.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("host", Name, primary_key=True, index=True),
)

# Limits of single users within a project; those of projects are the kernel's (quota_limit).
user_quota = sa.Table(
    "compute_user_quota",
    metadata,
    sa.Column("project_id", Id, primary_key=True),
    sa.Column("user_id", Id, primary_key=True),
    sa.Column("resource", Name, primary_key=True),
    sa.Column("limit", sa.BigInteger, nullable=False),
)
