"""Talking to a store over HTTP: one connection per request, errors in the words of stores.

Only what S3 and Swift need: the standard library does it, streamed both ways.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import NamedTuple
from urllib.parse import urlsplit

from nubelet.image.stores import StoreUnreachable

TIMEOUT_SECONDS = 60
CHUNK_BYTES = 1 << 20
_AGAIN_SECONDS = (0.2, 1.0)


class Answer(NamedTuple):
    """What came back, with a small body."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    *,
    expected: tuple[int, ...] = (200, 201, 202, 204, 404),
) -> Answer:
    """Ask, again when the connection breaks or the server says 5xx; raises StoreUnreachable."""
    failure = ""
    for pause in (*_AGAIN_SECONDS, None):
        try:
            with closing(_connect(url)) as connection:
                response = _send(connection, method, url, headers, body)
                answer = Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            failure = str(error) or type(error).__name__
        else:
            if answer.status in expected:
                return answer
            said = answer.body[:300].decode(errors="replace").strip()
            failure = f"it answered {answer.status} {said}"
            if answer.status < 500:
                break
        if pause is not None:
            time.sleep(pause)
    raise StoreUnreachable(f"{method} {_host(url)}: {failure}")


def stream(url: str, headers: Mapping[str, str], length: int) -> Iterator[bytes]:
    """The body of a GET in pieces, `length` bytes in all; raises StoreUnreachable."""
    left = length
    try:
        with closing(_connect(url)) as connection:
            response = _send(connection, "GET", url, headers, b"")
            if response.status not in (200, 206):
                raise StoreUnreachable(f"GET {_host(url)}: it answered {response.status}")
            while left > 0 and (piece := response.read(min(CHUNK_BYTES, left))):
                yield piece
                left -= len(piece)
    except (OSError, http.client.HTTPException) as error:
        raise StoreUnreachable(f"GET {_host(url)}: {error}") from error
    if left > 0:
        raise StoreUnreachable(f"GET {_host(url)}: the data ended {left} bytes too early")


class ChunkedPut:
    """A PUT whose body is sent as it comes, its length unknown. Raises StoreUnreachable."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._host = _host(url)
        self._connection = _connect(url)
        try:
            self._connection.putrequest("PUT", urlsplit(url).path, skip_accept_encoding=True)
            for name, value in {**headers, "Transfer-Encoding": "chunked"}.items():
                self._connection.putheader(name, value)
            self._connection.endheaders()
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(str(error)) from error

    def write(self, data: bytes) -> None:
        """Send more of the body."""
        if not data:  # an empty chunk is the end
            return
        try:
            self._connection.send(b"%x\r\n" % len(data))
            self._connection.send(data)
            self._connection.send(b"\r\n")
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(str(error)) from error

    def finish(self) -> Answer:
        """That was all."""
        try:
            self._connection.send(b"0\r\n\r\n")
            response = self._connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(str(error)) from error
        self._connection.close()
        if answer.status != 201:
            raise self._failed(f"it answered {answer.status} {answer.body[:300]!r}")
        return answer

    def abort(self) -> None:
        """Break it off: the object does not come to be."""
        self._connection.close()

    def _failed(self, why: str) -> StoreUnreachable:
        self._connection.close()
        return StoreUnreachable(f"PUT {self._host}: {why}")


def _connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(
            parts.hostname or "",
            parts.port,
            timeout=TIMEOUT_SECONDS,
            context=ssl.create_default_context(),
        )
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request(method, path, body=body or None, headers=dict(headers))
    return connection.getresponse()


def _host(url: str) -> str:
    return urlsplit(url).netloc
