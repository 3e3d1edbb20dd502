"""Tables of federation: whom we trust, how what they say is read, and who came that way.

A user who comes from an identity provider has a row in `identity_user` like any other, without a
password, and here the link that finds it again: identity provider, protocol and unique id.

Times are microseconds; `authorization_ttl` is minutes, as in the API.

In OpenStack: keystone/federation/backends/sql.py, keystone/identity/backends/sql_model.py.
"""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.database import Id, Json, Micros, Name, metadata

identity_provider = sa.Table(
    "identity_provider",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("domain_id", Id, sa.ForeignKey("identity_project.id"), nullable=False, index=True),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("authorization_ttl", sa.BigInteger),
    sa.Column("created_at", Micros, nullable=False),
)

# How the identity provider calls itself: the issuer of its tokens, the entity of its assertions.
remote_id = sa.Table(
    "identity_provider_remote_id",
    metadata,
    sa.Column("remote_id", Name, primary_key=True),
    sa.Column("idp_id", Id, sa.ForeignKey("identity_provider.id"), nullable=False, index=True),
    sa.Column("position", sa.Integer, nullable=False),
)

mapping = sa.Table(
    "identity_mapping",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("rules", Json, nullable=False),
    sa.Column("schema_version", sa.String(5), nullable=False),
    sa.Column("created_at", Micros, nullable=False),
)

# The mapping may be gone (as upstream): nobody can log in by the protocol until there is one.
protocol = sa.Table(
    "identity_protocol",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("idp_id", Id, sa.ForeignKey("identity_provider.id"), primary_key=True),
    sa.Column("mapping_id", Id, nullable=False, index=True),
    sa.Column("remote_id_attribute", sa.String(64)),
    sa.Column("created_at", Micros, nullable=False),
)

service_provider = sa.Table(
    "identity_service_provider",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("auth_url", Name, nullable=False),
    sa.Column("sp_url", Name, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("relay_state_prefix", Name, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
)

federated_user = sa.Table(
    "identity_federated_user",
    metadata,
    sa.Column("idp_id", Id, primary_key=True),
    sa.Column("protocol_id", Id, primary_key=True),
    sa.Column("unique_id", Name, primary_key=True),
    sa.Column("user_id", Id, sa.ForeignKey("identity_user.id"), nullable=False, index=True),
    sa.Column("display_name", Name),
    sa.ForeignKeyConstraint(
        ["protocol_id", "idp_id"], ["identity_protocol.id", "identity_protocol.idp_id"]
    ),
)

# Groups that a mapping put somebody in, which hold beyond the token for the provider's
# `authorization_ttl` after the last login.
expiring_membership = sa.Table(
    "identity_expiring_membership",
    metadata,
    sa.Column("user_id", Id, sa.ForeignKey("identity_user.id"), primary_key=True),
    sa.Column("group_id", Id, sa.ForeignKey("identity_group.id"), primary_key=True, index=True),
    sa.Column("idp_id", Id, sa.ForeignKey("identity_provider.id"), primary_key=True, index=True),
    sa.Column("verified_at", Micros, nullable=False),
    sa.Column("expires_at", Micros, nullable=False, index=True),
)

# Assertions that were used: none is taken twice.
used_assertion = sa.Table(
    "identity_used_assertion",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),  # of issuer and id
    sa.Column("expires_at", Micros, nullable=False, index=True),
)

# Logins that were begun: what was said of somebody, until they come for their token.
session = sa.Table(
    "identity_federation_session",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("idp_id", Id, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("expires_at", Micros, nullable=False, index=True),
)
