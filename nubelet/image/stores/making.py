"""The stores that the settings ask for. Each type is loaded only where it is used."""

from __future__ import annotations

from nubelet import settings as options
from nubelet.image.stores import STAGING, ImageStore, Stores
from nubelet.image.stores.file import FileStore

FILE = "file"  # the store that is always there


def make_stores(settings: options.Settings) -> Stores:
    """All stores; what a store of another machine needs is looked for when it is first used."""
    wanted = settings.image
    stores: dict[str, ImageStore] = {}
    if FILE not in wanted.stores:
        stores[FILE] = FileStore(wanted.directory)
    for name, store in wanted.stores.items():
        stores[name] = _make(name, store, settings)
    name = f"{STAGING}@{wanted.machine_url.rstrip('/')}" if wanted.machine_url else STAGING
    staging = FileStore(wanted.staging_directory, name=name)
    return Stores(stores, wanted.default_store, staging)


def _make(name: str, store: options.Store, settings: options.Settings) -> ImageStore:
    if isinstance(store, options.FileStore):
        return FileStore(
            store.directory, name=name, description=store.description, weight=store.weight
        )
    if isinstance(store, options.HttpStore):
        from nubelet.image.stores.http import HttpStore

        return HttpStore(
            name=name,
            description=store.description,
            weight=store.weight,
            allowed=settings.image.web_download_networks,
        )
    if isinstance(store, options.S3Store):
        from nubelet.image.stores.s3 import S3Store

        return S3Store(name, store)
    if isinstance(store, options.SwiftStore):
        from nubelet.image.stores.swift import SwiftStore

        return SwiftStore(name, store)
    from nubelet.image.stores.rbd import RbdStore

    return RbdStore(name, store)
