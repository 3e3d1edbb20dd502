"""Users of the store's own, without the identity service: `object_store.users`.

    GET /auth/v1.0 with X-Auth-User: account:user, X-Auth-Key: the password
    -> X-Storage-Url, X-Auth-Token

S3's clients sign with the password: the access key is `account:user` (s3/signers.py).

A token says who its bearer is and until when, signed with a secret of the store; nothing is kept
of it. A user who is taken out of the settings, or whose password changes, has none any more.

In OpenStack: swift/common/middleware/tempauth.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from nubelet.kernel.context import Credentials
from nubelet.kernel.errors import MethodNotAllowed, Unauthorized
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import Call, Proceed
from nubelet.object_store.features.authorization import PREFIX as ACCOUNT_PREFIX
from nubelet.object_store.features.authorization import RESELLER
from nubelet.settings import Settings

TOKEN_SECONDS = 86_400
_TOKEN = "AUTH_tk"  # noqa: S105 - how its tokens begin
_PATHS = (b"/auth/v1.0", b"/auth/v1", b"/auth/1.0")
_ADMIN, _RESELLER = ".admin", ".reseller_admin"


def own_auth(call: Call, proceed: Proceed) -> Response:
    """Give out tokens, and know their bearers."""
    users = call.ctx.cloud.settings.object_store.users
    if not users:
        return proceed(call)
    if call.request.raw_path.rstrip(b"/") in _PATHS:
        return _log_in(call)
    token = call.headers.get("x-auth-token") or call.headers.get("x-storage-token", "")
    if token.startswith(_TOKEN):
        name = _bearer(call, token)
        if name is not None:
            call.ctx.credentials = credentials(name, users[name])
    return proceed(call)


def find_user(settings: Settings, name: str) -> tuple[str, Credentials] | None:
    """The password of a user, with which S3's clients sign, and what the user may claim."""
    entry = settings.object_store.users.get(name, "")
    return (entry.split()[0], credentials(name, entry)) if entry.split() else None


def credentials(name: str, entry: str) -> Credentials:
    """What a user may claim: `account:user`, and the groups behind the password."""
    account, _, user = name.partition(":")
    groups = entry.split()[1:]
    roles = ("member",) if _ADMIN in groups else ()
    if _RESELLER in groups:
        roles = (*roles, RESELLER)
    return Credentials(user_id=user, user_name=user, project_id=account, roles=roles)


def _log_in(call: Call) -> Response:
    if call.method != "GET":
        raise MethodNotAllowed("Only GET.", headers={"Allow": "GET"})
    headers = call.headers
    name = headers.get("x-auth-user") or headers.get("x-storage-user", "")
    key = headers.get("x-auth-key") or headers.get("x-storage-pass", "")
    entry = call.ctx.cloud.settings.object_store.users.get(name, "")
    wanted = entry.split()[0] if entry.split() else secrets.token_hex(16)
    if not hmac.compare_digest(wanted.encode(), key.encode("utf-8", "surrogateescape")):
        raise Unauthorized("Wrong user or key.", headers={"Www-Authenticate": 'Swift realm="auth"'})
    ends = int(time.time()) + TOKEN_SECONDS
    token = _sign(call, name, ends)
    account = ACCOUNT_PREFIX + name.partition(":")[0]
    return Response(
        200,
        b"",
        {
            "X-Auth-Token": token,
            "X-Storage-Token": token,
            "X-Auth-Token-Expires": str(TOKEN_SECONDS),
            "X-Storage-Url": f"{call.request.base_url}/v1/{account}",
        },
        "text/plain; charset=utf-8",
    )


def _sign(call: Call, name: str, ends: int) -> str:
    text = f"{ends}\n{name}"
    signed = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    return f"{_TOKEN}{signed}.{_signature(call, name, text)}"


def _signature(call: Call, name: str, text: str) -> str:
    settings = call.ctx.cloud.settings
    # The user's entry is part of it: a changed password ends the tokens made with the old one.
    entry = settings.object_store.users.get(name, "")
    key = _secret(str(settings.state_dir))
    return hmac.new(key, f"{text}\n{entry}".encode(), hashlib.sha256).hexdigest()


def _bearer(call: Call, token: str) -> str | None:
    encoded, _, signature = token[len(_TOKEN) :].partition(".")
    try:
        text = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (ValueError, binascii.Error):
        return None
    ends, _, name = text.partition("\n")
    if name not in call.ctx.cloud.settings.object_store.users:
        return None
    if not hmac.compare_digest(_signature(call, name, text).encode(), signature.encode()):
        return None
    return name if int(ends) > time.time() else None


@lru_cache(8)
def _secret(state_dir: str) -> bytes:
    path = Path(state_dir) / "object-store-token-key"
    with suppress(FileExistsError):
        beside = path.with_name(f".{secrets.token_hex(8)}")
        beside.write_bytes(b"")
        beside.chmod(0o600)
        beside.write_bytes(secrets.token_bytes(32))
        try:
            os.link(beside, path)
        finally:
            beside.unlink()
    return path.read_bytes()
