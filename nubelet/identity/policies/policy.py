"""Who may keep policies and say what they are for: administrators.

In OpenStack: keystone/common/policies/{policy,policy_association}.py.
"""

from __future__ import annotations

from nubelet.identity.policy import ADMIN, SEES_ALL, make_rule, noun_rules, of_no_domain

RULES = of_no_domain(
    *noun_rules("policy", "policies", show=SEES_ALL, change=ADMIN),
    *(
        make_rule(
            f"{verb}_policy_association_for_{kind}",
            SEES_ALL if verb == "check" else ADMIN,
            f"{verb.title()} that a policy is for {article} {kind.replace('_', ' ')}.",
        )
        for kind, article in (("endpoint", "an"), ("service", "a"), ("region_and_service", "a"))
        for verb in ("create", "check", "delete")
    ),
    make_rule("get_policy_for_endpoint", SEES_ALL, "Show the policy for an endpoint."),
    make_rule("list_endpoints_for_policy", SEES_ALL, "List the endpoints that a policy is for."),
)
