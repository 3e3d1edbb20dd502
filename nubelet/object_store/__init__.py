"""Objects: files of any size under names, in containers, over HTTP.

In OpenStack: swift. Read README.md, then pipeline.py (what a request meets on its way) and
`storage/__init__.py` (what the API asks of storage).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from nubelet.kernel.policy import MONITOR
from nubelet.kernel.service import Service
from nubelet.object_store import s3
from nubelet.object_store.api.operations import OPERATIONS
from nubelet.object_store.features import aliases
from nubelet.object_store.features.authorization import RESELLER
from nubelet.object_store.features.domains import names_below
from nubelet.object_store.gateway import DIALECT, MOUNT, ROOT_PATHS, serve
from nubelet.object_store.reconcilers import RECONCILERS
from nubelet.object_store.storage import Policies, Policy, Storage

if TYPE_CHECKING:
    from nubelet.kernel.cloud import Cloud
    from nubelet.kernel.context import Context
    from nubelet.kernel.http.messages import Request, Response
    from nubelet.object_store.storage.keys import Keys
    from nubelet.settings import Settings


def make_storage(settings: Settings) -> Storage:
    """The storage of a cloud: the folder of `object_store.directory`, or a cluster's nodes."""
    plain = _plain_storage(settings)
    if settings.object_store.memcached:
        from nubelet.object_store.remembering import Memory, RememberingStorage

        memory = Memory(settings.object_store.memcached)
        plain = cast(Storage, RememberingStorage(plain, memory))
    if not settings.object_store.encryption:
        return plain
    from nubelet.object_store.storage.encryption import EncryptingStorage

    # It has the rest of the protocol from the storage that it is around.
    return cast(Storage, EncryptingStorage(plain, _keys(settings)))


def rotate_keys(settings: Settings) -> str:
    """Make a new secret that objects are encrypted with from now on; its number."""
    return _keys(settings).rotate()


def _keys(settings: Settings) -> Keys:
    from nubelet.object_store.storage.keys import Keys

    return Keys(settings.state_dir / "object-store-keys")


def _plain_storage(settings: Settings) -> Storage:
    options = settings.object_store
    if options.cluster:
        from nubelet.object_store.cluster.storage import ClusterStorage

        return ClusterStorage(Path(options.cluster))
    from nubelet.object_store.storage.local import LocalStorage

    policies = Policies(
        [Policy(index, name, index == 0) for index, name in enumerate(options.policies)]
    )
    return LocalStorage(options.directory, policies)


def _start(cloud: Cloud) -> None:
    """The role whose bearers own every account is there to be given; hosts can be looked up."""
    aliases.start(cloud)
    if "identity" not in cloud.services:
        return
    from nubelet import identity

    with cloud.database.write() as tx:
        identity.ensure_role(tx, RESELLER)


def _serve(ctx: Context, request: Request) -> Response:
    """S3's requests are those below its mount, with its signatures, at its hosts, and without a
    mount where the host is not Swift's."""
    is_s3 = _is_s3(ctx.cloud, request.headers, request.raw_query)
    is_bare = not request.base and not _is_host_of_swift(ctx.cloud, request.headers)
    if request.base == s3.MOUNT or is_s3 or is_bare:
        return s3.serve(ctx, request)
    return serve(ctx, request)


def _claims(cloud: Cloud, headers: Mapping[str, str], raw_query: bytes) -> bool:
    return _is_s3(cloud, headers, raw_query) or _is_host_of_swift(cloud, headers)


def _takes(headers: Mapping[str, str], first: str) -> bool:
    """Clients of S3 know a host and a port: what they do not sign (public keys, forms, what a
    browser asks before) is at the root as well. Who has a token looks for another service, and what
    everybody asks a host for is nobody's bucket."""
    if "x-auth-token" in headers or first in ("favicon.ico", "robots.txt"):
        return False
    return s3.is_bucket(first.rpartition(":")[2])


def _is_host_of_swift(cloud: Cloud, headers: Mapping[str, str]) -> bool:
    host = headers.get("host", "")
    return bool(cloud.settings.object_store.storage_domains) and (
        names_below(cloud, host) != "" or aliases.is_foreign(cloud, host)
    )


def _is_s3(cloud: Cloud, headers: Mapping[str, str], raw_query: bytes) -> bool:
    return s3.is_signed(headers, raw_query) or s3.find_host(cloud, headers) is not None


SERVICE = Service(
    name="object_store",
    type="object-store",
    title="Object storage service",
    mount=MOUNT,
    endpoint=f"{MOUNT}/v1/AUTH_%(project_id)s",
    dialect=DIALECT,
    routes=(),
    rules=(MONITOR,),  # all else is the access lists' to say
    gateway=_serve,
    operations_of_gateway=OPERATIONS,
    claims=_claims,
    takes=_takes,
    aliases=(s3.MOUNT, *ROOT_PATHS),
    reconcilers=(*RECONCILERS, *s3.RECONCILERS),
    start=_start,
)

__all__ = ["SERVICE", "Policies", "Policy", "Storage", "make_storage", "rotate_keys"]
