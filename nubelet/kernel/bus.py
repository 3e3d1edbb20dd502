"""Calls between the control plane and the nodes: bytes there, bytes back.

`call` waits for an answer, `cast` does not, `fanout` reaches everyone who subscribed to a topic.
Targets are names: `node.<host>`, `control`. Nothing that must not be lost travels here: the
database is the truth, the bus carries doorbells and node calls (which are repeated by their
operation). `InProcessBus` is for one machine; `rabbitmq.py` speaks to many.

Read next: `guards.py` (who may call), `rabbitmq.py`, `nubelet/node/client.py`.

In OpenStack: oslo.messaging.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Callable
from typing import Protocol

import msgspec

from nubelet.decoding import prepared
from nubelet.kernel import guards

log = logging.getLogger(__name__)

Handler = Callable[[bytes], bytes]
Subscriber = Callable[[bytes], None]
Stop = Callable[[], None]


class NodeUnreachable(ConnectionError):  # noqa: N818 - a state, and the word users see
    """The target did not answer. Whether it did what was asked is unknown; asking again may
    help."""

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(f"{target} is unreachable: {reason}")
        self.target = target
        self.reason = reason


class HandlerFailed(Exception):  # noqa: N818 - says whose failure it is
    """The target's handler raised. `kind` is the name of its exception, `code` its stable code
    where it had one."""

    def __init__(self, target: str, kind: str, message: str, code: str = "") -> None:
        super().__init__(
            f"{target} failed: {kind}: {message}" if message else f"{target} failed: {kind}"
        )
        self.target = target
        self.kind = kind
        self.message = message
        self.code = code


class Bus(Protocol):
    """What services and nodes know of the bus."""

    def call(self, target: str, body: bytes, *, timeout_seconds: float) -> bytes:
        """Send and wait for the answer of one server of `target`.

        Raises NodeUnreachable (at once where nobody serves the target, else after the timeout)
        and HandlerFailed.
        """

    def cast(self, target: str, body: bytes) -> None:
        """Send to one server of `target` without an answer. Raises NodeUnreachable when nobody
        serves it."""

    def fanout(self, topic: str, body: bytes) -> None:
        """Send to all present subscribers of `topic`; there may be none."""

    def serve(self, target: str, handler: Handler, workers: int = 8) -> Stop:
        """Answer calls to `target` in up to `workers` threads; returns what ends that."""

    def subscribe(self, topic: str, handler: Subscriber) -> Stop:
        """Hear what is fanned out on `topic`, in order; returns what ends that."""

    def close(self) -> None:
        """End everything."""


class Reply(msgspec.Struct, omit_defaults=True):
    """An answer on its way: the body, or why there is none."""

    body: bytes = b""
    failed: bool = False
    kind: str = ""
    message: str = ""
    code: str = ""

    def open(self, target: str) -> bytes:
        """The body; raises what the handler met."""
        if self.failed:
            raise HandlerFailed(target, self.kind, self.message, self.code)
        return self.body


def answer(handler: Handler, body: bytes) -> Reply:
    """Run a handler; what it raises becomes part of the reply."""
    try:
        return Reply(handler(body))
    except Exception as error:
        log.warning("a bus handler failed: %s: %s", type(error).__name__, error, exc_info=True)
        return Reply(
            failed=True,
            kind=type(error).__name__,
            message=str(error),
            code=str(getattr(error, "code", "") or ""),
        )


class Threads:
    """A few daemon threads that are started when needed and end after idling a while.

    Not a ThreadPoolExecutor: that one joins its threads at exit, and a handler that hangs must
    not keep the process alive.
    """

    def __init__(self, name: str, limit: int, idle_seconds: float = 30.0) -> None:
        self._name = name
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._alive = 0
        self._free = 0  # threads that wait for a job, minus jobs that wait for a thread
        self._numbers = itertools.count(1)

    def submit(self, job: Callable[[], None]) -> None:
        """Run `job` in one of the threads; it must not raise."""
        with self._lock:
            start = self._free <= 0 and self._alive < self._limit
            if start:
                self._alive += 1  # and this job is its first
            else:
                self._free -= 1
        self._jobs.put(job)
        if start:
            threading.Thread(
                target=self._work, daemon=True, name=f"{self._name}-{next(self._numbers)}"
            ).start()

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=self._idle_seconds)
            except queue.Empty:
                with self._lock:
                    if self._free <= 0:
                        continue  # a job was left to this thread in this very moment
                    self._free -= 1
                    self._alive -= 1
                return
            try:
                job()
            except Exception:
                log.exception("a job of %s failed", self._name)
            with self._lock:
                self._free += 1


class _Call:
    """One call on its way inside the process."""

    __slots__ = ("abandoned", "body", "done", "reply")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.done = threading.Lock()  # as a one-time event; cheaper than threading.Event
        self.done.acquire()
        self.reply: bytes = b""
        self.abandoned = False


class _Server:
    def __init__(self, target: str, handler: Handler, workers: int) -> None:
        self.handler = handler
        self.threads = Threads(f"bus-{target}", workers)

    def take(self, call: _Call) -> None:
        def run() -> None:
            if not call.abandoned:  # nobody waits any more: it will be asked again
                call.reply = msgspec.msgpack.encode(answer(self.handler, call.body))
                call.done.release()

        self.threads.submit(run)


class InProcessBus:
    """A bus inside one process. Bodies are bytes here too, and handlers run in threads of their
    own, so that nothing works here that would not work between machines."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: dict[str, tuple[_Server, ...]] = {}
        self._subscribers: dict[str, tuple[tuple[Subscriber, Threads], ...]] = {}
        self._turn = itertools.count()

    def call(self, target: str, body: bytes, *, timeout_seconds: float) -> bytes:
        """See `Bus`."""
        guards.check_call(target)
        call = _Call(body)
        self._server(target).take(call)
        if not call.done.acquire(timeout=max(timeout_seconds, 0.0)):
            call.abandoned = True
            raise NodeUnreachable(target, f"no answer within {timeout_seconds:g} s")
        return msgspec.msgpack.decode(call.reply, type=prepared(Reply)).open(target)

    def cast(self, target: str, body: bytes) -> None:
        """See `Bus`."""
        guards.check_call(target)
        self._server(target).take(_Call(body))

    def fanout(self, topic: str, body: bytes) -> None:
        """See `Bus`."""
        for handler, threads in self._subscribers.get(topic, ()):
            threads.submit(lambda handler=handler: handler(body))  # type: ignore[misc]

    def serve(self, target: str, handler: Handler, workers: int = 8) -> Stop:
        """See `Bus`."""
        server = _Server(target, handler, workers)
        with self._lock:
            self._servers[target] = (*self._servers.get(target, ()), server)

        def stop() -> None:
            with self._lock:
                left = tuple(
                    other for other in self._servers.get(target, ()) if other is not server
                )
                self._servers[target] = left

        return stop

    def subscribe(self, topic: str, handler: Subscriber) -> Stop:
        """See `Bus`."""
        entry = (handler, Threads(f"bus-{topic}", 1))  # one thread keeps the order
        with self._lock:
            self._subscribers[topic] = (*self._subscribers.get(topic, ()), entry)

        def stop() -> None:
            with self._lock:
                left = tuple(
                    other for other in self._subscribers.get(topic, ()) if other is not entry
                )
                self._subscribers[topic] = left

        return stop

    def close(self) -> None:
        """See `Bus`."""
        with self._lock:
            self._servers.clear()
            self._subscribers.clear()

    def _server(self, target: str) -> _Server:
        servers = self._servers.get(target)
        if not servers:
            raise NodeUnreachable(target, "nobody serves it")
        return servers[next(self._turn) % len(servers)]
