"""Compute: servers, the hosts that run them, and everything servers are made from.

Read README.md, then `states.py`, `api/servers.py`, `server_creation.py`,
`operations/create_server.py`.
In OpenStack: Nova.
"""

from __future__ import annotations

from nubelet.compute.api.routes import ROUTES
from nubelet.compute.conditions import describe
from nubelet.compute.doctor import check
from nubelet.compute.guestdata import metadata
from nubelet.compute.hosts import heartbeat
from nubelet.compute.hosts import summaries as host_summaries
from nubelet.compute.operations import OPERATIONS
from nubelet.compute.policy import RULES
from nubelet.compute.quotas import RESOURCES
from nubelet.compute.reconcilers import RECONCILERS, guest_changed
from nubelet.compute.versions import DIALECT
from nubelet.kernel.service import Service

SERVICE = Service(
    name="compute",
    type="compute",
    title="Compute API",
    mount="/compute",
    endpoint="/compute/v2.1",
    dialect=DIALECT,
    routes=ROUTES,
    rules=RULES,
    quotas=RESOURCES,
    operations=OPERATIONS,
    reconcilers=RECONCILERS,
    check=check,
    describe=describe,
)

__all__ = ["SERVICE", "guest_changed", "heartbeat", "host_summaries", "metadata"]
