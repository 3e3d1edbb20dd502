"""Who may say which endpoints a project sees: administrators.

In OpenStack: keystone/common/policies/{endpoint_group,project_endpoint}.py.
"""

from __future__ import annotations

from nubelet.identity.policy import ADMIN, SEES_ALL, make_rule, noun_rules, of_no_domain

RULES = of_no_domain(
    *noun_rules("endpoint_group", "endpoint_groups", show=SEES_ALL, change=ADMIN),
    make_rule(
        "list_projects_associated_with_endpoint_group",
        SEES_ALL,
        "List the projects that see an endpoint group.",
    ),
    make_rule(
        "list_endpoints_associated_with_endpoint_group",
        SEES_ALL,
        "List the endpoints in an endpoint group.",
    ),
    make_rule(
        "get_endpoint_group_in_project", SEES_ALL, "Check that a project sees an endpoint group."
    ),
    make_rule(
        "list_endpoint_groups_for_project", SEES_ALL, "List the endpoint groups of a project."
    ),
    make_rule("add_endpoint_group_to_project", ADMIN, "Show an endpoint group to a project."),
    make_rule("remove_endpoint_group_from_project", ADMIN, "Hide an endpoint group again."),
    make_rule("list_projects_for_endpoint", SEES_ALL, "List the projects that see an endpoint."),
    make_rule("add_endpoint_to_project", ADMIN, "Show an endpoint to a project."),
    make_rule("check_endpoint_in_project", SEES_ALL, "Check that a project sees an endpoint."),
    make_rule("list_endpoints_for_project", SEES_ALL, "List the endpoints that a project sees."),
    make_rule("remove_endpoint_from_project", ADMIN, "Hide an endpoint from a project again."),
)
