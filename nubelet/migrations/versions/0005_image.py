"""image: locations of data in several stores, loose data, progress of tasks"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "image_location",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("image_id", sa.String(length=64), nullable=False),
        sa.Column("store", sa.String(length=255), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_image_location_image_id_image")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_image_location")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_image_location_image_id"), "image_location", ["image_id"])
    op.create_table(
        "image_loose_data",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("image_id", sa.String(length=64), nullable=False),
        sa.Column("store", sa.String(length=255), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("noted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_image_loose_data")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_image_loose_data_image_id"), "image_loose_data", ["image_id"])
    op.create_table(
        "image_progress",
        sa.Column("operation_id", sa.String(length=64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("operation_id", name=op.f("pk_image_progress")),
    )
    # What there was before had one place: a file named like the image.
    op.execute(
        "INSERT INTO image_location (image_id, store, key, position, metadata)"
        " SELECT id, 'file', id, 0, '{}' FROM image WHERE status IN ('active', 'deactivated')"
    )
    op.execute(
        "INSERT INTO image_loose_data (image_id, store, key, noted_at)"
        " SELECT id, 'os_glance_staging_store', id, 0 FROM image"
        " WHERE status IN ('uploading', 'importing')"
    )
