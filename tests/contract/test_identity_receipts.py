"""Several factors at once: rules, receipts, and what a receipt is not good for."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from nubelet.identity.methods.totp import passcode
from nubelet.kernel import clock
from tests.cloud import TestedCloud, make_cloud
from tests.delegations import TOKENS, Person, is_valid, person
from tests.identity_calls import V3, change

SEED = base64.b32encode(b"12345678901234567890").decode()
MINUTE = 60_000_000
_numbers = itertools.count()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path_factory.mktemp("identity"), services=("identity",), hosts=())
    yield tested
    tested.close()


@pytest.fixture
def later() -> Iterator[Any]:
    yield lambda minutes: clock.use_source(lambda: time.time_ns() // 1000 + round(minutes * MINUTE))
    clock.use_source(None)


@pytest.fixture
def user(cloud: TestedCloud) -> Person:
    """Somebody with a password and a TOTP seed who must use both."""
    made = person(cloud, f"user-{next(_numbers)}", "member")
    body = {"user_id": made.user_id, "type": "totp", "blob": SEED}
    made.client().post(f"{V3}/credentials", json={"credential": body})
    rules = [["password", "totp"], ["password", "magic"]]
    change(cloud.client("admin"), "user", made.user_id, options={"multi_factor_auth_rules": rules})
    return made


def totp(user: Person) -> dict[str, Any]:
    code = passcode(SEED, clock.now() // 30_000_000)
    return {"methods": ["totp"], "totp": {"user": {"id": user.user_id, "passcode": code}}}


def ask(user: Person, identity: dict[str, Any], receipt: str = "") -> httpx.Response:
    headers = {"Openstack-Auth-Receipt": receipt} if receipt else {}
    scope = {"project": {"id": user.project_id}}
    return user.cloud.client(None).post(
        TOKENS, json={"auth": {"identity": identity, "scope": scope}}, headers=headers
    )


def test_one_factor_gives_a_receipt_and_the_other_the_token(user):
    first = ask(user, user.identity)
    assert first.status_code == 401
    assert "x-subject-token" not in first.headers
    shown = first.json()
    assert shown["required_auth_methods"] == [["password", "totp"], ["password", "magic"]]
    receipt = shown["receipt"]
    assert receipt["methods"] == ["password"]
    assert receipt["user"] == {
        "id": user.user_id,
        "name": user.name,
        "domain": {"id": "default", "name": "Default"},
    }
    assert receipt["issued_at"] < receipt["expires_at"]
    second = ask(user, totp(user), first.headers["openstack-auth-receipt"])
    assert second.status_code == 201, second.text
    assert set(second.json()["token"]["methods"]) == {"password", "totp"}


def test_both_factors_at_once(user):
    both = {**user.identity, **totp(user), "methods": ["password", "totp"]}
    assert ask(user, both).status_code == 201


def test_a_wrong_factor_gives_no_receipt(user):
    wrong = totp(user)
    wrong["totp"]["user"]["passcode"] = "000000"
    both = {**user.identity, **wrong, "methods": ["password", "totp"]}
    answer = ask(user, both)
    assert answer.status_code == 401
    assert "openstack-auth-receipt" not in answer.headers
    assert "error" in answer.json()


def test_the_same_factor_again_gives_another_receipt(user):
    receipt = ask(user, user.identity).headers["openstack-auth-receipt"]
    again = ask(user, user.identity, receipt)
    assert again.status_code == 401
    assert again.json()["receipt"]["methods"] == ["password"]


def test_a_token_of_both_factors_can_be_rescoped(user):
    both = {**user.identity, **totp(user), "methods": ["password", "totp"]}
    text = ask(user, both).headers["x-subject-token"]
    assert ask(user, {"methods": ["token"], "token": {"id": text}}).status_code == 201


@pytest.mark.parametrize("how", ["late", "another user", "nonsense", "a token", "new password"])
def test_a_receipt_that_is_refused(cloud, user, later, how):
    receipt = ask(user, user.identity).headers["openstack-auth-receipt"]
    if how == "late":
        later(5.1)
    elif how == "another user":
        other = person(cloud, f"user-{next(_numbers)}", "member")
        answer = ask(other, other.identity, receipt)
        assert (answer.status_code, "error" in answer.json()) == (401, True)
        return
    elif how == "nonsense":
        receipt = "gAAAAnonsense"
    elif how == "a token":
        receipt = cloud.user("member").token
    else:
        change(cloud.client("admin"), "user", user.user_id, password="another")
    answer = ask(user, totp(user), receipt)
    assert (answer.status_code, "error" in answer.json()) == (401, True)


def test_a_receipt_is_no_token(cloud, user):
    receipt = ask(user, user.identity).headers["openstack-auth-receipt"]
    assert not is_valid(cloud, receipt)
    assert ask(user, {"methods": ["token"], "token": {"id": receipt}}).status_code == 404


def test_rules_can_be_switched_off(cloud, user):
    options = {"multi_factor_auth_enabled": False}
    change(cloud.client("admin"), "user", user.user_id, options=options)
    assert ask(user, user.identity).status_code == 201
