"""Containers that follow one another, also across stores: what is written here is sent there.

    X-Container-Sync-To: //realm/cluster/account/container
    X-Container-Sync-Key: what both containers know

Or, as it was done first, `X-Container-Sync-To: https://host/v1/account/container`, to a host of
`object_store.sync_hosts`: the key itself is sent then, and taken from those hosts only.

Stores that trust one another share a realm and its key (`object_store.sync_realms`). The sender
(sync_sender.py) signs each request with the key of the realm and that of the container; this
lets signed requests in, with the timestamp of the original: the newest wins on both sides.

In OpenStack: swift/common/middleware/container_sync.py.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from nubelet.kernel.cloud import Cloud
from nubelet.kernel.errors import BadRequest, Unauthorized
from nubelet.kernel.http.messages import Response
from nubelet.object_store.api import objects
from nubelet.object_store.call import Call, Proceed
from nubelet.object_store.features import sync_registry
from nubelet.object_store.storage import timestamps

_TO = "x-container-sync-to"
_SENT = ("PUT", "DELETE")


def container_sync(call: Call, proceed: Proceed) -> Response:
    """Let signed requests in; check where a container shall be sent to."""
    if call.container and not call.object and call.method in ("PUT", "POST"):
        asked = call.headers.get(_TO)
        if asked:
            check_target(call.ctx.cloud, asked)
        response = proceed(call)
        if asked and response.status < 300:
            sync_registry.note(call.store, call.account, call.container)
        return response
    if call.object and "x-container-sync-auth" in call.headers:
        _let_in(call)
    elif call.object and "x-container-sync-key" in call.headers and call.method in _SENT:
        _let_in_by_key(call)
    return proceed(call)


def realms(cloud: Cloud) -> Mapping[str, Mapping[str, str]]:
    """Name of a realm -> `key`, `key2`, and `cluster_<name>`: the URL of a store, up to /v1/."""
    return {name.lower(): each for name, each in cloud.settings.object_store.sync_realms.items()}


def check_target(cloud: Cloud, value: str) -> tuple[str, str]:
    """The realm (empty: none), and the URL of the container there; raises BadRequest."""
    if value.startswith(("http://", "https://")):
        return "", _check_url(cloud, value)
    parts = value.split("/", 5)
    if not value.startswith("//") or len(parts) != 6 or not all(parts[2:]):
        raise BadRequest("Invalid X-Container-Sync-To: use //realm/cluster/account/container")
    _, _, realm, cluster, account, container = parts
    found = realms(cloud).get(realm.lower())
    if found is None:
        raise BadRequest(f"Invalid X-Container-Sync-To: no realm {realm!r}")
    url = found.get(f"cluster_{cluster.lower()}")
    if url is None or "/" in container:
        raise BadRequest(f"Invalid X-Container-Sync-To: no cluster {cluster!r} in {realm!r}")
    return realm.lower(), f"{url.rstrip('/')}/{account}/{container}"


def _check_url(cloud: Cloud, value: str) -> str:
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
    except ValueError:
        raise BadRequest("Invalid X-Container-Sync-To: no URL") from None
    if host not in cloud.settings.object_store.sync_hosts:
        raise BadRequest(f"Invalid host {host!r} in X-Container-Sync-To")
    if parts.query or parts.fragment or parts.username is not None:
        raise BadRequest("Invalid X-Container-Sync-To: params, queries, and fragments not allowed")
    names = parts.path.split("/v1/", 1)[-1].split("/")
    if "/v1/" not in parts.path or len(names) != 2 or not all(names):
        raise BadRequest(
            "Invalid X-Container-Sync-To: the path must be of the form /v1/account/container"
        )
    return value


def _let_in_by_key(call: Call) -> None:
    """Who knows the container's key and is a known host may write as of another time; others
    are asked who they are."""
    info = call.container_info()
    own = info.metadata.get("x-container-sync-key", "") if info else ""
    sent = call.headers["x-container-sync-key"]
    if call.ctx.remote_address not in call.ctx.cloud.settings.object_store.sync_hosts:
        return
    if not own or not hmac.compare_digest(own.encode(), sent.encode()):
        return
    try:
        call.notes[objects.TIMESTAMP] = timestamps.normal(
            call.request.headers.get("x-timestamp", "")
        )
    except ValueError:
        return
    call.authority = None
    call.notes["decided"] = True


def signature(
    method: str, path: str, timestamp: str, nonce: str, realm_key: str, user_key: str
) -> str:
    """What a request is signed with. path: `/v1/account/container/object`, unescaped."""
    text = "\n".join((method, path, timestamp, nonce, user_key))
    return hmac.new(realm_key.encode(), text.encode(), hashlib.sha256).hexdigest()


def _let_in(call: Call) -> None:
    parts = call.headers["x-container-sync-auth"].split()
    stamp = call.request.headers.get("x-timestamp", "")
    refusal = Unauthorized("X-Container-Sync-Auth header not valid; see the store's log.")
    info = call.container_info()
    user_key = info.metadata.get("x-container-sync-key") if info else None
    if len(parts) != 3 or user_key is None or call.method not in _SENT:
        raise refusal
    realm, nonce, signed = parts
    found = realms(call.ctx.cloud).get(realm.lower(), {})
    try:
        timestamp = timestamps.normal(stamp)
    except ValueError:
        raise refusal from None
    keys = [found[name] for name in ("key", "key2") if found.get(name)]
    if not any(
        hmac.compare_digest(
            signature(call.method, "/v1" + str(call.path), stamp, nonce, key, user_key).encode(),
            signed.encode("utf-8", "replace"),
        )
        for key in keys
    ):
        raise refusal
    call.authority = None
    call.notes["decided"] = True
    call.notes[objects.TIMESTAMP] = timestamp
