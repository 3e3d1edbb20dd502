"""Tables of the unified limits.

A limit refers to the registered limit that it is an exception of, which says the service, the
region and the resource: they cannot differ.

In OpenStack: keystone/limit/backends/sql.py.
"""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Micros, Name, metadata

registered_limit = sa.Table(
    "identity_registered_limit",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("service_id", Id, sa.ForeignKey("identity_service.id"), nullable=False),
    sa.Column("region_id", Name, sa.ForeignKey("identity_region.id")),  # NULL: in every region
    sa.Column("resource_name", Name, nullable=False),
    sa.Column("default_limit", sa.Integer, nullable=False),  # -1: no limit
    sa.Column("description", sa.Text),
    sa.Column("created_at", Micros, nullable=False),
    sa.UniqueConstraint("service_id", "region_id", "resource_name"),
)

limit = sa.Table(
    "identity_limit",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column(
        "registered_limit_id", Id, sa.ForeignKey("identity_registered_limit.id"), nullable=False
    ),
    # One of the two: whose exception it is.
    sa.Column("project_id", Id, sa.ForeignKey("identity_project.id"), index=True),
    sa.Column("domain_id", Id, sa.ForeignKey("identity_project.id"), index=True),
    sa.Column("resource_limit", sa.Integer, nullable=False),  # -1: no limit
    sa.Column("description", sa.Text),
    sa.Column("created_at", Micros, nullable=False),
    sa.UniqueConstraint("registered_limit_id", "project_id"),
    sa.UniqueConstraint("registered_limit_id", "domain_id"),
)
