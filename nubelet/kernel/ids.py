"""Identifiers: UUIDs in the two spellings the APIs use, and request ids."""

from __future__ import annotations

import re
import secrets
import uuid

_UUID = re.compile(r"^[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$")
REQUEST_ID = re.compile(r"^req-[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$")


def new_uuid() -> str:
    """A random UUID with dashes (servers, ports, images...)."""
    return str(uuid.uuid4())


def new_hex() -> str:
    """A random UUID without dashes (users, projects, domains, roles...)."""
    return uuid.uuid4().hex


def new_request_id() -> str:
    """`req-` and a UUID, as every service answers in x-openstack-request-id."""
    return f"req-{uuid.uuid4()}"


def is_uuid(text: str) -> bool:
    """True for a UUID with or without dashes."""
    return bool(_UUID.match(text))


def new_secret(size: int) -> str:
    """A text of so many random bytes, url-safe, that no command line takes for an option."""
    while (text := secrets.token_urlsafe(size)).startswith("-"):
        pass
    return text
