"""The control plane's way to a node: one method for each call of `wire.NODE_CALLS`.

Changing calls take the fence of the operation that asks. What comes back is the answer or one of
two errors: `NodeError` (the node says no, and why) and `NodeUnreachable` (nobody knows whether
it was done; every call may be repeated). Never call this inside a database transaction.

Read next: `wire.py`, and `agent.py` for the other end.

In OpenStack: nova/compute/rpcapi.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from nubelet.node import wire
from nubelet.node.control import Bus
from nubelet.node.wire import Fence, NodeCall, NodeReply, Nothing, Spec, TrailEntry

T = TypeVar("T", bound=Spec)

# (host, method, trail): called after each call that was answered, also with a failure.
OnTrail = Callable[[str, str, tuple[TrailEntry, ...]], None]


class NodeError(Exception):
    """The node says no. `code` is one of `nubelet.node.errors`, `message` is for users."""

    def __init__(self, code: str, message: str, host: str, detail: str = "") -> None:
        super().__init__(f"{message} (host {host})")
        self.code = code
        self.message = message
        self.host = host
        self.detail = detail


class NodeUnreachable(NodeError):  # noqa: N818 - a state, and the word users see
    """No answer came. The call may have been done or not."""

    def __init__(self, host: str, method: str, reason: str) -> None:
        message = f"Node {host} did not answer {method}: {reason}"
        super().__init__("unreachable", message, host)


class NodeClient:
    """Calls to one node. Cheap: make one where it is needed."""

    def __init__(self, bus: Bus, host: str, on_trail: OnTrail | None = None) -> None:
        self.host = host
        self._bus = bus
        self._on_trail = on_trail

    # --- The host ---------------------------------------------------------------------------

    def observe_host(self) -> wire.HostState:
        """The node's inventory and condition."""
        return self._call("observe_host", Nothing(), wire.HostState)

    # --- Networks ---------------------------------------------------------------------------

    def ensure_network(self, spec: wire.NetworkSpec, fence: Fence) -> None:
        """A layer-2 network with its DHCP service."""
        self._call("ensure_network", spec, Nothing, fence)

    def remove_network(self, network_id: str, fence: Fence) -> None:
        """Take a network away."""
        self._call("remove_network", wire.ById(id=network_id), Nothing, fence)

    def ensure_security_groups(self, groups: wire.SecurityGroups, fence: Fence) -> None:
        """These groups are now so."""
        self._call("ensure_security_groups", groups, Nothing, fence)

    def remove_security_group(self, group_id: str, fence: Fence) -> None:
        """Forget a security group."""
        self._call("remove_security_group", wire.ById(id=group_id), Nothing, fence)

    def ensure_port(self, spec: wire.PortSpec, fence: Fence) -> None:
        """A tap with its filters."""
        self._call("ensure_port", spec, Nothing, fence)

    def remove_port(self, port_id: str, fence: Fence) -> None:
        """Take a tap away."""
        self._call("remove_port", wire.ById(id=port_id), Nothing, fence)

    def ensure_router(self, spec: wire.RouterSpec, fence: Fence) -> None:
        """A router with legs, routes and translations."""
        self._call("ensure_router", spec, Nothing, fence)

    def remove_router(self, router_id: str, fence: Fence) -> None:
        """Take a router away."""
        self._call("remove_router", wire.ById(id=router_id), Nothing, fence)

    def observe_network(self) -> wire.NetworkState:
        """What the node's switching carries."""
        return self._call("observe_network", Nothing(), wire.NetworkState)

    # --- Images and disks -------------------------------------------------------------------

    def ensure_image(self, spec: wire.ImageSpec, fence: Fence) -> None:
        """The image is in the node's cache, verified."""
        self._call("ensure_image", spec, Nothing, fence)

    def remove_image(self, image_id: str, fence: Fence) -> None:
        """Drop an image from the cache (kept while a disk is based on it)."""
        self._call("remove_image", wire.ById(id=image_id), Nothing, fence)

    def ensure_disk(self, spec: wire.DiskSpec, fence: Fence) -> None:
        """A disk of a guest."""
        self._call("ensure_disk", spec, Nothing, fence)

    def remove_disks(self, guest_id: str, fence: Fence) -> None:
        """Remove all disks of a guest."""
        self._call("remove_disks", wire.ById(id=guest_id), Nothing, fence)

    def ensure_snapshot(self, argument: wire.TakeSnapshot, fence: Fence) -> wire.SnapshotState:
        """A disk of a guest is being copied, or the copy is there: how far it is."""
        return self._call("ensure_snapshot", argument, wire.SnapshotState, fence)

    def read_snapshot(self, part: wire.SnapshotPart) -> bytes:
        """A part of the file of a copy that is done."""
        return self._call("read_snapshot", part, wire.SnapshotPiece).data

    def remove_snapshot(self, name: wire.SnapshotName, fence: Fence) -> None:
        """Stop a copy that is being made, and remove its file."""
        self._call("remove_snapshot", name, Nothing, fence)

    def observe_storage(self) -> wire.StorageState:
        """What lies on the node's disks."""
        return self._call("observe_storage", Nothing(), wire.StorageState)

    # --- Guests -----------------------------------------------------------------------------

    def ensure_guest(self, argument: wire.EnsureGuest, fence: Fence) -> None:
        """Define a guest and bring it to a power state."""
        self._call("ensure_guest", argument, Nothing, fence)

    def remove_guest(self, guest_id: str, fence: Fence) -> None:
        """Switch a guest off and forget it (its disks stay)."""
        self._call("remove_guest", wire.ById(id=guest_id), Nothing, fence)

    def set_power(self, argument: wire.SetPower, fence: Fence) -> None:
        """Bring a guest to a power state."""
        self._call("set_power", argument, Nothing, fence)

    def reboot_guest(self, argument: wire.Reboot, fence: Fence) -> None:
        """Restart a guest."""
        self._call("reboot_guest", argument, Nothing, fence)

    def attach_nic(self, argument: wire.AttachNic, fence: Fence) -> None:
        """Plug a card into a guest."""
        self._call("attach_nic", argument, Nothing, fence)

    def detach_nic(self, argument: wire.DetachNic, fence: Fence) -> None:
        """Unplug a card of a guest."""
        self._call("detach_nic", argument, Nothing, fence)

    def observe_guest(self, guest_id: str) -> wire.GuestState:
        """One guest as the hypervisor has it; power `missing` when it has none."""
        return self._call("observe_guest", wire.ById(id=guest_id), wire.GuestState)

    def observe_guests(self) -> tuple[wire.GuestState, ...]:
        """All guests of the node."""
        return self._call("observe_guests", Nothing(), wire.GuestStates).guests

    def observe_diagnostics(self, guest_id: str) -> wire.Diagnostics:
        """Counters of a guest."""
        return self._call("observe_diagnostics", wire.ById(id=guest_id), wire.Diagnostics)

    def read_console(self, guest_id: str, lines: int | None = None) -> str:
        """The last lines of a guest's serial console; None for all that is kept."""
        request = wire.ConsoleRequest(id=guest_id, lines=lines)
        return self._call("read_console", request, wire.ConsoleOutput).text

    # --- The call ---------------------------------------------------------------------------

    def _call(self, method: str, argument: Spec, kind: type[T], fence: Fence | None = None) -> T:
        body = wire.encode(NodeCall(method=method, argument=wire.encode(argument), fence=fence))
        timeout_seconds = wire.NODE_CALLS[method][2]
        try:
            raw = self._bus.call(f"node.{self.host}", body, timeout_seconds=timeout_seconds)
        except (OSError, LookupError, TimeoutError) as error:
            raise NodeUnreachable(self.host, method, _reason(error)) from error
        try:
            reply = wire.decode(raw, NodeReply)
            answer = None if reply.failure else wire.decode(reply.answer, kind)
        except msgspec.MsgspecError as error:
            raise NodeError(
                "bad_answer", f"The answer to {method} is damaged", self.host
            ) from error
        if self._on_trail is not None:
            self._on_trail(self.host, method, reply.trail)
        if reply.failure is not None:
            failure = reply.failure
            raise NodeError(failure.code, failure.message, self.host, failure.detail)
        assert answer is not None
        return answer


def _reason(error: Exception) -> str:
    # The bus says its target again in the text of its error; the reason alone is enough.
    return str(getattr(error, "reason", "") or error) or type(error).__name__
