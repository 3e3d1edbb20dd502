"""Who may see and set limits: everybody sees the registered ones and their own, a project
administrator sets those of the project.

In OpenStack: keystone/common/policies/{limit,registered_limit}.py.
"""

from __future__ import annotations

from nubelet.identity.policy import ADMIN, ANYBODY, SEES_ALL, make_rule, of_no_domain

_SETS = (
    f"{ADMIN} or (role:project_admin and project_id:%(target.limit.project_id)s and "
    "not None:%(target.limit.project_id)s)"
)

RULES = (
    make_rule("get_registered_limit", ANYBODY, "Show a registered limit."),
    make_rule("list_registered_limits", ANYBODY, "List registered limits."),
    make_rule("get_limit_model", ANYBODY, "Show how limits are enforced."),
    make_rule(
        "get_limit",
        f"{SEES_ALL} or domain_id:%(target.limit.domain.id)s or "
        "domain_id:%(target.limit.project.domain_id)s or "
        "(project_id:%(target.limit.project_id)s and not None:%(target.limit.project_id)s)",
        "Show a limit.",
    ),
    make_rule("list_limits", ANYBODY, "List limits: those that the caller may show."),
    *of_no_domain(
        make_rule("create_registered_limits", ADMIN, "Create registered limits."),
        make_rule("update_registered_limit", ADMIN, "Update a registered limit."),
        make_rule("delete_registered_limit", ADMIN, "Delete a registered limit."),
        make_rule("create_limits", _SETS, "Create limits."),
        make_rule("update_limit", _SETS, "Update a limit."),
        make_rule("delete_limit", _SETS, "Delete a limit."),
    ),
)
