"""What else is under `/servers/{id}`: ips, diagnostics, topology, password.

API reference: https://docs.openstack.org/api-ref/compute/#servers-ips-servers-ips and following.
"""

from __future__ import annotations

from typing import Any

from nubelet.compute import console, server_ports, servers, states
from nubelet.compute.api import schemas as s
from nubelet.compute.api.server_views import addresses
from nubelet.compute.guestdata import passwords
from nubelet.kernel.context import Context
from nubelet.kernel.errors import NotFound
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route
from nubelet.node.wire import Diagnostics

_API = "os_compute_api:"
# The hypervisor as diagnostics call it, by the type that hosts tell.
_DRIVERS = {"qemu": "libvirt", "kvm": "libvirt", "fake": "libvirt"}
_STATES = {
    "running": "running",
    "paused": "paused",
    "shutdown": "shutdown",
    "crashed": "crashed",
    "suspended": "suspended",
}


# --- Addresses -------------------------------------------------------------------------------


def _addresses(ctx: Context, request: Request) -> dict[str, Any]:
    with ctx.cloud.database.read() as tx:
        row = servers.find(ctx, tx, request.params["server_id"])
        ctx.authorize(target=servers.target_of(row))
        return addresses(server_ports.ports_of(tx, [row.id]).get(row.id, ()), extended=False)


def list_ips(ctx: Context, request: Request) -> object:
    """List the addresses of a server by network."""
    return {"addresses": _addresses(ctx, request)}


def show_ips(ctx: Context, request: Request) -> object:
    """Show the addresses of a server on one network."""
    label = request.params["network_label"]
    found = _addresses(ctx, request)
    if label not in found:
        raise NotFound(message=f"Instance is not a member of specified network {label}")
    return {label: found[label]}


# --- Diagnostics -----------------------------------------------------------------------------


def diagnostics(ctx: Context, request: Request) -> object:
    """Counters of a running server, asked of its host."""
    with ctx.cloud.database.read() as tx:
        row = servers.find(ctx, tx, request.params["server_id"])
        ctx.authorize(target=servers.target_of(row))
        states.require("get_diagnostics", row)
    found = console.diagnostics(ctx, row)
    return _one_shape(row, found) if ctx.at_least(2, 48) else _libvirt_shape(found)


def _one_shape(row: Any, found: Diagnostics) -> dict[str, Any]:
    """The shape of 2.48, the same for all hypervisors. What is not measured is null."""
    nics = [
        {
            "mac_address": nic.get("mac_address"),
            "rx_rate": None,
            "tx_rate": None,
            **{
                name: nic.get(name, 0)
                for name in (
                    "rx_octets",
                    "rx_packets",
                    "rx_errors",
                    "rx_drop",
                    "tx_octets",
                    "tx_packets",
                    "tx_errors",
                    "tx_drop",
                )
            },
        }
        for nic in found.nics
    ]
    disks = [
        {
            name: disk.get(name, 0)
            for name in (
                "read_bytes",
                "read_requests",
                "write_bytes",
                "write_requests",
                "errors_count",
            )
        }
        for disk in found.disks
    ]
    return {
        "state": _STATES.get(found.power, "pending"),
        "driver": "libvirt",
        "hypervisor": None,
        "hypervisor_os": None,
        "uptime": found.uptime_seconds,
        "config_drive": row.config_drive,
        "num_cpus": len(found.cpu_times_ns),
        "num_nics": len(nics),
        "num_disks": len(disks),
        "cpu_details": [
            {"id": index, "time": time, "utilisation": None}
            for index, time in enumerate(found.cpu_times_ns)
        ],
        "nic_details": nics,
        "disk_details": disks,
        "memory_details": {"maximum": found.memory_mb, "used": found.memory_used_mb},
    }


def _libvirt_shape(found: Diagnostics) -> dict[str, Any]:
    """The flat shape until 2.47: names made of device and counter."""
    shown: dict[str, Any] = {
        f"cpu{index}_time": time for index, time in enumerate(found.cpu_times_ns)
    }
    shown |= {
        "memory": found.memory_mb * 1024,
        "memory-actual": found.memory_mb * 1024,
        "memory-rss": found.memory_used_mb * 1024,
    }
    for index, disk in enumerate(found.disks):
        name = f"vd{chr(ord('a') + index)}"
        shown |= {
            f"{name}_read": disk.get("read_bytes", 0),
            f"{name}_read_req": disk.get("read_requests", 0),
            f"{name}_write": disk.get("write_bytes", 0),
            f"{name}_write_req": disk.get("write_requests", 0),
            f"{name}_errors": disk.get("errors_count", 0),
        }
    for index, nic in enumerate(found.nics):
        name = f"vnet{index}"
        for way, short in (("rx", "rx"), ("tx", "tx")):
            shown |= {
                f"{name}_{short}": nic.get(f"{way}_octets", 0),
                f"{name}_{short}_packets": nic.get(f"{way}_packets", 0),
                f"{name}_{short}_errors": nic.get(f"{way}_errors", 0),
                f"{name}_{short}_drop": nic.get(f"{way}_drop", 0),
            }
    return shown


# --- The rest --------------------------------------------------------------------------------


def topology(ctx: Context, request: Request) -> object:
    """The NUMA topology: none, as servers here are not tied to the host's nodes."""
    with ctx.cloud.database.read() as tx:
        row = servers.find(ctx, tx, request.params["server_id"])
        ctx.authorize(target=servers.target_of(row))
    return {"nodes": [], "pagesize_kb": None}


def show_password(ctx: Context, request: Request) -> object:
    """The password that the guest told, encrypted with the user's key; "" for none."""
    with ctx.cloud.database.read() as tx:
        row = servers.find(ctx, tx, request.params["server_id"])
        ctx.authorize(target=servers.target_of(row))
        return {"password": passwords.read_password(tx, row.id)}


def clear_password(ctx: Context, request: Request) -> object:
    """Forget that password."""
    with ctx.cloud.database.write() as tx:
        row = servers.find_to_change(ctx, tx, request.params["server_id"], locked=True)
        passwords.clear_password(tx, row.id)
    return Response(204)


def _route(method: str, path: str, handler: Any, rule: str, **more: Any) -> Route:
    return Route(
        method=method,
        path="/servers/{server_id}/" + path,
        handler=handler,
        rule=rule,
        rule_needs_target=True,
        **more,
    )


_PASSWORD: s.Schema = {"type": "object", "properties": {"password": {"type": "string"}}}

ROUTES = (
    _route("GET", "ips", list_ips, _API + "ips:index", response=s.answer("addresses", {})),
    _route("GET", "ips/{network_label}", show_ips, _API + "ips:show"),
    _route("GET", "diagnostics", diagnostics, _API + "os-server-diagnostics"),
    _route("GET", "topology", topology, "compute:server:topology:index", since=(2, 78)),
    _route(
        "GET",
        "os-server-password",
        show_password,
        _API + "os-server-password:show",
        response=_PASSWORD,
    ),
    _route(
        "DELETE",
        "os-server-password",
        clear_password,
        _API + "os-server-password:clear",
        status=204,
    ),
)
