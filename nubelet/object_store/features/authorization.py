"""Who may do what: owners of an account everything, others what access lists grant.

The account `AUTH_<project id>` belongs to the project: its members (OPERATORS) own it, its
readers may read. ResellerAdmin owns every account, and alone makes and deletes accounts.
`SERVICE_<project id>` needs a service's token beside the member's. Everybody else needs an entry
in a container's access lists, or in the account's (`X-Account-Access-Control`).

In OpenStack: swift/common/middleware/keystoneauth.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from urllib.parse import quote

from nubelet import identity
from nubelet.kernel.context import Credentials
from nubelet.kernel.errors import ApiError, BadRequest, Forbidden, Unauthorized
from nubelet.kernel.http.messages import URL_SAFE, Response
from nubelet.object_store.call import Authority, Call, Proceed
from nubelet.object_store.features import acls, paths, public_access
from nubelet.object_store.storage import ObjectPath

# Asks access rules about a request ("METHOD service-type path"); raises Unauthorized where none
# allows it.
Allow = Callable[[str], None]
PREFIX, SERVICE_PREFIX = "AUTH_", "SERVICE_"
OPERATORS = frozenset(("admin", "member"))
READER, RESELLER, SERVICE = "reader", "ResellerAdmin", "service"
_ROOT = "/object-store/v1"  # below which access rules name what there is
_LEVELS = ("admin", "read-write", "read-only")


def authorization(call: Call, proceed: Proceed) -> Response:
    """Decide with what the token says, unless a feature before has decided."""
    if call.authority is None and not call.notes.get("decided"):
        call.authority = _authority(call)
        call.is_owner = is_owner(call)
    return proceed(call)


def _authority(call: Call) -> Authority:
    """Who decides about a request and what it leads to: for the bearer of an application credential
    with access rules they are asked, too."""
    credentials = call.ctx.credentials
    if credentials.application_credential_id is None or SERVICE in credentials.service_roles:
        return decide
    try:
        allow = identity.rules_of_token(call.ctx.cloud, call.request.headers["x-auth-token"])
    except Unauthorized:
        raise denied(call, "The token is not good any more.") from None
    if allow is None:
        return decide
    asked = call.path if paths.is_as_sent(call) else None
    return partial(_decide_by_rules, allow, call.method, asked)


def _decide_by_rules(
    allow: Allow, method: str, path: ObjectPath | None, call: Call, acl: str
) -> None:
    """The request itself (`method` and `path`; None: it was asked for as something else) was
    allowed by a rule. So must be what it leads to: the other end of a copy, segments, targets of
    links, what is deleted or extracted in bulk."""
    decide(call, acl)
    if call.path == path and (call.is_read or call.method == method):
        return
    names = "/".join(each for each in call.path if each)
    require_rule(allow, call.method, (quote(f"{_ROOT}/{names}", safe=URL_SAFE),))


def require_rule(allow: Allow, method: str, named: Sequence[str]) -> None:
    """Raise Forbidden unless an access rule allows the method at one of the paths, which name the
    same."""
    # Whoever may get it may know about it.
    for each in ("HEAD", "GET") if method == "HEAD" else (method,):
        for path in named:
            try:
                allow(f"{each} object-store {path}")
            except Unauthorized:
                continue
            return
    raise Forbidden(
        "Access was denied to this resource. No access rule of the application credential allows "
        f"{method} {named[0]}."
    )


def is_owner(call: Call) -> bool:
    """Does the caller own the call's account?"""
    credentials = call.ctx.credentials
    if RESELLER in credentials.roles:
        return True
    return is_member(credentials, call.account) and not OPERATORS.isdisjoint(credentials.roles)


def is_member(credentials: Credentials, account: str) -> bool:
    """Is it the account of the caller's project?"""
    project = credentials.project_id
    if not project:
        return False
    if account == PREFIX + project:
        return True
    return account == SERVICE_PREFIX + project and SERVICE in credentials.service_roles


def decide(call: Call, acl: str) -> None:
    """The authority of calls with a token or none."""
    credentials = call.ctx.credentials
    if RESELLER in credentials.roles:
        call.is_owner = True
        return
    if not call.container and call.method in ("PUT", "DELETE"):
        raise denied(call, f"Only the role {RESELLER} makes and deletes accounts.")
    if is_member(credentials, call.account):
        if not OPERATORS.isdisjoint(credentials.roles):
            call.is_owner = True
            return
        if READER in credentials.roles and call.is_read:
            return
    else:
        call.is_owner = False
    if call.is_read and not (call.object and call.method == "GET") and call.ctx.allows("monitor"):
        return  # monitors see what there is, not what is in it
    parsed = acls.parse(public_access.in_force(call, acl))
    if _allowed_from(call, parsed) or _granted(credentials, parsed.groups):
        return
    if credentials.user_id and _granted_by_account(call):
        return
    raise denied(call, "Neither a role nor an access list allows this.")


def _allowed_from(call: Call, acl: acls.Acl) -> bool:
    """Referrers may get objects; lists and metadata of the container take `.rlistings`."""
    if not call.is_read and call.method != "OPTIONS":
        return False
    if not acls.allows_referrer(acl, call.request.headers.get("referer", "")):
        return False
    return bool(call.object) or ".rlistings" in acl.groups


def identities(credentials: Credentials) -> set[str]:
    """Under which names a token's bearer stands in access lists.

    Names of users and projects count only in the default domain, where they are unique.
    """
    users, projects = ["*", credentials.user_id], ["*", credentials.project_id or ""]
    if credentials.user_domain_id == "default" and credentials.project_domain_id == "default":
        users.append(credentials.user_name)
        projects.append(credentials.project_name or "")
    names = {f"{project}:{user}" for project in projects if project for user in users if user}
    if credentials.project_id and not credentials.user_domain_id:
        names.add(credentials.project_id)  # a user of the store's own: the account stands for all
    return names


def _granted(credentials: Credentials, groups: Iterable[str]) -> bool:
    if not credentials.user_id:
        return False
    names = identities(credentials)
    return any(group in names for group in groups)


def _granted_by_account(call: Call) -> bool:
    text = call.account_metadata().get("x-account-sysmeta-core-access-control", "")
    if not text:
        return False
    levels = json.loads(text)
    if _granted(call.ctx.credentials, levels.get("admin", ())):
        call.is_owner = True
        return True
    if _granted(call.ctx.credentials, levels.get("read-write", ())):
        return bool(call.container) or call.is_read
    return call.is_read and _granted(call.ctx.credentials, levels.get("read-only", ()))


def check_account_acl(text: str) -> str:
    """An account's access list as it is stored: JSON of level -> names; raises BadRequest."""
    if not text.strip():
        return ""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest("X-Account-Access-Control is not JSON.") from None
    if not isinstance(value, dict):
        raise BadRequest("X-Account-Access-Control must be a JSON object.")
    for level, names in value.items():
        if level not in _LEVELS:
            raise BadRequest(f"X-Account-Access-Control has no level {level!r}.")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadRequest(f"X-Account-Access-Control: {level!r} must be a list of names.")
    return json.dumps(value, separators=(",", ":"), sort_keys=True) if value else ""


def denied(call: Call, reason: str) -> ApiError:
    """403 for somebody known, else 401."""
    if call.ctx.user_id:
        return Forbidden(f"Access was denied to this resource. {reason}")
    challenge = f'Swift realm="{quote(call.account or "unknown")}"'
    return Unauthorized(
        "This server could not verify that you are authorized to access the document you "
        "requested.",
        headers={"Www-Authenticate": challenge},
    )
