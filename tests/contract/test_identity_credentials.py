"""Credentials: who keeps and sees which, how they are stored, and EC2 keys, passcodes at work."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from nubelet import identity
from nubelet.identity import authenticator
from nubelet.identity.credentials.model import credential
from nubelet.identity.methods.totp import passcode
from nubelet.kernel import clock
from nubelet.kernel.errors import Unauthorized
from nubelet.kernel.http.app import Authenticator
from tests.cloud import TestedCloud, make_cloud
from tests.delegations import Person, is_valid, log_in, person, roles_of
from tests.identity_calls import V3

MINUTE = 60_000_000
_numbers = itertools.count()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(
        tmp_path_factory.mktemp("identity"), services=("identity", "image"), hosts=()
    )
    yield tested
    tested.close()


@pytest.fixture
def user(cloud: TestedCloud) -> Person:
    return person(cloud, f"user-{next(_numbers)}", "member")


@pytest.fixture
def later() -> Iterator[Any]:
    yield lambda minutes: clock.use_source(lambda: time.time_ns() // 1000 + round(minutes * MINUTE))
    clock.use_source(None)


def create(
    user: Person, status: int = 201, client: httpx.Client | None = None, **values: Any
) -> dict[str, Any]:
    body = {"user_id": user.user_id, "type": "cert", "blob": "anything", **values}
    answer = (client or user.client()).post(f"{V3}/credentials", json={"credential": body})
    assert answer.status_code == status, answer.text
    return dict(answer.json().get("credential") or answer.json()["error"])


def blob(access: str, secret: str = "s", **more: Any) -> str:
    return json.dumps({"access": access, "secret": secret, **more})


def ec2(
    user: Person, status: int = 201, client: httpx.Client | None = None, project: str = ""
) -> dict[str, Any]:
    answer = (client or user.client()).post(
        f"{V3}/users/{user.user_id}/credentials/OS-EC2",
        json={"tenant_id": project or user.project_id},
    )
    assert answer.status_code == status, answer.text
    return dict(answer.json().get("credential") or answer.json()["error"])


# --- /v3/credentials ----------------------------------------------------------------------------


def test_a_credential_is_kept_sealed(user):
    made = create(user, blob="a very secret text", note="mine")
    assert made["blob"] == "a very secret text"
    assert made["note"] == "mine"
    shown = user.client().get(f"{V3}/credentials/{made['id']}").json()["credential"]
    assert shown == made
    with user.cloud.cloud.database.read() as tx:
        row = tx.first(sa.select(credential).where(credential.c.id == made["id"]))
    assert row is not None
    assert "secret" not in row.blob
    folder = user.cloud.cloud.settings.state_dir / "credential-keys"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_keys_rotate_and_old_ones_are_not_needed_any_more(user):
    made = create(user, blob="kept")
    seal = authenticator.of(user.cloud.cloud).seal_of_secrets
    database = user.cloud.cloud.database
    with database.read() as tx:
        before = tx.scalar(sa.select(credential.c.blob).where(credential.c.id == made["id"]))
    seal.rotate(database)
    with database.read() as tx:
        after = tx.scalar(sa.select(credential.c.blob).where(credential.c.id == made["id"]))
    assert after != before
    assert seal.keys.is_present(after)
    assert not seal.keys.is_present(before)
    assert seal.renew(database) == 0
    shown = user.client().get(f"{V3}/credentials/{made['id']}").json()["credential"]
    assert shown["blob"] == "kept"


def test_a_lost_key_is_told_and_stops_nothing(tmp_path):
    tested = make_cloud(tmp_path, services=("identity",), hosts=())
    try:
        user = person(tested, "unlucky", "member")
        made, key = create(user), ec2(user)
        keys = tested.cloud.settings.state_dir / "credential-keys"
        for path in keys.iterdir():
            if path.name.isdigit():
                path.unlink()
        another = identity.TokenAuthenticator(tested.cloud)
        tested.cloud.provide(Authenticator, another)
        [told] = [each for each in identity.SERVICE.check(tested.cloud) if made["id"] in each]
        assert "cannot be opened" in told
        tested.reconcile("identity-credential-keys")
        shown = tested.client("admin").get(f"{V3}/credentials").json()["credentials"]
        assert [each["blob"] for each in shown] == ["", ""]
        assert ask(tested, "ec2", {"credentials": signed(key)}).status_code == 404
        every = f"{V3}/users/{user.user_id}/credentials/OS-EC2"
        assert user.client().get(every).json()["credentials"][0]["secret"] is None
        another.close()
    finally:
        tested.close()


def test_who_sees_and_changes_it(cloud, user):
    made = create(user)
    one = f"{V3}/credentials/{made['id']}"
    for name in ("admin", "system_reader"):
        assert cloud.client(name).get(one).status_code == 200
        listed = cloud.client(name).get(f"{V3}/credentials?user_id={user.user_id}").json()
        assert [each["id"] for each in listed["credentials"]] == [made["id"]]
    stranger = cloud.client("stranger")
    for client in (stranger, cloud.client("domain_reader")):
        for path in (one, f"{V3}/credentials/unknown"):
            assert client.get(path).status_code == 403
            assert client.delete(path).status_code == 403
            body = {"credential": {"blob": "x"}}
            assert client.patch(path, json=body).status_code == 403
        assert client.get(f"{V3}/credentials").json()["credentials"] == []
    assert cloud.client("admin").get(f"{V3}/credentials/unknown").status_code == 404
    create(user, 403, stranger)
    assert user.client().delete(one).status_code == 204


def test_lists_are_narrowed_and_filtered(user):
    cert, ec2_key = (
        create(user),
        create(user, type="ec2", blob=blob(f"a{next(_numbers)}"), project_id=user.project_id),
    )
    client = user.client()

    def listed(query: str = "") -> set[str]:
        found = client.get(f"{V3}/credentials{query}").json()["credentials"]
        return {each["id"] for each in found}

    assert listed() == {cert["id"], ec2_key["id"]}
    assert listed("?type=ec2") == {ec2_key["id"]}
    assert listed(f"?user_id={user.user_id}&type=cert") == {cert["id"]}
    assert listed("?user_id=another") == set()


@pytest.mark.parametrize("name", ["user_id", "project_id", "type", "id"])
def test_whose_it_is_and_what_for_stays_as_it_was_made(cloud, user, name):
    """Who could change them would get into other projects, and be other users."""
    made = create(user)
    one = f"{V3}/credentials/{made['id']}"
    for client in (user.client(), cloud.client("admin")):
        answer = client.patch(one, json={"credential": {name: "another", "blob": "x"}})
        assert answer.status_code == 400
        assert name in answer.json()["error"]["message"]
        same = {"credential": {**made, "blob": "y"}}
        assert client.patch(one, json=same).json()["credential"] == {**made, "blob": "y"}


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"blob": None}, "blob"),
        ({"type": ""}, "type"),
        ({"user_id": 7}, "user_id"),
        ({"type": "ec2", "blob": "no json", "project_id": "p"}, "blob"),
        ({"type": "ec2", "blob": "[]", "project_id": "p"}, "blob"),
        ({"type": "ec2", "blob": '{"secret": "s"}', "project_id": "p"}, "access"),
        ({"type": "ec2", "blob": '{"access": "a", "secret": "s"}'}, "project_id"),
    ],
)
def test_what_it_cannot_be(user, values, word):
    assert word in create(user, 400, **values)["message"]


def test_the_id_of_an_ec2_credential_is_the_digest_of_its_access_key(user):
    access = f"access-{next(_numbers)}"
    values = {"type": "ec2", "project_id": user.project_id}
    made = create(user, blob=blob(access), **values)
    assert made["id"] == hashlib.sha256(access.encode()).hexdigest()
    create(user, 409, blob=blob(access), **values)
    one = f"{V3}/credentials/{made['id']}"
    change = {"credential": {"blob": blob(access + "-new")}}
    changed = user.client().patch(one, json=change).json()["credential"]
    assert changed == {**made, "blob": change["credential"]["blob"]}
    change = {"credential": {"blob": blob(access, trust_id="x")}}
    assert user.client().patch(one, json=change).status_code == 400


# --- EC2 keys -----------------------------------------------------------------------------------


def test_ec2_keys_of_a_user(cloud, user):
    made, client = ec2(user), user.client()
    every = f"{V3}/users/{user.user_id}/credentials/OS-EC2"
    assert made["tenant_id"] == user.project_id
    assert made["links"]["self"] == f"http://cloud.test{every}/{made['access']}"
    assert client.get(f"{every}/{made['access']}").json()["credential"] == made
    assert client.get(every).json()["credentials"] == [made]
    for path in (every, f"{every}/{made['access']}"):
        assert cloud.client("stranger").get(path).status_code == 403
        assert cloud.client("admin").get(path).status_code == 200
    theirs = f"{V3}/users/{cloud.user('stranger').user_id}/credentials/OS-EC2"
    assert cloud.client("stranger").get(f"{theirs}/{made['access']}").status_code == 403
    assert cloud.client("stranger").delete(f"{theirs}/{made['access']}").status_code == 403
    assert cloud.client("stranger").get(f"{every}/unknown").status_code == 404
    assert cloud.client("admin").get(f"{theirs}/{made['access']}").status_code == 200, "as upstream"
    ec2(user, 404, project="unknown")
    assert client.delete(f"{every}/{made['access']}").status_code == 204
    assert client.get(f"{every}/{made['access']}").status_code == 404


def signed(key: dict[str, Any], version: str = "4", **more: Any) -> dict[str, Any]:
    """A described request, signed as keystoneclient's signer does it."""
    from keystoneclient.contrib.ec2.utils import Ec2Signer

    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(clock.now() // 1_000_000))
    request: dict[str, Any] = {
        "access": key["access"],
        "host": "ec2.test:8773",
        "verb": "GET",
        "path": "/services/Cloud",
        "body_hash": hashlib.sha256(b"").hexdigest(),
        "params": {"Action": "DescribeInstances", "Z a": "b/c d~"},
        "headers": {"Host": "ec2.test:8773"},
    }
    if version == "4":
        scope = f"{now[:8]}/here/ec2/aws4_request"
        request["headers"] |= {
            "X-Amz-Date": now,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={key['access']}/{scope}, "
            "SignedHeaders=host;x-amz-date, Signature=unknown",
        }
    else:
        request["params"] |= {
            "SignatureVersion": version,
            "Timestamp": f"{now[:4]}-{now[4:6]}-{now[6:11]}:{now[11:13]}:{now[13:15]}Z",
        }
        if version == "2":
            request["params"]["SignatureMethod"] = "HmacSHA256"
    request |= more
    request["signature"] = Ec2Signer(key["secret"]).generate(json.loads(json.dumps(request)))
    return request


def ask(cloud: TestedCloud, what: str, body: dict[str, Any], caller: Any = "service") -> Any:
    return cloud.client(caller).post(f"{V3}/{what}tokens", json=body)


@pytest.mark.parametrize("version", ["0", "1", "2", "4"])
def test_a_signed_request_gets_a_token(cloud, user, version):
    key = ec2(user)
    answer = ask(cloud, "ec2", {"ec2Credentials": signed(key, version)})
    assert answer.status_code == 200, answer.text
    token = answer.json()["token"]
    assert token["user"]["id"] == user.user_id
    assert token["project"]["id"] == user.project_id
    assert token["methods"] == ["ec2credential"]
    assert roles_of(answer) == ["member", "reader"]
    assert is_valid(cloud, answer.headers["x-subject-token"])
    wrong = {**signed(key, version), "path": "/other"}
    if version in ("2", "4"):  # the older ones do not sign the path
        assert ask(cloud, "ec2", {"credentials": wrong}).status_code == 401
    wrong = signed({**key, "secret": "wrong"}, version)
    assert ask(cloud, "ec2", {"credentials": wrong}).status_code == 401


def test_a_host_signed_without_its_port(cloud, user):
    request = signed(ec2(user), "2", host="ec2.test") | {"host": "ec2.test:8773"}
    assert ask(cloud, "ec2", {"credentials": request}).status_code == 200


@pytest.mark.parametrize("version", ["2", "4"])
def test_a_request_that_was_signed_long_ago_is_refused(cloud, user, later, version):
    request = signed(ec2(user), version)
    later(16)
    assert ask(cloud, "ec2", {"credentials": request}).status_code == 401


def s3(key: dict[str, Any], *, version: int = 4, service: str = "s3") -> dict[str, Any]:
    if version == 1:
        text = b"GET\n\n\nWed, 25 Nov 2026 12:00:00 GMT\n/bucket"
        digest = hmac.digest(key["secret"].encode(), text, "sha1")
        signature = base64.b64encode(digest).decode()
    else:
        scope = ["20261125", "here", service, "aws4_request"]
        text = f"AWS4-HMAC-SHA256\n20261125T120000Z\n{'/'.join(scope)}\n{'0' * 64}".encode()
        made = b"AWS4" + key["secret"].encode()
        for part in scope:
            made = hmac.digest(made, part.encode(), "sha256")
        signature = hmac.digest(made, text, "sha256").hex()
    token = base64.urlsafe_b64encode(text).decode()
    return {"access": key["access"], "signature": signature, "token": token}


@pytest.mark.parametrize("version", [1, 4])
def test_a_signed_s3_request_shows_a_token_and_does_not_give_it(cloud, user, version):
    key = ec2(user)
    answer = ask(cloud, "s3", {"credentials": s3(key, version=version)})
    assert answer.status_code == 200, answer.text
    assert answer.json()["token"]["project"]["id"] == user.project_id
    assert "x-subject-token" not in answer.headers
    wrong = s3({**key, "secret": "wrong"}, version=version)
    assert ask(cloud, "s3", {"credentials": wrong}).status_code == 401
    assert ask(cloud, "s3", {"credentials": s3(key, service="ec2")}).status_code == 401


@pytest.mark.parametrize("what", ["ec2", "s3"])
def test_only_services_and_administrators_exchange_signatures(cloud, user, what):
    key = ec2(user)
    body = {"credentials": signed(key) if what == "ec2" else s3(key)}
    for caller, status in (
        (None, 401),
        ("member", 403),
        ("manager", 403),
        ("system_reader", 403),
        ("service", 200),
        ("admin", 200),
    ):
        assert ask(cloud, what, body, caller).status_code == status, caller
    assert user.client().post(f"{V3}/{what}tokens", json=body).status_code == 403


@pytest.mark.parametrize("what", ["ec2", "s3"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"credentials": {}}, 401),
        ({"credentials": {"access": "unknown", "signature": "x"}}, 404),
        ({"credentials": {"access": "unknown"}}, 401),
        ({"credentials": {"access": 7, "signature": "x"}}, 401),
        ({"credentials": "x"}, 401),
        ({"credentials": {"access": "x", "signature": "x", "params": 7}}, 400),
    ],
)
def test_bad_descriptions(cloud, what, body, status):
    assert ask(cloud, what, body).status_code == status


@pytest.mark.parametrize("what", ["key", "role", "user", "project", "disabled"])
def test_what_ends_a_key(cloud, user, what):
    key, admin = ec2(user), cloud.client("admin")
    token = ask(cloud, "ec2", {"credentials": signed(key)}).headers["x-subject-token"]
    if what == "key":
        user.client().delete(f"{V3}/users/{user.user_id}/credentials/OS-EC2/{key['access']}")
    elif what == "role":
        user.grant("member", method="DELETE")
    elif what == "disabled":
        admin.patch(f"{V3}/users/{user.user_id}", json={"user": {"enabled": False}})
    else:
        identifier = user.user_id if what == "user" else user.project_id
        assert admin.delete(f"{V3}/{what}s/{identifier}").status_code == 204
    assert ask(cloud, "ec2", {"credentials": signed(key)}).status_code in (401, 404)
    assert is_valid(cloud, token) is (what == "key"), "a token outlives the key it was made with"


def test_a_key_for_a_project_without_a_role_is_worth_nothing(cloud, user):
    """Nobody gets into a project by naming it in an EC2 credential."""
    foreign = cloud.user("stranger").project_id or ""
    key = ec2(user, project=foreign)
    assert ask(cloud, "ec2", {"credentials": signed(key)}).status_code == 401
    made = create(user, type="ec2", blob=blob(f"a{next(_numbers)}"), project_id=user.project_id)
    change = {"credential": {"project_id": foreign}}
    one = f"{V3}/credentials/{made['id']}"
    assert user.client().patch(one, json=change).status_code == 400


def test_readers_make_no_keys(cloud, user):
    reader = person(cloud, f"user-{next(_numbers)}", "reader", project_id=user.project_id)
    ec2(reader, 403)
    ec2(reader, 403, reader.client("unscoped"))


def test_a_token_of_a_key_makes_nothing_and_sees_no_secret(cloud, user):
    key = ec2(user)
    text = ask(cloud, "ec2", {"credentials": signed(key)}).headers["x-subject-token"]
    client = cloud.client(None, X_Auth_Token=text)
    every = f"{V3}/users/{user.user_id}/credentials/OS-EC2"
    log_in(cloud, {"methods": ["token"], "token": {"id": text}}, "unscoped", 403)
    ec2(user, 403, client)
    create(user, 403, client)
    body = {"application_credential": {"name": "x"}}
    path = f"{V3}/users/{user.user_id}/application_credentials"
    assert client.post(path, json=body).status_code == 403
    assert client.get(every).json()["credentials"] == []
    assert client.get(f"{V3}/credentials").json()["credentials"] == []
    assert client.get(f"{every}/{key['access']}").status_code == 404
    log_in(cloud, {"methods": ["ec2credential"], "ec2credential": {}}, status=401)


# --- Keys that were made by delegation ----------------------------------------------------------


def application_credential(user: Person, **values: Any) -> dict[str, Any]:
    body = {"application_credential": {"name": f"n{next(_numbers)}", **values}}
    path = f"{V3}/users/{user.user_id}/application_credentials"
    return dict(user.client().post(path, json=body).json()["application_credential"])


def program(user: Person, made: dict[str, Any]) -> httpx.Client:
    part = {"id": made["id"], "secret": made["secret"]}
    identity = {"methods": ["application_credential"], "application_credential": part}
    token = log_in(user.cloud, identity).headers["x-subject-token"]
    return user.cloud.client(None, X_Auth_Token=token)


def test_a_restricted_application_credential_has_nothing_to_do_with_keys(cloud, user):
    mine = ec2(user)
    client = program(user, application_credential(user))
    ec2(user, 403, client)
    create(user, 403, client)
    every = f"{V3}/users/{user.user_id}/credentials/OS-EC2"
    assert client.get(every).json()["credentials"] == []
    assert client.get(f"{every}/{mine['access']}").status_code == 404
    assert client.delete(f"{every}/{mine['access']}").status_code == 404


def test_a_key_of_an_unrestricted_one_stays_bound_to_it(cloud, user):
    user.grant("manager")
    made = application_credential(user, unrestricted=True, roles=[{"name": "member"}])
    client = program(user, made)
    foreign = person(cloud, f"user-{next(_numbers)}", "member").project_id
    ec2(user, 403, client, project=foreign)
    key = ec2(user, 201, client)
    answer = ask(cloud, "ec2", {"credentials": signed(key)})
    assert roles_of(answer) == ["member", "reader"], "not manager"
    assert answer.json()["token"]["application_credential"]["id"] == made["id"]
    one = f"{V3}/credentials/{hashlib.sha256(key['access'].encode()).hexdigest()}"
    shown = user.client().get(one).json()["credential"]
    assert json.loads(shown["blob"])["app_cred_id"] == made["id"]
    free = blob(key["access"], key["secret"])
    for change in ({"blob": free}, {"project_id": foreign}, {"type": "cert"}):
        answer = user.client().patch(one, json={"credential": change})
        assert answer.status_code in (400, 403), change
    user.client().delete(f"{V3}/users/{user.user_id}/application_credentials/{made['id']}")
    assert ask(cloud, "ec2", {"credentials": signed(key)}).status_code == 401


def test_a_key_of_a_trustee_stays_bound_to_the_trust(cloud, user):
    user.grant("manager")
    trustee = person(cloud, f"user-{next(_numbers)}")
    mine = ec2(user)
    trust = {
        "trustor_user_id": user.user_id,
        "trustee_user_id": trustee.user_id,
        "impersonation": True,
        "project_id": user.project_id,
        "roles": [{"name": "member"}],
    }
    made = user.client().post(f"{V3}/OS-TRUST/trusts", json={"trust": trust}).json()["trust"]
    client = trustee.client({"OS-TRUST:trust": {"id": made["id"]}})
    create(user, 403, client)
    foreign = person(cloud, f"user-{next(_numbers)}", "member").project_id
    ec2(user, 403, client, project=foreign)
    key = ec2(user, 201, client)
    assert key["trust_id"] == made["id"]
    listed = client.get(f"{V3}/users/{user.user_id}/credentials/OS-EC2").json()["credentials"]
    assert [each["access"] for each in listed] == [key["access"]]
    assert mine["access"] not in client.get(f"{V3}/credentials").text
    answer = ask(cloud, "ec2", {"credentials": signed(key)})
    assert roles_of(answer) == ["member", "reader"]
    assert answer.json()["token"]["OS-TRUST:trust"]["id"] == made["id"]
    user.client().delete(f"{V3}/OS-TRUST/trusts/{made['id']}")
    assert ask(cloud, "ec2", {"credentials": signed(key)}).status_code == 401


# --- What other services ask ----------------------------------------------------------------------


def test_a_service_serves_signed_requests_by_itself(cloud, user):
    key, inner = ec2(user), cloud.cloud
    with inner.database.read() as tx:
        found = identity.find_ec2_credential(inner, tx, key["access"])
        assert identity.find_ec2_credential(inner, tx, "unknown") is None
        assert found is not None
        assert (found.secret, found.user_id) == (key["secret"], user.user_id)
        route = "GET object-store /v1/AUTH_x"
        worth = identity.authorize_ec2_credential(inner, tx, found, route)
        assert worth.project_id == user.project_id
        assert worth.roles == ("member", "reader")
        again = identity.authorize_ec2_credential(inner, tx, found, route)
        assert again is worth, "remembered as long as nothing changes"
    user.grant("manager")
    with inner.database.read() as tx:
        more = identity.authorize_ec2_credential(inner, tx, found, route)
        assert more.roles == ("manager", "member", "reader")
    for role in ("manager", "member"):
        user.grant(role, method="DELETE")
    with inner.database.read() as tx, pytest.raises(Unauthorized):
        identity.authorize_ec2_credential(inner, tx, found, route)


def test_access_rules_hold_for_signed_requests_too(cloud, user):
    rule = {"service": "image", "method": "GET", "path": "/v2/images"}
    made = application_credential(user, unrestricted=True, access_rules=[rule, {
        "service": "identity", "method": "POST",
        "path": f"/v3/users/{user.user_id}/credentials/OS-EC2",
    }])  # fmt: skip
    key, inner = ec2(user, 201, program(user, made)), cloud.cloud
    with inner.database.read() as tx:
        found = identity.find_ec2_credential(inner, tx, key["access"])
        assert found is not None
        identity.authorize_ec2_credential(inner, tx, found, "GET image /image/v2/images")
        for route in ("GET image /image/v2/images/x", "GET object-store /v1/AUTH_x", ""):
            with pytest.raises(Unauthorized):
                identity.authorize_ec2_credential(inner, tx, found, route)
    token = ask(cloud, "ec2", {"credentials": signed(key)}).headers["x-subject-token"]
    client = cloud.client(None, X_Auth_Token=token)
    assert client.get("/image/v2/images").status_code == 200
    assert client.get("/image/v2/images/x").status_code == 401


# --- Passcodes ----------------------------------------------------------------------------------

SEED = base64.b32encode(b"12345678901234567890").decode()


def by_passcode(user: Person, code: str | None) -> dict[str, Any]:
    return {"methods": ["totp"], "totp": {"user": {"id": user.user_id, "passcode": code}}}


def step(minutes: float = 0) -> int:
    return (clock.now() + round(minutes * MINUTE)) // 30_000_000


@pytest.mark.parametrize(
    ("seconds", "code"),  # RFC 6238, appendix B, last six digits
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")],
)
def test_passcodes_are_those_of_the_rfc(seconds, code):
    assert passcode(SEED, seconds // 30) == code
    assert passcode(SEED.lower(), seconds // 30) == code


def test_a_passcode_lets_in_once(cloud, user, later):
    create(user, type="totp", blob=SEED)
    later(0)
    code = passcode(SEED, step())
    answer = log_in(cloud, by_passcode(user, code))
    assert answer.json()["token"]["methods"] == ["totp"]
    log_in(cloud, by_passcode(user, code), status=401)
    later(0.5)
    log_in(cloud, by_passcode(user, code), status=401)
    named = {"name": user.name, "domain": {"id": "default"}, "passcode": passcode(SEED, step())}
    log_in(cloud, {"methods": ["totp"], "totp": {"user": named}})


def test_a_passcode_is_good_for_one_step_more(cloud, user, later):
    create(user, type="totp", blob=SEED)
    create(user, type="totp", blob="not base32!")
    code = passcode(SEED, step())
    later(1.01)
    now = clock.now()
    clock.use_source(lambda: now)  # it stands: no step begins between a code and its use
    log_in(cloud, by_passcode(user, code), status=401)
    log_in(cloud, by_passcode(user, passcode(SEED, step() - 1)))
    log_in(cloud, by_passcode(user, passcode(SEED, step() + 1)), status=401)


def test_refused_passcodes_look_alike(cloud, user):
    create(user, type="totp", blob=SEED)
    nobody = Person(cloud, "nobody", "unknown", "unknown")
    without = person(cloud, f"user-{next(_numbers)}")
    refused = {
        log_in(cloud, by_passcode(who, "000000"), status=401).text
        for who in (user, nobody, without)
    }
    refused.add(log_in(cloud, by_passcode(user, "\uff11\uff12\uff13"), status=401).text)
    assert len(refused) == 1


def test_wrong_passcodes_lock_out_whatever_the_password(tmp_path):
    options = {
        "security_compliance.lockout_failure_attempts": 3,
        "security_compliance.lockout_duration": 600,
    }
    tested = make_cloud(tmp_path, services=("identity",), hosts=(), options=options)
    try:
        user = person(tested, "guessed", "member")
        create(user, type="totp", blob=SEED)
        for _ in range(3):
            both = {**user.identity, **by_passcode(user, "000000")}
            log_in(tested, {**both, "methods": ["password", "totp"]}, status=401)
        log_in(tested, by_passcode(user, passcode(SEED, step())), status=401)
        clock.use_source(lambda: time.time_ns() // 1000 + 11 * MINUTE)
        log_in(tested, by_passcode(user, "000000"), status=401)
        log_in(tested, by_passcode(user, passcode(SEED, step())))
    finally:
        clock.use_source(None)
        tested.close()
