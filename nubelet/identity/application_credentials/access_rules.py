"""Access rules: which requests an application credential serves, and the rows they are kept in.

A rule names a service by its type, a method and a path. In the path `*` and `{name}` stand for one
segment (or a part of one), `**` for anything. The path is that of the request, with or without the
mount of the service: `/v2.1/servers` and `/compute/v2.1/servers` mean the same.

In OpenStack: keystonemiddleware/auth_token/__init__.py (matching),
keystone/application_credential/core.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.identity.application_credentials.model import (
    access_rule,
    application_credential_rule,
)
from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Forbidden, NotFound
from nubelet.kernel.ids import new_hex

_TOKEN = re.compile(r"\{[^}]*\}|\*\*|\*|[^*{]+|\{")
_SEGMENT, _ANYTHING = object(), object()


class Allowed(NamedTuple):
    """A rule made ready for matching."""

    service: str
    method: str
    parts: tuple[Any, ...]


def allowed(service: str, method: str, path: str) -> Allowed:
    """A rule made ready for matching."""
    parts: list[Any] = []
    for word in _TOKEN.findall(path):
        if word == "**":
            parts.append(_ANYTHING)
        elif word == "*" or (word[0] == "{" and word[-1] == "}"):
            parts.append(_SEGMENT)
        else:
            parts.extend(word)
    return Allowed(service, method, tuple(parts))


def permits(rules: Iterable[Allowed], method: str, service: str, paths: Sequence[str]) -> bool:
    """Does one of the rules allow the request, under one of the paths that name it?"""
    return any(
        rule.method == method and rule.service == service and _matches(rule.parts, path)
        for rule in rules
        for path in paths
    )


def _matches(parts: Sequence[Any], path: str) -> bool:
    """All ways to match are followed at once: no pattern takes more than its length times that of
    the path, whoever wrote it."""
    states = _skip(parts, {(0, False)})
    for character in path:
        following: set[tuple[int, bool]] = set()
        for at, _ in states:
            if at == len(parts):
                continue
            part = parts[at]
            if part is _ANYTHING:
                following.add((at, True))
            elif part is _SEGMENT:
                if character != "/":
                    following.add((at, True))
            elif part == character:
                following.add((at + 1, False))
        states = _skip(parts, following)
        if not states:
            return False
    return (len(parts), False) in states


def _skip(parts: Sequence[Any], states: set[tuple[int, bool]]) -> set[tuple[int, bool]]:
    """With the places behind wildcards that may end here: `**` may be empty, the others have
    taken at least one character."""
    found, left = set(states), list(states)
    while left:
        at, begun = left.pop()
        if at < len(parts) and (parts[at] is _ANYTHING or (parts[at] is _SEGMENT and begun)):
            behind = (at + 1, False)
            if behind not in found:
                found.add(behind)
                left.append(behind)
    return found


# --- Rows ---------------------------------------------------------------------------------------


def find(tx: Tx, user_id: str, identifier: str) -> Any:
    """The row of a user's rule; raises NotFound."""
    row = tx.first(
        sa.select(access_rule).where(
            access_rule.c.id == identifier, access_rule.c.user_id == user_id
        )
    )
    if row is None:
        raise NotFound("access rule", identifier)
    return row


def of_credentials(tx: Tx, identifiers: Iterable[str]) -> dict[str, list[Any]]:
    """The rules of application credentials, by the credential's id."""
    link = application_credential_rule.c
    found: dict[str, list[Any]] = {}
    for row in tx.all(
        sa.select(link.application_credential_id, access_rule)
        .join(access_rule, access_rule.c.id == link.access_rule_id)
        .where(link.application_credential_id.in_(list(identifiers)))
        .order_by(access_rule.c.created_at, access_rule.c.id)
    ):
        found.setdefault(row.application_credential_id, []).append(row)
    return found


def ensure(tx: Tx, user_id: str, given: Mapping[str, Any]) -> str:
    """The id of a user's rule as given, by id or by service, method and path; equal rules are one
    row."""
    if "id" in given:
        return str(find(tx, user_id, given["id"]).id)
    same = {name: given[name] for name in ("service", "method", "path")}
    found = tx.scalar(
        sa.select(access_rule.c.id).where(
            access_rule.c.user_id == user_id,
            *(access_rule.c[name] == value for name, value in same.items()),
        )
    )
    if found is None:
        found = new_hex()
        tx.insert(access_rule, id=found, user_id=user_id, created_at=clock.now(), **same)
    return str(found)


def delete(tx: Tx, row: Any) -> None:
    """Delete a rule; raises Forbidden while an application credential has it."""
    link = application_credential_rule.c
    user = tx.scalar(
        sa.select(link.application_credential_id).where(link.access_rule_id == row.id).limit(1)
    )
    if user is not None:
        raise Forbidden(f"The access rule {row.id} is in use by the application credential {user}.")
    tx.delete(access_rule, access_rule.c.id == row.id)
