"""Image data that a web server offers: read where it is, never written or removed.

The URL is the key. It was given by a user: it is reached as web-download reaches one
(`web_download.py`).
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from nubelet.image import web_download
from nubelet.image.stores import StoreUnreachable, Upload
from nubelet.kernel.errors import Forbidden

_FAILURES = (web_download.Refused, OSError, http.client.HTTPException)


class HttpStore:
    """A store of type `http`."""

    type, read_only = "http", True

    def __init__(
        self, *, name: str, description: str, weight: int, allowed: web_download.Networks
    ) -> None:
        self.name, self.description, self.weight = name, description, weight
        self._allowed = allowed

    @property
    def properties(self) -> Mapping[str, Any]:
        """Nothing but what it is."""
        return {}

    def new_key(self, image_id: str, upload_id: str) -> str:
        """There is no way to write."""
        raise Forbidden(f"The store {self.name} is read-only.")

    def begin(self, key: str) -> Upload:
        """There is no way to write."""
        raise Forbidden(f"The store {self.name} is read-only.")

    def size(self, key: str) -> int | None:
        """What the server says; None when it says none or has no such file."""
        try:
            return web_download.size(key, self._allowed)
        except _FAILURES as error:
            raise StoreUnreachable(f"{key} cannot be read: {error}") from error

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        """A part of the data."""
        left = length
        try:
            for piece in web_download.fetch(key, self._allowed, offset=offset, length=length):
                yield piece[:left]
                left -= len(piece)
                if left <= 0:
                    return
        except _FAILURES as error:
            raise StoreUnreachable(f"{key} cannot be read: {error}") from error
        if left > 0:
            raise StoreUnreachable(f"{key} ended {left} bytes too early")

    def url(self, key: str) -> str:
        """The key itself."""
        return key

    def key(self, url: str) -> str | None:
        """Every http(s) URL; raises BadRequest for one that leads where it may not."""
        if urlsplit(url).scheme not in ("http", "https"):
            return None
        web_download.check(url, self._allowed)
        return url

    def delete(self, key: str) -> None:
        """It is not ours to remove."""

    def list_ids(self) -> list[str]:
        """Nobody can list the web."""
        return []
