"""Registered limits and limits."""

from __future__ import annotations

from tests.cloud import TestedCloud
from tests.identity_walks import Walk


def walk(walk: Walk, cloud: TestedCloud) -> None:
    service = walk("POST", "/services", 201, {"service": {"type": "walk-limits"}})["service"]["id"]
    given = {"service_id": service, "resource_name": "volumes", "default_limit": 10}
    [made] = walk("POST", "/registered_limits", 201, {"registered_limits": [given]})[
        "registered_limits"
    ]
    registered = {"registered_limit_id": made["id"]}
    one = "/registered_limits/{registered_limit_id}"
    change = {"registered_limit": {"default_limit": 5}}
    assert walk("PATCH", one, 200, change, **registered)["registered_limit"]["default_limit"] == 5
    assert walk("GET", one, 200, **registered)["registered_limit"] == {**made, "default_limit": 5}
    assert walk("GET", "/registered_limits", 200)["registered_limits"]
    assert walk("GET", "/limits/model", 200)["model"]["name"] == "flat"
    own = {
        "service_id": service,
        "resource_name": "volumes",
        "resource_limit": 3,
        "domain_id": "default",
    }
    [made] = walk("POST", "/limits", 201, {"limits": [own]})["limits"]
    limit = {"limit_id": made["id"]}
    changed = walk("PATCH", "/limits/{limit_id}", 200, {"limit": {"description": "d"}}, **limit)
    assert changed["limit"] == {**made, "description": "d"}
    assert walk("GET", "/limits/{limit_id}", 200, **limit) == changed
    assert changed["limit"] in walk("GET", "/limits", 200)["limits"]
    walk("DELETE", "/limits/{limit_id}", 204, **limit)
    walk("DELETE", one, 204, **registered)
    walk("DELETE", "/services/{service_id}", 204, service_id=service)
