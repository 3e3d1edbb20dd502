"""The method `totp`: a passcode of the moment, from a secret that user and cloud share.

The secrets are credentials of the type `totp`, in base32 (RFC 6238: HMAC-SHA1, steps of 30 seconds,
six digits). The passcode of the step before is good as well; each is good once. Wrong ones lock out
as wrong passwords do (`security_compliance.lockout_failure_attempts`).

In OpenStack: keystone/auth/plugins/totp.py.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.identity import authenticator, lockout
from nubelet.identity.credentials.model import credential
from nubelet.identity.methods import Attempt, Method, Proven
from nubelet.identity.model import user
from nubelet.identity.scopes import DOMAIN_SCHEMA, user_is
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Unauthorized
from nubelet.settings import SecurityCompliance

_STEP_SECONDS = 30
_STEPS_BEFORE = 1
_SCHEMA = {
    "type": "object",
    "required": ["user"],
    "properties": {
        "user": {
            "type": "object",
            "required": ["passcode"],
            "properties": {
                "id": {"type": "string"},
                "name": {"type": "string"},
                "domain": DOMAIN_SCHEMA,
                "passcode": {"type": "string"},
            },
        }
    },
}


def passcode(secret: str, counter: int) -> str | None:
    """The passcode of a step; None for a secret that is not base32."""
    padded = secret.strip().replace(" ", "").upper()
    try:
        key = base64.b32decode(padded + "=" * (-len(padded) % 8))
    except (binascii.Error, ValueError):
        return None
    digest = hmac.digest(key, counter.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


def _prove(attempt: Attempt, part: Mapping[str, Any]) -> Proven:
    cloud, given = attempt.cloud, part["user"]
    rules, c = cloud.settings.security_compliance, credential.c
    with cloud.database.read() as tx:
        rows = tx.all(
            sa.select(c.id, c.user_id, c.blob, c.failed_count, c.failed_at, user.c.options)
            .join(user, user.c.id == c.user_id)
            .where(c.type == "totp", c.user_id.in_(user_is(given)))
        )
        locked = any(lockout.is_locked(rules, tx, row.user_id, row) for row in rows)
    fitting = _fitting(cloud, rows, given["passcode"])
    if locked:
        raise Unauthorized
    if fitting is None:
        if rows and rules.lockout_failure_attempts:
            cloud.database.transact(lambda tx: _count_failure(rules, tx, rows))
        raise Unauthorized
    _spend(cloud, *fitting)
    return Proven(user_id=rows[0].user_id)


def _fitting(cloud: Cloud, rows: Sequence[Any], given: str) -> tuple[str, int] | None:
    """The credential and the step that a passcode fits. Without any credential one is opened all
    the same: the clock is not to tell who has some."""
    seal = authenticator.of(cloud).seal_of_secrets
    now = clock.now() // 1_000_000 // _STEP_SECONDS
    found = None
    for identifier, blob in [(row.id, row.blob) for row in rows] or [("", seal.decoy)]:
        secret = seal.open(blob)
        for counter in range(now, now - _STEPS_BEFORE - 1, -1):
            right = passcode(secret, counter) if secret else None
            if right is not None and _same(right, given) and identifier:
                found = found or (identifier, counter)
    return found


def _same(right: str, given: str) -> bool:
    return hmac.compare_digest(right.encode(), given.strip().encode())


def _count_failure(rules: SecurityCompliance, tx: Tx, rows: Sequence[Any]) -> None:
    """Count a wrong passcode apart from wrong passwords: who knows the password must not be able
    to begin anew by it."""
    for row in rows:
        # A lock that is over, or it would have been refused: counting begins anew.
        anew = row.failed_count >= rules.lockout_failure_attempts
        count = sa.literal(1) if anew else credential.c.failed_count + 1
        tx.update(credential, credential.c.id == row.id, failed_count=count, failed_at=clock.now())


def _spend(cloud: Cloud, identifier: str, counter: int) -> None:
    """Note that the passcode was used; raises Unauthorized if it was before."""
    used = credential.c.used_counter

    def write(tx: Tx) -> int:
        return tx.update(
            credential,
            credential.c.id == identifier,
            sa.or_(used.is_(None), used < counter),
            used_counter=counter,
            failed_count=0,
            failed_at=None,
        )

    if not cloud.database.transact(write):
        raise Unauthorized


METHOD = Method("totp", _SCHEMA, _prove, direct=True)
