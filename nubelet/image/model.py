"""Tables of the image service, and the states of an image.

    queued ──upload──> saving ──complete──> active <──reactivate── deactivated
       │                                      ^ └──────deactivate──────^
       ├──stage──> uploading ──import──> importing
       ├──import──────────────────────────────^       delete is possible from every state
       └──location──> importing or active

What fails goes back to `queued`. While data comes (`saving`, and `uploading` with an `upload_id`)
the image has a lease that the upload renews; when the process dies the lease runs out and the
reconciler puts the image back to `queued`. `importing` is owned by an operation.
"""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Json, Micros, Name, Serial, metadata

# status -> statuses it may turn into
TRANSITIONS = {
    "queued": {"saving", "uploading", "importing", "active"},  # active: by a location
    "saving": {"active", "queued"},
    "uploading": {"importing", "queued"},
    "importing": {"active", "queued"},
    "active": {"deactivated"},
    "deactivated": {"active"},
}

image = sa.Table(
    "image",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name),
    sa.Column("owner", Name, index=True),
    sa.Column("status", sa.String(30), nullable=False, index=True),
    sa.Column("visibility", sa.String(16), nullable=False, index=True),
    sa.Column("protected", sa.Boolean, nullable=False, default=False),
    sa.Column("os_hidden", sa.Boolean, nullable=False, default=False),
    sa.Column("disk_format", sa.String(20)),
    sa.Column("container_format", sa.String(20)),
    sa.Column("min_disk", sa.BigInteger, nullable=False, default=0),
    sa.Column("min_ram", sa.BigInteger, nullable=False, default=0),
    sa.Column("size", sa.BigInteger),
    sa.Column("virtual_size", sa.BigInteger),
    sa.Column("checksum", sa.String(32)),
    sa.Column("os_hash_algo", sa.String(64)),
    sa.Column("os_hash_value", sa.String(128)),
    sa.Column("upload_id", Id),  # whose upload this is, while saving
    sa.Column("lease_until", Micros),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
    sa.Index("ix_image_created", "created_at", "id"),
)

# Images that were deleted: others, who may have written an id down, must not get other data by it.
image_former = sa.Table(
    "image_former",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("deleted_at", Micros, nullable=False),
)

# Properties that only the service sets: stores that an import has yet to reach, or did not reach.
FAILED, IMPORTING = "os_glance_failed_import", "os_glance_importing_to_stores"

image_property = sa.Table(
    "image_property",
    metadata,
    sa.Column("image_id", Id, sa.ForeignKey("image.id"), primary_key=True),
    sa.Column("name", Name, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

image_tag = sa.Table(
    "image_tag",
    metadata,
    sa.Column("image_id", Id, sa.ForeignKey("image.id"), primary_key=True),
    sa.Column("tag", Name, primary_key=True),
)

image_member = sa.Table(
    "image_member",
    metadata,
    sa.Column("image_id", Id, sa.ForeignKey("image.id"), primary_key=True),
    sa.Column("member_id", Name, primary_key=True, index=True),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
)

# Where the data of an image lies: a row for each copy, in the order they were made.
image_location = sa.Table(
    "image_location",
    metadata,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("image_id", Id, sa.ForeignKey("image.id"), nullable=False, index=True),
    sa.Column("store", Name, nullable=False),
    sa.Column("key", sa.Text, nullable=False),  # what the store knows it by
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("metadata", Json, nullable=False),  # what users said of it
    sqlite_autoincrement=True,
)

# Data that is no image's yet, or not any more: being written, staged, or to be removed. Written
# down before the first byte, so that data in a store always has a row here or in image_location.
image_loose_data = sa.Table(
    "image_loose_data",
    metadata,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("image_id", Id, nullable=False, index=True),  # the image may be gone
    sa.Column("store", Name, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("noted_at", Micros, nullable=False),
    sqlite_autoincrement=True,
)

# How far an operation on an image has come, for its task.
image_progress = sa.Table(
    "image_progress",
    metadata,
    sa.Column("operation_id", Id, primary_key=True),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
)
