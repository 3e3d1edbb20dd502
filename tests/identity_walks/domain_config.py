"""The configuration of domains, and its defaults."""

from __future__ import annotations

from tests.cloud import TestedCloud
from tests.identity_walks import Walk


def walk(walk: Walk, cloud: TestedCloud) -> None:
    domain = walk("POST", "/domains", 201, {"domain": {"name": "walk-config"}})["domain"]["id"]
    ids = {"domain_id": domain, "group": "ldap", "option": "url"}
    whole, group = "/domains/{domain_id}/config", "/domains/{domain_id}/config/{group}"
    one = f"{group}/{{option}}"
    config = {"identity": {"driver": "ldap"}, "ldap": {"url": "ldap://a.test"}}
    for path in (whole, group, one):
        walk("GET", path, 404, **ids)
    assert walk("PUT", whole, 201, {"config": config}, **ids)["config"] == config
    assert walk("PUT", whole, 200, {"config": config}, **ids)["config"] == config
    assert walk("GET", whole, 200, **ids)["config"] == config
    assert walk("GET", group, 200, **ids)["config"] == {"ldap": config["ldap"]}
    assert walk("GET", one, 200, **ids)["config"] == config["ldap"]
    changed = {**config, "ldap": {"url": "ldap://b.test"}}
    assert walk("PATCH", one, 200, {"config": changed["ldap"]}, **ids)["config"] == changed
    back = {"config": {"ldap": config["ldap"]}}
    assert walk("PATCH", group, 200, back, **ids)["config"] == config
    assert walk("PATCH", whole, 200, {"config": changed}, **ids)["config"] == changed
    walk("DELETE", one, 204, **ids)
    walk("DELETE", one, 404, **ids)
    walk("DELETE", group, 404, **ids)
    walk("PATCH", whole, 200, {"config": config}, **ids)
    walk("DELETE", group, 204, **ids)
    walk("DELETE", whole, 204, **ids)
    default = walk("GET", "/domains/config/default", 200)["config"]
    assert default["identity"]["driver"] == "sql"
    shown = walk("GET", "/domains/config/{group}/default", 200, group="ldap")["config"]
    assert shown == {"ldap": default["ldap"]}
    path = "/domains/config/{group}/{option}/default"
    assert walk("GET", path, 200, group="ldap", option="url")["config"] == {
        "url": default["ldap"]["url"]
    }
    walk("PATCH", "/domains/{domain_id}", 200, {"domain": {"enabled": False}}, **ids)
    walk("DELETE", "/domains/{domain_id}", 204, **ids)
