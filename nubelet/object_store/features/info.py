"""What the store can do: `GET /info`, and that it lives: `GET /healthcheck`.

In OpenStack: swift/proxy/controllers/info.py, healthcheck.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from nubelet import __version__
from nubelet.kernel.errors import Forbidden, MethodNotAllowed, Unauthorized
from nubelet.kernel.http.messages import Response
from nubelet.object_store import limits
from nubelet.object_store.call import Call, Proceed
from nubelet.object_store.capabilities import capabilities
from nubelet.object_store.features import tempurl

# The release of Swift whose API this is: clients decide by it what they may use.
SWIFT_VERSION = "2.36.0"


def info(call: Call, proceed: Proceed) -> Response:
    """Answer /info and /healthcheck."""
    path = call.request.raw_path
    if path == b"/healthcheck":
        return Response(200, b"OK", {}, "text/plain")
    if path.rstrip(b"/") != b"/info":
        return proceed(call)
    if not call.is_read and call.method != "OPTIONS":
        raise MethodNotAllowed("Only GET and HEAD.", headers={"Allow": "GET, HEAD, OPTIONS"})
    shown = {"swift": _swift(call), **capabilities(call)}
    if _is_signed(call):
        shown["admin"] = {"disallowed_sections": [], "services": sorted(call.ctx.cloud.services)}
    return Response(200, shown, {}, "application/json; charset=UTF-8")


def _is_signed(call: Call) -> bool:
    """Did the operator ask, by `swiftinfo_sig` and `swiftinfo_expires`? Raises Forbidden (there is
    no key for that), Unauthorized (a wrong signature, or its time is over)."""
    signature, expires = call.query.get("swiftinfo_sig"), call.query.get("swiftinfo_expires")
    if signature is None and expires is None:
        return False
    key = call.ctx.cloud.settings.object_store.info_key
    if not key:
        raise Forbidden("object_store.info_key is not set.")
    parsed = tempurl.parse_signature(call, signature or "")
    text = expires or ""
    if (
        parsed is None
        or not (text.isascii() and text.isdigit() and len(text) < 15)
        or int(text) < time.time()
        or not tempurl.is_signed(
            key,
            parsed[0],
            [f"{method}\n{text}\n/info" for method in {call.method, "GET"}],
            parsed[1],
        )
    ):
        raise Unauthorized("The signature of /info is not valid.")
    return True


def _swift(call: Call) -> Mapping[str, object]:
    policies = []
    for policy in call.store.policies:
        shown: dict[str, object] = {
            "name": policy.name,
            "aliases": ", ".join((policy.name, *policy.aliases)),
        }
        if policy.index == call.store.policies.default.index:
            shown["default"] = True
        policies.append(shown)
    return {
        **limits.AS_INFO,
        "version": SWIFT_VERSION,
        "nubelet_version": __version__,
        "allow_account_management": False,
        "allow_open_expired": call.ctx.cloud.settings.object_store.open_expired,
        "account_autocreate": True,
        "strict_cors_mode": True,
        "valid_api_versions": ["v1", "v1.0"],
        "policies": policies,
    }
