"""What the type of an option cannot say: addresses, URLs, and options that depend on each other.

Read next: `table.py`, which puts these into words together with the types.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from nubelet.settings.options import Settings


def _is_network(text: str) -> bool:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return False
    return network.version == 4 and network.prefixlen <= 29


def _is_any_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _are_rates(rates: dict[str, float]) -> bool:
    return all(size.isascii() and size.isdigit() and rate > 0 for size, rate in rates.items())


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_COSTS = {"argon2id": (1, 16), "bcrypt": (4, 20), "scrypt": (10, 22)}


def _is_cost(settings: Settings, cost: int) -> bool:
    low, high = _COSTS[settings.identity.password_hash]
    return cost == 0 or low <= cost <= high


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


_STORE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")


def _are_stores(settings: Settings, stores: dict[str, Any]) -> bool:
    return all(_STORE_NAME.fullmatch(name) for name in stores)


def _is_writable_store(settings: Settings, name: str) -> bool:
    store = settings.image.stores.get(name)
    return name == "file" if store is None else store.__struct_config__.tag != "http"


def _is_url(text: str) -> bool:
    try:
        urlsplit(text)
    except ValueError:
        return False
    return not text or re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", text) is not None


def _own_hosts(settings: Settings) -> set[str]:
    public = urlsplit(settings.http.public_url).hostname or "localhost"
    return {"localhost", "127.0.0.1", settings.http.host, public}


def _are_not_own(settings: Settings, hosts: tuple[str, ...]) -> bool:
    """The cloud itself could not be reached by a host all of whose paths are S3's."""
    return _own_hosts(settings).isdisjoint(host.lower() for host in hosts)


def _are_not_above_own(settings: Settings, domains: tuple[str, ...]) -> bool:
    """The same of domains, with the hosts below them."""
    ends = tuple(f".{domain.lower()}" for domain in domains)
    return _are_not_own(settings, domains) and not any(
        host.endswith(ends) for host in _own_hosts(settings)
    )


_OTHER_HOSTS = "hosts that are not the cloud's own: each of their paths is a bucket's"
_OTHER_DOMAINS = "domains that the cloud's own host is not in: each path there is a bucket's"

CHECKS: dict[str, tuple[Callable[[Settings, Any], bool], str]] = {
    "http.host": (lambda _, text: _is_address(text), "an IP address of this machine"),
    "http.public_url": (
        lambda _, text: _is_url(text),
        "a URL that begins with http:// or https://",
    ),
    "object_store.container_writes_per_second": (
        lambda _, rates: _are_rates(rates),
        "a table: number of objects -> a rate above 0",
    ),
    "object_store.container_listings_per_second": (
        lambda _, rates: _are_rates(rates),
        "a table: number of objects -> a rate above 0",
    ),
    "object_store.s3_domains": (_are_not_above_own, _OTHER_DOMAINS),
    "object_store.s3_website_domains": (_are_not_above_own, _OTHER_DOMAINS),
    "object_store.s3_bucket_hosts": (_are_not_own, _OTHER_HOSTS),
    "database.url": (
        lambda _, text: text.startswith(("sqlite:///", "postgresql+psycopg://")),
        "a URL that begins with sqlite:/// or postgresql+psycopg://",
    ),
    "bus.url": (
        lambda _, text: not text or text.startswith(("amqp://", "amqps://")),
        "nothing, or a URL that begins with amqp:// or amqps://",
    ),
    "identity.password_hash_cost": (
        _is_cost,
        "0, or 1 to 16 for argon2id, 4 to 20 for bcrypt, 10 to 22 for scrypt",
    ),
    "security_compliance.password_regex": (
        lambda _, text: _is_pattern(text),
        "a regular expression",
    ),
    "image.stores": (
        _are_stores,
        "names of letters, digits, `_`, `.` and `-`, each with the type file, http, s3, swift"
        " or rbd and the options of that type",
    ),
    "image.default_store": (
        _is_writable_store,
        "the name of a store that data can be written to",
    ),
    "federation.proxy_addresses": (
        lambda _, given: all(_is_any_network(each) for each in given),
        "a list of IP addresses or networks",
    ),
    "network.external_cidr": (
        lambda _, text: _is_network(text),
        "an IPv4 network of 8 addresses or more, such as 203.0.113.0/24",
    ),
    "network.vni_range": (lambda _, pair: pair[0] <= pair[1], "the lower identifier first"),
    "network.dns_servers": (
        lambda _, servers: all(_is_address(each) for each in servers),
        "a list of IP addresses",
    ),
}
"""Option name -> (does the value hold, given all settings?, what is expected in words)."""
