"""The JSON schemas of metadata definitions."""

from __future__ import annotations

from nubelet.image.metadefs.schemas import SERVED
from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Handler, Route


def _schema(name: str) -> Handler:
    def show(ctx: Context, request: Request) -> object:
        return SERVED[name]

    show.__doc__ = f"Show the JSON schema of a metadata definition's {name}."
    return show


ROUTES = tuple(
    Route(
        method="GET",
        path=f"/schemas/metadefs/{name}",
        handler=_schema(name),
        open=True,
        summary=f"Show the schema of metadata definitions: {name}",
    )
    for name in SERVED
)
