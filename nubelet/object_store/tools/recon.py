"""What the nodes of a cluster tell of themselves, and how many partitions are whole."""

from __future__ import annotations

import random
from dataclasses import dataclass

from nubelet.kernel.errors import ApiError
from nubelet.object_store.cluster.messages import Figures, Nothing, Partition, Peer
from nubelet.object_store.cluster.wire import NodeFailed
from nubelet.object_store.ring import Device
from nubelet.object_store.tools.replicas import Looking

_Hashes = tuple[tuple[str, str], ...]


def nodes(looking: Looking) -> list[tuple[str, int]]:
    """Where the nodes of all rings listen."""
    cluster = looking.cluster
    rings = [cluster.account_ring, cluster.container_ring]
    rings += [cluster.object_ring(policy.index) for policy in cluster.policies]
    return sorted({device.peer for ring in rings for device in ring.devices})


def figures(looking: Looking) -> dict[str, Figures | str]:
    """What each node tells, or why it does not."""
    found: dict[str, Figures | str] = {}
    for address in nodes(looking):
        name = f"{address[0]}:{address[1]}"
        try:
            found[name] = looking.client.call(address, "figures", Nothing(), Figures)
        except (NodeFailed, ApiError) as error:
            found[name] = str(error)
    return found


@dataclass
class Dispersion:
    """Of the partitions that were looked at: how many replicas should be there, how many are as
    most of the others, and which partitions lack some."""

    partitions: int
    expected: int
    found: int
    lacking: list[int]

    @property
    def percent(self) -> float:
        """Replicas that are as they should be."""
        return 100.0 * self.found / self.expected if self.expected else 100.0


def dispersion(looking: Looking, policy: int, sample: int) -> Dispersion:
    """Compare the replicas of so many partitions, chosen at random; KeyError for an unknown
    policy."""
    ring = looking.cluster.object_ring(policy)
    parts = random.sample(range(ring.partitions), min(sample, ring.partitions))
    result = Dispersion(len(parts), 0, 0, [])
    for part in sorted(parts):
        hashes = [_hashes(looking, device, policy, part) for device in ring.nodes(part)]
        known = [each for each in hashes if each is not None]
        whole = max(known, key=lambda each: (known.count(each), len(each)), default=())
        good = sum(each == whole for each in hashes)
        result.expected += len(hashes)
        result.found += good
        if good < len(hashes):
            result.lacking.append(part)
    return result


def _hashes(looking: Looking, device: Device, policy: int, part: int) -> _Hashes | None:
    asked = Partition(device=device.device, policy=policy, part=part)
    try:
        address = Peer.of(device).address
        found = looking.client.call(address, "object_suffixes", asked, dict[str, str])
    except (NodeFailed, ApiError):
        return None
    return tuple(sorted(found.items()))
