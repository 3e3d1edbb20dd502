"""How much of its limits a project uses."""

from __future__ import annotations

from nubelet.image import quotas
from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route


def show(ctx: Context, request: Request) -> object:
    """Show the limits and the usage of the caller's project; -1 is no limit."""
    project_id = ctx.project_id or ""
    with ctx.cloud.database.read() as tx:
        limits = quotas.limits(ctx.cloud, tx, project_id)
        used = {name: quotas.usage(tx, project_id, name) for name in quotas.RESOURCES}
    return {
        "usage": {name: {"limit": limits[name], "usage": used[name]} for name in quotas.RESOURCES}
    }


ROUTES = (Route(method="GET", path="/info/usage", handler=show, rule="get_images"),)
