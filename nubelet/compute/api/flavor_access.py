"""`/flavors/{id}/os-flavor-access` and its actions: which projects may use a private flavor.

API reference: https://docs.openstack.org/api-ref/compute/#flavors-access-flavors-os-flavor-access-addtenantaccess-removetenantaccess-action
"""

from __future__ import annotations

from typing import Any

from nubelet.compute import flavors
from nubelet.compute.api import schemas as s
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route

_RULE = "os_compute_api:os-flavor-access"


def _view(tx: Tx, row: Any) -> dict[str, Any]:
    return {
        "flavor_access": [
            {"flavor_id": row.id, "tenant_id": project_id}
            for project_id in flavors.projects_with_access(tx, row)
        ]
    }


def list(ctx: Context, request: Request) -> object:
    """List the projects that may use a private flavor."""
    with ctx.cloud.database.read() as tx:
        return _view(tx, flavors.find(ctx, tx, request.params["flavor_id"]))


def add(ctx: Context, request: Request) -> object:
    """Let a project use a private flavor."""
    project_id = request.body["addTenantAccess"]["tenant"]
    with ctx.cloud.database.write() as tx:
        row = flavors.find(ctx, tx, request.params["flavor_id"])
        flavors.require_project(tx, project_id)
        flavors.add_access(tx, row, project_id)
        return _view(tx, row)


def remove(ctx: Context, request: Request) -> object:
    """Let a project no longer use a private flavor."""
    project_id = request.body["removeTenantAccess"]["tenant"]
    with ctx.cloud.database.write() as tx:
        row = flavors.find(ctx, tx, request.params["flavor_id"])
        flavors.require_project(tx, project_id)
        flavors.remove_access(tx, row, project_id)
        return _view(tx, row)


def _body(action: str) -> s.Schema:
    tenant = {"type": "string", "minLength": 1, "maxLength": 255}
    return s.wrapped(action, s.obj({"tenant": tenant}, ("tenant",)))


_ACTION = "/flavors/{flavor_id}/action"
_ANSWER: s.Schema = {"type": "object", "properties": {"flavor_access": {"type": "array"}}}

ROUTES = (
    Route(
        method="GET",
        path="/flavors/{flavor_id}/os-flavor-access",
        handler=list,
        rule=_RULE,
        response=_ANSWER,
    ),
    Route(
        method="POST",
        path=_ACTION,
        action="addTenantAccess",
        handler=add,
        rule=_RULE + ":add_tenant_access",
        body=_body("addTenantAccess"),
        response=_ANSWER,
    ),
    Route(
        method="POST",
        path=_ACTION,
        action="removeTenantAccess",
        handler=remove,
        rule=_RULE + ":remove_tenant_access",
        body=_body("removeTenantAccess"),
        response=_ANSWER,
    ),
)
