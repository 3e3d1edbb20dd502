"""Image data as objects of a container of an object store, by the Swift API.

Data goes into segments `<image id>/<upload id>/<number>` of a second container; the object
`<image id>/<upload id>` is a static large object that names them, and appears when they are all
there. In OpenStack: glance_store/_drivers/swift.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from nubelet.image.stores import StoreUnreachable, remote
from nubelet.image.stores.remote import Answer

if TYPE_CHECKING:
    from nubelet.settings import SwiftStore as Options

_OURS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/[0-9a-f-]+")
_TOKEN_SECONDS = 600  # a token is asked for anew after so long; they live an hour and more
_PAGE = 1000


class SwiftUpload:
    """Segments that are sent as data comes, and in the end the object that names them."""

    def __init__(self, store: SwiftStore, key: str) -> None:
        self._store, self._key = store, key
        self._segments: list[dict[str, Any]] = []
        self._put: remote.ChunkedPut | None = None
        self._size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)

    def write(self, data: bytes) -> None:
        """Append; a segment that is full is ended."""
        if self._put is None:
            self._put, self._size = self._store.put_segment(self._next_name()), 0
            self._md5 = hashlib.md5(usedforsecurity=False)
        self._put.write(data)
        self._md5.update(data)
        self._size += len(data)
        if self._size >= self._store.segment_bytes:
            self._end_segment()

    def commit(self) -> None:
        """Name the segments."""
        if self._put is not None:
            self._end_segment()
        query = {"multipart-manifest": "put"} if self._segments else {}
        body = json.dumps(self._segments).encode() if self._segments else b""
        self._store.ask("PUT", self._store.container, self._key, query, body)

    def abort(self) -> None:
        """Remove the segments."""
        if self._put is not None:
            self._put.abort()
        with suppress(StoreUnreachable):
            self._store.delete_segments(self._key)

    def _next_name(self) -> str:
        return f"{self._key}/{len(self._segments) + 1:08}"

    def _end_segment(self) -> None:
        assert self._put is not None
        put, self._put = self._put, None
        answer, etag = put.finish(), self._md5.hexdigest()
        if answer.headers.get("Etag", etag).strip('"') != etag:
            raise StoreUnreachable(f"segment {self._next_name()} arrived damaged")
        path = f"/{self._store.segments}/{self._next_name()}"
        self._segments.append({"path": path, "etag": etag, "size_bytes": self._size})


class SwiftStore:
    """A store of type `swift`."""

    type, read_only = "swift", False

    def __init__(self, name: str, options: Options) -> None:
        self.name, self.description, self.weight = name, options.description, options.weight
        self.segment_bytes = options.segment_bytes
        self.container, self.segments = options.container, f"{options.container}_segments"
        self._options = options
        self._lock = threading.Lock()
        self._session: tuple[str, str, float] | None = None  # token, storage URL, since when
        self._made = False  # are the containers there?

    @property
    def properties(self) -> Mapping[str, Any]:
        """Its container, and how large objects are cut."""
        return {
            "container": self.container,
            "large_object_size": self.segment_bytes >> 20,
            "large_object_chunk_size": self.segment_bytes >> 20,
        }

    def new_key(self, image_id: str, upload_id: str) -> str:
        """One of its own for each upload: a late one never meets another."""
        return f"{image_id}/{upload_id}"

    def begin(self, key: str) -> SwiftUpload:
        """Start to write."""
        if not self._made:
            for container in (self.container, self.segments):
                self.ask("PUT", container)
            self._made = True
        return SwiftUpload(self, key)

    def size(self, key: str) -> int | None:
        """Bytes of the object."""
        answer = self.ask("HEAD", self.container, key)
        return None if answer.status == 404 else int(answer.headers["Content-Length"])

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        """A range of the object."""
        if length == 0:
            return iter(())
        token, storage = self._authenticated()
        headers = {"X-Auth-Token": token, "Range": f"bytes={offset}-{offset + length - 1}"}
        return remote.stream(_join(storage, self.container, key), headers, length)

    def url(self, key: str) -> str:
        """`swift+config://store/container/key`: where that is, the settings say."""
        return f"swift+config://{self.name}/{self.container}/{quote(key)}"

    def key(self, url: str) -> str | None:
        """The key in this container."""
        prefix = self.url("")
        return url.removeprefix(prefix) if url.startswith(prefix) and url != prefix else None

    def delete(self, key: str) -> None:
        """Remove the object and all its segments."""
        self.ask("DELETE", self.container, key)
        self.delete_segments(key)

    def put_segment(self, name: str) -> remote.ChunkedPut:
        """Begin to write a segment."""
        token, storage = self._authenticated()
        return remote.ChunkedPut(_join(storage, self.segments, name), {"X-Auth-Token": token})

    def delete_segments(self, key: str) -> None:
        """Remove what was written of the data under a key."""
        for name in self._list(self.segments, f"{key}/"):
            self.ask("DELETE", self.segments, name)

    def list_ids(self) -> list[str]:
        """The names of objects that are images of ours."""
        return [name for name in self._list(self.container, "") if _OURS.fullmatch(name)]

    def _list(self, container: str, prefix: str) -> list[str]:
        found: list[str] = []
        while True:
            query = {"format": "json", "limit": str(_PAGE), "prefix": prefix}
            if found:
                query["marker"] = found[-1]
            answer = self.ask("GET", container, "", query)
            names = [each["name"] for each in json.loads(answer.body)] if answer.body else []
            if answer.status == 404 or not names:
                return found
            found += names

    def ask(
        self,
        method: str,
        container: str,
        key: str = "",
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """A request for an object or container; raises StoreUnreachable."""
        expected = (200, 201, 202, 204, 401, 404)
        for last in (False, True):
            token, storage = self._authenticated(anew=last)
            url = _join(storage, container, key) + (f"?{urlencode(query)}" if query else "")
            headers = {"X-Auth-Token": token, "Content-Length": str(len(body))}
            answer = remote.request(method, url, headers, body, expected=expected)
            if answer.status != 401:
                break
        if answer.status == 401 or (answer.status == 404 and method == "PUT"):
            raise StoreUnreachable(f"{method} {container}/{key}: it answered {answer.status}")
        return answer

    def _authenticated(self, *, anew: bool = False) -> tuple[str, str]:
        """A token and the URL of the account."""
        with self._lock:
            found = self._session
            if anew or found is None or time.monotonic() - found[2] > _TOKEN_SECONDS:
                found = self._session = (*self._log_in(), time.monotonic())
            return found[0], found[1]

    def _log_in(self) -> tuple[str, str]:
        options = self._options
        user = {
            "name": options.username,
            "domain": {"name": options.user_domain},
            "password": options.password_file.read_text().strip(),
        }
        project = {"name": options.project_name, "domain": {"name": options.project_domain}}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": project},
            }
        }
        answer = remote.request(
            "POST",
            f"{options.auth_url.rstrip('/')}/auth/tokens",
            {"Content-Type": "application/json"},
            json.dumps(body).encode(),
            expected=(201,),
        )
        catalog = json.loads(answer.body)["token"].get("catalog", [])
        for service in catalog:
            for entry in service["endpoints"] if service["type"] == "object-store" else ():
                if entry["interface"] == options.interface and options.region in (
                    "",
                    entry.get("region"),
                ):
                    return answer.headers["X-Subject-Token"], entry["url"].rstrip("/")
        raise StoreUnreachable(f"the catalog of {options.auth_url} has no object-store for us")


def _join(storage: str, container: str, key: str) -> str:
    return f"{storage}/{quote(container)}" + (f"/{quote(key)}" if key else "")
