"""Threads for bodies that come slowly, a share of them for each client.

Why: docs/decisions/0035-what-strangers-slow-down-has-a-share.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor


class Streams:
    """Threads for bodies that come slowly, half of them at most for one client address: one whose
    uploads stand still leaves the others theirs. Who wants more waits."""

    def __init__(self, threads: int, name: str) -> None:
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = max(1, threads // 2)
        self._shares: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def share_of(self, address: str) -> AsyncIterator[None]:
        """One thread of a client's, until the block ends."""
        client = _network_of(address)
        self._users[client] += 1
        try:
            async with self._shares.setdefault(client, asyncio.Semaphore(self._most)):
                yield
        finally:
            self._users[client] -= 1
            if not self._users[client]:
                del self._users[client], self._shares[client]


def _network_of(address: str) -> str:
    """What one client has: an address of IPv4, the /64 of one of IPv6."""
    if ":" not in address:
        return address
    try:
        return ipaddress.IPv6Address(address.partition("%")[0]).exploded[:19]
    except ValueError:
        return address
