"""All routes of the Image API."""

from __future__ import annotations

from nubelet.image import cache
from nubelet.image.api import (
    data,
    documents,
    images,
    imports,
    locations,
    members,
    stores,
    tags,
    tasks,
    usage,
)

ROUTES = (
    *documents.ROUTES,
    *images.ROUTES,
    *data.ROUTES,
    *members.ROUTES,
    *tags.ROUTES,
    *imports.ROUTES,
    *locations.ROUTES,
    *stores.ROUTES,
    *tasks.ROUTES,
    *usage.ROUTES,
    *cache.ROUTES,
)
