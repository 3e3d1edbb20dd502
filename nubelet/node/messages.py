"""What every message between control plane and node is: a frozen struct, as MessagePack bytes.

Read next: `wire.py`, the messages themselves.
"""

from __future__ import annotations

from typing import Any, TypeVar, dataclass_transform

import msgspec

from nubelet.decoding import prepared

T = TypeVar("T")


# Said twice because mypy does not carry Struct's arguments over to subclasses.
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Spec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message between control plane and node."""


def encode(message: Any) -> bytes:
    """Serialise a message (MessagePack)."""
    return msgspec.msgpack.encode(message)


def decode(raw: bytes, kind: type[T]) -> T:
    """Read a message of the given type; raises `msgspec.ValidationError` when it does not fit."""
    return msgspec.msgpack.decode(raw, type=prepared(kind))
