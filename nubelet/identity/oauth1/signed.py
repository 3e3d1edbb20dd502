"""Requests that are signed by the rules of OAuth 1.0a (RFC 5849).

The parameters stand in the header `Authorization: OAuth ...`. Signatures are HMAC-SHA1, HMAC-SHA256
or HMAC-SHA512 with the secrets of the consumer and, where there is one, of the token. A request is
served once: its nonce and time are remembered as long as the time is accepted.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.identity.oauth1.model import nonce
from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Unauthorized

_ACCEPTED_SECONDS = 900
NONCE_SECONDS = 2 * _ACCEPTED_SECONDS  # how long one is remembered
_METHODS = ("HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512")


class Signed(NamedTuple):
    """A signed request. parameters: those of OAuth (`oauth_consumer_key`, ...); all: with those of
    the query, as they are signed."""

    method: str
    url: str  # without query
    parameters: Mapping[str, str]
    all: list[tuple[str, str]]

    def require(self, name: str) -> str:
        """A parameter; raises BadRequest where it is missing."""
        found = self.parameters.get(name)
        if not found:
            raise BadRequest(f"Invalid input for field/attribute {name}: it is required.")
        return found


def read(
    method: str, url: str, headers: Mapping[str, str], query: Mapping[str, list[str]]
) -> Signed:
    """What a request says in its header; raises BadRequest where it is not OAuth's."""
    from oauthlib.oauth1.rfc5849 import signature  # only clouds with consumers need it

    header = headers.get("authorization", "")
    if not header.lower().startswith("oauth "):
        raise BadRequest("The header Authorization: OAuth is required.")
    try:
        given = signature.collect_parameters(
            headers={"Authorization": header}, exclude_oauth_signature=False
        )
    except ValueError:
        raise BadRequest("Invalid header Authorization: it cannot be read.") from None
    own = dict(given)
    if len(own) != len(given):
        raise BadRequest("Invalid header Authorization: a parameter occurs twice.")
    signed = [pair for pair in given if pair[0] != "oauth_signature"]
    signed += [(name, value) for name, values in query.items() for value in values]
    return Signed(method, url, own, signed)


def verify(request: Signed, consumer_secret: str, token_secret: str = "") -> None:
    """Raise Unauthorized unless the request is signed with these secrets."""
    from oauthlib.oauth1.rfc5849 import signature
    from oauthlib.oauth1.rfc5849.utils import escape

    kind = request.parameters.get("oauth_signature_method", "")
    if kind not in _METHODS:
        raise Unauthorized
    parameters: Any = request.all  # typed as a dictionary there, read as pairs
    method: Any = request.method
    text = signature.signature_base_string(
        method,
        signature.base_string_uri(request.url),
        signature.normalize_parameters(parameters),
    )
    key = f"{escape(consumer_secret)}&{escape(token_secret)}"
    digest = hmac.digest(key.encode(), text.encode(), kind.partition("-")[2].lower())
    right = base64.b64encode(digest).decode()
    given = request.parameters.get("oauth_signature", "")
    if not hmac.compare_digest(right.encode(), given.encode("utf-8", "replace")):
        raise Unauthorized


def spend(tx: Tx, consumer_id: str, request: Signed) -> None:
    """Note that the request is served; raises Unauthorized if it was before, or is too old."""
    number, moment = request.require("oauth_nonce")[:255], request.require("oauth_timestamp")
    now = clock.now()
    if not moment.isdecimal() or abs(int(moment[:12]) - now // 1_000_000) > _ACCEPTED_SECONDS:
        raise Unauthorized
    tx.lock("identity", "oauth1", consumer_id, number)
    c = nonce.c
    same = (c.consumer_id == consumer_id, c.nonce == number, c.timestamp == int(moment))
    if tx.first(sa.select(c.nonce).where(*same)) is not None:
        raise Unauthorized
    tx.insert(nonce, consumer_id=consumer_id, nonce=number, timestamp=int(moment), created_at=now)
