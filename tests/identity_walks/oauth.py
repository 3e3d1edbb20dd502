"""OAuth 1 and 2, and revocation events."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from oauthlib.oauth1 import Client

from tests.cloud import BASE_URL, TestedCloud
from tests.identity_walks import V3, Walk


def walk(walk: Walk, cloud: TestedCloud) -> None:
    every, one = "/OS-OAUTH1/consumers", "/OS-OAUTH1/consumers/{consumer_id}"
    made = walk("POST", every, 201, {"consumer": {"description": "d"}})["consumer"]
    consumer, secret = {"consumer_id": made["id"]}, made.pop("secret")
    assert walk("GET", one, 200, **consumer)["consumer"] == made
    walk("PATCH", one, 200, {"consumer": {"description": "e"}}, **consumer)
    assert walk("GET", every, 200)["consumers"]

    def dance(path: str, headers: dict[str, str], **keys: str) -> dict[str, str]:
        signer = Client(made["id"], client_secret=secret, **keys)
        _, signed, _ = signer.sign(f"{BASE_URL}{V3}{path}", http_method="POST", headers=headers)
        text = walk("POST", path, 201, headers=dict(signed))
        return {name: values[0] for name, values in parse_qs(text).items()}

    admin = cloud.user("admin")
    wanted = {"Requested-Project-Id": admin.project_id or ""}
    asked = dance("/OS-OAUTH1/request_token", wanted, callback_uri="oob")
    token: dict[str, Any] = {"request_token_id": asked["oauth_token"]}
    body = {"roles": [{"name": "reader"}]}
    verifier = walk("PUT", "/OS-OAUTH1/authorize/{request_token_id}", 200, body, **token)
    keys = {
        "resource_owner_key": asked["oauth_token"],
        "resource_owner_secret": asked["oauth_token_secret"],
        "verifier": verifier["token"]["oauth_verifier"],
    }
    access = dance("/OS-OAUTH1/access_token", {}, **keys)
    every = "/users/{user_id}/OS-OAUTH1/access_tokens"
    user = {"user_id": admin.user_id}
    [shown] = walk("GET", every, 200, **user)["access_tokens"]
    identifier = {**user, "access_token_id": access["oauth_token"]}
    one = f"{every}/{{access_token_id}}"
    assert walk("GET", one, 200, **identifier)["access_token"] == shown
    [role] = walk("GET", f"{one}/roles", 200, **identifier)["roles"]
    found = walk("GET", f"{one}/roles/{{role_id}}", 200, **identifier, role_id=role["id"])
    assert found["role"] == role
    walk("DELETE", one, 204, **identifier)
    walk("DELETE", "/OS-OAUTH1/consumers/{consumer_id}", 204, **consumer)

    assert "events" in walk("GET", "/OS-REVOKE/events", 200)
    walk("GET", "/auth/tokens/OS-PKI/revoked", 410)
    refused = walk("POST", "/OS-OAUTH2/token", 400)  # a form: tests/contract/test_identity_oauth.py
    assert refused["error"] == "invalid_request"
