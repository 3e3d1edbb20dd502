"""Hosts whose name is an alias (CNAME) of a host below the store's own domains.

    www.example.org.  CNAME  photographs.auth-x.storage.example.com.

Whoever asks www.example.org is shown what the other host shows (domains.py). Each host that is
not the cloud's own is looked up, through `object_store.cname_lookup_depth` aliases at most (0: no
host is); what leads to no storage domain is refused. The cloud's own hosts are addresses, names
without a dot, the host of `http.public_url` and the storage domains with all below them.

The lookup waits for a name server, so it is done where the request is served, never where the
event loop asks whose the request is (`is_foreign`). Answers are remembered in the process for as
long as the name server allows. An alias that was found is served for a while longer where nobody
says otherwise: anybody may ask for hosts without end, and keep name servers busy with it.

In OpenStack: swift/common/middleware/cname_lookup.py.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from nubelet.kernel.cloud import Cloud
from nubelet.kernel.errors import BadRequest, ServiceUnavailable
from nubelet.settings import Settings

if TYPE_CHECKING:
    from dns.resolver import Resolver

log = logging.getLogger(__name__)
_LOOKUP_SECONDS = 5.0
_NONE_SECONDS = 60.0  # how long it is remembered that a name is no alias,
_FAILED_SECONDS = 5.0  # or that nobody answered
_STALE_SECONDS = 86_400.0  # how long an alias is served that nobody can be asked about any more
_REMEMBERED = 10_000  # aliases, and as many names that are none
# Requests that wait for name servers hold threads, which other requests need too.
_AT_ONCE = 16
_FOREVER = float("inf")


class Found(NamedTuple):
    """host: what a name is an alias of in the end; empty: `reason` says why it is of none.
    until: when to ask again; said_until: how long the name server allows to remember it."""

    host: str
    reason: str
    until: float
    said_until: float


class _Unanswered(Exception):  # noqa: N818 - a state of the name servers
    """Nobody said what a name is."""


class Aliases:
    """What the hosts are that requests are sent to."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.monotonic) -> None:
        """Raises ImportError without dnspython."""
        options = settings.object_store
        self.depth = options.cname_lookup_depth
        self._domains = tuple(domain.lower().strip(".") for domain in options.storage_domains)
        self._public = (urlsplit(settings.http.public_url).hostname or "").rstrip(".")
        self._resolver = _resolver(options.cname_nameservers)
        self._now = now
        self._lock = threading.Lock()
        # Apart, so that names that anybody makes up do not take the place of aliases.
        self._aliases: OrderedDict[str, Found] = OrderedDict()
        self._others: OrderedDict[str, Found] = OrderedDict()
        self._coming: dict[str, Future[Found]] = {}
        self._waiting = 0

    def is_foreign(self, host: str) -> bool:
        """Is it neither the cloud's own nor below its storage domains? Waits for nobody."""
        name = name_of(host).lower()
        return (
            "." in name
            and name != self._public
            and not self._is_below_a_domain(name)
            and not _is_address(name)
        )

    def canonical(self, host: str) -> str:
        """The host below a storage domain that a foreign one is an alias of.

        Raises BadRequest where there is none, ServiceUnavailable while too many wait.
        """
        found = self._find(name_of(host).lower())
        if not found.host:
            raise BadRequest(found.reason)
        return found.host

    def _find(self, name: str) -> Found:
        """What is remembered, else what the name servers say: asked once, whoever waits for it.
        Nobody else waits to hear whether an alias has changed."""
        with self._lock:
            known = self._remembered(name)
            if known is not None and known.until > self._now():
                return known
            coming = self._coming.get(name)
            is_first = coming is None
            is_full = self._waiting >= _AT_ONCE
            if known is not None and self._may_serve(known) and (is_full or not is_first):
                return known
            if is_full:
                raise ServiceUnavailable(
                    "Too many hosts are being looked up.", headers={"Retry-After": "1"}
                )
            self._waiting += 1
            if coming is None:
                coming = self._coming[name] = Future()
        try:
            if is_first:
                self._ask(name, known, coming)
            return coming.result()
        finally:
            with self._lock:
                self._waiting -= 1

    def _ask(self, name: str, known: Found | None, coming: Future[Found]) -> None:
        try:
            found = self._follow(name)
        except _Unanswered:
            again = self._now() + _FAILED_SECONDS
            if known is not None and self._may_serve(known):
                coming.set_result(known._replace(until=again))
            else:
                reason = f"CNAME lookup failed: nobody says what {name} is."
                coming.set_result(Found("", reason, again, again))
        except BaseException as error:
            coming.set_exception(error)
        else:
            coming.set_result(found)
        with self._lock:
            del self._coming[name]
            if coming.exception() is None:
                self._remember(name, coming.result())

    def _remembered(self, name: str) -> Found | None:
        for kept in (self._aliases, self._others):
            if name in kept:
                kept.move_to_end(name)
                return kept[name]
        return None

    def _remember(self, name: str, found: Found) -> None:
        kept, other = self._aliases, self._others
        if not found.host:
            kept, other = other, kept
        other.pop(name, None)
        kept[name] = found
        kept.move_to_end(name)
        if len(kept) > _REMEMBERED:
            kept.popitem(last=False)

    def _may_serve(self, known: Found) -> bool:
        """Though it is old."""
        return bool(known.host) and known.said_until + _STALE_SECONDS > self._now()

    def _follow(self, name: str) -> Found:
        """Go from alias to alias. Raises _Unanswered."""
        at, least = name, _FOREVER
        for _ in range(self.depth):
            target, seconds = self._alias(at)
            least = min(least, seconds)
            if not target:
                reason = f"CNAME lookup failed: {at} is no alias of a host of the object store."
                return self._until("", reason, least)
            if self._is_below_a_domain(target.lower()):
                log.debug("%s is an alias of %s", name, target)
                return self._until(target, "", least)
            at = target
        reason = f"CNAME lookup failed: no host of the object store within {self.depth} aliases."
        return self._until("", reason, least)

    def _until(self, host: str, reason: str, seconds: float) -> Found:
        then = self._now() + seconds
        return Found(host, reason, then, then)

    def _alias(self, name: str) -> tuple[str, float]:
        """What a name is an alias of (empty: of nothing), and for how many seconds. Raises
        _Unanswered."""
        from dns.exception import DNSException
        from dns.resolver import NXDOMAIN, NoAnswer

        try:
            answer = self._resolver.resolve(name, "CNAME", search=False)
        except (NXDOMAIN, NoAnswer):
            return "", _NONE_SECONDS
        except (DNSException, UnicodeError, OSError) as error:  # of odd names, too
            log.warning("the host %r cannot be looked up: %s", name, error)
            raise _Unanswered from error
        assert answer.rrset is not None
        return answer.rrset[0].target.to_text(omit_final_dot=True), float(answer.rrset.ttl)

    def _is_below_a_domain(self, name: str) -> bool:
        return any(name == domain or name.endswith(f".{domain}") for domain in self._domains)


def start(cloud: Cloud) -> None:
    """Make ready what looks hosts up, where that is wanted."""
    if _are_looked_up(cloud):
        cloud.provide(Aliases, Aliases(cloud.settings))


def is_foreign(cloud: Cloud, host: str) -> bool:
    """Shall the host be looked up? Waits for nobody."""
    return _are_looked_up(cloud) and cloud.get(Aliases).is_foreign(host)


def canonical(cloud: Cloud, host: str) -> str:
    """The host that a request is for, whatever alias it was sent to; see Aliases.canonical."""
    return cloud.get(Aliases).canonical(host) if is_foreign(cloud, host) else host


def capability(cloud: Cloud) -> Mapping[str, Mapping[str, Any]]:
    """What `/info` says; nothing where no host is looked up."""
    depth = cloud.settings.object_store.cname_lookup_depth
    return {"cname_lookup": {"lookup_depth": depth}} if _are_looked_up(cloud) else {}


def _are_looked_up(cloud: Cloud) -> bool:
    options = cloud.settings.object_store
    return bool(options.cname_lookup_depth and options.storage_domains)


def name_of(host: str) -> str:
    """A `Host` without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return (name if colon and (port.isdigit() or not port) else host).rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _resolver(servers: Sequence[str]) -> Resolver:
    """One that asks these servers, else those of the machine."""
    from dns.nameserver import Do53Nameserver
    from dns.resolver import Resolver

    resolver = Resolver(configure=not servers)
    if servers:
        resolver.nameservers = [
            Do53Nameserver(name_of(server), _port(server)) for server in servers
        ]
    resolver.lifetime = _LOOKUP_SECONDS
    return resolver


def _port(server: str) -> int:
    port = server.rpartition(":")[2] if not _is_address(server) else ""
    return int(port) if port.isdigit() else 53
