"""All routes of the Compute API, in the order of its reference.

Here and not in the package's own file, where modules of the API would take the names of the
modules of the logic (`nubelet.compute.servers`).
"""

from __future__ import annotations

from nubelet.compute.api import (
    aggregates,
    availability_zones,
    extensions,
    external_events,
    flavor_access,
    flavor_extra_specs,
    flavors,
    hosts,
    hypervisors,
    instance_actions,
    interfaces,
    keypairs,
    limits,
    proxied_floating_ips,
    proxied_images,
    proxied_networks,
    proxied_security_groups,
    quota_sets,
    server_actions,
    server_details,
    server_groups,
    server_metadata,
    server_tags,
    servers,
    services,
    tenant_usage,
    usage_audit_log,
    versions,
)

ROUTES = tuple(route for part in (
    versions, servers, server_actions, server_details, server_metadata, server_tags, interfaces,
    instance_actions, flavors, flavor_access, flavor_extra_specs, keypairs, limits, aggregates,
    availability_zones, hypervisors, usage_audit_log, quota_sets, server_groups, services,
    tenant_usage, external_events, extensions, hosts, proxied_networks, proxied_floating_ips,
    proxied_security_groups, proxied_images,
) for route in part.ROUTES)  # fmt: skip
