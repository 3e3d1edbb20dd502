"""/quotas.

API reference: https://docs.openstack.org/api-ref/network/v2/#quotas-extension-quotas
"""

from __future__ import annotations

from typing import Any

from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.kernel.quotas import UNLIMITED
from nubelet.network import refusals
from nubelet.network.api.attributes import FLAG
from nubelet.network.api.noun import View, coerced, unwrapped
from nubelet.network.quotas import QUOTAS, quotas

_NAMES = {resource.name for resource in QUOTAS}
_SWITCHES = ("check_limit", "force")


def list_all(ctx: Context, request: Request) -> View:
    """Projects with limits of their own (for operators)."""
    ctx.authorize("update_quota", ctx.own_target())
    with ctx.cloud.database.read() as tx:
        own = quotas(ctx)
        return {
            "quotas": [
                {**own.limits(tx, project_id), "project_id": project_id, "tenant_id": project_id}
                for project_id in own.projects(tx)
            ]
        }


def show(ctx: Context, request: Request) -> View:
    """The limits of a project."""
    project_id = _project(ctx, request)
    with ctx.cloud.database.read() as tx:
        return {"quota": quotas(ctx).limits(tx, project_id)}


def defaults(ctx: Context, request: Request) -> View:
    """The limits of a project that has none of its own."""
    _project(ctx, request)
    with ctx.cloud.database.read() as tx:
        return {"quota": quotas(ctx).defaults(tx)}


def details(ctx: Context, request: Request) -> View:
    """Limits and usage of a project. Nothing is ever reserved here: usage is counted."""
    project_id = _project(ctx, request)
    with ctx.cloud.database.read() as tx:
        own = quotas(ctx)
        used = own.usage(tx, project_id)
        return {
            "quota": {
                name: {"limit": limit, "used": used[name], "reserved": 0}
                for name, limit in own.limits(tx, project_id).items()
            }
        }


def whose(ctx: Context, request: Request) -> View:
    """The project whose quotas are meant when none is named."""
    ctx.authorize("get_quota", ctx.own_target())
    return {"tenant": {"tenant_id": ctx.project_id, "project_id": ctx.project_id}}


def update(ctx: Context, request: Request) -> View:
    """Set limits of a project."""
    body = dict(unwrapped(request.body, "quota"))
    switches = {name: coerced(FLAG, body.pop(name)) for name in _SWITCHES if name in body}
    for name in ("tenant_id", "project_id"):
        body.pop(name, None)
    limits = {name: _limit(name, value) for name, value in body.items()}
    project_id = request.params["id"]
    with ctx.cloud.database.write() as tx:
        own = quotas(ctx)
        if switches.get("check_limit") is True and switches.get("force") is not True:
            used = own.usage(tx, project_id)
            under = sorted(
                name for name, limit in limits.items() if limit != UNLIMITED and limit < used[name]
            )
            if under:
                raise refusals.conflict(
                    "InvalidQuotaValue",
                    f"Change would make usage less than 0 for the following resources: {under}.",
                )
        own.set(tx, project_id, limits)
        return {"quota": own.limits(tx, project_id)}


def delete(ctx: Context, request: Request) -> None:
    """Let a project have the default limits again."""
    project_id = request.params["id"]
    with ctx.cloud.database.write() as tx:
        own = quotas(ctx)
        if project_id not in own.projects(tx):
            raise refusals.not_found("TenantQuota", project_id)
        own.reset(tx, project_id)


def _limit(name: str, value: Any) -> int:
    if name not in _NAMES:
        raise refusals.malformed(f"Unrecognized attribute(s) '{name}'")
    value = coerced({"type": "integer"}, value)
    if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value < 2**31:
        raise refusals.malformed(
            f"Invalid input for {name}. Reason: '{value}' is not an integer from -1 up."
        )
    return value


def _project(ctx: Context, request: Request) -> str:
    project_id = request.params["id"]
    ctx.authorize(target={"project_id": project_id, "tenant_id": project_id})
    return project_id


def _get(path: str, handler: Any) -> Route:
    return Route(
        method="GET",
        path=path,
        handler=handler,
        rule="get_quota",
        rule_needs_target=True,
        summary=(handler.__doc__ or "").split("\n")[0],
    )


ROUTES = (
    _get("/quotas", list_all),
    _get("/quotas/tenant", whose),
    _get("/quotas/project", whose),
    _get("/quotas/{id}", show),
    _get("/quotas/{id}/default", defaults),
    _get("/quotas/{id}/default.json", defaults),
    _get("/quotas/{id}/details", details),
    _get("/quotas/{id}/details.json", details),
    Route(
        method="PUT",
        path="/quotas/{id}",
        handler=update,
        rule="update_quota",
        summary="Set limits of a project",
    ),
    Route(
        method="DELETE",
        path="/quotas/{id}",
        handler=delete,
        rule="delete_quota",
        status=204,
        summary="Let a project have the default limits again",
    ),
)
