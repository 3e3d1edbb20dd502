"""What is seen of guests: states, devices, counters."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nubelet.node.errors import GUEST_STATE, HostError
from nubelet.node.hypervisor import CONFIG_DRIVE_ID
from nubelet.node.hypervisor.libvirt.connection import Connection
from nubelet.node.hypervisor.libvirt.domain_xml import Devices
from nubelet.node.hypervisor.libvirt.paths import Paths
from nubelet.node.hypervisor.libvirt.states import SHUTOFF, power_of
from nubelet.node.wire import Diagnostics, GuestState, PowerState

_DISK_COUNTERS = {
    "rd.bytes": "read_bytes",
    "rd.reqs": "read_requests",
    "wr.bytes": "write_bytes",
    "wr.reqs": "write_requests",
}
# Columns of /proc/<pid>/net/dev. What the host receives on the tap the guest has sent.
_TAP_COLUMNS = {
    "tx_octets": 0,
    "tx_packets": 1,
    "tx_errors": 2,
    "tx_drop": 3,
    "rx_octets": 8,
    "rx_packets": 9,
    "rx_errors": 10,
    "rx_drop": 11,
}


def power(connection: Connection, domain: Any) -> tuple[PowerState, str]:
    """A domain's power state and fault."""
    state, reason = domain.state()
    is_saved = not domain.isActive() and bool(domain.hasManagedSaveImage())
    return _with_losses(connection, domain.name(), *power_of(state, reason, is_saved))


def _with_losses(
    connection: Connection, guest_id: str, now: PowerState, fault: str
) -> tuple[PowerState, str]:
    """What libvirt says of a guest that is off, put right by what we remember."""
    if now == "crashed" and connection.losses.is_forgiven(guest_id):
        return "shutdown", ""
    if now == "shutdown" and (why := connection.losses.why(guest_id)):
        return "crashed", why
    return now, fault


def states_of(
    connection: Connection, read_stats: Callable[[int, int], list[tuple[Any, dict[str, Any]]]]
) -> tuple[GuestState, ...]:
    """States from libvirt's bulk statistics; guests that vanish meanwhile are left out."""
    libvirt = connection.libvirt
    wanted = (
        libvirt.VIR_DOMAIN_STATS_STATE
        | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
        | libvirt.VIR_DOMAIN_STATS_BALLOON
        | libvirt.VIR_DOMAIN_STATS_VCPU
    )
    # A guest whose QEMU does not answer must not hold up what is said of the others.
    flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    rows = connection.call("virConnectGetAllDomainStats", None, lambda: read_stats(wanted, flags))
    found = []
    for domain, stats in rows:
        try:
            found.append(_state(connection, domain, stats))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return tuple(found)


def _state(connection: Connection, domain: Any, stats: dict[str, Any]) -> GuestState:
    state, reason = stats["state.state"], stats["state.reason"]
    is_saved = state == SHUTOFF and bool(domain.hasManagedSaveImage())
    guest_id = domain.name()
    now, fault = _with_losses(connection, guest_id, *power_of(state, reason, is_saved))
    devices = Devices.of(domain.XMLDesc(0))
    return GuestState(
        id=guest_id,
        power=now,
        cpu_seconds=stats.get("cpu.time", 0) / 1e9,
        memory_mb=(stats.get("balloon.maximum") or domain.maxMemory()) >> 10,
        vcpus=stats.get("vcpu.current", stats.get("vcpu.maximum", 0)),
        disks=tuple(disk for disk in devices.disk_ids if disk != CONFIG_DRIVE_ID),
        nics=tuple(devices.nics),
        fault=fault,
    )


def diagnostics(connection: Connection, paths: Paths, guest_id: str) -> Diagnostics:
    """Counters of a running guest."""
    domain = connection.need(guest_id)
    if not domain.isActive():
        raise HostError(GUEST_STATE, f"Guest {guest_id} does not run; it has no counters")
    handle = connection.handle
    rows = connection.call(
        "virDomainListGetStats", guest_id, lambda: handle.domainListGetStats([domain], 0)
    )
    stats: dict[str, Any] = rows[0][1]
    process_id = paths.process_id(guest_id)
    maximum, unused = stats.get("balloon.maximum", 0), stats.get("balloon.unused")
    return Diagnostics(
        id=guest_id,
        power=power(connection, domain)[0],
        uptime_seconds=_uptime_seconds(process_id),
        cpu_times_ns=tuple(
            int(stats.get(f"vcpu.{number}.time", 0)) for number in range(stats["vcpu.current"])
        ),
        memory_mb=maximum >> 10,
        memory_used_mb=(maximum - unused if unused is not None else maximum) >> 10,
        disks=tuple(_disk(stats, number) for number in range(stats.get("block.count", 0))),
        nics=_nics(domain, process_id),
    )


def _disk(stats: dict[str, Any], number: int) -> dict[str, int]:
    counters = {
        name: int(stats.get(f"block.{number}.{key}", 0)) for key, name in _DISK_COUNTERS.items()
    }
    return {**counters, "errors_count": int(stats.get(f"block.{number}.errors", 0))}


def _nics(domain: Any, process_id: int | None) -> tuple[dict[str, str | int], ...]:
    # libvirt looks for taps in the namespace of this process; QEMU's own view has them.
    counters = _interface_counters(process_id)
    found = []
    for element in Devices.of(domain.XMLDesc(0)).nics.values():
        mac, target = element.find("mac"), element.find("target")
        name = target.get("dev", "") if target is not None else ""
        columns = counters.get(name, [0] * 16)
        nic: dict[str, str | int] = {
            "mac_address": mac.get("address", "") if mac is not None else ""
        }
        nic.update({key: columns[column] for key, column in _TAP_COLUMNS.items()})
        found.append(nic)
    return tuple(found)


def _interface_counters(process_id: int | None) -> dict[str, list[int]]:
    try:
        lines = Path(f"/proc/{process_id}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines)
    return {name.strip(): [int(word) for word in rest.split()] for name, rest in pairs}


def _uptime_seconds(process_id: int | None) -> int:
    import psutil  # here: 20 ms that only diagnostics need

    try:
        return int(time.time() - psutil.Process(process_id).create_time())
    except psutil.Error:
        return 0
