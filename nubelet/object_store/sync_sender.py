"""Send containers to where they shall be followed (features/container_sync.py): a reconciler.

What changed since the last run is sent in order, with its own timestamp, so that sending it twice
does no harm. What cannot be sent is tried again in the next run.

In OpenStack: swift/container/sync.py.
"""

from __future__ import annotations

import http.client
import logging
import secrets
from collections.abc import Iterator
from typing import Protocol, runtime_checkable
from urllib.parse import quote, unquote, urlsplit

from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import ANONYMOUS, Context
from nubelet.kernel.errors import ApiError, BadRequest
from nubelet.kernel.http.messages import Request
from nubelet.kernel.ids import new_request_id
from nubelet.object_store import pipeline
from nubelet.object_store.call import Call, header, pieces
from nubelet.object_store.features import sync_registry
from nubelet.object_store.features.container_sync import check_target, realms, signature
from nubelet.object_store.storage import ContainerInfo, Missing, Storage
from nubelet.object_store.storage.containers import Change
from nubelet.object_store.storage.metadata import KEPT_HEADERS, USER_PREFIX

log = logging.getLogger(__name__)
_PAGE = 1000
_TIMEOUT_SECONDS = 20.0


@runtime_checkable
class TellsChanges(Protocol):
    """Storage that knows what changed in a container since some change."""

    def changes(self, account: str, container: str, after: int, limit: int) -> list[Change]:
        """In order."""
        ...


def send_all(cloud: Cloud) -> None:
    """Send what is new in every container that is to be sent."""
    store = cloud.get(Storage)  # type: ignore[type-abstract]
    options = cloud.settings.object_store
    if not (options.sync_realms or options.sync_hosts) or not isinstance(store, TellsChanges):
        return
    for account, container in sync_registry.noted(store):
        try:
            info = store.container(account, container)
        except Missing:
            sync_registry.forget(store, account, container)
            continue
        if not info.metadata.get("x-container-sync-to"):
            sync_registry.forget(store, account, container)
        elif info.metadata.get("x-container-sync-key"):
            try:
                _send(cloud, store, info)
            except (OSError, http.client.HTTPException, ApiError) as error:
                log.warning("%s/%s cannot be sent yet: %s", account, container, error)


def _send(cloud: Cloud, store: TellsChanges, info: ContainerInfo) -> None:
    try:
        realm, url = check_target(cloud, info.metadata["x-container-sync-to"])
    except BadRequest as error:
        log.warning("%s/%s: %s", info.account, info.container, error.message)
        return
    kept = cloud.get(Storage)  # type: ignore[type-abstract]
    points = sync_registry.read_points(kept, info.account, info.container)
    realm_key = realms(cloud)[realm]["key"] if realm else ""
    remote = _Remote(url, realm, realm_key, info.metadata["x-container-sync-key"])
    try:
        while changes := store.changes(info.account, info.container, points.get(url, -1), _PAGE):
            for change in changes:
                if not change.name.startswith("\0"):
                    _send_one(cloud, remote, info, change)
            points[url] = changes[-1].id
            sync_registry.write_points(kept, info.account, info.container, points)
    finally:
        remote.close()


def _send_one(cloud: Cloud, remote: _Remote, info: ContainerInfo, change: Change) -> None:
    if change.deleted:
        remote.send("DELETE", change.name, change.timestamp, {}, None)
        return
    call = _own_call(cloud, info, change.name)
    try:
        found = pipeline.serve_below_access(call)
    except ApiError as error:
        if error.status == 404:
            return  # gone meanwhile: a later change says so
        if error.status == 400:
            return  # encrypted with a key of its writer's, who alone can send it
        raise
    headers = {
        name: value
        for name, value in found.headers.items()
        if name.lower().startswith(USER_PREFIX) or name.lower() in KEPT_HEADERS
    }
    headers["Content-Type"] = found.content_type or "application/octet-stream"
    headers["Content-Length"] = header(found, "Content-Length") or "0"
    stamp = header(found, "X-Timestamp") or change.timestamp
    remote.send("PUT", change.name, stamp, headers, pieces(found))


def _own_call(cloud: Cloud, info: ContainerInfo, name: str) -> Call:
    context = Context(cloud, "object_store", ANONYMOUS, request_id=new_request_id())
    request = Request("GET", "", "", {}, {}, {})
    return Call(
        context,
        cloud.get(Storage),  # type: ignore[type-abstract]
        request,
        "GET",
        info.account,
        info.container,
        name,
        query={"symlink": "get", "multipart-manifest": "get"},
        reserved=True,
    )


class _Remote:
    """A container of another store (or of this one)."""

    def __init__(self, url: str, realm: str, realm_key: str, user_key: str) -> None:
        parts = urlsplit(url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
        self._path = parts.path
        self._signed = "/v1/" + "/".join(unquote(parts.path).rsplit("/", 2)[1:])
        self._realm, self._realm_key, self._user_key = realm, realm_key, user_key

    def send(
        self,
        method: str,
        name: str,
        timestamp: str,
        headers: dict[str, str],
        body: Iterator[bytes] | None,
    ) -> None:
        """Raises ApiError unless it was taken, or something newer was there."""
        own = {"X-Timestamp": timestamp}
        if self._realm:
            nonce = secrets.token_hex(16)
            signed = signature(
                method, f"{self._signed}/{name}", timestamp, nonce, self._realm_key, self._user_key
            )
            own["X-Container-Sync-Auth"] = f"{self._realm} {nonce} {signed}"
        else:
            own["X-Container-Sync-Key"] = self._user_key
        encoded = {key: value.encode() for key, value in (headers | own).items()}
        self._connection.request(method, f"{self._path}/{quote(name)}", body, encoded)
        response = self._connection.getresponse()
        response.read()
        if response.status >= 300 and not (
            method == "DELETE" and response.status in (404, 409, 412)
        ):
            raise ApiError(f"{method} of {name} was answered {response.status}", status=503)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
