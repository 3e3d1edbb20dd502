"""Walk the names of a listing: prefix, markers, delimiter, order.

With a delimiter the names under one pseudo folder are skipped by asking the index for what comes
after it, so a page costs as many steps as it has entries, however many names lie below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nubelet.object_store.storage import Listing, Subdirectory

# (above, whether that name itself is wanted, below, whether that is, limit, descending) -> rows
# whose first column is the name. None: no bound.
Fetch = Callable[[str | None, bool, str | None, bool, int, bool], Iterable[Any]]


def after(prefix: str) -> str | None:
    """The first text behind all that begin with `prefix`; None if there is none."""
    while prefix:
        code = ord(prefix[-1]) + 1
        if 0xD800 <= code <= 0xDFFF:
            code = 0xE000
        if code <= 0x10FFFF:
            return prefix[:-1] + chr(code)
        prefix = prefix[:-1]
    return None


def conditions(
    above: str | None, or_above: bool, below: str | None, or_below: bool
) -> tuple[str, list[str]]:
    """The bounds of a fetch in SQL, for a statement that goes on after `deleted = 0`."""
    sql, bound = "", []
    if above is not None:
        sql += " AND name >= ?" if or_above else " AND name > ?"
        bound.append(above)
    if below is not None:
        sql += " AND name <= ?" if or_below else " AND name < ?"
        bound.append(below)
    return sql, bound


def walk(listing: Listing, fetch: Fetch, make: Callable[[Any], Any]) -> list[Any]:
    """The entries of one page; `make` turns a row into an entry."""
    prefix, delimiter, path = _prefix(listing), listing.delimiter, listing.path
    if path is not None:
        delimiter = delimiter or "/"
    low, low_wanted, high, high_wanted = bounds(listing)
    down = listing.reverse
    if not delimiter:
        return list(map(make, fetch(low, low_wanted, high, high_wanted, listing.limit, down)))
    found: list[Any] = []
    while len(found) < listing.limit:
        wanted, seen, jump, last = listing.limit - len(found), 0, None, ""
        for row in fetch(low, low_wanted, high, high_wanted, wanted, down):
            seen, last = seen + 1, row[0]
            jump = _roll_up(last, prefix, delimiter, path, listing, found)
            if jump is not None:
                break
            if path is None or last != prefix:
                found.append(make(row))
        if jump is None and seen < wanted:
            break
        if down:
            high, high_wanted = jump or last, False
        elif jump is None:
            low, low_wanted = last, False
        else:
            behind = after(jump)
            if behind is None:
                break
            low, low_wanted = behind, True
    return found


def _prefix(listing: Listing) -> str:
    if listing.path is None:
        return listing.prefix
    return listing.path.rstrip("/") + "/" if listing.path else ""


def bounds(listing: Listing) -> tuple[str | None, bool, str | None, bool]:
    """Between which names the names asked for are, and whether these themselves are: those that
    begin with the prefix, between the markers."""
    prefix = _prefix(listing)
    first, last = listing.marker, listing.end_marker
    if listing.reverse:
        first, last = last, first
    low: tuple[str, bool] | None = (first, False) if first else None
    if prefix and (low is None or prefix > low[0]):
        low = (prefix, True)
    if not listing.reserved and (low is None or low[0] < "\x01"):
        low = ("\x01", True)  # names of features begin with NUL
    if listing.above and (low is None or low[0] <= listing.above):
        low = (listing.above, False)
    high = last or None
    behind = after(prefix) if prefix else None
    if behind is not None and (high is None or behind < high):
        high = behind
    if listing.up_to and (high is None or listing.up_to < high):
        return (low[0] if low else None, low[1] if low else True, listing.up_to, True)
    return (low[0] if low else None, low[1] if low else True, high, False)


def _roll_up(
    name: str,
    prefix: str,
    delimiter: str,
    path: str | None,
    listing: Listing,
    found: list[Any],
) -> str | None:
    """The pseudo folder that a name lies in, noted as an entry; None for a plain name."""
    if not delimiter:
        return None
    at = name.find(delimiter, len(prefix))
    if at < 0:
        return None
    folder = name[: at + len(delimiter)]
    if path is not None:
        return None if len(name) == len(folder) else folder
    if folder != listing.marker and folder != listing.end_marker:
        found.append(Subdirectory(folder))
    return folder
