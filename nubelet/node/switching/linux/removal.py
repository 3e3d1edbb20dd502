"""Purge: take away everything a cloud ever made on this host, remembered or not.

Found by name, not by record: processes by the state folder on their command line, namespaces and
host devices by the cloud's tag, the nft table by its name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

from nubelet.node import commands
from nubelet.node.switching.linux import namespaces, ruleset
from nubelet.node.switching.linux.dnsmasq import command_line, processes
from nubelet.node.switching.linux.external import ExternalLinks
from nubelet.node.switching.linux.names import Names
from nubelet.node.switching.linux.netlink import Links, Netlink
from nubelet.node.switching.linux.options import LinuxOptions

_GRACE_SECONDS = 2.0


def purge(names: Names, netlink: Netlink, options: LinuxOptions, folder: Path) -> list[str]:
    """Remove everything; one line for each thing."""
    said = _end_processes(folder)
    said += _release_uplinks(names, netlink, options)
    for namespace in namespaces.listing(names.cloud_namespace):
        if names.owner(namespace) is not None:
            said += _remove_namespace(netlink, namespace)
    said += _remove_host_devices(names, netlink)
    said += _remove_host_table(names, netlink)
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        said.append(f"removed files {folder}")
    return said


def _end_processes(folder: Path) -> list[str]:
    pids = processes(f"--conf-file={folder}/")
    said = [f"ended process {pid}: {command_line(pid).strip()}" for pid in pids]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + _GRACE_SECONDS
        while pids and time.monotonic() < deadline:
            time.sleep(0.005)
            pids = [pid for pid in pids if command_line(pid)]
    return said


def _release_uplinks(names: Names, netlink: Netlink, options: LinuxOptions) -> list[str]:
    if not namespaces.exists(names.cloud_namespace):
        return []
    external = ExternalLinks(names, netlink, options)
    uplinks = [e.uplink for e in options.physical_networks.values() if e.uplink]
    return [f"gave back device {u}" for u in uplinks if external.release_uplink(u)]


def _remove_namespace(netlink: Netlink, namespace: str) -> list[str]:
    said: list[str] = []
    if namespaces.exists(namespace):
        # One by one: a process that still sits inside would keep the namespace and them alive.
        links = netlink.run(namespace, lambda links: links.all())
        # A device without a kind is hardware: it goes back to the host with its namespace.
        found = [link.name for link in links if link.kind]
        gone = [name for name in found if _delete(netlink, namespace, name)]
        said = [f"removed device {name} in {namespace}" for name in gone]
    netlink.forget(namespace)
    namespaces.remove(namespace)
    return [*said, f"removed namespace {namespace}"]


def _delete(netlink: Netlink, namespace: str | None, device: str) -> bool:
    return netlink.run(namespace, lambda links: links.delete(device))


def _remove_host_devices(names: Names, netlink: Netlink) -> list[str]:
    def ours(links: Links) -> list[str]:
        return [link.name for link in links.all() if names.is_host_device(link.name)]

    found = netlink.run(None, ours)
    return [f"removed device {n} of the host" for n in found if _delete(netlink, None, n)]


def _remove_host_table(names: Names, netlink: Netlink) -> list[str]:
    host = netlink.host_namespace
    tables = commands.run(["nft", "list", "tables"], namespace=host, check=False).text.splitlines()
    if f"table inet {names.host_table}" not in tables:
        return []
    text = ruleset.removal([f"inet {names.host_table}"])
    commands.run(["nft", "-f", "-"], stdin=text.encode(), namespace=host)
    return [f"removed nft table inet {names.host_table} of the host"]
