"""What the control plane and a node say to each other: specs, states and the call table.

Everything here is plain data. A spec tells the node how a thing shall be (never how to get
there); a state tells the control plane how the thing is. Both sides encode and decode through
this module even inside one process, so that one machine and many behave alike.
New fields must have defaults: nodes of two releases may serve one cloud.

Read next: `agent.py` (the node's side) and `client.py` (the control plane's side).
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from nubelet.node.messages import Spec, decode, encode
from nubelet.node.network_specs import (
    Address,
    AddressPair,
    DhcpHost,
    DhcpSpec,
    FloatingIpSpec,
    NetworkKind,
    NetworkSpec,
    NetworkState,
    PortSpec,
    Route,
    RouterGateway,
    RouterPort,
    RouterSpec,
    SecurityGroupRule,
    SecurityGroups,
    SecurityGroupSpec,
    SubnetSpec,
)

# Handed on, so that there is one place to import messages from.
__all__ = [
    "Address",
    "AddressPair",
    "DhcpHost",
    "DhcpSpec",
    "FloatingIpSpec",
    "NetworkKind",
    "NetworkSpec",
    "NetworkState",
    "PortSpec",
    "Route",
    "RouterGateway",
    "RouterPort",
    "RouterSpec",
    "SecurityGroupRule",
    "SecurityGroupSpec",
    "SecurityGroups",
    "Spec",
    "SubnetSpec",
    "decode",
    "encode",
]

PowerState = Literal["running", "paused", "suspended", "shutdown", "crashed", "missing"]


class Fence(Spec):
    """Which attempt of which operation asks. A node refuses an older attempt of an operation,
    so that a worker that wakes up after its lease ran out cannot undo its successor's work.
    """

    operation_id: str
    attempt: int
    request_id: str = ""


class Nothing(Spec):
    """An empty argument or answer."""


class ById(Spec):
    """An argument that only names its subject."""

    id: str


# --- Disks and guests -----------------------------------------------------------------------


class ImageSpec(Spec):
    """An image that the node shall hold in its cache. The format is stated, never guessed."""

    id: str
    url: str  # file:///... on one machine, http(s)://... elsewhere
    disk_format: str
    size_bytes: int
    hash_algorithm: str = "sha512"
    hash_value: str = ""
    token: str = ""  # sent as X-Auth-Token to an http url


class DiskSpec(Spec):
    """A disk of a guest. `image_id` is the base it is copied on write from."""

    id: str
    guest_id: str
    role: Literal["root", "ephemeral", "swap"]
    size_bytes: int
    image_id: str | None = None
    format: Literal["qcow2", "raw"] = "qcow2"
    bus: str = "virtio"


class ConfigDrive(Spec):
    """Files of the guest's config drive (volume label config-2): path -> content."""

    files: dict[str, bytes]
    format: Literal["iso9660", "vfat"] = "iso9660"


class NicSpec(Spec):
    """A network card of a guest, on the tap of `port_id`."""

    port_id: str
    mac: str
    model: str = "virtio"
    mtu: int = 1500


class GuestSpec(Spec):
    """A virtual machine as it shall be defined."""

    id: str
    name: str
    vcpus: int
    memory_mb: int
    disks: tuple[DiskSpec, ...] = ()
    nics: tuple[NicSpec, ...] = ()
    config_drive: ConfigDrive | None = None
    kernel_image_id: str | None = None
    ramdisk_image_id: str | None = None
    kernel_arguments: str = ""
    machine_type: str | None = None
    firmware: Literal["bios", "uefi"] = "bios"
    video_model: str = "virtio"
    has_rng: bool = True
    extra: dict[str, str] = msgspec.field(default_factory=dict)  # image properties hw_* as given


class EnsureGuest(Spec):
    """Define the guest as `guest` says and bring it to `power`."""

    guest: GuestSpec
    power: Literal["running", "shutdown"] = "running"


class SetPower(Spec):
    """Bring a guest to a power state.

    `soft_timeout_seconds`: for `shutdown`, how long the guest may take to obey the power button
    before it is switched off; 0 switches off at once.
    """

    id: str
    power: Literal["running", "paused", "suspended", "shutdown"]
    soft_timeout_seconds: float = 0


class Reboot(Spec):
    """Reboot a guest; a soft one falls back to a hard one after the timeout."""

    id: str
    hard: bool = False
    soft_timeout_seconds: float = 60


class AttachNic(Spec):
    """Plug a card into a guest (also while it runs)."""

    guest_id: str
    nic: NicSpec


class DetachNic(Spec):
    """Take the card with this MAC address out of a guest (also while it runs)."""

    guest_id: str
    port_id: str
    mac: str


class TakeSnapshot(Spec):
    """Copy a disk of a guest, as it is at one moment, into a qcow2 file that stands alone.

    `id` names the copy. `quiesce`: whether the guest's agent is asked to hold its file systems
    still at that moment; `must` refuses when it cannot.
    """

    id: str
    guest_id: str
    disk: DiskSpec
    quiesce: Literal["no", "try", "must"] = "no"


class SnapshotState(Spec):
    """How far a copy is. The sizes while it is made are those of the disk's data; `size_bytes` is
    that of the file, once it is done.
    """

    is_done: bool = False
    copied_bytes: int = 0
    total_bytes: int = 0
    size_bytes: int = 0


class SnapshotName(Spec):
    """A copy of a guest's disk."""

    id: str
    guest_id: str


class SnapshotPart(Spec):
    """Ask for a part of the file of a copy."""

    id: str
    guest_id: str
    offset: int
    length: int


class SnapshotPiece(Spec):
    """The bytes of that part; fewer only at the end of the file."""

    data: bytes


class ConsoleRequest(Spec):
    """Ask for the last `lines` lines of the serial console; None for all that is kept."""

    id: str
    lines: int | None = None


class ConsoleOutput(Spec):
    """What the guest printed on its serial console."""

    text: str


class GuestState(Spec):
    """A guest as the hypervisor has it."""

    id: str
    power: PowerState
    cpu_seconds: float = 0.0
    memory_mb: int = 0
    vcpus: int = 0
    disks: tuple[str, ...] = ()
    nics: tuple[str, ...] = ()  # port ids
    fault: str = ""


class GuestStates(Spec):
    """All guests of a node."""

    guests: tuple[GuestState, ...] = ()


class Diagnostics(Spec):
    """Counters of one running guest (API: servers/{id}/diagnostics 2.48)."""

    id: str
    power: PowerState
    uptime_seconds: int = 0
    cpu_times_ns: tuple[int, ...] = ()
    memory_mb: int = 0
    memory_used_mb: int = 0
    disks: tuple[dict[str, int], ...] = ()
    nics: tuple[dict[str, str | int], ...] = ()


class StorageState(Spec):
    """What lies on the node's disks: images in the cache, disks by guest id, strays."""

    images: tuple[str, ...] = ()
    guest_disks: tuple[str, ...] = ()  # guest ids that own a disk folder
    unknown_files: tuple[str, ...] = ()
    free_bytes: int = 0
    snapshots: dict[str, str] = msgspec.field(default_factory=dict)  # copy -> guest, both ids


class HostState(Spec):
    """A node's inventory and condition."""

    name: str
    hypervisor_type: str
    hypervisor_version: int
    accelerator: str
    accelerator_reason: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    free_disk_gb: int = 0
    free_memory_mb: int = 0
    running_guests: int = 0
    cpu_model: str = ""
    cpu_vendor: str = ""
    cpu_arch: str = "x86_64"
    cpu_features: tuple[str, ...] = ()
    cpu_sockets: int = 1
    cpu_cores: int = 1
    cpu_threads: int = 1
    ip: str = "127.0.0.1"
    tunnel_ip: str = "127.0.0.1"
    uptime: str = ""
    load_average: tuple[float, float, float] = (0.0, 0.0, 0.0)
    traits: tuple[str, ...] = ()
    physical_networks: tuple[str, ...] = ()


# --- From the node to the control plane -----------------------------------------------------


class Heartbeat(Spec):
    """Sent by every node every few seconds: it is alive, and this is how it is."""

    host: HostState
    switching: str = "linux"  # which switching driver serves networks here
    started_at: int = 0  # microseconds since the epoch


class GuestEvent(Spec):
    """The hypervisor says a guest changed by itself (crashed, was shut down from inside)."""

    host: str
    guest_id: str
    power: PowerState
    reason: str = ""


class MetadataRequest(Spec):
    """A guest asked 169.254.169.254. Exactly one of network_id and router_id is set."""

    path: str
    source_ip: str
    network_id: str | None = None
    router_id: str | None = None
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class MetadataResponse(Spec):
    """The metadata service's answer."""

    status: int
    content_type: str = "text/plain; charset=utf-8"
    body: bytes = b""


# --- The call table -------------------------------------------------------------------------

# method -> (argument, answer, timeout in seconds). Every `ensure`, `remove` and power call is
# idempotent: called twice it does nothing the second time.
NODE_CALLS: dict[str, tuple[type[Spec], type[Spec], float]] = {
    "observe_host": (Nothing, HostState, 15),
    "ensure_network": (NetworkSpec, Nothing, 60),
    "remove_network": (ById, Nothing, 60),
    "ensure_security_groups": (SecurityGroups, Nothing, 60),
    "remove_security_group": (ById, Nothing, 60),
    "ensure_port": (PortSpec, Nothing, 60),
    "remove_port": (ById, Nothing, 60),
    "ensure_router": (RouterSpec, Nothing, 60),
    "remove_router": (ById, Nothing, 60),
    "observe_network": (Nothing, NetworkState, 60),
    "ensure_image": (ImageSpec, Nothing, 3600),
    "remove_image": (ById, Nothing, 60),
    "ensure_disk": (DiskSpec, Nothing, 600),
    "remove_disks": (ById, Nothing, 120),  # id: the guest
    "ensure_snapshot": (TakeSnapshot, SnapshotState, 120),  # begins it, then says how far it is
    "read_snapshot": (SnapshotPart, SnapshotPiece, 60),
    "remove_snapshot": (SnapshotName, Nothing, 60),
    "observe_storage": (Nothing, StorageState, 60),
    "ensure_guest": (EnsureGuest, Nothing, 120),
    "remove_guest": (ById, Nothing, 120),
    "set_power": (SetPower, Nothing, 300),
    "reboot_guest": (Reboot, Nothing, 300),
    "attach_nic": (AttachNic, Nothing, 60),
    "detach_nic": (DetachNic, Nothing, 60),
    "observe_guest": (ById, GuestState, 30),
    "observe_guests": (Nothing, GuestStates, 60),
    "observe_diagnostics": (ById, Diagnostics, 30),
    "read_console": (ConsoleRequest, ConsoleOutput, 30),
}

# method -> (argument, answer, timeout in seconds), served by the control plane.
CONTROL_CALLS: dict[str, tuple[type[Spec], type[Spec], float]] = {
    "heartbeat": (Heartbeat, Nothing, 10),
    "guest_changed": (GuestEvent, Nothing, 10),
    "metadata": (MetadataRequest, MetadataResponse, 30),
}


class NodeCall(Spec):
    """The envelope of a call to a node."""

    method: str
    argument: bytes
    fence: Fence | None = None  # None only for observe_* and read_* calls


class TrailEntry(Spec):
    """One thing that was done on the host during a call: a command, a libvirt call, a download.

    `started_at` is in microseconds since the epoch.
    """

    kind: str  # "command", "libvirt", "file", "http", "note"
    what: str
    result: str = "ok"
    ok: bool = True
    started_at: int = 0
    duration_seconds: float = 0.0


class NodeFailure(Spec):
    """Why a call was not done. `code` is one of `nubelet.node.errors`, `message` a sentence for
    the user, `detail` the full words of the tool that refused.
    """

    code: str
    message: str
    detail: str = ""


class NodeReply(Spec):
    """The envelope of an answer: exactly one of `answer` and `failure` counts."""

    answer: bytes = b""
    failure: NodeFailure | None = None
    trail: tuple[TrailEntry, ...] = ()


# --- Names on the host ----------------------------------------------------------------------


def cloud_tag(state_dir: str) -> str:
    """Four hex digits that tell clouds on one machine apart in device and namespace names."""
    return hashlib.sha256(state_dir.encode()).hexdigest()[:4]


def tap_name(tag: str, port_id: str) -> str:
    """The tap device of a port: at most 15 characters, unique on the host."""
    return f"t{tag}{port_id.replace('-', '')[:10]}"
