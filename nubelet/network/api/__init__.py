"""The URLs of the Networking API v2.0, one file per noun. Read `noun.py` first."""

from nubelet.network.api import (
    agents,
    extensions,
    floating_ips,
    ip_availability,
    networks,
    ports,
    quotas,
    rbac_policies,
    routers,
    security_groups,
    subnet_pools,
    subnets,
    tags,
    versions,
)

ROUTES = tuple(
    route
    for module in (
        versions,
        networks,
        subnets,
        ports,
        routers,
        floating_ips,
        security_groups,
        subnet_pools,
        rbac_policies,
        tags,
        agents,
        quotas,
        extensions,
        ip_availability,
    )
    for route in module.ROUTES
)
