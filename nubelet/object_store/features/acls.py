"""Access lists of containers: who else may read or write.

    .r:*                everybody             .r:.example.com    who comes from that page
    .r:-bad.example     but not from there    .rlistings         and may list
    project:user  project:*  *:user  *:*      bearers of tokens

In OpenStack: swift/common/middleware/acl.py.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from nubelet.kernel.errors import BadRequest

_REFERRER = (".r", ".ref", ".referer", ".referrer")


class Acl(NamedTuple):
    """A list in parts."""

    referrers: tuple[str, ...]
    groups: tuple[str, ...]


def clean(name: str, value: str) -> str:
    """The list as it is stored; raises BadRequest for one that cannot be understood."""
    entries = []
    for raw in value.split(","):
        entry = raw.strip()
        if not entry:
            continue
        first, colon, second = (part.strip() for part in entry.partition(":"))
        if not colon or not first.startswith("."):
            if first.startswith(".") and not colon and first != ".rlistings":
                raise BadRequest(f"Unknown designator {first!r} in ACL: {entry!r}")
            entries.append(entry)
        elif first in _REFERRER:
            if "write" in name:
                raise BadRequest(f"Referrers not allowed in write ACL: {entry!r}")
            entries.append(f".r:{_clean_host(entry, second)}")
        else:
            raise BadRequest(f"Unknown designator {first!r} in ACL: {entry!r}")
    return ",".join(entries)


def _clean_host(entry: str, host: str) -> str:
    sign = ""
    if host.startswith("-"):
        sign, host = "-", host[1:].strip()
    if host and host != "*" and host.startswith("*"):
        host = host[1:].strip()
    if not host or host == ".":
        raise BadRequest(f"No host/domain value after referrer designation in ACL: {entry!r}")
    return sign + host


def parse(text: str) -> Acl:
    """A stored list."""
    referrers, groups = [], []
    for entry in text.split(","):
        if entry.startswith(".r:"):
            referrers.append(entry[3:])
        elif entry:
            groups.append(unquote(entry))
    return Acl(tuple(referrers), tuple(groups))


def without_public(text: str) -> str:
    """A stored list without what it grants everybody, or whoever has a token."""
    entries = text.split(",")
    return ",".join(each for each in entries if not _is_public(each))


def is_public(text: str) -> bool:
    """Does a stored list grant everybody something, or whoever has a token?"""
    return any(_is_public(each) and not each.startswith(".r:-") for each in text.split(","))


def _is_public(entry: str) -> bool:
    # A referrer is what anybody may say.
    return entry.startswith(".r:") or unquote(entry) == "*:*"


def allows_referrer(acl: Acl, referrer: str) -> bool:
    """May somebody who comes from this page in? The last entry that fits decides."""
    try:
        host = urlsplit(referrer).hostname or "unknown"
    except ValueError:
        host = "unknown"
    allowed = False
    for entry in acl.referrers:
        if entry.startswith("-"):
            if _fits(entry[1:], host):
                allowed = False
        elif entry == "*" or _fits(entry, host):
            allowed = True
    return allowed


def _fits(entry: str, host: str) -> bool:
    return entry == host or (entry.startswith(".") and host.endswith(entry))
