"""Users who are locked out: too many wrong passwords, or away for too long.

Nothing here tells a stranger anything: who is locked out gets the same refusal as for a wrong
password, and enabling a user (PATCH) ends both. Where nobody is left who could do that, the last
administrator is let in all the same: after half an hour without a wrong password, or however long
they were away.

Read next: `password_login.py`. In OpenStack: keystone/identity/backends/sql.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import administrators
from nubelet.identity.model import login
from nubelet.identity.password_rules import DAY
from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.settings import SecurityCompliance

# How long a lock that is to last until somebody ends it does when there is nobody: as long as one
# lasts where nothing is set.
LAST_ADMINISTRATOR_SECONDS = 1800


def is_locked(rules: SecurityCompliance, tx: Tx, user_id: str, row: Any) -> bool:
    """Did so many logins fail that the user has to wait? `row`: options, failed_count, failed_at
    of the user (or of what is guessed at: a seed of passcodes)."""
    return _failed_too_often(rules, row) and not _is_over(rules, tx, user_id, row.failed_at)


def is_inactive(
    rules: SecurityCompliance, options: Mapping[str, Any], last_active_at: int | None
) -> bool:
    """Has the user been away for too long? Those of whom no login is known have not."""
    days = rules.disable_user_account_days_inactive
    if not days or not last_active_at or options.get("ignore_user_inactivity"):
        return False
    return last_active_at + days * DAY < clock.now()


def is_needed(rules: SecurityCompliance, tx: Tx, user_id: str) -> bool:
    """Could nobody let this user in again, for no other administrator can log in?"""

    def may_log_in(row: Any) -> bool:
        locked = _failed_too_often(rules, row) and not (
            rules.lockout_duration and _ended(rules.lockout_duration, row.failed_at)
        )
        return not locked and not is_inactive(rules, row.options, row.last_active_at)

    return administrators.is_last(tx, user_id, may_log_in)


def record_failure(rules: SecurityCompliance, tx: Tx, user_id: str) -> None:
    """Count a wrong password. Once a lock is over, counting begins anew."""
    tx.lock("identity", "login", user_id)
    row = find(tx, user_id)
    over = (
        row is not None
        and row.failed_count >= rules.lockout_failure_attempts
        and _is_over(rules, tx, user_id, row.failed_at)
    )
    count = 1 if row is None or over else row.failed_count + 1
    _set(tx, user_id, row, failed_count=count, failed_at=clock.now())


def record_success(rules: SecurityCompliance, tx: Tx, user_id: str) -> None:
    """Forget the wrong passwords, and note the day where that matters."""
    tx.lock("identity", "login", user_id)
    _set(tx, user_id, find(tx, user_id), **_fresh(rules))


def is_worth_recording(rules: SecurityCompliance, row: Any) -> bool:
    """Does a successful login change anything? Most do not, and then cost no transaction."""
    if row is not None and row.failed_count:
        return True
    if not rules.disable_user_account_days_inactive:
        return False
    return row is None or not row.last_active_at or row.last_active_at // DAY != clock.now() // DAY


def reset(rules: SecurityCompliance, tx: Tx, user_id: str) -> None:
    """A user was made or enabled: no wrong password counts, and they were active now."""
    row = find(tx, user_id)
    if row is not None or rules.disable_user_account_days_inactive:
        _set(tx, user_id, row, **_fresh(rules))


def forget(tx: Tx, user_ids: Any) -> None:
    """Delete what is known of users that are being deleted (ids, or a query of them)."""
    tx.delete(login, login.c.user_id.in_(user_ids))


def _failed_too_often(rules: SecurityCompliance, row: Any) -> bool:
    limit = rules.lockout_failure_attempts
    if not limit or row.options.get("ignore_lockout_failure_attempts"):
        return False
    return (row.failed_count or 0) >= limit


def _is_over(rules: SecurityCompliance, tx: Tx, user_id: str, failed_at: int | None) -> bool:
    """A lock without an end has one for the last administrator."""
    if rules.lockout_duration:
        return _ended(rules.lockout_duration, failed_at)
    return _ended(LAST_ADMINISTRATOR_SECONDS, failed_at) and is_needed(rules, tx, user_id)


def _ended(seconds: int, failed_at: int | None) -> bool:
    return (failed_at or 0) + seconds * 1_000_000 <= clock.now()


def find(tx: Tx, user_id: str) -> Any:
    """What is known of a user's logins; None for nothing."""
    return tx.first(sa.select(login).where(login.c.user_id == user_id))


def _fresh(rules: SecurityCompliance) -> dict[str, Any]:
    values: dict[str, Any] = {"failed_count": 0, "failed_at": None}
    if rules.disable_user_account_days_inactive:
        values["last_active_at"] = clock.now()
    return values


def _set(tx: Tx, user_id: str, row: Any, **values: Any) -> None:
    if row is None:
        tx.insert(login, {"user_id": user_id, "last_active_at": None, **values})
    else:
        tx.update(login, login.c.user_id == user_id, **values)
