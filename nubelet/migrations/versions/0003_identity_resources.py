"""identity resources"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "identity_registered_limit",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("service_id", sa.String(length=64), nullable=False),
        sa.Column("region_id", sa.String(length=255), nullable=True),
        sa.Column("resource_name", sa.String(length=255), nullable=False),
        sa.Column("default_limit", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["region_id"],
            ["identity_region.id"],
            name=op.f("fk_identity_registered_limit_region_id_identity_region"),
        ),
        sa.ForeignKeyConstraint(
            ["service_id"],
            ["identity_service.id"],
            name=op.f("fk_identity_registered_limit_service_id_identity_service"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_registered_limit")),
        sa.UniqueConstraint(
            "service_id",
            "region_id",
            "resource_name",
            name=op.f("uq_identity_registered_limit_service_id_region_id_resource_name"),
        ),
    )
    op.create_table(
        "identity_limit",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("registered_limit_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=True),
        sa.Column("domain_id", sa.String(length=64), nullable=True),
        sa.Column("resource_limit", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["identity_project.id"],
            name=op.f("fk_identity_limit_domain_id_identity_project"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["identity_project.id"],
            name=op.f("fk_identity_limit_project_id_identity_project"),
        ),
        sa.ForeignKeyConstraint(
            ["registered_limit_id"],
            ["identity_registered_limit.id"],
            name=op.f("fk_identity_limit_registered_limit_id_identity_registered_limit"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_limit")),
        sa.UniqueConstraint(
            "registered_limit_id",
            "domain_id",
            name=op.f("uq_identity_limit_registered_limit_id_domain_id"),
        ),
        sa.UniqueConstraint(
            "registered_limit_id",
            "project_id",
            name=op.f("uq_identity_limit_registered_limit_id_project_id"),
        ),
    )
    op.create_index(
        op.f("ix_identity_limit_domain_id"), "identity_limit", ["domain_id"], unique=False
    )
    op.create_index(
        op.f("ix_identity_limit_project_id"), "identity_limit", ["project_id"], unique=False
    )
    op.create_table(
        "identity_login",
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("failed_count", sa.Integer(), nullable=False),
        sa.Column("failed_at", sa.BigInteger(), nullable=True),
        sa.Column("last_active_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["identity_user.id"], name=op.f("fk_identity_login_user_id_identity_user")
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_identity_login")),
    )
    op.create_table(
        "identity_password_history",
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["identity_user.id"],
            name=op.f("fk_identity_password_history_user_id_identity_user"),
        ),
        sa.PrimaryKeyConstraint("user_id", "created_at", name=op.f("pk_identity_password_history")),
    )
    op.add_column("identity_password", sa.Column("expires_at", sa.BigInteger(), nullable=True))
    op.add_column("identity_password", sa.Column("self_service", sa.Boolean(), nullable=True))
    op.create_table(
        "identity_endpoint_group",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("filters", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_endpoint_group")),
    )
    op.create_table(
        "identity_policy",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=255), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("extra", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_policy")),
    )
    op.create_table(
        "identity_project_endpoint_group",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("endpoint_group_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["endpoint_group_id"],
            ["identity_endpoint_group.id"],
            name=op.f(
                "fk_identity_project_endpoint_group_endpoint_group_id_identity_endpoint_group"
            ),
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["identity_project.id"],
            name=op.f("fk_identity_project_endpoint_group_project_id_identity_project"),
        ),
        sa.PrimaryKeyConstraint(
            "project_id", "endpoint_group_id", name=op.f("pk_identity_project_endpoint_group")
        ),
    )
    op.create_index(
        "ix_identity_project_endpoint_group_endpoint_group_id",
        "identity_project_endpoint_group",
        ["endpoint_group_id"],
        unique=False,
    )
    op.create_table(
        "identity_policy_association",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("policy_id", sa.String(length=64), nullable=False),
        sa.Column("endpoint_id", sa.String(length=64), nullable=True),
        sa.Column("service_id", sa.String(length=64), nullable=True),
        sa.Column("region_id", sa.String(length=255), nullable=True),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["identity_endpoint.id"],
            name=op.f("fk_identity_policy_association_endpoint_id_identity_endpoint"),
        ),
        sa.ForeignKeyConstraint(
            ["policy_id"],
            ["identity_policy.id"],
            name=op.f("fk_identity_policy_association_policy_id_identity_policy"),
        ),
        sa.ForeignKeyConstraint(
            ["region_id"],
            ["identity_region.id"],
            name=op.f("fk_identity_policy_association_region_id_identity_region"),
        ),
        sa.ForeignKeyConstraint(
            ["service_id"],
            ["identity_service.id"],
            name=op.f("fk_identity_policy_association_service_id_identity_service"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_policy_association")),
    )
    op.create_index(
        op.f("ix_identity_policy_association_endpoint_id"),
        "identity_policy_association",
        ["endpoint_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_identity_policy_association_policy_id"),
        "identity_policy_association",
        ["policy_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_identity_policy_association_service_id"),
        "identity_policy_association",
        ["service_id"],
        unique=False,
    )
    op.create_table(
        "identity_project_endpoint",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("endpoint_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["identity_endpoint.id"],
            name=op.f("fk_identity_project_endpoint_endpoint_id_identity_endpoint"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["identity_project.id"],
            name=op.f("fk_identity_project_endpoint_project_id_identity_project"),
        ),
        sa.PrimaryKeyConstraint(
            "project_id", "endpoint_id", name=op.f("pk_identity_project_endpoint")
        ),
    )
    op.create_index(
        "ix_identity_project_endpoint_endpoint_id",
        "identity_project_endpoint",
        ["endpoint_id"],
        unique=False,
    )
    op.create_table(
        "identity_domain_option",
        sa.Column("domain_id", sa.String(length=64), nullable=False),
        sa.Column("group", sa.String(length=255), nullable=False),
        sa.Column("option", sa.String(length=255), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("secret", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["identity_project.id"],
            name=op.f("fk_identity_domain_option_domain_id_identity_project"),
        ),
        sa.PrimaryKeyConstraint(
            "domain_id", "group", "option", name=op.f("pk_identity_domain_option")
        ),
    )
    op.create_table(
        "identity_mirrored",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("domain_id", sa.String(length=64), nullable=False),
        sa.Column("local_id", sa.String(length=255), nullable=False),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["identity_project.id"],
            name=op.f("fk_identity_mirrored_domain_id_identity_project"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_mirrored")),
        sa.UniqueConstraint(
            "domain_id",
            "kind",
            "local_id",
            name=op.f("uq_identity_mirrored_domain_id_kind_local_id"),
        ),
    )
