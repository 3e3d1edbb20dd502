"""Application credentials, access rules, trusts."""

from __future__ import annotations

from tests.cloud import TestedCloud
from tests.identity_walks import Walk


def walk(walk: Walk, cloud: TestedCloud) -> None:
    user = {"user_id": cloud.user("admin").user_id}
    project = cloud.user("admin").project_id
    rules = [{"path": "/v2.0/metrics", "method": "GET", "service": "monitoring"}]
    given = {"name": "walk", "roles": [{"name": "reader"}], "access_rules": rules}
    every = "/users/{user_id}/application_credentials"
    made = walk("POST", every, 201, {"application_credential": given}, **user)
    one = f"{every}/{{application_credential_id}}"
    identifier = {**user, "application_credential_id": made["application_credential"].pop("id")}
    shown = walk("GET", one, 200, **identifier)["application_credential"]
    assert shown["access_rules"] == made["application_credential"]["access_rules"]
    assert [each["name"] for each in walk("GET", every, 200, **user)["application_credentials"]]
    walk("DELETE", one, 204, **identifier)
    [rule] = walk("GET", "/users/{user_id}/access_rules", 200, **user)["access_rules"]
    one = "/users/{user_id}/access_rules/{access_rule_id}"
    assert walk("GET", one, 200, **user, access_rule_id=rule["id"])["access_rule"] == rule
    walk("DELETE", one, 204, **user, access_rule_id=rule["id"])
    trust = {
        "trustor_user_id": user["user_id"],
        "trustee_user_id": cloud.user("member").user_id,
        "project_id": project,
        "impersonation": False,
        "roles": [{"name": "reader"}],
    }
    made = walk("POST", "/OS-TRUST/trusts", 201, {"trust": trust})["trust"]
    assert walk("GET", "/OS-TRUST/trusts/{trust_id}", 200, trust_id=made["id"])["trust"] == made
    assert walk("GET", "/OS-TRUST/trusts", 200)["trusts"]
    every = "/OS-TRUST/trusts/{trust_id}/roles"
    [role] = walk("GET", every, 200, trust_id=made["id"])["roles"]
    both = {"trust_id": made["id"], "role_id": role["id"]}
    assert walk("GET", f"{every}/{{role_id}}", 200, **both)["role"] == role
    walk("HEAD", f"{every}/{{role_id}}", 200, **both)
    walk("DELETE", "/OS-TRUST/trusts/{trust_id}", 204, trust_id=made["id"])
