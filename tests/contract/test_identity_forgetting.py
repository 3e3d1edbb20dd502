"""What ended is forgotten, two days later and not before, a few rows at once; nothing else is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from nubelet import identity
from nubelet.identity import forgetting
from nubelet.identity.credentials.model import credential
from nubelet.identity.model import revoked_token
from nubelet.identity.oauth1.model import access_token, consumer, nonce, request_token
from nubelet.identity.trusts.model import trust
from nubelet.kernel import clock
from nubelet.kernel.ids import new_hex
from tests.cloud import TestedCloud, make_cloud
from tests.identity_calls import V3

HOUR = 3_600_000_000
Later = Callable[[float], None]
TABLES = (trust, revoked_token, request_token, access_token, nonce, credential)


@pytest.fixture
def cloud(tmp_path) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path, services=("identity",), hosts=())
    yield tested
    tested.close()


@pytest.fixture
def later() -> Iterator[Later]:
    yield lambda hours: clock.use_source(lambda: time.time_ns() // 1000 + round(hours * HOUR))
    clock.use_source(None)


class Rows:
    """Puts rows into identity's tables and counts them."""

    def __init__(self, cloud: TestedCloud) -> None:
        self.cloud = cloud
        self.user, self.other = cloud.user("member"), cloud.user("stranger")
        self.consumer = new_hex()
        self._insert(
            consumer, id=self.consumer, description=None, secret="", extra={}, created_at=0
        )

    def _insert(self, table: sa.Table, **values: Any) -> None:
        with self.cloud.cloud.database.write() as tx:
            tx.insert(table, values)

    def trust(
        self, ends_in_hours: float | None, above: str | None = None, uses: int | None = None
    ) -> str:
        made = new_hex()
        self._insert(
            trust, id=made, trustor_user_id=self.user.user_id, trustee_user_id=self.other.user_id,
            project_id=self.user.project_id, impersonation=False, role_ids=[],
            expires_at=None if ends_in_hours is None else at(ends_in_hours), remaining_uses=uses,
            redelegation_count=0, redelegated_trust_id=above, first_trustor_id=self.user.user_id,
            extra={}, created_at=clock.now(),
        )  # fmt: skip
        return made

    def request_token(self, ends_in_hours: float) -> None:
        self._insert(
            request_token, id=new_hex(), consumer_id=self.consumer, secret="",
            project_id=self.user.project_id, expires_at=at(ends_in_hours), created_at=clock.now(),
        )  # fmt: skip

    def access_token(self, ends_in_hours: float) -> str:
        made = new_hex()
        self._insert(
            access_token, id=made, consumer_id=self.consumer, secret="", role_ids=[],
            project_id=self.user.project_id, user_id=self.user.user_id,
            expires_at=at(ends_in_hours), created_at=clock.now(),
        )  # fmt: skip
        return made

    def nonce(self) -> None:
        self._insert(
            nonce, consumer_id=self.consumer, nonce=new_hex(), timestamp=1, created_at=clock.now()
        )

    def revoked(self, ends_in_hours: float) -> None:
        self._insert(revoked_token, audit_id=new_hex(), expires_at=at(ends_in_hours))

    def key(self, **made_with: str) -> None:
        self._insert(
            credential, id=new_hex(), access_hash=None, user_id=self.user.user_id, type="x",
            blob="", failed_count=0, extra={}, created_at=clock.now(), **made_with,
        )  # fmt: skip

    def count(self, *tables: sa.Table) -> list[int]:
        with self.cloud.cloud.database.read() as tx:
            return [
                int(tx.scalar(sa.select(sa.func.count()).select_from(table)) or 0)
                for table in tables or TABLES
            ]

    def forget(self) -> None:
        self.cloud.reconcile("identity-forgetting")


def at(hours: float) -> int:
    return clock.now() + round(hours * HOUR)


@pytest.fixture
def rows(cloud: TestedCloud) -> Rows:
    return Rows(cloud)


def test_what_ended_goes_two_days_later(rows, later):
    for make_row in (rows.trust, rows.revoked, rows.request_token, rows.access_token):
        make_row(1)
        make_row(100)
    rows.trust(None)
    for hours in (0, 2, 48):
        later(hours)
        rows.forget()
        assert rows.count() == [3, 2, 2, 2, 0, 0], f"{hours} hours later"
    later(50)
    rows.forget()
    assert rows.count() == [2, 1, 1, 1, 0, 0]
    later(200)
    rows.forget()
    assert rows.count() == [1, 0, 0, 0, 0, 0], "a trust without an end stays"


def test_a_used_up_trust_goes_when_its_last_token_has_ended(rows, later):
    """Its end is far away or there is none; a token made at the last use still needs its row."""
    rows.trust(None, uses=0)
    rows.trust(1000, uses=0)
    rows.trust(None, uses=1)
    lifetime = rows.cloud.cloud.settings.identity.token_lifetime_seconds / 3600
    for hours in (0, lifetime, lifetime + 47):
        later(hours)
        rows.forget()
        assert rows.count(trust) == [3], f"{hours} hours later"
    later(lifetime + 49)
    rows.forget()
    assert rows.count(trust) == [1], "only the one that can still be used"


def test_a_token_of_a_used_up_trust_lives_on(cloud, later):
    trustor, trustee = cloud.user("member"), cloud.user("stranger")
    body = {
        "trustor_user_id": trustor.user_id, "trustee_user_id": trustee.user_id,
        "impersonation": False, "project_id": trustor.project_id, "roles": [{"name": "member"}],
        "remaining_uses": 1,
    }  # fmt: skip
    made = cloud.client("member").post(f"{V3}/OS-TRUST/trusts", json={"trust": body})
    proof = {
        "methods": ["token"],
        "token": {"id": cloud.client("stranger").headers["X-Auth-Token"]},
    }
    scope = {"OS-TRUST:trust": {"id": made.json()["trust"]["id"]}}
    auth = {"auth": {"identity": proof, "scope": scope}}
    answer = cloud.client(None).post(f"{V3}/auth/tokens", json=auth)
    assert answer.status_code == 201, answer.text
    assert cloud.client(None).post(f"{V3}/auth/tokens", json=auth).status_code in (401, 403)
    cloud.reconcile("identity-forgetting")
    token = answer.headers["x-subject-token"]
    client = cloud.client(None, X_Auth_Token=token, X_Subject_Token=token)
    later(cloud.cloud.settings.identity.token_lifetime_seconds / 3600 - 0.2)
    found = client.get(f"{V3}/auth/tokens")
    assert found.status_code == 200, found.text
    assert found.json()["token"]["expires_at"] == answer.json()["token"]["expires_at"]


def test_a_chain_of_trusts_goes_together(rows, later):
    first = rows.trust(1)
    rows.trust(1, above=rows.trust(1, above=first))
    later(60)
    rows.forget()
    assert rows.count(trust) == [0]


def test_signed_requests_are_remembered_as_long_as_they_could_come_again(rows, later):
    rows.nonce()
    later(0.49)
    rows.forget()
    assert rows.count(nonce) == [1]
    later(0.51)
    rows.forget()
    assert rows.count(nonce) == [0]


def test_keys_go_with_the_delegation_that_made_them(rows, later):
    rows.key()
    rows.key(trust_id=rows.trust(None))
    rows.key(trust_id=rows.trust(1))
    rows.key(access_token_id=rows.access_token(1))
    rows.key(application_credential_id=new_hex())
    rows.forget()
    assert rows.count(credential) == [4], "an application credential that is not there"
    later(60)
    rows.forget()
    assert rows.count(credential) == [2]


def test_many_rows_go_in_small_transactions(rows, later, monkeypatch):
    monkeypatch.setattr(forgetting, "BATCH", 7)
    for _ in range(20):
        rows.revoked(1)
        rows.trust(1)
        rows.nonce()
    later(60)
    written: list[int] = []
    database = type(rows.cloud.cloud.database)
    transact = database.transact

    def counted(self: Any, step: Any) -> Any:
        done = transact(self, step)
        written.append(done)
        return done

    monkeypatch.setattr(database, "transact", counted)
    forgetting.forget_ended(rows.cloud.cloud)
    assert rows.count() == [0] * len(TABLES)
    assert max(each for each in written if isinstance(each, int)) == 7
    assert sum(each for each in written if isinstance(each, int)) == 60


@pytest.mark.parametrize("table", [trust, revoked_token, request_token, access_token], ids=str)
def test_the_ends_are_indexed(cloud, table):
    with cloud.cloud.database.read() as tx:
        found = sa.inspect(tx.connection).get_indexes(table.name)
    assert ["expires_at"] in [each["column_names"] for each in found]


def test_a_forgotten_trust_answers_as_one_that_ended(cloud, later):
    trustor, trustee = cloud.user("member"), cloud.user("stranger")
    body = {
        "trustor_user_id": trustor.user_id, "trustee_user_id": trustee.user_id,
        "impersonation": False, "project_id": trustor.project_id, "roles": [{"name": "member"}],
        "expires_at": clock.iso_micros_z(at(1)),
    }  # fmt: skip
    made = cloud.client("member").post(f"{V3}/OS-TRUST/trusts", json={"trust": body})
    path = f"{V3}/OS-TRUST/trusts/{made.json()['trust']['id']}"
    later(60)
    token = identity.issue_token(cloud.cloud, trustor.user_id, project_id=trustor.project_id)
    client = cloud.client(None, X_Auth_Token=token)
    before = client.get(path)
    cloud.reconcile("identity-forgetting")
    after = client.get(path)
    assert (before.status_code, before.json()) == (after.status_code, after.json())
    assert after.status_code == 404
