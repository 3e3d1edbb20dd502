"""Keys of stored secrets take over from one another; whatever interrupts that, nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from nubelet import identity
from nubelet.cli import main
from nubelet.identity import authenticator, directories, sealing
from nubelet.identity.credentials.model import credential
from nubelet.identity.domain_config import options
from nubelet.identity.domain_config.model import domain_option
from nubelet.identity.sealing import CREDENTIAL_KEYS, DOMAIN_KEYS, SEALED, Seal
from nubelet.kernel.database import Database
from nubelet.kernel.ids import new_hex
from tests.cloud import TestedCloud, make_cloud
from tests.identity_calls import V3, make

DOMAINS = 5


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path, services=("identity",), hosts=())
    yield tested
    tested.close()


class Secrets:
    """Domains with secrets, and users' credentials."""

    def __init__(self, cloud: TestedCloud) -> None:
        self.cloud, admin = cloud, cloud.client("admin")
        self.domains = [make(admin, "domain", name=new_hex())["id"] for _ in range(DOMAINS)]
        for number, each in enumerate(self.domains):
            config = {"ldap": {"url": "ldap://a.test", "password": f"hush-{number}"}}
            path = f"{V3}/domains/{each}/config"
            assert admin.put(path, json={"config": config}).status_code == 201
        for number in range(DOMAINS):
            make(
                admin, "credential", user_id=cloud.user("admin").user_id, type="x",
                blob=f"blob-{number}",
            )  # fmt: skip

    def stored(self, table: sa.Table, column: sa.Column[Any]) -> list[str]:
        with self.cloud.cloud.database.read() as tx:
            rows = tx.all(sa.select(column).where(*self._secret(table)).order_by(column))
        return [row[0] for row in rows]

    def _secret(self, table: sa.Table) -> list[Any]:
        return [table.c.secret] if table is domain_option else []

    def opened(self) -> set[str | None]:
        """All secrets, as a process reads them that has just been started."""
        folder = self.cloud.cloud.settings.state_dir
        credentials, domains = Seal(folder, CREDENTIAL_KEYS), Seal(folder, DOMAIN_KEYS)
        return {credentials.open(each) for each in self.stored(credential, credential.c.blob)} | {
            domains.open(each) for each in self.stored(domain_option, domain_option.c.value)
        }

    @property
    def expected(self) -> set[str]:
        blobs = {f"blob-{number}" for number in range(DOMAINS)}
        return blobs | {f'"hush-{number}"' for number in range(DOMAINS)}


@pytest.fixture
def secrets(cloud: TestedCloud) -> Secrets:
    return Secrets(cloud)


def rotate(cloud: TestedCloud) -> dict[str, int]:
    return identity.rotate_all_keys(cloud.cloud.settings, cloud.cloud.database)


def test_a_rotation_seals_every_secret_again(secrets, cloud):
    token = cloud.user("admin").token
    before = secrets.stored(domain_option, domain_option.c.value)
    assert rotate(cloud) == {"fernet-keys": 2, CREDENTIAL_KEYS: 2, DOMAIN_KEYS: 2}
    after = secrets.stored(domain_option, domain_option.c.value)
    assert not set(before) & set(after)
    seal = Seal(cloud.cloud.settings.state_dir, DOMAIN_KEYS)
    assert all(map(seal.keys.is_present, after))
    assert secrets.opened() == secrets.expected
    listed = cloud.client(None, X_Auth_Token=token).get(f"{V3}/users")
    assert listed.status_code == 200, "a token from before"


def test_a_running_cloud_goes_on_reading_the_secrets(secrets, cloud):
    rotate(cloud)
    driver = directories.find("ldap")
    assert driver is not None
    with cloud.cloud.database.read() as tx:
        found = [
            options.effective(cloud.cloud, tx, each, driver)["password"] for each in secrets.domains
        ]
    assert found == [f"hush-{number}" for number in range(DOMAINS)]


class Killed(BaseException):
    """What kill -9 does at that moment."""


def dying_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Let the process die at its n-th change of a folder or of the database: before it takes
    place (n even), or right after (n odd)."""
    left, mine = [steps // 2], threading.get_ident()

    def watched(change: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            if threading.get_ident() != mine:
                return change(*given, **named)
            if left[0] == 0 and steps % 2 == 0:
                raise Killed
            done = change(*given, **named)
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return done

        return call

    monkeypatch.setattr(Path, "rename", watched(Path.rename))
    monkeypatch.setattr(Path, "unlink", watched(Path.unlink))
    monkeypatch.setattr(Database, "transact", watched(Database.transact))


def test_killed_at_any_step_nothing_is_lost(secrets, cloud, monkeypatch):
    monkeypatch.setattr(sealing, "_BATCH", 2)
    steps = 0
    while True:
        with monkeypatch.context() as patch:
            dying_after(patch, steps)
            try:
                rotate(cloud)
            except Killed:
                pass
            else:
                break
        assert secrets.opened() == secrets.expected, f"killed at step {steps}"
        steps += 1
    assert steps > 12
    for name in SEALED:
        numbers = {path.name for path in (cloud.cloud.settings.state_dir / name).iterdir()}
        assert "0" in numbers, f"{name} has a staged key"
    rotate(cloud)
    assert secrets.opened() == secrets.expected


def test_the_cloud_rotates_by_itself_and_renews_what_was_sealed_late(secrets, cloud):
    state, keeper = cloud.cloud.settings.state_dir, authenticator.of(cloud.cloud)
    late = keeper.seal_of_domains.close('"late"')
    Seal(state, DOMAIN_KEYS).rotate(cloud.cloud.database)
    with cloud.cloud.database.write() as tx:  # by a process that had not looked yet
        same = (domain_option.c.domain_id == secrets.domains[0], domain_option.c.secret)
        tx.update(domain_option, *same, value=late)
    cloud.reconcile("identity-credential-keys")
    seal = Seal(state, DOMAIN_KEYS)
    assert all(map(seal.keys.is_present, secrets.stored(domain_option, domain_option.c.value)))
    assert '"late"' in secrets.opened()


def test_a_lost_key_is_told(secrets, cloud):
    for path in (cloud.cloud.settings.state_dir / DOMAIN_KEYS).iterdir():
        if path.name.isdigit():
            path.unlink()
    another = identity.TokenAuthenticator(cloud.cloud)
    cloud.cloud.provide(authenticator.Authenticator, another)
    found = [each for each in identity.SERVICE.check(cloud.cloud) if DOMAIN_KEYS in each]
    assert len(found) == DOMAINS
    assert secrets.domains[0] in "".join(found)
    another.close()


def test_the_command(tmp_path):
    words = ["identity-keys", "rotate", "--state-dir", str(tmp_path)]
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 1
    assert "there is no cloud" in refused.output
    (tmp_path / "nubelet.toml").write_text(f'state_dir = "{tmp_path}"\n')
    for number in (2, 3):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        for name in ("fernet-keys", CREDENTIAL_KEYS, DOMAIN_KEYS):
            assert f"{name}: key {number} seals" in done.output
