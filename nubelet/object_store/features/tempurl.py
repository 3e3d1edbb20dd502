"""Temporary URLs: whoever has one may do one thing with an object until a moment, without token.

The signature is an HMAC over method, end and path with a key that the account's (or container's)
owner has set as metadata: `X-Account-Meta-Temp-URL-Key[-2]`.

In OpenStack: swift/common/middleware/tempurl.py.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from nubelet.kernel.errors import ApiError, BadRequest, Unauthorized
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import Call, Proceed

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
CAPABILITY: Mapping[str, Any] = {
    "methods": ["GET", "HEAD", "PUT", "POST", "DELETE"],
    "incoming_remove_headers": ["x-timestamp", "x-open-expired"],
    "incoming_allow_headers": [],
    "outgoing_remove_headers": ["x-object-meta-*"],
    "outgoing_allow_headers": ["x-object-meta-public-*"],
}
PREFIX, LISTED = "temp-url-prefix", "listed"  # notes: what was signed; a page lists a folder
_PARAMETERS = (
    "temp_url_prefix",
    "temp_url_expires",
    "temp_url_sig",
    "temp_url_ip_range",
    "filename",
    "inline",
)
_FLAGS = ("inline",)
_FORMATS = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d")
_BY_LENGTH = {40: "sha1", 64: "sha256", 128: "sha512"}
# A PUT could otherwise make an object that leads to others of the account, or is a copy of one.
_NOT_ALLOWED = ("x-object-manifest", "x-symlink-target", "x-copy-from", "x-copy-from-account")


def tempurl(call: Call, proceed: Proceed) -> Response:
    """Let calls with a good signature in, and refuse those with a bad one."""
    if "temp_url_sig" not in call.query and "temp_url_expires" not in call.query:
        return proceed(call)
    prefix = call.query.get("temp_url_prefix")
    if call.method == "OPTIONS" or not call.container:
        return proceed(call)
    if not call.object and (prefix is None or not call.is_read):
        return proceed(call)
    ends = _ends(call.query.get("temp_url_expires", ""))
    if call.method not in METHODS or ends is None or ends < time.time():
        raise _refusal()
    _check_address(call)
    scopes = _scopes(call, str(ends))
    if not scopes:
        raise _refusal()
    if call.method in ("PUT", "POST"):
        for name in _NOT_ALLOWED:
            if name in call.headers:
                raise BadRequest(f"{name.title()} not allowed in tempurl")
    call.authority = authority(
        call.account, None if None in scopes else call.container, lists=bool(call.object)
    )
    call.is_owner = False
    call.notes["decided"] = True
    # What else the query asks for was not signed.
    call.query = {name: call.query[name] for name in _PARAMETERS if name in call.query}
    if prefix is not None:
        call.notes[PREFIX] = prefix
    response = proceed(call)
    return response if LISTED in call.notes else _dressed(call, response, ends)


def links(call: Call) -> str:
    """The query with which a listing's links lead on; empty without a temporary URL."""
    if PREFIX not in call.notes:
        return ""
    asked = [name for name in _PARAMETERS if name in call.query and name not in _FLAGS]
    pairs = [f"{name}={quote(call.query[name])}" for name in asked]
    return "?" + "&".join([*pairs, *(name for name in _FLAGS if name in call.query)])


def authority(account: str, container: str | None, *, lists: bool = True) -> Any:
    """Allows what lies in the account, or in that container of it: large objects and links lead
    no further than the key that signed. lists: also to list containers, as a large object does."""

    def decide(call: Call, acl: str) -> None:
        if (
            call.account != account
            or (container is not None and call.container != container)
            or not (lists or call.object)
        ):
            raise _refusal()

    return decide


def _refusal() -> ApiError:
    return Unauthorized("401 Unauthorized: Temp URL invalid")


def _ends(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) < 15:
        return int(text)
    for form in _FORMATS:
        try:
            return calendar.timegm(time.strptime(text, form))
        except ValueError:
            continue
    return None


def _check_address(call: Call) -> None:
    allowed = call.query.get("temp_url_ip_range")
    if allowed is None:
        return
    try:
        inside = ipaddress.ip_address(call.ctx.remote_address) in ipaddress.ip_network(allowed)
    except ValueError:
        raise _refusal() from None
    if not inside:
        raise _refusal()


def keys(call: Call) -> Iterator[tuple[str, str | None]]:
    """The keys that may sign for the call's path, each with its scope: a container, or None."""
    metadata = call.account_metadata()
    for suffix in ("", "-2"):
        if key := metadata.get(f"x-account-meta-temp-url-key{suffix}"):
            yield key, None
    info = call.container_info() if call.container else None
    for suffix in ("", "-2"):
        if info and (key := info.metadata.get(f"x-container-meta-temp-url-key{suffix}")):
            yield key, call.container


def signed_paths(call: Call, name: str) -> tuple[str, ...]:
    """The path as it may have been signed: with the service's mount before it, or without."""
    path = f"/v1/{call.account}/{call.container}/{name}"
    return (path, call.request.base + path) if call.request.base else (path,)


def digests(call: Call) -> tuple[str, ...]:
    """The digests that signatures may be made with."""
    return call.ctx.cloud.settings.object_store.signature_digests


def parse_signature(call: Call, text: str) -> tuple[str, bytes] | None:
    """Name of the digest and value of a signature; None for one we do not take."""
    name, colon, encoded = text.partition(":")
    if colon:
        if name not in digests(call):
            return None
        padded = encoded.replace("-", "+").replace("_", "/")
        try:
            return name, base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
        except (ValueError, binascii.Error):
            return None
    digest = _BY_LENGTH.get(len(text))
    if digest is None or digest not in digests(call):
        return None
    try:
        return digest, bytes.fromhex(text)
    except ValueError:
        return None


def _scopes(call: Call, ends: str) -> list[str | None]:
    """The scopes of the keys that signed; empty for a bad signature."""
    parsed = parse_signature(call, call.query.get("temp_url_sig", ""))
    if parsed is None:
        return []
    digest, signature = parsed
    prefix = call.query.get("temp_url_prefix")
    if prefix is not None and not call.object.startswith(prefix):
        return []
    paths = signed_paths(call, call.object if prefix is None else prefix)
    methods = ("HEAD", "GET", "PUT", "POST") if call.method == "HEAD" else (call.method,)
    head = f"ip={call.query['temp_url_ip_range']}\n" if "temp_url_ip_range" in call.query else ""
    texts = [
        f"{head}{method}\n{ends}\n{'' if prefix is None else 'prefix:'}{path}"
        for method in methods
        for path in paths
    ]
    return [scope for key, scope in keys(call) if is_signed(key, digest, texts, signature)]


def is_signed(key: str, digest: str, texts: list[str], signature: bytes) -> bool:
    """Did the key sign one of the texts?"""
    return any(
        hmac.compare_digest(
            hmac.new(key.encode(), text.encode(), getattr(hashlib, digest)).digest(), signature
        )
        for text in texts
    )


def _dressed(call: Call, response: Response, ends: int) -> Response:
    for name in list(response.headers):
        lower = name.lower()
        if lower.startswith("x-object-meta-") and not lower.startswith("x-object-meta-public-"):
            del response.headers[name]
    if call.method in ("GET", "HEAD") and response.status < 300:
        response.headers["Expires"] = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(ends))
        given = call.query.get("filename", "")
        name = given or call.object.rstrip("/").rsplit("/", 1)[-1]
        if "inline" in call.query:
            disposition = f"inline; {_file_name(given)}" if given else "inline"
        else:
            disposition = f"attachment; {_file_name(name)}"
        response.headers["Content-Disposition"] = disposition
    return response


def _file_name(name: str) -> str:
    """Both spellings of RFC 6266, with nothing in them that could end the header."""
    plain = quote(name, safe=" /")
    return f"filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"
