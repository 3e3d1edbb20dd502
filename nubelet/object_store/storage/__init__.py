"""What the API asks of storage, whether that is one folder or a cluster of nodes.

`Storage` is the seam between the Swift and S3 APIs (stateless) and the bytes. `local.py`
keeps everything in one folder; `cluster/` speaks to storage nodes that keep replicas. Both obey:

* Every write names its `timestamp`. Writes may be repeated and may arrive in any order: the
  newest wins, an older one changes nothing (`Outdated` tells the writer). A DELETE is a write,
  its tombstone is kept as long as an older write may still arrive.
* A write that returned is durable: it outlives kill -9 and loss of power. One that raised, or
  whose body raised, left nothing.
* An object and its entry in the container's listing are two things. The entry follows at once
  or is queued, and is never lost; so do the totals of containers in the account.
* Names are any text of 1 to 1,024 bytes of UTF-8; names that begin with NUL belong to features
  (hidden containers of versions) and never reach storage from a client's URL.
* Metadata is a mapping of lower-case header names to text. For accounts and containers a write
  changes the names it mentions and an empty text removes one; for objects `post_object`
  replaces all that `is_replaced_by_post` (metadata.py) says, and leaves the rest.

All calls are synchronous; bodies are iterators of bytes.
Read next: local.py, then objects.py, containers.py, accounts.py (the files).
In OpenStack: swift/proxy/controllers, and the protocol to its account, container and object
servers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from nubelet.kernel.errors import Conflict, InsufficientStorage, NotFound, PreconditionFailed
from nubelet.object_store.storage.timestamps import Timestamp

__all__ = [
    "EXPIRING_ACCOUNT",
    "AccountInfo",
    "ContainerEntry",
    "ContainerInfo",
    "Finish",
    "InsufficientStorage",
    "Listing",
    "Metadata",
    "Missing",
    "NotEmpty",
    "ObjectEntry",
    "ObjectPath",
    "OpenObject",
    "Outdated",
    "Policies",
    "Policy",
    "PreconditionFailed",
    "Storage",
    "Stored",
    "Subdirectory",
    "Usage",
]
Metadata = dict[str, str]
# Called once the body is there, with its MD5 and its size; what it returns is added to the
# metadata, and what it raises makes the write not happen.
Finish = Callable[[str, int], Mapping[str, str]]

EXPIRING_ACCOUNT = ".expiring_objects"
# Metadata of an object that may be written where new ones are refused, because it makes room.
WITHIN_RESERVE = "x-backend-within-reserve"
# An object's entry in its container's listing shows these instead of the file's own values. The
# last one is only shown; what the container counts is the size of the file (or OVERRIDE_SIZE).
OVERRIDE_ETAG = "x-object-sysmeta-container-update-override-etag"
OVERRIDE_SIZE = "x-object-sysmeta-container-update-override-size"
OVERRIDE_SHOWN_SIZE = "x-object-sysmeta-container-update-override-shown-size"


class Missing(NotFound):
    """There is no such account, container or object (any more).

    `timestamp`: of the tombstone, where there is one.
    """

    def __init__(self, kind: str, name: str, timestamp: Timestamp = "") -> None:
        super().__init__(kind, name)
        self.timestamp = timestamp


class Outdated(Conflict):
    """Something newer is stored; `newest` is its timestamp."""

    def __init__(self, newest: Timestamp) -> None:
        super().__init__(f"A newer version, of {newest}, is stored.")
        self.newest = newest


class NotEmpty(Conflict):
    """The container still has objects, or the account containers."""


class ObjectPath(NamedTuple):
    """Where an object is."""

    account: str
    container: str
    object: str

    def __str__(self) -> str:
        return "/" + "/".join(self)


@dataclass(frozen=True, slots=True)
class Policy:
    """A way of storing objects, chosen per container when that is made."""

    index: int
    name: str
    is_default: bool = False
    aliases: tuple[str, ...] = ()


class Policies:
    """The policies of a store. The default is what containers get that ask for none."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._by_index = {policy.index: policy for policy in policies}
        self._by_name = {
            name.lower(): policy for policy in policies for name in (policy.name, *policy.aliases)
        }
        self.default = next((policy for policy in policies if policy.is_default), policies[0])

    def __iter__(self) -> Iterator[Policy]:
        return iter(self._by_index.values())

    def named(self, name: str) -> Policy | None:
        """The policy of that name, in any case."""
        return self._by_name.get(name.lower())

    def __getitem__(self, index: int) -> Policy:
        return self._by_index[index]


@dataclass(slots=True, kw_only=True)
class Usage:
    """Totals of one policy."""

    container_count: int = 0
    object_count: int = 0
    bytes_used: int = 0


@dataclass(slots=True, kw_only=True)
class AccountInfo:
    """An account as its file knows it. `created_at` is what X-Timestamp shows."""

    account: str
    created_at: Timestamp
    put_timestamp: Timestamp
    metadata: Metadata
    container_count: int
    object_count: int
    bytes_used: int
    policies: dict[int, Usage] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class ContainerInfo:
    """A container as its file knows it."""

    account: str
    container: str
    created_at: Timestamp
    put_timestamp: Timestamp
    metadata: Metadata
    object_count: int
    bytes_used: int
    policy: int


@dataclass(slots=True, frozen=True, kw_only=True)
class Listing:
    """Which entries of a listing are asked for, as in the API's query.

    `marker` and `end_marker` are excluded. With a `delimiter`, names that have it after the
    prefix are rolled up into one `Subdirectory`. `path`: only what lies directly in that pseudo
    folder (None: everywhere). `reserved`: names that begin with NUL too. `above`, `up_to`: only
    names after the one, and up to and with the other. `written`: objects tell when their data was
    written, not when their last POST was. `newest`: of the replica that learned something last.
    """

    limit: int = 10_000
    prefix: str = ""
    delimiter: str = ""
    marker: str = ""
    end_marker: str = ""
    reverse: bool = False
    path: str | None = None
    reserved: bool = False
    above: str = ""
    up_to: str = ""
    written: bool = False
    newest: bool = False


class ContainerEntry(NamedTuple):
    """A container in its account's listing. `timestamp`: of its PUT."""

    name: str
    object_count: int
    bytes_used: int
    timestamp: Timestamp
    policy: int


class ObjectEntry(NamedTuple):
    """An object in its container's listing. `timestamp`: of its last POST, or of its data."""

    name: str
    timestamp: Timestamp
    size: int
    content_type: str
    etag: str


class Subdirectory(NamedTuple):
    """Names of a listing that were rolled up; ends with the delimiter."""

    name: str


@dataclass(slots=True, frozen=True)
class Stored:
    """What a PUT of an object left: the MD5 and size of its bytes."""

    etag: str
    size: int
    timestamp: Timestamp


class OpenObject(Protocol):
    """An object that was found. Close it, also after reading it.

    metadata: everything, with `content-type`, `content-length`, `etag`, `x-timestamp` (of the
    data or the last POST) and `x-backend-data-timestamp`. What was opened stays readable when it
    is replaced or deleted meanwhile.
    """

    metadata: Metadata
    size: int

    def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes from `start` to before `end`."""
        ...

    def close(self) -> None:
        """Give up the file; may be called again. What is read after that is undefined."""
        ...


class Storage(Protocol):
    """Accounts, containers and objects. Everything may raise `ServiceUnavailable` (no quorum)
    and `InsufficientStorage`."""

    policies: Policies

    # --- Accounts: a list of containers ------------------------------------------------------

    def account(self, account: str, *, totals: bool = True, newest: bool = False) -> AccountInfo:
        """Raises Missing. Without `totals` it takes less time, and the numbers mean nothing.
        `newest`: ask all replicas, and take what the one says that learned something last."""
        ...

    def put_account(self, account: str, timestamp: Timestamp, metadata: Mapping[str, str]) -> bool:
        """Make or change it; True if it was not there."""
        ...

    def post_account(self, account: str, timestamp: Timestamp, metadata: Mapping[str, str]) -> None:
        """Change its metadata; raises Missing."""
        ...

    def delete_account(self, account: str, timestamp: Timestamp) -> None:
        """Mark it deleted, with whatever it holds (a reaper removes that); raises Missing."""
        ...

    def list_containers(
        self, account: str, listing: Listing
    ) -> list[ContainerEntry | Subdirectory]:
        """Raises Missing."""
        ...

    # --- Containers: a list of objects -------------------------------------------------------

    def container(
        self, account: str, container: str, *, totals: bool = True, newest: bool = False
    ) -> ContainerInfo:
        """Raises Missing. Without `totals` the numbers may be old. `newest`: as of accounts."""
        ...

    def put_container(
        self,
        account: str,
        container: str,
        timestamp: Timestamp,
        metadata: Mapping[str, str],
        policy: int | None = None,
    ) -> bool:
        """Make or change it; True if it was not there. Raises Conflict when it is there with
        another policy. The account must be there (its listing is updated)."""
        ...

    def post_container(
        self, account: str, container: str, timestamp: Timestamp, metadata: Mapping[str, str]
    ) -> None:
        """Change its metadata; raises Missing."""
        ...

    def delete_container(self, account: str, container: str, timestamp: Timestamp) -> None:
        """Raises Missing, NotEmpty."""
        ...

    def list_objects(
        self, account: str, container: str, listing: Listing
    ) -> list[ObjectEntry | Subdirectory]:
        """Raises Missing."""
        ...

    def remove_entry(self, account: str, container: str, name: str, timestamp: Timestamp) -> None:
        """Take an entry out of a listing that has no object behind it (queue of the expirer)."""
        ...

    # --- Objects -----------------------------------------------------------------------------

    def open_object(self, path: ObjectPath, policy: int, *, newest: bool = False) -> OpenObject:
        """Raises Missing. `newest`: ask all replicas and take the newest."""
        ...

    def put_object(
        self,
        path: ObjectPath,
        policy: int,
        timestamp: Timestamp,
        metadata: Mapping[str, str],
        body: Iterable[bytes],
        *,
        finish: Finish | None = None,
        expected: Timestamp | None = None,
    ) -> Stored:
        """Write an object. With `x-delete-at` in the metadata the expirer will find it.

        Raises Outdated; PreconditionFailed unless what is there has data of the timestamp
        `expected` (empty: nothing is there), whoever else writes. Conflict where others are about
        to write, in a cluster.
        """
        ...

    def post_object(
        self, path: ObjectPath, policy: int, timestamp: Timestamp, metadata: Mapping[str, str]
    ) -> None:
        """Replace its metadata; raises Missing, Outdated."""
        ...

    def delete_object(
        self,
        path: ObjectPath,
        policy: int,
        timestamp: Timestamp,
        *,
        if_delete_at: int | None = None,
    ) -> None:
        """Raises Missing, Outdated. `if_delete_at`: only if that is its X-Delete-At, else
        PreconditionFailed."""
        ...
