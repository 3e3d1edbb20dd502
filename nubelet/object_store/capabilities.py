"""What `/info` says beside the limits: the features, under the names that clients know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nubelet.object_store.call import Call
from nubelet.object_store.features import (
    aliases,
    bulk,
    container_sync,
    history,
    rate_limits,
    slo,
    symlinks,
    tempurl,
)


def _realms(call: Call) -> Mapping[str, Any]:
    return {
        name.upper(): {
            "clusters": {
                key.removeprefix("cluster_").upper(): {}
                for key in realm
                if key.startswith("cluster_")
            }
        }
        for name, realm in container_sync.realms(call.ctx.cloud).items()
    }


def capabilities(call: Call) -> Mapping[str, Mapping[str, Any]]:
    """Feature -> what clients may want to know of it."""
    digests = list(tempurl.digests(call))
    options = call.ctx.cloud.settings.object_store
    return {
        **({"tempauth": {"account_acls": True}} if options.users else {}),
        **({"domain_remap": {}} if options.storage_domains else {}),
        **aliases.capability(call.ctx.cloud),
        **rate_limits.capability(call),
        "account_quotas": {},
        "bulk_delete": bulk.DELETE_CAPABILITY,
        "bulk_upload": bulk.UPLOAD_CAPABILITY,
        "container_quotas": {},
        "container_sync": {"realms": _realms(call)},
        "copy": {},
        "crossdomain": {},
        "dlo": {"max_segments": 10_000},
        "formpost": {"allowed_digests": digests},
        "keystoneauth": {},
        "object_versioning": {},
        "read_only": {},
        "slo": slo.CAPABILITY,
        "staticweb": {},
        "symlink": symlinks.CAPABILITY,
        "tempurl": {**tempurl.CAPABILITY, "allowed_digests": digests},
        "versioned_writes": history.CAPABILITY,
    }
