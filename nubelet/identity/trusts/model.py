"""The table of trusts."""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Json, Micros, metadata

trust = sa.Table(
    "identity_trust",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("trustor_user_id", Id, sa.ForeignKey("identity_user.id"), nullable=False, index=True),
    sa.Column("trustee_user_id", Id, sa.ForeignKey("identity_user.id"), nullable=False, index=True),
    sa.Column("project_id", Id, sa.ForeignKey("identity_project.id"), index=True),
    sa.Column("impersonation", sa.Boolean, nullable=False),
    sa.Column("role_ids", Json, nullable=False),
    sa.Column("expires_at", Micros, index=True),
    sa.Column("remaining_uses", sa.Integer),  # NULL: any number
    sa.Column("redelegation_count", sa.Integer, nullable=False),
    sa.Column("redelegated_trust_id", Id, sa.ForeignKey("identity_trust.id"), index=True),
    # Whose rights are handed on: the trustor of the first trust of the chain.
    sa.Column("first_trustor_id", Id, sa.ForeignKey("identity_user.id"), nullable=False),
    sa.Column("extra", Json, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
)
