"""When something was written: the order that decides which of two writes wins.

A timestamp is text of fixed width, `1700000000.12345` (seconds and five digits), so that texts
sort as times do. Every write carries one, made by the process that took the request; storage
keeps the newest and forgets the rest, in whatever order they arrive. Two writes of one process
never share a timestamp.
"""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from email.utils import formatdate

from nubelet.kernel import clock

Timestamp = str
ZERO: Timestamp = "0000000000.00000"
# Before 10,000 s nobody wrote; later than year 2286 has more digits.
_FORM = re.compile(r"\d{10}\.\d{5}")
_lock = threading.Lock()
_last = 0


def now() -> Timestamp:
    """A new timestamp, later than every one before it in this process."""
    global _last
    with _lock:
        _last = max(clock.now() // 10, _last + 1)
        value = _last
    return f"{value // 100_000:010d}.{value % 100_000:05d}"


def after(timestamp: Timestamp) -> Timestamp:
    """The next one: later than that (empty: than nothing), earlier than what was written since."""
    value = int((timestamp or ZERO).replace(".", "")) + 1
    return f"{value // 100_000:010d}.{value % 100_000:05d}"


def normal(value: float | str) -> Timestamp:
    """A time as a timestamp; raises ValueError for what is none (negative, infinite, too late)."""
    text = f"{float(value):016.05f}"
    if not _FORM.fullmatch(text):
        raise ValueError(f"not a timestamp: {value}")
    return text


def seconds(timestamp: Timestamp) -> float:
    """Seconds since 1970."""
    return float(timestamp)


def iso(timestamp: Timestamp) -> str:
    """As listings show it: `2023-11-14T22:13:20.123450` (UTC)."""
    whole, fraction = timestamp.split(".")
    return f"{datetime.fromtimestamp(int(whole), UTC):%Y-%m-%dT%H:%M:%S}.{fraction[:5]}0"


def http_date(timestamp: Timestamp) -> str:
    """As the header Last-Modified shows it: the second, rounded up, so that a copy which is
    asked for `If-Unmodified-Since` that time has not been modified."""
    whole, fraction = timestamp.split(".")
    return formatdate(int(whole) + (1 if int(fraction) else 0), usegmt=True)
