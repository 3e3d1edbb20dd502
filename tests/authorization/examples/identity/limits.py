"""Registered limits and limits."""

from __future__ import annotations

from tests.authorization.asking import Example
from tests.authorization.worlds import Things, World

V3 = "/identity/v3"


def things(world: World) -> Things:
    """A registered limit with a limit of the project and one of the domain, and a bare one."""
    service, admin = world.things["service_id"], world.admin

    def register(name: str) -> str:
        values = {"service_id": service, "resource_name": name, "default_limit": 9}
        made = admin.client.post(f"{V3}/registered_limits", json={"registered_limits": [values]})
        assert made.status_code == 201, made.text
        return str(made.json()["registered_limits"][0]["id"])

    def limit(**values: str) -> str:
        body = {"service_id": service, "resource_name": "walked", "resource_limit": 3, **values}
        made = admin.client.post(f"{V3}/limits", json={"limits": [body]})
        assert made.status_code == 201, made.text
        return str(made.json()["limits"][0]["id"])

    found = {
        "registered_limit_id": register("walked"),
        "spare_registered_limit_id": register("spare"),
        "limit_id": limit(project_id=world.project_id),
    }
    if world.name != "other":  # which is in the domain of `own`
        found["domain_limit_id"] = limit(domain_id=world.domain_id)
    return found


_DOMAIN_LIMIT = {"limit_id": "{domain_limit_id}"}
EXAMPLES = {
    "POST /v3/registered_limits": Example(
        {
            "registered_limits": [
                {"service_id": "{service_id}", "resource_name": "another", "default_limit": 1}
            ]
        }
    ),
    "PATCH /v3/registered_limits/{registered_limit_id}": Example(
        {"registered_limit": {"default_limit": 8}},
        things={"registered_limit_id": "{spare_registered_limit_id}"},
    ),
    "DELETE /v3/registered_limits/{registered_limit_id}": Example(
        things={"registered_limit_id": "{spare_registered_limit_id}"}
    ),
    "POST /v3/limits": Example(
        {
            "limits": [
                {
                    "service_id": "{service_id}",
                    "resource_name": "spare",
                    "resource_limit": 2,
                    "project_id": "{project_id}",
                }
            ]
        }
    ),
    "GET /v3/limits/{limit_id} (of the domain)": Example(things=_DOMAIN_LIMIT),
    "PATCH /v3/limits/{limit_id}": Example({"limit": {"description": "x"}}),
}
