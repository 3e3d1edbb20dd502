"""What the resources of federation share: they are named by whoever makes them, with PUT.

In OpenStack: keystone/api/os_federation.py, _ResourceBase.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nubelet.identity.api.resource import links
from nubelet.kernel.context import Context, Version
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.fields import Resource, View
from nubelet.kernel.http.routes import NEWEST, Handler, Route, Schema

PREFIX = "OS-FEDERATION"
_LONGEST_ID = 64


class FederationResource(Resource):
    """A resource with a link to itself, whose update must change something."""

    def view(self, ctx: Context, only: Iterable[str] = ()) -> View:
        """A function from a row to what is shown of it."""
        shown = super().view(ctx, only)
        start = f"{PREFIX}/{self.plural}/"
        return lambda row: {**shown(row), "links": links(ctx, start + row.id)}

    def update_schema(self, version: Version = NEWEST) -> Schema:
        """The body of an update: at least one attribute."""
        schema: dict[str, Any] = super().update_schema(version)  # type: ignore[assignment]
        schema["properties"][self.singular]["minProperties"] = 1  # it is made once and kept
        return schema


def check_id(what: str, identifier: str) -> str:
    """The id that a caller chose for a new thing; raises BadRequest."""
    if len(identifier) > _LONGEST_ID or not identifier.strip():
        raise BadRequest(
            f"Invalid input for field/attribute {what}: an id has 1 to {_LONGEST_ID} characters."
        )
    return identifier


def route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
    """A route under `/OS-FEDERATION`."""
    return Route(
        method=method,
        path=f"/{PREFIX}{path}",
        handler=handler,
        rule=f"identity:{rule}",
        **more,
    )
