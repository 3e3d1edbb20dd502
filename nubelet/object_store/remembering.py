"""Remember in memcached what proxies ask storage nodes of most: that a container, an account is
there, with its metadata.

It is only ever a copy. Nothing is remembered for longer than `REMEMBER_SECONDS`, which is how long
a proxy may act on old metadata in the worst case (memcached was unreachable to the one that
changed it); else a change is known at once. A server that fails or is slow several times in a row
is left alone for a while, and everything is asked of the storage again. Totals are never
remembered, nor is what is not there. Tokens need no memory: they are signed, and verified by what
is in the process.

In OpenStack: swift/common/middleware/memcache.py, proxy/controllers/base.py get_container_info.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from nubelet.decoding import prepared
from nubelet.object_store.storage import AccountInfo, ContainerInfo, Storage
from nubelet.object_store.storage.timestamps import Timestamp

log = logging.getLogger(__name__)
REMEMBER_SECONDS = 30
# After a change nobody may remember what it read before: no read takes longer.
_CHANGED_SECONDS = 20
_CHANGED = b"changed"
_QUOTAS = ("x-container-meta-quota-bytes", "x-container-meta-quota-count")
_Result = TypeVar("_Result")
_Info = TypeVar("_Info", AccountInfo, ContainerInfo)


class Limits(NamedTuple):
    """How long a server may take, how often in a row it may fail, how long it is left alone then.

    An answer takes less than a millisecond. On a machine that has too much to do it may take
    hundreds: who gave up then would give the storage all the work just when there is most of it.
    """

    connect_seconds: float = 0.3
    answer_seconds: float = 0.5
    failures: int = 3
    rest_seconds: float = 10.0


_LIMITS = Limits()


class Memory:
    """Servers of memcached. Each name is on one of them; where that is away, nowhere."""

    def __init__(self, servers: Sequence[str], limits: Limits = _LIMITS) -> None:
        """`servers`: `host:port` each. Raises ImportError without pymemcache."""
        from pymemcache.client.base import PooledClient

        self._servers = [
            PooledClient(
                _address(server),
                connect_timeout=limits.connect_seconds,
                timeout=limits.answer_seconds,
                no_delay=True,
            )
            for server in servers
        ]
        self._limits = limits
        self._rests_until = [0.0] * len(servers)
        self._failures = [0] * len(servers)

    def get(self, name: str) -> bytes | None:
        """What is remembered, if anything is."""
        found: bytes | None = self._ask(name, lambda client: client.get(name))
        return found

    def add(self, name: str, value: bytes, seconds: int) -> None:
        """Remember, unless something is."""
        self._ask(
            name,
            lambda client: client.add(name, value, expire=seconds, noreply=True),
            answers=False,
        )

    def set(self, name: str, value: bytes, seconds: int) -> None:
        """Remember this instead."""
        self._ask(name, lambda client: client.set(name, value, expire=seconds, noreply=False))

    def close(self) -> None:
        """Close the connections."""
        for client in self._servers:
            client.close()

    def _ask(self, name: str, ask: Callable[[Any], Any], *, answers: bool = True) -> Any:
        from pymemcache.exceptions import MemcacheError

        number = int(name[-8:], 16) % len(self._servers)
        if self._rests_until[number] > time.monotonic():
            return None
        try:
            answer = ask(self._servers[number])
        except (OSError, MemcacheError) as error:
            self._failures[number] += 1
            log.warning("memcached does not answer: %s", error)
            if self._failures[number] >= self._limits.failures:
                self._rests_until[number] = time.monotonic() + self._limits.rest_seconds
            return None
        if answers:
            self._failures[number] = 0
        return answer


class RememberingStorage:
    """See Storage. What is not here is the inner storage's own."""

    def __init__(self, inner: Storage, memory: Memory) -> None:
        self._inner, self._memory = inner, memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def close(self) -> None:
        """Close the connections, and the inner storage."""
        self._memory.close()
        self._inner.close()  # type: ignore[attr-defined]

    # --- Remembered ---------------------------------------------------------------------------

    def account(self, account: str, *, totals: bool = True, newest: bool = False) -> AccountInfo:
        """See Storage."""
        if totals or newest:
            return self._inner.account(account, newest=newest)
        return self._recall(
            _name(account), AccountInfo, lambda: self._inner.account(account, totals=False)
        )

    def container(
        self, account: str, container: str, *, totals: bool = True, newest: bool = False
    ) -> ContainerInfo:
        """See Storage."""
        if totals or newest:
            return self._inner.container(account, container, newest=newest)
        return self._recall(
            _name(account, container),
            ContainerInfo,
            lambda: self._inner.container(account, container),
        )

    # --- Forgotten ----------------------------------------------------------------------------

    def put_account(self, account: str, timestamp: Timestamp, metadata: Mapping[str, str]) -> bool:
        """See Storage."""
        return self._change(
            _name(account), lambda: self._inner.put_account(account, timestamp, metadata)
        )

    def post_account(self, account: str, timestamp: Timestamp, metadata: Mapping[str, str]) -> None:
        """See Storage."""
        self._change(_name(account), lambda: self._inner.post_account(account, timestamp, metadata))

    def delete_account(self, account: str, timestamp: Timestamp) -> None:
        """See Storage."""
        self._change(_name(account), lambda: self._inner.delete_account(account, timestamp))

    def put_container(
        self,
        account: str,
        container: str,
        timestamp: Timestamp,
        metadata: Mapping[str, str],
        policy: int | None = None,
    ) -> bool:
        """See Storage."""
        return self._change(
            _name(account, container),
            lambda: self._inner.put_container(account, container, timestamp, metadata, policy),
        )

    def post_container(
        self, account: str, container: str, timestamp: Timestamp, metadata: Mapping[str, str]
    ) -> None:
        """See Storage."""
        self._change(
            _name(account, container),
            lambda: self._inner.post_container(account, container, timestamp, metadata),
        )

    def delete_container(self, account: str, container: str, timestamp: Timestamp) -> None:
        """See Storage."""
        self._change(
            _name(account, container),
            lambda: self._inner.delete_container(account, container, timestamp),
        )

    # --- Inside -------------------------------------------------------------------------------

    def _recall(self, name: str, type: type[_Info], ask: Callable[[], _Info]) -> _Info:
        kept = self._memory.get(name)
        if kept is not None and kept != _CHANGED:
            try:
                return msgspec.msgpack.decode(kept, type=prepared(type))
            except msgspec.DecodeError:
                pass  # of another release
        info = ask()
        # What has a quota is asked for its totals with each write.
        if kept is None and not any(quota in info.metadata for quota in _QUOTAS):
            self._memory.add(name, msgspec.msgpack.encode(info), REMEMBER_SECONDS)
        return info

    def _change(self, name: str, change: Callable[[], _Result]) -> _Result:
        # Before it too: who is killed in the middle has changed something that nobody remembers.
        self._memory.set(name, _CHANGED, _CHANGED_SECONDS)
        try:
            return change()
        finally:
            self._memory.set(name, _CHANGED, _CHANGED_SECONDS)


def _name(*names: str) -> str:
    """Names may have any length and any character; those of memcached may not."""
    return "nubelet1-" + hashlib.sha256("/".join(names).encode()).hexdigest()


def _address(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)
