"""A login that was begun at one URL and is ended at another: what was said of somebody, kept.

A SAML assertion comes in at the consumer's URL; the client is then sent on to the URL where it
gets its token, and brings a cookie. The cookie is a random name; what it stands for is in the
database, sealed, for five minutes and one use.

In OpenStack: the session of mod_shib.
"""

from __future__ import annotations

import hashlib
import http.cookies
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from nubelet.decoding import prepared
from nubelet.identity import authenticator
from nubelet.identity.federation.assertions import Assertion
from nubelet.identity.federation.model import session
from nubelet.identity.methods import Attempt
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx

LIFETIME_SECONDS = 300
_NAME = "nubelet-federation-"


def start(cloud: Cloud, idp_id: str, found: Assertion, *, secure: bool) -> str:
    """Keep an assertion; answers the cookie (a Set-Cookie header) that stands for it."""
    name = secrets.token_urlsafe(32)
    expires_at = clock.now() + LIFETIME_SECONDS * 1_000_000
    content = authenticator.of(cloud).keys.seal(msgspec.json.encode(found))

    def keep(tx: Tx) -> None:
        tx.insert(
            session, digest=_digest(name), idp_id=idp_id, content=content, expires_at=expires_at
        )

    cloud.database.transact(keep)
    return cookie(_cookie_name(idp_id), name, LIFETIME_SECONDS, secure=secure)


def assertion(attempt: Attempt, idp_id: str) -> Assertion | None:
    """The assertion that the request's cookie stands for; it serves once."""
    name = read_cookie(attempt.headers, _cookie_name(idp_id))
    if not name:
        return None
    where = (session.c.digest == _digest(name), session.c.idp_id == idp_id)

    def take(tx: Tx) -> Any:
        row = tx.first(sa.select(session).where(*where))
        return row if row is not None and tx.delete(session, *where) else None

    row = attempt.cloud.database.transact(take)
    if row is None or row.expires_at <= clock.now():
        return None
    content = authenticator.of(attempt.cloud).keys.open(row.content)
    return msgspec.json.decode(content, type=prepared(Assertion))


def forget_expired(tx: Tx) -> None:
    """Delete what nobody came for."""
    tx.delete(session, session.c.expires_at <= clock.now())


def cookie(name: str, value: str, max_age_seconds: int, *, secure: bool) -> str:
    """A Set-Cookie header that scripts cannot read."""
    more = "; Secure" if secure else ""
    return f"{name}={value}; Max-Age={max_age_seconds}; Path=/; HttpOnly; SameSite=Lax{more}"


def read_cookie(headers: Mapping[str, str], name: str) -> str:
    """The value of a cookie of a request; empty without."""
    found: http.cookies.SimpleCookie = http.cookies.SimpleCookie()
    try:
        found.load(headers.get("cookie", ""))
    except http.cookies.CookieError:
        return ""
    return found[name].value if name in found else ""


def _cookie_name(idp_id: str) -> str:
    return _NAME + hashlib.sha256(idp_id.encode()).hexdigest()[:16]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
