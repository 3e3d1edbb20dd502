"""Tables of metadata definitions.

A namespace holds objects, properties and tags, and is associated with resource types. Names are
unique within their namespace, namespaces in the whole cloud.
"""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Json, Micros, Name, Serial, metadata

namespace = sa.Table(
    "metadef_namespace",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("namespace", sa.String(80), nullable=False, unique=True),
    sa.Column("display_name", sa.String(80)),
    sa.Column("description", sa.String(500)),
    sa.Column("visibility", sa.String(16), nullable=False),
    sa.Column("protected", sa.Boolean, nullable=False),
    sa.Column("owner", Name, index=True),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sa.Index("ix_metadef_namespace_created", "created_at", "id"),
)


def _contents(name: str, *columns: sa.Column[object]) -> sa.Table:
    """A table of named things in namespaces; `id` keeps the order in which they came."""
    return sa.Table(
        name,
        metadata,
        sa.Column("id", Serial, primary_key=True, autoincrement=True),
        sa.Column("namespace_id", Id, sa.ForeignKey("metadef_namespace.id"), nullable=False),
        sa.Column("name", Name, nullable=False),
        *columns,
        sa.Column("created_at", Micros, nullable=False),
        sa.Column("updated_at", Micros, nullable=False),
        sa.Index(f"ux_{name}_name", "namespace_id", "name", unique=True),
    )


metadef_object = _contents(
    "metadef_object",
    sa.Column("description", sa.Text),
    sa.Column("required", Json),
    sa.Column("properties", Json),
)
metadef_property = _contents("metadef_property", sa.Column("definition", Json, nullable=False))
metadef_tag = _contents("metadef_tag")

# The resource types that anybody ever named; those of the usual definitions are protected.
resource_type = sa.Table(
    "metadef_resource_type",
    metadata,
    sa.Column("name", sa.String(80), primary_key=True),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
)

association = sa.Table(
    "metadef_association",
    metadata,
    sa.Column("namespace_id", Id, sa.ForeignKey("metadef_namespace.id"), primary_key=True),
    sa.Column(
        "name",
        sa.String(80),
        sa.ForeignKey("metadef_resource_type.name"),
        primary_key=True,
        index=True,
    ),
    sa.Column("prefix", sa.String(80)),
    sa.Column("properties_target", sa.String(80)),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
)

CONTENTS = (metadef_object, metadef_property, metadef_tag)
