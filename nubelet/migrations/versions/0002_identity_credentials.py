"""identity credentials"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "identity_credential",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("access_hash", sa.String(length=64), nullable=True),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=True),
        sa.Column("type", sa.String(length=255), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("trust_id", sa.String(length=64), nullable=True),
        sa.Column("application_credential_id", sa.String(length=64), nullable=True),
        sa.Column("access_token_id", sa.String(length=64), nullable=True),
        sa.Column("used_counter", sa.BigInteger(), nullable=True),
        sa.Column("failed_count", sa.Integer(), nullable=False),
        sa.Column("failed_at", sa.BigInteger(), nullable=True),
        sa.Column("extra", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_credential")),
        sa.UniqueConstraint("access_hash", name=op.f("uq_identity_credential_access_hash")),
    )
    op.create_index(
        op.f("ix_identity_credential_access_token_id"),
        "identity_credential",
        ["access_token_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_identity_credential_application_credential_id"),
        "identity_credential",
        ["application_credential_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_identity_credential_project_id"),
        "identity_credential",
        ["project_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_identity_credential_trust_id"), "identity_credential", ["trust_id"], unique=False
    )
    op.create_index(
        op.f("ix_identity_credential_user_id"), "identity_credential", ["user_id"], unique=False
    )
    op.create_table(
        "identity_oauth1_consumer",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("extra", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_oauth1_consumer")),
    )
    op.create_table(
        "identity_oauth1_nonce",
        sa.Column("consumer_id", sa.String(length=64), nullable=False),
        sa.Column("nonce", sa.String(length=255), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "consumer_id", "nonce", "timestamp", name=op.f("pk_identity_oauth1_nonce")
        ),
    )
    op.create_index(
        op.f("ix_identity_oauth1_nonce_created_at"),
        "identity_oauth1_nonce",
        ["created_at"],
        unique=False,
    )
    op.create_table(
        "identity_oauth1_request_token",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("consumer_id", sa.String(length=64), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=True),
        sa.Column("role_ids", sa.Text(), nullable=True),
        sa.Column("verifier", sa.String(length=255), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["consumer_id"],
            ["identity_oauth1_consumer.id"],
            name=op.f("fk_identity_oauth1_request_token_consumer_id_identity_oauth1_consumer"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_oauth1_request_token")),
    )
    op.create_index(
        op.f("ix_identity_oauth1_request_token_consumer_id"),
        "identity_oauth1_request_token",
        ["consumer_id"],
        unique=False,
    )
    op.create_table(
        "identity_access_rule",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("service", sa.String(length=255), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["identity_user.id"],
            name=op.f("fk_identity_access_rule_user_id_identity_user"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_access_rule")),
        sa.UniqueConstraint(
            "user_id",
            "service",
            "path",
            "method",
            name=op.f("uq_identity_access_rule_user_id_service_path_method"),
        ),
    )
    op.create_table(
        "identity_application_credential",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("role_ids", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("unrestricted", sa.Boolean(), nullable=False),
        sa.Column("has_rules", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["identity_project.id"],
            name=op.f("fk_identity_application_credential_project_id_identity_project"),
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["identity_user.id"],
            name=op.f("fk_identity_application_credential_user_id_identity_user"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_application_credential")),
        sa.UniqueConstraint(
            "user_id", "name", name=op.f("uq_identity_application_credential_user_id_name")
        ),
    )
    op.create_index(
        op.f("ix_identity_application_credential_project_id"),
        "identity_application_credential",
        ["project_id"],
        unique=False,
    )
    op.create_table(
        "identity_oauth1_access_token",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("consumer_id", sa.String(length=64), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("role_ids", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["consumer_id"],
            ["identity_oauth1_consumer.id"],
            name=op.f("fk_identity_oauth1_access_token_consumer_id_identity_oauth1_consumer"),
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["identity_user.id"],
            name=op.f("fk_identity_oauth1_access_token_user_id_identity_user"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_oauth1_access_token")),
    )
    op.create_index(
        op.f("ix_identity_oauth1_access_token_consumer_id"),
        "identity_oauth1_access_token",
        ["consumer_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_identity_oauth1_access_token_project_id"),
        "identity_oauth1_access_token",
        ["project_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_identity_oauth1_access_token_user_id"),
        "identity_oauth1_access_token",
        ["user_id"],
        unique=False,
    )
    op.create_table(
        "identity_trust",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("trustor_user_id", sa.String(length=64), nullable=False),
        sa.Column("trustee_user_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=True),
        sa.Column("impersonation", sa.Boolean(), nullable=False),
        sa.Column("role_ids", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("remaining_uses", sa.Integer(), nullable=True),
        sa.Column("redelegation_count", sa.Integer(), nullable=False),
        sa.Column("redelegated_trust_id", sa.String(length=64), nullable=True),
        sa.Column("first_trustor_id", sa.String(length=64), nullable=False),
        sa.Column("extra", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["first_trustor_id"],
            ["identity_user.id"],
            name=op.f("fk_identity_trust_first_trustor_id_identity_user"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["identity_project.id"],
            name=op.f("fk_identity_trust_project_id_identity_project"),
        ),
        sa.ForeignKeyConstraint(
            ["redelegated_trust_id"],
            ["identity_trust.id"],
            name=op.f("fk_identity_trust_redelegated_trust_id_identity_trust"),
        ),
        sa.ForeignKeyConstraint(
            ["trustee_user_id"],
            ["identity_user.id"],
            name=op.f("fk_identity_trust_trustee_user_id_identity_user"),
        ),
        sa.ForeignKeyConstraint(
            ["trustor_user_id"],
            ["identity_user.id"],
            name=op.f("fk_identity_trust_trustor_user_id_identity_user"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_trust")),
    )
    op.create_index(
        op.f("ix_identity_trust_project_id"), "identity_trust", ["project_id"], unique=False
    )
    op.create_index(
        op.f("ix_identity_trust_redelegated_trust_id"),
        "identity_trust",
        ["redelegated_trust_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_identity_trust_trustee_user_id"),
        "identity_trust",
        ["trustee_user_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_identity_trust_trustor_user_id"),
        "identity_trust",
        ["trustor_user_id"],
        unique=False,
    )
    op.create_table(
        "identity_application_credential_rule",
        sa.Column("application_credential_id", sa.String(length=64), nullable=False),
        sa.Column("access_rule_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["access_rule_id"],
            ["identity_access_rule.id"],
            name=op.f(
                "fk_identity_application_credential_rule_access_rule_id_identity_access_rule"
            ),
        ),
        sa.ForeignKeyConstraint(
            ["application_credential_id"],
            ["identity_application_credential.id"],
            name=op.f(
                "fk_identity_application_credential_rule_application_credential_id_identity_application_credential"
            ),
        ),
        sa.PrimaryKeyConstraint(
            "application_credential_id",
            "access_rule_id",
            name=op.f("pk_identity_application_credential_rule"),
        ),
    )
    op.create_index(
        op.f("ix_identity_application_credential_rule_access_rule_id"),
        "identity_application_credential_rule",
        ["access_rule_id"],
        unique=False,
    )
    op.add_column("identity_revoked_token", sa.Column("revoked_at", sa.BigInteger(), nullable=True))
