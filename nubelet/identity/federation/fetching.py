"""Asking an identity provider something over HTTP, with bounds on time and size.

The URLs are those of the operator and of the provider's own documents, never a user's. Redirects
are not followed. Never called inside a transaction.
"""

from __future__ import annotations

import base64
import logging
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode

import msgspec

from nubelet.kernel.errors import ServiceUnavailable
from nubelet.kernel.guards import in_transaction

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 10
MOST_BYTES = 4 << 20


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


def get(url: str, *, ca_file: str = "", bearer: str = "") -> bytes:
    """The body at a URL; raises ServiceUnavailable."""
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    return _ask(urllib.request.Request(url, headers=headers), ca_file)  # noqa: S310


def get_json(url: str, *, ca_file: str = "", bearer: str = "") -> dict[str, Any]:
    """The object at a URL; raises ServiceUnavailable."""
    return _decode(url, get(url, ca_file=ca_file, bearer=bearer))


def post_form(
    url: str, form: Mapping[str, str], *, client: tuple[str, str] | None = None, ca_file: str = ""
) -> dict[str, Any]:
    """The object that a form is answered with. `client`: id and secret, for Basic. Raises
    ServiceUnavailable, also for a refusal."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if client is not None:
        pair = ":".join(quote_plus(each) for each in client)  # RFC 6749, 2.3.1
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    request = urllib.request.Request(  # noqa: S310
        url, data=urlencode(form).encode(), headers=headers, method="POST"
    )
    return _decode(url, _ask(request, ca_file))


def _ask(request: urllib.request.Request, ca_file: str) -> bytes:
    assert not in_transaction()
    if request.type not in ("http", "https"):
        raise ServiceUnavailable(f"{request.full_url} is no URL of an identity provider.")
    context = ssl.create_default_context(cafile=ca_file or None)
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), _NoRedirect()
    )
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            body: bytes = answer.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # URLError and HTTPError are OSErrors
        log.warning("the identity provider at %s does not answer well: %s", request.host, error)
        raise ServiceUnavailable(
            f"The identity provider at {request.host} does not answer as it should."
        ) from None
    if len(body) > MOST_BYTES:
        raise ServiceUnavailable(f"The answer of {request.host} is too large.")
    return body


def _decode(url: str, body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        found = None
    if not isinstance(found, dict):
        raise ServiceUnavailable(f"{url} does not answer a JSON object.")
    return found


class Remembered:
    """Documents of identity providers, asked for again when they are old (or on demand, though
    not more often than once in a while)."""

    def __init__(self, fresh_seconds: float = 3600, again_seconds: float = 10) -> None:
        self._fresh_seconds, self._again_seconds = fresh_seconds, again_seconds
        self._known: dict[tuple[str, ...], tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def get(self, key: tuple[str, ...], ask: Callable[[], Any], *, again: bool = False) -> Any:
        """What `ask` answered for this key a while ago, or does now."""
        known = self._known.get(key)
        age = time.monotonic() - known[0] if known else float("inf")
        if known and age < (self._again_seconds if again else self._fresh_seconds):
            return known[1]
        found = ask()
        with self._lock:
            if len(self._known) > 200:
                self._known.clear()
            self._known[key] = (time.monotonic(), found)
        return found
