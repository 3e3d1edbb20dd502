"""The parts of a `multipart/form-data` body (RFC 7578), one after the other, as it arrives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from nubelet.kernel.errors import BadRequest

_MAX_HEAD_BYTES = 8192


def boundary_of(content_type: str) -> bytes:
    """The boundary that the header Content-Type names; raises BadRequest."""
    match = re.search(r'boundary="?([^";]+)"?', content_type)
    if match is None or len(match[1]) > 200:
        raise BadRequest("The form has no boundary.")
    return match[1].encode("latin-1", "replace")


class Part:
    """One field: its headers, and its bytes to be read before the next part."""

    def __init__(self, reader: Parts, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self._reader = reader
        disposition = headers.get("content-disposition", "")
        self.name = _parameter(disposition, "name") or ""
        self.file_name = _parameter(disposition, "filename")

    def read(self) -> Iterator[bytes]:
        """Its bytes."""
        return self._reader.content()

    def text(self, limit: int) -> str:
        """Its bytes as text; raises BadRequest for more than `limit` of them."""
        data = b""
        for piece in self.read():
            data += piece
            if len(data) > limit:
                raise BadRequest(f"The field {self.name} is too long.")
        return data.decode("utf-8", "replace")


def _parameter(disposition: str, name: str) -> str | None:
    # A backslash is before a quotation mark that is of the name, or is of the name itself.
    for value in (r'"((?:[^"\\]|\\.)*)"', r'"([^"]*)"', r"([^;]+)"):
        if match := re.search(rf"[;\s]{name}={value}", disposition):
            return match[1].replace('\\"', '"')
    return None


class Parts:
    """Iterates over the parts of a body."""

    def __init__(self, body: Iterator[bytes], boundary: bytes) -> None:
        self._body, self._mark = body, b"\r\n--" + boundary
        self._buffer = b"\r\n"  # so that the first boundary looks like the others
        self._open = True  # is there content of the current part left?
        self._is_over = False

    def __iter__(self) -> Iterator[Part]:
        while True:
            for _ in self.content():
                pass
            while len(self._buffer) < 2 and self._more():
                pass
            if self._is_over or self._buffer.startswith(b"--"):
                return
            head = self._head()
            self._open = True
            yield Part(self, head)

    def content(self) -> Iterator[bytes]:
        """What is left of the current part."""
        while self._open:
            at = self._buffer.find(self._mark)
            if at >= 0:
                found, self._buffer = self._buffer[:at], self._buffer[at + len(self._mark) :]
                self._open = False
                if found:
                    yield found
                return
            keep = len(self._mark) - 1
            if len(self._buffer) > keep:
                found, self._buffer = self._buffer[:-keep], self._buffer[-keep:]
                yield found
            if not self._more():
                self._open, self._is_over = False, True
                raise BadRequest("The form ends too early.")

    def _head(self) -> dict[str, str]:
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _MAX_HEAD_BYTES or not self._more():
                raise BadRequest("A part of the form has no proper headers.")
        text, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        headers = {}
        for line in text.decode("utf-8", "replace").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                headers[name.strip().lower()] = value.strip()
        return headers

    def _more(self) -> bool:
        piece = next(self._body, b"")
        self._buffer += piece
        return bool(piece)
