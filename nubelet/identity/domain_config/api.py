"""`/v3/domains/{id}/config` and the defaults at `/v3/domains/config/.../default`.

In OpenStack: keystone/api/domains.py.
"""

from __future__ import annotations

from typing import Any

from nubelet.identity import authenticator, projects
from nubelet.identity.api.resource import require
from nubelet.identity.domain_config import options
from nubelet.identity.projects import DEFAULT_DOMAIN
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Handler, Route

_BODY = {
    "type": "object",
    "required": ["config"],
    "properties": {"config": {"type": "object"}},
}


def show(ctx: Context, request: Request) -> object:
    """What is set of a domain: all, a group, or an option; never secrets."""
    group, option = _named(request)
    if group == options.SECURITY_COMPLIANCE:
        return _security_compliance(ctx, request, option)
    ctx.authorize()
    with ctx.cloud.database.read() as tx:
        return {"config": options.shown(tx, _domain(tx, request), group, option)}


def create(ctx: Context, request: Request) -> object:
    """Set the whole configuration of a domain: 201 where there was none, else 200."""
    config = request.body["config"]
    with ctx.cloud.database.write() as tx:
        domain_id = _domain(tx, request)
        options.require_config(config)
        is_new = options.replace(ctx, tx, domain_id, config)
        _look_again(ctx, tx)
        return Response(201 if is_new else 200, {"config": _all(tx, domain_id)})


def update(ctx: Context, request: Request) -> object:
    """Change options of a domain. With a group or an option in the URL, only that, and only where
    it is set."""
    config = request.body["config"]
    group, option = _named(request)
    with ctx.cloud.database.write() as tx:
        domain_id = _domain(tx, request)
        options.require_known(group, option)
        if group is not None and option is not None:
            if set(config) != {option}:
                raise options.invalid_update(group, option)
            config = {group: config}
        elif group is not None and set(config) != {group}:
            raise options.invalid_update(group, option)
        options.require_config(config)
        if group is not None and not options.stored(tx, domain_id, group, option):
            raise options.not_set(domain_id, group, option)
        options.merge(ctx, tx, domain_id, config)
        _look_again(ctx, tx)
        return {"config": _all(tx, domain_id)}


def delete(ctx: Context, request: Request) -> None:
    """Take back what is set: all, a group, or an option."""
    with ctx.cloud.database.write() as tx:
        options.delete(ctx, tx, _domain(tx, request), *_named(request))
        _look_again(ctx, tx)


def show_default(ctx: Context, request: Request) -> object:
    """The defaults: all, of a group, or of an option."""
    return {"config": options.show_default(*_named(request))}


def _security_compliance(ctx: Context, request: Request, option: str | None) -> object:
    ctx.authorize("identity:get_security_compliance_domain_config")
    with ctx.cloud.database.read() as tx:
        domain_id = _domain(tx, request)
    shown = options.show_security_compliance(ctx.cloud, domain_id, DEFAULT_DOMAIN, option)
    return {"config": shown}


def _named(request: Request) -> tuple[str | None, str | None]:
    return request.params.get("group"), request.params.get("option")


def _domain(tx: Tx, request: Request) -> str:
    identifier = request.params["domain_id"]
    return str(require(projects.find_domain(tx, identifier), "domain", identifier).id)


def _look_again(ctx: Context, tx: Tx) -> None:
    """A directory that did not answer may do so now."""
    tx.after_commit(authenticator.of(ctx.cloud).directories.changed)


def _all(tx: Tx, domain_id: str) -> Any:
    """What is set now; nothing, where it is secrets alone."""
    if all(row.secret for row in options.stored(tx, domain_id)):
        return {}
    return options.shown(tx, domain_id)


def _route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
    return Route(
        method=method, path=f"/domains{path}", handler=handler, rule=f"identity:{rule}", **more
    )


_ALL, _GROUP, _OPTION = "", "/{group}", "/{group}/{option}"
ROUTES = (
    *(
        _route("GET", f"/config{part}/default", show_default, "get_domain_config_default")
        for part in (_ALL, _GROUP, _OPTION)
    ),
    _route("PUT", "/{domain_id}/config", create, "create_domain_config", body=_BODY, status=201),
    *(
        route
        for part in (_ALL, _GROUP, _OPTION)
        for route in (
            _route(
                "GET",
                f"/{{domain_id}}/config{part}",
                show,
                "get_domain_config",
                rule_needs_target=True,
            ),
            _route(
                "PATCH",
                f"/{{domain_id}}/config{part}",
                update,
                "update_domain_config",
                body=_BODY,
            ),
            _route(
                "DELETE",
                f"/{{domain_id}}/config{part}",
                delete,
                "delete_domain_config",
                status=204,
            ),
        )
    ),
)
