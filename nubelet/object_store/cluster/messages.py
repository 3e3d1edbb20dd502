"""What the machines of a cluster say to one another: the arguments and answers of the calls.

New fields have defaults, so that a node of the release before can be understood.
"""

from __future__ import annotations

import msgspec

from nubelet.object_store.cluster.listing_files import ContainerRow, Head
from nubelet.object_store.cluster.shards import Shard, Sharding
from nubelet.object_store.ring import Device
from nubelet.object_store.storage import (
    AccountInfo,
    ContainerEntry,
    ContainerInfo,
    Listing,
    ObjectEntry,
    ObjectPath,
)
from nubelet.object_store.storage.containers import ObjectRow, Totals
from nubelet.object_store.storage.timestamps import Timestamp

# The last byte of the answer to a ReadObject: what was sent is, or is not, what was written.
GOOD, DAMAGED = b"\0", b"\1"


class Peer(msgspec.Struct, frozen=True):
    """A device and where its node listens."""

    ip: str
    port: int
    device: str

    @classmethod
    def of(cls, device: Device) -> Peer:
        """As other nodes reach it."""
        return cls(*device.peer, device.device)

    @property
    def address(self) -> tuple[str, int]:
        """Where its node listens."""
        return self.ip, self.port

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}/{self.device}"


class _Message(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Fields by name."""


class Nothing(_Message):
    """No arguments, no answer."""


# --- Objects ----------------------------------------------------------------------------------


class Tell(_Message):
    """A listing that has to learn of a write: its container, and which replicas this node tells.

    `name`: of the entry, where that is not the object's.
    """

    account: str
    container: str
    peers: list[Peer]
    name: str = ""


class PutObject(_Message):
    """A streamed write. `metadata` has the content-length where that is known; `promise`: the
    writer who was given one by the time the body ends."""

    device: str
    policy: int
    path: ObjectPath
    timestamp: Timestamp
    metadata: dict[str, str]
    if_absent: bool = False
    promise: str = ""
    tell: list[Tell] = []


class PromiseObject(_Message):
    """A promise to a writer who expects data of that timestamp (empty: none), or its end."""

    device: str
    policy: int
    path: ObjectPath
    timestamp: Timestamp
    expected: Timestamp
    writer: str


class Written(_Message):
    """What a write left."""

    timestamp: Timestamp


class OpenObject(_Message):
    """Metadata of an object; and its bytes, when they are few."""

    device: str
    policy: int
    path: ObjectPath
    inline: bool = True


class Opened(_Message):
    """`inline`: the bytes are in the answer."""

    metadata: dict[str, str]
    size: int
    inline: bool = False


class ReadObject(_Message):
    """Bytes of the version whose data has this timestamp, and a byte that says whether they are
    GOOD; Missing when that is gone."""

    device: str
    policy: int
    path: ObjectPath
    timestamp: Timestamp
    start: int
    end: int


class PostObject(_Message):
    """New metadata."""

    device: str
    policy: int
    path: ObjectPath
    timestamp: Timestamp
    metadata: dict[str, str]
    tell: list[Tell] = []


class DeleteObject(_Message):
    """A tombstone; it is written even where there is no object."""

    device: str
    policy: int
    path: ObjectPath
    timestamp: Timestamp
    if_delete_at: int | None = None
    tell: list[Tell] = []


class Partition(_Message):
    """A partition on a device; with `suffixes`, these of it."""

    device: str
    policy: int
    part: int
    suffixes: list[str] = []


class ObjectFolder(_Message):
    """An object by its hash."""

    device: str
    policy: int
    digest: str


class FolderContent(_Message):
    """Files of an object's folder with their metadata; `md5`: of the bytes as they are now."""

    files: dict[str, dict[str, str]] = {}
    md5: dict[str, str] = {}


class TakeFile(_Message):
    """A streamed file of a replica, to be stored as it is. The metadata is in the tail."""

    device: str
    policy: int
    digest: str
    name: str


class PushObject(_Message):
    """Send the files of an object to devices that lack them."""

    device: str
    policy: int
    digest: str
    to: list[Peer]


class PutFragment(_Message):
    """A streamed fragment of an erasure-coded object; `size`: about how many bytes, 0: unknown."""

    device: str
    policy: int
    digest: str
    timestamp: Timestamp
    index: int
    size: int = 0


class ReadFragment(_Message):
    """Bytes of a fragment."""

    device: str
    policy: int
    digest: str
    timestamp: Timestamp
    index: int
    start: int
    end: int


# --- Listings ---------------------------------------------------------------------------------


class ListingCall(_Message):
    """Something about an account (no `container`) or a container. What is not needed is empty."""

    device: str
    account: str
    container: str = ""
    timestamp: Timestamp = ""
    metadata: dict[str, str] = {}
    policy: int | None = None
    default_policy: int = 0
    listing: Listing | None = None
    tell: list[Peer] = []
    emptied: bool = False  # its shards, if it has any, hold nothing
    newest: bool = False  # the answer says when the replica learned something last (`as_of`)


class Made(_Message):
    """Whether it was not there before."""

    is_new: bool


class AccountAnswer(_Message):
    """An account."""

    info: AccountInfo
    as_of: Timestamp = ""


class ContainerAnswer(_Message):
    """A container."""

    info: ContainerInfo
    as_of: Timestamp = ""


class Page(_Message):
    """A page of a listing: entries as they are, subdirectories by their names; in order."""

    containers: list[ContainerEntry] = []
    objects: list[ObjectEntry] = []
    subdirectories: list[tuple[int, str]] = []  # (place in the page, name)
    shards: list[Shard] = []  # which have the entries instead
    is_filling: bool = False  # another replica may say that its shards have
    as_of: Timestamp = ""


class AskChanges(_Message):
    """What changed in a container after change number `after`."""

    device: str
    account: str
    container: str
    after: int
    limit: int


class MergeObjects(_Message):
    """Rows that a container must learn; without any they are in the body: `list[ObjectRow]`.
    `keep`: a container that is sharded keeps them, and moves them to its shards by itself."""

    device: str
    account: str
    container: str
    rows: list[ObjectRow]
    keep: bool = False


class MergeContainer(_Message):
    """What a container tells its account."""

    device: str
    account: str
    container: str
    totals: Totals


class MergeShard(_Message):
    """What a shard tells the container that it is a part of."""

    device: str
    account: str
    container: str
    shard: str
    object_count: int
    bytes_used: int


class PutSharding(_Message):
    """How a container is sharded from now on. `only_deleted`: unless it was made anew."""

    device: str
    digest: str
    sharding: Sharding
    only_deleted: bool = False


class SyncBegin(_Message):
    """A replica of a listing offers what it knows."""

    device: str
    kind: str
    digest: str
    head: Head


class SyncPoint(_Message):
    """Up to which change of the offering file this one knows."""

    point: int


class SyncRows(_Message):
    """Changes up to number `point` of the file `id`."""

    device: str
    kind: str
    digest: str
    id: str
    point: int
    objects: list[ObjectRow] = []
    containers: list[ContainerRow] = []


class FindListing(_Message):
    """A replica of a listing, by its hash."""

    device: str
    kind: str
    digest: str


# --- Looking ----------------------------------------------------------------------------------


class Figures(_Message):
    """What a node tells of itself: of each daemon its last pass; of each device its space."""

    version: str = ""
    daemons: dict[str, dict[str, float]] = {}
    devices: dict[str, dict[str, float]] = {}
    queued: int = 0
    quarantined: int = 0
    rings: dict[str, int] = {}
