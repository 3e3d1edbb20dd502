"""What identity does by itself: rotate the keys of secrets, read directories, disable who is away.

And what `nubelet doctor` asks it: rows that refer to what is gone, keys that others could read.
"""

from __future__ import annotations

import logging
from functools import partial

import sqlalchemy as sa

from nubelet.identity import (
    administrators,
    authenticator,
    catalog_file,
    changes,
    forgetting,
    lockout,
    sealing,
)
from nubelet.identity.authenticator import EXPIRED_GRACE_SECONDS
from nubelet.identity.directories import DirectoryUnavailable
from nubelet.identity.federation import reconcilers as federation
from nubelet.identity.keys import KeyRing
from nubelet.identity.model import (
    assignment,
    group,
    login,
    password,
    project,
    revision,
    role,
    user,
)
from nubelet.identity.password_rules import DAY
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Database, Tx
from nubelet.kernel.reconcile import Reconciler
from nubelet.settings import Settings

log = logging.getLogger(__name__)


def rotate_keys(cloud: Cloud) -> None:
    """Let the staged key take over when the present one is old enough."""
    keys = authenticator.of(cloud).keys
    if keys.primary_age_seconds() >= cloud.settings.identity.key_rotation_seconds:
        keys.rotate()


def rotate_credential_keys(cloud: Cloud) -> None:
    """Seal secrets again that are under an older key; let the staged key take over in time."""
    keeper = authenticator.of(cloud)
    for seal in (keeper.seal_of_secrets, keeper.seal_of_domains):
        age = seal.keys.primary_age_seconds()
        if age >= cloud.settings.identity.credential_key_rotation_seconds:
            seal.rotate(cloud.database)
        else:
            seal.renew(cloud.database)


def rotate_all_keys(settings: Settings, database: Database) -> dict[str, int]:
    """Let the next key take over for tokens, credentials and domains' secrets: folder -> number.

    Beside a running cloud, too: its processes know the key already. Interrupted, it is simply run
    again.
    """
    tokens = settings.state_dir / authenticator.TOKEN_KEYS
    lifetime = settings.identity.token_lifetime_seconds + EXPIRED_GRACE_SECONDS
    done = {tokens.name: KeyRing(tokens, keep_seconds=lifetime).rotate()}
    for name in sealing.SEALED:
        done[name] = sealing.Seal(settings.state_dir, name).rotate(database)
    return done


def disable_inactive(cloud: Cloud) -> None:
    """Disable users who have been away for too long, but never the last administrator."""
    rules = cloud.settings.security_compliance
    days = rules.disable_user_account_days_inactive
    if not days:
        return
    with cloud.database.read() as tx:
        candidates = tx.all(
            sa.select(user.c.id, user.c.options, login.c.last_active_at)
            .join(login, login.c.user_id == user.c.id)
            .where(user.c.enabled, login.c.last_active_at < clock.now() - days * DAY)
        )
    for row in candidates:
        if lockout.is_inactive(rules, row.options, row.last_active_at):
            cloud.database.transact(partial(_disable, row.id))


def _disable(user_id: str, tx: Tx) -> None:
    tx.update(user, user.c.id == user_id, enabled=False, valid_from=clock.now())
    if not administrators.exist(tx):
        tx.update(user, user.c.id == user_id, enabled=True)
        return
    changes.record(None, tx, "user.updated", user_id)


def read_directories(cloud: Cloud) -> None:
    """Mirror the directories of domains, so that who left is let in nowhere any more."""
    known = authenticator.of(cloud).directories
    for domain_id in known.domains(cloud):
        try:
            known.read(cloud, domain_id)
        except DirectoryUnavailable as error:
            log.warning("domain %s: %s", domain_id, error.message)


RECONCILERS = (
    *federation.RECONCILERS,
    Reconciler("identity-catalog-file", 30, catalog_file.refresh),
    Reconciler("identity-directories", 300, read_directories),
    Reconciler("identity-inactive-users", 600, disable_inactive),
    Reconciler("identity-key-rotation", 300, rotate_keys),
    Reconciler("identity-credential-keys", 3600, rotate_credential_keys),
    Reconciler("identity-forgetting", 600, forgetting.forget_ended),
)


def check(cloud: Cloud) -> list[str]:
    """What is wrong in the data of identity, one sentence each."""
    with cloud.database.read() as tx:
        found = [*_dangling_assignments(tx), *_orphans(tx), *federation.check(cloud)]
        if not administrators.exist(tx):
            found.append("Nobody who is enabled holds the role admin: nobody may mend anything.")
        if tx.first(sa.select(revision.c.value)) is None:
            found.append("Identity has no revision: revocations would not be noticed.")
        keeper = authenticator.of(cloud)
        found += [
            f"The secret of {identifier} ({table}) cannot be opened: its key is not among "
            f"{seal.name} any more."
            for seal in (keeper.seal_of_secrets, keeper.seal_of_domains)
            for table, identifier in seal.lost(tx)
        ]
    rings = {
        "token": keeper.keys,
        "credential": keeper.seal_of_secrets.keys,
        "domain": keeper.seal_of_domains.keys,
    }
    found += _unreachable_directories(cloud)
    return found + [
        f"The {kind} key {path} can be read by others: its mode must be 0600."
        for kind, ring in rings.items()
        for path in ring.exposed()
    ]


def _unreachable_directories(cloud: Cloud) -> list[str]:
    known, found = authenticator.of(cloud).directories, []
    for domain_id in known.domains(cloud):
        try:
            known.probe(cloud, domain_id)
        except DirectoryUnavailable as error:
            found.append(f"Users of the domain {domain_id} cannot log in: {error.message}")
    return found


def _dangling_assignments(tx: Tx) -> list[str]:
    c = assignment.c
    domains = sa.select(project.c.id).where(project.c.is_domain)
    gone = sa.or_(
        sa.and_(c.actor_type == "user", c.actor_id.not_in(sa.select(user.c.id))),
        sa.and_(c.actor_type == "group", c.actor_id.not_in(sa.select(group.c.id))),
        sa.and_(c.target_type == "project", c.target_id.not_in(sa.select(project.c.id))),
        sa.and_(c.target_type == "domain", c.target_id.not_in(domains)),
    )
    return [
        f"The {row.actor_type} {row.actor_id} holds the role {row.role_id} on the "
        f"{row.target_type} {row.target_id}, and one of them does not exist."
        for row in tx.all(sa.select(assignment).where(gone))
    ]


def _orphans(tx: Tx) -> list[str]:
    domains = sa.select(project.c.id).where(project.c.is_domain)
    placeless = sa.select(project.c.id).where(
        ~project.c.is_domain, sa.or_(project.c.parent_id.is_(None), project.c.domain_id.is_(None))
    )
    plain = sa.select(password.c.user_id).where(~password.c.hash.startswith("$"))
    return [
        *(
            f"The {noun} {row.id} is in the domain {row.domain_id}, which is not a domain."
            for noun, table in (("user", user), ("group", group), ("role", role))
            for row in tx.all(
                sa.select(table.c.id, table.c.domain_id).where(
                    table.c.domain_id.is_not(None), table.c.domain_id.not_in(domains)
                )
            )
        ),
        *(
            f"The project {row.id} has no place in the tree of a domain."
            for row in tx.all(placeless)
        ),
        *(
            f"The password of the user {row.user_id} is not stored as a hash."
            for row in tx.all(plain)
        ),
    ]
