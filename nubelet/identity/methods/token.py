"""The method `token`: a token of one's own makes another, mostly for another scope.

The new one ends when the first does. A token by which somebody acts with a part of a user's rights
(a trust, an application credential, an access token, an EC2 key) makes no other: it would not be
bound to that part any more.

In OpenStack: keystone/auth/plugins/token.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nubelet.identity import authenticator
from nubelet.identity.methods import Attempt, Method, Proven, are_direct
from nubelet.identity.tokens import Origin
from nubelet.kernel import clock
from nubelet.kernel.errors import Forbidden, NotFound, Unauthorized

_SCHEMA = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}


def _prove(attempt: Attempt, part: Mapping[str, Any]) -> Proven:
    try:
        known = authenticator.of(attempt.cloud).look_at(part["id"])
    except Unauthorized:
        raise _unknown() from None
    assert known.subject is not None
    if known.expires_at <= clock.now():
        raise _unknown()
    token = known.subject.token
    origin = token.origin
    if origin.is_delegated or not are_direct(token.methods):
        raise Forbidden(
            "A token made from a trust, an application credential, an OAuth access token or an "
            "EC2 credential cannot make another token."
        )
    return Proven(
        user_id=token.user_id,
        parent=token,
        origin=Origin(
            identity_provider_id=origin.identity_provider_id,
            protocol_id=origin.protocol_id,
            group_ids=origin.group_ids,
        ),
    )


def _unknown() -> NotFound:
    """404, as upstream: who has the text of a token learns nothing by hearing that it is of no
    use, and clients tell this from a wrong password."""
    return NotFound(message="The token could not be found.")


METHOD = Method("token", _SCHEMA, _prove, direct=True)
