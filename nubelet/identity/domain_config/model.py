"""The table of domain configurations.

In OpenStack: keystone/resource/config_backends/sql.py.
"""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Json, Name, metadata

domain_option = sa.Table(
    "identity_domain_option",
    metadata,
    sa.Column("domain_id", Id, sa.ForeignKey("identity_project.id"), primary_key=True),
    sa.Column("group", Name, primary_key=True),
    sa.Column("option", Name, primary_key=True),
    sa.Column("value", Json),  # of a secret: sealed text
    sa.Column("secret", sa.Boolean, nullable=False),
)
