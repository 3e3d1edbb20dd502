"""Auditor: reads everything again, and puts aside what is not as it was written.

An object's bytes must have the MD5 that they had; a listing file must be a sound database. What
is damaged goes to `quarantined/` (an operator may look at it); the replicators of the other devices
bring a good replica. In OpenStack: swift/obj/auditor.py, swift/container/auditor.py.
"""

from __future__ import annotations

import logging
import os
import time

from nubelet.object_store.cluster.devices import Device
from nubelet.object_store.cluster.listing_calls import KINDS, open_listing
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.object_files import DamagedObject, read_file, verify

log = logging.getLogger(__name__)
# Work for a while, rest for a while: users come first.
_WORK_SECONDS = 0.05
_REST_SECONDS = 0.05


def run(node: Node) -> dict[str, float]:
    """One pass over all devices of a node."""
    figures = {"objects": 0.0, "listings": 0.0, "quarantined": 0.0}
    for device in node.devices.all():
        _objects(device, figures)
        for policy in node.cluster.policies:
            _fragments(device, policy.index, figures)
        for kind in KINDS:
            _listings(node, device, kind, figures)
    return figures


def _objects(device: Device, figures: dict[str, float]) -> None:
    until = time.monotonic() + _WORK_SECONDS
    for policy in list(device.objects.policies()):
        for part, digest, name in device.objects.all_files(policy):
            figures["objects"] += 1
            try:
                path = device.objects.path(policy, part, digest, name)
                if name.endswith(".data"):
                    verify(path)
                else:
                    _readable(path)
            except FileNotFoundError:
                continue  # replaced meanwhile
            except DamagedObject as error:
                log.error("quarantined: %s", error)
                device.quarantine(device.objects.path(policy, part, digest))
                figures["quarantined"] += 1
            if time.monotonic() > until:
                time.sleep(_REST_SECONDS)
                until = time.monotonic() + _WORK_SECONDS


def _fragments(device: Device, policy: int, figures: dict[str, float]) -> None:
    for part in device.fragments.partitions(policy):
        for digest, names in device.fragments.partition(policy, part).items():
            place = f"{part}/{digest[-3:]}/{digest}"
            for name in names:
                figures["objects"] += 1
                try:
                    device.fragments.verify(policy, place, name)
                except FileNotFoundError:
                    continue
                except DamagedObject as error:
                    log.error("quarantined: %s", error)
                    folder = device.fragments.folder_of(policy, place)
                    device.quarantine(f"{folder}/{name.file}")
                    figures["quarantined"] += 1


def _readable(path: str) -> None:
    try:
        _, _, pieces = read_file(path)
        for _ in pieces:
            pass
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise DamagedObject(f"{path}: {error}") from error


def _listings(node: Node, device: Device, kind: str, figures: dict[str, float]) -> None:
    for digest, path in device.listings(kind):
        figures["listings"] += 1
        with open_listing(node, device, kind, digest) as file:
            sound = file.check()
        if not sound:
            log.error("quarantined: %s is no sound database", path)
            files = device.accounts if kind == "accounts" else device.containers
            files.forget(path)
            device.quarantine(os.path.dirname(path))
            figures["quarantined"] += 1
