"""Identity as a part of the cloud: its first rows, its doctor, many callers at once."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from nubelet import identity
from nubelet.identity import authenticator, model
from nubelet.kernel.errors import NotFound
from tests.cloud import ADMIN_PASSWORD, BASE_URL, REGION, TestedCloud, make_cloud
from tests.identity_calls import V3, change, make


@pytest.fixture
def cloud(tmp_path):
    tested = make_cloud(tmp_path, services=("identity",), hosts=())
    yield tested
    tested.close()


def log_in(cloud: TestedCloud, secret: str = ADMIN_PASSWORD) -> Any:
    return cloud.client(None).post(
        f"{V3}/auth/tokens",
        json={
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {
                        "user": {"name": "admin", "domain": {"id": "default"}, "password": secret}
                    },
                }
            }
        },
    )


def rows(cloud: TestedCloud) -> dict[str, list[Any]]:
    tables = [
        table
        for name, table in model.project.metadata.tables.items()
        if name.startswith("identity_") and name != "identity_revision"
    ]
    with cloud.cloud.database.read() as tx:
        return {
            table.name: sorted(tuple(map(str, row)) for row in tx.all(sa.select(table)))
            for table in tables
        }


# --- The beginning ------------------------------------------------------------------------------


def test_the_first_user_may_do_everything_everywhere(cloud):
    for scope in (
        {"project": {"name": "admin", "domain": {"id": "default"}}},
        {"domain": {"id": "default"}},
        {"system": {"all": True}},
    ):
        answer = cloud.client(None).post(
            f"{V3}/auth/tokens",
            json={
                "auth": {
                    "scope": scope,
                    "identity": {
                        "methods": ["password"],
                        "password": {
                            "user": {
                                "name": "admin",
                                "domain": {"name": "Default"},
                                "password": ADMIN_PASSWORD,
                            }
                        },
                    },
                }
            },
        )
        assert answer.status_code == 201, answer.text
        assert answer.json()["token"]["roles"][0]["name"] == "admin"


def test_the_catalog_holds_every_service_with_three_endpoints(cloud):
    catalog = cloud.client("admin").get(f"{V3}/auth/catalog").json()["catalog"]
    assert [each["type"] for each in catalog] == [
        service.type for service in cloud.cloud.services.values()
    ]
    for each, service in zip(catalog, cloud.cloud.services.values(), strict=True):
        assert [(e["interface"], e["region"], e["url"]) for e in each["endpoints"]] == [
            (interface, REGION, BASE_URL + service.endpoint)
            for interface in ("public", "internal", "admin")
        ]


def test_a_second_bootstrap_changes_nothing(cloud):
    before = rows(cloud)
    identity.bootstrap(cloud.cloud, "another password", REGION, "http://elsewhere")
    assert rows(cloud) == before
    assert log_in(cloud, "another password").status_code == 401
    assert log_in(cloud).status_code == 201


def test_bootstrap_adds_what_is_missing(cloud):
    admin = cloud.client("admin")
    [endpoint, *_] = admin.get(f"{V3}/endpoints").json()["endpoints"]
    admin.delete(f"{V3}/endpoints/{endpoint['id']}")
    identity.bootstrap(cloud.cloud, "x", REGION, BASE_URL)
    interfaces = [each["interface"] for each in admin.get(f"{V3}/endpoints").json()["endpoints"]]
    assert sorted(interfaces) == ["admin", "internal", "public"]


def test_tokens_survive_a_restart(cloud):
    again = identity.TokenAuthenticator(cloud.cloud)
    assert (
        again.authenticate(cloud.user("member").token, {}, "").user_id
        == cloud.user("member").user_id
    )
    again.close()


# --- Many at once -------------------------------------------------------------------------------


def test_a_hundred_logins_do_not_stop_the_api(cloud):
    """Every thread that hashes waits until released; everything else is answered meanwhile."""
    released, busy = threading.Event(), threading.Semaphore(0)
    passwords = authenticator.of(cloud.cloud).passwords
    verify = passwords.verify

    def slow_verify(password: str, stored: str | None) -> bool:
        busy.release()
        released.wait(100)
        return verify(password, stored)

    cloud.user("member")
    passwords.verify = slow_verify  # type: ignore[method-assign]
    with ThreadPoolExecutor(100) as many:
        logins = [many.submit(log_in, cloud) for _ in range(100)]
        try:
            assert busy.acquire(timeout=60)
            for _ in range(20):
                answer = cloud.client("member").get(f"{V3}/auth/projects")
                assert answer.status_code == 200
        finally:
            released.set()
        assert {login.result().status_code for login in logins} == {201}


def test_the_empty_name_is_no_region(cloud):
    """Neither of an endpoint nor above a region."""
    admin = cloud.client("admin")
    service = admin.post(f"{V3}/services", json={"service": {"type": "x"}}).json()["service"]["id"]
    values = {"service_id": service, "interface": "public", "url": "http://x", "region_id": ""}
    answer = admin.post(f"{V3}/endpoints", json={"endpoint": values})
    assert (answer.status_code, "region_id" in answer.text) == (400, True)
    answer = admin.post(f"{V3}/regions", json={"region": {"id": "x", "parent_region_id": ""}})
    assert (answer.status_code, "parent_region_id" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("noun", "values"),
    [
        ("user", {"name": "one"}),
        ("project", {"name": "one"}),
        ("group", {"name": "one"}),
        ("role", {"name": "one"}),
        ("domain", {"name": "one"}),
        ("region", {"id": "one"}),
    ],
)
def test_of_two_with_the_same_name_one_wins(cloud, noun, values):
    barrier = threading.Barrier(4)

    def create() -> int:
        client = cloud.client("admin")
        barrier.wait(60)
        return client.post(f"{V3}/{noun}s", json={noun: values}).status_code

    with ThreadPoolExecutor(4) as four:
        statuses = sorted(future.result() for future in [four.submit(create) for _ in range(4)])
    assert statuses == [201, 409, 409, 409]


def test_revocations_are_seen_while_everybody_asks(cloud):
    """Readers hammer the cache while a role comes and goes; none sees a stale answer after the
    change was answered."""
    admin, member = cloud.client("admin"), cloud.user("member")
    role = admin.get(f"{V3}/roles?name=member").json()["roles"][0]["id"]
    url = f"{V3}/projects/{member.project_id}/users/{member.user_id}/roles/{role}"
    stop, wrong = threading.Event(), []

    def hammer() -> None:
        client = cloud.client("member")
        while not stop.is_set():
            status = client.get(f"{V3}/auth/projects").status_code
            if status not in (200, 401):
                wrong.append(status)

    with ThreadPoolExecutor(3) as three:
        for _ in range(3):
            three.submit(hammer)
        client = cloud.client("member")
        for _ in range(30):
            assert admin.delete(url).status_code == 204
            assert client.get(f"{V3}/auth/projects").status_code == 401
            assert admin.put(url).status_code == 204
            assert client.get(f"{V3}/auth/projects").status_code == 200
        stop.set()
    assert wrong == []


# --- Doctor, keys, facade, events ---------------------------------------------------------------


def test_the_doctor_finds_each_kind_of_damage(cloud):
    check = cloud.cloud.services["identity"].check
    assert check(cloud.cloud) == []
    user = cloud.user("member").user_id
    with cloud.cloud.database.write() as tx:
        tx.insert(
            model.assignment,
            actor_type="user",
            actor_id="gone",
            target_type="project",
            target_id=cloud.user("member").project_id,
            inherited=False,
            role_id=tx.scalar(sa.select(model.role.c.id)),
        )
        tx.insert(model.password, user_id=user, hash="in the clear", created_at=0)
        tx.update(model.project, model.project.c.name == "two", parent_id=None)
        tx.execute(sa.text("DELETE FROM identity_revision"))
    keys = cloud.cloud.settings.state_dir / "fernet-keys"
    (keys / "1").chmod(0o640)
    cloud.user("stranger")
    with cloud.cloud.database.write() as tx:
        tx.execute(sa.text("DELETE FROM identity_revision"))
        tx.update(model.project, model.project.c.name == "two", parent_id=None)
    found = check(cloud.cloud)
    for words in (
        "gone holds the role",
        f"user {user} is not stored as a hash",
        "no place in",
        "no revision",
        "fernet-keys/1 can be read",
    ):
        assert [each for each in found if words in each], (words, found)


def test_keys_rotate_when_they_are_old(tmp_path):
    cloud = make_cloud(
        tmp_path, services=("identity",), hosts=(), options={"identity.key_rotation_seconds": 300}
    )
    keys = authenticator.of(cloud.cloud).keys
    token = cloud.user("member").token
    cloud.reconcile("identity-key-rotation")
    assert keys.primary_age_seconds() < 60
    folder = cloud.cloud.settings.state_dir / "fernet-keys"
    assert sorted(path.name for path in folder.glob("[0-9]")) == ["0", "1"]
    os.utime(folder / "1", (time.time() - 400, time.time() - 400))
    cloud.reconcile("identity-key-rotation")
    assert sorted(path.name for path in folder.glob("[0-9]")) == ["0", "1", "2"]
    assert cloud.client(None, X_Auth_Token=token).get(f"{V3}/auth/projects").status_code == 200
    cloud.close()


def test_other_services_ask_for_projects_and_users(cloud):
    member = cloud.user("member")
    with cloud.cloud.database.read() as tx:
        assert identity.find_project(tx, member.project_id).name == "one"
        assert identity.find_user(tx, member.user_id).name == "test-member"
        assert identity.project_name(tx, member.project_id) == "one"
        assert identity.project_name(tx, "gone") == "gone"
        assert identity.user_name(tx, "gone") == "gone"
        assert identity.project_names(tx, [member.project_id, "gone"]) == {member.project_id: "one"}
        with pytest.raises(NotFound, match="Project gone"):
            identity.find_project(tx, "gone")
        with pytest.raises(NotFound, match="User gone"):
            identity.find_user(tx, "gone")


def test_changes_are_events(cloud):
    from nubelet.kernel import events

    admin = cloud.client("admin")
    with cloud.cloud.database.read() as tx:
        start = events.latest(tx)
    project = make(admin, "project", name="p")["id"]
    change(admin, "project", project, description="x")
    admin.delete(f"{V3}/projects/{project}")
    with cloud.cloud.database.read() as tx:
        found = events.read(tx, start, subject_id=project)
    assert [(each.kind, each.project_id) for each in found] == [
        ("project.created", project),
        ("project.updated", project),
        ("project.deleted", project),
    ]
    assert {each.user_id for each in found} == {cloud.user("admin").user_id}


SECRET = "a-secret-that-must-not-show"
USER = {"name": "u", "domain": {"id": "default"}, "password": SECRET}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/auth/tokens", {"auth": {"identity": {"password": {"user": USER}}}}),
        (
            "/auth/tokens",
            {
                "auth": {
                    "identity": {"methods": ["password"], "password": {"user": {**USER, "name": 7}}}
                }
            },
        ),
        (
            "/auth/tokens",
            {
                "auth": {
                    "identity": {
                        "methods": ["password"],
                        "password": {"user": {"password": [SECRET]}},
                    }
                }
            },
        ),
        ("/auth/tokens", {"auth": {"identity": {"methods": ["token"], "token": {"id": [SECRET]}}}}),
        (
            "/auth/tokens",
            {"auth": {"identity": {"methods": ["password"], "password": {"user": USER}}}},
        ),
        ("/users", {"user": {"name": "u", "password": SECRET, "options": 7}}),
        ("/users", {"user": {"password": SECRET}}),
        ("/users", {"user": {"name": "u", "password": {"is": SECRET}}}),
        ("/users", {"use": {"name": "u", "password": SECRET}}),
        ("/users/x/password", {"user": {"original_password": SECRET, "password": SECRET, "x": 1}}),
        ("/users/x/password", {"user": {"original_password": [SECRET], "password": 1}}),
        ("/users/x/password", {"user": {"original_password": SECRET, "password": "y"}}),
    ],
)
def test_a_refusal_never_repeats_a_secret(cloud, caplog, path, body):
    from nubelet.kernel import requests

    answer = cloud.client("admin").post(V3 + path, json=body)
    assert answer.status_code in (400, 401)
    requests.log_of(cloud.cloud).flush()
    with cloud.cloud.database.read() as tx:
        kept = str(tx.all(sa.select(requests.request_record)))
    assert SECRET not in answer.text + caplog.text + kept
