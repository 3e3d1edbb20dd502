"""The table of credentials."""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Json, Micros, Name, metadata

credential = sa.Table(
    "identity_credential",
    metadata,
    sa.Column("id", Id, primary_key=True),
    # Of an EC2 credential, the SHA-256 of its access key: by that it is found.
    sa.Column("access_hash", sa.String(64), unique=True),
    sa.Column("user_id", Id, nullable=False, index=True),
    sa.Column("project_id", Id, index=True),
    sa.Column("type", Name, nullable=False),
    sa.Column("blob", sa.Text, nullable=False),  # sealed (keys.KeyRing in credential-keys)
    # What the token that made it was bound to; so is every token that is made with it.
    sa.Column("trust_id", Id, index=True),
    sa.Column("application_credential_id", Id, index=True),
    sa.Column("access_token_id", Id, index=True),
    sa.Column("used_counter", sa.BigInteger),  # of TOTP: passcodes up to this one are spent
    sa.Column("failed_count", sa.Integer, nullable=False),  # of TOTP: wrong passcodes in a row
    sa.Column("failed_at", Micros),
    sa.Column("extra", Json, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
)
