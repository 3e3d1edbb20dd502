"""Metadata definitions: which properties and tags resources may have, and what they mean.

Clients and the dashboard offer them for images, volumes, flavors and servers; nothing is checked
against them. In OpenStack: glance's metadefs. Read model.py, then `namespaces.py`.
"""

from __future__ import annotations

from nubelet.image.metadefs.api import (
    documents,
    namespaces,
    objects,
    properties,
    resource_types,
    tags,
)
from nubelet.image.metadefs.policy import RULES

ROUTES = (
    *documents.ROUTES,
    *namespaces.ROUTES,
    *objects.ROUTES,
    *properties.ROUTES,
    *tags.ROUTES,
    *resource_types.ROUTES,
)

__all__ = ["ROUTES", "RULES"]
