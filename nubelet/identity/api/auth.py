"""`/v3/auth`: log in, validate and revoke tokens; what the caller may scope a token to.

In OpenStack: keystone/api/auth.py.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity import assignments, authentication, authenticator, receipts, revision
from nubelet.identity.api.domains import DOMAINS
from nubelet.identity.api.projects import PROJECTS, with_tags
from nubelet.identity.authenticator import EXPIRED_GRACE_SECONDS, Known
from nubelet.identity.methods import Attempt
from nubelet.identity.model import project, revoked_token
from nubelet.identity.receipts import MissingFactors
from nubelet.identity.scopes import SCOPE_SCHEMA
from nubelet.identity.tokens import SYSTEM
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Forbidden, NotFound, Unauthorized
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route

# The part of each method is checked against the method's own schema.
_LOG_IN: dict[str, Any] = {
    "type": "object",
    "required": ["auth"],
    "properties": {
        "auth": {
            "type": "object",
            "required": ["identity"],
            "properties": {
                "identity": {
                    "type": "object",
                    "required": ["methods"],
                    "properties": {"methods": {"type": "array", "items": {"type": "string"}}},
                },
                "scope": SCOPE_SCHEMA,
            },
        }
    },
}


def create(ctx: Context, request: Request) -> object:
    """Log in: answer a token."""
    attempt = Attempt(
        cloud=ctx.cloud,
        headers=request.headers,
        url=request.url,
        query=request.query,
        remote_address=ctx.remote_address,
    )
    try:
        text = authentication.log_in(attempt, request.body["auth"])
    except MissingFactors as missing:
        return _receipt(ctx, missing)
    return _answer(ctx, request, text, 201)


def show(ctx: Context, request: Request) -> object:
    """Validate a token and show what it says."""
    text, _ = _subject_token(ctx, request)
    return _answer(ctx, request, text, 200)


def check(ctx: Context, request: Request) -> object:
    """Validate a token without showing it."""
    text, _ = _subject_token(ctx, request)
    return Response(200, headers=_headers(text))


def revoke(ctx: Context, request: Request) -> object:
    """Revoke a token: it is refused from the next request on."""
    _, known = _subject_token(ctx, request)
    assert known.subject is not None
    token, now = known.subject.token, clock.now()
    with ctx.cloud.database.write() as tx:
        # Rows of tokens that expired, and whose time of grace is over, are of no use.
        tx.delete(
            revoked_token, revoked_token.c.expires_at < now - EXPIRED_GRACE_SECONDS * 1_000_000
        )
        if (
            tx.first(
                sa.select(revoked_token.c.audit_id).where(
                    revoked_token.c.audit_id == token.audit_ids[0]
                )
            )
            is None
        ):
            tx.insert(
                revoked_token,
                audit_id=token.audit_ids[0],
                expires_at=token.expires_at,
                revoked_at=now,
            )
        revision.bump(tx)
    return Response(204)


def show_catalog(ctx: Context, request: Request) -> object:
    """The catalog of the caller's token."""
    known = _own_token(ctx, request)
    assert known.subject is not None
    if known.subject.token.scope.kind != "project":
        raise Forbidden("A project-scoped token is required to produce a service catalog.")
    services = authenticator.of(ctx.cloud).catalog(known.subject)
    return {"catalog": services, "links": {"self": request.url}}


def list_projects(ctx: Context, request: Request) -> object:
    """The projects that the caller may scope a token to."""
    groups = _groups(ctx, request)  # reads by itself: before the transaction
    with ctx.cloud.database.read() as tx:
        rows = _usable(tx, assignments.projects_of(tx, ctx.user_id, groups))
        view = with_tags(tx, rows, PROJECTS.view(ctx))
    return {"projects": [view(row) for row in rows], "links": _links(request)}


def list_domains(ctx: Context, request: Request) -> object:
    """The domains that the caller may scope a token to."""
    groups = _groups(ctx, request)  # reads by itself: before the transaction
    with ctx.cloud.database.read() as tx:
        rows = _usable(tx, assignments.domains_of(tx, ctx.user_id, groups))
        view = with_tags(tx, rows, DOMAINS.view(ctx))
    return {"domains": [view(row) for row in rows], "links": _links(request)}


def show_system(ctx: Context, request: Request) -> object:
    """Whether the caller may scope a token to the system."""
    groups = _groups(ctx, request)  # reads by itself: before the transaction
    with ctx.cloud.database.read() as tx:
        allowed = bool(assignments.roles_in(tx, ctx.user_id, SYSTEM, groups))
    return {"system": [{"all": True}] if allowed else [], "links": {"self": request.url}}


def _receipt(ctx: Context, missing: MissingFactors) -> Response:
    with ctx.cloud.database.read() as tx:
        body = receipts.body(tx, missing)
    text = receipts.seal(authenticator.of(ctx.cloud).keys, missing.receipt)
    return Response(401, body, {receipts.HEADER: text, "Vary": "X-Auth-Token"})


# --- Parts --------------------------------------------------------------------------------------


def _subject_token(ctx: Context, request: Request) -> tuple[str, Known]:
    """The token in X-Subject-Token, if it is valid and the caller may ask about it.

    404 for an invalid one comes before the policy: whoever has its text knows it exists, and
    services must be able to tell a revoked token from a refused question.
    """
    text = request.headers.get("x-subject-token", "")
    if not text:
        raise BadRequest("The header X-Subject-Token is required.")
    lenient = request.flag("allow_expired") and ctx.allows("service_or_admin")
    grace = EXPIRED_GRACE_SECONDS if lenient else 0
    try:
        known = authenticator.of(ctx.cloud).look_at(text)
    except Unauthorized:
        raise NotFound(message="The token could not be found.") from None
    if known.subject is None or known.expires_at + grace * 1_000_000 <= clock.now():
        raise NotFound(message="The token could not be found.")
    if known.access_rules is not None and not _enforces_access_rules(request):
        raise NotFound(message="The token could not be found.")
    ctx.authorize(
        target={
            "target.token.user_id": known.subject.user_id,
            "target.token.user.domain.id": known.subject.user_domain_id,
        }
    )
    return text, known


def _enforces_access_rules(request: Request) -> bool:
    """Does whoever validates a token say that it heeds the access rules in it? To others such a
    token must look like none."""
    try:
        return float(request.headers.get("openstack-identity-access-rules", "0")) >= 1.0
    except ValueError:
        return False


def _own_token(ctx: Context, request: Request) -> Known:
    return authenticator.of(ctx.cloud).look_at(request.headers["x-auth-token"])


def _groups(ctx: Context, request: Request) -> tuple[str, ...]:
    """The groups that a federated login put the caller in."""
    known = _own_token(ctx, request)
    return known.subject.token.origin.group_ids if known.subject else ()


def _answer(ctx: Context, request: Request, text: str, status: int) -> Response:
    found = authenticator.of(ctx.cloud)
    body = found.body(found.look_at(text), with_catalog="nocatalog" not in request.query)
    return Response(status, body, _headers(text), "application/json")


def _headers(text: str) -> dict[str, str]:
    return {"X-Subject-Token": text, "Vary": "X-Auth-Token"}


def _usable(tx: Tx, condition: sa.ColumnElement[bool]) -> Any:
    home = project.alias("home")
    return tx.all(
        sa.select(project)
        .outerjoin(home, home.c.id == project.c.domain_id)
        .where(condition, project.c.enabled, sa.func.coalesce(home.c.enabled, True))
        .order_by(project.c.name, project.c.id)
    )


def _links(request: Request) -> dict[str, str | None]:
    return {"self": request.url, "previous": None, "next": None}


ROUTES = (
    Route(
        method="POST",
        path="/auth/tokens",
        handler=create,
        open=True,
        slow=True,
        body=_LOG_IN,
        status=201,
    ),
    Route(
        method="GET",
        path="/auth/tokens",
        handler=show,
        rule="identity:validate_token",
        rule_needs_target=True,
    ),
    Route(
        method="HEAD",
        path="/auth/tokens",
        handler=check,
        rule="identity:check_token",
        rule_needs_target=True,
    ),
    Route(
        method="DELETE",
        path="/auth/tokens",
        handler=revoke,
        rule="identity:revoke_token",
        rule_needs_target=True,
        status=204,
    ),
    Route(
        method="GET", path="/auth/catalog", handler=show_catalog, rule="identity:get_auth_catalog"
    ),
    Route(
        method="GET",
        path="/auth/projects",
        handler=list_projects,
        rule="identity:get_auth_projects",
    ),
    Route(
        method="GET", path="/auth/domains", handler=list_domains, rule="identity:get_auth_domains"
    ),
    Route(method="GET", path="/auth/system", handler=show_system, rule="identity:get_auth_system"),
)
