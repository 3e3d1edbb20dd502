"""Where image data lies: several stores side by side, one of them the default.

A store keeps data by key: its own data under a key that begins with the image's id, data that
somebody placed there under whatever its URL says. `Stores` is what the wiring provides;
`making.py` reads the settings.

In OpenStack: glance_store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http.messages import FileBody

STAGING = "os_glance_staging_store"


class StoreUnreachable(Exception):  # noqa: N818 - a state
    """A store does not answer, or answers with an error of its own; trying again may help."""

    transient = True


class ImageStore(Protocol):
    """A place for image data. Nothing is visible under a key until it is complete.

    `read_only`: data is found there by its URL, never written or removed. What a call raises when
    the store cannot be reached is StoreUnreachable.
    """

    name: str
    type: str
    description: str
    weight: int
    read_only: bool

    @property
    def properties(self) -> Mapping[str, Any]:
        """What an operator sees of it in `/info/stores/detail`."""

    def new_key(self, image_id: str, upload_id: str) -> str:
        """The key that the data of an image will have, written by this upload."""

    def begin(self, key: str) -> Upload:
        """Start to write data that will have this key."""

    def size(self, key: str) -> int | None:
        """Bytes of the complete data; None when there is none."""

    def read(self, key: str, offset: int, length: int) -> FileBody | Iterator[bytes]:
        """A part of the data, to be sent."""

    def url(self, key: str) -> str:
        """The location of the data, as the API shows it."""

    def key(self, url: str) -> str | None:
        """The key that a location of this store means; None for a location of another."""

    def delete(self, key: str) -> None:
        """Remove the data, and what uploads of this key left behind; none is no error."""

    def list_ids(self) -> list[str]:
        """The keys that have complete data here."""


class Upload(Protocol):
    """Data on its way into a store."""

    def write(self, data: bytes) -> None:
        """Append."""

    def commit(self) -> None:
        """Make it durable and visible under its key."""

    def abort(self) -> None:
        """Forget what this upload wrote. What it cannot reach now, `delete` will remove."""


class Stores:
    """The stores of this cloud by name."""

    def __init__(self, stores: Mapping[str, ImageStore], default: str, staging: ImageStore) -> None:
        self._stores = dict(stores)
        self.default = self._stores[default]
        self.staging = staging  # where data waits for its import; no user sees it

    def __iter__(self) -> Iterator[ImageStore]:
        return iter(self._stores.values())

    def __contains__(self, name: object) -> bool:
        return name in self._stores

    def get(self, name: str) -> ImageStore:
        """The store of this name; raises NotFound."""
        try:
            return self._stores[name]
        except KeyError:
            raise NotFound(message=f"There is no store {name}.") from None

    @property
    def names(self) -> list[str]:
        """All names, in the order of the settings."""
        return list(self._stores)

    def writable(self) -> list[ImageStore]:
        """Those that data can be written to."""
        return [store for store in self if not store.read_only]

    def find(self, url: str) -> tuple[ImageStore, str]:
        """The store and the key that a location means; raises BadRequest for an unknown one."""
        for store in self:
            key = store.key(url)
            if key is not None:
                return store, key
        raise BadRequest(f"Invalid location: no store of this cloud has {url!r}.")

    def with_staging(self, name: str) -> ImageStore:
        """The store of this name, be it the staging area; raises NotFound."""
        return self.staging if name == self.staging.name else self.get(name)

    def weight(self, name: str) -> int:
        """How much a store is preferred for reading; a store that is gone comes last."""
        return self._stores[name].weight if name in self._stores else -(1 << 31)


def pieces(body: FileBody | Iterator[bytes], size: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of what `read` gave."""
    if not isinstance(body, FileBody):
        yield from body
        return
    with open(body.path, "rb", buffering=0) as file:
        file.seek(body.offset)
        left = body.length
        while left is None or left > 0:
            piece = file.read(size if left is None else min(size, left))
            if not piece:
                return
            left = None if left is None else left - len(piece)
            yield piece
