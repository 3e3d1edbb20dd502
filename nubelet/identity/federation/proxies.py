"""Headers of a trusted proxy: what mod_auth_openidc or mod_shib found out, in front of this cloud.

Off unless `federation.proxy_addresses` names the proxy. The proxy must remove these headers from
what its own clients send. In mappings a header is `HTTP_` and its name in capitals, as a CGI
program would see it; `Remote-User` is `REMOTE_USER`.
"""

from __future__ import annotations

import ipaddress

from nubelet.identity.federation.assertions import REMOTE_USER, Assertion, of_environment
from nubelet.identity.methods import Attempt

_USER_HEADERS = ("REMOTE_USER", "X_REMOTE_USER")


def assertion(attempt: Attempt) -> Assertion | None:
    """What the proxy says of the sender; None for requests of others, or without such headers."""
    settings = attempt.cloud.settings.federation
    if not settings.proxy_addresses or not _is_within(
        attempt.remote_address, settings.proxy_addresses
    ):
        return None
    wanted = tuple(_variable(each) for each in settings.proxy_headers)
    environment = {}
    for name, value in attempt.headers.items():
        variable = _variable(name)
        if value and variable.startswith(wanted):
            environment[f"HTTP_{variable}"] = _text(value)
            if variable in _USER_HEADERS:
                environment[REMOTE_USER] = _text(value)
    return of_environment(environment) if environment else None


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")


def _text(value: str) -> str:
    """Headers arrive as Latin-1; modules write UTF-8 into them."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _is_within(address: str, networks: tuple[str, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in ipaddress.ip_network(each) for each in networks)
