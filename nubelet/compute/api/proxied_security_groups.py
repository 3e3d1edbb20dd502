"""`/os-security-groups` and `/os-security-group-rules` (until 2.35); the groups of a server.

API reference: https://docs.openstack.org/api-ref/compute/
#security-groups-os-security-groups-deprecated
"""

from __future__ import annotations

from nubelet import network
from nubelet.compute import proxied_security_groups as proxied
from nubelet.compute import servers
from nubelet.compute.api import schemas as s
from nubelet.kernel.context import Context
from nubelet.kernel.http.collections import read_limit
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route

_RULE, _UNTIL = "os_compute_api:os-security-groups:", (2, 35)
_TEXT: s.Schema = {"type": "string", "minLength": 0, "maxLength": 255}
_GROUP: s.Schema = s.obj(
    {
        "security_group": s.obj(
            {"name": _TEXT, "description": _TEXT}, ("name", "description"), extra=True
        )
    },
    ("security_group",),
    extra=True,
)
_NEW_RULE: s.Schema = s.obj(
    {
        "security_group_rule": s.obj(
            {"parent_group_id": s.UUID, "group_id": {"type": ["string", "null"], "format": "uuid"}},
            ("parent_group_id",),
            extra=True,
        )
    },
    ("security_group_rule",),
    extra=True,
)
_QUERY = s.query({"limit": s.NUMBERS, "offset": s.NUMBERS, "all_tenants": s.ANY_VALUES})


def list(ctx: Context, request: Request) -> object:
    """List the security groups of the project, or (administrators) of all."""
    everybody = "all_tenants" in request.query and ctx.is_admin
    project_id = None if everybody else ctx.project_id
    with ctx.cloud.database.read() as tx:
        found = proxied.groups(ctx, tx, project_id)
    if project_id and all(each["name"] != "default" for each in found):
        with ctx.cloud.database.write() as tx:  # the default group is made when it is looked for
            network.security_group_ids(ctx.within("network"), tx, ["default"])
            found = proxied.groups(ctx, tx, project_id)
    found.sort(key=lambda each: (each["tenant_id"], each["name"]))
    offset = s.as_int("offset", request.first("offset", "0"))
    most = ctx.cloud.settings.limits.page_size
    return {"security_groups": found[offset : offset + (read_limit(request, most) or most)]}


def show(ctx: Context, request: Request) -> object:
    """Show a security group."""
    with ctx.cloud.database.read() as tx:
        return {"security_group": proxied.group(ctx, tx, request.params["security_group_id"])}


def create(ctx: Context, request: Request) -> object:
    """Create a security group."""
    given = request.body["security_group"]
    with ctx.cloud.database.write() as tx:
        return {
            "security_group": proxied.create_group(ctx, tx, given["name"], given["description"])
        }


def update(ctx: Context, request: Request) -> object:
    """Change name and description of a security group."""
    given = request.body["security_group"]
    with ctx.cloud.database.write() as tx:
        return {
            "security_group": proxied.update_group(
                ctx, tx, request.params["security_group_id"], given["name"], given["description"]
            )
        }


def delete(ctx: Context, request: Request) -> object:
    """Delete a security group that no server is in."""
    with ctx.cloud.database.write() as tx:
        proxied.delete_group(ctx, tx, request.params["security_group_id"])
    return Response(202)


def create_rule(ctx: Context, request: Request) -> object:
    """Create a rule of a security group."""
    with ctx.cloud.database.write() as tx:
        return {
            "security_group_rule": proxied.create_rule(ctx, tx, request.body["security_group_rule"])
        }


def delete_rule(ctx: Context, request: Request) -> object:
    """Delete a rule of a security group."""
    with ctx.cloud.database.write() as tx:
        proxied.delete_rule(ctx, tx, request.params["security_group_rule_id"])
    return Response(202)


def list_of_server(ctx: Context, request: Request) -> object:
    """List the security groups of a server."""
    with ctx.cloud.database.read() as tx:
        row = servers.find(ctx, tx, request.params["server_id"])
        ctx.authorize(target=servers.target_of(row))
        return {"security_groups": proxied.groups_of_server(ctx, tx, row.id)}


_PATH, _ONE = "/os-security-groups", "/os-security-groups/{security_group_id}"
_SHOWN = s.answer("security_group", {})
_LISTED: s.Schema = {
    "type": "object",
    "properties": {"security_groups": s.array(s.obj({}, extra=True))},
}

ROUTES = (
    Route(
        method="GET",
        path=_PATH,
        handler=list,
        rule=_RULE + "get",
        until=_UNTIL,
        query=_QUERY,
        response=_LISTED,
    ),
    Route(
        method="POST",
        path=_PATH,
        handler=create,
        rule=_RULE + "create",
        until=_UNTIL,
        body=_GROUP,
        response=_SHOWN,
    ),
    Route(
        method="GET", path=_ONE, handler=show, rule=_RULE + "show", until=_UNTIL, response=_SHOWN
    ),
    Route(
        method="PUT",
        path=_ONE,
        handler=update,
        rule=_RULE + "update",
        until=_UNTIL,
        body=_GROUP,
        response=_SHOWN,
    ),
    Route(
        method="DELETE", path=_ONE, handler=delete, rule=_RULE + "delete", until=_UNTIL, status=202
    ),
    Route(
        method="POST",
        path="/os-security-group-rules",
        handler=create_rule,
        rule=_RULE + "rule:create",
        until=_UNTIL,
        body=_NEW_RULE,
        response=s.answer("security_group_rule", {}),
    ),
    Route(
        method="DELETE",
        path="/os-security-group-rules/{security_group_rule_id}",
        handler=delete_rule,
        rule=_RULE + "rule:delete",
        until=_UNTIL,
        status=202,
    ),
    Route(
        method="GET",
        path="/servers/{server_id}/os-security-groups",
        handler=list_of_server,
        rule=_RULE + "list",
        rule_needs_target=True,
        response=_LISTED,
    ),
)
