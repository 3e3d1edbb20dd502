"""The Networking API for other services: what its nouns do, in the caller's transaction.

    network.create_resource(ctx, tx, "security_groups", {"name": "web"})

Things are checked, authorized and shown as they are over HTTP. For services that offer things of
this one under names of their own (compute's old proxies). `ctx` is the caller in this service:
`ctx.within("network")`.

Read next: `noun.py`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.network.api import floating_ips, networks, security_groups
from nubelet.network.api.noun import Noun, Values, View, authorize_list

_NOUNS: dict[str, Noun] = {
    "networks": networks.NOUN,
    "floatingips": floating_ips.NOUN,
    "security_groups": security_groups.NOUN,
    "security_group_rules": security_groups.Rules(),
}


def list_resources(ctx: Context, tx: Tx, plural: str, **equal: Any) -> list[View]:
    """What the caller may see, oldest first; `equal`: only with this value, or one of these, in a
    column."""
    noun = _NOUNS[plural]
    authorize_list(ctx, f"get_{noun.rule}")
    statement = sa.select(*noun.selection())
    condition = noun.visible(ctx)
    if condition is not None:
        statement = statement.where(condition)
    for name, value in equal.items():
        column = noun.table.c[name]
        statement = statement.where(
            column == value if isinstance(value, str | bool) else column.in_([*value])
        )
    rows = tx.all(statement.order_by(noun.table.c.created_at, noun.table.c.id))
    return noun.present(ctx, tx, noun.allowed(ctx, tx, rows))


def show_resource(ctx: Context, tx: Tx, plural: str, identifier: str) -> View:
    """One thing; NotFound when the caller may not see it."""
    noun = _NOUNS[plural]
    noun.find(ctx, tx, identifier)
    return noun.view(ctx, tx, identifier)


def create_resource(ctx: Context, tx: Tx, plural: str, given: Values) -> View:
    """A new thing, of the caller's project unless `given` names another."""
    noun = _NOUNS[plural]
    values, given = noun.new_values(ctx, given)
    noun.authorize_new(ctx, tx, values, given)
    return noun.view(ctx, tx, noun.create(ctx, tx, values))


def update_resource(ctx: Context, tx: Tx, plural: str, identifier: str, given: Values) -> View:
    """Change attributes of a thing; NotFound when the caller may not see it."""
    noun = _NOUNS[plural]
    row, target = noun.find(ctx, tx, identifier, lock=True)
    changes = noun.checked("update", given)
    ctx.authorize(f"update_{noun.rule}", {**target, **changes})
    noun.authorize_parts(ctx, "update", changes, {**target, **changes})
    noun.update(ctx, tx, row, changes)
    return noun.view(ctx, tx, identifier)


def delete_resource(ctx: Context, tx: Tx, plural: str, identifier: str) -> None:
    """Remove a thing; NotFound when the caller may not see it."""
    noun = _NOUNS[plural]
    row, target = noun.find(ctx, tx, identifier, lock=True)
    ctx.authorize(f"delete_{noun.rule}", target)
    noun.delete(ctx, tx, row)
