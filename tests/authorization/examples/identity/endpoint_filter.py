"""Endpoint groups, and which endpoints a project sees."""

from __future__ import annotations

from tests.authorization.asking import Example
from tests.authorization.worlds import Things, World

FILTER = "/identity/v3/OS-EP-FILTER"


def things(world: World) -> Things:
    """A group and an endpoint that the project sees, and others that it does not see."""
    make, service = world.admin, world.things["service_id"]

    def group(name: str) -> str:
        body = {"endpoint_group": {"name": name, "filters": {"service_id": service}}}
        return make(f"{FILTER}/endpoint_groups", body, "endpoint_group", "id")

    endpoint = {"service_id": service, "interface": "internal", "url": "http://spare"}
    found = {
        "endpoint_group_id": group("walked"),
        "spare_endpoint_group_id": group("spare"),
        "spare_endpoint_id": make(
            "/identity/v3/endpoints", {"endpoint": endpoint}, "endpoint", "id"
        ),
    }
    seen = (
        f"endpoint_groups/{found['endpoint_group_id']}/projects/{world.project_id}",
        f"projects/{world.project_id}/endpoints/{world.things['endpoint_id']}",
    )
    for pair in seen:
        make(f"{FILTER}/{pair}", None, method="PUT")
    return found


_ROOT = "/v3/OS-EP-FILTER"
EXAMPLES = {
    f"POST {_ROOT}/endpoint_groups": Example(
        {"endpoint_group": {"name": "x", "filters": {"interface": "admin"}}}
    ),
    f"PUT {_ROOT}/endpoint_groups/{{endpoint_group_id}}/projects/{{project_id}}": Example(
        things={"endpoint_group_id": "{spare_endpoint_group_id}"}
    ),
    f"PUT {_ROOT}/projects/{{project_id}}/endpoints/{{endpoint_id}}": Example(
        things={"endpoint_id": "{spare_endpoint_id}"}
    ),
}
