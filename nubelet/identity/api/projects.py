"""`/v3/projects`: projects, their place in the tree, and their tags.

In OpenStack: keystone/api/projects.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.identity import assignments, projects
from nubelet.identity.api.resource import (
    BOOLEAN,
    ID_OR_NULL,
    OPTIONS,
    TEXT,
    IdentityResource,
    bool_filter,
    enabled_field,
    list_answer,
    list_target,
    name_schema,
    require,
    to_bool,
)
from nubelet.identity.model import project, project_tag
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http.fields import Condition, Field, View
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Handler, Route

MAX_TAGS = 80
_TAG = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^,/]*$"}
TAGS: dict[str, Any] = {"type": "array", "items": _TAG, "maxItems": MAX_TAGS, "uniqueItems": True}


PROJECTS = IdentityResource(
    "project",
    "projects",
    project,
    (
        Field(name="id", schema={"type": "string"}),
        Field(
            name="name",
            schema=name_schema(64),
            create="required",
            update=True,
            filter="exact",
            sort=True,
        ),
        Field(name="domain_id", schema=ID_OR_NULL, create="optional", update=True, filter="exact"),
        Field(name="parent_id", schema=ID_OR_NULL, create="optional", update=True, filter="exact"),
        Field(
            name="is_domain",
            schema=BOOLEAN,
            create="optional",
            update=True,
            default=False,
            filter=bool_filter(project.c.is_domain, "is_domain"),
        ),
        Field(name="description", schema=TEXT, create="optional", update=True),
        enabled_field(project.c.enabled),
        Field(name="options", schema=OPTIONS, create="optional", update=True),
        Field(name="tags", schema=TAGS, create="optional", update=True, show=False),
    ),
    extra_create={},
)


def target(row: Any) -> dict[str, Any]:
    """What policy sees of a project. A domain is nobody's project but the administrator's."""
    if row is None:
        return {}
    found = {"target.project.id": row.id, "target.project.name": row.name}
    return found if row.is_domain else {**found, "target.project.domain_id": row.domain_id}


def with_tags(tx: Tx, rows: Sequence[Any], view: View) -> View:
    """The view, with the tags of these rows."""
    tags = projects.tags_of(tx, [row.id for row in rows])
    return lambda row: {**view(row), "tags": tags[row.id]}


def tag_conditions(ctx: Context, request: Request) -> list[Condition]:
    """`tags` (all of them), `tags-any`, and the negations `not-tags`, `not-tags-any`."""
    found: list[Condition] = []
    for parameter in ("tags", "tags-any", "not-tags", "not-tags-any"):
        for value in request.query.get(parameter, ()):
            each: list[Condition] = [
                project.c.id.in_(
                    sa.select(project_tag.c.project_id).where(project_tag.c.name == name)
                )
                for name in value.split(",")
            ]
            condition = sa.or_(*each) if parameter.endswith("any") else sa.and_(*each)
            found.append(sa.not_(condition) if parameter.startswith("not") else condition)
    return found


def read(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The attributes of a body: those with columns, and the free ones."""
    values, extra = PROJECTS.split(given)
    for name in ("enabled", "is_domain"):
        if name in values:
            values[name] = to_bool(values[name])
    return values, extra


# --- Handlers -----------------------------------------------------------------------------------


def list_all(ctx: Context, request: Request) -> object:
    """List projects; those of the token's domain when it is scoped to one."""
    domain_id = ctx.credentials.domain_id
    ctx.authorize(target=list_target(ctx))
    statement = sa.select(project).where(*tag_conditions(ctx, request))
    if "is_domain" not in request.query:
        statement = statement.where(~project.c.is_domain)
    if domain_id:
        statement = statement.where(
            sa.or_(project.c.domain_id == domain_id, project.c.id == domain_id)
        )
    with ctx.cloud.database.read() as tx:
        return list_answer(
            ctx,
            tx,
            request,
            PROJECTS,
            statement,
            lambda rows: with_tags(tx, rows, PROJECTS.view(ctx)),
        )


def create(ctx: Context, request: Request) -> object:
    """Create a project, or a domain by `is_domain`."""
    values, extra = read(request.body["project"])
    who = ctx.credentials
    if not (who.project_id or who.domain_id or who.system_scope):
        ctx.authorize(target={})  # a token for nothing: refused before anything is looked at
    with ctx.cloud.database.write() as tx:
        _complete(ctx, tx, values)
        known = {} if values.get("is_domain") else {"target.project.domain_id": values["domain_id"]}
        ctx.authorize(target={**known, "target.project.name": values["name"]})
        return {"project": _view(ctx, tx, projects.create(ctx, tx, values, extra))}


def show(ctx: Context, request: Request) -> object:
    """Show a project, with its parents or subtree where the query asks for them."""
    with ctx.cloud.database.read() as tx:
        row = _find(ctx, tx, request)
        answer = _view(ctx, tx, row)
        for name, ids_name, rows in (
            ("parents", "parents_as_ids", _parents),
            ("subtree", "subtree_as_ids", _subtree),
        ):
            as_list, as_ids = f"{name}_as_list" in request.query, ids_name in request.query
            if as_list and as_ids:
                raise BadRequest(f"{name}_as_list and {ids_name} exclude each other.")
            if as_list:
                shown = PROJECTS.view(ctx)
                found = _visible(ctx, tx, rows(tx, row))
                view = with_tags(tx, found, shown)
                answer[name] = [{"project": view(each)} for each in found]
            elif as_ids:
                answer[name] = (
                    _nested_parents(tx, row) if name == "parents" else _nested_subtree(tx, row)
                )
        return {"project": answer}


def update(ctx: Context, request: Request) -> object:
    """Change a project."""
    values, extra = read(request.body["project"])
    with ctx.cloud.database.write() as tx:
        row = _find(ctx, tx, request)
        return {"project": _view(ctx, tx, projects.update(ctx, tx, row, values, extra))}


def delete(ctx: Context, request: Request) -> None:
    """Delete a project that has none below it."""
    with ctx.cloud.database.write() as tx:
        projects.delete(ctx, tx, _find(ctx, tx, request))


def list_tags(ctx: Context, request: Request) -> object:
    """The tags of a project."""
    with ctx.cloud.database.read() as tx:
        row = _find(ctx, tx, request)
        return {"tags": projects.tags_of(tx, [row.id])[row.id]}


def replace_tags(ctx: Context, request: Request) -> object:
    """Replace all tags of a project."""
    with ctx.cloud.database.write() as tx:
        row = _find(ctx, tx, request)
        projects.set_tags(tx, row.id, request.body["tags"])
        return {"tags": projects.tags_of(tx, [row.id])[row.id]}


def delete_tags(ctx: Context, request: Request) -> None:
    """Remove all tags of a project."""
    with ctx.cloud.database.write() as tx:
        projects.set_tags(tx, _find(ctx, tx, request).id, [])


def check_tag(ctx: Context, request: Request) -> None:
    """204 if the project has the tag."""
    with ctx.cloud.database.read() as tx:
        row = _find(ctx, tx, request)
        _require_tag(projects.tags_of(tx, [row.id])[row.id], request.params["tag"])


def add_tag(ctx: Context, request: Request) -> object:
    """Add a tag to a project."""
    tag = request.params["tag"]
    with ctx.cloud.database.write() as tx:
        row = _find(ctx, tx, request)
        tags = projects.tags_of(tx, [row.id])[row.id]
        if tag not in tags:
            if not 0 < len(tag) <= 255 or "," in tag or "/" in tag:
                raise BadRequest(
                    "Invalid input for field/attribute tag: 1 to 255 characters, no commas "
                    "and no slashes."
                )
            if len(tags) >= MAX_TAGS:
                raise BadRequest(f"A project has at most {MAX_TAGS} tags.")
            projects.set_tags(tx, row.id, [*tags, tag])
    return Response(201, headers={"Location": request.url})


def delete_tag(ctx: Context, request: Request) -> None:
    """Remove a tag of a project."""
    tag = request.params["tag"]
    with ctx.cloud.database.write() as tx:
        row = _find(ctx, tx, request)
        tags = projects.tags_of(tx, [row.id])[row.id]
        _require_tag(tags, tag)
        projects.set_tags(tx, row.id, [name for name in tags if name != tag])


# --- Parts --------------------------------------------------------------------------------------


def _find(ctx: Context, tx: Tx, request: Request) -> Any:
    """The project of the path, if the route's rule allows the caller."""
    identifier = request.params["project_id"]
    row = projects.find(tx, identifier)
    ctx.authorize(target=target(row))
    return require(row, "project", identifier)


def _view(ctx: Context, tx: Tx, row: Any) -> dict[str, Any]:
    return with_tags(tx, [row], PROJECTS.view(ctx))(row)


def _complete(ctx: Context, tx: Tx, values: dict[str, Any]) -> None:
    """Work out where a new project goes."""
    if values.get("is_domain"):
        if values.get("domain_id") or values.get("parent_id"):
            raise BadRequest(
                "Invalid input for field/attribute is_domain: a project that acts as "
                "a domain has neither domain_id nor parent_id."
            )
        return
    if not values.get("domain_id"):
        parent = projects.find(tx, values["parent_id"]) if values.get("parent_id") else None
        home = None if parent is None else parent.id if parent.is_domain else parent.domain_id
        # A parent where the caller may make nothing counts as one that does not exist.
        known = ctx.allows("identity:create_project", {"target.project.domain_id": home})
        values["domain_id"] = home if home and known else projects.domain_of_caller(ctx)


def _require_tag(tags: Sequence[str], tag: str) -> None:
    if tag not in tags:
        raise NotFound("project tag", tag)


def _parents(tx: Tx, row: Any) -> list[Any]:
    order = {identifier: at for at, identifier in enumerate(assignments.ancestors(tx, row.id))}
    rows = tx.all(sa.select(project).where(project.c.id.in_(order), ~project.c.is_domain))
    return sorted(rows, key=lambda each: order[each.id])


def _subtree(tx: Tx, row: Any) -> Sequence[Any]:
    return tx.all(
        sa.select(project)
        .where(project.c.id.in_(assignments.descendants([row.id])))
        .order_by(project.c.created_at, project.c.id)
    )


def _visible(ctx: Context, tx: Tx, rows: Sequence[Any]) -> Sequence[Any]:
    """Of relatives, only those where the caller has a role; administrators see all."""
    if ctx.allows("identity:list_projects", list_target(ctx)):
        return rows
    mine = {
        row.id
        for row in tx.all(sa.select(project.c.id).where(assignments.projects_of(tx, ctx.user_id)))
    }
    return [row for row in rows if row.id in mine]


def _list_target(ctx: Context) -> dict[str, Any]:
    domain_id = ctx.credentials.domain_id
    return {"target.domain_id": domain_id} if domain_id else {}


def _nested_parents(tx: Tx, row: Any) -> dict[str, Any] | None:
    """`{parent: {its parent: null}}`, the domain at the end."""
    found: dict[str, Any] | None = None
    for identifier in reversed(assignments.ancestors(tx, row.id)):
        found = {identifier: found}
    return found


def _nested_subtree(tx: Tx, row: Any) -> dict[str, Any] | None:
    children: dict[str, list[str]] = {}
    for each in _subtree(tx, row):
        children.setdefault(each.parent_id, []).append(each.id)

    def nest(identifier: str) -> dict[str, Any] | None:
        return {child: nest(child) for child in children.get(identifier, ())} or None

    return nest(row.id)


_TAGS_BODY = {
    "type": "object",
    "required": ["tags"],
    "additionalProperties": False,
    "properties": {"tags": TAGS},
}


def _route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
    return Route(
        method=method,
        path=f"/projects{path}",
        handler=handler,
        rule=f"identity:{rule}",
        rule_needs_target=True,
        **more,
    )


_ONE, _TAG_PATH = "/{project_id}", "/{project_id}/tags/{tag}"
ROUTES = (
    _route("GET", "", list_all, "list_projects", response=PROJECTS.list_schema),
    _route(
        "POST",
        "",
        create,
        "create_project",
        body=PROJECTS.create_schema,
        status=201,
        response=PROJECTS.show_schema,
    ),
    _route("GET", _ONE, show, "get_project", response=PROJECTS.show_schema),
    _route(
        "PATCH",
        _ONE,
        update,
        "update_project",
        body=PROJECTS.update_schema,
        response=PROJECTS.show_schema,
    ),
    _route("DELETE", _ONE, delete, "delete_project", status=204),
    _route("GET", "/{project_id}/tags", list_tags, "list_project_tags"),
    _route("PUT", "/{project_id}/tags", replace_tags, "update_project_tags", body=_TAGS_BODY),
    _route("DELETE", "/{project_id}/tags", delete_tags, "delete_project_tags", status=204),
    _route("GET", _TAG_PATH, check_tag, "get_project_tag", status=204),
    _route("PUT", _TAG_PATH, add_tag, "create_project_tag", status=201),
    _route("DELETE", _TAG_PATH, delete_tag, "delete_project_tag", status=204),
)
