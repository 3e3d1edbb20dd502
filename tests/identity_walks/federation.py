"""Federation: identity providers, protocols, mappings, service providers."""

from __future__ import annotations

from tests.cloud import TestedCloud
from tests.identity_walks import Walk

_RULES = [
    {
        "local": [{"user": {"name": "{0}"}}, {"group": {"id": "0cd5e9"}}],
        "remote": [{"type": "UserName"}, {"type": "kind", "not_any_of": ["Contractor", "Guest"]}],
    }
]


def walk(walk: Walk, cloud: TestedCloud) -> None:
    provider = _identity_providers(walk)
    mapping = _mappings(walk)
    _login(walk, cloud, provider, mapping)
    _protocols(walk, provider, mapping)
    _service_providers(walk)
    walk("DELETE", "/OS-FEDERATION/mappings/{mapping_id}", 204, mapping_id=mapping)
    walk("DELETE", "/OS-FEDERATION/identity_providers/{idp_id}", 204, idp_id=provider)


def _identity_providers(walk: Walk) -> str:
    one, ids = "/OS-FEDERATION/identity_providers/{idp_id}", {"idp_id": "acme"}
    given = {
        "domain_id": "default",
        "description": "Stores ACME identities.",
        "remote_ids": ["acme_id_1", "acme_id_2"],
        "enabled": True,
    }
    made = walk("PUT", one, 201, {"identity_provider": given}, **ids)["identity_provider"]
    assert made | given == made
    assert made["authorization_ttl"] is None
    assert made["links"]["protocols"] == made["links"]["self"] + "/protocols"
    change = {"identity_provider": {"remote_ids": ["beta"], "enabled": False}}
    changed = walk("PATCH", one, 200, change, **ids)["identity_provider"]
    assert changed == {**made, "remote_ids": ["beta"], "enabled": False}
    assert walk("GET", one, 200, **ids)["identity_provider"] == changed
    listed = walk("GET", "/OS-FEDERATION/identity_providers", 200)["identity_providers"]
    assert changed in listed
    found = walk("GET", "/OS-FEDERATION/identity_providers?enabled=true&id=acme", 200)
    assert found["identity_providers"] == []
    return "acme"


def _mappings(walk: Walk) -> str:
    one, ids = "/OS-FEDERATION/mappings/{mapping_id}", {"mapping_id": "acme"}
    made = walk("PUT", one, 201, {"mapping": {"rules": _RULES}}, **ids)["mapping"]
    assert made["rules"] == _RULES
    rules = [{**_RULES[0], "remote": [{"type": "UserName"}]}]
    changed = walk("PATCH", one, 200, {"mapping": {"rules": rules}}, **ids)["mapping"]
    assert changed == {**made, "rules": rules}
    assert walk("GET", one, 200, **ids)["mapping"] == changed
    assert changed in walk("GET", "/OS-FEDERATION/mappings", 200)["mappings"]
    return "acme"


def _protocols(walk: Walk, provider: str, mapping: str) -> None:
    every = "/OS-FEDERATION/identity_providers/{idp_id}/protocols"
    one, ids = every + "/{protocol_id}", {"idp_id": provider, "protocol_id": "saml2"}
    made = walk("PUT", one, 201, {"protocol": {"mapping_id": mapping}}, **ids)["protocol"]
    assert set(made) == {"id", "mapping_id", "links"}
    change = {"protocol": {"mapping_id": mapping, "remote_id_attribute": "Issuer"}}
    changed = walk("PATCH", one, 200, change, **ids)["protocol"]
    assert changed == {**made, "remote_id_attribute": "Issuer"}
    assert walk("GET", one, 200, **ids)["protocol"] == changed
    listed = walk("GET", every, 200, idp_id=provider)["protocols"]
    assert listed == [{**changed, "idp_id": provider}]
    walk("DELETE", one, 204, **ids)


def _service_providers(walk: Walk) -> None:
    one, ids = "/OS-FEDERATION/service_providers/{service_provider_id}", {}
    ids["service_provider_id"] = "beta"
    given = {
        "auth_url": "https://beta.example.org/identity/v3/OS-FEDERATION/identity_providers/a/"
        "protocols/saml2/auth",
        "sp_url": "https://beta.example.org/Shibboleth.sso/SAML2/ECP",
        "description": "Remote Service Provider",
        "enabled": True,
    }
    made = walk("PUT", one, 201, {"service_provider": given}, **ids)["service_provider"]
    assert made | given == made
    assert made["relay_state_prefix"] == "ss:mem:"
    change = {"service_provider": {"relay_state_prefix": "ss:temp:"}}
    changed = walk("PATCH", one, 200, change, **ids)["service_provider"]
    assert changed == {**made, "relay_state_prefix": "ss:temp:"}
    assert walk("GET", one, 200, **ids)["service_provider"] == changed
    listed = walk("GET", "/OS-FEDERATION/service_providers?enabled=1", 200)["service_providers"]
    assert listed == [changed]
    vouch = {"identity": {"token": {"id": "none"}}, "scope": {"service_provider": {"id": "beta"}}}
    for path in ("/auth/OS-FEDERATION/saml2", "/auth/OS-FEDERATION/saml2/ecp"):
        walk("POST", path, 401, {"auth": vouch})
    answer = walk.client.get("/identity/v3/OS-FEDERATION/saml2/metadata")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/xml")
    walk.met.add(("GET", "/v3/OS-FEDERATION/saml2/metadata"))
    # Not of the API: where Shibboleth takes assertions, which clients of Keystone expect.
    answer = walk.client.post("/Shibboleth.sso/SAML2/ECP", content=b"")
    assert answer.status_code == 401
    walk.met.add(("POST", "/v3/SAML2/ECP"))
    walk("DELETE", one, 204, **ids)


def _login(walk: Walk, cloud: TestedCloud, provider: str, mapping: str) -> None:
    """The URL to log in at: without anything that tells who one is there is no token."""
    one = "/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}"
    ids = {"idp_id": provider, "protocol_id": "openid"}
    walk("PUT", one, 201, {"protocol": {"mapping_id": mapping}}, **ids)
    walk("GET", f"{one}/auth", 401, **ids)
    walk("POST", f"{one}/auth", 401, **ids)
    websso = "/auth/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/websso"
    for method in ("GET", "POST"):  # the dashboard must be named
        walk(method, websso, 400, **ids)
        walk(method, "/auth/OS-FEDERATION/websso/{protocol_id}", 400, protocol_id="openid")
    walk("DELETE", one, 204, **ids)
    assert "projects" in walk("GET", "/OS-FEDERATION/projects", 200)
    assert "domains" in walk("GET", "/OS-FEDERATION/domains", 200)
