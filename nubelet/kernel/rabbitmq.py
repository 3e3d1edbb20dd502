"""The bus over RabbitMQ: the same promises as `bus.InProcessBus`, between machines.

Each target has a durable quorum queue, each process an exclusive queue for the answers to its
calls and one per topic it subscribed to. One connection sends (under a lock), one receives (in a
thread of its own); both come back by themselves when the broker does. A message is acknowledged
when it arrives: a call that was lost is repeated by its operation, which alone knows whether it
should be.

Read next: `bus.py` (the promises), `nubelet/wiring.py` (when it is used).

In OpenStack: oslo.messaging's rabbit driver.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import amqp.exceptions
import kombu
import msgspec
from kombu.exceptions import OperationalError

from nubelet.decoding import prepared
from nubelet.kernel import guards
from nubelet.kernel.bus import (
    Handler,
    NodeUnreachable,
    Reply,
    Stop,
    Subscriber,
    Threads,
    answer,
)

log = logging.getLogger(__name__)

_HEARTBEAT_SECONDS = 20
_CONNECT_SECONDS = 5
# For the broker's answers to our commands; less than half of the above, because each heartbeat
# that arrives begins the wait anew.
_ANSWER_SECONDS = 8.0
_QUEUE_LIFE_MS = 86_400_000  # a queue that nobody has served for a day goes away
_CAST_LIFE_SECONDS = 60.0
_TRUST_SECONDS = 1.0  # how long "somebody serves it" is believed without asking
# How often a waiting caller asks whether the server is still there: soon, then now and then.
_FIRST_LOOK_SECONDS, _LOOK_SECONDS = 0.5, 2.0
_AWAY_SECONDS = _CONNECT_SECONDS + 1.0  # a broker that did not answer is left alone so long
_PROPERTIES = {"content_type": "application/octet-stream", "content_encoding": "binary"}
_LOST = (OSError, amqp.exceptions.AMQPError, OperationalError)


class _Pending:
    """A call that waits for its answer."""

    __slots__ = ("done", "lost", "reply")

    def __init__(self) -> None:
        self.done = threading.Lock()
        self.done.acquire()
        self.reply = b""
        self.lost = ""


class RabbitMQBus:
    """See `bus.Bus`. `name` keeps clouds on one broker apart (exchanges and queues begin with
    it); all processes of one cloud use the same."""

    def __init__(self, url: str, *, name: str = "nubelet", queue_type: str = "quorum") -> None:
        """`url`: `amqp://user:password@host:port/vhost`, or amqps://. Connects by and by."""
        self._name = name
        self._queue_type = queue_type
        self._calls = kombu.Exchange(f"{name}.calls.v1", type="direct", durable=True)
        self._topics = kombu.Exchange(f"{name}.topics.v1", type="direct", durable=True)
        self._reply_queue = f"{name}.reply.{secrets.token_hex(8)}"
        self._sender = _Sender(url, self._queue_name)
        self._lock = threading.Lock()
        self._pending: dict[str, _Pending] = {}
        self._servers: dict[str, tuple[Handler, Threads]] = {}
        self._subscribers: dict[str, tuple[tuple[Subscriber, Threads], ...]] = {}
        self._receiver = _Receiver(url, self)

    # --- Sending ----------------------------------------------------------------------------

    def call(self, target: str, body: bytes, *, timeout_seconds: float) -> bytes:
        """See `Bus`. A server that dies amid the call is noticed within seconds."""
        guards.check_call(target)
        until = time.monotonic() + timeout_seconds
        if not self._receiver.ready(min(timeout_seconds, _CONNECT_SECONDS)):
            raise NodeUnreachable(target, "the message broker does not answer")
        self._sender.require_server(target)
        number, pending = secrets.token_hex(8), _Pending()
        self._pending[number] = pending
        try:
            self._sender.publish(
                target,
                body,
                exchange=self._calls,
                routing_key=target,
                reply_to=self._reply_queue,
                correlation_id=number,
                expiration=timeout_seconds,
            )
            look = _FIRST_LOOK_SECONDS
            while not pending.done.acquire(timeout=max(0.0, min(look, until - time.monotonic()))):
                if time.monotonic() >= until:
                    raise NodeUnreachable(target, f"no answer within {timeout_seconds:g} s")
                self._sender.require_server(target, fresh=True)
                look = _LOOK_SECONDS
        finally:
            self._pending.pop(number, None)
        if pending.lost:
            raise NodeUnreachable(target, pending.lost)
        return msgspec.msgpack.decode(pending.reply, type=prepared(Reply)).open(target)

    def cast(self, target: str, body: bytes) -> None:
        """See `Bus`."""
        guards.check_call(target)
        self._sender.require_server(target)
        self._sender.publish(
            target, body, exchange=self._calls, routing_key=target, expiration=_CAST_LIFE_SECONDS
        )

    def fanout(self, topic: str, body: bytes) -> None:
        """See `Bus`; raises NodeUnreachable while there is no broker."""
        self._sender.publish(topic, body, exchange=self._topics, routing_key=topic)

    # --- Receiving --------------------------------------------------------------------------

    def serve(self, target: str, handler: Handler, workers: int = 8) -> Stop:
        """See `Bus`. While the broker is away this returns after some seconds all the same, and
        serving begins when it is back."""
        with self._lock:
            if target in self._servers:
                raise ValueError(f"this process serves {target} already")
            self._servers[target] = (handler, Threads(f"bus-{target}", workers))
        self._receiver.renew()

        def stop() -> None:
            with self._lock:
                self._servers.pop(target, None)
            self._receiver.renew()

        return stop

    def subscribe(self, topic: str, handler: Subscriber) -> Stop:
        """See `Bus`."""
        entry = (handler, Threads(f"bus-{topic}", 1))
        with self._lock:
            self._subscribers[topic] = (*self._subscribers.get(topic, ()), entry)
        self._receiver.renew()

        def stop() -> None:
            with self._lock:
                left = tuple(
                    other for other in self._subscribers.get(topic, ()) if other is not entry
                )
                if left:
                    self._subscribers[topic] = left
                else:
                    self._subscribers.pop(topic, None)
            self._receiver.renew()

        return stop

    def close(self) -> None:
        """See `Bus`."""
        self._receiver.close()
        self._sender.close()
        self.lose_calls("the bus was closed")

    # --- For the receiver -------------------------------------------------------------------

    def lose_calls(self, reason: str) -> None:
        """No answer can come any more for the calls that wait now."""
        for pending in list(self._pending.values()):
            pending.lost = reason
            _release(pending)

    def queues(self) -> dict[str, tuple[kombu.Queue, Callable[[Any], None]]]:
        """What this process wants to receive now: queues and what to do with a message."""
        with self._lock:
            wanted: dict[str, tuple[kombu.Queue, Callable[[Any], None]]] = {
                self._reply_queue: (
                    kombu.Queue(self._reply_queue, exclusive=True, auto_delete=True, durable=False),
                    self._on_reply,
                )
            }
            for target in self._servers:
                name = self._queue_name(target)
                wanted[name] = (
                    kombu.Queue(
                        name,
                        self._calls,
                        routing_key=target,
                        durable=True,
                        queue_arguments={
                            "x-queue-type": self._queue_type,
                            "x-expires": _QUEUE_LIFE_MS,
                        },
                    ),
                    functools.partial(self._on_call, target),
                )
            for topic in self._subscribers:
                name = f"{self._reply_queue}.{topic}"
                wanted[name] = (
                    kombu.Queue(
                        name,
                        self._topics,
                        routing_key=topic,
                        exclusive=True,
                        auto_delete=True,
                        durable=False,
                    ),
                    functools.partial(self._on_topic, topic),
                )
            return wanted

    def tick(self) -> None:
        """Now and then: keep the sending connection alive too."""
        self._sender.tick()

    def _queue_name(self, target: str) -> str:
        return f"{self._name}.{target}"

    def _on_reply(self, message: Any) -> None:
        pending = self._pending.get(message.properties.get("correlation_id"))
        if pending is not None:
            pending.reply = message.body
            _release(pending)

    def _on_call(self, target: str, message: Any) -> None:
        entry = self._servers.get(target)
        if entry is None:
            return
        handler, threads = entry
        reply_to, number = (message.properties.get(name) for name in ("reply_to", "correlation_id"))
        until = time.monotonic() + float(message.properties.get("expiration") or 0) / 1000
        body = message.body or b""  # an empty one is not bytes

        def work() -> None:
            if time.monotonic() > until:
                return  # the caller has given up: doing it now would surprise its successor
            reply = answer(handler, body)
            if not reply_to:
                return
            try:
                self._sender.publish(
                    target,
                    msgspec.msgpack.encode(reply),
                    exchange="",
                    routing_key=reply_to,
                    correlation_id=number,
                )
            except NodeUnreachable as error:
                log.warning("an answer of %s is lost: %s", target, error.reason)

        threads.submit(work)

    def _on_topic(self, topic: str, message: Any) -> None:
        body = message.body or b""  # an empty one is not bytes
        for handler, threads in self._subscribers.get(topic, ()):
            threads.submit(lambda handler=handler: handler(body))  # type: ignore[misc]


def _release(pending: _Pending) -> None:
    try:
        pending.done.release()
    except RuntimeError:
        log.debug("a second answer to one call")


class _Sender:
    """The connection that publishes; used by any thread, one at a time."""

    def __init__(self, url: str, queue_name: Callable[[str], str]) -> None:
        self._url = url
        self._queue_name = queue_name
        self._lock = threading.Lock()
        self._connection: kombu.Connection | None = None
        self._producer: kombu.Producer | None = None
        self._probe: Any = None
        self._served: dict[str, float] = {}  # target -> until when we trust that it is served
        self._away_until = 0.0
        self._closed = False

    def publish(self, target: str, body: bytes, **where: Any) -> None:
        """Send; once more on a new connection if the old one turns out dead."""
        with self._lock:
            for last in (False, True):
                try:
                    self._connect()
                    assert self._producer is not None
                    self._producer.publish(body, **where, **_PROPERTIES, delivery_mode=1)
                    return
                except _LOST as error:
                    self._disconnect()
                    if last:
                        raise NodeUnreachable(
                            target, f"the message broker does not answer: {error}"
                        ) from error

    def require_server(self, target: str, *, fresh: bool = False) -> None:
        """Raise NodeUnreachable when nobody serves the target."""
        if not fresh and self._served.get(target, 0.0) > time.monotonic():
            return
        with self._lock:
            for last in (False, True):
                try:
                    count = self._consumers(target)
                    break
                except _LOST as error:
                    self._disconnect()
                    if last:
                        raise NodeUnreachable(
                            target, f"the message broker does not answer: {error}"
                        ) from error
        if not count:
            self._served.pop(target, None)
            raise NodeUnreachable(target, "nobody serves it")
        self._served[target] = time.monotonic() + _TRUST_SECONDS

    def tick(self) -> None:
        """Answer the broker's heartbeats."""
        with self._lock:
            if self._connection is None:
                return
            try:
                self._connection.heartbeat_check()
                self._connection.drain_events(timeout=0.001)
            except TimeoutError:
                pass
            except _LOST as error:
                log.info("the sending connection to the message broker is lost: %s", error)
                self._disconnect()

    def close(self) -> None:
        """Close the connection for good."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def _consumers(self, target: str) -> int:
        self._connect()
        if self._probe is None:
            assert self._connection is not None
            self._probe = self._connection.channel()
        try:
            found = self._probe.queue_declare(self._queue_name(target), passive=True)
        except amqp.exceptions.NotFound:
            self._probe = None  # the broker closes a channel that asked for what is not there
            return 0
        return int(found.consumer_count)

    def _connect(self) -> None:
        if self._connection is not None:
            return
        if self._closed:
            raise ConnectionError("the bus is closed")
        if time.monotonic() < self._away_until:
            raise ConnectionError("it did not answer a moment ago")
        self._away_until = time.monotonic() + _AWAY_SECONDS  # for those who queue behind us
        connection = _connect(self._url)
        self._away_until = 0.0
        self._connection = connection
        self._producer = kombu.Producer(connection.channel(), auto_declare=False)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._producer = self._probe = None
        self._served.clear()
        _close(connection)


class _Receiver:
    """The thread that receives: declares what the bus wants, hands messages on, reconnects."""

    def __init__(self, url: str, bus: RabbitMQBus) -> None:
        self._url = url
        self._bus = bus
        self._closing = False
        self._changed = threading.Condition()
        self._wanted = 1  # grows with each change of what is to be received
        self._present = 0  # up to which change it is declared; 0: not connected
        self._wake: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="bus-receiver")
        self._thread.start()

    def ready(self, seconds: float) -> bool:
        """Wait until messages can arrive."""
        with self._changed:
            return self._changed.wait_for(lambda: self._present > 0, seconds)

    def renew(self) -> None:
        """Declare anew what the bus wants; waits some seconds for it to be so."""
        with self._changed:
            self._wanted += 1
            wanted, wake = self._wanted, self._wake
        if wake is not None:
            wake()
        with self._changed:
            self._changed.wait_for(
                lambda: self._present >= wanted or self._closing, _CONNECT_SECONDS
            )

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        self.renew()
        self._thread.join(_CONNECT_SECONDS)

    def _work(self) -> None:
        pause = 0.1
        while not self._closing:
            connection = None
            try:
                connection = _connect(self._url)
                pause = 0.1
                self._receive(connection)
            except _LOST as error:
                if not self._closing:
                    log.warning("no connection to the message broker: %s", error)
            except Exception:
                log.exception("the bus receiver met an error")
            finally:
                with self._changed:
                    self._present, self._wake = 0, None
                _close(connection)
                self._bus.lose_calls("the connection to the message broker was lost")
            if not self._closing:
                time.sleep(pause)
                pause = min(pause * 2, 5.0)

    def _receive(self, connection: kombu.Connection) -> None:
        channel = connection.channel()
        consumers: dict[str, kombu.Consumer] = {}
        reply_queue = self._declare(channel, consumers)
        with self._changed:
            # A message to our own queue ends the wait for messages at once.
            self._wake = lambda: self._poke(reply_queue)
        next_tick = 0.0
        while not self._closing:
            self._declare(channel, consumers)
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=_HEARTBEAT_SECONDS / 3)
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + _HEARTBEAT_SECONDS / 3
                connection.heartbeat_check()
                self._bus.tick()

    def _poke(self, queue: str) -> None:
        try:
            self._bus._sender.publish("bus", b"", exchange="", routing_key=queue)
        except NodeUnreachable as error:
            log.debug("the receiver is not woken: %s", error)

    def _declare(self, channel: Any, consumers: dict[str, kombu.Consumer]) -> str:
        with self._changed:
            wanted = self._wanted
            if self._present == wanted:
                return ""
        queues = self._bus.queues()
        for name in [name for name in consumers if name not in queues]:
            consumers.pop(name).cancel()
        for name, (queue, act) in queues.items():
            if name not in consumers:
                consumers[name] = kombu.Consumer(channel, [queue], on_message=act, no_ack=True)
                self._consume(name, queue, consumers[name])
        with self._changed:
            self._present = wanted
            self._changed.notify_all()
        return next(iter(queues))

    def _consume(self, name: str, queue: kombu.Queue, consumer: kombu.Consumer) -> None:
        """Begin to receive. A broker that was killed just after it made a quorum queue keeps its
        name but never serves it again (seen with 3.10): such a queue is made anew. What waited in
        it is repeated by whoever asked."""
        try:
            consumer.consume()
        except TimeoutError:
            if queue.durable:
                log.warning("queue %s does not answer: it is made anew", name)
                connection = _connect(self._url)
                try:
                    connection.channel().queue_delete(name)
                finally:
                    _close(connection)
            raise


def _connect(url: str) -> kombu.Connection:
    connection = kombu.Connection(
        url,
        heartbeat=_HEARTBEAT_SECONDS,
        connect_timeout=_CONNECT_SECONDS,
        ssl=url.startswith("amqps"),
    )
    connection.ensure_connection(max_retries=1, timeout=_CONNECT_SECONDS)
    connection.connection.sock.settimeout(_ANSWER_SECONDS)
    return connection


def _close(connection: kombu.Connection | None) -> None:
    if connection is not None:
        try:
            connection.release()
        except Exception as error:
            log.debug("a connection did not close: %s", error)
