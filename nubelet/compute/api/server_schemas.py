"""The bodies of POST /servers, PUT /servers/{id} and the rebuild action, at each version.

In OpenStack: nova/api/openstack/compute/schemas/servers.py.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from nubelet.compute.api import schemas as s
from nubelet.kernel.context import Version

_IP: s.Schema = {"oneOf": [{"format": "ipv4"}, {"format": "ipv6"}], "type": "string"}
_IPV4: s.Schema = {"type": "string", "format": "ipv4"}
_IPV6: s.Schema = {"type": "string", "format": "ipv6"}
# Host names of one label until 2.93, fully qualified ones since.
_HOSTNAME: s.Schema = {
    "type": "string",
    "minLength": 2,
    "maxLength": 63,
    "pattern": "^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$",
}
_FQDN: s.Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": "^[a-zA-Z0-9-._]*$",
}
_UUIDS: s.Schema = {"oneOf": [s.UUID, {"type": "array", "items": s.UUID}]}
_HINTS: s.Schema = {
    "type": "object",
    "additionalProperties": True,
    "properties": {
        "group": {
            "oneOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ]
        },
        "different_host": _UUIDS,
        "same_host": {"type": ["array", "string"], "items": s.UUID},
        "query": {"type": ["string", "object", "array"]},
        "build_near_host_ip": _IP,
        "cidr": {"type": "string", "pattern": r"^/[0-9a-f.:]+$"},
        "target_cell": s.NAME,
        "different_cell": {"type": ["string", "array"], "items": {"type": "string"}},
    },
}
_DEVICE_NAME: s.Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": "^[a-zA-Z0-9._/-]*$",
}
_DEVICE: s.Schema = {
    "virtual_name": {"type": "string", "maxLength": 255},
    "volume_id": s.UUID,
    "snapshot_id": s.UUID,
    "volume_size": s.integer(1),
    "device_name": _DEVICE_NAME,
    "delete_on_termination": s.BOOLEAN,
    "no_device": {},
    "connection_info": {"type": "string", "maxLength": 16777215},
}
_DEVICE_V2: s.Schema = {
    **_DEVICE,
    "source_type": {"type": "string", "enum": ["volume", "image", "snapshot", "blank"]},
    "uuid": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._-]*$"},
    "image_id": s.UUID,
    "destination_type": {"type": "string", "enum": ["local", "volume"]},
    "guest_format": {"type": "string", "maxLength": 255},
    "device_type": {"type": "string", "maxLength": 255},
    "disk_bus": {"type": "string", "maxLength": 255},
    "boot_index": {"type": ["integer", "string", "null"], "pattern": "^-?[0-9]+$"},
}
_VOLUME_TYPE: s.Schema = {"volume_type": {"type": ["string", "null"], "maxLength": 255}}
_TAG: s.Schema = {"tag": s.TAG}
_CERTIFICATES: s.Schema = {
    "type": ["array", "null"],
    "minItems": 1,
    "maxItems": 50,
    "uniqueItems": True,
    "items": {"type": "string", "minLength": 1},
}
_PERSONALITY: s.Schema = s.array(
    s.obj({"path": {"type": "string"}, "contents": {"type": "string"}})
)
_BASE: Final[s.Schema] = {
    "name": s.NAME,
    "imageRef": {"type": "string"},
    "flavorRef": {"type": ["string", "integer"], "minLength": 1},
    "adminPass": {"type": "string"},
    "metadata": s.METADATA,
    "OS-DCF:diskConfig": s.DISK_CONFIG,
    "accessIPv4": _IPV4,
    "accessIPv6": _IPV6,
    "availability_zone": s.NAME,
    "config_drive": s.BOOLEAN,
    "key_name": s.NAME,
    "min_count": s.integer(1),
    "max_count": s.integer(1),
    "return_reservation_id": s.BOOLEAN,
    "security_groups": s.array(s.obj({"name": s.NAME})),
    "user_data": {"type": "string", "maxLength": 65535},
    "block_device_mapping": s.array(s.obj(_DEVICE)),
}


def _networks(version: Version) -> s.Schema:
    fields: dict[str, Any] = {
        "fixed_ip": _IP,
        "port": {"type": ["string", "null"], "format": "uuid"},
    }
    fields["uuid"] = s.UUID if version >= (2, 37) else {"type": "string"}
    if (2, 32) <= version <= (2, 36) or version >= (2, 42):
        fields["tag"] = s.TAG
    listed = s.array(s.obj(fields))
    if version < (2, 37):
        return listed
    return {"oneOf": [listed, {"type": "string", "enum": ["none", "auto"]}]}


def _devices(version: Version) -> s.Schema:
    fields = dict(_DEVICE_V2)
    if version == (2, 32) or version >= (2, 42):
        fields |= _TAG
    if version >= (2, 67):
        fields |= _VOLUME_TYPE
    return s.array(s.obj(fields))


@lru_cache(maxsize=128)
def create_body(version: Version) -> s.Schema:
    """The body of a creation."""
    fields: dict[str, Any] = {
        **_BASE,
        "networks": _networks(version),
        "block_device_mapping_v2": _devices(version),
    }
    if version <= (2, 56):
        fields["personality"] = _PERSONALITY
    if version >= (2, 19):
        fields["description"] = s.DESCRIPTION
    if version >= (2, 52):
        fields["tags"] = s.TAGS
    if version >= (2, 63):
        fields["trusted_image_certificates"] = _CERTIFICATES
    if version >= (2, 74):
        fields |= {"host": s.HOSTNAME, "hypervisor_hostname": s.HOSTNAME}
    if version >= (2, 90):
        fields["hostname"] = _FQDN if version >= (2, 94) else _HOSTNAME
    required = ("name", "flavorRef") + (("networks",) if version >= (2, 37) else ())
    return s.obj(
        {
            "server": s.obj(fields, required),
            "os:scheduler_hints": _HINTS,
            "OS-SCH-HNT:scheduler_hints": _HINTS,
        },
        ("server",),
    )


@lru_cache(maxsize=128)
def update_body(version: Version) -> s.Schema:
    """The body of an update."""
    fields: dict[str, Any] = {
        "name": s.NAME,
        "OS-DCF:diskConfig": s.DISK_CONFIG,
        "accessIPv4": _IPV4,
        "accessIPv6": _IPV6,
    }
    if version >= (2, 19):
        fields["description"] = s.DESCRIPTION
    if version >= (2, 90):
        fields["hostname"] = _FQDN if version >= (2, 94) else _HOSTNAME
    if version >= (2, 104):
        fields["pinned_availability_zone"] = {
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": 255,
        }
    return s.wrapped("server", s.obj(fields))


@lru_cache(maxsize=128)
def rebuild_body(version: Version) -> s.Schema:
    """The body of the rebuild action."""
    fields: dict[str, Any] = {
        "name": s.NAME,
        "imageRef": {"type": "string", "format": "uuid"},
        "adminPass": {"type": "string"},
        "metadata": s.METADATA,
        "preserve_ephemeral": s.BOOLEAN,
        "OS-DCF:diskConfig": s.DISK_CONFIG,
        "accessIPv4": _IPV4,
        "accessIPv6": _IPV6,
    }
    if version <= (2, 56):
        fields["personality"] = _PERSONALITY
    if version >= (2, 19):
        fields["description"] = s.DESCRIPTION
    if version >= (2, 54):
        fields["key_name"] = {"oneOf": [{"type": "null"}, s.NAME]}
    if version >= (2, 57):
        fields["user_data"] = {"oneOf": [{"type": "null"}, {"type": "string", "maxLength": 65535}]}
    if version >= (2, 63):
        fields["trusted_image_certificates"] = _CERTIFICATES
    if version >= (2, 90):
        fields["hostname"] = _FQDN if version >= (2, 94) else _HOSTNAME
    return s.wrapped("rebuild", s.obj(fields, ("imageRef",)))
