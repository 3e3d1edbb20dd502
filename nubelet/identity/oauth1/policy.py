"""Who may do what with OAuth 1.

In OpenStack: keystone/common/policies/{consumer,access_token}.py.
"""

from __future__ import annotations

from nubelet.identity.policy import ADMIN, SEES_ALL
from nubelet.kernel.policy import Rule


def _of_project(name: str, description: str) -> Rule:
    return Rule(f"identity:{name}", ADMIN, description, (), ("project",))


def _rule(name: str, check: str, description: str) -> Rule:
    return Rule(f"identity:{name}", check, description, (), ("system", "project"))


RULES: tuple[Rule, ...] = (
    _rule("get_consumer", SEES_ALL, "Show an OAuth consumer."),
    _rule("list_consumers", SEES_ALL, "List OAuth consumers."),
    _rule("create_consumer", ADMIN, "Create an OAuth consumer."),
    _rule("update_consumer", ADMIN, "Change an OAuth consumer."),
    _rule("delete_consumer", ADMIN, "Delete an OAuth consumer with its tokens."),
    _of_project("authorize_request_token", "Authorize a consumer's request token."),
    _of_project("get_access_token", "Show an OAuth access token of a user."),
    _of_project("list_access_tokens", "List the OAuth access tokens of a user."),
    _of_project("delete_access_token", "Revoke an OAuth access token of a user."),
    _of_project("list_access_token_roles", "List the roles of an OAuth access token."),
    _of_project("get_access_token_role", "Show a role of an OAuth access token."),
)
