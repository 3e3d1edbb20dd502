"""Credentials, EC2 keys, and the tokens for what is signed with them."""

from __future__ import annotations

import base64
import hmac

from tests.cloud import TestedCloud
from tests.identity_walks import Walk


def walk(walk: Walk, cloud: TestedCloud) -> None:
    user = {"user_id": cloud.user("admin").user_id}
    given = {**user, "type": "cert", "blob": "x"}
    made = walk("POST", "/credentials", 201, {"credential": given})["credential"]
    one, identifier = "/credentials/{credential_id}", {"credential_id": made["id"]}
    assert walk("GET", one, 200, **identifier)["credential"] == made
    changed = walk("PATCH", one, 200, {"credential": {"blob": "y"}}, **identifier)["credential"]
    assert changed == {**made, "blob": "y"}
    assert changed in walk("GET", "/credentials", 200)["credentials"]
    walk("DELETE", one, 204, **identifier)

    every = "/users/{user_id}/credentials/OS-EC2"
    body = {"tenant_id": cloud.user("admin").project_id}
    key = walk("POST", every, 201, body, **user)["credential"]
    one, identifier = f"{every}/{{credential_id}}", {**user, "credential_id": key["access"]}
    assert walk("GET", one, 200, **identifier)["credential"] == key
    assert walk("GET", every, 200, **user)["credentials"] == [key]
    text = b"GET\n\n\nWed, 25 Nov 2026 12:00:00 GMT\n/bucket"
    digest = hmac.digest(key["secret"].encode(), text, "sha1")
    signed = {
        "access": key["access"],
        "token": base64.urlsafe_b64encode(text).decode(),
        "signature": base64.b64encode(digest).decode(),
    }
    shown = walk("POST", "/s3tokens", 200, {"credentials": signed})["token"]
    assert shown["user"]["id"] == user["user_id"]
    params = {"Action": "x", "Timestamp": "", "SignatureVersion": "0"}
    digest = hmac.digest(key["secret"].encode(), b"x", "sha1")
    signed = {
        "access": key["access"],
        "params": params,
        "signature": base64.b64encode(digest).decode(),
    }
    shown = walk("POST", "/ec2tokens", 200, {"ec2Credentials": signed})["token"]
    assert shown["user"]["id"] == user["user_id"]
    walk("DELETE", one, 204, **identifier)
