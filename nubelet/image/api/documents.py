"""What the service says of itself: versions and JSON schemas."""

from __future__ import annotations

from typing import Any

from nubelet.image.schemas import IMAGE, MEMBER, TASK, TASK_BRIEF, collection
from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Handler, Route

_VERSIONS = (
    "v2.17",
    "v2.16",
    "v2.15",
    "v2.14",
    "v2.13",
    "v2.12",
    "v2.11",
    "v2.10",
    "v2.9",
    "v2.8",
    "v2.7",
    "v2.6",
    "v2.5",
    "v2.4",
    "v2.3",
    "v2.2",
    "v2.1",
    "v2.0",
)
_OF_THE_CACHE = ("v2.16", "v2.14")  # not there where there is no image cache
_SCHEMAS = {
    "image": IMAGE,
    "images": collection("images", IMAGE),
    "member": MEMBER,
    "members": collection("members", MEMBER),
    "task": TASK,
    "tasks": {
        "name": "tasks",
        "properties": {
            "tasks": {"type": "array", "items": TASK_BRIEF},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [{"rel": "describedby", "href": "{schema}"}],
    },
}


def versions(ctx: Context, request: Request) -> object:
    """List the API versions."""
    return Response(300 if request.path.rstrip("/") == "/image" else 200, _document(ctx))


def _document(ctx: Context) -> dict[str, Any]:
    link = [{"rel": "self", "href": f"{ctx.base_url}/image/v2/"}]
    has_cache = ctx.cloud.settings.image.cache_bytes > 0
    return {
        "versions": [
            {"id": version, "status": "CURRENT" if number == 0 else "SUPPORTED", "links": link}
            for number, version in enumerate(_VERSIONS)
            if has_cache or version not in _OF_THE_CACHE
        ]
    }


def _schema(name: str) -> Handler:
    def show(ctx: Context, request: Request) -> object:
        return _SCHEMAS[name]

    show.__doc__ = f"Show the JSON schema of {name}."
    return show


ROUTES = (
    Route(
        method="GET",
        path="/",
        handler=versions,
        open=True,
        prefixed=False,
        summary="List API versions",
    ),
    Route(
        method="GET",
        path="/versions",
        handler=versions,
        open=True,
        prefixed=False,
        summary="List API versions",
    ),
    *(
        Route(
            method="GET",
            path=f"/schemas/{name}",
            handler=_schema(name),
            open=True,
            summary=f"Show the schema of {name}",
        )
        for name in _SCHEMAS
    ),
)
