"""What a storage node answers about objects. In OpenStack: swift/obj/server.py.

A write is told to the replica of the listing that the proxy names; where that does not answer
soon the news is queued on the device and the updater delivers it. An object is there either way.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from nubelet.kernel.errors import ApiError, BadRequest, PreconditionFailed
from nubelet.object_store.cluster import wire
from nubelet.object_store.cluster.devices import Device, Update
from nubelet.object_store.cluster.held_objects import HeldObjects, Version
from nubelet.object_store.cluster.linking import link_ahead
from nubelet.object_store.cluster.messages import (
    DAMAGED,
    GOOD,
    DeleteObject,
    FolderContent,
    MergeObjects,
    Nothing,
    ObjectFolder,
    Opened,
    OpenObject,
    Partition,
    Peer,
    PostObject,
    PromiseObject,
    PushObject,
    PutObject,
    ReadObject,
    TakeFile,
    Tell,
    Written,
)
from nubelet.object_store.cluster.object_files import DamagedObject, Files, read_file, verify
from nubelet.object_store.cluster.server import Call, Handler, Stream
from nubelet.object_store.storage import Metadata, Missing, ObjectPath
from nubelet.object_store.storage import objects as engine
from nubelet.object_store.storage.containers import ObjectRow, row_of

if TYPE_CHECKING:
    from nubelet.object_store.cluster.node import Node

log = logging.getLogger(__name__)
INLINE_BYTES = 1 << 16
_MAX_MOVES = 8  # from shard to shard


def handlers(node: Node) -> dict[str, Handler]:
    """The calls of this module."""
    calls = ObjectCalls(node)
    return {
        "object_promise": calls.promise,
        "object_unpromise": calls.unpromise,
        "object_put": calls.put,
        "object_open": calls.open,
        "object_read": calls.read,
        "object_post": calls.post,
        "object_delete": calls.delete,
        "object_suffixes": calls.suffixes,
        "object_files": calls.files,
        "object_folder": calls.folder,
        "object_take": calls.take,
        "object_push": calls.push,
    }


class ObjectCalls:
    """The handlers, for one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._held = HeldObjects()

    # --- For proxies --------------------------------------------------------------------------

    def promise(self, call: Call) -> Nothing:
        """Let one writer replace what is there. Raises PreconditionFailed, Conflict."""
        asked = wire.decode(call.arguments, PromiseObject)
        device, place = self._find(asked.device, asked.policy, asked.path)
        device.promises.give(
            device.hash(*asked.path),
            asked.writer,
            asked.timestamp,
            asked.expected,
            lambda: device.objects.state(asked.policy, place),
        )
        return Nothing()

    def unpromise(self, call: Call) -> Nothing:
        """The writer will not write, or has written."""
        asked = wire.decode(call.arguments, PromiseObject)
        device, _place = self._find(asked.device, asked.policy, asked.path)
        device.promises.take_back(device.hash(*asked.path), asked.writer)
        return Nothing()

    def put(self, call: Call) -> Written:
        """Store an object. Raises Outdated, PreconditionFailed, Conflict, InsufficientStorage."""
        asked = wire.decode(call.arguments, PutObject)
        device, place = self._find(asked.device, asked.policy, asked.path)
        if asked.if_absent and device.objects.state(asked.policy, place).is_there:
            raise PreconditionFailed("The object exists.")
        frames = call.frames()

        def finish(md5: str, size: int) -> Metadata:
            if frames.tail is None or frames.tail.etag != md5:
                raise BadRequest("the body did not arrive as it was sent")
            added = dict(frames.tail.metadata)
            # What the object is to its users may differ from the bytes that are here.
            if added.get("etag", md5) != md5:
                added["x-backend-md5"] = md5
            if added.get("content-length", str(size)) != str(size):
                added["x-backend-size"] = str(size)
            return added

        metadata = _named(asked.metadata, asked.path, asked.policy)
        turn = device.promises.used(
            device.hash(*asked.path),
            asked.promise,
            lambda: device.objects.state(asked.policy, place),
        )
        with device.objects.write(
            asked.policy,
            place,
            asked.timestamp,
            metadata,
            frames,
            finish,
            turn=turn if asked.promise else None,
        ) as (_, final):
            self._link_ahead(device, asked.policy, place)
            self._tell(device, asked.tell, row_of(asked.path.object, asked.policy, final))
        return Written(timestamp=asked.timestamp)

    def open(self, call: Call) -> Stream:
        """Metadata, and the bytes of a small object, which are checked. Raises Missing."""
        asked = wire.decode(call.arguments, OpenObject)
        device, place = self._find(asked.device, asked.policy, asked.path)
        opened = device.objects.open(asked.policy, place)
        if not asked.inline or opened.size > INLINE_BYTES:
            timestamp = opened.metadata["x-backend-data-timestamp"]
            self._held.hold(Version(asked.device, asked.policy, place, timestamp), opened)
            answer = Opened(metadata=opened.metadata, size=opened.size)
            return Stream(answer, 0, iter(()))
        data = b"".join(opened.read())
        opened.close()
        stored = opened.metadata.get("x-backend-md5") or opened.metadata["etag"]
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != stored:
            self._quarantine(device, asked.policy, place)
            raise Missing("object", asked.path.object)
        answer = Opened(metadata=opened.metadata, size=opened.size, inline=True)
        return Stream(answer, len(data), iter((data,)))

    def read(self, call: Call) -> Stream:
        """Bytes of a version, and one more (`GOOD`, `DAMAGED`). Raises Missing."""
        asked = wire.decode(call.arguments, ReadObject)
        device, place = self._find(asked.device, asked.policy, asked.path)
        opened = self._version(device, asked, place)
        end = min(asked.end, opened.size)
        pieces = self._checked(device, asked.policy, place, opened, asked.start, end)
        return Stream(Nothing(), max(0, end - asked.start) + 1, pieces)

    def _version(self, device: Device, asked: ReadObject, place: str) -> engine.Opened:
        """What is there, else what was when the reader opened it. Raises Missing."""
        with suppress(Missing):
            opened = device.objects.open(asked.policy, place)
            if opened.metadata["x-backend-data-timestamp"] == asked.timestamp:
                return opened
            opened.close()
        held = self._held.find(Version(asked.device, asked.policy, place, asked.timestamp))
        if held is None:
            raise Missing("object", asked.path.object)
        return held

    def _checked(
        self, device: Device, policy: int, place: str, opened: engine.Opened, start: int, end: int
    ) -> Iterator[bytes]:
        """The bytes, then one that says whether they are what was written, as far as that can be
        seen: when all of them are read."""
        whole = start == 0 and end == opened.size
        digest = hashlib.md5(usedforsecurity=False)
        for piece in opened.read(start, end):
            if whole:
                digest.update(piece)
            yield piece
        stored = opened.metadata.get("x-backend-md5") or opened.metadata["etag"]
        if not whole or digest.hexdigest() == stored:
            yield GOOD
            return
        self._quarantine(device, policy, place)
        yield DAMAGED

    def post(self, call: Call) -> Written:
        """Replace metadata. Raises Missing, Outdated."""
        asked = wire.decode(call.arguments, PostObject)
        device, place = self._find(asked.device, asked.policy, asked.path)
        device.objects.open(asked.policy, place).close()
        metadata = _named(asked.metadata, asked.path, asked.policy)
        with device.objects.mark(asked.policy, place, asked.timestamp, metadata, ".meta"):
            self._link_ahead(device, asked.policy, place)
            opened = device.objects.open(asked.policy, place)
            opened.close()
            row = row_of(asked.path.object, asked.policy, opened.metadata)
            self._tell(device, asked.tell, row)
        return Written(timestamp=asked.timestamp)

    def delete(self, call: Call) -> Written:
        """Write a tombstone. Raises Missing when there was no object, Outdated,
        PreconditionFailed."""
        asked = wire.decode(call.arguments, DeleteObject)
        device, place = self._find(asked.device, asked.policy, asked.path)
        found = device.objects.state(asked.policy, place)
        if asked.if_delete_at is not None:
            opened = device.objects.open(asked.policy, place)
            opened.close()
            if opened.metadata.get("x-delete-at") != str(asked.if_delete_at):
                raise PreconditionFailed("The object expires at another time, or never.")
        gone = asked.timestamp
        row = ObjectRow(asked.path.object, gone, gone, 0, "", "", 1, asked.policy)
        metadata = _named({}, asked.path, asked.policy)
        with device.objects.mark(asked.policy, place, gone, metadata, ".ts"):
            self._link_ahead(device, asked.policy, place)
            self._tell(device, asked.tell, row)
        if not found.is_there:
            raise Missing("object", asked.path.object, found.timestamp)
        return Written(timestamp=gone)

    # --- For replicators ----------------------------------------------------------------------

    def suffixes(self, call: Call) -> dict[str, str]:
        """Suffix -> hash, of a partition."""
        asked = wire.decode(call.arguments, Partition)
        objects = self._node.devices.get(asked.device).objects
        return objects.suffixes(asked.policy, asked.part)

    def files(self, call: Call) -> Files:
        """The files of some suffixes, by hash."""
        asked = wire.decode(call.arguments, Partition)
        objects = self._node.devices.get(asked.device).objects
        found: Files = {}
        for suffix in asked.suffixes:
            found.update(objects.files(asked.policy, asked.part, suffix))
        return found

    def folder(self, call: Call) -> FolderContent:
        """Everything about an object's files. Raises Missing."""
        asked = wire.decode(call.arguments, ObjectFolder)
        device = self._node.devices.get(asked.device)
        place = self._place(device, asked.policy, asked.digest)
        folder = device.objects.folder_of(asked.policy, place)
        found = device.objects.state(asked.policy, place)
        content = FolderContent()
        for name in (found.newest, found.meta):
            if name is None:
                continue
            try:
                metadata, _, pieces = read_file(f"{folder}/{name}")
            except (OSError, ValueError):
                content.files[name] = {}
                continue
            content.files[name] = metadata
            digest = hashlib.md5(usedforsecurity=False)
            for piece in pieces:
                digest.update(piece)
            content.md5[name] = digest.hexdigest()
        if not content.files:
            raise Missing("object", asked.digest)
        return content

    def take(self, call: Call) -> Nothing:
        """Store a file of a replica. Raises BadRequest when it did not arrive whole."""
        asked = wire.decode(call.arguments, TakeFile)
        device = self._node.devices.get(asked.device)
        place = self._place(device, asked.policy, asked.digest)
        metadata, pieces = _metadata_first(call)
        try:
            device.objects.take(asked.policy, place, asked.name, metadata, pieces)
            self._link_ahead(device, asked.policy, place)
        except DamagedObject as error:
            raise BadRequest(str(error)) from error
        return Nothing()

    def push(self, call: Call) -> Nothing:
        """Send an object to devices that lack it (read repair)."""
        from nubelet.object_store.cluster.pushing import push_object

        asked = wire.decode(call.arguments, PushObject)
        device = self._node.devices.get(asked.device)
        for peer in asked.to:
            try:
                push_object(self._node, device, asked.policy, asked.digest, peer)
            except (wire.NodeFailed, ApiError, FileNotFoundError) as error:
                log.info("%s is left to the replicator: %s", peer, error)
        return Nothing()

    # --- Inside -------------------------------------------------------------------------------

    def _find(self, name: str, policy: int, path: ObjectPath) -> tuple[Device, str]:
        device = self._node.devices.get(name)
        return device, self._place(device, policy, device.hash(*path))

    def _place(self, device: Device, policy: int, digest: str) -> str:
        try:
            ring = self._node.cluster.object_ring(policy)
        except KeyError:
            raise BadRequest(f"this node knows no policy {policy}") from None
        return device.place(ring.part_power, digest)

    def _link_ahead(self, device: Device, policy: int, place: str) -> None:
        digest = place.rpartition("/")[2]
        link_ahead(self._node, device, policy, digest, device.objects.folder_of)

    def _tell(self, device: Device, tell: list[Tell], row: ObjectRow) -> None:
        """Let listings learn of a write, at once or later."""
        for listing in tell:
            own = row
            if listing.name:  # an entry in the queue of the expirer
                own = ObjectRow(
                    listing.name, row.meta_timestamp, row.meta_timestamp, 0, "text/plain", "", 0, 0
                )
            whole = Update(account=listing.account, container=listing.container, row=own)
            later = [] if listing.peers else [whole]
            for peer in listing.peers:
                left = self._tell_one(listing.account, listing.container, peer, own)
                if left is not None and left not in later:
                    later.append(left)
            for update in later:
                device.queue(update)  # the updater tells all

    def _tell_one(self, account: str, container: str, peer: Peer, row: ObjectRow) -> Update | None:
        """Tell a replica of a listing, or the one in the same place of its shard; what is left to
        be told."""
        ring = self._node.cluster.container_ring
        for _ in range(_MAX_MOVES):
            if self._node.client.is_shunned(peer.address):
                break
            merge = MergeObjects(
                device=peer.device, account=account, container=container, rows=[row]
            )
            try:
                self._node.client.call(
                    peer.address,
                    "container_merge",
                    merge,
                    Nothing,
                    seconds=self._node.cluster.timing.update_seconds,
                )
                return None
            except wire.Moved as moved:
                peers = [Peer.of(each) for each in ring.nodes(ring.part(account, container))]
                place = peers.index(peer) if peer in peers else 0
                account, container = moved.account, moved.container
                nodes = ring.nodes(ring.part(account, container))
                peer = Peer.of(nodes[place % len(nodes)])
            except (wire.NodeFailed, ApiError):
                break
        return Update(account=account, container=container, row=row)

    def _quarantine(self, device: Device, policy: int, place: str) -> None:
        folder = device.objects.folder_of(policy, place)
        found = device.objects.state(policy, place)
        try:
            verify(f"{folder}/{found.newest}")
        except DamagedObject as error:
            log.error("quarantined: %s", error)
            device.quarantine(folder)
        except FileNotFoundError:
            return


def _named(metadata: Metadata, path: ObjectPath, policy: int) -> Metadata:
    return {**metadata, "name": str(path), "x-backend-policy": str(policy)}


def _metadata_first(call: Call) -> tuple[Metadata, Iterator[bytes]]:
    """A pushed file: its metadata is the first frame, its bytes are the others."""
    frames = iter(call.frames())
    head = b""
    length = -1
    for piece in frames:
        head += piece
        if length < 0 and len(head) >= 4:
            length = int.from_bytes(head[:4], "big")
        if 0 <= length <= len(head) - 4:
            break
    metadata = wire.decode(head[4 : 4 + length], Metadata)
    rest = head[4 + length :]

    def pieces() -> Iterator[bytes]:
        if rest:
            yield rest
        yield from frames

    return metadata, pieces()
