"""How secrets are kept that must be read again: sealed with the keys of a folder of their own, and
sealed again when those are rotated.

The keys of tokens go when no token of theirs can be valid; a credential lives as long as its user,
the password of a directory as long as its domain. So before a new key takes over, everything is
brought under the present one, and the keys before that are of no use any more. Whatever is
interrupted: each secret is under a key that is there, and the next rotation goes on from there.

In OpenStack: keystone/credential/providers/fernet, `keystone-manage credential_rotate`.
"""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.identity.credentials.model import credential
from nubelet.identity.domain_config.model import domain_option
from nubelet.identity.keys import KeyRing
from nubelet.identity.oauth1.model import access_token, consumer, request_token
from nubelet.kernel.database import Database, Tx
from nubelet.kernel.errors import Unauthorized

_BATCH = 200
# A process looks for new keys every few seconds: it may seal with a retired one that long.
_KEEP_SECONDS = 86_400


class Sealed(NamedTuple):
    """A column of sealed texts, in the rows that `which` chooses (all, unless given)."""

    column: sa.Column[Any]
    which: sa.ColumnElement[bool] = sa.true()

    @property
    def table(self) -> sa.Table:
        return self.column.table

    @property
    def key(self) -> list[sa.Column[Any]]:
        return list(self.table.primary_key.columns)


# Of users and their programs; of domains, what opens their directories.
CREDENTIAL_KEYS, DOMAIN_KEYS = "credential-keys", "domain-config-keys"
SEALED = {
    CREDENTIAL_KEYS: (
        Sealed(credential.c.blob),
        Sealed(consumer.c.secret),
        Sealed(request_token.c.secret),
        Sealed(access_token.c.secret),
    ),
    DOMAIN_KEYS: (Sealed(domain_option.c.value, domain_option.c.secret),),
}


class Seal:
    """Seals and opens the secrets of one kind: `name` of the folder of its keys (SEALED)."""

    def __init__(self, state_dir: Path, name: str) -> None:
        self.name = name
        self.keys = KeyRing(state_dir / name, keep_seconds=_KEEP_SECONDS)

    @cached_property
    def decoy(self) -> str:
        """Something to open where there is nothing."""
        return self.close("A" * 32)

    def close(self, text: str) -> str:
        """What is stored of a secret."""
        return self.keys.seal(text.encode())

    def open(self, stored: str) -> str | None:
        """The secret; None where its key is lost (the doctor tells)."""
        try:
            return self.keys.open(stored).decode()
        except ValueError:
            return None

    def require(self, stored: str) -> str:
        """The secret that somebody proves to have; raises Unauthorized where its key is lost."""
        secret = self.open(stored)
        if secret is None:
            raise Unauthorized
        return secret

    def lost(self, tx: Tx) -> list[tuple[str, str]]:
        """(table, key) of all secrets whose keys are not there: they are of no use any more."""
        found: list[tuple[str, str]] = []
        for each in SEALED[self.name]:
            rows = tx.all(
                sa.select(*each.key, each.column.label("sealed"))
                .where(each.which)
                .order_by(*each.key)
            )
            found += [
                (each.table.name, " ".join(row[:-1]))
                for row in rows
                if self.open(row.sealed) is None
            ]
        return found

    def rotate(self, database: Database) -> int:
        """Let the staged key take over, once everything is sealed with the present one; the number
        of the key that seals from now on."""
        self.renew(database)
        number = self.keys.rotate()
        self.renew(database)
        return number

    def renew(self, database: Database) -> int:
        """Seal what is sealed with older keys with the present one; returns how much was."""
        self.keys.refresh()
        return sum(self._renew(database, each) for each in SEALED[self.name])

    def _renew(self, database: Database, sealed: Sealed) -> int:
        renewed = 0
        last: tuple[Any, ...] | None = None
        while True:
            with database.read() as tx:
                rows = tx.all(_page(sealed, last))
            if not rows:
                return renewed
            last = tuple(rows[-1][:-1])
            new = [
                (row, self.close(text))
                for row in rows
                if not self.keys.is_present(row.sealed)
                and (text := self.open(row.sealed)) is not None
            ]
            if new:
                database.transact(partial(_replace, sealed, new))
                renewed += len(new)


def _page(sealed: Sealed, last: tuple[Any, ...] | None) -> sa.Select[Any]:
    """The next rows after the key `last`: key and sealed text."""
    found = sa.select(*sealed.key, sealed.column.label("sealed")).where(sealed.which)
    if last is not None:
        found = found.where(sa.tuple_(*sealed.key) > sa.tuple_(*map(sa.literal, last)))
    return found.order_by(*sealed.key).limit(_BATCH)


def _replace(sealed: Sealed, new: list[tuple[Any, str]], tx: Tx) -> None:
    """Put texts in the place of those that were read, unless they were changed meanwhile."""
    for row, text in new:
        same = (column == value for column, value in zip(sealed.key, row, strict=False))
        tx.update(sealed.table, *same, sealed.column == row.sealed, **{sealed.column.name: text})
