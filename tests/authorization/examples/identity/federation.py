"""Identity providers, protocols, mappings, service providers."""

from __future__ import annotations

from typing import Any

from tests.authorization.asking import Example
from tests.authorization.worlds import Things, World

V3 = "/identity/v3/OS-FEDERATION"
_RULES = {"rules": [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "UserName"}]}]}
_SERVICE = {"auth_url": "https://b.example.org/auth", "sp_url": "https://b.example.org/ECP"}


def things(world: World) -> Things:
    """One of each; they belong to nobody, but each world has its own."""
    name = f"walked-{world.name}"

    def put(path: str, **body: Any) -> None:
        world.admin(f"{V3}/{path}", body, method="PUT")

    put(f"identity_providers/{name}", identity_provider={"domain_id": world.domain_id})
    put(f"mappings/{name}", mapping=_RULES)
    put(f"identity_providers/{name}/protocols/{name}", protocol={"mapping_id": name})
    put(f"service_providers/{name}", service_provider={**_SERVICE, "enabled": True})
    return {
        "idp_id": name,
        "mapping_id": name,
        "protocol_id": name,
        "service_provider_id": name,
    }


# Whoever has the text of a token goes where its bearer may go.
_VOUCH = Example(
    {
        "auth": {
            "identity": {"token": {"id": "{token}"}},
            "scope": {"service_provider": {"id": "{service_provider_id}"}},
        }
    }
)
EXAMPLES = {
    "POST /v3/auth/OS-FEDERATION/saml2": _VOUCH,
    "POST /v3/auth/OS-FEDERATION/saml2/ecp": _VOUCH,
    "PUT /v3/OS-FEDERATION/identity_providers/{idp_id}": Example(
        {"identity_provider": {}}, things={"idp_id": "another"}
    ),
    "PATCH /v3/OS-FEDERATION/identity_providers/{idp_id}": Example(
        {"identity_provider": {"description": "x"}}
    ),
    "PUT /v3/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}": Example(
        {"protocol": {"mapping_id": "{mapping_id}"}}, things={"protocol_id": "another"}
    ),
    "PATCH /v3/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}": Example(
        {"protocol": {"mapping_id": "{mapping_id}"}}
    ),
    "PUT /v3/OS-FEDERATION/mappings/{mapping_id}": Example(
        {"mapping": _RULES}, things={"mapping_id": "another"}
    ),
    "PATCH /v3/OS-FEDERATION/mappings/{mapping_id}": Example({"mapping": _RULES}),
    "PUT /v3/OS-FEDERATION/service_providers/{service_provider_id}": Example(
        {"service_provider": _SERVICE}, things={"service_provider_id": "another"}
    ),
    "PATCH /v3/OS-FEDERATION/service_providers/{service_provider_id}": Example(
        {"service_provider": {"description": "x"}}
    ),
}
