"""S3's API over the same objects: a bucket is a container of the project's account.

Read gateway.py (a request's way), then asked.py (how operations ask the store).
"""

from nubelet.object_store.s3 import aging, garbage
from nubelet.object_store.s3.gateway import MOUNT, serve
from nubelet.object_store.s3.hosts import find as find_host
from nubelet.object_store.s3.names import is_bucket
from nubelet.object_store.s3.signing import is_signed

RECONCILERS = (*garbage.RECONCILERS, *aging.RECONCILERS)

__all__ = ["MOUNT", "RECONCILERS", "find_host", "is_bucket", "is_signed", "serve"]
