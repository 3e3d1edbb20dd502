"""Nobody learns from a refused login who exists: not by its words, not by its time.

One class of published holes. The others have their tests where the thing is tested:

* EC2 credentials that reach into other projects, or out of a delegation:
  test_identity_credentials.py (`..._without_a_role...`, `..._stays_bound...`);
* tokens that live longer by rescoping: test_identity_auth.py, and by delegation:
  test_identity_trusts.py, test_identity_application_credentials.py (`..._end...`);
* application credentials that escape their access rules or make more of themselves:
  test_identity_application_credentials.py;
* trusts and roles that are taken away and still work: `..._ends_its_tokens_at_the_next_request`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cloud import TestedCloud, make_cloud
from tests.delegations import SECRET, Person, log_in, person
from tests.identity_calls import V3, change

UNKNOWN = "0123456789abcdef0123456789abcdef"
Identity = dict[str, Any]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path_factory.mktemp("identity"), services=("identity",), hosts=())
    yield tested
    tested.close()


@pytest.fixture(scope="module")
def user(cloud: TestedCloud) -> Person:
    """Somebody with everything one can log in with."""
    made = person(cloud, "known", "member")
    client = made.client()
    totp = {"user_id": made.user_id, "type": "totp", "blob": "A" * 32}
    assert client.post(f"{V3}/credentials", json={"credential": totp}).status_code == 201
    body = {"application_credential": {"name": "known"}}
    path = f"{V3}/users/{made.user_id}/application_credentials"
    assert client.post(path, json=body).status_code == 201
    return made


def _password(who: dict[str, Any], secret: str = "wrong") -> Identity:
    return {"methods": ["password"], "password": {"user": {**who, "password": secret}}}


def _named(name: str) -> dict[str, Any]:
    return {"name": name, "domain": {"id": "default"}}


def _totp(who: dict[str, Any]) -> Identity:
    return {"methods": ["totp"], "totp": {"user": {**who, "passcode": "000000"}}}


def _application_credential(who: dict[str, Any], name: str = "known") -> Identity:
    part = {"name": name, "user": who, "secret": "wrong"}
    return {"methods": ["application_credential"], "application_credential": part}


# method -> (a login of somebody who exists, of somebody who does not)
LOGINS: dict[str, Callable[[Person], tuple[Identity, Identity]]] = {
    "password by id": lambda user: (_password({"id": user.user_id}), _password({"id": UNKNOWN})),
    "password by name": lambda user: (_password(_named("known")), _password(_named("unknown"))),
    "totp": lambda user: (_totp({"id": user.user_id}), _totp({"id": UNKNOWN})),
    "application credential of somebody": lambda user: (
        _application_credential({"id": user.user_id}),
        _application_credential({"id": UNKNOWN}),
    ),
    "application credential by name": lambda user: (
        _application_credential({"id": user.user_id}),
        _application_credential({"id": user.user_id}, "unknown"),
    ),
}


@pytest.mark.parametrize("method", LOGINS)
def test_by_words(cloud, user, method):
    known, unknown = (log_in(cloud, each, status=401) for each in LOGINS[method](user))
    assert known.text == unknown.text
    hidden = ("x-openstack-request-id",)
    headers = [
        {name: value for name, value in answer.headers.items() if name not in hidden}
        for answer in (known, unknown)
    ]
    assert headers[0] == headers[1]


@pytest.mark.parametrize("method", LOGINS)
def test_by_time(cloud, user, method):
    """The CPU of the whole process; the best of many, in turns, so that load counts for both."""
    best = [float("inf"), float("inf")]
    for number in range(100):
        if number >= 15 and _alike(best):
            break
        for which, identity in enumerate(LOGINS[method](user)):
            began = time.process_time()
            log_in(cloud, identity, status=401)
            best[which] = min(best[which], time.process_time() - began)
    assert _alike(best), best


def _alike(best: list[float]) -> bool:
    return abs(best[0] - best[1]) < 0.2 * max(best) + 0.0005


def test_a_disabled_user_looks_like_none(cloud):
    gone = person(cloud, "switched-off", "member")
    change(cloud.client("admin"), "user", gone.user_id, enabled=False)
    right = log_in(cloud, _password({"id": gone.user_id}, SECRET), status=401)
    assert right.text == log_in(cloud, _password({"id": UNKNOWN}, SECRET), status=401).text
