"""`/os-server-external-events`: what other services tell about servers.

API reference: https://docs.openstack.org/api-ref/compute/
#create-external-events-os-server-external-events
"""

from __future__ import annotations

from nubelet.compute import external_events
from nubelet.compute.api import schemas as s
from nubelet.compute.external_events import FOREIGN_EVENTS, NETWORK_EVENTS, OK
from nubelet.kernel.context import Context
from nubelet.kernel.errors import NotFound
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route, by_version

_TEXT: s.Schema = {"type": "string", "maxLength": 255}


def _body(names: tuple[str, ...]) -> s.Schema:
    event = s.obj(
        {
            "server_uuid": s.UUID,
            "name": {"type": "string", "enum": [*names]},
            "status": {"type": "string", "enum": ["failed", "completed", "in-progress"]},
            "tag": _TEXT,
        },
        ("server_uuid", "name"),
    )
    return s.obj({"events": {**s.array(event), "minItems": 1}}, ("events",))


# Each of these versions knows one event more.
_BODY = by_version(
    ((2, 1), _body(NETWORK_EVENTS)),
    *(
        (version, _body(NETWORK_EVENTS + FOREIGN_EVENTS[:count]))
        for count, version in enumerate(((2, 51), (2, 76), (2, 82), (2, 93)), start=1)
    ),
)


def create(ctx: Context, request: Request) -> object:
    """Tell of events; the answer says for each whether it was taken."""
    given = request.body["events"]
    with ctx.cloud.database.write() as tx:
        codes = external_events.receive(ctx, tx, given)
    if OK not in codes:
        raise NotFound(message="No instances found for any event")
    answered = [
        {
            **event,
            "code": code,
            "status": event.get("status", "completed") if code == OK else "failed",
        }
        for event, code in zip(given, codes, strict=True)
    ]
    return Response(200 if set(codes) == {OK} else 207, {"events": answered})


ROUTES = (
    Route(
        method="POST",
        path="/os-server-external-events",
        handler=create,
        rule="os_compute_api:os-server-external-events:create",
        body=_BODY,
        response={
            "type": "object",
            "properties": {"events": s.array(s.obj({"code": {"type": "integer"}}, extra=True))},
        },
    ),
)
