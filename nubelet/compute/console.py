"""What a server printed on its serial console: read from its node when somebody asks.

In OpenStack: nova/compute/manager.py get_console_output.
"""

from __future__ import annotations

from typing import Any

from nubelet.kernel import guards
from nubelet.kernel.context import Context
from nubelet.kernel.errors import Conflict, NotFound
from nubelet.node.client import NodeClient, NodeError, NodeUnreachable
from nubelet.node.errors import NO_SUCH_GUEST
from nubelet.node.wire import Diagnostics


def read(ctx: Context, row: Any, lines: int | None) -> str:
    """The last `lines` lines; None for all that is kept. Raises Conflict when there is none."""
    client = _client(ctx, row)
    try:
        with guards.node_calls_allowed():
            return client.read_console(row.id, lines)
    except NodeUnreachable as error:
        raise Conflict(f"Service is unavailable at this time: {error.message}") from None
    except NodeError as error:
        if error.code == NO_SUCH_GUEST:
            raise NotFound(
                message=f"Unable to get console log: instance {row.id} has none on its host."
            ) from None
        raise Conflict(f"Unable to get console log: {error.message}") from None


def diagnostics(ctx: Context, row: Any) -> Diagnostics:
    """Counters of the running guest; raises Conflict when it does not run."""
    client = _client(ctx, row)
    try:
        with guards.node_calls_allowed():
            return client.observe_diagnostics(row.id)
    except NodeError as error:
        raise Conflict(f"Cannot 'get_diagnostics' instance {row.id}: {error.message}") from None


def _client(ctx: Context, row: Any) -> NodeClient:
    if not row.host:
        raise Conflict(f"Instance {row.id} is not ready: it has no host yet.")
    return NodeClient(ctx.cloud.bus, row.host)
