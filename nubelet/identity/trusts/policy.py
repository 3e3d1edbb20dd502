"""Who may do what with trusts. In OpenStack: keystone/common/policies/trust.py."""

from __future__ import annotations

from nubelet.identity.policy import ADMIN, SEES_ALL
from nubelet.kernel.policy import Rule

_TRUSTOR = "user_id:%(target.trust.trustor_user_id)s"
_TRUSTEE = "user_id:%(target.trust.trustee_user_id)s"
_ANY = f"{SEES_ALL} or {_TRUSTOR} or {_TRUSTEE}"


def _rule(name: str, check: str, description: str) -> Rule:
    return Rule(f"identity:{name}", check, description, (), ("system", "project"))


RULES: tuple[Rule, ...] = (
    Rule(
        "identity:create_trust",
        "user_id:%(trust.trustor_user_id)s",
        "Create a trust: as its trustor only.",
        (),
        ("project",),
    ),
    _rule("list_trusts", SEES_ALL, "List all trusts."),
    _rule("list_trusts_for_trustor", f"{SEES_ALL} or {_TRUSTOR}", "List a trustor's trusts."),
    _rule("list_trusts_for_trustee", f"{SEES_ALL} or {_TRUSTEE}", "List a trustee's trusts."),
    _rule("get_trust", _ANY, "Show a trust."),
    _rule("list_roles_for_trust", _ANY, "List the roles of a trust."),
    _rule("get_role_for_trust", _ANY, "Show a role of a trust."),
    _rule("delete_trust", f"{ADMIN} or {_TRUSTOR}", "End a trust."),
)
