"""Handing out roles: `/v3/{projects,domains,system}/.../{users,groups}/.../roles`.

Fourteen families of URLs that differ in the target, the actor and whether the role is inherited
to the projects below; here they are the rows of one table.

In OpenStack: keystone/api/{projects,domains,os_inherit,system}.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from nubelet.identity import administrators, assignments, changes, groups, projects, roles, users
from nubelet.identity.api import groups as groups_api
from nubelet.identity.api import projects as projects_api
from nubelet.identity.api import roles as roles_api
from nubelet.identity.api.resource import all_links, require
from nubelet.identity.application_credentials import issuing as application_credentials
from nubelet.identity.assignments import SYSTEM_TARGET
from nubelet.identity.model import assignment, role
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Forbidden, NotFound
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Handler, Route


@dataclass(frozen=True)
class Family:
    """Grants of roles on one kind of target to one kind of actor."""

    target: str  # project, domain, system
    actor: str  # user, group
    inherited: bool = False

    # --- Handlers -------------------------------------------------------------------------------

    def list(self, ctx: Context, request: Request) -> object:
        """The roles that the actor holds there (directly: nothing is worked out)."""
        with ctx.cloud.database.read() as tx:
            actor, target, _ = self._find(ctx, tx, request)
            held = sa.select(assignment.c.role_id).where(
                assignment.c.actor_type == actor[0],
                assignment.c.actor_id == actor[1],
                assignment.c.target_type == target[0],
                assignment.c.target_id == target[1],
                assignment.c.inherited == self.inherited,
            )
            rows = tx.all(sa.select(role).where(role.c.id.in_(held)).order_by(role.c.name))
        shown = roles_api.ROLES.view(ctx)
        return {"roles": [_without_extra(shown(row)) for row in rows], "links": all_links(request)}

    def check(self, ctx: Context, request: Request) -> None:
        """204 if the actor holds the role there."""
        with ctx.cloud.database.read() as tx:
            actor, target, role_row = self._find(ctx, tx, request)
            if not assignments.is_granted(tx, actor, target, role_row.id, self.inherited):
                raise _no_grant(request)

    def create(self, ctx: Context, request: Request) -> None:
        """Give the actor the role there."""
        with ctx.cloud.database.write() as tx:
            actor, target, role_row = self._find(ctx, tx, request)
            self._check_domain(ctx, tx, target, role_row)
            assignments.grant(tx, actor, target, role_row.id, self.inherited)
            changes.record(ctx, tx, "role_assignment.created", role_row.id)

    def delete(self, ctx: Context, request: Request) -> None:
        """Take the role there away from the actor, who may be gone already."""
        with ctx.cloud.database.write() as tx:
            actor, target, role_row = self._find(ctx, tx, request, actor_may_be_gone=True)
            if not assignments.revoke(tx, actor, target, role_row.id, self.inherited):
                raise _no_grant(request)
            if actor[0] == "user" and target[0] == "project":
                application_credentials.forget_role(tx, actor[1], target[1])
            administrators.require_one(tx, f"taking the role {role_row.name} away")
            changes.record(ctx, tx, "role_assignment.deleted", role_row.id)

    # --- Parts ----------------------------------------------------------------------------------

    def _find(
        self,
        ctx: Context,
        tx: Tx,
        request: Request,
        *,
        actor_may_be_gone: bool = False,
    ) -> tuple[tuple[str, str], tuple[str, str], Any]:
        """Actor, target and role (None for a list), once the rule allows the caller."""
        actor_id = request.params[f"{self.actor}_id"]
        target_id = request.params.get(f"{self.target}_id", SYSTEM_TARGET)
        role_id = request.params.get("role_id")
        actor_row = (users if self.actor == "user" else groups).find(tx, actor_id)
        target_row = self._find_target(tx, target_id)
        role_row = roles.find(tx, role_id) if role_id else None
        ctx.authorize(
            target={
                **self._about_actor(actor_row),
                **self._about_target(target_row),
                **roles_api.target(role_row),
                **({"target.inherited_to": "projects"} if self.inherited else {}),
            }
        )
        if not actor_may_be_gone:
            require(actor_row, self.actor, actor_id)
        if self.target != "system":
            require(target_row, self.target, target_id)
        if role_id:
            require(role_row, "role", role_id)
        return (self.actor, actor_id), (self.target, target_id), role_row

    def _find_target(self, tx: Tx, identifier: str) -> Any:
        if self.target == "system":
            return None
        return (projects.find if self.target == "project" else projects.find_domain)(tx, identifier)

    def _about_actor(self, row: Any) -> dict[str, Any]:
        if row is None:
            return {}
        if self.actor == "group":
            return groups_api.target(row)
        return {"target.user.id": row.id, "target.user.domain_id": row.domain_id}

    def _about_target(self, row: Any) -> dict[str, Any]:
        if row is None:
            return {}
        if self.target == "project":
            return projects_api.target(row)
        return {"target.domain.id": row.id, "target.domain.name": row.name}

    def _check_domain(self, ctx: Context, tx: Tx, target: tuple[str, str], role_row: Any) -> None:
        """A domain's role stays in its domain, but for the domains it is held on themselves (as
        upstream: there it is worth only what it implies)."""
        if role_row.domain_id is None or self.target == "domain":
            return
        if self.target == "system":
            raise BadRequest(
                f"The role {role_row.id} belongs to a domain: it cannot be held on the system."
            )
        row = self._find_target(tx, target[1])
        home = row.id if row.is_domain else row.domain_id
        if role_row.domain_id != home:
            if not ctx.allows("identity:get_domain_role", roles_api.target(role_row)):
                # As for a role that does not exist.
                raise Forbidden(f"Policy doesn't allow {ctx.rule} to be performed.", code=ctx.rule)
            raise Forbidden(
                f"The role {role_row.id} belongs to the domain {role_row.domain_id}: "
                f"it cannot be held on the {self.target} {row.id}, which is not in "
                "it."
            )

    def rule(self, verb: str) -> str:
        """The policy rule: check, list, create or revoke."""
        if self.target != "system":
            return f"identity:{verb}_grant" + ("s" if verb == "list" else "")
        plural = "s" if verb == "list" else ""
        return f"identity:{verb}_system_grant{plural}_for_{self.actor}"

    def routes(self) -> tuple[Route, ...]:
        """The operations of the family."""
        start = "" if self.target == "system" else f"s/{{{self.target}_id}}"
        base = f"/{self.target}{start}/{self.actor}s/{{{self.actor}_id}}/roles"
        whole, one = base, f"{base}/{{role_id}}"
        if self.inherited:
            whole = f"/OS-INHERIT{base}/inherited_to_projects"
            one = f"/OS-INHERIT{base}/{{role_id}}/inherited_to_projects"
        found = [
            self._route("GET", one, self.check, "check", 204),
            self._route("PUT", one, self.create, "create", 204),
            self._route("DELETE", one, self.delete, "revoke", 204),
        ]
        if not (self.inherited and self.target == "project"):  # upstream has no such list
            found.insert(0, self._route("GET", whole, self.list, "list", 200))
        return tuple(found)

    def _route(self, method: str, path: str, handler: Handler, verb: str, status: int) -> Route:
        return Route(
            method=method,
            path=path,
            handler=handler,
            rule=self.rule(verb),
            rule_needs_target=True,
            status=status,
        )


def _without_extra(shown: dict[str, Any]) -> dict[str, Any]:
    """Lists of granted roles show the attributes of the published schema only."""
    return {
        name: shown[name] for name in ("id", "name", "domain_id", "description", "options", "links")
    }


def _no_grant(request: Request) -> NotFound:
    return NotFound(message=f"There is no such assignment of the role {request.params['role_id']}.")


FAMILIES = (
    *(
        Family(target, actor, inherited)
        for inherited in (False, True)
        for target in ("project", "domain")
        for actor in ("user", "group")
    ),
    Family("system", "user"),
    Family("system", "group"),
)
ROUTES = tuple(route for family in FAMILIES for route in family.routes())
