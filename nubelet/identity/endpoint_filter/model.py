"""Tables of the endpoint filter.

In OpenStack: keystone/catalog/backends/sql.py.
"""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Json, Micros, Name, metadata

endpoint_group = sa.Table(
    "identity_endpoint_group",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("filters", Json, nullable=False),  # of interface, service_id, region_id
    sa.Column("created_at", Micros, nullable=False),
)

project_endpoint = sa.Table(
    "identity_project_endpoint",
    metadata,
    sa.Column("project_id", Id, sa.ForeignKey("identity_project.id"), primary_key=True),
    sa.Column("endpoint_id", Id, sa.ForeignKey("identity_endpoint.id"), primary_key=True),
    sa.Index("ix_identity_project_endpoint_endpoint_id", "endpoint_id"),
)

project_endpoint_group = sa.Table(
    "identity_project_endpoint_group",
    metadata,
    sa.Column("project_id", Id, sa.ForeignKey("identity_project.id"), primary_key=True),
    sa.Column(
        "endpoint_group_id", Id, sa.ForeignKey("identity_endpoint_group.id"), primary_key=True
    ),
    sa.Index("ix_identity_project_endpoint_group_endpoint_group_id", "endpoint_group_id"),
)
