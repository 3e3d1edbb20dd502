"""Weights: which of the hosts that fit is best.

Each weigher gives a host a number; the numbers of one weigher are scaled to 0..1 over the hosts
that compete, multiplied (`compute.weights` of the settings), and added up.

In OpenStack: nova/scheduler/weights/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from nubelet.compute.scheduling.hosts import Host
from nubelet.compute.scheduling.request import HostRequest

Weigher = Callable[[Host, HostRequest], float]


def ram(host: Host, request: HostRequest) -> float:
    """Free memory: servers spread over the hosts."""
    return host.free_memory_mb


def cpu(host: Host, request: HostRequest) -> float:
    """Free CPUs."""
    return float(host.state["vcpus"]) - host.used_vcpus


def disk(host: Host, request: HostRequest) -> float:
    """Free disk space."""
    return host.free_disk_gb


def io_ops(host: Host, request: HostRequest) -> float:
    """Servers that are being built: the multiplier is negative, a busy host is avoided."""
    return host.busy_servers


def soft_affinity(host: Host, request: HostRequest) -> float:
    """Members of the server's group that are there, where they like to be together."""
    group = request.group
    return group.hosts.get(host.name, 0) if group and group.policy == "soft-affinity" else 0


def soft_anti_affinity(host: Host, request: HostRequest) -> float:
    """... and where they rather are not."""
    group = request.group
    if group is None or group.policy != "soft-anti-affinity":
        return 0
    return -group.hosts.get(host.name, 0)


WEIGHERS: Final[Mapping[str, Weigher]] = {
    "ram": ram,
    "cpu": cpu,
    "disk": disk,
    "io_ops": io_ops,
    "soft_affinity": soft_affinity,
    "soft_anti_affinity": soft_anti_affinity,
}
_MULTIPLIERS: Final[Mapping[str, float]] = {**dict.fromkeys(WEIGHERS, 1.0), "io_ops": -1.0}


def rank(
    hosts: Sequence[Host],
    request: HostRequest,
    multipliers: Mapping[str, float],
) -> list[tuple[Host, float]]:
    """The hosts with their weights, best first; of equals the one with fewer servers."""
    totals = dict.fromkeys((host.name for host in hosts), 0.0)
    for name, weigh in WEIGHERS.items():
        multiplier = multipliers.get(name, _MULTIPLIERS[name])
        if not multiplier:
            continue
        values = [weigh(host, request) for host in hosts]
        low, high = min(values), max(values)
        if high > low:
            for host, value in zip(hosts, values, strict=True):
                totals[host.name] += multiplier * (value - low) / (high - low)
    ranked = sorted(hosts, key=lambda host: (-totals[host.name], host.servers, host.name))
    return [(host, totals[host.name]) for host in ranked]
