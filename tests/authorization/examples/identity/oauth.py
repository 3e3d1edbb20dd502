"""OAuth 1: consumers and the tokens of users."""

from __future__ import annotations

from urllib.parse import parse_qs

from oauthlib.oauth1 import Client

from tests.authorization.asking import Example
from tests.authorization.worlds import Things, World
from tests.cloud import BASE_URL

V3 = "/identity/v3"


def things(world: World) -> Things:
    """A consumer with a request token, and with an access token that the world's user gave it."""
    made = world.admin.client.post(f"{V3}/OS-OAUTH1/consumers", json={"consumer": {}})
    consumer = made.json()["consumer"]

    def dance(path: str, headers: dict[str, str], **keys: str) -> dict[str, str]:
        signer = Client(consumer["id"], client_secret=consumer["secret"], **keys)
        url = f"{V3}/OS-OAUTH1/{path}"
        _, signed, _ = signer.sign(BASE_URL + url, http_method="POST", headers=headers)
        answer = world.admin.client.post(url, headers=signed)
        assert answer.status_code == 201, answer.text
        return {name: values[0] for name, values in parse_qs(answer.text).items()}

    wanted = {"Requested-Project-Id": world.project_id}
    token = dance("request_token", wanted, callback_uri="oob")
    role = {"roles": [{"name": "reader"}]}
    verifier = _as_administrator(world, token["oauth_token"], role)
    keys = {
        "resource_owner_key": token["oauth_token"],
        "resource_owner_secret": token["oauth_token_secret"],
        "verifier": verifier,
    }
    access = dance("access_token", {}, **keys)
    pending = dance("request_token", wanted, callback_uri="oob")
    return {
        "consumer_id": consumer["id"],
        "access_token_id": access["oauth_token"],
        "request_token_id": pending["oauth_token"],
    }


def _as_administrator(world: World, identifier: str, body: object) -> str:
    """The verifier that the world's user gets, who is an administrator for that moment."""
    admin = world.admin.client
    [role] = admin.get(f"{V3}/roles?name=admin").json()["roles"]
    grant = f"{V3}/projects/{world.project_id}/users/{world.user_id}/roles/{role['id']}"
    assert admin.put(grant).status_code == 204
    path = f"{V3}/OS-OAUTH1/authorize/{identifier}"
    answer = world.member.client.put(path, json=body)
    assert answer.status_code == 200, answer.text
    assert admin.delete(grant).status_code == 204
    return str(answer.json()["token"]["oauth_verifier"])


EXAMPLES = {
    "POST /v3/OS-OAUTH1/consumers": Example({"consumer": {"description": "x"}}),
    "PATCH /v3/OS-OAUTH1/consumers/{consumer_id}": Example({"consumer": {"description": "x"}}),
    "PUT /v3/OS-OAUTH1/authorize/{request_token_id}": Example({"roles": [{"name": "reader"}]}),
}
