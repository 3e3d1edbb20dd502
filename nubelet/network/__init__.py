"""Networks: what the Networking API v2.0 offers, and what other services may call.

Read README.md, then `networks.py`, `ports.py`, and for how it becomes real `presence.py`.
In OpenStack: Neutron.
"""

from nubelet.kernel.cloud import Cloud
from nubelet.kernel.http import dialects
from nubelet.kernel.service import Service
from nubelet.network.api import ROUTES
from nubelet.network.api.inside import (
    create_resource,
    delete_resource,
    list_resources,
    show_resource,
    update_resource,
)
from nubelet.network.attachments import (
    AddressView,
    NetworkView,
    PortView,
    SubnetView,
    available_networks,
    bind_port,
    create_port,
    delete_port,
    find_network,
    find_port,
    nic_spec,
    port_by_address,
    ports_by_id,
    ports_of,
    security_group_ids,
    unbind_port,
    update_port,
)
from nubelet.network.conditions import describe
from nubelet.network.doctor import check
from nubelet.network.host_ports import ensure as ensure_port_on_host
from nubelet.network.host_ports import remove as remove_port_from_host
from nubelet.network.hosts import heartbeat
from nubelet.network.hosts import seen as host_seen
from nubelet.network.policy import RULES
from nubelet.network.quotas import QUOTAS
from nubelet.network.realization import Realizer
from nubelet.network.reconcilers import RECONCILERS
from nubelet.network.security_group_rules import seed_templates

__all__ = [
    "SERVICE",
    "AddressView",
    "NetworkView",
    "PortView",
    "SubnetView",
    "available_networks",
    "bind_port",
    "create_port",
    "create_resource",
    "delete_port",
    "delete_resource",
    "ensure_port_on_host",
    "find_network",
    "find_port",
    "heartbeat",
    "host_seen",
    "list_resources",
    "nic_spec",
    "port_by_address",
    "ports_by_id",
    "ports_of",
    "remove_port_from_host",
    "security_group_ids",
    "show_resource",
    "unbind_port",
    "update_port",
    "update_resource",
]


def _start(cloud: Cloud) -> None:
    """Seed what every cloud has, and make ready to realize."""
    with cloud.database.write() as tx:
        tx.lock("network", "seed")
        seed_templates(tx)
    cloud.provide(Realizer, Realizer(cloud))


SERVICE = Service(
    name="network",
    type="network",
    title="Networking API v2.0",
    mount="/network",
    endpoint="/network",
    dialect=dialects.NETWORK,
    routes=ROUTES,
    rules=RULES,
    quotas=QUOTAS,
    reconcilers=RECONCILERS,
    start=_start,
    check=check,
    describe=describe,
)
