"""What of the data is kept in memory while it streams by: its head, its end, and windows that a
format asks for once its head is known. A few MiB, however large the data is."""

from __future__ import annotations

from dataclasses import dataclass, field

HEAD_BYTES = 512 * 1024
TAIL_BYTES = 2048
WINDOW_BYTES = 2 * 1024 * 1024


@dataclass
class Window:
    """Bytes `offset` to `offset + length` of the data."""

    offset: int
    length: int
    data: bytearray = field(default_factory=bytearray)


class Content:
    """Data as far as it has been seen and kept."""

    def __init__(self) -> None:
        self.size = 0
        self.head = bytearray()
        self.tail = b""
        self.windows: list[Window] = []

    @property
    def head_is_complete(self) -> bool:
        """Has as much been seen as is kept of the head?"""
        return len(self.head) >= HEAD_BYTES

    def feed(self, chunk: bytes) -> None:
        """The next piece."""
        if len(self.head) < HEAD_BYTES:
            self.head += chunk[: HEAD_BYTES - len(self.head)]
        for window in self.windows:
            begin = window.offset + len(window.data) - self.size
            missing = window.length - len(window.data)
            if missing and 0 <= begin < len(chunk):
                window.data += chunk[begin : begin + missing]
        self.tail = (
            chunk[-TAIL_BYTES:] if len(chunk) >= TAIL_BYTES else (self.tail + chunk)[-TAIL_BYTES:]
        )
        self.size += len(chunk)

    def watch(self, offset: int, length: int) -> bool:
        """Keep a window that is still to come; False when it is too large or has gone by."""
        if length > WINDOW_BYTES or offset < self.size:
            return False
        self.windows.append(Window(offset, length))
        return True

    def at(self, offset: int, length: int) -> bytes:
        """These bytes; fewer when they were not there or not kept."""
        if offset + length <= len(self.head) or self.size <= len(self.head):
            return bytes(self.head[offset : offset + length])
        for window in self.windows:
            begin = offset - window.offset
            if begin >= 0 and begin + length <= window.length:
                return bytes(window.data[begin : begin + length])
        begin = offset - (self.size - len(self.tail))
        return self.tail[begin : begin + length] if begin >= 0 else b""
