"""Struct types made ready to be decoded by several threads at once.

msgspec looks at the annotations of a type when the first value of it is decoded, and enters what it
found into the type before it is complete (seen in 0.22). A second thread that decodes its first
value of the same type in that moment reads half of it, and the process ends with a segmentation
fault: two servers created at once on a cloud that had just been started were enough. So whoever
names a type to msgspec names it as `prepared(type)`; tests/unit/test_decoding.py holds us to it.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_lock = threading.Lock()
_ready: set[Any] = set()


def prepared(kind: type[T]) -> type[T]:
    """The same type, which any number of threads may decode from now on.

    `kind` is whatever msgspec takes as a type and may be hashed; raises what msgspec raises for
    one that it cannot decode (TypeError).
    """
    if kind not in _ready:
        with _lock:
            msgspec.msgpack.Decoder(kind)
            _ready.add(kind)
    return kind
