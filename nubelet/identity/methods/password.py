"""The method `password`: a user by id, or by name and domain, and their password.

Read next: `password_login.py`, all the rules that this is held to.
In OpenStack: keystone/auth/plugins/password.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nubelet.identity import password_login
from nubelet.identity.methods import Attempt, Method, Proven
from nubelet.identity.scopes import DOMAIN_SCHEMA

_SCHEMA = {
    "type": "object",
    "required": ["user"],
    "properties": {
        "user": {
            "type": "object",
            "required": ["password"],
            "properties": {
                "id": {"type": "string"},
                "name": {"type": "string"},
                "password": {"type": "string"},
                "domain": DOMAIN_SCHEMA,
            },
        }
    },
}


def _prove(attempt: Attempt, part: Mapping[str, Any]) -> Proven:
    return Proven(user_id=password_login.prove(attempt.cloud, part["user"]))


METHOD = Method("password", _SCHEMA, _prove, direct=True)
