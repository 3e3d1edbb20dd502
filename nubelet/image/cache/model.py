"""The table of the image cache: what each machine keeps, and shall keep.

`queued` is to be fetched, `cached` is there. Rows outlive their image for moments: the loop of the
machine removes them, and the data with them.
"""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Micros, Name, metadata

QUEUED, CACHED = "queued", "cached"

image_cache = sa.Table(
    "image_cache",
    metadata,
    sa.Column("machine", Name, primary_key=True),
    sa.Column("image_id", Id, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False, default=0),
    sa.Column("hits", sa.BigInteger, nullable=False, default=0),
    sa.Column("queued_at", Micros, nullable=False),
    sa.Column("last_accessed", Micros),
    sa.Column("last_modified", Micros),
    sa.Index("ix_image_cache_state", "machine", "state", "last_accessed"),
)
