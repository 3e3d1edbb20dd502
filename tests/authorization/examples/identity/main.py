"""What the matrix asks of identity."""

from __future__ import annotations

from typing import Any

from tests.authorization.asking import Example
from tests.authorization.worlds import PASSWORD, Things, World

V3 = "/identity/v3"


def things(world: World) -> Things:
    """One of everything in the world's domain; the world's user gets roles everywhere."""
    make, v3, domain = world.admin, V3, world.domain_id
    roles = {role["name"]: role["id"] for role in make.client.get(f"{v3}/roles").json()["roles"]}
    name = f"walked-{world.name}"

    def new(noun: str, **values: Any) -> str:
        return make(f"{v3}/{noun}s", {noun: values}, noun, "id")

    found = {
        "role_id": roles["reader"],
        "prior_role_id": roles["member"],
        "implied_role_id": roles["reader"],
        "group_id": new("group", name=name, domain_id=domain),
        "service_id": new("service", type=name),
        "spare_service_id": new("service", type=f"spare-{name}"),
        "region_id": new("region", id=name),
        "domain_role_id": new("role", name=name, domain_id=domain),
        "member_of_group": new("user", name=name, domain_id=domain),
        "projects/tag": "walked",
        "spare_domain_id": new("domain", name=name, enabled=False),
        "spare_role_id": new("role", name=f"spare-{name}"),
    }
    found["endpoint_id"] = new(
        "endpoint", service_id=found["service_id"], interface="public", url="http://walked"
    )
    user, group, role = world.user_id, found["group_id"], found["role_id"]
    make(f"{v3}/projects/{world.project_id}/tags/walked", None, method="PUT")
    make(f"{v3}/groups/{group}/users/{user}", None, method="PUT")
    for actor in (f"users/{user}", f"groups/{group}"):
        for place in (f"projects/{world.project_id}", f"domains/{domain}"):
            make(f"{v3}/{place}/{actor}/roles/{role}", None, method="PUT")
            inherited = f"{v3}/OS-INHERIT/{place}/{actor}/roles/{role}/inherited_to_projects"
            make(inherited, None, method="PUT")
        make(f"{v3}/system/{actor}/roles/{role}", None, method="PUT")
    return found


_PASSWORD = {"user": {"original_password": PASSWORD, "password": "another"}}
_SPARE_ROLE = {"role_id": "{spare_role_id}"}


def _login(method: str, proof: dict[str, Any], **scope: Any) -> Example:
    identity = {"methods": [method], method: proof}
    return Example({"auth": {"identity": identity, **({"scope": scope} if scope else {})}})


_USER = {"id": "{password_user_id}", "password": PASSWORD}
_PROGRAM = {"id": "{application_credential_id}", "secret": "walked-secret"}
_LOGINS = {
    f"POST /v3/auth/tokens ({label})": example
    for label, example in {
        "by password": _login("password", {"user": _USER}),
        "by password, for the project": _login(
            "password", {"user": _USER}, project={"id": "{project_id}"}
        ),
        "by password, for the domain": _login(
            "password", {"user": _USER}, domain={"id": "{domain_id}"}
        ),
        "by password, for the system": _login("password", {"user": _USER}, system={"all": True}),
        "by password, for a trust": _login(
            "password", {"user": _USER}, **{"OS-TRUST:trust": {"id": "{trust_id}"}}
        ),
        "by a wrong application credential": _login("application_credential", _PROGRAM),
        "by a wrong passcode": _login(
            "totp", {"user": {"id": "{password_user_id}", "passcode": "000000"}}
        ),
    }.items()
}
EXAMPLES = _LOGINS | {
    "DELETE /v3/domains/{domain_id}": Example(things={"domain_id": "{spare_domain_id}"}),
    "PATCH /v3/roles/{role_id}": Example({"role": {"description": "x"}}, things=_SPARE_ROLE),
    "DELETE /v3/services/{service_id}": Example(things={"service_id": "{spare_service_id}"}),
    "DELETE /v3/roles/{role_id}": Example(things=_SPARE_ROLE),
    "PUT /v3/regions/{region_id}": Example(things={"region_id": "another"}),
    "POST /v3/auth/tokens": Example(
        {"auth": {"identity": {"methods": ["token"], "token": {"id": "{token}"}}}}
    ),
    **{
        f"{method} /v3/auth/tokens": Example(headers={"X-Subject-Token": "{token}"})
        for method in ("GET", "HEAD", "DELETE")
    },
    "POST /v3/projects": Example({"project": {"name": "x", "domain_id": "{domain_id}"}}),
    "POST /v3/projects (below)": Example({"project": {"name": "x", "parent_id": "{project_id}"}}),
    "POST /v3/users": Example({"user": {"name": "x", "domain_id": "{domain_id}"}}),
    "POST /v3/groups": Example({"group": {"name": "x", "domain_id": "{domain_id}"}}),
    "POST /v3/roles (of a domain)": Example({"role": {"name": "x", "domain_id": "{domain_id}"}}),
    "POST /v3/endpoints": Example(
        {
            "endpoint": {
                "interface": "public",
                "service_id": "{service_id}",
                "url": "http://example.org",
            }
        }
    ),
    "PATCH /v3/users/{user_id}": Example({"user": {"description": "x"}}),
    "POST /v3/users/{user_id}/password": Example(
        _PASSWORD, things={"user_id": "{password_user_id}"}
    ),
    "GET /v3/role_assignments (of the project)": Example(query="scope.project.id={project_id}"),
    "GET /v3/role_assignments (of the project's tree)": Example(
        query="scope.project.id={project_id}&include_subtree"
    ),
    "GET /v3/role_assignments (of the user)": Example(query="user.id={user_id}"),
    "GET /v3/projects (of the domain)": Example(query="domain_id={domain_id}"),
    "GET /v3/users (of the domain)": Example(query="domain_id={domain_id}"),
    "GET /v3/groups (of the domain)": Example(query="domain_id={domain_id}"),
    "GET /v3/roles (of the domain)": Example(query="domain_id={domain_id}"),
}
