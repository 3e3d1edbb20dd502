"""`/extensions`: the parts of the API by the names they had before it had versions.

Only parts that exist here are listed. Clients older than microversions look for them; the names
and dates are fixed for ever.

API reference: https://docs.openstack.org/api-ref/compute/#extensions-extensions-deprecated
"""

from __future__ import annotations

from typing import Any, Final

from nubelet.compute.api import schemas as s
from nubelet.kernel.context import Context
from nubelet.kernel.errors import NotFound
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route

_UPDATED: Final = "2014-12-03T00:00:00Z"
_NAMESPACE: Final = "http://docs.openstack.org/compute/ext/fake_xml"

# alias, name, what it is
EXTENSIONS: Final = (
    ("NMN", "Multinic", "Several network cards per server"),
    ("OS-DCF", "DiskConfig", "How the disk of a server is laid out"),
    ("OS-EXT-AZ", "ExtendedAvailabilityZone", "Servers show their availability zone"),
    ("OS-EXT-IMG-SIZE", "ImageSize", "Images show their size"),
    ("OS-EXT-IPS", "ExtendedIps", "Addresses show whether they are fixed or floating"),
    ("OS-EXT-IPS-MAC", "ExtendedIpsMac", "Addresses show the MAC of their card"),
    ("OS-EXT-SRV-ATTR", "ExtendedServerAttributes", "Servers show host and instance name"),
    ("OS-EXT-STS", "ExtendedStatus", "Servers show vm_state, task_state and power_state"),
    ("OS-FLV-DISABLED", "FlavorDisabled", "Flavors show whether they are disabled"),
    ("OS-FLV-EXT-DATA", "FlavorExtraData", "Flavors show their ephemeral disk"),
    ("OS-SCH-HNT", "SchedulerHints", "Hints of where a server should be"),
    ("OS-SRV-USG", "ServerUsage", "Servers show when they were launched and terminated"),
    ("extensions", "Extensions", "This list"),
    ("flavors", "Flavors", "The sizes of servers"),
    ("image-metadata", "ImageMetadata", "Metadata of images"),
    ("images", "Images", "Images that servers are made from"),
    ("ips", "Ips", "Addresses of servers"),
    ("limits", "Limits", "What a project may have"),
    ("os-access-ips", "AccessIPs", "Addresses by which a server shall be reached"),
    ("os-admin-actions", "AdminActions", "Setting the state of servers by hand"),
    ("os-aggregates", "Aggregates", "Sets of hosts"),
    ("os-attach-interfaces", "AttachInterfaces", "Network cards of servers that exist"),
    ("os-availability-zone", "AvailabilityZone", "Zones of hosts"),
    ("os-block-device-mapping", "BlockDeviceMapping", "The disks of a new server"),
    (
        "os-block-device-mapping-v2-boot",
        "BlockDeviceMappingV2Boot",
        "The disks of a new server, in the newer form",
    ),
    ("os-config-drive", "ConfigDrive", "A drive that tells the guest who it is"),
    ("os-console-output", "ConsoleOutput", "The console log of servers"),
    ("os-consoles", "Consoles", "The consoles of servers"),
    (
        "os-extended-floating-ips",
        "ExtendedFloatingIps",
        "A floating IP for one of several addresses of a server",
    ),
    ("os-extended-hypervisors", "ExtendedHypervisors", "Hypervisors show address and disk"),
    ("os-extended-quotas", "ExtendedQuotas", "Quotas may be deleted and forced"),
    ("os-extended-services", "ExtendedServices", "Services show why they are disabled"),
    ("os-extended-services-delete", "ExtendedServicesDelete", "Services may be deleted"),
    ("os-extended-status", "ExtendedStatus", "Servers are shown with their states"),
    ("os-flavor-access", "FlavorAccess", "Who may use private flavors"),
    ("os-flavor-extra-specs", "FlavorExtraSpecs", "What flavors ask of hosts"),
    ("os-flavor-manage", "FlavorManage", "Creating and deleting flavors"),
    ("os-flavor-rxtx", "FlavorRxtx", "Flavors show rxtx_factor"),
    ("os-flavor-swap", "FlavorSwap", "Flavors show their swap space"),
    ("os-floating-ip-pools", "FloatingIpPools", "Networks that floating IPs are taken from"),
    ("os-floating-ips", "FloatingIps", "Addresses that lead to servers from outside"),
    ("os-hosts", "Hosts", "Hosts, for administrators"),
    ("os-hypervisor-status", "HypervisorStatus", "Hypervisors show whether they are up"),
    ("os-hypervisors", "Hypervisors", "Hypervisors, for administrators"),
    ("os-instance-actions", "InstanceActions", "What was done to servers"),
    ("os-instance_usage_audit_log", "OSInstanceUsageAuditLog", "Audits of usage by hosts"),
    ("os-keypairs", "Keypairs", "Public keys of users"),
    ("os-lock-server", "LockServer", "Locking servers against changes"),
    ("os-multiple-create", "MultipleCreate", "Several servers by one request"),
    ("os-networks", "Networks", "Networks, as compute sees them"),
    ("os-pause-server", "PauseServer", "Pausing servers"),
    ("os-personality", "Personality", "Files for a new server"),
    ("os-quota-class-sets", "QuotaClasses", "Quotas of projects that have none of their own"),
    ("os-quota-sets", "Quotas", "Quotas of projects"),
    ("os-security-groups", "SecurityGroups", "Security groups of servers"),
    ("os-server-diagnostics", "ServerDiagnostics", "Counters of a server"),
    ("os-server-external-events", "ServerExternalEvents", "Events from other services"),
    ("os-server-group-quotas", "ServerGroupQuotas", "Quotas of server groups"),
    ("os-server-groups", "ServerGroups", "Servers that shall be together, or apart"),
    ("os-server-list-multi-status", "ServerListMultiStatus", "Servers filtered by several states"),
    ("os-server-password", "ServerPassword", "The encrypted password of a server"),
    ("os-server-sort-keys", "ServerSortKeys", "Sorted lists of servers"),
    ("os-server-start-stop", "ServerStartStop", "Starting and stopping servers"),
    ("os-services", "Services", "The compute services of hosts"),
    ("os-simple-tenant-usage", "SimpleTenantUsage", "What projects used"),
    ("os-suspend-server", "SuspendServer", "Suspending servers"),
    ("os-tenant-networks", "OSTenantNetworks", "The networks of a project, as compute sees them"),
    ("os-used-limits", "UsedLimits", "Limits show what is used"),
    ("os-used-limits-for-admin", "UsedLimitsForAdmin", "Limits of other projects"),
    ("os-user-data", "UserData", "Data that is handed to the guest"),
    ("os-user-quotas", "UserQuotas", "Quotas of users within projects"),
    ("server-metadata", "ServerMetadata", "Metadata of servers"),
    ("servers", "Servers", "Virtual machines"),
    ("versions", "Versions", "The versions of the API"),
)


def _view(alias: str, name: str, description: str) -> dict[str, Any]:
    return {
        "alias": alias,
        "name": name,
        "description": description + ".",
        "links": [],
        "namespace": _NAMESPACE,
        "updated": _UPDATED,
    }


def list(ctx: Context, request: Request) -> object:
    """List the extensions."""
    return {"extensions": [_view(*each) for each in EXTENSIONS]}


def show(ctx: Context, request: Request) -> object:
    """Show an extension."""
    alias = request.params["alias"]
    for each in EXTENSIONS:
        if each[0] == alias:
            return {"extension": _view(*each)}
    raise NotFound(message=f"There is no extension {alias}.")


_RULE = "os_compute_api:extensions"

ROUTES = (
    Route(
        method="GET",
        path="/extensions",
        handler=list,
        rule=_RULE,
        response={"type": "object", "properties": {"extensions": s.array(s.obj({}, extra=True))}},
    ),
    Route(
        method="GET",
        path="/extensions/{alias}",
        handler=show,
        rule=_RULE,
        response=s.answer("extension", {}),
    ),
)
