"""The wire between the machines of a cluster: signed calls over HTTP.

    POST /storage/1/<call>
    x-nubelet-call: base64 of the JSON of the call's arguments
    x-nubelet-time: seconds since 1970
    x-nubelet-mac: HMAC-SHA256 of version, call, time and arguments with the cluster's key
    x-nubelet-request: id of the client's request that this is for, for the log; not signed

    200, body: JSON of the answer, or the bytes of an object with the answer in x-nubelet-answer
    4xx/5xx, body: JSON of a `Refusal`

The number in the path is the version of the wire. A node serves every version that the release
before it spoke; arguments and answers may get new fields with defaults, and unknown ones are
ignored, so that two releases may be mixed.

A streamed body is made of frames: length (4 bytes, big endian) and bytes; a frame of length 0 is
followed by one with the JSON of the tail, which is signed too: it tells the MD5 of the bytes and
the metadata that came of it. A body without its tail is thrown away.

Calls that are repeated do no harm: each write carries its timestamp. So an overheard call can only
be repeated, within CLOCK_SECONDS.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from nubelet.decoding import prepared
from nubelet.kernel.errors import (
    ApiError,
    BadRequest,
    Conflict,
    InsufficientStorage,
    PreconditionFailed,
    ServiceUnavailable,
    Unauthorized,
)
from nubelet.object_store.storage import Missing, NotEmpty, Outdated

VERSION = 1
PATH = "/storage/1/"
CLOCK_SECONDS = 300
REQUEST = "x-nubelet-request"
_LENGTH = struct.Struct(">I")
_Value = TypeVar("_Value")

encode = msgspec.json.Encoder().encode


def decode(data: bytes | str, type: type[_Value]) -> _Value:
    """Raises BadRequest."""
    try:
        return msgspec.json.decode(data, type=prepared(type))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the call cannot be understood: {error}") from error


# --- Signed calls -----------------------------------------------------------------------------


def signed(key: bytes, call: str, arguments: Any) -> dict[str, str]:
    """The headers of a call."""
    text = base64.b64encode(encode(arguments)).decode()
    now = str(int(time.time()))
    return {
        "x-nubelet-call": text,
        "x-nubelet-time": now,
        "x-nubelet-mac": _mac(key, str(VERSION), call, now, text),
    }


def verified(key: bytes, call: str, headers: dict[bytes, bytes]) -> bytes:
    """The JSON of a call's arguments; raises Unauthorized."""
    text = headers.get(b"x-nubelet-call", b"").decode("latin-1")
    sent = headers.get(b"x-nubelet-time", b"").decode("latin-1")
    mac = headers.get(b"x-nubelet-mac", b"").decode("latin-1")
    if not hmac.compare_digest(_mac(key, str(VERSION), call, sent, text).encode(), mac.encode()):
        raise Unauthorized("The call is not signed with the key of this cluster.")
    if abs(int(sent) - time.time()) > CLOCK_SECONDS:
        raise Unauthorized("The call is too old, or the clocks differ.")
    return base64.b64decode(text)


def _mac(key: bytes, *parts: str) -> str:
    return hmac.new(key, "\n".join(parts).encode(), hashlib.sha256).hexdigest()


# --- Streamed bodies --------------------------------------------------------------------------


class Tail(msgspec.Struct, kw_only=True):
    """What ends a streamed body: the MD5 of the bytes, and what that added to the metadata."""

    etag: str
    metadata: dict[str, str] = {}


class _SignedTail(msgspec.Struct):
    tail: str
    mac: str


def frame(piece: bytes) -> bytes:
    """The head of a frame; the piece follows."""
    return _LENGTH.pack(len(piece))


def end(key: bytes, tail: Tail) -> bytes:
    """The last frames of a body."""
    text = encode(tail).decode()
    data = encode(_SignedTail(text, _mac(key, "tail", text)))
    return _LENGTH.pack(0) + _LENGTH.pack(len(data)) + data


class Frames:
    """The pieces of a streamed body; `tail` is there once they are over."""

    def __init__(self, key: bytes, chunks: Iterable[bytes]) -> None:
        self._key = key
        self._chunks = iter(chunks)
        self._buffer = b""
        self.tail: Tail | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Raises BadRequest when the body ends too early, or was tampered with."""
        while length := self._length():
            while length:
                piece = self._buffer[:length] if self._buffer else self._next()[:length]
                self._buffer = self._buffer[len(piece) :]
                length -= len(piece)
                if piece:
                    yield piece
        data = self._exactly(self._length())
        signed_tail = decode(data, _SignedTail)
        mac = _mac(self._key, "tail", signed_tail.tail)
        if not hmac.compare_digest(mac.encode(), signed_tail.mac.encode()):
            raise BadRequest("the end of the body is not signed")
        self.tail = decode(signed_tail.tail, Tail)

    def _length(self) -> int:
        return int(_LENGTH.unpack(self._exactly(4))[0])

    def _exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            have = self._buffer
            self._buffer = b""
            self._buffer = have + self._next()
        data, self._buffer = self._buffer[:length], self._buffer[length:]
        return data

    def _next(self) -> bytes:
        """Another chunk, which is the buffer from now on."""
        try:
            self._buffer = next(self._chunks)
        except StopIteration:
            raise BadRequest("the body ended before its end") from None
        return self._buffer


# --- Refusals ---------------------------------------------------------------------------------


class Refusal(msgspec.Struct, kw_only=True):
    """An error on the wire."""

    error: str
    message: str = ""
    timestamp: str = ""
    status: int = 500


class Moved(ApiError):  # noqa: N818 - where it is, not what went wrong
    """Of this name another container keeps the entry: tell that."""

    def __init__(self, account: str, container: str) -> None:
        super().__init__(f"{account}/{container}")
        self.account, self.container = account, container


_KINDS: dict[str, type[ApiError]] = {
    "conflict": Conflict,
    "not_empty": NotEmpty,
    "precondition_failed": PreconditionFailed,
    "insufficient_storage": InsufficientStorage,
    "unavailable": ServiceUnavailable,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def refusal(error: Exception) -> Refusal:
    """How an error travels."""
    if isinstance(error, Missing):
        return Refusal(
            error="missing", message=error.kind, timestamp=error.timestamp, status=error.status
        )
    if isinstance(error, Moved):
        return Refusal(error="moved", message=error.message, status=409)
    if isinstance(error, Outdated):
        return Refusal(error="outdated", timestamp=error.newest, status=error.status)
    if isinstance(error, ApiError):
        kinds = type(error).__mro__
        name = next((_NAMES[kind] for kind in kinds if kind in _NAMES), "refused")
        return Refusal(error=name, message=error.message, status=error.status)
    return Refusal(error="failed", message=type(error).__name__)


def raised(refusal: Refusal) -> Exception:
    """The error that a refusal was. That a node does not understand or trust a caller is no
    error of a user: it counts as a node that does not answer."""
    if refusal.error == "missing":
        return Missing(refusal.message, "", refusal.timestamp)
    if refusal.error == "moved":
        return Moved(*refusal.message.split("/", 1))
    if refusal.error == "outdated":
        return Outdated(refusal.timestamp)
    kind = _KINDS.get(refusal.error)
    if kind is None:
        return NodeFailed(f"{refusal.error}: {refusal.message}")
    return kind(refusal.message)


class NodeFailed(Exception):  # noqa: N818 - a state of the other side
    """A node does not answer, or cannot."""
