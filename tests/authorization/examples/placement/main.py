"""What the matrix asks of placement. Nothing here belongs to a project but allocations."""

from __future__ import annotations

from uuid import uuid4

from tests.authorization.asking import Example
from tests.authorization.worlds import Things, World

_PROVIDERS = "/placement/resource_providers"


def things(world: World) -> Things:
    """A provider with an inventory, an allocation of the project, a class and a trait."""
    make = world.admin
    make.client.headers["OpenStack-API-Version"] = "placement 1.39"
    found = {"uuid": str(uuid4()), "spare_uuid": str(uuid4()), "consumer_uuid": str(uuid4())}
    for key in ("uuid", "spare_uuid"):
        make(_PROVIDERS, {"name": found[key], "uuid": found[key]})
    inventories = {"VCPU": {"total": 8}, "DISK_GB": {"total": 8}}
    body = {"inventories": inventories, "resource_provider_generation": 0}
    make(f"{_PROVIDERS}/{found['uuid']}/inventories", body, method="PUT")
    make(
        f"/placement/allocations/{found['consumer_uuid']}",
        {
            "allocations": {found["uuid"]: {"resources": {"VCPU": 1}}},
            "project_id": world.project_id,
            "user_id": world.user_id,
            "consumer_generation": None,
            "consumer_type": "INSTANCE",
        },
        method="PUT",
    )
    name = f"CUSTOM_{world.name.upper()}"
    make(f"/placement/traits/{name}", None, method="PUT")
    make("/placement/resource_classes", {"name": name})
    return found | {
        "traits/name": name,
        "resource_classes/name": name,
        "resource_class": "DISK_GB",
    }


_ALLOCATIONS = {
    "allocations": {"{uuid}": {"resources": {"VCPU": 2}}},
    "project_id": "{project_id}",
    "user_id": "{user_id}",
    "consumer_generation": 1,
    "consumer_type": "INSTANCE",
}
_ONE = "/resource_providers/{uuid}"
_SPARE = {"uuid": "{spare_uuid}"}
EXAMPLES = {
    "GET /allocation_candidates": Example(query="resources=VCPU:1"),
    "GET /usages": Example(query="project_id={project_id}"),
    f"DELETE {_ONE}": Example(things=_SPARE),
    f"PUT {_ONE}/inventories": Example(
        {"inventories": {}, "resource_provider_generation": 0}, things=_SPARE
    ),
    f"POST {_ONE}/inventories": Example({"resource_class": "VCPU", "total": 1}, things=_SPARE),
    f"PUT {_ONE}/inventories/{{resource_class}}": Example(
        {"resource_provider_generation": 2, "total": 9}
    ),
    f"DELETE {_ONE}/inventories": Example(things=_SPARE),
    f"PUT {_ONE}/traits": Example({"traits": [], "resource_provider_generation": 0}, things=_SPARE),
    f"PUT {_ONE}/aggregates": Example(
        {"aggregates": [], "resource_provider_generation": 0}, things=_SPARE
    ),
    "PUT /allocations/{consumer_uuid}": Example(_ALLOCATIONS),
    "POST /allocations": Example({"{consumer_uuid}": _ALLOCATIONS}),
    "POST /reshaper": Example(
        {
            "inventories": {"{spare_uuid}": {"inventories": {}, "resource_provider_generation": 0}},
            "allocations": {},
        }
    ),
}
