"""Logging in: from the body of `POST /v3/auth/tokens` to a token.

Methods first (who is it?), then the scope (for what?), then the roles there. Whatever is wrong,
the answer is the same 401 after the same time: it tells nobody which users, projects or domains
exist. A token made from a token never lives longer than the first.

Read next: `methods/`, `scopes.py`, `tokens.py`, `validation.py`.
In OpenStack: keystone/auth/core.py, keystone/api/_shared/authentication.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from nubelet.identity import authenticator, methods, receipts, scopes
from nubelet.identity.methods import Attempt, Proven
from nubelet.identity.tokens import NO_ORIGIN, UNSCOPED, Origin, Scope, Token, new_audit_id
from nubelet.identity.trusts import trusts
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Forbidden, Unauthorized
from nubelet.kernel.http import schemas


class Proof(NamedTuple):
    """A user who proved who they are: what all methods of a request found out together.

    methods: those that were used now. parent, scope, origin, expires_at: as of `Proven`."""

    user_id: str
    methods: tuple[str, ...]
    parent: Token | None = None
    scope: Scope | None = None
    origin: Origin = NO_ORIGIN
    expires_at: int | None = None


def log_in(attempt: Attempt, auth: Mapping[str, Any]) -> str:
    """A token for the `auth` object of a request; raises Unauthorized (MissingFactors where more
    methods are needed), Forbidden or BadRequest."""
    proof = prove(attempt, auth["identity"])
    asked = auth.get("scope")
    with attempt.cloud.database.read() as tx:
        proof = _with_receipt(tx, attempt, proof)
        _require_factors(tx, proof)
        if isinstance(asked, dict) and list(asked) == [scopes.TRUST]:
            proof = _by_trust(tx, proof, asked[scopes.TRUST]["id"])
            asked = None
        scope = _scope(tx, proof, asked)
    text = issue(attempt.cloud, proof, scope)
    if proof.origin.trust_id:  # a use counts once there is a token, which nobody has seen yet
        attempt.cloud.database.transact(lambda tx: trusts.use(tx, proof.origin.trust_id))
    return text


def issue_proven(cloud: Cloud, proven: Proven, method: str) -> str:
    """An unscoped token for somebody who was proven outside of a request for a token."""
    proof = Proof(
        proven.user_id,
        (method,),
        parent=proven.parent,
        origin=proven.origin,
        expires_at=proven.expires_at,
    )
    with cloud.database.read() as tx:
        _require_factors(tx, proof)
    return issue(cloud, proof, UNSCOPED)


def issue(cloud: Cloud, proof: Proof, scope: Scope) -> str:
    """A token for somebody who was proven; raises Unauthorized where it would not be valid."""
    now = clock.now()
    lifetime = cloud.settings.identity.token_lifetime_seconds * 1_000_000
    audit_ids: tuple[str, ...] = (new_audit_id(),)
    expires_at = now + lifetime
    used = set(proof.methods)
    if proof.expires_at is not None:
        expires_at = min(expires_at, proof.expires_at)
    if proof.parent:
        audit_ids += (proof.parent.audit_ids[-1],)
        expires_at = min(expires_at, proof.parent.expires_at)
        used |= set(proof.parent.methods)
    text = authenticator.of(cloud).seal(
        Token(
            user_id=proof.user_id,
            methods=tuple(sorted(used, reverse=True)),
            scope=scope,
            issued_at=now,
            expires_at=expires_at,
            audit_ids=audit_ids,
            origin=proof.origin,
        )
    )
    authenticator.of(cloud).look_at(text)
    return text


# --- Who is it? -------------------------------------------------------------------------------


def prove(attempt: Attempt, identity: Mapping[str, Any]) -> Proof:
    """Who somebody is, by all the methods that `identity` names; raises Unauthorized unless all
    prove the same user."""
    names = tuple(dict.fromkeys(identity["methods"]))
    if not names:
        raise Unauthorized
    found = [_prove_by(attempt, name, identity) for name in names]
    if len({each.user_id for each in found}) != 1:
        raise Unauthorized
    ends = [each.expires_at for each in found if each.expires_at is not None]
    return Proof(
        found[0].user_id,
        names,
        parent=next((each.parent for each in found if each.parent), None),
        scope=_only([each.scope for each in found if each.scope]),
        origin=_join([each.origin for each in found]),
        expires_at=min(ends, default=None),
    )


def _prove_by(attempt: Attempt, name: str, identity: Mapping[str, Any]) -> Proven:
    method = methods.find(name)
    if method is None:
        raise Unauthorized
    if name not in identity:
        raise BadRequest(f"Expecting to find {name} in identity.")
    schemas.check(method.schema, identity[name], name)
    return method.prove(attempt, identity[name])


def _only(given: list[Scope]) -> Scope | None:
    """The scope that proofs are bound to; they must agree."""
    if len(set(given)) > 1:
        raise Unauthorized
    return given[0] if given else None


def _join(origins: list[Origin]) -> Origin:
    """All that the proofs bind a token to; what two bind to different things cannot be."""
    joined: dict[str, Any] = {}
    for origin in origins:
        for name, value in msgspec.structs.asdict(origin).items():
            if value and joined.setdefault(name, value) != value:
                raise Unauthorized
    return Origin(**joined) if joined else NO_ORIGIN


def _require_factors(tx: Tx, proof: Proof) -> None:
    """Raise MissingFactors unless the methods, with those of the token that they came with, meet
    one of the user's rules."""
    inherited = proof.parent.methods if proof.parent else ()
    receipts.require_factors(tx, proof.user_id, {*proof.methods, *inherited})


def _with_receipt(tx: Tx, attempt: Attempt, proof: Proof) -> Proof:
    """With the methods of a receipt that the request came with."""
    text = attempt.headers.get(receipts.HEADER.lower())
    if not text:
        return proof
    keys = authenticator.of(attempt.cloud).keys
    before = receipts.methods_of(keys, tx, text, proof.user_id)
    return proof._replace(methods=tuple(dict.fromkeys((*before, *proof.methods))))


# --- For what? --------------------------------------------------------------------------------


def _by_trust(tx: Tx, proof: Proof, identifier: str) -> Proof:
    """The trustee, become the bearer of a trust."""
    row = trusts.find(tx, identifier)
    if row is None or proof.origin.is_delegated:
        raise Unauthorized
    if row.trustee_user_id != proof.user_id:
        raise Forbidden("You are not the trustee of this trust.")
    ends = [end for end in (proof.expires_at, row.expires_at) if end is not None]
    return proof._replace(
        user_id=row.trustor_user_id if row.impersonation else row.trustee_user_id,
        scope=Scope("project", row.project_id) if row.project_id else UNSCOPED,
        origin=Origin(trust_id=row.id),
        expires_at=min(ends, default=None),
    )


def _scope(tx: Tx, proof: Proof, asked: Any) -> Scope:
    """The asked scope, or the one that the proof is bound to."""
    if proof.scope is None:
        return scopes.choose(tx, proof.user_id, asked)
    if asked is not None and scopes.choose(tx, proof.user_id, asked) != proof.scope:
        raise Unauthorized
    return proof.scope
