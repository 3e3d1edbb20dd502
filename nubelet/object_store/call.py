"""One request to the object store as its features see it, and how they are put in a row.

A `Call` names an account, a container, an object (empty text: none) and what shall happen to it.
A feature is a function `(call, proceed) -> Response`: it may answer itself, change the call and
proceed, make further calls, or change the answer. pipeline.py lists them in order.

In OpenStack: the WSGI middleware of swift-proxy; a further call is a subrequest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nubelet.kernel.context import Context
from nubelet.kernel.errors import TooLarge
from nubelet.kernel.http.messages import Request, Response
from nubelet.object_store.storage import ContainerInfo, Metadata, Missing, ObjectPath, Storage

Body = Callable[[int], Iterator[bytes]]
# Raises Unauthorized or Forbidden unless the call is allowed, given the access list of its
# container that applies to its method (empty where none does).
Authority = Callable[["Call", str], None]
Proceed = Callable[["Call"], Response]
Feature = Callable[["Call", Proceed], Response]

READ_METHODS = ("GET", "HEAD")
# What S3 calls the container of the parts of a bucket's large keys: as the bucket, with this.
PARTS = "+segments"
ACCESS_LISTS = ("x-container-read", "x-container-write")


def no_body(size: int) -> Iterator[bytes]:
    """The body of a call that has none."""
    return iter(())


def body_of(data: bytes) -> Body:
    """A body from memory."""
    return lambda size: iter((data,) if data else ())


@dataclass(slots=True)
class Call:
    """What is asked, by whom.

    headers: lower-case names; values are text (UTF-8 as sent). query: the first value of each
    name. authority: who decides whether it is allowed; None: it is (a feature asks for itself).
    is_owner: the caller may do everything with the account. reserved: names of features
    (beginning with NUL) are seen. notes: what features tell those after them.
    """

    ctx: Context
    store: Storage
    request: Request
    method: str
    account: str
    container: str = ""
    object: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    body: Body = no_body
    authority: Authority | None = None
    is_owner: bool = False
    reserved: bool = False
    notes: dict[str, Any] = field(default_factory=dict)
    _seen: dict[tuple[str, str], ContainerInfo | None] = field(default_factory=dict)
    _accounts: dict[str, Metadata] = field(default_factory=dict)

    @property
    def path(self) -> ObjectPath:
        """Where the object is."""
        return ObjectPath(self.account, self.container, self.object)

    @property
    def is_read(self) -> bool:
        """GET or HEAD."""
        return self.method in READ_METHODS

    @property
    def wants_newest(self) -> bool:
        """Shall all replicas be asked for what it reads?"""
        return is_true(self.headers.get("x-newest"))

    def sub(self, method: str, **changes: Any) -> Call:
        """A further call: for the same caller, without body, headers and query unless given."""
        fresh: dict[str, Any] = {"headers": {}, "query": {}, "body": no_body, "notes": {}}
        return replace(self, method=method, **(fresh | changes))

    def at(self, path: ObjectPath) -> Call:
        """The same call about another object."""
        return replace(self, account=path.account, container=path.container, object=path.object)

    def own(self, method: str, **changes: Any) -> Call:
        """A further call that a feature makes for itself: nobody asks whether it is allowed."""
        return self.sub(method, **({"authority": None, "reserved": True} | changes))

    def authorize(self, acl: str = "") -> None:
        """Raise Unauthorized or Forbidden unless the call is allowed."""
        if self.authority is not None:
            self.authority(self, acl)

    def container_info(self, account: str = "", container: str = "") -> ContainerInfo | None:
        """The call's container (or another), read once per request; None: there is none.

        The access lists of a bucket's parts are those of the bucket as it is now, whatever was kept
        with their container: else a list that was taken off the bucket would still open them.
        """
        key = (account or self.account, container or self.container)
        if key not in self._seen:
            try:
                # Calls about objects want to know that it is there, and its metadata.
                found = self.store.container(
                    *key,
                    totals=not self.object,
                    newest=not self.object and self.is_read and self.wants_newest,
                )
            except Missing:
                self._seen[key] = None
                return None
            bucket = key[1].removesuffix(PARTS)
            whole = self.container_info(key[0], bucket) if bucket not in ("", key[1]) else None
            if whole is not None:
                lists = {name: whole.metadata.get(name, "") for name in ACCESS_LISTS}
                found = replace(found, metadata={**found.metadata, **lists})
            self._seen[key] = found
        return self._seen[key]

    def forget(self) -> None:
        """What was read of containers is no longer so."""
        self._seen.clear()
        self._accounts.clear()

    def account_metadata(self) -> Metadata:
        """The metadata of the call's account, read once per request; empty where there is none."""
        found = self._accounts.get(self.account)
        if found is None:
            try:
                found = self.store.account(self.account, totals=False).metadata
            except Missing:
                found = {}
            self._accounts[self.account] = found
        return found

    def read_body(self, limit: int) -> bytes:
        """The whole body; raises TooLarge."""
        parts, size = [], 0
        for piece in self.body(1 << 16):
            size += len(piece)
            if size > limit:
                raise TooLarge(f"The request body is larger than {limit} bytes.")
            parts.append(piece)
        return b"".join(parts)


def chain(features: Iterable[Feature], core: Proceed) -> Proceed:
    """The features around the core: the first is asked first."""
    handler = core
    for feature in reversed(tuple(features)):
        handler = _bind(feature, handler)
    return handler


def _bind(feature: Feature, proceed: Proceed) -> Proceed:
    return lambda call: feature(call, proceed)


def is_true(value: str | None) -> bool:
    """How the API spells yes."""
    return (value or "").strip().lower() in ("true", "1", "yes", "on", "t", "y")


def header(response: Response, name: str) -> str | None:
    """A header of an answer, in any case."""
    value = response.headers.get(name)
    if value is not None:
        return value
    wanted = name.lower()
    return next((each for key, each in response.headers.items() if key.lower() == wanted), None)


def remove_headers(response: Response, *prefixes: str) -> None:
    """Take headers that begin so out of an answer."""
    for key in [key for key in response.headers if key.lower().startswith(prefixes)]:
        del response.headers[key]


def pieces(response: Response) -> Iterator[bytes]:
    """The body of an answer, in pieces."""
    body = response.body
    if isinstance(body, bytes):
        return iter((body,) if body else ())
    return iter(()) if body is None else body


def with_prefix(headers: Mapping[str, str], *prefixes: str) -> dict[str, str]:
    """The headers whose names begin so."""
    return {name: value for name, value in headers.items() if name.startswith(prefixes)}
