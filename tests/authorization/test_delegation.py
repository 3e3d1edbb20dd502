"""Who acts with a part of a user's rights gets no more than the user, from any route, and cannot
make itself independent of the delegation: no route that makes or shows secrets, delegates further
or hands out rights lets it in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.authorization.callers import Caller
from tests.authorization.matrix import Matrix
from tests.authorization.table import OUTCOMES
from tests.cloud import TestedCloud

V3 = "/identity/v3"
USER = Caller("member", "own")
# What only users in person may do: all else is as for the user.
IN_PERSON = (
    "POST /v3/auth/tokens",
    "/application_credentials",
    "/access_rules",
    "/v3/credentials",
    "/credentials/OS-EC2",
    "/OS-TRUST/trusts",
    "/OS-OAUTH1/",
)

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    made = Matrix(tmp_path_factory.mktemp("delegation"))
    yield made
    made.close()


def _log_in(cloud: TestedCloud, auth: dict[str, Any]) -> str:
    answer = cloud.client(None).post(f"{V3}/auth/tokens", json={"auth": auth})
    assert answer.status_code == 201, answer.text
    return str(answer.headers["x-subject-token"])


def by_application_credential(cloud: TestedCloud) -> str:
    """A token of a restricted application credential with all of the user's roles."""
    values = {"name": f"delegated-{next(_numbers)}", "secret": "a-secret"}
    user = cloud.user("member")
    path = f"{V3}/users/{user.user_id}/application_credentials"
    made = cloud.client("member").post(path, json={"application_credential": values})
    assert made.status_code == 201, made.text
    key = {"id": made.json()["application_credential"]["id"], "secret": "a-secret"}
    identity = {"methods": ["application_credential"], "application_credential": key}
    return _log_in(cloud, {"identity": identity})


def by_trust(cloud: TestedCloud) -> str:
    """A token by which somebody impersonates the user."""
    trustor, trustee = cloud.user("member"), cloud.user("stranger")
    values = {
        "trustor_user_id": trustor.user_id,
        "trustee_user_id": trustee.user_id,
        "project_id": trustor.project_id,
        "impersonation": True,
        "roles": [{"name": "member"}],
    }
    made = cloud.client("member").post(f"{V3}/OS-TRUST/trusts", json={"trust": values})
    assert made.status_code == 201, made.text
    identity = {"methods": ["token"], "token": {"id": trustee.token}}
    scope = {"OS-TRUST:trust": {"id": made.json()["trust"]["id"]}}
    return _log_in(cloud, {"identity": identity, "scope": scope})


@pytest.fixture(params=[by_application_credential, by_trust])
def token(request: pytest.FixtureRequest, matrix: Matrix) -> str:
    """A token of a delegate of USER, with all of the user's roles."""
    make: Callable[[TestedCloud], str] = request.param
    made = make(matrix.tested)
    matrix.rewinding.keep()
    return made


def test_a_delegate_gets_no_more_than_the_user(matrix, token):
    more, less = [], []
    for service in matrix.services:
        for call in matrix.calls(service):
            own = matrix.answer(call, USER).status
            found = matrix.ask(call, "own", token, "member").status
            if found < 400 <= own:
                more.append(f"{call}: {found}, the user: {own}")
            elif own < 400 <= found and not any(part in str(call) for part in IN_PERSON):
                less.append(f"{call}: {found}, the user: {own}")
            assert found < 500 or found in OUTCOMES, (str(call), found)
    assert "\n".join(more) == ""
    assert "\n".join(less) == ""


@pytest.mark.parametrize(
    ("route", "wanted"),
    [
        ("POST /v3/users/{user_id}/application_credentials", {403}),
        ("DELETE /v3/users/{user_id}/application_credentials/{application_credential_id}", {403}),
        ("DELETE /v3/users/{user_id}/access_rules/{access_rule_id}", {403}),
        ("POST /v3/OS-TRUST/trusts", {403}),
        ("GET /v3/credentials/{credential_id}", {403, 404}),
        ("PATCH /v3/credentials/{credential_id}", {403, 404}),
        ("DELETE /v3/credentials/{credential_id}", {403, 404}),
        ("GET /v3/users/{user_id}/credentials/OS-EC2/{credential_id}", {403, 404}),
        ("DELETE /v3/users/{user_id}/credentials/OS-EC2/{credential_id}", {403, 404}),
        ("PUT /v3/OS-OAUTH1/authorize/{request_token_id}", {403}),
    ],
)
def test_a_delegate_does_not_make_itself_independent(matrix, token, route, wanted):
    call = next(call for call in matrix.calls("identity") if str(call) == route)
    assert matrix.ask(call, "own", token, "member").status in wanted
