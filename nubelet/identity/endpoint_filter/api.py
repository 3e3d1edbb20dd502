"""`/v3/OS-EP-FILTER`: endpoint groups, and which endpoints a project sees.

In OpenStack: keystone/api/os_ep_filter.py.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity import projects, services
from nubelet.identity.api.catalog import ENDPOINTS
from nubelet.identity.api.projects import PROJECTS, with_tags
from nubelet.identity.api.resource import (
    PREFIX,
    TEXT,
    IdentityResource,
    all_links,
    list_answer,
    require,
)
from nubelet.identity.endpoint_filter import associations
from nubelet.identity.endpoint_filter.model import (
    endpoint_group,
    project_endpoint,
    project_endpoint_group,
)
from nubelet.identity.model import endpoint, project
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound
from nubelet.kernel.http.fields import Field
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Handler, Route

_FILTERS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "service_id": {"type": ["string", "null"], "minLength": 1, "maxLength": 64},
        "region_id": {"type": ["string", "null"], "minLength": 1, "maxLength": 255},
        "interface": {"enum": ["public", "internal", "admin", None]},
    },
}
_NAME = {"type": "string", "minLength": 1, "maxLength": 255}


class _EndpointGroups(IdentityResource):
    folder = "OS-EP-FILTER/"


GROUPS = _EndpointGroups(
    "endpoint_group",
    "endpoint_groups",
    endpoint_group,
    (
        Field(name="id", schema={"type": "string"}),
        Field(name="name", schema=_NAME, create="required", update=True, filter="exact"),
        Field(name="description", schema=TEXT, create="optional", update=True),
        Field(name="filters", schema=_FILTERS, create="required", update=True),
    ),
)


# --- Endpoint groups ------------------------------------------------------------------------------


def list_all(ctx: Context, request: Request) -> object:
    """List endpoint groups."""
    with ctx.cloud.database.read() as tx:
        return list_answer(ctx, tx, request, GROUPS, sa.select(endpoint_group))


def create(ctx: Context, request: Request) -> object:
    """Create an endpoint group."""
    given = dict(request.body["endpoint_group"])
    given["filters"] = {name: value for name, value in given["filters"].items() if value}
    with ctx.cloud.database.write() as tx:
        return {"endpoint_group": GROUPS.view(ctx)(associations.create_group(ctx, tx, given))}


def show(ctx: Context, request: Request) -> object:
    """Show an endpoint group."""
    with ctx.cloud.database.read() as tx:
        return {"endpoint_group": GROUPS.view(ctx)(_group(tx, request))}


def update(ctx: Context, request: Request) -> object:
    """Change an endpoint group."""
    with ctx.cloud.database.write() as tx:
        row = _group(tx, request)
        changed = associations.update_group(ctx, tx, row, request.body["endpoint_group"])
        return {"endpoint_group": GROUPS.view(ctx)(changed)}


def delete(ctx: Context, request: Request) -> None:
    """Delete an endpoint group."""
    with ctx.cloud.database.write() as tx:
        associations.delete_group(ctx, tx, _group(tx, request))


def list_group_endpoints(ctx: Context, request: Request) -> object:
    """The endpoints in an endpoint group."""
    with ctx.cloud.database.read() as tx:
        rows = associations.endpoints_in(tx, [_group(tx, request)])
    return _endpoints(ctx, request, rows)


def list_group_projects(ctx: Context, request: Request) -> object:
    """The projects that see an endpoint group."""
    with ctx.cloud.database.read() as tx:
        group = _group(tx, request)
        table = project_endpoint_group
        return _projects(ctx, tx, request, table, table.c.endpoint_group_id == group.id)


# --- What a project sees --------------------------------------------------------------------------


def show_group_of_project(ctx: Context, request: Request) -> object:
    """Whether a project sees an endpoint group."""
    with ctx.cloud.database.read() as tx:
        project_row, group = _project(tx, request), _group(tx, request)
        _require_seen(tx, project_endpoint_group, project_row.id, group.id)
    path = f"OS-EP-FILTER/endpoint_groups/{group.id}/projects/{project_row.id}"
    return {
        "project_endpoint_group": {
            "project_id": project_row.id,
            "endpoint_group_id": group.id,
            "links": {"self": f"{ctx.base_url}{PREFIX}/{path}"},
        }
    }


def add_group(ctx: Context, request: Request) -> None:
    """Show an endpoint group to a project."""
    with ctx.cloud.database.write() as tx:
        project_row, group = _project(tx, request), _group(tx, request)
        associations.associate(ctx, tx, project_endpoint_group, project_row.id, group.id)


def remove_group(ctx: Context, request: Request) -> None:
    """Hide an endpoint group from a project."""
    with ctx.cloud.database.write() as tx:
        project_row, group = _project(tx, request), _group(tx, request)
        if not associations.dissociate(ctx, tx, project_endpoint_group, project_row.id, group.id):
            raise _not_seen(project_row.id, group.id)


def list_project_groups(ctx: Context, request: Request) -> object:
    """The endpoint groups that a project sees."""
    with ctx.cloud.database.read() as tx:
        rows = associations.groups_of(tx, _project(tx, request).id)
    view = GROUPS.view(ctx)
    return {"endpoint_groups": [view(row) for row in rows], "links": all_links(request)}


def list_project_endpoints(ctx: Context, request: Request) -> object:
    """The endpoints that a project sees, by themselves and by groups."""
    with ctx.cloud.database.read() as tx:
        rows = associations.endpoints_of(tx, _project(tx, request).id)
    return _endpoints(ctx, request, rows)


def list_endpoint_projects(ctx: Context, request: Request) -> object:
    """The projects that see an endpoint by itself."""
    with ctx.cloud.database.read() as tx:
        row = _endpoint(tx, request)
        table = project_endpoint
        return _projects(ctx, tx, request, table, table.c.endpoint_id == row.id)


def check_endpoint(ctx: Context, request: Request) -> None:
    """204 if a project sees an endpoint by itself."""
    with ctx.cloud.database.read() as tx:
        row, project_row = _endpoint(tx, request), _project(tx, request)
        _require_seen(tx, project_endpoint, project_row.id, row.id)


def add_endpoint(ctx: Context, request: Request) -> None:
    """Show an endpoint to a project."""
    with ctx.cloud.database.write() as tx:
        row, project_row = _endpoint(tx, request), _project(tx, request)
        associations.associate(ctx, tx, project_endpoint, project_row.id, row.id)


def remove_endpoint(ctx: Context, request: Request) -> None:
    """Hide an endpoint from a project."""
    ids = request.params["project_id"], request.params["endpoint_id"]
    with ctx.cloud.database.write() as tx:
        if not associations.dissociate(ctx, tx, project_endpoint, *ids):
            raise _not_seen(*ids)


# --- Parts ----------------------------------------------------------------------------------------


def _group(tx: Tx, request: Request) -> Any:
    identifier = request.params["endpoint_group_id"]
    return require(associations.find_group(tx, identifier), "endpoint group", identifier)


def _project(tx: Tx, request: Request) -> Any:
    identifier = request.params["project_id"]
    return require(projects.find(tx, identifier), "project", identifier)


def _endpoint(tx: Tx, request: Request) -> Any:
    identifier = request.params["endpoint_id"]
    return require(services.find(tx, endpoint, identifier), "endpoint", identifier)


def _require_seen(tx: Tx, table: sa.Table, project_id: str, other_id: str) -> None:
    if not associations.is_associated(tx, table, project_id, other_id):
        raise _not_seen(project_id, other_id)


def _not_seen(project_id: str, other_id: str) -> NotFound:
    return NotFound(message=f"The project {project_id} does not see {other_id} by itself.")


def _endpoints(ctx: Context, request: Request, rows: list[Any]) -> dict[str, Any]:
    view = ENDPOINTS.view(ctx)
    return {"endpoints": [view(row) for row in rows], "links": all_links(request)}


def _projects(
    ctx: Context, tx: Tx, request: Request, table: sa.Table, condition: sa.ColumnElement[bool]
) -> dict[str, Any]:
    rows = tx.all(
        sa.select(project)
        .join(table, table.c.project_id == project.c.id)
        .where(condition)
        .order_by(project.c.id)
    )
    view = with_tags(tx, rows, PROJECTS.view(ctx))
    return {"projects": [view(row) for row in rows], "links": all_links(request)}


def _route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
    return Route(
        method=method,
        path=f"/OS-EP-FILTER{path}",
        handler=handler,
        rule=f"identity:{rule}",
        **more,
    )


_GROUP = "/endpoint_groups/{endpoint_group_id}"
_GROUP_PROJECT = f"{_GROUP}/projects/{{project_id}}"
_ENDPOINT = "/projects/{project_id}/endpoints/{endpoint_id}"
ROUTES = (
    _route(
        "GET",
        "/endpoint_groups",
        list_all,
        "list_endpoint_groups",
        response=GROUPS.list_schema,
    ),
    _route(
        "POST",
        "/endpoint_groups",
        create,
        "create_endpoint_group",
        status=201,
        body=GROUPS.create_schema,
        response=GROUPS.show_schema,
    ),
    _route("GET", _GROUP, show, "get_endpoint_group", response=GROUPS.show_schema),
    _route(
        "PATCH",
        _GROUP,
        update,
        "update_endpoint_group",
        body=GROUPS.update_schema,
        response=GROUPS.show_schema,
    ),
    _route("DELETE", _GROUP, delete, "delete_endpoint_group", status=204),
    _route(
        "GET",
        f"{_GROUP}/endpoints",
        list_group_endpoints,
        "list_endpoints_associated_with_endpoint_group",
    ),
    _route(
        "GET",
        f"{_GROUP}/projects",
        list_group_projects,
        "list_projects_associated_with_endpoint_group",
    ),
    _route("GET", _GROUP_PROJECT, show_group_of_project, "get_endpoint_group_in_project"),
    _route("PUT", _GROUP_PROJECT, add_group, "add_endpoint_group_to_project", status=204),
    _route(
        "DELETE", _GROUP_PROJECT, remove_group, "remove_endpoint_group_from_project", status=204
    ),
    _route(
        "GET",
        "/projects/{project_id}/endpoint_groups",
        list_project_groups,
        "list_endpoint_groups_for_project",
    ),
    _route(
        "GET",
        "/projects/{project_id}/endpoints",
        list_project_endpoints,
        "list_endpoints_for_project",
    ),
    _route(
        "GET",
        "/endpoints/{endpoint_id}/projects",
        list_endpoint_projects,
        "list_projects_for_endpoint",
    ),
    _route("GET", _ENDPOINT, check_endpoint, "check_endpoint_in_project", status=204),
    _route("PUT", _ENDPOINT, add_endpoint, "add_endpoint_to_project", status=204),
    _route("DELETE", _ENDPOINT, remove_endpoint, "remove_endpoint_from_project", status=204),
)
