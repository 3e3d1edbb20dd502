"""Who may see and set the configuration of domains: administrators, for it names other machines.

In OpenStack: keystone/common/policies/domain_config.py.
"""

from __future__ import annotations

from nubelet.identity.policy import ADMIN, ANYBODY, SEES_ALL, make_rule, of_no_domain

RULES = (
    make_rule(
        "get_security_compliance_domain_config",
        ANYBODY,
        "Show what a new password must be like.",
    ),
    *of_no_domain(
        make_rule("create_domain_config", ADMIN, "Set the configuration of a domain."),
        make_rule("get_domain_config", SEES_ALL, "Show the configuration of a domain."),
        make_rule("update_domain_config", ADMIN, "Change the configuration of a domain."),
        make_rule("delete_domain_config", ADMIN, "Delete the configuration of a domain."),
        make_rule("get_domain_config_default", SEES_ALL, "Show the defaults of domain options."),
    ),
)
