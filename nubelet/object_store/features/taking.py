"""A name emptied only if it holds what was seen there: of several who expect the same one gets it.

The store writes under a condition, it does not delete so. What was seen is replaced, under that
condition, by an object without content that has expired long ago. To everybody that is nothing;
whoever wrote it deletes it next, and if they die before, the expirer does.
"""

from __future__ import annotations

import time

from nubelet.object_store.storage import WITHIN_RESERVE, ObjectPath, Storage, timestamps
from nubelet.object_store.storage.timestamps import Timestamp

# So long ago that it has expired by any proxy's clock.
_EXPIRED_SECONDS = 86_400


def take(store: Storage, path: ObjectPath, policy: int, seen: Timestamp) -> Timestamp:
    """Empty a name that holds what was written then; when the deletion of the rest is to be dated.
    Raises PreconditionFailed where it holds something else, Conflict where others are about to
    write it, in a cluster."""
    now = max(timestamps.now(), timestamps.after(seen))
    metadata = {
        "content-type": "application/octet-stream",
        "content-length": "0",
        "x-delete-at": str(int(time.time()) - _EXPIRED_SECONDS),
        WITHIN_RESERVE: "true",  # of a full disk, too, it is deleted
    }
    store.put_object(path, policy, now, metadata, [], expected=seen)
    return timestamps.after(now)
