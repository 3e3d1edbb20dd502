"""Users of the store's own: no identity service takes part."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.object_store_calls import ROOT, Account, Store, make_store

USERS = {
    "test:tester": "testing .admin",
    "test:other": "testing3",
    "test2:tester2": "testing2 .admin",
    "boss:boss": "secret .reseller_admin",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    yield from make_store(tmp_path_factory.mktemp("objects"), users=USERS)


def log_in(store: Store, name: str, key: str) -> httpx.Response:
    headers = {"X-Auth-User": name, "X-Auth-Key": key}
    return store.tested.client(None).get(f"{ROOT}/auth/v1.0", headers=headers)


def account(store: Store, name: str, of: str = "") -> Account:
    answer = log_in(store, name, USERS[name].split()[0])
    assert answer.status_code == 200
    client = store.tested.client(None, X_Auth_Token=answer.headers["x-auth-token"])
    url = answer.headers["x-storage-url"].removeprefix("http://cloud.test")
    return Account(client, f"{url.rsplit('/', 1)[0]}/AUTH_{of}" if of else url)


def test_an_owner_uses_the_account(store: Store) -> None:
    owner = account(store, "test:tester")
    assert owner.name == "AUTH_test"
    path = owner.container()
    assert owner.put(f"{path}/o", b"data").status_code == 201
    assert owner.get(f"{path}/o").content == b"data"


def test_others_need_to_be_let_in(store: Store) -> None:
    owner = account(store, "test:tester")
    path = owner.container()
    owner.put(f"{path}/o", b"data")
    for name in ("test:other", "test2:tester2"):
        assert account(store, name, of="test").get(f"{path}/o").status_code == 403
    owner.post(path, X_Container_Read="test2:tester2")
    assert account(store, "test2:tester2", of="test").get(f"{path}/o").status_code == 200
    assert account(store, "test:other", of="test").get(f"{path}/o").status_code == 403
    assert account(store, "boss:boss", of="test").get(f"{path}/o").status_code == 200


@pytest.mark.parametrize(
    ("name", "key"), [("test:tester", "wrong"), ("test:nobody", "testing"), ("", ""), ("x", "")]
)
def test_wrong_passwords(store: Store, name: str, key: str) -> None:
    assert log_in(store, name, key).status_code == 401


@pytest.mark.parametrize("change", ["", "x", ".", "é", "AUTH_tk", "AUTH_tk."])
def test_tokens_cannot_be_made_up(store: Store, change: str) -> None:
    token = log_in(store, "test:tester", "testing").headers["x-auth-token"]
    forged = token[:-1] + change if len(change) < 2 else change + token[8:]
    url = f"{ROOT}/v1/AUTH_test"
    answer = store.tested.client(None).get(url, headers={"X-Auth-Token": forged.encode()})
    assert answer.status_code == 401
    end = token.replace("AUTH_tkM", "AUTH_tkO")
    assert store.tested.client(None).get(url, headers={"X-Auth-Token": end}).status_code == 401


def test_without_own_users_there_is_no_log_in(tmp_path_factory: pytest.TempPathFactory) -> None:
    for other in make_store(tmp_path_factory.mktemp("others")):
        assert log_in(other, "test:tester", "testing").status_code == 404
