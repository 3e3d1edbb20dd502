"""What the matrix asks of the image service."""

from __future__ import annotations

from typing import Any

from tests.authorization.asking import Example
from tests.authorization.worlds import Things, World

V2 = "/image/v2/images"
_BYTES = {"Content-Type": "application/octet-stream"}


def things(world: World) -> Things:
    """An image with data and one without; the first is shared with a project that has not yet
    answered, the other with the world's own project by the administrator."""
    make = world.member

    def new(**values: Any) -> str:
        return make(V2, {"disk_format": "raw", "container_format": "bare", **values}, "id")

    found = {
        "image_id": new(name="walked", tags=["walked"], walked="x"),
        "queued_id": new(name="queued"),
    }
    data = make.client.put(f"{V2}/{found['image_id']}/file", content=b"x" * 512, headers=_BYTES)
    assert data.status_code == 204, data.text
    stranger = "0" * 31 + str(len(world.name))
    make(f"{V2}/{found['image_id']}/members", {"member": stranger})
    given = world.admin(
        V2, {"disk_format": "raw", "container_format": "bare", "visibility": "shared"}, "id"
    )
    world.admin(f"{V2}/{given}/members", {"member": world.project_id})
    inactive = new(name="inactive")
    make.client.put(f"{V2}/{inactive}/file", content=b"x" * 512, headers=_BYTES)
    make(f"{V2}/{inactive}/actions/deactivate", None)
    _copy(world, found["image_id"])
    tasks = make.client.get(f"{V2}/{found['image_id']}/tasks").json()["tasks"]
    return found | {
        "task_id": tasks[0]["id"],
        "store_id": "archive",
        "member_id": stranger,
        "given_id": given,
        "inactive_id": inactive,
        "images/tag": "walked",
        "public_community_id": new(name="community", visibility="community"),
    }


def _copy(world: World, image_id: str) -> None:
    """A second copy, so that one may be deleted."""
    asked = {"method": {"name": "copy-image"}, "stores": ["archive"]}
    world.admin(f"{V2}/{image_id}/import", asked)
    world.settle()


_PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
_QUEUED = {"image_id": "{queued_id}"}
_GIVEN = {"image_id": "{given_id}", "member_id": "{project_id}"}
_IMAGE = "/v2/images/{image_id}"


def _visibility(value: str) -> Example:
    patch = [{"op": "replace", "path": "/visibility", "value": value}]
    return Example(patch, headers=_PATCH)


EXAMPLES = {
    "POST /v2/images (for the project)": Example({"owner": "{project_id}"}),
    "POST /v2/images (public)": Example({"visibility": "public"}),
    "POST /v2/images (community)": Example({"visibility": "community"}),
    f"PATCH {_IMAGE}": Example([{"op": "replace", "path": "/name", "value": "x"}], headers=_PATCH),
    f"PATCH {_IMAGE} (public)": _visibility("public"),
    f"PATCH {_IMAGE} (community)": _visibility("community"),
    f"POST {_IMAGE}/actions/reactivate": Example(things={"image_id": "{inactive_id}"}),
    f"GET {_IMAGE} (shared with the project)": Example(things=_GIVEN),
    f"PATCH {_IMAGE} (shared with the project)": Example(
        [{"op": "replace", "path": "/name", "value": "x"}], headers=_PATCH, things=_GIVEN
    ),
    f"DELETE {_IMAGE} (shared with the project)": Example(things=_GIVEN),
    f"PUT {_IMAGE}/file": Example(b"data", things=_QUEUED),
    f"GET {_IMAGE}/file (of a deactivated image)": Example(things={"image_id": "{inactive_id}"}),
    f"PUT {_IMAGE}/stage": Example(b"data", things=_QUEUED),
    f"POST {_IMAGE}/members": Example({"member": "0" * 32}),
    f"GET {_IMAGE}/members (shared with the project)": Example(things=_GIVEN),
    f"GET {_IMAGE}/members/{{member_id}} (shared with the project)": Example(things=_GIVEN),
    f"PUT {_IMAGE}/members/{{member_id}}": Example({"status": "accepted"}),
    f"PUT {_IMAGE}/members/{{member_id}} (shared with the project)": Example(
        {"status": "accepted"}, things=_GIVEN
    ),
    f"DELETE {_IMAGE}/members/{{member_id}} (shared with the project)": Example(things=_GIVEN),
    f"POST {_IMAGE}/import": Example(
        {"method": {"name": "web-download", "uri": "http://example.org/image"}}, things=_QUEUED
    ),
    f"POST {_IMAGE}/import (copy-image)": Example(
        {"method": {"name": "copy-image"}, "stores": ["vault"]}
    ),
    f"POST {_IMAGE}/locations": Example({"url": "http://example.org/image"}, things=_QUEUED),
    "POST /v2/tasks": Example(
        {
            "type": "import",
            "input": {
                "import_from": "http://example.org/image",
                "import_from_format": "raw",
                "image_properties": {"disk_format": "raw", "container_format": "bare"},
            },
        }
    ),
    "GET /v2/images (of the community)": Example(query="visibility=community"),
    "GET /v2/images (shared with the project)": Example(
        query="visibility=shared&member_status=all"
    ),
}
