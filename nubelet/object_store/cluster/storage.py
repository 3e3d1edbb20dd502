"""`Storage` of a cluster: what the API asks, answered by quorum. It keeps no state of its own.

Read next: objects.py (objects), quorum.py (several answers together).
In OpenStack: swift/proxy/controllers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from nubelet.kernel.errors import ApiError, ServiceUnavailable
from nubelet.object_store.cluster.client import Client
from nubelet.object_store.cluster.configuration import Cluster
from nubelet.object_store.cluster.messages import (
    AccountAnswer,
    AskChanges,
    ContainerAnswer,
    ListingCall,
    Made,
    MergeObjects,
    Nothing,
    Page,
    Peer,
)
from nubelet.object_store.cluster.objects import ClusterObjects
from nubelet.object_store.cluster.quorum import (
    Outcome,
    Replicas,
    attempt,
    majority,
    settle,
    shared,
)
from nubelet.object_store.cluster.shards import Shard, hidden, lower_end
from nubelet.object_store.cluster.wire import Moved, NodeFailed
from nubelet.object_store.ring import Ring
from nubelet.object_store.storage import (
    AccountInfo,
    ContainerEntry,
    ContainerInfo,
    Listing,
    Missing,
    NotEmpty,
    ObjectEntry,
    Subdirectory,
)
from nubelet.object_store.storage.containers import Change, ObjectRow
from nubelet.object_store.storage.listings import bounds
from nubelet.object_store.storage.timestamps import Timestamp

_Answer = TypeVar("_Answer")
_THREADS = 48


class ClusterStorage(ClusterObjects):
    """See `nubelet.object_store.storage.Storage`."""

    def __init__(self, folder: Path) -> None:
        """`folder`: of the cluster (configuration.py). Raises ConfigurationError,
        RingFileError."""
        cluster = Cluster(folder)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="replicas")
        client = Client(cluster.key, cluster.timing)
        super().__init__(cluster, Replicas(client, self._pool), self._pool)
        self.policies = cluster.policies

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._replicas.client.close()

    def places(self, account: str, container: str, name: str, policy: int) -> list[str]:
        """Where an account, container or object is kept: the primary devices, as URLs."""
        if name:
            ring = self._cluster.object_ring(policy)
        else:
            ring = self._cluster.container_ring if container else self._cluster.account_ring
        part, devices = ring.lookup(account, container, name)
        path = quote("/" + "/".join(each for each in (account, container, name) if each))
        return [
            f"http://{f'[{each.ip}]' if ':' in each.ip else each.ip}:{each.port}/"
            f"{quote(each.device)}/{part}{path}"
            for each in devices
        ]

    # --- Accounts -----------------------------------------------------------------------------

    def account(self, account: str, *, totals: bool = True, newest: bool = False) -> AccountInfo:
        """See Storage. Containers report their totals within seconds, so these may be behind."""
        asked = ListingCall(device="", account=account, newest=newest)
        return self._read("account_info", asked, AccountAnswer).info

    def put_account(self, account: str, timestamp: Timestamp, metadata: Mapping[str, str]) -> bool:
        """See Storage."""
        asked = ListingCall(
            device="", account=account, timestamp=timestamp, metadata=dict(metadata)
        )
        made = self._write("account_put", asked, Made, stand_in=True)
        return _mostly(made)

    def post_account(self, account: str, timestamp: Timestamp, metadata: Mapping[str, str]) -> None:
        """See Storage."""
        asked = ListingCall(
            device="", account=account, timestamp=timestamp, metadata=dict(metadata)
        )
        self._write("account_post", asked, Nothing)

    def delete_account(self, account: str, timestamp: Timestamp) -> None:
        """See Storage."""
        asked = ListingCall(device="", account=account, timestamp=timestamp)
        self._write("account_delete", asked, Nothing)

    def list_containers(
        self, account: str, listing: Listing
    ) -> list[ContainerEntry | Subdirectory]:
        """See Storage."""
        asked = ListingCall(device="", account=account, listing=listing, newest=listing.newest)
        page = self._read("account_list", asked, Page)
        return _in_order(page.containers, page.subdirectories)

    # --- Containers ---------------------------------------------------------------------------

    def container(
        self, account: str, container: str, *, totals: bool = True, newest: bool = False
    ) -> ContainerInfo:
        """See Storage."""
        asked = ListingCall(device="", account=account, container=container, newest=newest)
        return self._read("container_info", asked, ContainerAnswer).info

    def put_container(
        self,
        account: str,
        container: str,
        timestamp: Timestamp,
        metadata: Mapping[str, str],
        policy: int | None = None,
    ) -> bool:
        """See Storage."""
        default = self.policies.default.index
        with suppress(Missing):
            # A replica that was lost must be made anew with the policy of the others.
            default = self.container(account, container).policy
        asked = ListingCall(
            device="",
            account=account,
            container=container,
            timestamp=timestamp,
            metadata=dict(metadata),
            policy=policy,
            default_policy=default,
        )
        return _mostly(self._write("container_put", asked, Made, stand_in=True))

    def post_container(
        self, account: str, container: str, timestamp: Timestamp, metadata: Mapping[str, str]
    ) -> None:
        """See Storage."""
        asked = ListingCall(
            device="",
            account=account,
            container=container,
            timestamp=timestamp,
            metadata=dict(metadata),
        )
        self._write("container_post", asked, Nothing)

    def delete_container(
        self, account: str, container: str, timestamp: Timestamp, *, emptied: bool = False
    ) -> None:
        """See Storage. `emptied`: whoever asks knows that its shards hold nothing."""
        asked = ListingCall(
            device="", account=account, container=container, timestamp=timestamp, emptied=emptied
        )
        try:
            self._write("container_delete", asked, Nothing)
        except NotEmpty:
            if emptied or self.list_objects(account, container, Listing(limit=1, reserved=True)):
                raise
            self._write("container_delete", msgspec.structs.replace(asked, emptied=True), Nothing)

    def list_objects(
        self, account: str, container: str, listing: Listing
    ) -> list[ObjectEntry | Subdirectory]:
        """See Storage."""
        asked = ListingCall(
            device="",
            account=account,
            container=container,
            listing=listing,
            newest=listing.newest,
        )
        page = self._read("container_list", asked, Page)
        if page.is_filling:
            page = self._furthest(asked, page)
        if page.shards:
            return self._across(hidden(account), page.shards, listing)
        return _in_order(page.objects, page.subdirectories)

    def _furthest(self, asked: ListingCall, page: Page) -> Page:
        """The same from a replica that knows already that the shards are active, if one does."""
        for peer in self._replicas.peers(*self._where(asked)):
            own = msgspec.structs.replace(asked, device=peer.device)
            with suppress(ApiError, NodeFailed):
                other = self._replicas.client.call(peer.address, "container_list", own, Page)
                if other.shards:
                    return other
        return page

    def _across(
        self, account: str, shards: list[Shard], listing: Listing
    ) -> list[ObjectEntry | Subdirectory]:
        """A page of a sharded container: of one shard after the other, until it is full."""
        low, _, high, _ = bounds(listing)
        found: list[ObjectEntry | Subdirectory] = []
        for shard in reversed(shards) if listing.reverse else shards:
            if (shard.upper and low is not None and shard.upper < low) or (
                high is not None and shard.lower >= high
            ):
                continue
            own = replace(
                listing,
                limit=listing.limit - len(found) + 1,  # its first may be our last pseudo folder
                above=max(listing.above, shard.lower),
                up_to=lower_end(listing.up_to, shard.upper),
            )
            try:
                entries = self.list_objects(account, shard.name, own)
            except Missing:
                raise ServiceUnavailable("A part of the listing is not there; try again.") from None
            found += entries[1:] if found and entries[:1] == found[-1:] else entries
            if len(found) >= listing.limit:
                break
        return found[: listing.limit]

    def changes(self, account: str, container: str, after: int, limit: int) -> list[Change]:
        """What changed in a container after a change, in order; raises Missing. The same replica
        is asked each time; when another one has to answer, everything is told again."""
        ring = self._cluster.container_ring
        part = ring.part(account, container)
        outcomes: list[Outcome[list[Change]]] = []

        def ask(_: int, peer: Peer) -> list[Change]:
            asked = AskChanges(
                device=peer.device, account=account, container=container, after=after, limit=limit
            )
            return self._replicas.client.call(
                peer.address, "container_changes", asked, list[Change]
            )

        for peer in self._replicas.peers(ring, part):
            outcomes.append(attempt(ask, 0, peer))
            if outcomes[-1].answer is not None:
                return outcomes[-1].answer
        return settle(outcomes, majority(len(outcomes)))[0]

    def remove_entry(self, account: str, container: str, name: str, timestamp: Timestamp) -> None:
        """See Storage."""
        ring = self._cluster.container_ring
        row = ObjectRow(name, timestamp, timestamp, 0, "", "", 1, 0)

        def ask(_: int, peer: Peer) -> Nothing:
            merge = MergeObjects(
                device=peer.device, account=account, container=container, rows=[row]
            )
            return self._replicas.client.call(peer.address, "container_merge", merge, Nothing)

        part = ring.part(account, container)
        outcomes = self._replicas.write(ring, part, ask, stand_in=False)
        for moved in {(each.error.account, each.error.container)
                      for each in outcomes if isinstance(each.error, Moved)}:  # fmt: skip
            self.remove_entry(*moved, name, timestamp)
        outcomes = [
            Outcome(each.peer, Nothing(), None) if isinstance(each.error, Moved) else each
            for each in outcomes
        ]
        settle(outcomes, majority(len(outcomes)))

    # --- Inside -------------------------------------------------------------------------------

    def _where(self, asked: ListingCall) -> tuple[Ring, int]:
        if asked.container:
            ring = self._cluster.container_ring
            return ring, ring.part(asked.account, asked.container)
        ring = self._cluster.account_ring
        return ring, ring.part(asked.account)

    def _read(self, call: str, asked: ListingCall, type: type[_Answer]) -> _Answer:
        def ask(peer: Peer) -> _Answer:
            own = msgspec.structs.replace(asked, device=peer.device)
            return self._replicas.client.call(peer.address, call, own, type)

        def made(peer: Peer) -> Timestamp:
            client = self._replicas.client
            own = ListingCall(device=peer.device, account=asked.account, container=asked.container)
            if asked.container:
                found = client.call(peer.address, "container_info", own, ContainerAnswer)
                return found.info.put_timestamp
            return client.call(peer.address, "account_info", own, AccountAnswer).info.put_timestamp

        def answer() -> _Answer:
            where = self._where(asked)
            newest = self._replicas.newest(*where, ask, _as_of) if asked.newest else None
            return self._replicas.read(*where, ask, made) if newest is None else newest

        return self._named(asked, answer)

    def _write(
        self, call: str, asked: ListingCall, type: type[_Answer], *, stand_in: bool = False
    ) -> list[_Answer]:
        ring, part = self._where(asked)
        accounts: list[Peer] = []
        if asked.container:
            above = self._cluster.account_ring
            accounts = self._replicas.peers(above, above.part(asked.account))
        count = len(ring.nodes(part))

        def ask(number: int, peer: Peer) -> _Answer:
            own = msgspec.structs.replace(
                asked, device=peer.device, tell=shared(number, accounts, count)
            )
            return self._replicas.client.call(peer.address, call, own, type)

        outcomes = self._replicas.write(ring, part, ask, stand_in=stand_in)
        return self._named(asked, lambda: settle(outcomes, majority(count)))

    def _named(self, asked: ListingCall, answer: Callable[[], _Answer]) -> _Answer:
        """Missing names what is missing."""
        try:
            return answer()
        except Missing as missing:
            kind = "container" if asked.container else "account"
            name = asked.container or asked.account
            raise Missing(kind, name, missing.timestamp) from None


def _as_of(answer: Any) -> Timestamp:
    """When the replica learned something last."""
    return str(answer.as_of)


def _mostly(made: list[Made]) -> bool:
    return sum(each.is_new for each in made) * 2 > len(made)


def _in_order(entries: list[Any], subdirectories: list[tuple[int, str]]) -> list[Any]:
    for place, name in subdirectories:
        entries.insert(place, Subdirectory(name))
    return entries
