"""What a new password must be like, how long it is good for, and storing it.

Set by the user (*self-service*) or by an administrator: only the user's own choice is held to the
history and the minimum age, and only what an administrator set may have to be changed at first use.
The hash is made by the caller beforehand, outside the transaction (passwords.py).

Read next: `password_login.py`. In OpenStack: keystone/identity/backends/sql_model.py, and
`[security_compliance]` of its configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity.model import password, password_history
from nubelet.identity.passwords import Passwords
from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.settings import SecurityCompliance

DAY = 24 * 3600 * 1_000_000


def check_strength(rules: SecurityCompliance, new: str) -> None:
    """Raise BadRequest where the password does not match the configured expression."""
    if rules.password_regex and not re.match(rules.password_regex, new):
        raise BadRequest(
            "Invalid input for field/attribute password: it does not match the requirements: "
            f"{rules.password_regex_description or rules.password_regex}"
        )


def check_age(rules: SecurityCompliance, row: Any) -> None:
    """Raise BadRequest where a user chose the present password (`row`) too short a while ago."""
    if not rules.minimum_password_age or not row.self_service:
        return
    left = row.created_at + rules.minimum_password_age * DAY - clock.now()
    if left > 0:
        raise BadRequest(
            "You cannot change your password yet: passwords are kept for at least "
            f"{rules.minimum_password_age} days. Try again in {-(-left // DAY)} days, or ask an "
            "administrator to reset it."
        )


def check_history(
    rules: SecurityCompliance, passwords: Passwords, earlier: list[str], new: str
) -> None:
    """Raise BadRequest where the new password is one of the last ones; `earlier`: their hashes."""
    if any(passwords.verify(new, stored) for stored in earlier):
        raise BadRequest(
            "Invalid input for field/attribute password: it is one of your last "
            f"{rules.unique_last_password_count} passwords."
        )


def earlier_hashes(rules: SecurityCompliance, tx: Tx, user_id: str) -> list[str]:
    """The hashes that a user may not choose again: the present one and those before it."""
    wanted = rules.unique_last_password_count
    if not wanted:
        return []
    present = tx.scalar(sa.select(password.c.hash).where(password.c.user_id == user_id))
    before = tx.all(
        sa.select(password_history.c.hash)
        .where(password_history.c.user_id == user_id)
        .order_by(password_history.c.created_at.desc())
        .limit(wanted - 1)
    )
    return [stored for stored in (present, *(row.hash for row in before)) if stored]


def store(
    rules: SecurityCompliance,
    tx: Tx,
    user_id: str,
    hashed: str,
    options: Mapping[str, Any],
    *,
    self_service: bool = False,
) -> None:
    """Set a user's password. `options` are the user's, which may exempt it from expiring."""
    now = clock.now()
    values = {
        "hash": hashed,
        "created_at": now,
        "expires_at": _expires_at(rules, options, now, self_service),
        "self_service": self_service,
    }
    present = tx.first(sa.select(password).where(password.c.user_id == user_id))
    if present is None:
        tx.insert(password, user_id=user_id, **values)
        return
    _remember(rules, tx, present)
    tx.update(password, password.c.user_id == user_id, **values)


def apply_options(rules: SecurityCompliance, tx: Tx, row: Any, options: Mapping[str, Any]) -> None:
    """Let the present password expire, or not, as a user's changed options say."""
    names = ("ignore_password_expiry", "ignore_change_password_upon_first_use")
    if all(row.options.get(name) == options.get(name) for name in names):
        return
    present = tx.first(sa.select(password).where(password.c.user_id == row.id))
    if present is not None:
        expires_at = _expires_at(rules, options, present.created_at, bool(present.self_service))
        tx.update(password, password.c.user_id == row.id, expires_at=expires_at)


def forget(tx: Tx, user_ids: Any) -> None:
    """Delete the passwords of users that are being deleted (ids, or a query of them)."""
    tx.delete(password_history, password_history.c.user_id.in_(user_ids))
    tx.delete(password, password.c.user_id.in_(user_ids))


def _expires_at(
    rules: SecurityCompliance, options: Mapping[str, Any], now: int, self_service: bool
) -> int | None:
    first_use = (
        rules.change_password_upon_first_use
        and not self_service
        and not options.get("ignore_change_password_upon_first_use")
    )
    if first_use:
        return now
    if rules.password_expires_days and not options.get("ignore_password_expiry"):
        return now + rules.password_expires_days * DAY
    return None


def _remember(rules: SecurityCompliance, tx: Tx, present: Any) -> None:
    """Put the present password into the history, and forget what is too old to matter."""
    mine = password_history.c.user_id == present.user_id
    keep = rules.unique_last_password_count - 1  # with the new one, that many
    if keep < 1:
        tx.delete(password_history, mine)
        return
    known = tx.all(
        sa.select(password_history.c.created_at)
        .where(mine)
        .order_by(password_history.c.created_at.desc())
    )
    # Two changes may fall on the same microsecond of a stopped clock.
    taken = {row.created_at for row in known}
    created_at = present.created_at
    while created_at in taken:
        created_at += 1
    tx.insert(password_history, user_id=present.user_id, created_at=created_at, hash=present.hash)
    if len(known) >= keep:
        oldest = known[keep - 1].created_at
        tx.delete(password_history, mine, password_history.c.created_at <= oldest)
