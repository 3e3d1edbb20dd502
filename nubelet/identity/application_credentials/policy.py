"""Who may do what with application credentials and access rules.

In OpenStack: keystone/common/policies/{application_credential,access_rule}.py.
"""

from __future__ import annotations

from nubelet.identity.policy import ADMIN, SEES_ALL, SYSTEM_READER
from nubelet.kernel.policy import Rule

_OWNER = "user_id:%(target.user.id)s"

# Administrators of projects see the credentials of all, but access rules are shown to nobody else.
_SYSTEM_ADMIN = "(role:admin and system_scope:all)"


def _rule(name: str, check: str, description: str) -> Rule:
    return Rule(f"identity:{name}", check, description, (), ("system", "project"))


RULES: tuple[Rule, ...] = (
    _rule(
        "get_application_credential", f"{SEES_ALL} or {_OWNER}", "Show an application credential."
    ),
    _rule(
        "list_application_credentials",
        f"{SEES_ALL} or {_OWNER}",
        "List the application credentials of a user.",
    ),
    Rule(
        "identity:create_application_credential",
        _OWNER,
        "Create an application credential: for oneself only.",
        (),
        ("project",),
    ),
    _rule(
        "delete_application_credential",
        f"{ADMIN} or {_OWNER}",
        "Delete an application credential.",
    ),
    _rule("get_access_rule", f"{SYSTEM_READER} or {_OWNER}", "Show an access rule."),
    _rule("list_access_rules", f"{SYSTEM_READER} or {_OWNER}", "List the access rules of a user."),
    _rule("delete_access_rule", f"{_SYSTEM_ADMIN} or {_OWNER}", "Delete an access rule."),
)
