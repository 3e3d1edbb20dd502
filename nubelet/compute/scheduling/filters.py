"""Filters: each says why a host will not do, in words for a user, or "" when it will.

They look at what placement does not know. The order is that of the reasons: the first that
applies is the one that is told. Add a filter by adding a function to `FILTERS`.

In OpenStack: nova/scheduler/filters/.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, Final

from nubelet.compute.scheduling import json_query
from nubelet.compute.scheduling.hosts import Host
from nubelet.compute.scheduling.operators import matches
from nubelet.compute.scheduling.request import HostRequest
from nubelet.kernel.clock import iso_seconds

Filter = Callable[[Host, HostRequest], str]

ANTI_AFFINITY, AFFINITY = "anti-affinity", "affinity"


def not_refused(host: Host, request: HostRequest) -> str:
    """The host did not refuse this server already."""
    return request.refused.get(host.name, "")


def requested(host: Host, request: HostRequest) -> str:
    """It is the host that was asked for, if one was."""
    if request.host is not None and host.name != request.host:
        return f"not the requested host {request.host}"
    return ""


def up(host: Host, request: HostRequest) -> str:
    """The host is alive."""
    if host.forced_down:
        return "service forced down by an administrator"
    return "" if host.up else f"service down since {iso_seconds(host.seen_at)}"


def enabled(host: Host, request: HostRequest) -> str:
    """The host takes servers."""
    if not host.disabled:
        return ""
    return (
        f"service disabled: {host.disabled_reason}" if host.disabled_reason else "service disabled"
    )


def zone(host: Host, request: HostRequest) -> str:
    """The host is in the availability zone that was asked for."""
    if request.zone is not None and host.zone != request.zone:
        return f"in availability zone {host.zone}, not {request.zone}"
    return ""


def project(host: Host, request: HostRequest) -> str:
    """No aggregate of the host is kept for other projects (metadata `filter_tenant_id*`)."""
    for metadata in host.aggregates:
        kept_for = {
            part.strip()
            for key, value in metadata.items()
            if key.startswith("filter_tenant_id")
            for part in value.split(",")
        }
        if kept_for and request.project_id not in kept_for:
            return "kept for other projects"
    return ""


def isolation(host: Host, request: HostRequest) -> str:
    """An aggregate with `trait:X=required` is for servers that require the trait X."""
    for metadata in host.aggregates:
        for key, value in metadata.items():
            if (
                key.startswith("trait:")
                and value == "required"
                and key.removeprefix("trait:") not in request.required
            ):
                return f"kept for servers that require {key}"
    return ""


def aggregate_extra_specs(host: Host, request: HostRequest) -> str:
    """The aggregates' metadata match the flavor's `aggregate_instance_extra_specs:`."""
    prefix = "aggregate_instance_extra_specs:"
    for key, wanted in request.extra_specs.items():
        if not key.startswith(prefix):
            continue
        name = key.removeprefix(prefix)
        values = [metadata[name] for metadata in host.aggregates if name in metadata]
        if not any(matches(value, wanted) for value in values):
            has = ", ".join(values) if values else "nothing"
            return f"its aggregates have {has} for {name}, the flavor wants {wanted}"
    return ""


def capabilities(host: Host, request: HostRequest) -> str:
    """What the host says of itself matches the flavor's `capabilities:`."""
    for key, wanted in request.extra_specs.items():
        if not key.startswith("capabilities:"):
            continue
        value: Any = host.state
        for part in key.removeprefix("capabilities:").split(":"):
            value = value.get(part) if isinstance(value, dict) else None
        text = None if value is None else str(value)
        if not matches(text, wanted):
            return f"{key} is {text or 'unknown'}, the flavor wants {wanted}"
    return ""


def image(host: Host, request: HostRequest) -> str:
    """Architecture and hypervisor are those that the image was made for."""
    properties = request.image_properties
    wanted = properties.get("hw_architecture") or properties.get("architecture")
    if wanted and _canonical(wanted) != _canonical(host.state.get("cpu_arch", "x86_64")):
        return f"architecture {host.state.get('cpu_arch')}, the image needs {wanted}"
    wanted = properties.get("img_hv_type") or properties.get("hypervisor_type")
    kinds = {"libvirt": ("qemu", "kvm"), "qemu": ("qemu", "kvm"), "fake": ("fake",)}
    offered = kinds.get(
        str(host.state["hypervisor_type"]).lower(), (str(host.state["hypervisor_type"]).lower(),)
    )
    if wanted and wanted.lower() not in offered:
        return f"hypervisor {host.state['hypervisor_type']}, the image needs {wanted}"
    return ""


def _canonical(architecture: str) -> str:
    lowered = architecture.lower()
    return {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}.get(lowered, lowered)


def group(host: Host, request: HostRequest) -> str:
    """The policy of the server's group holds."""
    if request.group is None:
        return ""
    here = request.group.hosts.get(host.name, 0)
    if request.group.policy == ANTI_AFFINITY:
        most = request.group.max_server_per_host or 1
        if here >= most:
            return (
                f"has {here} of at most {most} servers of group {request.group.id} (anti-affinity)"
            )
    elif request.group.policy == AFFINITY and request.group.hosts and not here:
        there = ", ".join(sorted(request.group.hosts))
        return f"the other servers of group {request.group.id} are on {there} (affinity)"
    return ""


def neighbours(host: Host, request: HostRequest) -> str:
    """Hints `same_host` and `different_host`."""
    if request.same_host and host.name not in request.same_host.values():
        return "none of the servers of the hint same_host is there"
    for server_id, there in request.different_host.items():
        if there == host.name:
            return f"server {server_id} of the hint different_host is there"
    return ""


def near_address(host: Host, request: HostRequest) -> str:
    """Hints `build_near_host_ip` and `cidr`: the host's own address is in that network."""
    address = request.hints.get("build_near_host_ip")
    if not address:
        return ""
    suffix = str(request.hints.get("cidr", "/24"))
    try:
        network = ipaddress.ip_network(f"{address}{suffix}", strict=False)
        near = ipaddress.ip_address(host.state["ip"]) in network
    except ValueError:
        return f"the hint build_near_host_ip {address}{suffix} is no network"
    return "" if near else f"its address is not in {network}"


def query(host: Host, request: HostRequest) -> str:
    """Hint `query`: an expression about the host."""
    asked = request.hints.get("query")
    if not asked:
        return ""
    return "" if json_query.holds(asked, host) else f"does not match the hint query {asked}"


# What an administrator's forced host (availability_zone zone:host) does not skip.
_ALWAYS: Final[tuple[Filter, ...]] = (not_refused, requested)
FILTERS: Final[tuple[Filter, ...]] = (
    *_ALWAYS,
    up,
    enabled,
    zone,
    project,
    isolation,
    aggregate_extra_specs,
    capabilities,
    image,
    group,
    neighbours,
    near_address,
    query,
)


def reason_against(host: Host, request: HostRequest) -> str:
    """Why the host will not do, or ""."""
    for check in _ALWAYS if request.forced else FILTERS:
        reason = check(host, request)
        if reason:
            return reason
    return ""
