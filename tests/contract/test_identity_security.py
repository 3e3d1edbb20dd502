"""Rules for passwords and logins: lock-out, history, age, expiry, first use, strength, absence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nubelet import identity
from nubelet.identity.model import password as password_table
from nubelet.kernel import clock
from nubelet.kernel.ids import new_hex
from tests.cloud import TestedCloud, make_cloud
from tests.identity_calls import V3, change, make

DAY = 24 * 3600


@pytest.fixture
def later() -> Iterator[Callable[[float], None]]:
    """Let time pass: `later(seconds)`."""
    passed = [0]
    real = clock.now

    def now() -> int:
        import time

        return time.time_ns() // 1000 + passed[0]

    clock.use_source(now)

    def move(seconds: float) -> None:
        passed[0] += int(seconds * 1_000_000)

    yield move
    clock.use_source(None)
    assert clock.now is real


class Place:
    """A cloud with rules, and its users."""

    def __init__(self, cloud: TestedCloud) -> None:
        self.cloud, self.admin, self.nobody = cloud, cloud.client("admin"), cloud.client(None)

    def user(self, password: str = "first-1", **values: Any) -> str:
        given = {"domain_id": "default", "password": password, **values}
        return str(make(self.admin_after_a_break(), "user", name=new_hex(), **given)["id"])

    def administrators(self, count: int) -> list[str]:
        """So many users who hold the role admin; nobody else who has a password does."""
        admin = self.admin_after_a_break()
        role = admin.get(f"{V3}/roles?name=admin").json()["roles"][0]["id"]
        made = [self.user() for _ in range(count)]
        for each in made:
            assert admin.put(f"{V3}/system/users/{each}/roles/{role}").status_code == 204
        present = admin.get(f"{V3}/role_assignments?role.id={role}").json()["role_assignments"]
        with self.cloud.cloud.database.write() as tx:
            for each in {row["user"]["id"] for row in present if "user" in row} - set(made):
                tx.delete(password_table, password_table.c.user_id == each)
        return made

    def log_in(self, user_id: str, password: str) -> httpx.Response:
        identity = {
            "methods": ["password"],
            "password": {"user": {"id": user_id, "password": password}},
        }
        return self.nobody.post(f"{V3}/auth/tokens", json={"auth": {"identity": identity}})

    def choose(self, user_id: str, old: str, new: str) -> httpx.Response:
        return self.nobody.post(
            f"{V3}/users/{user_id}/password",
            json={"user": {"original_password": old, "password": new}},
        )

    def admin_after_a_break(self) -> httpx.Client:
        """The administrator with a new token, for the first one expired."""
        persona = self.cloud.user("admin")
        token = identity.issue_token(
            self.cloud.cloud, persona.user_id, project_id=persona.project_id
        )
        return self.cloud.client(None, X_Auth_Token=token)

    def expiry(self, user_id: str) -> Any:
        return (
            self.admin_after_a_break()
            .get(f"{V3}/users/{user_id}")
            .json()["user"]["password_expires_at"]
        )


@pytest.fixture
def rules(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """A place with these rules: `rules(lockout_failure_attempts=3)`."""
    clouds = []

    def start(**options: object) -> Place:
        named = {f"security_compliance.{name}": value for name, value in options.items()}
        cloud = make_cloud(tmp_path, services=("identity",), hosts=(), options=named)
        clouds.append(cloud)
        return Place(cloud)

    yield start
    for cloud in clouds:
        cloud.close()


# --- Lock-out -----------------------------------------------------------------------------------


def test_wrong_passwords_lock_a_user_out_for_a_while(rules, later):
    place = rules(lockout_failure_attempts=3, lockout_duration=60)
    user = place.user()
    for _ in range(3):
        assert place.log_in(user, "wrong").status_code == 401
    refused = place.log_in(user, "first-1")
    assert refused.status_code == 401
    assert (
        refused.json()["error"]["message"]
        == (place.log_in(new_hex(), "wrong").json()["error"]["message"])
    )
    later(61)
    assert place.log_in(user, "first-1").status_code == 201


def test_an_endless_lock_ends_for_the_last_administrator_alone(rules, later):
    """Else whoever guesses wrong often enough shuts everybody out for good."""
    place = rules(lockout_failure_attempts=2, lockout_duration=0)
    administrators, member = place.administrators(2), place.user()
    for user in (*administrators, member):
        for _ in range(2):
            assert place.log_in(user, "wrong").status_code == 401
    later(1700)
    assert place.log_in(administrators[0], "first-1").status_code == 401, "not so soon"
    later(200)
    assert place.log_in(member, "first-1").status_code == 401
    # Nobody else could let either of them in. The first who comes ends it for the other.
    assert place.log_in(administrators[0], "first-1").status_code == 201
    assert place.log_in(administrators[1], "first-1").status_code == 401


def test_guesses_at_the_last_administrator_are_counted_anew(rules, later):
    place = rules(lockout_failure_attempts=2, lockout_duration=0)
    (last,) = place.administrators(1)
    for _ in range(2):
        place.log_in(last, "wrong")
    later(1900)
    for _ in range(2):
        assert place.log_in(last, "wrong").status_code == 401
    assert place.log_in(last, "first-1").status_code == 401
    later(1900)
    assert place.log_in(last, "first-1").status_code == 201


def test_the_last_administrator_may_have_been_away(rules, later):
    place = rules(disable_user_account_days_inactive=30)
    first, second = place.administrators(2)
    assert place.log_in(second, "first-1").status_code == 201
    later(20 * DAY)
    assert place.log_in(second, "first-1").status_code == 201
    later(20 * DAY)
    assert place.log_in(first, "first-1").status_code == 401, "the second one can let them in"
    later(40 * DAY)
    assert place.log_in(first, "first-1").status_code == 201
    assert place.log_in(second, "first-1").status_code == 401


def test_after_a_lock_counting_begins_anew(rules, later):
    place = rules(lockout_failure_attempts=2, lockout_duration=60)
    user = place.user()
    for _ in range(2):
        place.log_in(user, "wrong")
    later(61)
    assert place.log_in(user, "wrong").status_code == 401
    assert place.log_in(user, "first-1").status_code == 201


def test_a_login_forgives_wrong_passwords(rules):
    place = rules(lockout_failure_attempts=2)
    user = place.user()
    for _ in range(3):
        assert place.log_in(user, "wrong").status_code == 401
        assert place.log_in(user, "first-1").status_code == 201


def test_enabling_a_user_ends_a_lock_that_has_no_end(rules, later):
    place = rules(lockout_failure_attempts=1, lockout_duration=0)
    user = place.user()
    place.log_in(user, "wrong")
    later(1000 * DAY)
    assert place.log_in(user, "first-1").status_code == 401
    change(place.admin_after_a_break(), "user", user, enabled=True)
    assert place.log_in(user, "first-1").status_code == 201


def test_an_option_exempts_from_being_locked_out(rules):
    place = rules(lockout_failure_attempts=1)
    user = place.user(options={"ignore_lockout_failure_attempts": True})
    for _ in range(3):
        place.log_in(user, "wrong")
    assert place.log_in(user, "first-1").status_code == 201


def test_guessing_by_changing_the_password_counts_too(rules):
    place = rules(lockout_failure_attempts=2)
    user = place.user()
    for _ in range(2):
        assert place.choose(user, "wrong", "other-1").status_code == 401
    assert place.choose(user, "first-1", "other-1").status_code == 401
    assert place.log_in(user, "first-1").status_code == 401


def test_guesses_at_the_same_time_are_all_counted(rules):
    place = rules(lockout_failure_attempts=5, lockout_duration=0)
    user = place.user()
    threads = [threading.Thread(target=place.log_in, args=(user, "wrong")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.log_in(user, "first-1").status_code == 401


def test_a_locked_user_keeps_the_tokens_they_have(rules):
    place = rules(lockout_failure_attempts=1)
    user = place.user()
    token = place.log_in(user, "first-1").headers["x-subject-token"]
    place.log_in(user, "wrong")
    shown = place.nobody.get(
        f"{V3}/auth/tokens", headers={"X-Auth-Token": token, "X-Subject-Token": token}
    )
    assert shown.status_code == 200, "else strangers could log anybody out"


# --- Choosing a password ------------------------------------------------------------------------


def test_the_last_passwords_cannot_be_chosen_again(rules):
    place = rules(unique_last_password_count=3)
    user = place.user("p-1")
    assert place.choose(user, "p-1", "p-2").status_code == 204
    assert place.choose(user, "p-2", "p-3").status_code == 204
    for used in ("p-1", "p-2", "p-3"):
        refused = place.choose(user, "p-3", used)
        assert refused.status_code == 400
        assert "last 3 passwords" in refused.json()["error"]["message"]
    assert place.choose(user, "p-3", "p-4").status_code == 204
    assert place.choose(user, "p-4", "p-1").status_code == 204


def test_an_administrator_may_set_a_used_password(rules):
    place = rules(unique_last_password_count=3)
    user = place.user("p-1")
    change(place.admin_after_a_break(), "user", user, password="p-2")
    change(place.admin_after_a_break(), "user", user, password="p-1")
    assert place.choose(user, "p-1", "p-2").status_code == 400


def test_a_chosen_password_is_kept_for_a_while(rules, later):
    place = rules(minimum_password_age=2)
    user = place.user("p-1")
    assert place.choose(user, "p-1", "p-2").status_code == 204, "that one was not chosen"
    refused = place.choose(user, "p-2", "p-3")
    assert refused.status_code == 400
    assert "2 days" in refused.json()["error"]["message"]
    later(2 * DAY + 1)
    assert place.choose(user, "p-2", "p-3").status_code == 204
    change(place.admin_after_a_break(), "user", user, password="p-4")
    assert place.choose(user, "p-4", "p-5").status_code == 204


def test_a_weak_password_is_refused_with_the_reason(rules):
    place = rules(password_regex=r"^(?=.*\d).{6,}$", password_regex_description="Six and a digit.")
    user = place.user("good-1")
    error = make(place.admin, "user", 400, name=new_hex(), domain_id="default", password="weak")
    assert "Six and a digit." in error["message"]
    assert "weak" not in error["message"]
    assert (
        "Six" in change(place.admin_after_a_break(), "user", user, 400, password="weak")["message"]
    )
    refused = place.choose(user, "good-1", "weak")
    assert refused.status_code == 400
    assert "Six" in refused.json()["error"]["message"]
    assert place.choose(user, "wrong", "weak").status_code == 401, "only who is it learns that"


def test_a_refused_change_leaves_the_password(rules):
    place = rules(unique_last_password_count=2)
    user = place.user("p-1")
    place.choose(user, "p-1", "p-1")
    assert place.log_in(user, "p-1").status_code == 201


# --- Expiry -------------------------------------------------------------------------------------


def test_a_password_expires(rules, later):
    place = rules(password_expires_days=30)
    user = place.user("p-1")
    expires = place.expiry(user)
    token = place.log_in(user, "p-1").json()["token"]
    assert token["user"]["password_expires_at"] == expires
    assert abs(clock.parse_iso(expires) - clock.now() - 30 * DAY * 10**6) < 60 * 10**6
    later(30 * DAY + 1)
    refused = place.log_in(user, "p-1")
    assert refused.status_code == 401
    assert "expired" in refused.json()["error"]["message"]
    assert "expired" not in place.log_in(user, "wrong").json()["error"]["message"]
    assert place.choose(user, "p-1", "p-2").status_code == 204
    assert place.log_in(user, "p-2").status_code == 201


def test_an_option_exempts_from_expiry_also_later(rules, later):
    place = rules(password_expires_days=30)
    user = place.user("p-1", options={"ignore_password_expiry": True})
    assert place.expiry(user) is None
    change(place.admin_after_a_break(), "user", user, options={"ignore_password_expiry": False})
    assert place.expiry(user) is not None
    later(31 * DAY)
    assert place.log_in(user, "p-1").status_code == 401
    change(place.admin_after_a_break(), "user", user, options={"ignore_password_expiry": True})
    assert place.log_in(user, "p-1").status_code == 201


def test_without_the_rule_passwords_never_expire(rules):
    place = rules()
    assert place.expiry(place.user()) is None


def test_a_password_that_was_set_for_somebody_is_to_be_changed(rules):
    place = rules(change_password_upon_first_use=True)
    user = place.user("p-1")
    assert "expired" in place.log_in(user, "p-1").json()["error"]["message"]
    assert place.choose(user, "p-1", "p-2").status_code == 204
    assert place.log_in(user, "p-2").status_code == 201
    change(place.admin_after_a_break(), "user", user, password="p-3")
    assert place.log_in(user, "p-3").status_code == 401
    exempt = place.user("p-1", options={"ignore_change_password_upon_first_use": True})
    assert place.log_in(exempt, "p-1").status_code == 201


def test_users_are_found_by_when_their_password_expires(rules, later):
    place = rules(password_expires_days=30)
    early = place.user()
    later(10 * DAY)
    late = place.user()
    forever = place.user(options={"ignore_password_expiry": True})
    border = clock.iso_seconds(clock.now() + 25 * DAY * 10**6)

    def found(query: str) -> set[str]:
        answer = place.admin_after_a_break().get(f"{V3}/users?password_expires_at={query}")
        assert answer.status_code == 200, answer.text
        return {each["id"] for each in answer.json()["users"]} & {early, late, forever}

    assert found(f"lt:{border}") == {early}
    assert found(f"lte:{border}") == {early}
    assert found(f"gt:{border}") == {late}
    assert found(f"gte:{place.expiry(late)}") == {late}
    assert found(f"eq:{place.expiry(early)}") == {early}
    assert found(f"{place.expiry(early)}") == {early}
    assert found(f"neq:{place.expiry(early)}") == {late}
    for wrong in ("soon", "before:2026-01-01T00:00:00Z", "lt:never"):
        answer = place.admin_after_a_break().get(f"{V3}/users?password_expires_at={wrong}")
        assert answer.status_code == 400
        assert "password_expires_at" in answer.json()["error"]["message"]


# --- Absence ------------------------------------------------------------------------------------


def test_who_is_away_for_too_long_is_disabled(rules, later):
    place = rules(disable_user_account_days_inactive=90)
    user, other = place.user(), place.user()
    exempt = place.user(options={"ignore_user_inactivity": True})
    later(80 * DAY)
    assert place.log_in(other, "first-1").status_code == 201
    later(11 * DAY)
    assert place.log_in(user, "first-1").status_code == 401
    assert place.log_in(other, "first-1").status_code == 201
    assert place.log_in(exempt, "first-1").status_code == 201
    place.cloud.reconcile("identity-inactive-users")
    admin = place.admin_after_a_break()
    assert admin.get(f"{V3}/users/{user}").json()["user"]["enabled"] is False
    assert admin.get(f"{V3}/users/{exempt}").json()["user"]["enabled"] is True
    change(admin, "user", user, enabled=True)
    assert place.log_in(user, "first-1").status_code == 201
