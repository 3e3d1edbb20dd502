"""The HTTP face of placement: one file per noun, `schemas.py` for bodies, `query.py` for what
query parameters say."""

from nubelet.placement.api import (
    aggregates,
    allocation_candidates,
    allocations,
    inventories,
    resource_classes,
    resource_providers,
    traits,
    usages,
    versions,
)

ROUTES = (
    *versions.ROUTES,
    *resource_providers.ROUTES,
    *inventories.ROUTES,
    *aggregates.ROUTES,
    *traits.ROUTES,
    *resource_classes.ROUTES,
    *allocations.ROUTES,
    *usages.ROUTES,
    *allocation_candidates.ROUTES,
)
