"""Send the files of an object to another device, as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nubelet.object_store.cluster import wire
from nubelet.object_store.cluster.client import Exchange, understood
from nubelet.object_store.cluster.devices import Device
from nubelet.object_store.cluster.messages import Nothing, Peer, TakeFile
from nubelet.object_store.cluster.object_files import read_file

if TYPE_CHECKING:
    from nubelet.object_store.cluster.node import Node


def push_object(node: Node, device: Device, policy: int, digest: str, to: Peer) -> None:
    """Send all files of an object; raises NodeFailed, ApiError."""
    power = node.cluster.object_ring(policy).part_power
    place = device.place(power, digest)
    found = device.objects.state(policy, place)
    names = [name for name in (found.newest, found.meta) if name]
    push_files(node, device, policy, device.objects.folder_of(policy, place), names, to)


def push_files(
    node: Node, device: Device, policy: int, folder: str, names: Iterable[str], to: Peer
) -> None:
    """Send files of an object's folder; raises NodeFailed, ApiError, FileNotFoundError when one
    is gone meanwhile."""
    digest = folder.rpartition("/")[2]
    for name in names:
        metadata, _, pieces = read_file(f"{folder}/{name}")
        asked = TakeFile(device=to.device, policy=policy, digest=digest, name=name)
        exchange = Exchange(node.client, to.address, "object_take", asked)
        try:
            exchange.send_head(None)
            head = wire.encode(metadata)
            exchange.send_piece(len(head).to_bytes(4, "big") + head)
            md5 = hashlib.md5(usedforsecurity=False)
            for piece in pieces:
                md5.update(piece)
                exchange.send_piece(piece)
            exchange.send_end(wire.Tail(etag=md5.hexdigest()))
            understood(exchange.finish(), Nothing)
        finally:
            exchange.close()
