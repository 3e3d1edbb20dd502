"""Credentials and EC2 keys."""

from __future__ import annotations

import base64
import hmac

import msgspec

from tests.authorization.asking import Example
from tests.authorization.worlds import Maker, Things, World

V3 = "/identity/v3"
SECRET = "known-to-all"


def things(world: World) -> Things:
    """A key that is known here, so that what is signed with it can be written down."""
    access = f"signs-for-{world.name}"
    blob = msgspec.json.encode({"access": access, "secret": SECRET}).decode()
    body = {"user_id": world.user_id, "type": "ec2", "blob": blob, "project_id": world.project_id}
    world.member(f"{V3}/credentials", {"credential": body})
    return {"signing_access": access}


def belongings(maker: Maker, user_id: str) -> Things:
    """A credential, and a key for the project of the token."""
    body = {"user_id": user_id, "type": "cert", "blob": "x"}
    made = maker(f"{V3}/credentials", {"credential": body}, "credential", "id")
    token = {"X-Subject-Token": maker.client.headers["X-Auth-Token"]}
    shown = maker.client.get(f"{V3}/auth/tokens", headers=token).json()["token"]
    # Not by OS-EC2: readers have such keys, but do not make them there.
    access = f"key-of-{user_id}"
    blob = msgspec.json.encode({"access": access, "secret": "x"}).decode()
    body = {"user_id": user_id, "type": "ec2", "blob": blob, "project_id": shown["project"]["id"]}
    maker(f"{V3}/credentials", {"credential": body})
    return {"credentials/credential_id": made, "users/credential_id": access}


def _sign(text: bytes) -> str:
    return base64.b64encode(hmac.digest(SECRET.encode(), text, "sha1")).decode()


_TEXT = b"GET\n\n\nWed, 25 Nov 2026 12:00:00 GMT\n/bucket"
_S3 = {
    "access": "{signing_access}",
    "token": base64.urlsafe_b64encode(_TEXT).decode(),
    "signature": _sign(_TEXT),
}
_EC2 = {
    "access": "{signing_access}",
    "params": {"Action": "x", "SignatureVersion": "0"},
    "signature": _sign(b"x"),
}
EXAMPLES = {
    "POST /v3/credentials": Example(
        {"credential": {"user_id": "{user_id}", "type": "cert", "blob": "x"}}
    ),
    "PATCH /v3/credentials/{credential_id}": Example({"credential": {"blob": "y"}}),
    "POST /v3/users/{user_id}/credentials/OS-EC2": Example({"tenant_id": "{project_id}"}),
    "POST /v3/ec2tokens": Example({"credentials": _EC2}),
    "POST /v3/s3tokens": Example({"credentials": _S3}),
}
