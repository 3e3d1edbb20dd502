"""Rules of a bucket's lifecycle: what they say, about which keys, and when it is time.

A rule is about keys by their prefix, tags and sizes. Days are counted from a time on and rounded up
to the next midnight UTC; a Date is a midnight itself. So whatever becomes due does at a midnight.

Reference: Amazon S3 User Guide, "Lifecycle configuration elements".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from nubelet.decoding import prepared

DAY_SECONDS = 86_400
_LAST_MIDNIGHT = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
# The forms in which a rule can say which keys it is about: the older one, and those of a filter.
OLD, EMPTY, AND = "old", "", "And"


class Rule(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A rule. form: OLD, or which element its filter has. greater, less: sizes in bytes that a key
    must be above and below. date: seconds since 1970. Days: 0 where nothing is said."""

    id: str
    is_enabled: bool
    form: str
    prefix: str = ""
    tags: dict[str, str] = {}
    greater: int | None = None
    less: int | None = None
    days: int = 0
    date: float | None = None
    removes_markers: bool | None = None
    noncurrent_days: int = 0
    noncurrent_kept: int = 0
    abort_days: int = 0

    def is_about(self, key: str, size: int, tags: Mapping[str, str]) -> bool:
        """Is it about a key of so many bytes with these tags?"""
        return (
            key.startswith(self.prefix)
            and (self.greater is None or size > self.greater)
            and (self.less is None or size < self.less)
            and self.tags.items() <= tags.items()
        )

    def expires_at(self, since: float) -> float | None:
        """When what was written at a time expires, in seconds since 1970; None: never."""
        if self.date is not None:
            return self.date
        return due(since, self.days) if self.days else None


class Lifecycle(msgspec.Struct, kw_only=True):
    """The rules of a bucket. smallest: what its maker said of transitions, which there are none
    of."""

    rules: list[Rule]
    smallest: str = ""

    @property
    def enabled(self) -> list[Rule]:
        """Those that are applied."""
        return [rule for rule in self.rules if rule.is_enabled]


def kept(lifecycle: Lifecycle) -> bytes:
    """As it is kept."""
    return msgspec.json.encode(lifecycle)


def read(data: bytes) -> Lifecycle:
    """What is kept."""
    return msgspec.json.decode(data, type=prepared(Lifecycle))


def due(since: float, days: int) -> float:
    """So many days after a time, at the next midnight UTC; seconds since 1970. What is later than
    any date that can be written is at the last one."""
    return min(float(math.ceil(since / DAY_SECONDS + days) * DAY_SECONDS), _LAST_MIDNIGHT)


def is_midnight(time: float) -> bool:
    """Does a day of UTC begin then?"""
    return time % DAY_SECONDS == 0


def iso(time: float) -> str:
    """A date of a rule as documents have it."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%S}.000Z"


class Expiry(NamedTuple):
    """When a key expires (seconds since 1970), by which rule."""

    at: float
    rule: str


def first(rules: Iterable[Rule], since: float) -> Expiry | None:
    """By which of the rules something expires first that was written at a time."""
    found = [Expiry(at, rule.id) for rule in rules if (at := rule.expires_at(since)) is not None]
    return min(found, default=None)


def header(expiry: Expiry) -> str:
    """As `x-amz-expiration` says it."""
    moment = formatdate(expiry.at, usegmt=True)
    return f'expiry-date="{moment}", rule-id="{quote(expiry.rule, safe="")}"'
