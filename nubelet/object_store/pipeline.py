"""The features of the object store, in the order in which they see a request.

The first sees it first and its answer last. Each is one file of features/; api/ is what they are
around. Order matters where one relies on another: who the caller is comes before what may be
done, a copy is turned into a PUT before quotas count it, a large object is put together before a
link leads to it.

In OpenStack: the `pipeline` of proxy-server.conf.
"""

from __future__ import annotations

from nubelet.kernel.http.messages import Response
from nubelet.object_store.api.dispatch import dispatch
from nubelet.object_store.call import Call, Feature, chain
from nubelet.object_store.features import (
    authorization,
    bulk,
    container_sync,
    copying,
    cors,
    crossdomain,
    customer_keys,
    dlo,
    domains,
    formpost,
    history,
    info,
    list_endpoints,
    object_lock,
    own_auth,
    paths,
    quotas,
    rate_limits,
    read_only,
    slo,
    staticweb,
    symlinks,
    tempurl,
    versions,
)

FEATURES: tuple[Feature, ...] = (
    info.info,
    crossdomain.crossdomain,
    own_auth.own_auth,
    list_endpoints.list_endpoints,
    domains.domains,
    paths.paths,
    cors.cors,
    rate_limits.rate_limits,
    read_only.read_only,
    container_sync.container_sync,
    tempurl.tempurl,
    authorization.authorization,
    formpost.formpost,
    bulk.bulk,
    staticweb.staticweb,
    copying.copying,
    object_lock.object_lock,
    quotas.container_quotas,
    quotas.account_quotas,
    slo.slo,
    dlo.dlo,
    customer_keys.customer_keys,
    history.history,
    versions.versions,
    symlinks.symlinks,
    object_lock.keep_parts,
)
_handler = chain(FEATURES, dispatch)


_below_access = chain(FEATURES[FEATURES.index(copying.copying) + 1 :], dispatch)


def serve_below_access(call: Call) -> Response:
    """Answer a call that the store makes for itself; raises ApiError."""
    return _below_access(call)


def serve(call: Call) -> Response:
    """Answer a call; raises ApiError."""
    return _handler(call)
