"""What a container's public access block, which S3 sets, takes from its lists, whoever set those.

    BlockPublicAcls     no list is set that lets everybody in, or whoever has a token
    IgnorePublicAcls    such entries of lists that are there let nobody in

Reference: Amazon S3 User Guide, "Blocking public access to your Amazon S3 storage".
"""

from __future__ import annotations

import json

from nubelet.kernel.errors import Forbidden
from nubelet.object_store.call import ACCESS_LISTS, PARTS, Call
from nubelet.object_store.features import acls
from nubelet.object_store.storage import ContainerInfo, Metadata

NOTED = "x-container-sysmeta-s3-public"


def blocked(info: ContainerInfo) -> set[str]:
    """The switches of the container's block that are on."""
    return set(json.loads(info.metadata.get(NOTED, "") or "[]"))


def in_force(call: Call, acl: str) -> str:
    """Of an access list of the call's container what is not ignored."""
    if acls.is_public(acl) and "IgnorePublicAcls" in _blocked_at(call):
        return acls.without_public(acl)
    return acl


def check(call: Call, changes: Metadata) -> None:
    """Raise Forbidden where the container takes no lists that are among the changes."""
    for name in ACCESS_LISTS:
        if acls.is_public(changes.get(name, "")) and "BlockPublicAcls" in _blocked_at(call):
            raise Forbidden(
                f"The container's public access block (BlockPublicAcls) refuses {name.title()} "
                f"with entries that let everybody in."
            )


def _blocked_at(call: Call) -> set[str]:
    """The same for a call, also about the container of a bucket's parts."""
    info = call.container_info(container=call.container.removesuffix(PARTS))
    return blocked(info) if info else set()
