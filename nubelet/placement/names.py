"""Resource classes and traits: standard ones, which always exist, and custom ones, which are rows.

Standard names come from the libraries that all OpenStack services share, loaded on first use.
In OpenStack: os-resource-classes, os-traits, placement/attribute_cache.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Final

import sqlalchemy as sa

from nubelet.kernel.database import Tx
from nubelet.placement.model import custom_resource_class, custom_trait

SHARING: Final = "MISC_SHARES_VIA_AGGREGATE"
CUSTOM: Final = re.compile(r"CUSTOM_[A-Z0-9_]{1,248}")


@cache
def standard_resource_classes() -> tuple[str, ...]:
    """The names of the standard resource classes, in the order all services know them."""
    import os_resource_classes

    return tuple(os_resource_classes.STANDARDS)


@cache
def standard_traits() -> frozenset[str]:
    """The names of the standard traits."""
    import os_traits

    return frozenset(os_traits.get_traits())


def unknown_resource_classes(tx: Tx, names: Iterable[str]) -> list[str]:
    """Those of the names that are no resource class."""
    return _unknown(tx, custom_resource_class, set(names) - set(standard_resource_classes()))


def unknown_traits(tx: Tx, names: Iterable[str]) -> list[str]:
    """Those of the names that are no trait."""
    return _unknown(tx, custom_trait, set(names) - standard_traits())


def _unknown(tx: Tx, table: sa.Table, names: set[str]) -> list[str]:
    if not names:
        return []
    known = {row[0] for row in tx.all(sa.select(table.c.name).where(table.c.name.in_(names)))}
    return sorted(names - known)
