"""Policies, and what they are for."""

from __future__ import annotations

from tests.cloud import TestedCloud
from tests.identity_walks import Walk


def walk(walk: Walk, cloud: TestedCloud) -> None:
    service = walk("POST", "/services", 201, {"service": {"type": "walk-policy"}})["service"]["id"]
    walk("PUT", "/regions/{region_id}", 201, {"region": {}}, region_id="walk-policy")
    endpoint = walk(
        "POST",
        "/endpoints",
        201,
        {
            "endpoint": {
                "service_id": service,
                "interface": "public",
                "url": "http://x.test",
                "region_id": "walk-policy",
            }
        },
    )["endpoint"]
    blob = "{'foobar_user': 'role:compute-user'}"
    made = walk("POST", "/policies", 201, {"policy": {"blob": blob, "type": "application/json"}})[
        "policy"
    ]
    ids = {
        "policy_id": made["id"],
        "endpoint_id": endpoint["id"],
        "service_id": service,
        "region_id": "walk-policy",
    }
    one = "/policies/{policy_id}"
    assert walk("GET", one, 200, **ids)["policy"] == made
    assert made in walk("GET", "/policies", 200)["policies"]
    assert walk("GET", "/policies?type=text/plain", 200)["policies"] == []
    change = {"policy": {"blob": {"foobar_user": ["role:compute-user"]}}}
    changed = walk("PATCH", one, 200, change, **ids)["policy"]
    assert changed == {**made, **change["policy"]}
    root = f"{one}/OS-ENDPOINT-POLICY"
    for subject in (
        "endpoints/{endpoint_id}",
        "services/{service_id}",
        "services/{service_id}/regions/{region_id}",
    ):
        path = f"{root}/{subject}"
        walk("GET", path, 404, **ids)
        walk("PUT", path, 204, **ids)
        walk("PUT", path, 204, **ids)
        walk("GET", path, 204, **ids)
        assert walk("GET", f"{root}/endpoints", 200, **ids)["endpoints"] == [endpoint]
        found = walk("GET", "/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy", 200, **ids)
        assert found["policy"] == changed
        walk("DELETE", path, 204, **ids)
        walk("DELETE", path, 404, **ids)
    walk("GET", "/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy", 404, **ids)
    walk("DELETE", one, 204, **ids)
    walk("GET", one, 404, **ids)
    walk("DELETE", "/services/{service_id}", 204, **ids)
    walk("DELETE", "/regions/{region_id}", 204, **ids)
