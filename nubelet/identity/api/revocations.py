"""`/v3/OS-REVOKE/events`: which tokens were revoked before their end, and since when.

For services that validate tokens without asking. An event says that tokens are refused which have
all its attributes and were issued before `issued_before`. Events are not kept: they follow from
what is refused now, as long as a token could be concerned.

In OpenStack: keystone/api/os_revoke.py.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity.api.resource import all_links
from nubelet.identity.authenticator import EXPIRED_GRACE_SECONDS
from nubelet.identity.model import project, revoked_token, user
from nubelet.kernel import clock
from nubelet.kernel.clock import iso_micros_z
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.fields import read_time
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route


def list_events(ctx: Context, request: Request) -> object:
    """List revocation events, or those since a time."""
    text = request.first("since")
    since = read_time("since", text) if text else 0
    lifetime = ctx.cloud.settings.identity.token_lifetime_seconds + EXPIRED_GRACE_SECONDS
    oldest = max(since, clock.now() - lifetime * 1_000_000)
    with ctx.cloud.database.read() as tx:
        events = [*_tokens(tx, since), *_people(tx, oldest), *_places(tx, oldest)]
    events.sort(key=lambda event: str(event["issued_before"]))
    return {"events": events, "links": all_links(request)}


def list_revoked(ctx: Context, request: Request) -> Response:
    """The list of revoked PKI tokens went with those: 410, as upstream answers."""
    message = "PKI tokens are no more; see /v3/OS-REVOKE/events."
    body = {"error": {"code": 410, "title": "Gone", "message": message}}
    return Response(410, body)


def _tokens(tx: Tx, since: int) -> list[dict[str, Any]]:
    rows = tx.all(
        sa.select(revoked_token).where(
            revoked_token.c.expires_at > clock.now() - EXPIRED_GRACE_SECONDS * 1_000_000,
            sa.func.coalesce(revoked_token.c.revoked_at, since) >= since,
        )
    )
    return [
        {
            "audit_id": row.audit_id,
            "issued_before": iso_micros_z(row.revoked_at or row.expires_at),
            "revoked_at": iso_micros_z(row.revoked_at or row.expires_at),
        }
        for row in rows
    ]


def _people(tx: Tx, oldest: int) -> list[dict[str, Any]]:
    rows = tx.all(sa.select(user.c.id, user.c.valid_from).where(user.c.valid_from > oldest))
    return [_event("user_id", row) for row in rows]


def _places(tx: Tx, oldest: int) -> list[dict[str, Any]]:
    rows = tx.all(
        sa.select(project.c.id, project.c.is_domain, project.c.valid_from).where(
            project.c.valid_from > oldest
        )
    )
    return [_event("domain_id" if row.is_domain else "project_id", row) for row in rows]


def _event(name: str, row: Any) -> dict[str, Any]:
    moment = iso_micros_z(row.valid_from)
    return {name: row.id, "issued_before": moment, "revoked_at": moment}


ROUTES = (
    Route(
        method="GET",
        path="/OS-REVOKE/events",
        handler=list_events,
        rule="identity:list_revoke_events",
    ),
    Route(
        method="GET",
        path="/auth/tokens/OS-PKI/revoked",
        handler=list_revoked,
        rule="identity:revocation_list",
    ),
)
