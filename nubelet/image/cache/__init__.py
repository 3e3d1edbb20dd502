"""The image cache: copies, on this machine's disk, of images whose data lies in remote stores.

An administrator queues images; images that are downloaded from a remote store queue themselves. A
loop on each machine fetches what is queued, keeps within `image.cache_bytes` by letting go of what
was not read for the longest time, and puts right what does not fit. Downloads are served from it.
Why it is as it is: docs/decisions/0021-image-cache.md.

In OpenStack: glance/image_cache. Read next: `entries.py`, `filling.py`.
"""

from __future__ import annotations

from nubelet.image.cache.api import ROUTES
from nubelet.image.cache.filling import reconciler
from nubelet.image.cache.serving import look_up, want

__all__ = ["ROUTES", "look_up", "reconciler", "want"]
