"""How often an account or a container may be written: who writes faster waits, or is refused.

    object_store.account_writes_per_second        containers made and deleted in an account
    object_store.container_writes_per_second      {"100": 50, "1000": 10}: objects written and
    object_store.container_listings_per_second    lists read, by how large the container is

Between two sizes the rate is in between; below the smallest there is none. A request waits for its
turn, at most `rate_limit_wait_seconds`, else it is answered 498. What is counted is in files of the
state folder, so that all API processes of a machine share it; several machines each allow the rate.
ResellerAdmins set an account's own rule with `X-Account-Sysmeta-Global-Write-Ratelimit`: WHITELIST
(no limits) or BLACKLIST (497).

In OpenStack: swift/common/middleware/ratelimit.py.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import struct
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import Call, Proceed
from nubelet.object_store.features.authorization import RESELLER

log = logging.getLogger(__name__)
RULE = "x-account-sysmeta-global-write-ratelimit"
_FILES = 4096  # keys share this many files: who shares one waits a little more, never less
_BURST_SECONDS = 5.0  # of unused turns that may be made up for
_WRITES = ("PUT", "POST", "DELETE", "COPY")


def rate_limits(call: Call, proceed: Proceed) -> Response:
    """Let a call wait for its turns; raises 497 and 498."""
    if RESELLER not in call.ctx.roles:
        call.headers.pop(RULE, None)
    rates = _rates(call)
    rule = call.account_metadata().get(RULE, "").upper() if rates or _is_ruled(call) else ""
    if rule == "BLACKLIST":
        raise ApiError("Your account has been blacklisted", status=497, title="Blacklisted")
    if rule != "WHITELIST":
        for key, rate in rates:
            _wait(call, key, rate)
    return proceed(call)


def _is_ruled(call: Call) -> bool:
    """Writes ask for the account's rule; a reseller must be able to change it."""
    return call.method in _WRITES and bool(call.container)


def capability(call: Call) -> Mapping[str, Mapping[str, Any]]:
    """What `/info` says; nothing where there are no limits."""
    options = call.ctx.cloud.settings.object_store
    if not (
        options.account_writes_per_second
        or options.container_writes_per_second
        or options.container_listings_per_second
    ):
        return {}
    return {
        "ratelimit": {
            "account_ratelimit": options.account_writes_per_second,
            "container_ratelimits": _bands(options.container_writes_per_second),
            "container_listing_ratelimits": _bands(options.container_listings_per_second),
            "max_sleep_time_seconds": options.rate_limit_wait_seconds,
        }
    }


def _rates(call: Call) -> list[tuple[str, float]]:
    """Key and rate (per second) of each limit that a call falls under."""
    options = call.ctx.cloud.settings.object_store
    found: list[tuple[str, float]] = []
    if not call.container:
        return found
    if not call.object and call.method in ("PUT", "DELETE"):
        if options.account_writes_per_second:
            found.append((f"account/{call.account}", options.account_writes_per_second))
        return found
    is_listing = not call.object and call.method == "GET"
    if not is_listing and not (call.object and call.method in _WRITES):
        return found
    rates = (
        options.container_listings_per_second if is_listing else options.container_writes_per_second
    )
    info = call.container_info() if rates else None
    rate = rate_at(rates, info.object_count) if info else None
    if rate is not None:
        kind = "listing" if is_listing else "container"
        found.append((f"{kind}/{call.account}/{call.container}", rate))
    return found


def _bands(rates: Mapping[str, float]) -> list[tuple[int, float]]:
    return sorted((int(size), float(rate)) for size, rate in rates.items())


def rate_at(rates: Mapping[str, float], size: int) -> float | None:
    """The rate for a container of so many objects; None: no limit."""
    bands = _bands(rates)
    if not bands or size < bands[0][0]:
        return None
    for (low, at_low), (high, at_high) in pairwise(bands):
        if size < high:
            return at_low + (at_high - at_low) * (size - low) / (high - low)
    return bands[-1][1]


def _wait(call: Call, key: str, rate: float) -> None:
    longest = call.ctx.cloud.settings.object_store.rate_limit_wait_seconds
    seconds = take_turn(Path(call.ctx.cloud.settings.state_dir), key, rate, longest)
    if seconds is None:
        log.warning("%s is written faster than %.2f times a second: refused", key, rate)
        raise ApiError("Slow down", status=498, title="Rate Limited")
    if seconds > 0:
        log.info("%s is written faster than %.2f times a second: %.2f s", key, rate, seconds)
        time.sleep(seconds)


def take_turn(state_dir: Path, key: str, rate: float, longest: float) -> float | None:
    """How many seconds until the turn of the caller, which is taken; None: more than `longest`,
    and none is taken. One file holds when the next turn is, locked for as long as it is read."""
    digest = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % _FILES
    folder = state_dir / "object-store-rates"
    folder.mkdir(exist_ok=True)
    file = os.open(folder / f"{digest:03x}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        noted = os.pread(file, 8, 0)
        now = time.time()
        turn: float = struct.unpack("<d", noted)[0] if len(noted) == 8 else 0.0
        if turn > now + longest + 1 / rate:
            turn = now + longest + 1 / rate  # the clock was set back
        turn = max(turn, now - _BURST_SECONDS)
        if turn - now > longest:
            return None
        os.pwrite(file, struct.pack("<d", turn + 1 / rate), 0)
        return max(turn - now, 0.0)
    finally:
        os.close(file)
