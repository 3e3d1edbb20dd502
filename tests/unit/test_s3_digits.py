"""Numbers in requests of S3: as many digits as one likes, never a larger number than allowed."""

from __future__ import annotations

import pytest

from nubelet.object_store.s3 import digits


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("10000", 10_000),
        ("000000000000000000000000007", 7),
        ("10001", None),
        ("00000000199999", None),
        ("000000001" + "9" * 20, None),
        ("9" * 5000, None),
        ("", None),
        ("-1", None),
        ("\u0663", None),
        ("1.0", None),
    ],
)
def test_numbers(text: str, number: int | None) -> None:
    assert digits.read(text, 10_000) == number
