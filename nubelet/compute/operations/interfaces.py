"""attach_interface and detach_interface: a network card more or less, also while the guest runs.

    attach_interface  bind_port   the port is on the host      undo: taken away, released
                      plug_card   the guest has the card       undo: unplugged
    detach_interface  unplug_card the guest has let go of it
                      release_port the port goes, or goes back to its owner

The port of a new interface is made or adopted by the request itself, whose answer shows it.

In OpenStack: nova/compute/manager.py attach_interface, detach_interface.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet import network
from nubelet.compute.model import server_nic
from nubelet.compute.operations import hosting
from nubelet.kernel.database import Tx
from nubelet.kernel.operations.run import Run
from nubelet.kernel.operations.steps import Operation, Retry, Step
from nubelet.node.client import NodeError
from nubelet.node.errors import NO_SUCH_GUEST
from nubelet.node.wire import AttachNic, DetachNic

_RETRY = Retry(attempts=8, max_delay_seconds=10.0)
_DEADLINE_SECONDS = 600


def _card(run: Run, tx: Tx) -> Any:
    return tx.first(
        sa.select(server_nic).where(
            server_nic.c.server_id == run.subject_id, server_nic.c.port_id == run.inputs["port_id"]
        )
    )


def _host(run: Run) -> str:
    return str(run.inputs["host"])


def bind_port(run: Run) -> None:
    """Have the port on the host."""
    network.ensure_port_on_host(run, run.inputs["port_id"], _host(run))


def release_port(run: Run) -> None:
    """Take the port from the host; delete it, or give it back."""
    hosting.leave_down_host(
        run,
        _host(run),
        lambda: network.remove_port_from_host(run, run.inputs["port_id"], _host(run)),
    )
    with run.cloud.database.write() as tx:
        card = _card(run, tx)
        if card is not None:
            hosting.release_port(tx, card)
            tx.delete(server_nic, server_nic.c.auto_id == card.auto_id)


def plug_card(run: Run) -> None:
    """Plug the card into the guest."""
    with run.cloud.database.read() as tx:
        nic = network.nic_spec(tx, run.inputs["port_id"])
    hosting.node(run, _host(run)).attach_nic(AttachNic(guest_id=run.subject_id, nic=nic), run.fence)


def unplug_card(run: Run) -> None:
    """Unplug the card. A guest that is not there has let go of it."""
    call = DetachNic(guest_id=run.subject_id, port_id=run.inputs["port_id"], mac=run.inputs["mac"])

    def detach() -> None:
        try:
            hosting.node(run, _host(run)).detach_nic(call, run.fence)
        except NodeError as error:
            if error.code != NO_SUCH_GUEST:
                raise

    hosting.leave_down_host(run, _host(run), detach)


def settle(run: Run) -> None:
    """Nothing is being done to the server any more."""
    hosting.change(run, task_state=None)


def on_failed(run: Run, reason: str) -> None:
    """The server is what it was; the action tells why."""
    hosting.fail(run, reason)


_SETTLE = Step("settle", settle, why_no_undo="it changes nothing but the task")

ATTACH_INTERFACE = Operation(
    kind="attach_interface",
    title="attaching the interface",
    deadline_seconds=_DEADLINE_SECONDS,
    on_failed=on_failed,
    steps=(
        Step("bind_port", bind_port, release_port, retry=_RETRY),
        Step("plug_card", plug_card, unplug_card, retry=_RETRY),
        _SETTLE,
    ),
)

DETACH_INTERFACE = Operation(
    kind="detach_interface",
    title="detaching the interface",
    deadline_seconds=_DEADLINE_SECONDS,
    on_failed=on_failed,
    steps=(
        Step(
            "unplug_card", unplug_card, retry=_RETRY, why_no_undo="detaching may be asked for again"
        ),
        Step(
            "release_port",
            release_port,
            retry=_RETRY,
            why_no_undo="a port that was deleted cannot come back",
        ),
        _SETTLE,
    ),
)
