"""Who may manage federation: upstream's rule names and defaults.

A token scoped to a domain never suffices, not even an administrator's: whom the cloud trusts is
nobody's domain's business.

In OpenStack: keystone/common/policies/{identity_provider,protocol,mapping,service_provider}.py.
"""

from __future__ import annotations

from nubelet.kernel.policy import Rule

_SCOPES = ("system", "project")
_ADMIN = "rule:admin_required"
_SEES_ALL = f"{_ADMIN} or (role:reader and system_scope:all)"


def _noun(singular: str, plural: str, what: str) -> tuple[Rule, ...]:
    return (
        Rule(f"identity:get_{singular}", _SEES_ALL, f"Show {what}.", (), _SCOPES),
        Rule(f"identity:list_{plural}", _SEES_ALL, f"List {plural}.", (), _SCOPES),
        *(
            Rule(f"identity:{verb}_{singular}", _ADMIN, f"{verb.title()} {what}.", (), _SCOPES)
            for verb in ("create", "update", "delete")
        ),
    )


RULES: tuple[Rule, ...] = (
    *_noun("identity_provider", "identity_providers", "an identity provider"),
    *_noun("protocol", "protocols", "a protocol of an identity provider"),
    *_noun("mapping", "mappings", "a mapping"),
    *_noun("service_provider", "service_providers", "a service provider"),
)
