"""CRCs that are computed side by side, against their published check values and byte by byte."""

from __future__ import annotations

import random
import zlib

import pytest

from nubelet.object_store.s3 import crc

CHECKS = {crc.CRC32: 0xCBF43926, crc.CRC32C: 0xE3069283, crc.CRC64NVME: 0xAE8B14860A799888}


def value_of(polynomial: int, *pieces: bytes) -> int:
    found = crc.Crc(polynomial)
    for each in pieces:
        found.update(each)
    return int.from_bytes(found.digest(), "big")


@pytest.mark.parametrize("polynomial", CHECKS, ids=["crc32", "crc32c", "crc64nvme"])
def test_the_check_value(polynomial: int) -> None:
    assert value_of(polynomial, b"123456789") == CHECKS[polynomial]
    assert value_of(polynomial) == 0


@pytest.mark.parametrize("polynomial", CHECKS, ids=["crc32", "crc32c", "crc64nvme"])
def test_pieces_of_any_size_and_joining(polynomial: int) -> None:
    data = random.Random(5).randbytes(700_001)
    whole = value_of(polynomial, data)
    assert (
        value_of(polynomial, *(data[at : at + 77_777] for at in range(0, 700_001, 77_777))) == whole
    )
    for at in (0, 1, 4096, 262_144, 700_001):
        first, second = value_of(polynomial, data[:at]), value_of(polynomial, data[at:])
        assert crc.joined(polynomial, first, second, len(data) - at) == whole


def test_side_by_side_is_as_byte_by_byte() -> None:
    data = random.Random(7).randbytes(300_000)
    bits = 0xFFFFFFFF
    for byte in data:
        bits ^= byte
        for _ in range(8):
            bits = (bits >> 1) ^ (crc.CRC32C if bits & 1 else 0)
    assert value_of(crc.CRC32C, data) == bits ^ 0xFFFFFFFF
    assert value_of(crc.CRC32, data) == zlib.crc32(data)
