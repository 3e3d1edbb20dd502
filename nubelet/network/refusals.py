"""How the Networking API refuses: the type, the status and the sentence of each error.

Clients look at `type` (`IpAddressInUse`, `NetworkInUse`...) and some even at the sentence, so
both are kept in this one place. A module that refuses says `raise refusals.network_in_use(...)`.

In OpenStack: neutron_lib/exceptions.
"""

from __future__ import annotations

from collections.abc import Iterable

from nubelet.kernel.errors import (
    ApiError,
    BadRequest,
    Conflict,
    NotFound,
    PreconditionFailed,
    ServiceUnavailable,
)

# Kinds whose sentence differs from "<Kind> <id> could not be found."
_MISSING = {
    "FloatingIP": "Floating IP {} could not be found",
    "SecurityGroup": "Security group {} does not exist",
    "SecurityGroupRule": "Security group rule {} does not exist",
    "SubnetPool": "Subnet pool {} could not be found.",
    "AddressScope": "Address scope {} could not be found",
    "RbacPolicy": "RBAC policy of type {} could not be found",
    "SecurityGroupDefaultRule": "Default security group rule {} does not exist",
}


def not_found(kind: str, identifier: object) -> NotFound:
    """404 `<Kind>NotFound`."""
    sentence = _MISSING.get(kind, kind + " {} could not be found.")
    return NotFound(message=sentence.format(identifier), code=f"{kind}NotFound")


def invalid(reason: str, code: str = "InvalidInput") -> BadRequest:
    """400: the request contradicts itself or the state of the cloud."""
    sentence = (
        f"Invalid input for operation: {reason.rstrip('.')}." if code == "InvalidInput" else reason
    )
    return BadRequest(sentence, code=code)


def bad_request(resource: str, reason: str) -> BadRequest:
    """400 `BadRequest` as the router and port code of the API spells it."""
    return BadRequest(f"Bad {resource} request: {reason.rstrip('.')}.", code="BadRequest")


def malformed(reason: str) -> BadRequest:
    """400 `HTTPBadRequest`: a body or query that is not of the documented form."""
    return BadRequest(reason, code="HTTPBadRequest")


def conflict(code: str, sentence: str) -> Conflict:
    """409 with the given type."""
    return Conflict(sentence, code=code)


def revision_mismatch(wanted: int, present: int) -> PreconditionFailed:
    """412: the If-Match header names another revision."""
    return PreconditionFailed(
        f"Constrained to {wanted}, but current revision is {present}",
        code="RevisionNumberConstraintFailed",
    )


def network_in_use(network_id: str, port_ids: Iterable[str]) -> Conflict:
    """Ports still need the network."""
    return conflict(
        "NetworkInUse",
        f"Unable to complete operation on network {network_id}. There are one or "
        "more ports still in use on the network, id for these ports is "
        f"{','.join(sorted(port_ids))}.",
    )


def subnet_in_use(subnet_id: str, reason: str) -> Conflict:
    """Something still needs the subnet."""
    return conflict(
        "SubnetInUse", f"Unable to complete operation on subnet {subnet_id}: {reason.rstrip('.')}."
    )


def address_in_use(network_id: str, address: str) -> Conflict:
    """Another port has the address."""
    return conflict(
        "IpAddressAlreadyAllocated",
        f"IP address {address} already allocated in network {network_id}.",
    )


def mac_in_use(network_id: str, mac: str) -> Conflict:
    """Another port of the network has the MAC address."""
    return conflict(
        "MacAddressInUse",
        f"Unable to complete operation for network {network_id}. The mac address {mac} is in use.",
    )


def no_more_addresses(network_id: str, subnet_id: str = "") -> Conflict:
    """All allocation pools are used up."""
    where = f"subnet {subnet_id} of network {network_id}" if subnet_id else f"network {network_id}"
    return conflict("IpAddressGenerationFailure", f"No more IP addresses available on {where}.")


def port_in_use(port_id: str, network_id: str, device_id: str) -> Conflict:
    """The port belongs to a device already."""
    return conflict(
        "PortInUse",
        f"Unable to complete operation on port {port_id} for network {network_id}. "
        f"Port already has an attached device {device_id}.",
    )


def service_port(port_id: str, reason: str) -> Conflict:
    """The port is managed through another resource."""
    return conflict(
        "ServicePortInUse",
        f"Port {port_id} cannot be deleted directly via the port API: {reason.rstrip('.')}.",
    )


def no_network(reason: str) -> ServiceUnavailable:
    """No segment is free for another network."""
    return ServiceUnavailable(
        f"Unable to create the network. {reason.rstrip('.')}.", code="NoNetworkAvailable"
    )


def not_allowed(reason: str, code: str) -> ApiError:
    """403 with a type of its own (not a policy rule)."""
    from nubelet.kernel.errors import Forbidden

    return Forbidden(reason, code=code)
