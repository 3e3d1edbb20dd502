"""What changes in identity have in common: an event, a new revision, options that are merged.

In OpenStack: keystone/notifications.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nubelet.identity import revision
from nubelet.kernel import events
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx

# No token is worth more or less because of these.
_HARMLESS = (
    "user.created",
    "group.created",
    "project.created",
    "domain.created",
    "role.created",
    "application_credential.created",
    "OS-TRUST:trust.created",
)
_HARMLESS_NOUNS = ("limit", "registered_limit", "credential", "access_rule")


def record(ctx: Context | None, tx: Tx, kind: str, identifier: str) -> None:
    """Say that something changed: `record(ctx, tx, "user.deleted", user_id)`.

    Services hear of it as an event; processes look at their tokens again.
    """
    noun = kind.partition(".")[0]
    events.emit(
        tx,
        kind,
        project_id=identifier if noun == "project" else None,
        subject_type=noun,
        subject_id=identifier,
        ctx=ctx,
    )
    if kind not in _HARMLESS and noun not in _HARMLESS_NOUNS:
        revision.bump(tx)


def merge_options(present: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options of a thing after a change; null takes one off."""
    merged = {**present, **(given or {})}
    return {name: value for name, value in merged.items() if value is not None}
