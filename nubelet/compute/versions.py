"""The microversions of the Compute API, and what changed in each that concerns what exists here.

Numbers missing from `HISTORY` changed only things that this cloud does not offer (yet), or only
documentation. In code a change is found by its number: `ctx.at_least(2, 47)`, `since=(2, 19)`.

In OpenStack: nova/api/openstack/compute/rest_api_version_history.rst.
"""

from __future__ import annotations

from typing import Final

from nubelet.kernel.http.dialects import COMPUTE, Dialect
from nubelet.kernel.http.microversions import Microversions

MINIMUM: Final = (2, 1)
MAXIMUM: Final = (2, 104)

MICROVERSIONS: Final = Microversions(
    minimum=MINIMUM,
    maximum=MAXIMUM,
    service_types=("compute",),
    legacy_header="X-OpenStack-Nova-API-Version",
)


def _dialect() -> Dialect:
    """Nova's manners; old clients put the project's id into every path."""
    prefixes = ("/v2.1", "/v2.1/{project_id}", "/v2", "/v2/{project_id}")
    plain = COMPUTE.with_versions(MICROVERSIONS)
    return Dialect(**{**plain.__dict__, "prefixes": prefixes})


DIALECT: Final = _dialect()

HISTORY: Final[dict[tuple[int, int], str]] = {
    (2, 2): "Keypairs have a type; creation answers 201, deletion 204",
    (2, 3): "Administrators see reservation id, launch index, hostname, user data... of servers; "
    "volumes_attached tell delete_on_termination",
    (2, 8): "(remote consoles)",
    (2, 9): "Servers show whether they are locked",
    (2, 10): "Administrators manage keypairs of other users",
    (2, 11): "Services can be forced down",
    (2, 13): "Server groups show project and user",
    (2, 14): "(evacuate)",
    (2, 15): "Server group policies soft-affinity and soft-anti-affinity",
    (2, 16): "Servers show host_status",
    (2, 18): "The project is no longer required in URLs",
    (2, 19): "Servers have a description",
    (2, 21): "Actions of deleted servers are shown",
    (2, 26): "Servers have tags",
    (2, 27): "The header OpenStack-API-Version",
    (2, 28): "Hypervisors show cpu_info as an object",
    (2, 32): "Networks and block devices of a creation may be tagged",
    (2, 33): "Lists of hypervisors have pages",
    (2, 35): "Lists of keypairs have pages",
    (2, 36): "Proxies of other services are gone; limits and quotas lose network resources",
    (2, 37): "networks is required; auto and none",
    (2, 38): "A filter by an unknown status is refused",
    (2, 39): "Limits lose maxImageMeta",
    (2, 40): "Usage has pages",
    (2, 41): "Aggregates show their UUID",
    (2, 42): "Tags of block devices and interfaces again",
    (2, 43): "os-hosts is gone",
    (2, 44): "addFixedIp and other network actions are gone",
    (2, 46): "Request ids in a second header",
    (2, 47): "Servers show their flavor itself",
    (2, 48): "Diagnostics have one shape",
    (2, 49): "Interfaces may be tagged when attached",
    (2, 50): "Quota classes show server groups",
    (2, 51): "Events of actions for everybody; new external event",
    (2, 52): "Tags at creation",
    (2, 53): "Hypervisors and services are known by UUID",
    (2, 54): "Rebuild may change the key",
    (2, 55): "Flavors have a description, which can be changed",
    (2, 56): "(migrate)",
    (2, 57): "No personality; rebuild takes user_data; limits lose it",
    (2, 58): "Actions have pages, updated_at and changes-since",
    (2, 61): "Flavors show extra specs",
    (2, 62): "Events show host and hostId",
    (2, 63): "Trusted image certificates",
    (2, 64): "Server groups have one policy, with rules",
    (2, 66): "changes-before",
    (2, 69): "Partial results",
    (2, 70): "Interfaces show their tag",
    (2, 71): "Servers show their server group",
    (2, 73): "Lock with a reason; filter by locked",
    (2, 74): "Host and hypervisor_hostname at creation",
    (2, 75): "Stricter queries; updates and rebuilds show all of the server; default swap is 0",
    (2, 77): "(unshelve)",
    (2, 78): "Topology of servers",
    (2, 83): "More filters for everybody",
    (2, 84): "Events show details",
    (2, 86): "Extra specs of flavors are validated",
    (2, 88): "Hypervisors show uptime, and no more what placement knows",
    (2, 90): "Hostname of servers",
    (2, 92): "Keypairs are no longer generated; names may hold @ and .",
    (2, 94): "Hostnames may be fully qualified",
    (2, 96): "Servers show their pinned availability zone",
    (2, 98): "Servers show properties of their image",
    (2, 100): "Servers show their scheduler hints",
    (2, 102): "Flavors have neither rxtx_factor nor disabled; filter by name",
    (2, 104): "The pinned availability zone can be changed",
}
