"""Numbers as requests say them."""

from __future__ import annotations


def read(text: str, most: int) -> int | None:
    """A number from 0 to `most` (below a thousand million million) in decimal digits, else None."""
    if not text.isascii() or not text.isdigit():
        return None
    number = int(text.lstrip("0")[:16] or "0")  # of a longer one its first digits are too many
    return number if number <= most else None
