"""Policies, and what they are for."""

from __future__ import annotations

from tests.authorization.asking import Example
from tests.authorization.worlds import Things, World

V3 = "/identity/v3"


def things(world: World) -> Things:
    """A policy that is for the endpoint, the service and the service in the region."""
    make, known = world.admin, world.things
    body = {"policy": {"blob": "{}", "type": "application/json"}}
    policy = make(f"{V3}/policies", body, "policy", "id")
    for subject in (
        f"endpoints/{known['endpoint_id']}",
        f"services/{known['service_id']}",
        f"services/{known['service_id']}/regions/{known['region_id']}",
    ):
        make(f"{V3}/policies/{policy}/OS-ENDPOINT-POLICY/{subject}", None, method="PUT")
    return {"policy_id": policy}


EXAMPLES: dict[str, Example] = {}
