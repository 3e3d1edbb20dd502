"""The catalog from a file, in the form of Keystone's templates.

    catalog.RegionOne.compute.name = nova
    catalog.RegionOne.compute.publicURL = https://cloud.example.org/compute/v2.1
    catalog.RegionOne.compute.internalURL = http://10.0.0.1:8787/compute/v2.1

What the file says is written into the tables, under ids that follow from it, whenever it changed:
so a catalog from a file is filtered, shown and put into tokens exactly as another. By the API it
cannot be changed then.

In OpenStack: keystone/catalog/backends/templated.py.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from nubelet.identity import changes
from nubelet.identity.endpoint_filter.associations import forget_endpoints
from nubelet.identity.model import endpoint, region, service
from nubelet.identity.policies import keeping
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Forbidden

_LINE = re.compile(r"^catalog\.([^.=\s]+)\.([^.=\s]+)\.(\w+)\s*=\s*(.*)$")
_INTERFACES = {"publicURL": "public", "internalURL": "internal", "adminURL": "admin"}


class CatalogError(Exception):
    """The file cannot be read, or a line of it cannot be understood."""


class Entry(NamedTuple):
    """An endpoint as the file has it."""

    region: str
    type: str
    interface: str
    url: str


class Content(NamedTuple):
    """What the file says: its endpoints, and the names of services by type."""

    entries: tuple[Entry, ...]
    names: Mapping[str, str]


def read(path: Path) -> Content:
    """The content of a file; raises CatalogError naming the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"The catalog {path} cannot be read: {error}") from None
    entries, names = [], {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        found = _LINE.match(text)
        if found is None:
            raise CatalogError(
                f"{path}, line {number}: expected catalog.REGION.TYPE.KEY = VALUE, not {text!r}"
            )
        place, kind, key, value = found.groups()
        if key in _INTERFACES:
            entries.append(Entry(place, kind, _INTERFACES[key], value.strip()))
        elif key == "name":
            names[kind] = value.strip()
        else:
            raise CatalogError(
                f"{path}, line {number}: {key} is none of name, {', '.join(_INTERFACES)}"
            )
    return Content(tuple(entries), names)


def refuse(cloud: Cloud) -> None:
    """Raise Forbidden where the catalog is read from a file."""
    path = cloud.settings.identity.catalog_file
    if path != Path():
        raise Forbidden(f"The catalog is read from {path}: change it there.")


def write(tx: Tx, content: Content) -> bool:
    """Bring the tables to what the file says; says whether anything changed."""
    tx.lock("identity", "catalog file")
    changed = _write_regions(tx, {entry.region for entry in content.entries})
    kinds = list(dict.fromkeys(entry.type for entry in content.entries))
    changed |= _write_services(tx, kinds, content.names)
    changed |= _write_endpoints(tx, content.entries)
    if changed:
        changes.record(None, tx, "catalog.updated", "catalog")
    return changed


def refresh(cloud: Cloud) -> None:
    """Read the file again, if there is one. Raises CatalogError: what was read before stays."""
    path = cloud.settings.identity.catalog_file
    if path != Path():
        content = read(path)
        cloud.database.transact(lambda tx: write(tx, content))


def _id(*parts: str) -> str:
    return hashlib.sha256("\0".join(("catalog file", *parts)).encode()).hexdigest()[:32]


def _write_regions(tx: Tx, wanted: Iterable[str]) -> bool:
    known = {row.id for row in tx.all(sa.select(region.c.id))}
    missing = sorted(set(wanted) - known)
    for identifier in missing:
        tx.insert(
            region,
            id=identifier,
            description="",
            parent_region_id=None,
            extra={},
            created_at=clock.now(),
        )
    return bool(missing)


def _write_services(tx: Tx, kinds: Iterable[str], names: Mapping[str, str]) -> bool:
    """Services that the file no longer has are disabled: limits may be registered for them."""
    known = {row.id: row for row in tx.all(sa.select(service))}
    changed, wanted = False, set()
    for kind in kinds:
        identifier, name = _id(kind), names.get(kind, kind)
        wanted.add(identifier)
        row = known.get(identifier)
        if row is None:
            tx.insert(
                service,
                id=identifier,
                type=kind,
                name=name,
                enabled=True,
                extra={},
                created_at=clock.now(),
            )
            changed = True
        elif row.name != name or not row.enabled:
            tx.update(service, service.c.id == identifier, name=name, enabled=True)
            changed = True
    gone = [row.id for row in known.values() if row.enabled and row.id not in wanted]
    if gone:
        tx.update(service, service.c.id.in_(gone), enabled=False)
    return changed or bool(gone)


def _write_endpoints(tx: Tx, entries: Iterable[Entry]) -> bool:
    known = {row.id: row for row in tx.all(sa.select(endpoint))}
    changed, wanted = False, set()
    for entry in entries:
        identifier = _id(entry.type, entry.region, entry.interface)
        wanted.add(identifier)
        row = known.get(identifier)
        if row is None:
            tx.insert(
                endpoint,
                id=identifier,
                service_id=_id(entry.type),
                region_id=entry.region,
                interface=entry.interface,
                url=entry.url,
                enabled=True,
                extra={},
                created_at=clock.now(),
            )
            changed = True
        elif row.url != entry.url:
            tx.update(endpoint, endpoint.c.id == identifier, url=entry.url)
            changed = True
    gone = sorted(set(known) - wanted)
    for identifier in gone:
        forget_endpoints(tx, endpoint.c.id == identifier)
        keeping.forget(tx, endpoint_id=identifier)
        tx.delete(endpoint, endpoint.c.id == identifier)
    return changed or bool(gone)
