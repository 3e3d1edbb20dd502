"""What a storage node answers about accounts and containers.

In OpenStack: swift/account/server.py, swift/container/server.py.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, cast

from nubelet.kernel.errors import ApiError, BadRequest, Conflict
from nubelet.object_store.cluster import wire
from nubelet.object_store.cluster.devices import Device
from nubelet.object_store.cluster.listing_files import (
    Head,
    NodeAccountFile,
    NodeContainerFile,
)
from nubelet.object_store.cluster.messages import (
    AccountAnswer,
    AskChanges,
    ContainerAnswer,
    FindListing,
    ListingCall,
    Made,
    MergeContainer,
    MergeObjects,
    MergeShard,
    Nothing,
    Page,
    Peer,
    PutSharding,
    SyncBegin,
    SyncPoint,
    SyncRows,
)
from nubelet.object_store.cluster.server import Call, Handler
from nubelet.object_store.cluster.shards import ACTIVE, FILLING, Sharding, hidden
from nubelet.object_store.storage import (
    ContainerEntry,
    Listing,
    Missing,
    ObjectEntry,
    Subdirectory,
)
from nubelet.object_store.storage.containers import Change, ObjectRow, Totals
from nubelet.object_store.storage.timestamps import Timestamp, normal

if TYPE_CHECKING:
    from nubelet.object_store.cluster.node import Node

KINDS = ("accounts", "containers")
_CHANGE_BITS = 40


def handlers(node: Node) -> dict[str, Handler]:
    """The calls of this module."""
    calls = ListingCalls(node)
    return {
        "account_info": calls.account_info,
        "account_put": calls.account_put,
        "account_post": calls.account_post,
        "account_delete": calls.account_delete,
        "account_list": calls.account_list,
        "account_merge": calls.account_merge,
        "container_info": calls.container_info,
        "container_put": calls.container_put,
        "container_post": calls.container_post,
        "container_delete": calls.container_delete,
        "container_list": calls.container_list,
        "container_merge": calls.container_merge,
        "shard_merge": calls.shard_merge,
        "sharding_show": calls.sharding_show,
        "sharding_put": calls.sharding_put,
        "container_changes": calls.container_changes,
        "listing_head": calls.head,
        "listing_begin": calls.begin,
        "listing_rows": calls.rows,
    }


class ListingCalls:
    """The handlers, for one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    # --- Accounts -----------------------------------------------------------------------------

    def account_info(self, call: Call) -> AccountAnswer:
        """Raises Missing."""
        asked = wire.decode(call.arguments, ListingCall)
        with self._account(asked.device, asked.account) as file:
            return AccountAnswer(info=file.info(), as_of=_as_of(asked, file))

    def account_put(self, call: Call) -> Made:
        """Make it, or change its metadata."""
        asked = wire.decode(call.arguments, ListingCall)
        with self._account(asked.device, asked.account) as file:
            return Made(is_new=file.put(asked.account, asked.timestamp, asked.metadata))

    def account_post(self, call: Call) -> Nothing:
        """Raises Missing."""
        asked = wire.decode(call.arguments, ListingCall)
        with self._account(asked.device, asked.account) as file:
            file.post(asked.timestamp, asked.metadata)
        return Nothing()

    def account_delete(self, call: Call) -> Nothing:
        """Raises Missing."""
        asked = wire.decode(call.arguments, ListingCall)
        with self._account(asked.device, asked.account) as file:
            file.delete(asked.timestamp)
        return Nothing()

    def account_list(self, call: Call) -> Page:
        """Raises Missing."""
        asked = wire.decode(call.arguments, ListingCall)
        with self._account(asked.device, asked.account) as file:
            entries = file.entries(asked.listing or Listing())
            as_of = _as_of(asked, file)
        plain = [entry for entry in entries if isinstance(entry, ContainerEntry)]
        return Page(containers=plain, subdirectories=_subdirectories(entries), as_of=as_of)

    def account_merge(self, call: Call) -> Nothing:
        """Take up what a container tells; raises Missing."""
        asked = wire.decode(call.arguments, MergeContainer)
        with self._account(asked.device, asked.account) as file:
            if not file.exists():
                if not asked.account.startswith("."):
                    raise Missing("account", asked.account)
                file.put(asked.account, normal(time.time()), {})
            file.merge(asked.container, asked.totals)
        return Nothing()

    # --- Containers ---------------------------------------------------------------------------

    def container_info(self, call: Call) -> ContainerAnswer:
        """Raises Missing."""
        asked = wire.decode(call.arguments, ListingCall)
        with self._container(asked.device, asked.account, asked.container) as file:
            return ContainerAnswer(info=file.info(), as_of=_as_of(asked, file))

    def container_put(self, call: Call) -> Made:
        """Make it, or change its metadata; raises Conflict."""
        asked = wire.decode(call.arguments, ListingCall)
        with self._container(asked.device, asked.account, asked.container) as file:
            is_new = file.put(
                asked.account,
                asked.container,
                asked.timestamp,
                asked.metadata,
                asked.policy,
                asked.default_policy,
            )
            totals = file.totals()
        self._report(asked, totals)
        return Made(is_new=is_new)

    def container_post(self, call: Call) -> Nothing:
        """Raises Missing."""
        asked = wire.decode(call.arguments, ListingCall)
        with self._container(asked.device, asked.account, asked.container) as file:
            file.post(asked.timestamp, asked.metadata)
        return Nothing()

    def container_delete(self, call: Call) -> Nothing:
        """Raises Missing, NotEmpty."""
        asked = wire.decode(call.arguments, ListingCall)
        with self._container(asked.device, asked.account, asked.container) as file:
            file.delete(asked.timestamp, emptied=asked.emptied)
            totals = file.totals()
        self._report(asked, totals)
        return Nothing()

    def container_list(self, call: Call) -> Page:
        """Raises Missing."""
        asked = wire.decode(call.arguments, ListingCall)
        with self._container(asked.device, asked.account, asked.container) as file:
            sharding, as_of = file.sharding(), _as_of(asked, file)
            if sharding is not None and sharding.is_active:
                file.info()  # raises Missing
                return Page(shards=sharding.live, as_of=as_of)
            entries = file.entries(asked.listing or Listing())
        plain = [entry for entry in entries if isinstance(entry, ObjectEntry)]
        return Page(
            objects=plain,
            subdirectories=_subdirectories(entries),
            is_filling=sharding is not None and sharding.state == FILLING,
            as_of=as_of,
        )

    def container_merge(self, call: Call) -> Nothing:
        """Take up writes of objects; raises Missing where the container was never made here, and
        Moved when a shard keeps the entry (too)."""
        asked = wire.decode(call.arguments, MergeObjects)
        device = self._node.devices.get(asked.device)
        rows = asked.rows or wire.decode(call.body(), list[ObjectRow])
        moved: tuple[int, str] | None = None
        with self._container(asked.device, asked.account, asked.container) as file:
            if not file.exists():
                if not asked.account.startswith("."):
                    raise Missing("container", asked.container)
                file.put(asked.account, asked.container, rows[0].timestamp, {}, None, 0)
            if not asked.keep:
                moved = file.shard_of(rows[0].name)
            if moved is None or moved[0] != ACTIVE:
                file.merge(rows)
                # Asked again: what begins to fill has copied this row already, or not.
                moved = None if asked.keep else file.shard_of(rows[0].name)
        device.changed(device.hash(asked.account, asked.container))
        self._node.news.set()
        if moved is not None:
            raise wire.Moved(hidden(asked.account), moved[1])
        return Nothing()

    def shard_merge(self, call: Call) -> Nothing:
        """Take up the totals of a shard. A container that has no such shard does not care."""
        asked = wire.decode(call.arguments, MergeShard)
        device = self._node.devices.get(asked.device)
        with self._container(asked.device, asked.account, asked.container) as file:
            news = file.exists() and file.shard_told(
                asked.shard, asked.object_count, asked.bytes_used
            )
        if news:
            device.changed(device.hash(asked.account, asked.container))
            self._node.news.set()
        return Nothing()

    def sharding_show(self, call: Call) -> Sharding | None:
        """How a container is sharded. Raises Missing."""
        asked = wire.decode(call.arguments, FindListing)
        with self._listing("containers", asked.device, asked.digest) as file:
            return file.head().sharding

    def sharding_put(self, call: Call) -> Nothing:
        """Take up how it is sharded from now on. Raises Missing, Conflict."""
        asked = wire.decode(call.body(), PutSharding)
        device = self._node.devices.get(asked.device)
        with self._listing("containers", asked.device, asked.digest) as file:
            head = file.head()
            if asked.only_deleted and head.put_timestamp > head.delete_timestamp:
                raise Conflict("The container was made anew.")
            assert isinstance(file, NodeContainerFile)
            file.take_sharding(asked.sharding)
        device.changed(asked.digest)
        self._node.news.set()
        return Nothing()

    def container_changes(self, call: Call) -> list[Change]:
        """What changed, in order. Replicas number their changes differently: the numbers say of
        which one they are, and to numbers of another one everything is news. Raises Missing."""
        asked = wire.decode(call.arguments, AskChanges)
        with self._container(asked.device, asked.account, asked.container) as file:
            file.info()  # raises Missing
            own = int(file.head().id[:5], 16) << _CHANGE_BITS
            after = asked.after - own if own <= asked.after < own + (1 << _CHANGE_BITS) else -1
            return [each._replace(id=own + each.id) for each in file.changes(after, asked.limit)]

    # --- Replicas -----------------------------------------------------------------------------

    def head(self, call: Call) -> Head:
        """Raises Missing."""
        asked = wire.decode(call.arguments, FindListing)
        with self._listing(asked.kind, asked.device, asked.digest) as file:
            return file.head()

    def begin(self, call: Call) -> SyncPoint:
        """Take up what a replica says of the listing itself; up to where its rows are known."""
        asked = wire.decode(call.body(), SyncBegin)
        device = self._node.devices.get(asked.device)
        with self._listing(asked.kind, asked.device, asked.digest) as file:
            if asked.head.is_forgotten(self._before()) and not file.exists():
                return SyncPoint(point=asked.head.last)  # it was removed here already
            file.take_head(asked.head)
            point = file.taken(asked.head.id)
        if asked.kind == "containers":
            device.changed(asked.digest)
        return SyncPoint(point=point)

    def rows(self, call: Call) -> Nothing:
        """Take up rows of a replica."""
        asked = wire.decode(call.body(), SyncRows)
        device = self._node.devices.get(asked.device)
        with self._listing(asked.kind, asked.device, asked.digest) as file:
            if isinstance(file, NodeContainerFile):
                file.take_rows(asked.objects)
                device.changed(asked.digest)
            else:
                file.take_rows(asked.containers)
            # Else replicas would tell one another of what each has just forgotten, for ever.
            file.reclaim(self._before())
            file.took(asked.id, asked.point)
        return Nothing()

    # --- Inside -------------------------------------------------------------------------------

    def _before(self) -> Timestamp:
        """What was deleted before that is forgotten."""
        return normal(time.time() - self._node.cluster.timing.reclaim_seconds)

    def _account(self, name: str, account: str) -> AbstractContextManager[NodeAccountFile]:
        device = self._node.devices.get(name)
        ring = self._node.cluster.account_ring
        return device.accounts.use(device.listing_path("accounts", ring, device.hash(account)))

    def _container(
        self, name: str, account: str, container: str
    ) -> AbstractContextManager[NodeContainerFile]:
        device = self._node.devices.get(name)
        ring = self._node.cluster.container_ring
        return device.containers.use(
            device.listing_path("containers", ring, device.hash(account, container))
        )

    def _listing(
        self, kind: str, name: str, digest: str
    ) -> AbstractContextManager[NodeAccountFile | NodeContainerFile]:
        if kind not in KINDS or not digest.isalnum():
            raise BadRequest(f"{kind} are no listings")
        return open_listing(self._node, self._node.devices.get(name), kind, digest)

    def _report(self, asked: ListingCall, totals: Totals | None) -> None:
        """Tell the account of a container that came or went; the updater repeats it, also if this
        comes behind what it has told meanwhile."""
        device = self._node.devices.get(asked.device)
        digest = device.hash(asked.account, asked.container)
        device.changed(digest)
        if totals is not None and asked.tell:
            for peer in asked.tell:
                tell_account(self._node, peer, asked.account, asked.container, totals)
            device.changed(digest)


def _as_of(asked: ListingCall, file: NodeAccountFile | NodeContainerFile) -> Timestamp:
    return file.as_of() if asked.newest else ""


def open_listing(
    node: Node, device: Device, kind: str, digest: str
) -> AbstractContextManager[NodeAccountFile | NodeContainerFile]:
    """The listing file of a hash."""
    path = device.listing_path(kind, node.cluster.listing_ring(kind), digest)
    files = device.accounts if kind == "accounts" else device.containers
    return cast("AbstractContextManager[NodeAccountFile | NodeContainerFile]", files.use(path))


def tell_account(node: Node, peer: Peer, account: str, container: str, totals: Totals) -> bool:
    """Tell a replica of an account what a container holds; whether it knows now."""
    if node.client.is_shunned(peer.address):
        return False
    told = MergeContainer(device=peer.device, account=account, container=container, totals=totals)
    try:
        node.client.call(
            peer.address,
            "account_merge",
            told,
            Nothing,
            seconds=node.cluster.timing.update_seconds,
        )
    except (wire.NodeFailed, ApiError):
        return False
    return True


def _subdirectories(entries: list[Subdirectory | ContainerEntry]
                    | list[Subdirectory | ObjectEntry]) -> list[tuple[int, str]]:  # fmt: skip
    return [
        (place, entry.name)
        for place, entry in enumerate(entries)
        if isinstance(entry, Subdirectory)
    ]
