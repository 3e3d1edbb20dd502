"""Accounts and containers as host names below the store's own domains.

    http://container.account.storage.example.com/object
    http://account.storage.example.com/container/object

is `/v1/AUTH_account/container/object`. The domains are `object_store.storage_domains`; their DNS
has a wildcard that leads here. A host name has no `_`, so `auth-x` stands for `AUTH_x`; an account
without a prefix gets `AUTH_`. Other hosts may be aliases of these (aliases.py).

In OpenStack: swift/common/middleware/domain_remap.py.
"""

from __future__ import annotations

from urllib.parse import quote

from nubelet.kernel.cloud import Cloud
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import Call, Proceed
from nubelet.object_store.features import aliases, paths
from nubelet.object_store.features.authorization import PREFIX, SERVICE_PREFIX


def domains(call: Call, proceed: Proceed) -> Response:
    """Put what the host names before the path; raises BadRequest for more names than two, and
    for hosts that are no alias of ours."""
    cloud = call.ctx.cloud
    below = names_below(cloud, aliases.canonical(cloud, call.headers.get("host", "")))
    if not below or call.request.base:
        return proceed(call)
    labels = below.split(".")
    if len(labels) > 2 or not all(labels):
        raise BadRequest("Bad domain in host header")
    account, container = labels[-1], labels[0] if len(labels) == 2 else ""
    start = f"/v1/{quote(_account(account))}" + (f"/{quote(container)}" if container else "")
    asked = call.request.raw_path
    # The root of an account's host is the account; that of a container's the site's.
    call.notes[paths.RAW_PATH] = start.encode() + (asked if container or asked != b"/" else b"")
    return proceed(call)


def names_below(cloud: Cloud, host: str) -> str:
    """What stands before a storage domain in a host's name; empty: nothing, or another domain."""
    name = host.lower().rpartition(":")[0] if _has_port(host) else host.lower()
    for domain in cloud.settings.object_store.storage_domains:
        ending = "." + domain.lower().strip(".")
        if name.endswith(ending):
            return host[: len(name) - len(ending)]
    return ""


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and ":" in host


def _account(label: str) -> str:
    name = label.replace("-", "_", 1) if "_" not in label else label
    for prefix in (PREFIX, SERVICE_PREFIX):
        if name.lower().startswith(prefix.lower()):
            return prefix + name[len(prefix) :]
    return PREFIX + label
