"""`/os-quota-sets` and `/os-quota-class-sets`: the limits of projects, of users, and of all.

What a set holds:  2.36   no network resources
                   2.50   quota classes have server groups, and no network resources
                   2.57   no injected files

API reference: https://docs.openstack.org/api-ref/compute/#quota-sets-os-quota-sets
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nubelet.compute import flavors, quota_sets, quotas
from nubelet.compute.api import schemas as s
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route, by_version

_RULE, _CLASS_RULE = "os_compute_api:os-quota-sets:", "os_compute_api:os-quota-class-sets:"
DEFAULT_CLASS = "default"
_LIMIT = s.integer(-1)
_CORE = ("instances", "cores", "ram", "metadata_items", "key_pairs")
_GROUPS = ("server_groups", "server_group_members")
_USER_QUERY = by_version(
    ((2, 1), s.query({"user_id": s.ANY_VALUES})),
    ((2, 75), s.query({"user_id": s.ANY_VALUES}, extra=False)),
)


def _set(wrapper: str, *names: str, force: bool = False) -> s.Schema:
    properties: s.Schema = dict.fromkeys(names, _LIMIT)
    return s.wrapped(wrapper, s.obj(properties | ({"force": s.BOOLEAN} if force else {})))


_UPDATE = by_version(
    (
        (2, 1),
        _set(
            "quota_set",
            *_CORE,
            *_GROUPS,
            *quotas.NETWORK_RESOURCES,
            *quotas.INJECTION_RESOURCES,
            force=True,
        ),
    ),
    ((2, 36), _set("quota_set", *_CORE, *_GROUPS, *quotas.INJECTION_RESOURCES, force=True)),
    ((2, 57), _set("quota_set", *_CORE, *_GROUPS, force=True)),
)
_UPDATE_CLASS = by_version(
    (
        (2, 1),
        _set("quota_class_set", *_CORE, *quotas.NETWORK_RESOURCES, *quotas.INJECTION_RESOURCES),
    ),
    ((2, 50), _set("quota_class_set", *_CORE, *_GROUPS, *quotas.INJECTION_RESOURCES)),
    ((2, 57), _set("quota_class_set", *_CORE, *_GROUPS)),
)


def _read(given: Mapping[str, Any]) -> dict[str, int]:
    return {name: s.as_int(name, value, -1) for name, value in given.items() if name != "force"}


def _only(names: Iterable[str], limits: Mapping[str, Any]) -> dict[str, Any]:
    return {name: limits[name] for name in names}


# --- Quota sets ----------------------------------------------------------------------------------


def _project(ctx: Context, request: Request) -> str:
    """The project of the path, about which the caller may ask (the route's rule)."""
    project_id = request.params["tenant_id"]
    ctx.authorize(target={"project_id": project_id})
    return project_id


def show(ctx: Context, request: Request) -> object:
    """Show the limits of a project, or of a user within it."""
    project_id = _project(ctx, request)
    with ctx.cloud.database.read() as tx:
        flavors.require_project(tx, project_id)
        limits = quota_sets.limits(ctx.cloud, tx, project_id, request.first("user_id"))
    return {"quota_set": {"id": project_id, **_only(quota_sets.names_at(ctx), limits)}}


def show_details(ctx: Context, request: Request) -> object:
    """Show the limits of a project, or of a user within it, and what is in use."""
    project_id, user_id = _project(ctx, request), request.first("user_id")
    with ctx.cloud.database.read() as tx:
        flavors.require_project(tx, project_id)
        limits = quota_sets.limits(ctx.cloud, tx, project_id, user_id)
        used = quota_sets.usage(ctx.cloud, tx, project_id, user_id)
    # Nothing is ever reserved: use is counted in the transaction that creates.
    return {
        "quota_set": {"id": project_id}
        | {
            name: {"limit": limits[name], "in_use": used[name], "reserved": 0}
            for name in quota_sets.names_at(ctx)
        }
    }


def show_defaults(ctx: Context, request: Request) -> object:
    """Show the limits of projects that have none of their own."""
    project_id = _project(ctx, request)
    with ctx.cloud.database.read() as tx:
        flavors.require_project(tx, project_id)
        limits = quotas.of(ctx.cloud).defaults(tx)
    return {"quota_set": {"id": project_id, **_only(quota_sets.names_at(ctx), limits)}}


def update(ctx: Context, request: Request) -> object:
    """Set limits of a project, or of a user within it."""
    project_id, user_id = _project(ctx, request), request.first("user_id")
    given = request.body["quota_set"]
    with ctx.cloud.database.write() as tx:
        flavors.require_project(tx, project_id)
        quota_sets.update(
            ctx.cloud,
            tx,
            project_id,
            user_id,
            _read(given),
            force=s.as_bool(given.get("force", False)),
        )
        limits = quota_sets.limits(ctx.cloud, tx, project_id, user_id)
    return {"quota_set": _only(quota_sets.names_at(ctx), limits)}


def delete(ctx: Context, request: Request) -> object:
    """Give a project, or a user within it, the default limits again."""
    with ctx.cloud.database.write() as tx:
        quotas.reset(ctx.cloud, tx, _project(ctx, request), request.first("user_id"))
    return Response(202)


# --- Quota classes -------------------------------------------------------------------------------


def _class_names(ctx: Context) -> Iterable[str]:
    names = quota_sets.names_at(ctx)
    if ctx.at_least(2, 50):
        return names
    more = () if not ctx.at_least(2, 36) else quotas.NETWORK_RESOURCES
    return tuple(name for name in (*names, *more) if name not in _GROUPS)


def show_class(ctx: Context, request: Request) -> object:
    """Show the default limits. There is one class, whatever it is called."""
    with ctx.cloud.database.read() as tx:
        limits = quotas.of(ctx.cloud).defaults(tx)
    return {
        "quota_class_set": {"id": request.params["quota_class"], **_only(_class_names(ctx), limits)}
    }


def update_class(ctx: Context, request: Request) -> object:
    """Set default limits of all projects."""
    name = request.params["quota_class"]
    if name != DEFAULT_CLASS:
        raise BadRequest(f"There is no quota class '{name}': '{DEFAULT_CLASS}' is the only one.")
    with ctx.cloud.database.write() as tx:
        quotas.of(ctx.cloud).set(tx, "", _read(request.body["quota_class_set"]))
        limits = quotas.of(ctx.cloud).defaults(tx)
    return {"quota_class_set": _only(_class_names(ctx), limits)}


_ONE, _CLASS = "/os-quota-sets/{tenant_id}", "/os-quota-class-sets/{quota_class}"
_SHOWN, _CLASS_SHOWN = s.answer("quota_set", {}), s.answer("quota_class_set", {})

ROUTES = (
    Route(
        method="GET",
        path=_ONE,
        handler=show,
        rule=_RULE + "show",
        rule_needs_target=True,
        query=_USER_QUERY,
        response=_SHOWN,
    ),
    Route(
        method="GET",
        path=f"{_ONE}/detail",
        handler=show_details,
        rule=_RULE + "detail",
        rule_needs_target=True,
        query=_USER_QUERY,
        response=_SHOWN,
    ),
    Route(
        method="GET",
        path=f"{_ONE}/defaults",
        handler=show_defaults,
        rule=_RULE + "defaults",
        rule_needs_target=True,
        response=_SHOWN,
    ),
    Route(
        method="PUT",
        path=_ONE,
        handler=update,
        rule=_RULE + "update",
        rule_needs_target=True,
        query=_USER_QUERY,
        body=_UPDATE,
        response=_SHOWN,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=delete,
        rule=_RULE + "delete",
        rule_needs_target=True,
        query=_USER_QUERY,
        status=202,
    ),
    Route(
        method="GET",
        path=_CLASS,
        handler=show_class,
        rule=_CLASS_RULE + "show",
        response=_CLASS_SHOWN,
    ),
    Route(
        method="PUT",
        path=_CLASS,
        handler=update_class,
        rule=_CLASS_RULE + "update",
        body=_UPDATE_CLASS,
        response=_CLASS_SHOWN,
    ),
)
