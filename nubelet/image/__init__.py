"""Images: what virtual machines are made from.

In OpenStack: glance. Read README.md, then `images.py` and `uploads.py`.
"""

from __future__ import annotations

from nubelet.image import metadefs, property_protection
from nubelet.image.api.routes import ROUTES
from nubelet.image.conditions import describe
from nubelet.image.conversion import ImageConverter
from nubelet.image.fetching import image_spec
from nubelet.image.images import Image, find
from nubelet.image.inside import delete_image, list_images, set_properties
from nubelet.image.operations import (
    DELETE_COPY,
    DELETE_IMAGE_DATA,
    IMPORT_IMAGE,
    IMPORT_LOCATION,
)
from nubelet.image.policy import RULES
from nubelet.image.property_protection import readable as readable_properties
from nubelet.image.reconcilers import RECONCILERS, check, machine_reconcilers
from nubelet.image.snapshots import create as create_snapshot
from nubelet.image.snapshots import discard as discard_snapshot
from nubelet.image.snapshots import fill as fill_snapshot
from nubelet.image.snapshots import require as require_image
from nubelet.image.stores import ImageStore, Stores
from nubelet.image.stores.file import FileStore
from nubelet.image.stores.making import make_stores
from nubelet.kernel.http.dialects import IMAGE
from nubelet.kernel.service import Service

SERVICE = Service(
    name="image",
    type="image",
    title="Image service",
    mount="/image",
    endpoint="/image",
    dialect=IMAGE,
    routes=(*ROUTES, *metadefs.ROUTES),
    rules=(*RULES, *metadefs.RULES),
    operations=(DELETE_COPY, DELETE_IMAGE_DATA, IMPORT_IMAGE, IMPORT_LOCATION),
    reconcilers=RECONCILERS,
    machine_reconcilers=machine_reconcilers,
    start=property_protection.start,
    check=check,
    describe=describe,
)

__all__ = [
    "SERVICE",
    "FileStore",
    "Image",
    "ImageConverter",
    "ImageStore",
    "Stores",
    "create_snapshot",
    "delete_image",
    "discard_snapshot",
    "fill_snapshot",
    "find",
    "image_spec",
    "list_images",
    "make_stores",
    "readable_properties",
    "require_image",
    "set_properties",
]
