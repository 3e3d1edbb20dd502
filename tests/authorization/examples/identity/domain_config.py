"""The configuration of domains."""

from __future__ import annotations

from tests.authorization.asking import Example
from tests.authorization.worlds import Things, World

V3 = "/identity/v3"


def things(world: World) -> Things:
    """A domain of its own with a configuration: the users of the world's must not be asked for
    in a directory."""
    config = {"config": {"identity": {"driver": "sql"}, "ldap": {"url": "ldap://walked.test"}}}
    name = f"configured-{world.name}"
    domain = world.admin(f"{V3}/domains", {"domain": {"name": name}}, "domain", "id")
    world.admin(f"{V3}/domains/{domain}/config", config, method="PUT")
    return {"configured_domain_id": domain, "group": "ldap", "option": "url"}


_DOMAIN = {"domain_id": "{configured_domain_id}"}
_ROOT = "/v3/domains/{domain_id}/config"
EXAMPLES = {
    **{
        f"{method} {_ROOT}{part}": Example(things=_DOMAIN)
        for method in ("GET", "DELETE")
        for part in ("", "/{group}", "/{group}/{option}")
    },
    f"GET {_ROOT}/{{group}} (of security compliance)": Example(
        things={"domain_id": "default", "group": "security_compliance"}
    ),
    f"PUT {_ROOT}": Example({"config": {"identity": {"driver": "sql"}}}, things=_DOMAIN),
    f"PATCH {_ROOT}": Example({"config": {"identity": {"driver": "sql"}}}, things=_DOMAIN),
    f"PATCH {_ROOT}/{{group}}": Example(
        {"config": {"ldap": {"url": "ldap://x.test"}}}, things=_DOMAIN
    ),
    f"PATCH {_ROOT}/{{group}}/{{option}}": Example(
        {"config": {"url": "ldap://x.test"}}, things=_DOMAIN
    ),
}
