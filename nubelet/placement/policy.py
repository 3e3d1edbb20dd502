"""Policy rules of placement, named and defaulted as upstream's.

Only administrators (of the cloud, or of placement) and services look at hosts; a project's readers
may see its own usage.
"""

from __future__ import annotations

from nubelet.kernel.policy import MONITOR, Rule

_SCOPE = ("project",)
_DEFAULT = "rule:admin_or_service_api"


def _rule(name: str, description: str, method: str, path: str, check: str = _DEFAULT) -> Rule:
    return Rule(f"placement:{name}", check, description, ((method, path),), _SCOPE)


RULES = (
    MONITOR,
    Rule(
        "context_is_admin",
        "role:admin or role:placement_admin",
        "Administrators of the cloud, and of this service",
    ),
    Rule("admin_api", "rule:context_is_admin", "Administrators", (), _SCOPE),
    Rule("service_api", "role:service", "Services of the cloud", (), _SCOPE),
    Rule(
        "admin_or_service_api",
        "rule:context_is_admin or role:service",
        "Most operations",
        (),
        _SCOPE,
    ),
    Rule("project_reader_api", "role:reader and project_id:%(project_id)s", "Readers of a project"),
    Rule(
        "admin_or_project_reader_or_service_api",
        "rule:context_is_admin or rule:project_reader_api or role:service",
        "What a project may see",
        (),
        _SCOPE,
    ),
    _rule("resource_providers:list", "List providers", "GET", "/resource_providers"),
    _rule("resource_providers:create", "Create a provider", "POST", "/resource_providers"),
    _rule("resource_providers:show", "Show a provider", "GET", "/resource_providers/{uuid}"),
    _rule("resource_providers:update", "Change a provider", "PUT", "/resource_providers/{uuid}"),
    _rule("resource_providers:delete", "Delete a provider", "DELETE", "/resource_providers/{uuid}"),
    _rule("resource_classes:list", "List resource classes", "GET", "/resource_classes"),
    _rule("resource_classes:create", "Create a resource class", "POST", "/resource_classes"),
    _rule("resource_classes:show", "Show a resource class", "GET", "/resource_classes/{name}"),
    _rule(
        "resource_classes:update",
        "Create or rename a resource class",
        "PUT",
        "/resource_classes/{name}",
    ),
    _rule(
        "resource_classes:delete", "Delete a resource class", "DELETE", "/resource_classes/{name}"
    ),
    _rule(
        "resource_providers:inventories:list",
        "List the inventories of a provider",
        "GET",
        "/resource_providers/{uuid}/inventories",
    ),
    _rule(
        "resource_providers:inventories:create",
        "Add an inventory to a provider",
        "POST",
        "/resource_providers/{uuid}/inventories",
    ),
    _rule(
        "resource_providers:inventories:show",
        "Show an inventory of a provider",
        "GET",
        "/resource_providers/{uuid}/inventories/{resource_class}",
    ),
    Rule(
        "placement:resource_providers:inventories:update",
        _DEFAULT,
        "Change inventories of a provider",
        (
            ("PUT", "/resource_providers/{uuid}/inventories"),
            ("PUT", "/resource_providers/{uuid}/inventories/{resource_class}"),
        ),
        _SCOPE,
    ),
    Rule(
        "placement:resource_providers:inventories:delete",
        _DEFAULT,
        "Delete inventories of a provider",
        (
            ("DELETE", "/resource_providers/{uuid}/inventories"),
            ("DELETE", "/resource_providers/{uuid}/inventories/{resource_class}"),
        ),
        _SCOPE,
    ),
    _rule(
        "resource_providers:aggregates:list",
        "List the aggregates of a provider",
        "GET",
        "/resource_providers/{uuid}/aggregates",
    ),
    _rule(
        "resource_providers:aggregates:update",
        "Set the aggregates of a provider",
        "PUT",
        "/resource_providers/{uuid}/aggregates",
    ),
    _rule(
        "resource_providers:usages",
        "Show what is used of a provider",
        "GET",
        "/resource_providers/{uuid}/usages",
    ),
    _rule(
        "usages",
        "Show what a project uses",
        "GET",
        "/usages",
        "rule:admin_or_project_reader_or_service_api",
    ),
    _rule("traits:list", "List traits", "GET", "/traits"),
    _rule("traits:show", "Ask whether a trait exists", "GET", "/traits/{name}"),
    _rule("traits:update", "Create a trait", "PUT", "/traits/{name}"),
    _rule("traits:delete", "Delete a trait", "DELETE", "/traits/{name}"),
    _rule(
        "resource_providers:traits:list",
        "List the traits of a provider",
        "GET",
        "/resource_providers/{uuid}/traits",
    ),
    _rule(
        "resource_providers:traits:update",
        "Set the traits of a provider",
        "PUT",
        "/resource_providers/{uuid}/traits",
    ),
    _rule(
        "resource_providers:traits:delete",
        "Remove all traits of a provider",
        "DELETE",
        "/resource_providers/{uuid}/traits",
    ),
    _rule("allocations:manage", "Set the allocations of several consumers", "POST", "/allocations"),
    _rule(
        "allocations:list",
        "List the allocations of a consumer",
        "GET",
        "/allocations/{consumer_uuid}",
    ),
    _rule(
        "allocations:update",
        "Set the allocations of a consumer",
        "PUT",
        "/allocations/{consumer_uuid}",
    ),
    _rule(
        "allocations:delete",
        "Delete the allocations of a consumer",
        "DELETE",
        "/allocations/{consumer_uuid}",
    ),
    _rule(
        "resource_providers:allocations:list",
        "List the allocations of a provider",
        "GET",
        "/resource_providers/{uuid}/allocations",
    ),
    _rule(
        "allocation_candidates:list",
        "Find where resources would fit",
        "GET",
        "/allocation_candidates",
    ),
    _rule(
        "reshaper:reshape",
        "Move inventories with their allocations",
        "POST",
        "/reshaper",
        "rule:service_api",
    ),
)
