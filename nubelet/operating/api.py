"""The operating API: status, doctor, explain."""

from __future__ import annotations

import msgspec

from nubelet import __version__, compute
from nubelet.kernel import clock, conditions, reconcile
from nubelet.kernel.context import Context
from nubelet.kernel.errors import Conflict, Forbidden, NotFound
from nubelet.kernel.explain import explain
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.kernel.operations import journal
from nubelet.operating.doctor import examine


def show_status(ctx: Context, request: Request) -> object:
    """Nodes, services, unfinished operations, reconcilers."""
    with ctx.cloud.database.read() as tx:
        nodes = compute.host_summaries(ctx.cloud.settings, tx)
        records = journal.find(tx, states=journal.OPEN)
        loops = reconcile.statuses(tx)
    return {
        "status": {
            "version": __version__,
            "nodes": [{**node._asdict(), "since": clock.iso_seconds(node.since)} for node in nodes],
            "services": [
                {"type": service.type, "path": service.endpoint, "routes": len(service.routes)}
                for service in ctx.cloud.services.values()
            ],
            "operations": [
                {
                    "id": record.id,
                    "kind": record.kind,
                    "state": record.state,
                    "step": record.step,
                    "subject_id": record.subject_id,
                    "error": record.error,
                }
                for record in records
            ],
            "reconcilers": [
                {
                    "name": loop.name,
                    "failures": loop.failures,
                    "error": loop.error,
                    "finished_at": clock.iso_seconds(loop.finished_at),
                    "duration_seconds": loop.duration_seconds,
                }
                for loop in loops
            ],
        }
    }


def show_doctor(ctx: Context, request: Request) -> object:
    """Violated invariants by service."""
    findings = examine(ctx.cloud)
    return {"doctor": {"healthy": not any(findings.values()), "findings": findings}}


def show_explanation(ctx: Context, request: Request) -> object:
    """How a thing came to be: by the id of a server, port, operation, request..., or its name."""
    everything = ctx.allows("operating:explain:everything")
    project_id = None if everything else ctx.project_id
    if project_id is None and not everything:
        raise Forbidden(
            "Only things of a project can be explained, and the token is for none.", code=ctx.rule
        )
    identifier = _identifier(ctx, request.params["id"], project_id)
    found = explain(ctx.cloud, identifier, project_id)
    if found.about == "nothing":
        raise NotFound(message=f"Nothing is known of {identifier}.")
    return {
        "explanation": {
            "ok": found.ok,
            "headline": found.headline,
            "lines": list(found.lines()),
            "details": msgspec.to_builtins(found),
        }
    }


def _identifier(ctx: Context, word: str, project_id: str | None) -> str:
    """The id that a name stands for; raises Conflict when it stands for several."""
    with ctx.cloud.database.read() as tx:
        found = [
            one
            for one in conditions.find(ctx.cloud, tx, word)
            if project_id is None or one.project_id == project_id
        ]
    if len(found) > 1:
        named = ", ".join(f"{one.noun} {one.id}" for one in found)
        raise Conflict(f"{word} is the name of several things; use the id of one: {named}.")
    return found[0].id if found else word


def show_version(ctx: Context, request: Request) -> object:
    """What is at the endpoint of the catalog."""
    return {
        "version": {
            "id": "v1",
            "status": "CURRENT",
            "links": [{"rel": "self", "href": f"{ctx.base_url}/operating/v1"}],
        }
    }


ROUTES = (
    Route(method="GET", path="/v1", handler=show_version, prefixed=False, open=True),
    Route(method="GET", path="/status", handler=show_status, rule="operating:status"),
    Route(method="GET", path="/doctor", handler=show_doctor, rule="operating:doctor"),
    Route(method="GET", path="/explain/{id}", handler=show_explanation, rule="operating:explain"),
)
