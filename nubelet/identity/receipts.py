"""Receipts: what a user gets who must prove themselves in more ways than they did.

A user may be held to several methods at once (`multi_factor_auth_rules`: one of the rules must be
met in full). Who meets none, but did prove themselves, is answered 401 with a receipt of the ways
so far; with it in `Openstack-Auth-Receipt` the next request needs only the rest. A receipt is
sealed as tokens are, is good for five minutes, and for nothing else.

In OpenStack: keystone/receipt/, keystone/auth/core.py UserMFARulesValidator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from nubelet.decoding import prepared
from nubelet.identity.keys import KeyRing
from nubelet.identity.model import project, user
from nubelet.kernel import clock
from nubelet.kernel.clock import iso_micros_z
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Unauthorized

HEADER = "Openstack-Auth-Receipt"
LIFETIME_SECONDS = 300
# Tells a receipt from a token, whose contents begin with another number.
_FORMAT = 1001
_home = project.alias("home")


class Receipt(msgspec.Struct, frozen=True, array_like=True):
    """Who proved themselves, how and when (microseconds)."""

    format: int
    user_id: str
    methods: tuple[str, ...]
    issued_at: int
    expires_at: int


class MissingFactors(Unauthorized):
    """The user proved themselves, but in too few ways: `receipt`, and the `rules` to be met."""

    def __init__(self, receipt: Receipt, rules: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self.receipt, self.rules = receipt, rules


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(prepared(Receipt))


def require_factors(tx: Tx, user_id: str, used: set[str]) -> None:
    """Raise MissingFactors unless one of the user's rules is met. A method that nobody knows can
    never be met."""
    options = tx.scalar(sa.select(user.c.options).where(user.c.id == user_id)) or {}
    rules = options.get("multi_factor_auth_rules")
    if not rules or options.get("multi_factor_auth_enabled", True) is False:
        return
    if not any(set(rule) <= used for rule in rules):
        now = clock.now()
        end = now + LIFETIME_SECONDS * 1_000_000
        raise MissingFactors(Receipt(_FORMAT, user_id, tuple(sorted(used)), now, end), rules)


def seal(keys: KeyRing, receipt: Receipt) -> str:
    """The text of a receipt."""
    return keys.seal(_encoder.encode(receipt))


def methods_of(keys: KeyRing, tx: Tx, text: str, user_id: str) -> tuple[str, ...]:
    """The methods by which the user proved themselves before; raises Unauthorized for a receipt
    that is not theirs, not good any more, or none."""
    try:
        receipt = _decoder.decode(keys.open(text))
    except (ValueError, msgspec.DecodeError):
        raise Unauthorized from None
    since = tx.scalar(sa.select(user.c.valid_from).where(user.c.id == user_id))
    if (
        receipt.format != _FORMAT
        or receipt.user_id != user_id
        or receipt.expires_at <= clock.now()
        or since is None
        or receipt.issued_at < since
    ):
        raise Unauthorized
    return receipt.methods


def body(tx: Tx, missing: MissingFactors) -> dict[str, Any]:
    """What is answered with a receipt."""
    receipt = missing.receipt
    row = tx.first(
        sa.select(user.c.name, _home.c.id.label("domain_id"), _home.c.name.label("domain_name"))
        .join(_home, _home.c.id == user.c.domain_id)
        .where(user.c.id == receipt.user_id)
    )
    if row is None:
        raise Unauthorized
    return {
        "receipt": {
            "methods": list(receipt.methods),
            "user": {
                "domain": {"id": row.domain_id, "name": row.domain_name},
                "id": receipt.user_id,
                "name": row.name,
            },
            "expires_at": iso_micros_z(receipt.expires_at),
            "issued_at": iso_micros_z(receipt.issued_at),
        },
        "required_auth_methods": [list(rule) for rule in missing.rules],
    }
