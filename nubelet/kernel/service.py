"""What a service folder offers the cloud: its manifest.

Every `nubelet/<service>/__init__.py` has one `SERVICE`; `wiring.py` lists them, and routing,
policy, quotas, operations, reconcilers, the catalog and the reference documents all follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nubelet.kernel.cloud import Cloud
    from nubelet.kernel.conditions import Condition
    from nubelet.kernel.context import Context
    from nubelet.kernel.database import Tx
    from nubelet.kernel.http.dialects import Dialect
    from nubelet.kernel.http.messages import Request, Response
    from nubelet.kernel.http.routes import Route
    from nubelet.kernel.operations.steps import Operation
    from nubelet.kernel.policy import Rule
    from nubelet.kernel.quotas import QuotaResource
    from nubelet.kernel.reconcile import Reconciler


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service of the cloud.

    name: the folder (`compute`); type: in the catalog (`compute`); mount: where it lives in
    the one HTTP port (`/compute`); endpoint: the catalog's URL path (`/compute/v2.1`).
    `start` runs once per process after wiring (seed rows, warm caches), never touching a host.
    `check` lists violated invariants in words, for `nubelet doctor`; `describe` says how the
    things with an id or name are (kernel/conditions.py), for `nubelet explain`.
    `machine_reconcilers` are loops about the disks of one machine: they run wherever an API or a
    worker does, each machine's under a name of its own.
    `gateway` answers every method and path under the mount by itself, streams included: for
    services whose paths are their users' data (names of objects), not a table. It is asked by
    anybody, with or without a token, and decides alone; `operations_of_gateway` describe it in the
    service's OpenAPI document.
    `claims`: does the gateway answer for a request by its headers (the host
    `bucket.storage.example.com`, a signature of its own kind) or its query? Then the whole path is
    its own, without the mount. `takes`: does it answer for a path that begins with no service's
    mount, by the request's headers and the first part of the path?
    """

    name: str
    type: str
    title: str
    mount: str
    endpoint: str
    dialect: Dialect
    routes: tuple[Route, ...]
    rules: tuple[Rule, ...]
    quotas: tuple[QuotaResource, ...] = ()
    operations: tuple[Operation, ...] = ()
    reconcilers: tuple[Reconciler, ...] = ()
    machine_reconcilers: Callable[[Cloud], tuple[Reconciler, ...]] | None = None
    start: Callable[[Cloud], None] | None = None
    check: Callable[[Cloud], list[str]] | None = None
    describe: Callable[[Cloud, Tx, str], list[Condition]] | None = None
    gateway: Callable[[Context, Request], Response] | None = None
    claims: Callable[[Cloud, Mapping[str, str], bytes], bool] | None = None
    takes: Callable[[Mapping[str, str], str], bool] | None = None
    aliases: tuple[str, ...] = field(default=())  # further mounts
    operations_of_gateway: tuple[Route, ...] = ()

    def own_reconcilers(self, cloud: Cloud) -> tuple[Reconciler, ...]:
        """The loops about the disks of this machine."""
        return self.machine_reconcilers(cloud) if self.machine_reconcilers else ()
