"""JSON schemas of images, their attributes and members: what is served and what is checked."""

from __future__ import annotations

from typing import Any

CONTAINER_FORMATS = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
DISK_FORMATS = (
    "ami",
    "ari",
    "aki",
    "vhd",
    "vhdx",
    "vmdk",
    "raw",
    "qcow2",
    "vdi",
    "iso",
    "ploop",
    "gpt",
)
VISIBILITIES = ("public", "private", "shared", "community")
STATUSES = ("queued", "saving", "uploading", "importing", "active", "deactivated")
UUID = (
    r"^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-"
    r"([0-9a-fA-F]){12}$"
)

_TEXT = {"type": ["null", "string"], "maxLength": 255}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 2147483647}
_READ_ONLY = {"readOnly": True}

WRITABLE: dict[str, dict[str, Any]] = {
    "name": {**_TEXT, "description": "Descriptive name for the image"},
    "visibility": {
        "type": "string",
        "enum": list(VISIBILITIES),
        "description": "Scope of image accessibility",
    },
    "protected": {"type": "boolean", "description": "If true, image will not be deletable."},
    "os_hidden": {
        "type": "boolean",
        "description": "If true, image will not appear in default image list response.",
    },
    "owner": {**_TEXT, "description": "Owner of the image"},
    "disk_format": {
        "type": ["null", "string"],
        "enum": [None, *DISK_FORMATS],
        "description": "Format of the disk",
    },
    "container_format": {
        "type": ["null", "string"],
        "enum": [None, *CONTAINER_FORMATS],
        "description": "Format of the container",
    },
    "min_disk": {**_COUNT, "description": "Amount of disk space (in GB) required to boot image."},
    "min_ram": {**_COUNT, "description": "Amount of ram (in MB) required to boot image."},
    "tags": {
        "type": "array",
        "items": {"type": "string", "maxLength": 255},
        "description": "List of strings related to the image",
    },
}

_SHOWN: dict[str, dict[str, Any]] = {
    "id": {"type": "string", "pattern": UUID, "description": "An identifier for the image"},
    "status": {
        "type": "string",
        "enum": list(STATUSES),
        **_READ_ONLY,
        "description": "Status of the image",
    },
    "size": {
        "type": ["null", "integer"],
        **_READ_ONLY,
        "description": "Size of image file in bytes",
    },
    "virtual_size": {
        "type": ["null", "integer"],
        **_READ_ONLY,
        "description": "Virtual size of image in bytes",
    },
    "checksum": {
        "type": ["null", "string"],
        "maxLength": 32,
        **_READ_ONLY,
        "description": "md5 hash of image contents.",
    },
    "os_hash_algo": {
        "type": ["null", "string"],
        "maxLength": 64,
        **_READ_ONLY,
        "description": "Algorithm to calculate the os_hash_value",
    },
    "os_hash_value": {
        "type": ["null", "string"],
        "maxLength": 128,
        **_READ_ONLY,
        "description": "Hexdigest of the image contents using the algorithm "
        "specified by the os_hash_algo",
    },
    "created_at": {
        "type": "string",
        **_READ_ONLY,
        "description": "Date and time of image registration",
    },
    "updated_at": {
        "type": "string",
        **_READ_ONLY,
        "description": "Date and time of the last image modification",
    },
    "stores": {
        "type": "string",
        **_READ_ONLY,
        "description": "Stores in which the image data resides",
    },
    "direct_url": {
        "type": "string",
        **_READ_ONLY,
        "description": "URL to access the image file kept in external store",
    },
    "self": {"type": "string", **_READ_ONLY, "description": "An image self url"},
    "file": {"type": "string", **_READ_ONLY, "description": "An image file url"},
    "schema": {"type": "string", **_READ_ONLY, "description": "An image schema url"},
}

READ_ONLY = frozenset(name for name, schema in _SHOWN.items() if schema.get("readOnly"))
# Names that no additional property may take.
RESERVED = frozenset(
    {
        "deleted",
        "deleted_at",
        "is_public",
        "location",
        "locations",
        "direct_url",
        "stores",
        "os_glance_import_task",
    }
)
RESERVED_PREFIX = "os_glance"

_PROPERTY = {"type": "string", "maxLength": 65535}

_LOCATIONS: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["url", "metadata"],
        "properties": {
            "url": {"type": "string", "maxLength": 2048},
            "metadata": {"type": "object"},
            "validation_data": {
                "type": "object",
                "description": "Values to be used to populate the corresponding image properties",
                "writeOnly": True,
                "additionalProperties": False,
                "properties": {
                    "checksum": {"type": "string", "minLength": 32, "maxLength": 32},
                    "os_hash_algo": {"type": "string", "maxLength": 64},
                    "os_hash_value": {"type": "string", "maxLength": 128},
                },
                "required": ["os_hash_algo", "os_hash_value"],
            },
        },
    },
    "description": "A set of URLs to access the image file kept in external store",
}

IMAGE: dict[str, Any] = {
    "name": "image",
    "properties": {**_SHOWN, **WRITABLE, "locations": _LOCATIONS},
    "additionalProperties": {"type": "string"},
    "links": [
        {"rel": "self", "href": "{self}"},
        {"rel": "enclosure", "href": "{file}"},
        {"rel": "describedby", "href": "{schema}"},
    ],
}
MEMBER: dict[str, Any] = {
    "name": "member",
    "properties": {
        "created_at": {"type": "string", "description": "Date and time of image member creation"},
        "image_id": {
            "type": "string",
            "pattern": UUID,
            "description": "An identifier for the image",
        },
        "member_id": {
            "type": "string",
            "description": "An identifier for the image member (project)",
        },
        "status": {
            "type": "string",
            "enum": ["pending", "accepted", "rejected"],
            "description": "The status of this image member",
        },
        "updated_at": {
            "type": "string",
            "description": "Date and time of last modification of image member",
        },
        "schema": {"readOnly": True, "type": "string"},
    },
}


_TASK_BRIEF: dict[str, Any] = {
    "id": {"type": "string", "pattern": UUID, "description": "An identifier for the task"},
    "type": {
        "type": "string",
        "enum": ["import", "api_image_import", "location_import"],
        "description": "The type of task represented by this content",
    },
    "status": {
        "type": "string",
        "enum": ["pending", "processing", "success", "failure"],
        "description": "The current status of this task",
    },
    "owner": {"type": "string", "description": "An identifier for the owner of this task"},
    "expires_at": {
        "type": ["null", "string"],
        "description": "Datetime when this resource would be subject to removal",
    },
    "created_at": {
        "type": "string",
        "description": "Datetime when this resource was created",
    },
    "updated_at": {
        "type": "string",
        "description": "Datetime when this resource was updated",
    },
    "self": {"type": "string", "readOnly": True},
    "schema": {"type": "string", "readOnly": True},
}
TASK: dict[str, Any] = {
    "name": "task",
    "properties": {
        **_TASK_BRIEF,
        "input": {
            "type": ["null", "object"],
            "description": "The parameters required by task, JSON blob",
        },
        "result": {
            "type": ["null", "object"],
            "description": "The result of current task, JSON blob",
        },
        "message": {
            "type": "string",
            "description": "How far the task has come, or why it failed",
        },
        "image_id": {"type": "string", "description": "Image associated with the task"},
        "request_id": {"type": "string", "description": "The request that started the task"},
        "user_id": {"type": "string", "description": "The user who started the task"},
    },
}
TASK_BRIEF: dict[str, Any] = {"name": "task", "properties": _TASK_BRIEF}


def collection(name: str, item: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list of these."""
    return {
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


CREATE: dict[str, Any] = {
    "type": "object",
    # Read-only ones may be anything here: they are refused with 403, by name.
    "properties": {**{name: {} for name in _SHOWN}, "id": _SHOWN["id"], **WRITABLE},
    "additionalProperties": _PROPERTY,
}
