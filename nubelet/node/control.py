"""The other direction: what a node tells and asks the control plane (`wire.CONTROL_CALLS`).

`ControlClient` is the node's side; `ControlServer` is what the control plane registers under
the target `control`.

Read next: `agent.py` (heartbeats and events), `switching/` (metadata).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from nubelet.node import calls
from nubelet.node.errors import HostError
from nubelet.node.wire import (
    CONTROL_CALLS,
    GuestEvent,
    Heartbeat,
    MetadataRequest,
    MetadataResponse,
    NodeCall,
    NodeReply,
    Nothing,
    Spec,
    decode,
    encode,
)

CONTROL_TARGET = "control"

T = TypeVar("T", bound=Spec)


class Bus(Protocol):
    """The part of `nubelet.kernel.bus` that node code uses."""

    def call(self, target: str, body: bytes, *, timeout_seconds: float) -> bytes:
        """Send a call and wait for its answer."""


class ControlClient:
    """How a node reaches the control plane. A refusal comes as `HostError`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def heartbeat(self, beat: Heartbeat) -> None:
        """This node is alive, and this is how it is."""
        self._call("heartbeat", beat, Nothing)

    def guest_changed(self, event: GuestEvent) -> None:
        """A guest changed by itself."""
        self._call("guest_changed", event, Nothing)

    def metadata(self, request: MetadataRequest) -> MetadataResponse:
        """A guest asks for its metadata."""
        return self._call("metadata", request, MetadataResponse)

    def _call(self, method: str, argument: Spec, kind: type[T]) -> T:
        body = encode(NodeCall(method=method, argument=encode(argument)))
        timeout_seconds = CONTROL_CALLS[method][2]
        raw = self._bus.call(CONTROL_TARGET, body, timeout_seconds=timeout_seconds)
        reply = decode(raw, NodeReply)
        if reply.failure is not None:
            raise HostError(reply.failure.code, reply.failure.message, reply.failure.detail)
        return decode(reply.answer, kind)


class ControlServer:
    """The control plane's side: three functions served as calls."""

    def __init__(
        self,
        *,
        heartbeat: Callable[[Heartbeat], None],
        guest_changed: Callable[[GuestEvent], None],
        metadata: Callable[[MetadataRequest], MetadataResponse],
    ) -> None:
        self._handlers: Mapping[str, calls.Handler] = {
            "heartbeat": heartbeat,
            "guest_changed": guest_changed,
            "metadata": metadata,
        }

    def handle(self, raw: bytes) -> bytes:
        """Serve one call of a node."""
        return calls.serve(raw, CONTROL_CALLS, self._handlers)
