"""Look at every replica of everything below an account or a container."""

from __future__ import annotations

from collections.abc import Iterator

from nubelet.object_store.cluster.storage import ClusterStorage
from nubelet.object_store.storage import ContainerEntry, Listing, Missing, ObjectEntry
from nubelet.object_store.tools.replicas import Looking, Report

_PAGE = 1000


def audit(
    storage: ClusterStorage, looking: Looking, account: str, container: str = "", obj: str = ""
) -> Iterator[Report]:
    """A report of each account, container and object, from the top down; raises Missing."""
    if obj:
        policy = storage.container(account, container).policy
        yield looking.object(account, container, obj, policy)
        return
    if container:
        yield from _container(storage, looking, account, container)
        return
    yield looking.account(account)
    marker = ""
    while page := storage.list_containers(
        account, Listing(marker=marker, limit=_PAGE, reserved=True)
    ):
        for entry in page:
            if isinstance(entry, ContainerEntry):
                yield from _container(storage, looking, account, entry.name)
        marker = page[-1].name


def _container(
    storage: ClusterStorage, looking: Looking, account: str, container: str
) -> Iterator[Report]:
    yield looking.container(account, container)
    try:
        policy = storage.container(account, container).policy
    except Missing:
        return
    marker = ""
    while page := storage.list_objects(
        account, container, Listing(marker=marker, limit=_PAGE, reserved=True)
    ):
        for entry in page:
            if not isinstance(entry, ObjectEntry):
                continue
            report = looking.object(account, container, entry.name, policy)
            if not any(".data" in each.version for each in report.replicas):
                report.replicas[0].problem = "listed, but no replica was found"
            yield report
        marker = page[-1].name
