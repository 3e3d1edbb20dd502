"""What a token is bound to when its bearer acts with a part of a user's rights only.

Application credentials, trusts and OAuth access tokens each look up their row when a token is
examined (`bind` in their folders) and answer a `Binding`: the roles that are left, and what else
holds for the bearer. `require_user` is asked by everything that must be done by users in person.

Read next: `application_credentials/binding.py`, `trusts/binding.py`, `validation.py`.
In OpenStack: keystone/models/token_model.py, keystone/api/_shared/delegation.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from nubelet.identity import assignments, methods
from nubelet.identity.assignments import RoleName
from nubelet.identity.tokens import Token
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Forbidden, Unauthorized

if TYPE_CHECKING:
    from nubelet.identity.application_credentials.access_rules import Allowed


class Binding(NamedTuple):
    """roles: those that are left. shown: what the API shows of it in the token. access_rules: the
    requests that are served, if not all. unrestricted: may the bearer do what only users in
    person may? ends_at: the latest end of a token (microseconds)."""

    roles: tuple[RoleName, ...]
    shown: dict[str, Any]
    access_rules: tuple[Allowed, ...] | None = None
    unrestricted: bool = False
    ends_at: int | None = None


def delegated_roles(
    tx: Tx, user_id: str, token: Token, role_ids: Iterable[str]
) -> tuple[RoleName, ...]:
    """The delegated roles with those they imply, for the scope of a token; raises Unauthorized
    where the user whose rights they are does not hold each of them there any more."""
    wanted = assignments.with_implied(tx, role_ids)
    held = assignments.held_in(tx, user_id, token.scope, token.origin.group_ids)
    if not wanted or not wanted <= held:
        raise Unauthorized
    return tuple(assignments.named(tx, wanted))


def is_in_person(token: Token, binding: Binding | None) -> bool:
    """Is the bearer the user in person, or as good as that (an unrestricted application
    credential)?"""
    if binding is not None and binding.unrestricted:
        rest = set(token.methods) - {"application_credential"}
        return not rest or methods.are_direct(rest)
    return not token.origin.is_delegated and methods.are_direct(token.methods)


def require_user(
    token: Token, binding: Binding | None, doing: str, *, by_trust: bool = False
) -> None:
    """Raise Forbidden unless the bearer of a token is the user in person (or as good as that).
    `by_trust`: a trustee may do it too, within the trust."""
    if is_in_person(token, binding):
        return
    origin = token.origin
    if origin.application_credential_id or origin.access_token_id:
        raise Forbidden(
            "A token of a restricted application credential or of an OAuth access token is not "
            f"allowed for {doing}."
        )
    if not methods.are_direct(token.methods):
        used = ", ".join(sorted(token.methods))
        raise Forbidden(f"A token made by {used} is not allowed for {doing}.")
    if not by_trust:
        raise Forbidden(f"A token of a trust is not allowed for {doing}.")
