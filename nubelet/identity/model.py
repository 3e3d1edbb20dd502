"""Tables of the identity service.

A domain is a row of `identity_project` with `is_domain` set: it has neither a domain nor a parent
of its own. Top-level projects have their domain as parent, so one column carries the whole tree.

`valid_from` (microseconds) is the moment before which tokens for this user, project or domain
were all revoked. `extra` holds the attributes that callers may add freely. In `options` an absent
key and null mean the same.

In OpenStack: keystone/{identity,resource,assignment,catalog}/backends/sql_model.py.
"""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Json, Micros, Name, metadata

project = sa.Table(
    "identity_project",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name, nullable=False),
    sa.Column("domain_id", Id, sa.ForeignKey("identity_project.id")),
    sa.Column("parent_id", Id, sa.ForeignKey("identity_project.id"), index=True),
    sa.Column("is_domain", sa.Boolean, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("options", Json, nullable=False),
    sa.Column("extra", Json, nullable=False),
    sa.Column("valid_from", Micros, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.UniqueConstraint("domain_id", "name"),
)
# NULLs are distinct to the constraint above, so the names of domains need an index of their own.
sa.Index(
    "uq_identity_project_domain_name",
    project.c.name,
    unique=True,
    sqlite_where=project.c.domain_id.is_(None),
    postgresql_where=project.c.domain_id.is_(None),
)

project_tag = sa.Table(
    "identity_project_tag",
    metadata,
    sa.Column("project_id", Id, sa.ForeignKey("identity_project.id"), primary_key=True),
    sa.Column("name", Name, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
)

user = sa.Table(
    "identity_user",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name, nullable=False),
    sa.Column("domain_id", Id, sa.ForeignKey("identity_project.id"), nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("default_project_id", Id, index=True),
    sa.Column("options", Json, nullable=False),
    sa.Column("extra", Json, nullable=False),
    sa.Column("valid_from", Micros, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.UniqueConstraint("domain_id", "name"),
)

# Apart from the user, so that no view and no `SELECT *` of users ever holds a hash.
password = sa.Table(
    "identity_password",
    metadata,
    sa.Column("user_id", Id, sa.ForeignKey("identity_user.id"), primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("expires_at", Micros),  # NULL: never
    sa.Column("self_service", sa.Boolean),  # did the user choose it? NULL: no
)

# Earlier passwords, as many as may not be chosen again.
password_history = sa.Table(
    "identity_password_history",
    metadata,
    sa.Column("user_id", Id, sa.ForeignKey("identity_user.id"), primary_key=True),
    sa.Column("created_at", Micros, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
)

# How logins of a user went. A row comes with the first event that is worth remembering.
login = sa.Table(
    "identity_login",
    metadata,
    sa.Column("user_id", Id, sa.ForeignKey("identity_user.id"), primary_key=True),
    sa.Column("failed_count", sa.Integer, nullable=False),  # wrong passwords in a row
    sa.Column("failed_at", Micros),  # the last of them
    sa.Column("last_active_at", Micros),  # the last login, to the day
)

group = sa.Table(
    "identity_group",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name, nullable=False),
    sa.Column("domain_id", Id, sa.ForeignKey("identity_project.id"), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("extra", Json, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.UniqueConstraint("domain_id", "name"),
)

membership = sa.Table(
    "identity_membership",
    metadata,
    sa.Column("group_id", Id, sa.ForeignKey("identity_group.id"), primary_key=True),
    sa.Column("user_id", Id, sa.ForeignKey("identity_user.id"), primary_key=True, index=True),
)

role = sa.Table(
    "identity_role",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name, nullable=False),
    sa.Column("domain_id", Id, sa.ForeignKey("identity_project.id")),  # NULL: of the whole cloud
    sa.Column("description", sa.Text),
    sa.Column("options", Json, nullable=False),
    sa.Column("extra", Json, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.UniqueConstraint("domain_id", "name"),
)
sa.Index(
    "uq_identity_role_global_name",
    role.c.name,
    unique=True,
    sqlite_where=role.c.domain_id.is_(None),
    postgresql_where=role.c.domain_id.is_(None),
)

implied_role = sa.Table(
    "identity_implied_role",
    metadata,
    sa.Column("prior_role_id", Id, sa.ForeignKey("identity_role.id"), primary_key=True),
    sa.Column("implied_role_id", Id, sa.ForeignKey("identity_role.id"), primary_key=True),
)

# Who (a user or a group) holds which role where. `inherited`: not there, but in every project
# below. The target of the system is the word "system".
assignment = sa.Table(
    "identity_assignment",
    metadata,
    sa.Column("actor_type", sa.String(8), primary_key=True),  # user, group
    sa.Column("actor_id", Id, primary_key=True),
    sa.Column("target_type", sa.String(8), primary_key=True),  # project, domain, system
    sa.Column("target_id", Id, primary_key=True),
    sa.Column("role_id", Id, sa.ForeignKey("identity_role.id"), primary_key=True),
    sa.Column("inherited", sa.Boolean, primary_key=True),
    sa.Index("ix_identity_assignment_target", "target_id"),
    sa.Index("ix_identity_assignment_role", "role_id"),
)

region = sa.Table(
    "identity_region",
    metadata,
    sa.Column("id", Name, primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("parent_region_id", Name, sa.ForeignKey("identity_region.id")),
    sa.Column("extra", Json, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
)

service = sa.Table(
    "identity_service",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("type", Name, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("extra", Json, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
)

endpoint = sa.Table(
    "identity_endpoint",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("service_id", Id, sa.ForeignKey("identity_service.id"), nullable=False),
    sa.Column("region_id", Name, sa.ForeignKey("identity_region.id")),
    sa.Column("interface", sa.String(8), nullable=False),  # public, internal, admin
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("extra", Json, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
)

revoked_token = sa.Table(
    "identity_revoked_token",
    metadata,
    sa.Column("audit_id", sa.String(32), primary_key=True),
    # Of the token: the row is of no use later.
    sa.Column("expires_at", Micros, nullable=False, index=True),
    sa.Column("revoked_at", Micros),
)

# One row: grows with every change that may change what some token is worth (revision.py).
revision = sa.Table(
    "identity_revision",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("value", sa.BigInteger, nullable=False),
)
