"""Application credentials, access rules, trusts."""

from __future__ import annotations

from tests.authorization.asking import Example
from tests.authorization.worlds import Maker, Things, World

V3 = "/identity/v3"


def things(world: World) -> Things:
    """A trust of the world's user; whoever asks makes one as its trustor."""
    trustee = world.admin(
        f"{V3}/users",
        {"user": {"name": f"trustee-of-{world.name}", "domain_id": world.domain_id}},
        "user",
        "id",
    )
    body = {
        "trustor_user_id": world.user_id,
        "trustee_user_id": trustee,
        "impersonation": False,
        "project_id": world.project_id,
        "roles": [{"name": "reader"}],
    }
    trust = world.member(f"{V3}/OS-TRUST/trusts", {"trust": body}, "trust", "id")
    # Callers who are in the world have an id of their own under that name.
    return {"trust_id": trust, "trustee_user_id": trustee, "self/user_id": "nobody"}


def belongings(maker: Maker, user_id: str) -> Things:
    """An application credential with an access rule, and a rule that is free."""
    rule = {"service": "image", "method": "GET", "path": f"/{user_id}"}

    def make(name: str, path: str) -> tuple[str, str]:
        rules = [{**rule, "path": path}]
        body = {"application_credential": {"name": name, "access_rules": rules}}
        every = f"{V3}/users/{user_id}/application_credentials"
        made = maker.client.post(every, json=body)
        assert made.status_code == 201, made.text
        shown = made.json()["application_credential"]
        return str(shown["id"]), str(shown["access_rules"][0]["id"])

    kept, _ = make("kept", "/kept")
    gone, free = make("gone", "/gone")
    maker(f"{V3}/users/{user_id}/application_credentials/{gone}", None, method="DELETE")
    return {"application_credential_id": kept, "access_rule_id": free}


_TRUST = {
    "trustor_user_id": "{user_id}",
    "trustee_user_id": "{trustee_user_id}",
    "impersonation": False,
}
EXAMPLES = {
    "POST /v3/users/{user_id}/application_credentials": Example(
        {"application_credential": {"name": "another"}}
    ),
    "POST /v3/OS-TRUST/trusts (as somebody else)": Example({"trust": _TRUST}),
    "POST /v3/OS-TRUST/trusts": Example({"trust": {**_TRUST, "trustor_user_id": "{self/user_id}"}}),
    "GET /v3/OS-TRUST/trusts (of a trustor)": Example(query="trustor_user_id={user_id}"),
    "GET /v3/OS-TRUST/trusts (of a trustee)": Example(query="trustee_user_id={trustee_user_id}"),
}
