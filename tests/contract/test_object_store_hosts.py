"""Accounts as host names, rates of writes, places of objects, the operator's part of /info."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from nubelet.object_store.features.rate_limits import rate_at, take_turn
from tests.contract.test_object_store_features import reseller_client
from tests.object_store_calls import ROOT, Account, Store, make_store

DOMAIN = "objects.example"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    yield from make_store(
        tmp_path_factory.mktemp("objects"),
        storage_domains=(DOMAIN,),
        info_key="the-key",
        container_writes_per_second={"3": 0.01},
        rate_limit_wait_seconds=0.0,
    )


@pytest.fixture
def account(store: Store) -> Account:
    return store.account()


# --- Hosts ------------------------------------------------------------------------------------


def host_of(account: Account, container: str = "") -> dict[str, str]:
    label = account.name.replace("_", "-", 1)
    return {"Host": ".".join(each for each in (container, label, DOMAIN) if each)}


def test_an_account_is_a_host(account: Account) -> None:
    path = account.container()
    account.put(f"{path}/a//b", b"there")
    client = account.client
    got = client.get(f"{path}/a//b", headers=host_of(account))
    assert got.content == b"there"
    listed = client.get("/", params={"format": "json"}, headers=host_of(account))
    assert path[1:] in [each["name"] for each in listed.json()]
    bare = account.name.removeprefix("AUTH_")  # the prefix is added
    assert client.get(f"{path}/a//b", headers={"Host": f"{bare}.{DOMAIN}:80"}).content == b"there"
    wrong = client.get(path, headers={"Host": f"other.{DOMAIN}"})
    assert wrong.status_code == 403


def test_a_container_is_a_host(account: Account) -> None:
    path = account.container()
    host = host_of(account, path[1:])
    assert account.client.put("/v1/o", content=b"1", headers=host).status_code == 201
    assert account.get(f"{path}/v1/o").content == b"1"
    assert account.client.get("/", headers=host).text == "v1/o\n"
    too_many = {"Host": f"x.{host['Host']}"}
    assert account.client.get("/", headers=too_many).status_code == 400


def test_a_site_of_a_host_leads_to_itself(store: Store, account: Account) -> None:
    path = account.container(
        X_Container_Read=".r:*,.rlistings", X_Container_Meta_Web_Listings="true"
    )
    account.put(f"{path}/d/o", b"1")
    visitor = store.tested.client(None)
    host = host_of(account, path[1:])
    moved = visitor.get("/d", headers=host, follow_redirects=False)
    assert moved.status_code == 301
    assert urlsplit(moved.headers["location"])[1:3] == (host["Host"], "/d/")
    assert 'href="o"' in visitor.get("/d/", headers=host).text


def test_the_domain_itself_is_the_store(account: Account) -> None:
    path = account.container()
    got = account.client.get(f"{account.url}{path}", headers={"Host": DOMAIN})
    assert got.status_code == 204


def test_paths_of_the_root_are_the_stores(account: Account) -> None:
    path = account.container()
    account.put(f"{path}/o", b"1")
    assert account.client.get(f"/v1/{account.name}{path}/o").content == b"1"
    assert account.client.get("/info").json()["domain_remap"] == {}
    assert account.client.get("/v1").status_code == 412
    assert b"cross-domain-policy" in account.client.get("/crossdomain.xml").content


# --- Rates ------------------------------------------------------------------------------------


def test_a_large_container_is_written_slowly(account: Account) -> None:
    path = account.container()
    for number in range(3):
        assert account.put(f"{path}/{number}", b"").status_code == 201
    statuses = [account.put(f"{path}/more", b"").status_code for _ in range(3)]
    assert statuses[0] == 201  # turns that were not taken
    assert statuses[-1] == 498
    assert account.get(f"{path}/1").status_code == 200
    assert account.client.get(f"{ROOT}/info").json()["ratelimit"]["container_ratelimits"] == [
        [3, 0.01]
    ]


def test_resellers_exempt_and_block_accounts(store: Store, account: Account) -> None:
    reseller = Account(reseller_client(store.tested), account.url)
    path = account.container()
    for number in range(3):
        account.put(f"{path}/{number}", b"")
    rule = {"X-Account-Sysmeta-Global-Write-Ratelimit": "WHITELIST"}
    account("POST", headers=rule)  # is not the member's to say
    assert 498 in [account.put(f"{path}/x", b"").status_code for _ in range(3)]
    assert reseller("POST", headers=rule).status_code == 204
    assert {account.put(f"{path}/x", b"").status_code for _ in range(4)} == {201}
    reseller("POST", headers={**rule, "X-Account-Sysmeta-Global-Write-Ratelimit": "BLACKLIST"})
    assert account.put(f"{path}/x", b"").status_code == 497
    assert account.get(f"{path}/x").status_code == 200
    reseller("POST", headers={"X-Account-Sysmeta-Global-Write-Ratelimit": ""})
    assert account.put("/again").status_code in (201, 202)


def test_the_rate_between_two_sizes_is_between() -> None:
    rates = {"100": 100.0, "200": 50.0}
    assert [rate_at(rates, size) for size in (99, 100, 150, 200, 10_000)] == [
        None, 100.0, 75.0, 50.0, 50.0,
    ]  # fmt: skip


def test_turns_are_shared_and_waited_for(tmp_path: Path) -> None:
    first = [take_turn(tmp_path, "a", 1.0, 2.5) for _ in range(20)]
    waits = [each for each in first if each]
    assert first[0] == 0.0
    assert 1 <= len(waits) <= 3  # 0 to 2.5 seconds away
    assert first[-1] is None
    assert take_turn(tmp_path, "b", 1.0, 2.5) == 0.0


# --- Places -----------------------------------------------------------------------------------


def test_resellers_alone_learn_where_objects_are(store: Store, account: Account) -> None:
    path = account.container()
    account.put(f"{path}/o", b"1")
    place = f"/endpoints/v1/{account.name}{path}/o"
    for asker, status in ((account.client, 403), (store.tested.client(None), 401)):
        assert asker.get(f"{ROOT}{place}").status_code == status
    reseller = reseller_client(store.tested)
    (found,) = reseller.get(f"{ROOT}{place}").json()
    folder = Path(unquote(urlsplit(found).path))
    assert [each.suffix for each in folder.iterdir()] == [".data"]
    newer = reseller.get(f"{ROOT}/endpoints/v2/{account.name}{path}/o").json()
    assert newer == {"endpoints": [found], "headers": {"X-Backend-Storage-Policy-Index": "0"}}
    assert reseller.get(f"{ROOT}/endpoints/{account.name}{path}/o").json() == [found]
    for shorter in (account.name, f"{account.name}{path}"):
        (database,) = reseller.get(f"{ROOT}/endpoints/v1/{shorter}").json()
        assert Path(unquote(urlsplit(database).path)).is_file()
    missing = reseller.get(f"{ROOT}/endpoints/v1/{account.name}/nothing/o")
    assert missing.status_code == 404
    assert reseller.put(f"{ROOT}{place}").status_code == 405


# --- /info ------------------------------------------------------------------------------------


def signed(expires: int, key: str = "the-key", method: str = "GET") -> dict[str, str]:
    text = f"{method}\n{expires}\n/info"
    signature = hmac.new(key.encode(), text.encode(), "sha256").hexdigest()
    return {"swiftinfo_sig": signature, "swiftinfo_expires": str(expires)}


def test_the_operator_signs_for_more_of_info(account: Account) -> None:
    soon = int(time.time()) + 60
    client = account.client
    assert "admin" not in client.get(f"{ROOT}/info").json()
    assert "admin" in client.get(f"{ROOT}/info", params=signed(soon)).json()
    assert client.head(f"{ROOT}/info", params=signed(soon)).status_code == 200
    for query in (signed(soon, "other"), signed(soon - 100), {"swiftinfo_sig": "x"}):
        assert client.get(f"{ROOT}/info", params=query).status_code == 401


# --- The OpenAPI page -------------------------------------------------------------------------


def test_the_page_describes_what_is_dispatched(account: Account) -> None:
    paths = account.client.get(f"{ROOT}/openapi.json").json()["paths"]
    place = f"{ROOT}/v1/{{account}}/{{container}}/{{object}}"
    assert set(paths[place]) == {"get", "head", "put", "post", "delete", "copy"}
    assert set(paths[f"{ROOT}/v1/{{account}}"]) == {"get", "head", "put", "post", "delete"}
    path = account.container()
    for method in paths[place]:
        if method != "copy":  # which a feature makes a PUT of
            refused = account(method.upper(), f"{path}/none")
            assert refused.status_code != 405, method
    answer = account("REPORT", f"{path}/none")
    assert answer.status_code == 405
    assert {each.lower() for each in answer.headers["allow"].split(", ")} == (
        set(paths[place]) - {"copy"}
    )
    assert all(each["summary"] for item in paths.values() for each in item.values())
