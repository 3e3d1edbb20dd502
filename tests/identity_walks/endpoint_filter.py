"""Endpoint groups, and which endpoints a project sees."""

from __future__ import annotations

from tests.cloud import TestedCloud
from tests.identity_walks import Walk

ROOT = "/OS-EP-FILTER"


def walk(walk: Walk, cloud: TestedCloud) -> None:
    service = walk("POST", "/services", 201, {"service": {"type": "walk-filter"}})["service"]["id"]
    endpoint = walk(
        "POST",
        "/endpoints",
        201,
        {
            "endpoint": {
                "service_id": service,
                "interface": "public",
                "url": "http://x.test",
                "region_id": "RegionOne",
            }
        },
    )["endpoint"]
    project = cloud.user("member").project_id or ""
    made = walk(
        "POST",
        f"{ROOT}/endpoint_groups",
        201,
        {"endpoint_group": {"name": "walk", "filters": {"service_id": service}}},
    )["endpoint_group"]
    one = f"{ROOT}/endpoint_groups/{{endpoint_group_id}}"
    ids = {"endpoint_group_id": made["id"], "project_id": project, "endpoint_id": endpoint["id"]}
    assert walk("GET", one, 200, **ids)["endpoint_group"] == made
    assert made in walk("GET", f"{ROOT}/endpoint_groups", 200)["endpoint_groups"]
    change = {"endpoint_group": {"description": "d"}}
    changed = walk("PATCH", one, 200, change, **ids)["endpoint_group"]
    assert changed == {**made, "description": "d"}
    assert walk("GET", f"{one}/endpoints", 200, **ids)["endpoints"] == [endpoint]
    pair = f"{one}/projects/{{project_id}}"
    walk("GET", pair, 404, **ids)
    walk("PUT", pair, 204, **ids)
    walk("PUT", pair, 409, **ids)
    shown = walk("GET", pair, 200, **ids)["project_endpoint_group"]
    assert shown["endpoint_group_id"] == made["id"]
    assert [each["id"] for each in walk("GET", f"{one}/projects", 200, **ids)["projects"]] == [
        project
    ]
    groups = walk("GET", f"{ROOT}/projects/{{project_id}}/endpoint_groups", 200, **ids)
    assert groups["endpoint_groups"] == [changed]
    endpoints = f"{ROOT}/projects/{{project_id}}/endpoints"
    assert walk("GET", endpoints, 200, **ids)["endpoints"] == [endpoint]
    single = f"{endpoints}/{{endpoint_id}}"
    walk("GET", single, 404, **ids)
    walk("PUT", single, 204, **ids)
    walk("GET", single, 204, **ids)
    walk("HEAD", single, 204, **ids)
    listed = walk("GET", f"{ROOT}/endpoints/{{endpoint_id}}/projects", 200, **ids)["projects"]
    assert [each["id"] for each in listed] == [project]
    walk("DELETE", single, 204, **ids)
    walk("DELETE", single, 404, **ids)
    walk("DELETE", pair, 204, **ids)
    walk("DELETE", pair, 404, **ids)
    walk("DELETE", one, 204, **ids)
    walk("GET", one, 404, **ids)
    walk("DELETE", "/services/{service_id}", 204, service_id=service)
    for what in ("ca", "certificates"):
        walk("GET", f"/OS-SIMPLE-CERT/{what}", 410)
