"""Erasure coding: an object as `data` + `parity` fragments, of which any `data` give it back.

A body is cut into segments; each is encoded into one fragment for each device. What a device keeps
of an object is the sequence of its fragments of all segments. With 4 + 2 an object takes one and a
half times its size, and any two devices may be lost; three replicas take three times.

An object of such a policy has two parts, so that a write is all or nothing:

1. the fragments, filed under the object's hash and the write's timestamp, on enough devices;
2. then a *manifest*, an object without bytes that is replicated to the same devices as any other
   object and carries its metadata. It decides: what it names is there already, and what no
   manifest names is removed in the end.

In OpenStack: swift/proxy/controllers/obj.py ECObjectController, with PyECLib as here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MARK = "x-backend-erasure"
_ENGINE = "isa_l_rs_vand"


class CodingError(Exception):
    """Fragments do not give back the segment."""


class Coding:
    """How a policy is coded. PyECLib is loaded when it is used first."""

    def __init__(self, data: int, parity: int, segment_bytes: int) -> None:
        self.data, self.parity, self.segment_bytes = data, parity, segment_bytes
        self._driver: Any = None

    @property
    def count(self) -> int:
        """How many fragments there are."""
        return self.data + self.parity

    @property
    def needed(self) -> int:
        """How many fragments a write needs: one may be lost at once."""
        return self.data + 1

    @property
    def mark(self) -> str:
        """What a manifest says: the way the object was coded."""
        return f"{self.data}+{self.parity},{self.segment_bytes}"

    @classmethod
    def marked(cls, mark: str) -> Coding:
        """The coding that a manifest names."""
        numbers, _, segment = mark.partition(",")
        data, _, parity = numbers.partition("+")
        return cls(int(data), int(parity), int(segment))

    def encode(self, segment: bytes) -> list[bytes]:
        """The fragments of a segment, by index."""
        fragments: list[bytes] = self.driver.encode(segment)
        return fragments

    def decode(self, fragments: Sequence[bytes]) -> bytes:
        """The segment of `data` good fragments; raises CodingError."""
        from pyeclib.ec_iface import ECDriverError

        try:
            return bytes(self.driver.decode(list(fragments)))
        except ECDriverError as error:
            raise CodingError(str(error)) from error

    def is_good(self, fragment: bytes, index: int) -> bool:
        """Has it the checksum that it was made with, and is it the one of that index?"""
        from pyeclib.ec_iface import ECDriverError

        try:
            facts = self.driver.get_metadata(fragment, 1)
        except ECDriverError:
            return False
        return bool(facts["index"] == index and not facts["chksum_mismatch"])

    def segments(self, size: int) -> int:
        """How many segments an object of so many bytes has."""
        return -(-size // self.segment_bytes)

    def segment_size(self, number: int, size: int) -> int:
        """The bytes of a segment of an object of `size` bytes."""
        return min(self.segment_bytes, size - number * self.segment_bytes)

    def fragment_size(self, segment: int) -> int:
        """The bytes of each fragment of a segment of so many bytes."""
        info = self.driver.get_segment_info(segment, self.segment_bytes)
        return int(info["last_fragment_size"])

    @property
    def driver(self) -> Any:
        """PyECLib's driver; raises ImportError where that is not installed."""
        if self._driver is None:
            from pyeclib.ec_iface import ECDriver

            self._driver = ECDriver(
                k=self.data, m=self.parity, ec_type=_ENGINE, chksum_type="inline_crc32"
            )
        return self._driver
