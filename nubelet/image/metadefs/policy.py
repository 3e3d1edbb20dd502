"""Policy rules of metadata definitions, named and defaulted as upstream's.

Targets: the namespace gives `project_id` (its owner), `owner` and `visibility`. Everybody who may
read sees the definitions of public namespaces and of those of the own project; only
administrators change them.
"""

from __future__ import annotations

from nubelet.kernel.policy import Rule

_ADMIN = "rule:context_is_admin"
_READER = f"{_ADMIN} or (role:reader and project_id:%(project_id)s)"
_SEEN = f"{_ADMIN} or (role:reader and (project_id:%(project_id)s or 'public':%(visibility)s))"
_CHANGE = "rule:metadef_admin"
_SCOPE = ("project",)

_READS = {
    "get_metadef_namespace": "Show a namespace",
    "get_metadef_object": "Show an object",
    "get_metadef_objects": "List the objects of a namespace",
    "list_metadef_resource_types": "List resource types",
    "get_metadef_resource_type": "Show a resource type",
    "get_metadef_property": "Show a property definition",
    "get_metadef_properties": "List the property definitions of a namespace",
    "get_metadef_tag": "Show a tag definition",
    "get_metadef_tags": "List the tag definitions of a namespace",
}
_CHANGES = {
    "add_metadef_namespace": "Create a namespace",
    "modify_metadef_namespace": "Change a namespace",
    "delete_metadef_namespace": "Delete a namespace",
    "add_metadef_object": "Create an object",
    "modify_metadef_object": "Change an object",
    "delete_metadef_object": "Delete an object",
    "add_metadef_resource_type_association": "Associate a namespace with a resource type",
    "remove_metadef_resource_type_association": "Remove such an association",
    "add_metadef_property": "Create a property definition",
    "modify_metadef_property": "Change a property definition",
    "remove_metadef_property": "Delete a property definition",
    "add_metadef_tag": "Create a tag definition",
    "add_metadef_tags": "Create tag definitions",
    "modify_metadef_tag": "Change a tag definition",
    "delete_metadef_tag": "Delete a tag definition",
    "delete_metadef_tags": "Delete the tag definitions of a namespace",
}

RULES = (
    Rule("metadef_default", "", "Everybody: kept for policy files that name it"),
    Rule("metadef_admin", _ADMIN, "Who may change metadata definitions"),
    Rule("get_metadef_namespaces", _READER, "List namespaces", (), _SCOPE),
    *(Rule(name, _SEEN, text, (), _SCOPE) for name, text in _READS.items()),
    *(Rule(name, _CHANGE, text, (), _SCOPE) for name, text in _CHANGES.items()),
)
