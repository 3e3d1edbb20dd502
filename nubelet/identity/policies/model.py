"""Tables of policies.

In OpenStack: keystone/{policy,endpoint_policy}/backends/sql.py.
"""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Json, Micros, Name, metadata

policy = sa.Table(
    "identity_policy",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("type", Name, nullable=False),
    sa.Column("blob", Json, nullable=False),
    sa.Column("extra", Json, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
)

# What a policy is for: an endpoint, a service, or a service in a region.
policy_association = sa.Table(
    "identity_policy_association",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("policy_id", Id, sa.ForeignKey("identity_policy.id"), nullable=False, index=True),
    sa.Column("endpoint_id", Id, sa.ForeignKey("identity_endpoint.id"), index=True),
    sa.Column("service_id", Id, sa.ForeignKey("identity_service.id"), index=True),
    sa.Column("region_id", Name, sa.ForeignKey("identity_region.id")),
)
