"""`/v3/users/{user_id}/credentials/OS-EC2`, `/v3/ec2tokens` and `/v3/s3tokens`.

In OpenStack: keystone/api/users.py, keystone/api/ec2tokens.py, keystone/api/s3tokens.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from nubelet.identity import authenticator, projects, users
from nubelet.identity.api.resource import all_links, require
from nubelet.identity.binding import require_user
from nubelet.identity.credentials import credentials, ec2, signatures
from nubelet.identity.credentials.model import credential
from nubelet.identity.validation import Subject
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound, Unauthorized
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Handler, Route
from nubelet.kernel.ids import new_hex

# How old the time in a signed EC2 request may be (and how far ahead: clocks differ).
_SIGNED_SECONDS = 15 * 60
_CREATE = {
    "type": "object",
    "required": ["tenant_id"],
    "properties": {"tenant_id": {"type": "string", "minLength": 1, "maxLength": 64}},
}
_SIGNED = {"type": "object", "minProperties": 1}


def list_all(ctx: Context, request: Request) -> object:
    """List the EC2 credentials of a user."""
    user_id = request.params["user_id"]
    ctx.authorize(target={"target.credential.user_id": user_id})
    subject = authenticator.subject_of(ctx, request)
    with ctx.cloud.database.read() as tx:
        require(users.find(tx, user_id), "user", user_id)
        rows = tx.all(
            sa.select(credential)
            .where(
                credential.c.user_id == user_id,
                credential.c.type == credentials.EC2,
                credentials.visible_to(subject),
            )
            .order_by(credential.c.created_at, credential.c.id)
        )
    return {"credentials": [_view(ctx, row) for row in rows], "links": all_links(request)}


def create(ctx: Context, request: Request) -> object:
    """Create an EC2 credential of a user for a project."""
    user_id, project_id = request.params["user_id"], request.body["tenant_id"]
    ctx.authorize(target={"target.credential.user_id": user_id})
    subject = authenticator.subject_of(ctx, request)
    require_user(subject.token, subject.binding, "managing credentials", by_trust=True)
    blob = {"access": new_hex(), "secret": new_hex(), "trust_id": None}
    values = {
        "user_id": user_id,
        "project_id": project_id,
        "type": credentials.EC2,
        "blob": msgspec.json.encode(blob).decode(),
    }
    seal = authenticator.of(ctx.cloud).seal_of_secrets
    with ctx.cloud.database.write() as tx:
        require(users.find(tx, user_id), "user", user_id)
        require(projects.find(tx, project_id), "project", project_id)
        row = credentials.create(ctx, tx, seal, values, {}, subject.token.origin)
        return {"credential": _view(ctx, row)}


def show(ctx: Context, request: Request) -> object:
    """Show an EC2 credential by its access key."""
    subject = authenticator.subject_of(ctx, request)
    with ctx.cloud.database.read() as tx:
        return {"credential": _view(ctx, _find(ctx, tx, request, subject))}


def delete(ctx: Context, request: Request) -> None:
    """Delete an EC2 credential by its access key."""
    subject = authenticator.subject_of(ctx, request)
    with ctx.cloud.database.write() as tx:
        row = _find(ctx, tx, request, subject)
        require_user(subject.token, subject.binding, "managing credentials", by_trust=True)
        credentials.delete(ctx, tx, row)


def ec2_token(ctx: Context, request: Request) -> object:
    """A token for a request that is signed with an EC2 key."""
    given = _signed(request)
    _check_time(given)
    text = _log_in(ctx, given, lambda secret: signatures.fits_ec2(secret, given))
    return _answer(ctx, text, {"X-Subject-Token": text})


def s3_token(ctx: Context, request: Request) -> object:
    """What a token says for a request that is signed with an S3 key."""
    given = _signed(request)
    token, signature = str(given.get("token", "")), str(given.get("signature", ""))
    text = _log_in(ctx, given, lambda secret: signatures.fits_s3(secret, token, signature))
    return _answer(ctx, text, {})


# --- Parts ----------------------------------------------------------------------------------------


def _find(ctx: Context, tx: Tx, request: Request, subject: Subject) -> Any:
    """The credential of the access key in the path. One that is not there is 404 to everybody, as
    upstream tells; to one of another user than the path names no user's own right leads."""
    user_id, access = request.params["user_id"], request.params["credential_id"]
    row = credentials.find_ec2(tx, access, credentials.visible_to(subject))
    if row is None:
        raise NotFound("EC2 credential", access)
    is_theirs = row.user_id == user_id
    ctx.authorize(target={"target.credential.user_id": user_id} if is_theirs else {})
    return row


def _view(ctx: Context, row: Any) -> dict[str, Any]:
    text = authenticator.of(ctx.cloud).seal_of_secrets.open(row.blob)
    blob: dict[str, Any] = credentials.read_ec2(text) if text else {}
    path = f"/identity/v3/users/{row.user_id}/credentials/OS-EC2/{blob.get('access', row.id)}"
    return {
        "user_id": row.user_id,
        "tenant_id": row.project_id,
        "access": blob.get("access"),
        "secret": blob.get("secret"),
        "trust_id": row.trust_id,
        "links": {"self": ctx.base_url + path},
    }


def _signed(request: Request) -> Mapping[str, Any]:
    """The description of the signed request, under one of the names that clients use."""
    body = request.body
    for name in ("credentials", "credential", "ec2Credentials"):
        if isinstance(body.get(name), dict) and body[name]:
            given: Mapping[str, Any] = body[name]
            for part in ("params", "headers"):
                if not isinstance(given.get(part) or {}, dict):
                    raise BadRequest(f"Invalid input for field/attribute {part}: not an object.")
            return given
    raise Unauthorized


def _check_time(given: Mapping[str, Any]) -> None:
    """Refuse a request that was signed long ago. One without a time has none to check."""
    params, headers = given.get("params") or {}, given.get("headers") or {}
    text = params.get("Timestamp") or headers.get("X-Amz-Date") or params.get("X-Amz-Date")
    if not text:
        return
    try:
        moment = clock.parse_iso(str(text))
    except (ValueError, OverflowError):
        raise Unauthorized from None
    if abs(clock.now() - moment) > _SIGNED_SECONDS * 1_000_000:
        raise Unauthorized


def _log_in(ctx: Context, given: Mapping[str, Any], is_signed: Callable[[str], bool]) -> str:
    access = given.get("access")
    if not isinstance(access, str) or not given.get("signature"):
        raise Unauthorized
    return ec2.log_in(ctx.cloud, access, is_signed)


def _answer(ctx: Context, text: str, headers: dict[str, str]) -> Response:
    found = authenticator.of(ctx.cloud)
    return Response(200, found.body(found.look_at(text)), headers, "application/json")


def _route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
    return Route(
        method=method,
        path=path,
        handler=handler,
        rule=f"identity:{rule}",
        **more,
    )


_ALL = "/users/{user_id}/credentials/OS-EC2"
_ONE = f"{_ALL}/{{credential_id}}"
_OWN = {"rule_needs_target": True}
ROUTES = (
    _route("GET", _ALL, list_all, "ec2_list_credentials", **_OWN),
    _route("POST", _ALL, create, "ec2_create_credential", body=_CREATE, status=201, **_OWN),
    _route("GET", _ONE, show, "ec2_get_credential", **_OWN),
    _route("DELETE", _ONE, delete, "ec2_delete_credential", status=204, **_OWN),
    _route("POST", "/ec2tokens", ec2_token, "ec2tokens_validate", body=_SIGNED),
    _route("POST", "/s3tokens", s3_token, "s3tokens_validate", body=_SIGNED),
)
