"""While the partition power is raised: what is written is found where the larger one looks, too.

Read next: ring/relinker.py, which does the same for what was there before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nubelet.object_store.cluster.devices import Device
from nubelet.object_store.ring.relinker import link_folder

if TYPE_CHECKING:
    from nubelet.object_store.cluster.node import Node


def link_ahead(
    node: Node, device: Device, policy: int, digest: str, folder_of: Callable[[int, str], str]
) -> None:
    """Link the files of an object or of its fragments; `folder_of`: a policy and a place."""
    ring = node.cluster.object_ring(policy)
    if ring.next_part_power is None or ring.next_part_power == ring.part_power:
        return
    ahead = folder_of(policy, device.place(ring.next_part_power, digest))
    link_folder(Path(folder_of(policy, device.place(ring.part_power, digest))), Path(ahead))
