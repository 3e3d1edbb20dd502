"""`/v3/policies`, and `OS-ENDPOINT-POLICY`: what a policy is for.

In OpenStack: keystone/api/{policy,endpoints}.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from nubelet.identity import services
from nubelet.identity.api.catalog import ENDPOINTS
from nubelet.identity.api.resource import IdentityResource, all_links, list_answer, require
from nubelet.identity.model import endpoint, region, service
from nubelet.identity.policies import keeping
from nubelet.identity.policies.keeping import Subject
from nubelet.identity.policies.model import policy
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound
from nubelet.kernel.http.fields import Field
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Handler, Route

POLICIES = IdentityResource(
    "policy",
    "policies",
    policy,
    (
        Field(name="id", schema={"type": "string"}, update=True),
        Field(
            name="type",
            schema={"type": "string", "maxLength": 255},
            create="required",
            update=True,
            filter="exact",
        ),
        # Text by the schema of the API, an object in its examples: both are kept as they are.
        Field(name="blob", schema={"type": ["string", "object"]}, create="required", update=True),
    ),
    extra_create={},
)


def list_all(ctx: Context, request: Request) -> object:
    """List policies."""
    with ctx.cloud.database.read() as tx:
        return list_answer(ctx, tx, request, POLICIES, sa.select(policy))


def create(ctx: Context, request: Request) -> object:
    """Keep a policy."""
    values, extra = POLICIES.split(request.body["policy"])
    with ctx.cloud.database.write() as tx:
        return {"policy": POLICIES.view(ctx)(keeping.create(ctx, tx, values, extra))}


def show(ctx: Context, request: Request) -> object:
    """Show a policy."""
    with ctx.cloud.database.read() as tx:
        return {"policy": POLICIES.view(ctx)(_policy(tx, request))}


def update(ctx: Context, request: Request) -> object:
    """Change a policy."""
    values, extra = POLICIES.split(request.body["policy"])
    with ctx.cloud.database.write() as tx:
        row = _policy(tx, request)
        return {"policy": POLICIES.view(ctx)(keeping.update(ctx, tx, row, values, extra))}


def delete(ctx: Context, request: Request) -> None:
    """Delete a policy."""
    with ctx.cloud.database.write() as tx:
        keeping.delete(ctx, tx, _policy(tx, request))


def list_endpoints(ctx: Context, request: Request) -> object:
    """The endpoints that a policy is for."""
    with ctx.cloud.database.read() as tx:
        rows = keeping.endpoints_for(tx, _policy(tx, request).id)
    view = ENDPOINTS.view(ctx)
    return {"endpoints": [view(row) for row in rows], "links": all_links(request)}


def show_for_endpoint(ctx: Context, request: Request) -> object:
    """The policy for an endpoint."""
    identifier = request.params["endpoint_id"]
    with ctx.cloud.database.read() as tx:
        row = require(services.find(tx, endpoint, identifier), "endpoint", identifier)
        found = keeping.for_endpoint(tx, row)
    if found is None:
        raise NotFound(message=f"No policy is associated with endpoint {identifier}.")
    return {"policy": POLICIES.view(ctx)(found)}


def _policy(tx: Tx, request: Request) -> Any:
    identifier = request.params["policy_id"]
    return require(keeping.find(tx, identifier), "policy", identifier)


# --- What a policy is for: one family of operations per kind --------------------------------------

_TABLES = {"endpoint_id": endpoint, "service_id": service, "region_id": region}


def _find(tx: Tx, request: Request) -> tuple[str, Subject]:
    """The policy and what the path says it is for; raises NotFound for what does not exist."""
    row = _policy(tx, request)
    given = {}
    for name, table in _TABLES.items():
        if name in request.params:
            identifier = request.params[name]
            require(services.find(tx, table, identifier), name.removesuffix("_id"), identifier)
            given[name] = identifier
    return row.id, Subject(**given)


def check(ctx: Context, request: Request) -> None:
    """204 if the policy is for that."""
    with ctx.cloud.database.read() as tx:
        policy_id, subject = _find(tx, request)
        if not keeping.is_associated(tx, policy_id, subject):
            raise _not_associated(policy_id)


def associate(ctx: Context, request: Request) -> None:
    """Let the policy be for that, in place of another."""
    with ctx.cloud.database.write() as tx:
        keeping.associate(ctx, tx, *_find(tx, request))


def dissociate(ctx: Context, request: Request) -> None:
    """Let the policy no longer be for that."""
    with ctx.cloud.database.write() as tx:
        policy_id, subject = _find(tx, request)
        if not keeping.dissociate(ctx, tx, policy_id, subject):
            raise _not_associated(policy_id)


def _not_associated(policy_id: str) -> NotFound:
    return NotFound(message=f"The policy {policy_id} is not for that.")


def _route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
    return Route(method=method, path=path, handler=handler, rule=f"identity:{rule}", **more)


def _family(path: str, kind: str) -> tuple[Route, ...]:
    verbs: tuple[tuple[str, Callable[[Context, Request], None], str], ...] = (
        ("GET", check, "check"),
        ("PUT", associate, "create"),
        ("DELETE", dissociate, "delete"),
    )
    return tuple(
        _route(
            method,
            f"/policies/{{policy_id}}/OS-ENDPOINT-POLICY/{path}",
            handler,
            f"{verb}_policy_association_for_{kind}",
            status=204,
        )
        for method, handler, verb in verbs
    )


_ONE = "/policies/{policy_id}"
ROUTES = (
    _route("GET", "/policies", list_all, "list_policies", response=POLICIES.list_schema),
    _route(
        "POST",
        "/policies",
        create,
        "create_policy",
        status=201,
        body=POLICIES.create_schema,
        response=POLICIES.show_schema,
    ),
    _route("GET", _ONE, show, "get_policy", response=POLICIES.show_schema),
    _route(
        "PATCH",
        _ONE,
        update,
        "update_policy",
        body=POLICIES.update_schema,
        response=POLICIES.show_schema,
    ),
    _route("DELETE", _ONE, delete, "delete_policy", status=204),
    _route(
        "GET",
        f"{_ONE}/OS-ENDPOINT-POLICY/endpoints",
        list_endpoints,
        "list_endpoints_for_policy",
    ),
    _route(
        "GET",
        "/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy",
        show_for_endpoint,
        "get_policy_for_endpoint",
    ),
    *_family("endpoints/{endpoint_id}", "endpoint"),
    *_family("services/{service_id}", "service"),
    *_family("services/{service_id}/regions/{region_id}", "region_and_service"),
)
