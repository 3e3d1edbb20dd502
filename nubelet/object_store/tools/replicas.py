"""Where the replicas of an object, container or account are, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from nubelet.kernel.errors import ApiError
from nubelet.object_store.cluster.client import Client
from nubelet.object_store.cluster.configuration import Cluster
from nubelet.object_store.cluster.listing_files import Head
from nubelet.object_store.cluster.messages import (
    AccountAnswer,
    ContainerAnswer,
    FindListing,
    FolderContent,
    ListingCall,
    ObjectFolder,
    Peer,
)
from nubelet.object_store.cluster.wire import NodeFailed
from nubelet.object_store.ring import Ring
from nubelet.object_store.storage import Missing


@dataclass
class Replica:
    """What one device has. `facts`: for people; `version`: equal in replicas that are alike."""

    device: str
    is_primary: bool
    version: str = ""
    facts: list[str] = field(default_factory=list)
    problem: str = ""


@dataclass
class Report:
    """All replicas of one thing."""

    name: str
    part: int
    digest: str
    replicas: list[Replica]
    newest: str = ""

    @property
    def problems(self) -> list[str]:
        """What is wrong, one line for each."""
        found = [f"{each.device}: {each.problem}" for each in self.replicas if each.problem]
        for each in self.replicas:
            if each.is_primary and not each.problem and each.version != self.newest:
                found.append(f"{each.device}: an older version, {each.version}")
            if not each.is_primary and each.version and not each.problem:
                found.append(f"{each.device}: a handoff that was not handed over yet")
        return found


class Looking:
    """Asks the devices of a cluster."""

    def __init__(self, cluster: Cluster, *, handoffs: int = 3) -> None:
        """`handoffs`: how many devices to ask beside the primary ones."""
        self.cluster = cluster
        self.client = Client(cluster.key, cluster.timing)
        self._handoffs = handoffs

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def object(self, account: str, container: str, name: str, policy: int) -> Report:
        """An object: its files, whose bytes are read and compared."""
        ring = self.cluster.object_ring(policy)
        digest = ring.hash(account, container, name)

        def look(peer: Peer, replica: Replica) -> None:
            asked = ObjectFolder(device=peer.device, policy=policy, digest=digest)
            content = self.client.call(peer.address, "object_folder", asked, FolderContent)
            replica.version = " ".join(sorted(content.files))
            for file in sorted(content.files):
                _file(content, file, replica)
            if self.cluster.coding(policy) is not None and peer in primary:
                self._fragments(peer, policy, digest, primary.index(peer), replica)

        primary = [Peer.of(device) for device in ring.nodes(ring.part(account, container, name))]
        part = ring.part(account, container, name)
        return self._report(f"/{account}/{container}/{name}", ring, part, digest, look)

    def _fragments(
        self, peer: Peer, policy: int, digest: str, number: int, replica: Replica
    ) -> None:
        """Of an erasure-coded object the device of replica `number` has that fragment."""
        asked = ObjectFolder(device=peer.device, policy=policy, digest=digest)
        names = self.client.call(peer.address, "fragment_names", asked, list[tuple[str, int]])
        replica.facts += [f"fragment {index} of {timestamp}" for timestamp, index in names]
        wanted = [(name.removesuffix(".data"), number) for name in replica.version.split()
                  if name.endswith(".data")]  # fmt: skip
        if wanted and wanted[0] not in names:
            replica.problem = f"fragment {number} of {wanted[0][0]} is missing"

    def container(self, account: str, container: str) -> Report:
        """A container: the files of its listing."""
        ring = self.cluster.container_ring
        digest = ring.hash(account, container)

        def look(peer: Peer, replica: Replica) -> None:
            self._head(peer, "containers", digest, replica)
            asked = ListingCall(device=peer.device, account=account, container=container)
            info = self.client.call(peer.address, "container_info", asked, ContainerAnswer).info
            replica.facts.append(f"{info.object_count} objects, {info.bytes_used} bytes")
            replica.facts.append(f"policy {self.cluster.policies[info.policy].name}")
            replica.version += f" {info.object_count} {info.bytes_used} {info.policy}"

        part = ring.part(account, container)
        return self._report(f"/{account}/{container}", ring, part, digest, look)

    def account(self, account: str) -> Report:
        """An account: the files of its listing."""
        ring = self.cluster.account_ring
        digest = ring.hash(account)

        def look(peer: Peer, replica: Replica) -> None:
            self._head(peer, "accounts", digest, replica)
            asked = ListingCall(device=peer.device, account=account)
            info = self.client.call(peer.address, "account_info", asked, AccountAnswer).info
            replica.facts.append(
                f"{info.container_count} containers, {info.object_count} objects, "
                f"{info.bytes_used} bytes"
            )
            replica.version += f" {info.container_count} {info.object_count} {info.bytes_used}"

        return self._report(f"/{account}", ring, ring.part(account), digest, look)

    def _head(self, peer: Peer, kind: str, digest: str, replica: Replica) -> None:
        asked = FindListing(device=peer.device, kind=kind, digest=digest)
        head = self.client.call(peer.address, "listing_head", asked, Head)
        replica.version = max(head.put_timestamp, head.delete_timestamp)
        replica.facts.append(f"made {head.created_at}, put {head.put_timestamp}")
        if head.delete_timestamp >= head.put_timestamp:
            replica.facts.append(f"deleted {head.delete_timestamp}")
        replica.facts += [
            f"{name}: {value}" for name, (value, _) in sorted(head.metadata.items()) if value
        ]

    def _report(
        self, name: str, ring: Ring, part: int, digest: str, look: Callable[[Peer, Replica], None]
    ) -> Report:
        primary = [Peer.of(device) for device in ring.nodes(part)]
        spare = [Peer.of(device) for device in islice(ring.handoffs(part), self._handoffs)]
        replicas = []
        for peer in primary + spare:
            replica = Replica(str(peer), peer in primary)
            try:
                look(peer, replica)
            except Missing:
                if replica.is_primary and not replica.version:
                    replica.problem = "missing"
            except (NodeFailed, ApiError) as error:
                replica.problem = str(error)
            if replica.is_primary or replica.version or replica.problem:
                replicas.append(replica)
        newest = max((each.version for each in replicas if not each.problem), default="")
        if not any(each.version for each in replicas):  # nowhere: then nothing is missing
            for each in replicas:
                each.problem = "" if each.problem == "missing" else each.problem
        return Report(name, part, digest, replicas, newest)


def _file(content: FolderContent, file: str, replica: Replica) -> None:
    """What is to be said of a file of an object."""
    metadata, md5 = content.files[file], content.md5.get(file, "")
    size = metadata.get("content-length", "")
    replica.facts.append(f"{file} {size} bytes, MD5 {md5}" if size else file)
    if not metadata:
        replica.problem = f"{file} has no metadata"
    elif file.endswith(".data"):
        stored = metadata.get("x-backend-md5") or metadata.get("etag")
        if md5 != stored:
            replica.problem = f"{file} is damaged: its MD5 was {stored}"
