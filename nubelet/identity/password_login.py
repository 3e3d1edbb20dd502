"""Proving who one is by a password, with all the rules that a login is held to.

An unknown user, a wrong password, a disabled user and a locked one are told apart by nothing, not
even by the clock: a decoy is verified where there is no hash. Only who knew the password learns
that it expired: with it they can still choose another (`POST /v3/users/{id}/password`).

Users of a directory are proven by it; the rules here are for those of the database.

Read next: `lockout.py`, `password_rules.py`, `directories/reading.py`.
In OpenStack: keystone/identity/core.py authenticate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import authenticator, lockout, password_rules
from nubelet.identity.directories.model import mirrored
from nubelet.identity.domain_config import options
from nubelet.identity.model import login, password, project, user
from nubelet.identity.scopes import domain_is
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Forbidden, Unauthorized

_home = project.alias("home")
_USER = (
    sa.select(
        user.c.id,
        user.c.enabled,
        user.c.options,
        user.c.domain_id,
        password.c.hash,
        password.c.created_at,
        password.c.expires_at,
        password.c.self_service,
        login.c.failed_count,
        login.c.failed_at,
        login.c.last_active_at,
        mirrored.c.local_id,
        _home.c.enabled.label("domain_enabled"),
    )
    .join(_home, _home.c.id == user.c.domain_id)
    .outerjoin(password, password.c.user_id == user.c.id)
    .outerjoin(login, login.c.user_id == user.c.id)
    .outerjoin(mirrored, mirrored.c.id == user.c.id)
)


def prove(cloud: Cloud, given: Mapping[str, Any]) -> str:
    """The id of the user that `given` (id, or name and domain; password) names, if the password is
    theirs and they may log in; raises Unauthorized, BadRequest."""
    row = _require_password(cloud, given)
    if row.expires_at is not None and row.expires_at <= clock.now():
        raise Unauthorized(
            "The password is expired and needs to be changed: "
            f"POST /v3/users/{row.id}/password takes it together with a new one."
        )
    passwords = authenticator.of(cloud).passwords
    if row.hash is not None and passwords.needs_rehash(row.hash):
        _upgrade(cloud, row.id, row.hash, passwords.hash(given["password"]))
    return str(row.id)


def change(cloud: Cloud, user_id: str, original: str, new: str) -> tuple[str, str]:
    """Check the change of one's own password; answers the hash that is to be replaced and the
    one to replace it by, for `users.change_password`. Raises Unauthorized, BadRequest."""
    rules = cloud.settings.security_compliance
    passwords = authenticator.of(cloud).passwords
    row = _require_password(cloud, {"id": user_id, "password": original})
    if row.hash is None:
        raise Forbidden("Your password is kept in the directory of your domain: change it there.")
    if row.options.get("lock_password"):
        raise BadRequest("Your password is locked: only an administrator can change it.")
    password_rules.check_age(rules, row)
    password_rules.check_strength(rules, new)
    with cloud.database.read() as tx:
        earlier = password_rules.earlier_hashes(rules, tx, user_id)
    password_rules.check_history(rules, passwords, earlier, new)
    return row.hash, passwords.hash(new)


def _require_password(cloud: Cloud, given: Mapping[str, Any]) -> Any:
    """The row of a user whose password was given and who may log in."""
    rules = cloud.settings.security_compliance
    passwords = authenticator.of(cloud).passwords
    with cloud.database.read() as tx:
        row = _find(tx, given)
        domain_id = _directory_of(tx, given, row)
        locked = row is not None and lockout.is_locked(rules, tx, row.id, row)
    if domain_id is not None:
        return _ask_directory(cloud, domain_id, given, row)
    fits = passwords.verify(given["password"], row.hash if row is not None else None)
    if row is None or locked:
        raise Unauthorized
    if not fits:
        if rules.lockout_failure_attempts:
            cloud.database.transact(lambda tx: lockout.record_failure(rules, tx, row.id))
        raise Unauthorized
    if not row.enabled or not row.domain_enabled:
        raise Unauthorized
    if lockout.is_inactive(rules, row.options, row.last_active_at):
        with cloud.database.read() as tx:
            if not lockout.is_needed(rules, tx, row.id):
                raise Unauthorized
    _record_success(cloud, row)
    return row


def _directory_of(tx: Tx, given: Mapping[str, Any], row: Any) -> str | None:
    """The domain whose directory is to be asked; None for users of the database."""
    if row is not None and row.local_id is None:
        return None
    domains = options.drivers(tx) if row is not None or "name" in given else {}
    if row is not None:
        return row.domain_id if row.domain_id in domains else None
    if not domains:
        return None
    found = tx.scalar(
        sa.select(_home.c.id).where(domain_is(_home, given.get("domain"), "user"), _home.c.enabled)
    )
    return found if found in domains else None


def _ask_directory(cloud: Cloud, domain_id: str, given: Mapping[str, Any], row: Any) -> Any:
    """The row of a user whom the directory of their domain knows by that password."""
    local_id = row.local_id if row is not None else None
    user_id = authenticator.of(cloud).directories.prove(
        cloud, domain_id, given.get("name"), local_id, given["password"]
    )
    if user_id is None:
        raise Unauthorized
    with cloud.database.read() as tx:
        found = _find(tx, {"id": user_id})
    if found is None or not found.enabled or not found.domain_enabled:
        raise Unauthorized
    return found


def _record_success(cloud: Cloud, row: Any) -> None:
    """Raises Unauthorized where others guessed wrong in the meantime so often that the user is
    locked out now: else as many guesses would be free as can be made at once."""
    rules = cloud.settings.security_compliance
    if not rules.lockout_failure_attempts and not rules.disable_user_account_days_inactive:
        return
    with cloud.database.read() as tx:
        now = _find(tx, {"id": row.id})
        if now is None or lockout.is_locked(rules, tx, row.id, now):
            raise Unauthorized
    if lockout.is_worth_recording(rules, now):
        cloud.database.transact(lambda tx: lockout.record_success(rules, tx, row.id))


def _upgrade(cloud: Cloud, user_id: str, old: str, new: str) -> None:
    def replace(tx: Tx) -> None:
        tx.update(password, password.c.user_id == user_id, password.c.hash == old, hash=new)

    cloud.database.transact(replace)


def _find(tx: Tx, given: Mapping[str, Any]) -> Any:
    if "id" in given:
        return tx.first(_USER.where(user.c.id == given["id"]))
    if "name" not in given:
        raise BadRequest("Expecting to find id or name in user.")
    return tx.first(
        _USER.where(user.c.name == given["name"], domain_is(_home, given.get("domain"), "user"))
    )
