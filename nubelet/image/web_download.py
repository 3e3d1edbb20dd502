"""Fetching image data from a URL that a user gave, without becoming their way into our networks.

Only http and https; every address that a name resolves to must be public (or in a network that
the operator allowed), and the connection goes to the address that was looked at. Each redirect is
looked at anew. In OpenStack: glance's web-download plugin and its import_filtering_opts.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urljoin, urlsplit

from nubelet.kernel.errors import BadRequest

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30
MOST_REDIRECTS = 5
# Addresses of IPv6 that carry one of IPv4 inside: NAT64, its predecessor SIIT (RFC 2765), and a
# form from the first days of IPv6.
_CARRIERS = (
    ipaddress.IPv6Network("64:ff9b::/96"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),
    ipaddress.IPv6Network("::ffff:0:0:0/96"),
    ipaddress.IPv6Network("::/96"),
)
_PORTS = {"http": 80, "https": 443}
Networks = tuple[str, ...]


class Refused(Exception):  # noqa: N818 - a finding
    """The URL leads where it may not, or nothing good came from there; the text says which."""


def check(url: str, allowed: Networks) -> None:
    """Raise BadRequest for a URL that cannot pass, without looking up its name."""
    try:
        scheme, host, port, _ = _parts(url)
        if _is_address(host):
            _require_public(host, ipaddress.ip_address(host), port, scheme, allowed)
        elif _is_number(host):
            raise Refused(f"{host} is an address in a form that hides which one")
        elif not allowed and port != _PORTS[scheme]:
            raise Refused(f"port {port} is not allowed")
        elif host.rstrip(".").endswith("localhost") and not allowed:
            raise Refused("it leads to this machine")
    except Refused as error:
        raise BadRequest(f"URI for web-download does not pass filtering: {url} ({error})") from None


def _parts(url: str) -> tuple[str, str, int, str]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("it is not a URL") from None
    if parts.scheme not in _PORTS:
        raise Refused("only http and https are allowed")
    if not parts.hostname or parts.username is not None or any(ord(c) <= 32 for c in url):
        raise Refused("it has no host, or more than a host")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise Refused("what is not ASCII in its path must be percent-encoded")
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_number(host: str) -> bool:
    """Would the system take the host for an IPv4 address: 2130706433, 0x7f.1, 0177.0.0.1?"""
    try:
        socket.inet_aton(host)
    except (OSError, UnicodeError):
        return False
    return True


def _require_public(
    host: str,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    port: int,
    scheme: str,
    allowed: Networks,
) -> None:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    networks = [ipaddress.ip_network(network) for network in allowed]
    if any(address.version == network.version and address in network for network in networks):
        return
    if (
        not address.is_global
        or address.is_multicast
        or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local)
    ):
        raise Refused(f"{host} is at {address}, which is not a public address")
    if isinstance(address, ipaddress.IPv6Address) and (
        address.sixtofour or address.teredo or any(address in each for each in _CARRIERS)
    ):
        raise Refused(f"{host} is at {address}, which leads through a tunnel")
    if port != _PORTS[scheme]:
        raise Refused(f"port {port} is not allowed")
    if _is_own(str(address)):
        raise Refused(f"{host} is at {address}, which is this machine")


def _is_own(address: str) -> bool:
    """Is it an address of this machine? Those that nobody has tells whether the question works."""
    nobodys = "2001:db8::1" if ":" in address else "192.0.2.1"
    return _can_bind(address) and not _can_bind(nobodys)


def _can_bind(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def fetch(
    url: str, allowed: Networks, *, offset: int = 0, length: int | None = None
) -> Iterator[bytes]:
    """The data at a URL from `offset` on, in pieces; with `length` the server is asked for no more.

    Raises Refused, or OSError when the network fails.
    """
    headers = {"Accept-Encoding": "identity"}
    if offset or length is not None:
        last = "" if length is None else str(offset + length - 1)
        headers["Range"] = f"bytes={offset}-{last}"
    with closing(_ask("GET", url, allowed, headers)) as response:
        skipped = offset if response.status == 200 else 0  # a server that knows no ranges
        for piece in _read(response):
            if skipped < len(piece):
                yield piece[skipped:]
            skipped = max(0, skipped - len(piece))


def size(url: str, allowed: Networks) -> int | None:
    """The bytes that a URL leads to, as its server says; None when it does not say."""
    with closing(_ask("HEAD", url, allowed, {"Accept-Encoding": "identity"})) as response:
        said = response.headers.get("Content-Length", "")
        return int(said) if said.isdigit() else None


def _ask(
    method: str, url: str, allowed: Networks, headers: dict[str, str]
) -> http.client.HTTPResponse:
    """The answer at the end of the redirects."""
    for _ in range(MOST_REDIRECTS + 1):
        scheme, host, port, path = _parts(url)
        connection = _connect(scheme, host, port, allowed)
        try:
            connection.request(method, path, headers={**headers, "Connection": "close"})
            response = connection.getresponse()
        except BaseException as error:
            connection.close()
            if isinstance(error, http.client.HTTPException):
                raise Refused(f"{host} does not answer as HTTP asks for") from error
            raise
        if response.status == 200 or (response.status == 206 and "Range" in headers):
            return response  # it keeps the socket until it is closed
        response.close()
        connection.close()
        if response.status not in (301, 302, 303, 307, 308):
            raise Refused(f"{host} answered {response.status} {response.reason}")
        url = urljoin(url, response.headers.get("Location", ""))
    raise Refused(f"there are more than {MOST_REDIRECTS} redirects")


def _read(response: http.client.HTTPResponse) -> Iterator[bytes]:
    expected = response.headers.get("Content-Length")
    size = 0
    try:
        while piece := response.read(CHUNK_BYTES):
            size += len(piece)
            yield piece
    except http.client.HTTPException as error:
        raise Refused(f"the data ended too early, after {size} bytes or more") from error
    if expected is not None and expected.isdigit() and size != int(expected):
        raise Refused(f"{size} bytes came instead of {expected}")


def _connect(scheme: str, host: str, port: int, allowed: Networks) -> http.client.HTTPConnection:
    """A connection to the very address that was found good: a name may change what it means."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Refused(f"the name {host} is not known ({error})") from None
    addresses = [str(each[4][0]) for each in found]
    for address in addresses:
        _require_public(host, ipaddress.ip_address(address.split("%")[0]), port, scheme, allowed)
    raw = socket.create_connection((addresses[0], port), timeout=TIMEOUT_SECONDS)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    if scheme == "https":
        raw = ssl.create_default_context().wrap_socket(raw, server_hostname=host)
        connection.default_port = 443
    connection.sock = raw
    return connection
