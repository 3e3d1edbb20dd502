"""Time: integer microseconds since the epoch (UTC), and the spellings the APIs use.

Microseconds are stored as plain integers because the databases disagree on everything else
(time zones, precision, float width). Tests replace the source with `use_source`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_source: Callable[[], int] = lambda: time.time_ns() // 1000  # noqa: E731


def now() -> int:
    """The present, in microseconds since the epoch."""
    return _source()


def use_source(source: Callable[[], int] | None) -> None:
    """Replace the clock (tests only); None brings the real one back."""
    global _source
    _source = source or (lambda: time.time_ns() // 1000)


def to_datetime(micros: int) -> datetime:
    """An aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def from_datetime(moment: datetime) -> int:
    """Microseconds since the epoch; a naive datetime is taken as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


@lru_cache(maxsize=4096)
def _whole_seconds(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def iso_seconds(micros: int | None) -> str | None:
    """`2026-11-20T08:00:00Z`, as compute, network and image spell it."""
    return None if micros is None else _whole_seconds(micros // 1_000_000) + "Z"


def iso_micros(micros: int | None) -> str | None:
    """`2026-11-20T08:00:00.000000`, without a zone, as instance actions spell it."""
    if micros is None:
        return None
    return f"{_whole_seconds(micros // 1_000_000)}.{micros % 1_000_000:06d}"


def iso_micros_z(micros: int | None) -> str | None:
    """`2026-11-20T08:00:00.000000Z`, as identity spells it."""
    return None if micros is None else f"{iso_micros(micros)}Z"


def parse_iso(text: str) -> int:
    """Read an ISO 8601 time (no zone: UTC); raises ValueError.

    In a query string a `+` arrives as a space; both are understood before a zone.
    """
    cleaned = text.strip()
    if "T" in cleaned:
        cleaned = cleaned.replace(" ", "+")
    return from_datetime(datetime.fromisoformat(cleaned))
