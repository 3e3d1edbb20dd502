"""`GET /v3/role_assignments`: all assignments, with every filter.

In OpenStack: keystone/api/role_assignments.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from nubelet.identity import assignments, listing, projects
from nubelet.identity.api.projects import target
from nubelet.identity.api.resource import PREFIX, all_links, list_target
from nubelet.identity.listing import Filters, Row
from nubelet.identity.model import group, project, role, user
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route

_INHERITED = "scope.OS-INHERIT:inherited_to"
Names = dict[str, dict[str, Any]]


def list_all(ctx: Context, request: Request) -> object:
    """List role assignments: as made, or (`effective`) as they take effect for users."""
    whole_tree = request.flag("include_subtree")
    project_id = request.first("scope.project.id")
    with ctx.cloud.database.read() as tx:
        about = target(projects.find(tx, project_id)) if project_id else {}
        if whole_tree:
            if not project_id:
                raise BadRequest("include_subtree needs scope.project.id.")
            ctx.authorize("identity:list_role_assignments_for_tree", about)
        else:
            ctx.authorize(target={**list_target(ctx), **about})
        filters = _filters(ctx, tx, request, whole_tree)
        found = (listing.effective if request.flag("effective") else listing.select)(tx, filters)
        names = _names(tx, found) if request.flag("include_names") else None
    return {
        "role_assignments": [_shown(ctx, row, names) for row in found],
        "links": all_links(request),
    }


def _filters(ctx: Context, tx: Tx, request: Request, whole_tree: bool) -> Filters:
    first = request.first
    user_id, group_id = first("user.id"), first("group.id")
    project_id, domain_id = first("scope.project.id"), first("scope.domain.id")
    system = "scope.system" in request.query
    inherited = _read_inherited(first(_INHERITED))
    if user_id and group_id:
        raise BadRequest("user.id and group.id exclude each other.")
    if sum((bool(project_id), bool(domain_id), system)) > 1:
        raise BadRequest("scope.project.id, scope.domain.id and scope.system exclude each other.")
    if request.flag("effective"):
        if group_id:
            raise BadRequest("effective and group.id exclude each other: only users are listed.")
        if domain_id and inherited:
            raise BadRequest(
                "effective, scope.domain.id and inherited_to together can never list "
                "anything: inherited roles take effect on projects."
            )
    within = None
    if project_id:
        within = [project_id]
        if whole_tree:
            below = tx.all(assignments.descendants([project_id]))
            within += [row.id for row in below]
    return Filters(
        user_id,
        group_id,
        first("role.id"),
        within,
        domain_id,
        system,
        inherited,
        ctx.credentials.domain_id,
    )


def _read_inherited(value: str | None) -> bool:
    if value not in (None, "", "projects"):
        raise BadRequest(f"Invalid input for query parameter {_INHERITED}: only 'projects'.")
    return value is not None


def _shown(ctx: Context, row: Row, names: Names | None) -> dict[str, Any]:
    made = row.made or row
    start = ctx.base_url + PREFIX
    links = {"assignment": f"{start}{_path(made)}"}
    if row.group_id:
        links["membership"] = f"{start}/groups/{row.group_id}/users/{row.actor_id}"
    if row.prior_role_id:
        links["prior_role"] = f"{start}/roles/{row.prior_role_id}"

    def named(kind: str, identifier: str) -> dict[str, Any]:
        return {"id": identifier, **(names[kind].get(identifier, {}) if names else {})}

    scope: dict[str, Any] = (
        {"system": {"all": True}}
        if row.target_type == "system"
        else {row.target_type: named(row.target_type, row.target_id)}
    )
    if row.inherited:
        scope["OS-INHERIT:inherited_to"] = "projects"
    return {
        "role": named("role", row.role_id),
        "scope": scope,
        "links": links,
        row.actor_type: named(row.actor_type, row.actor_id),
    }


def _path(row: Row) -> str:
    """Where the assignment itself is found."""
    target = "system" if row.target_type == "system" else f"{row.target_type}s/{row.target_id}"
    path = f"/{target}/{row.actor_type}s/{row.actor_id}/roles/{row.role_id}"
    return f"/OS-INHERIT{path}/inherited_to_projects" if row.inherited else path


def _names(tx: Tx, rows: Iterable[Row]) -> Names:
    """Names (and domains) of everything in the list, in one query per kind."""
    home = project.alias("home")
    wanted: dict[str, set[str]] = {
        kind: set() for kind in ("user", "group", "project", "domain", "role")
    }
    for row in rows:
        wanted[row.actor_type].add(row.actor_id)
        wanted["role"].add(row.role_id)
        if row.target_type != "system":
            wanted[row.target_type].add(row.target_id)
    found: Names = {}
    for kind, table in (
        ("user", user),
        ("group", group),
        ("project", project),
        ("role", role),
        ("domain", project),
    ):
        statement = (
            sa.select(
                table.c.id,
                table.c.name,
                table.c.domain_id,
                home.c.name.label("domain_name"),
            )
            .outerjoin(home, home.c.id == table.c.domain_id)
            .where(table.c.id.in_(wanted[kind]))
        )
        found[kind] = {each.id: _named(each) for each in tx.all(statement)} if wanted[kind] else {}
    return found


def _named(row: Any) -> dict[str, Any]:
    if row.domain_id is None:
        return {"name": row.name}
    return {"name": row.name, "domain": {"id": row.domain_id, "name": row.domain_name}}


ROUTES = (
    Route(
        method="GET",
        path="/role_assignments",
        handler=list_all,
        rule_needs_target=True,
        rule="identity:list_role_assignments",
    ),
)
