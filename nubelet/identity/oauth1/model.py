"""Tables of OAuth 1: consumers and the two kinds of their tokens. Secrets are sealed: a signature
cannot be checked with a hash of its key."""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Json, Micros, Name, metadata

consumer = sa.Table(
    "identity_oauth1_consumer",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("description", sa.Text),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("extra", Json, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
)

request_token = sa.Table(
    "identity_oauth1_request_token",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column(
        "consumer_id",
        Id,
        sa.ForeignKey("identity_oauth1_consumer.id"),
        nullable=False,
        index=True,
    ),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("user_id", Id),  # who authorized it; so far nobody: NULL
    sa.Column("role_ids", Json),
    sa.Column("verifier", Name),
    sa.Column("expires_at", Micros, index=True),
    sa.Column("created_at", Micros, nullable=False),
)

access_token = sa.Table(
    "identity_oauth1_access_token",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column(
        "consumer_id",
        Id,
        sa.ForeignKey("identity_oauth1_consumer.id"),
        nullable=False,
        index=True,
    ),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("project_id", Id, nullable=False, index=True),
    sa.Column("user_id", Id, sa.ForeignKey("identity_user.id"), nullable=False, index=True),
    sa.Column("role_ids", Json, nullable=False),
    sa.Column("expires_at", Micros, index=True),
    sa.Column("created_at", Micros, nullable=False),
)

# Signed requests that were served: none is served twice.
nonce = sa.Table(
    "identity_oauth1_nonce",
    metadata,
    sa.Column("consumer_id", Id, primary_key=True),
    sa.Column("nonce", Name, primary_key=True),
    sa.Column("timestamp", sa.BigInteger, primary_key=True),
    sa.Column("created_at", Micros, nullable=False, index=True),
)
