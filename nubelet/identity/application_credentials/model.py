"""Tables of application credentials and their access rules."""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Json, Micros, Name, metadata

application_credential = sa.Table(
    "identity_application_credential",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("user_id", Id, sa.ForeignKey("identity_user.id"), nullable=False),
    sa.Column("project_id", Id, sa.ForeignKey("identity_project.id"), nullable=False, index=True),
    sa.Column("role_ids", Json, nullable=False),
    sa.Column("secret_hash", sa.Text, nullable=False),
    sa.Column("unrestricted", sa.Boolean, nullable=False),
    # With rules, it serves the requests that one of them allows; without any left, none.
    sa.Column("has_rules", sa.Boolean, nullable=False),
    sa.Column("expires_at", Micros),
    sa.Column("created_at", Micros, nullable=False),
    sa.UniqueConstraint("user_id", "name"),
)

access_rule = sa.Table(
    "identity_access_rule",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("user_id", Id, sa.ForeignKey("identity_user.id"), nullable=False),
    sa.Column("service", Name, nullable=False),
    sa.Column("method", sa.String(16), nullable=False),
    sa.Column("path", Name, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.UniqueConstraint("user_id", "service", "path", "method"),
)

application_credential_rule = sa.Table(
    "identity_application_credential_rule",
    metadata,
    sa.Column(
        "application_credential_id",
        Id,
        sa.ForeignKey("identity_application_credential.id"),
        primary_key=True,
    ),
    sa.Column(
        "access_rule_id",
        Id,
        sa.ForeignKey("identity_access_rule.id"),
        primary_key=True,
        index=True,
    ),
)
