"""Tables of placement: who provides what, and who uses it.

    resource_provider 1--n inventory          (provider, resource class) -> how much there is
                      1--n provider_trait     qualities, e.g. HW_CPU_X86_AVX2
                      1--n provider_aggregate groups of providers
    consumer          1--n allocation         (consumer, provider, class) -> how much is used

Resource classes and traits are names; those of os_resource_classes and os_traits always exist,
custom ones are rows. `generation` counts changes, for optimistic concurrency (API 1.0, 1.28).
"""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Micros, Name, metadata

resource_provider = sa.Table(
    "resource_provider",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False, unique=True),
    sa.Column("generation", sa.BigInteger, nullable=False, default=0),
    sa.Column("root_id", Id, nullable=False, index=True),
    sa.Column("parent_id", Id, sa.ForeignKey("resource_provider.id"), index=True),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
)

inventory = sa.Table(
    "inventory",
    metadata,
    sa.Column("provider_id", Id, sa.ForeignKey("resource_provider.id"), primary_key=True),
    sa.Column("resource_class", Name, primary_key=True),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("reserved", sa.BigInteger, nullable=False, default=0),
    sa.Column("min_unit", sa.BigInteger, nullable=False, default=1),
    sa.Column("max_unit", sa.BigInteger, nullable=False, default=2147483647),
    sa.Column("step_size", sa.BigInteger, nullable=False, default=1),
    sa.Column("allocation_ratio", sa.Double, nullable=False, default=1.0),
    sa.Column("updated_at", Micros, nullable=False),
    sa.Index("ix_inventory_class", "resource_class", "provider_id"),
)

provider_trait = sa.Table(
    "provider_trait",
    metadata,
    sa.Column("provider_id", Id, sa.ForeignKey("resource_provider.id"), primary_key=True),
    sa.Column("trait", Name, primary_key=True, index=True),
)

provider_aggregate = sa.Table(
    "provider_aggregate",
    metadata,
    sa.Column("provider_id", Id, sa.ForeignKey("resource_provider.id"), primary_key=True),
    sa.Column("aggregate_id", Id, primary_key=True, index=True),
)

consumer = sa.Table(
    "consumer",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False, default=0),
    sa.Column("project_id", Name, nullable=False),
    sa.Column("user_id", Name, nullable=False),
    sa.Column("consumer_type", Name),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sa.Index("ix_consumer_project", "project_id", "user_id"),
)

allocation = sa.Table(
    "allocation",
    metadata,
    sa.Column("consumer_id", Id, sa.ForeignKey("consumer.id"), primary_key=True),
    sa.Column("provider_id", Id, sa.ForeignKey("resource_provider.id"), primary_key=True),
    sa.Column("resource_class", Name, primary_key=True),
    sa.Column("used", sa.BigInteger, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sa.Index("ix_allocation_provider", "provider_id", "resource_class", "used"),
)

custom_resource_class = sa.Table(
    "custom_resource_class",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("created_at", Micros, nullable=False),
)

custom_trait = sa.Table(
    "custom_trait",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("created_at", Micros, nullable=False),
)
