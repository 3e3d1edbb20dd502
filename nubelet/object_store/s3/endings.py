"""How a multipart upload ends: it is completed or given up, and its own record says which.

    uploads/<key>/<id>    begun -> completing       whoever completes it writes this first
                          begun -> given up         whoever gives it up does

Both are writes of the record as it was seen (the store's conditional write), so of two at the same
moment one wins, on one folder and at any proxies of a cluster. Nobody completes what was given up:
its parts go at once. Of what is being completed they go later, unless the key names them then
(garbage.py): who completes it may have died, or be about to write the key.
"""

from __future__ import annotations

from nubelet.kernel.errors import Conflict
from nubelet.object_store.s3 import garbage, names, parts
from nubelet.object_store.s3.asked import Asked
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage import (
    WITHIN_RESERVE,
    Metadata,
    Missing,
    ObjectPath,
    Outdated,
    PreconditionFailed,
    timestamps,
)

_COMPLETING = "completing"
# The record may be changed this often while it is looked at.
_TRIES = 10


def complete(asked: Asked, upload_id: str) -> None:
    """From now on nobody gives the upload up for good. Raises NoSuchUpload where it is over,
    OperationAborted where others decide about it just now."""
    if _decide(asked, upload_id, _COMPLETING) != _COMPLETING:
        raise S3Error("NoSuchUpload", UploadId=upload_id)


def give_up(asked: Asked, upload_id: str) -> bool:
    """From now on nobody completes the upload; False where somebody does, or tried to. Raises
    NoSuchUpload where it is over, OperationAborted where others decide about it just now."""
    return _decide(asked, upload_id, garbage.GIVEN_UP) == garbage.GIVEN_UP


def _decide(asked: Asked, upload_id: str, wanted: str) -> str:
    """What becomes of the upload: what is `wanted`, or what was decided before."""
    path = ObjectPath(
        asked.account, names.parts_of(asked.bucket), parts.marker(asked.key, upload_id)
    )
    for _ in range(_TRIES):
        try:
            policy = asked.store.container(path.account, path.container, totals=False).policy
            found = asked.store.open_object(path, policy, newest=True)
        except Missing:
            raise S3Error("NoSuchUpload", UploadId=upload_id) from None
        found.close()
        if decided := found.metadata.get(garbage.ENDING):
            return decided
        since = found.metadata["x-backend-data-timestamp"]
        record = _kept(found.metadata) | {garbage.ENDING: wanted}
        try:
            asked.store.put_object(
                path,
                policy,
                timestamps.after(max(since, timestamps.now())),
                record,
                [],
                expected=since,
            )
        except (PreconditionFailed, Outdated):
            continue
        except Conflict:
            break
        return wanted
    raise S3Error("OperationAborted")


def _kept(found: Metadata) -> Metadata:
    """What the record says, to be written again. There must be room for it: of a full disk, too,
    uploads are given up."""
    computed = ("etag", "x-timestamp", "x-backend-data-timestamp")
    kept = {name: value for name, value in found.items() if name not in computed}
    return kept | {WITHIN_RESERVE: "true"}
