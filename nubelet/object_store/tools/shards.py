"""How a container of a cluster is sharded, and to have it sharded by hand.

In OpenStack: swift-manage-shard-ranges.
"""

from __future__ import annotations

from nubelet.object_store.cluster.messages import FindListing, Peer
from nubelet.object_store.cluster.shards import WANTED, Sharding
from nubelet.object_store.cluster.storage import ClusterStorage
from nubelet.object_store.storage import timestamps
from nubelet.object_store.tools.replicas import Looking


def shardings(looking: Looking, account: str, container: str) -> dict[str, Sharding | None]:
    """What each replica of a container says of its shards; raises NodeFailed, ApiError."""
    ring = looking.cluster.container_ring
    part, digest = ring.lookup(account, container)[0], ring.hash(account, container)
    found: dict[str, Sharding | None] = {}
    for device in ring.nodes(part):
        peer = Peer.of(device)
        asked = FindListing(device=peer.device, kind="containers", digest=digest)
        found[str(peer)] = looking.client.call(
            peer.address,
            "sharding_show",
            asked,
            Sharding | None,  # type: ignore[arg-type]
        )
    return found


def shard(storage: ClusterStorage, account: str, container: str, objects: int) -> None:
    """Let the sharders split a container into shards of so many objects, however few it has. Raises
    Missing."""
    storage.container(account, container)
    storage.post_container(account, container, timestamps.now(), {WANTED: str(objects)})
