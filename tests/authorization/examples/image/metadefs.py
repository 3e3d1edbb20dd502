"""Metadata definitions."""

from __future__ import annotations

from tests.authorization.asking import Example
from tests.authorization.worlds import Things, World

V2 = "/image/v2/metadefs/namespaces"


def things(world: World) -> Things:
    """A private namespace of the project with one of everything, and a public one."""

    def namespace(name: str, visibility: str) -> str:
        body = {
            "namespace": name,
            "owner": world.project_id,
            "visibility": visibility,
            "objects": [{"name": "o"}],
            "properties": {"p": {"title": "x", "type": "string"}},
            "tags": [{"name": "t"}],
            "resource_type_associations": [{"name": "r"}],
        }
        return world.admin(V2, body, "namespace")

    return {
        "namespace_name": namespace(f"walked-{world.project_id}", "private"),
        "public_namespace_name": namespace(f"shown-{world.project_id}", "public"),
        "object_name": "o",
        "property_name": "p",
        "tag_name": "t",
        "metadefs/name": "r",
    }


_ONE = "/v2/metadefs/namespaces/{namespace_name}"
_PUBLIC = {"namespace_name": "{public_namespace_name}"}
EXAMPLES = {
    "POST /v2/metadefs/namespaces (for the project)": Example(
        {"namespace": "x", "owner": "{project_id}"}
    ),
    f"PUT {_ONE}": Example({"namespace": "{namespace_name}", "owner": "{project_id}"}),
    f"GET {_ONE} (public)": Example(things=_PUBLIC),
    f"PUT {_ONE} (public)": Example({"namespace": "another"}, things=_PUBLIC),
    f"DELETE {_ONE} (public)": Example(things=_PUBLIC),
    f"GET {_ONE}/objects (public)": Example(things=_PUBLIC),
    f"POST {_ONE}/tags/{{tag_name}}": Example(things={"tag_name": "another"}),
    f"PUT {_ONE}/tags/{{tag_name}}": Example({"name": "another"}),
    f"PUT {_ONE}/objects/{{object_name}}": Example({"name": "another"}),
}
