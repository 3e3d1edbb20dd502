"""Which users and groups are mirrored from a directory, and how the directory calls them.

In OpenStack: keystone/identity/mapping_backends/sql.py.
"""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Name, metadata

mirrored = sa.Table(
    "identity_mirrored",
    metadata,
    sa.Column("id", Id, primary_key=True),  # of the row in identity_user or identity_group
    sa.Column("kind", sa.String(8), nullable=False),  # user, group
    sa.Column("domain_id", Id, sa.ForeignKey("identity_project.id"), nullable=False),
    sa.Column("local_id", Name, nullable=False),
    sa.Column("present", sa.Boolean, nullable=False),  # was it there when last looked for?
    sa.UniqueConstraint("domain_id", "kind", "local_id"),
)
