"""Hosts that are aliases of accounts and containers, looked up at a real name server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from nubelet.kernel.errors import BadRequest, ServiceUnavailable
from nubelet.object_store.features import aliases as aliases_module
from nubelet.object_store.features.aliases import Aliases
from nubelet.settings import load
from tests.cloud import make_cloud
from tests.name_server import NameServer, serving
from tests.object_store_calls import ROOT, Account, Store

DOMAIN = "objects.example"


@pytest.fixture(scope="module")
def names() -> Iterator[NameServer]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, names: NameServer) -> Iterator[Store]:
    tested = make_cloud(
        tmp_path_factory.mktemp("objects"),
        services=("identity", "object_store"),
        hosts=(),
        options={**looking_up(names), "http.public_url": "https://cloud.test/"},
    )
    be_patient(tested.cloud.get(Aliases))
    yield Store(tested)
    tested.close()


def be_patient(aliases: Aliases) -> None:
    """Ask once, and wait: answers that a test keeps back may take long on a busy machine."""
    aliases._resolver.timeout = aliases._resolver.lifetime = 300.0


def looking_up(names: NameServer) -> dict[str, object]:
    return {
        "object_store.storage_domains": (DOMAIN,),
        "object_store.cname_lookup_depth": 2,
        "object_store.cname_nameservers": (names.address,),
    }


@pytest.fixture
def account(store: Store) -> Account:
    return store.account()


def alias_of(names: NameServer, account: Account, container: str = "") -> dict[str, str]:
    """The header of a host that is an alias of the account's, or of a container's."""
    label = account.name.replace("_", "-", 1)
    host = f"www.{uuid4().hex}.org"
    names.aliases[host] = ".".join(each for each in (container, label, DOMAIN) if each)
    names.questions()
    return {"Host": host}


def test_an_alias_of_a_container_shows_it(names: NameServer, account: Account) -> None:
    path = account.container()
    host = alias_of(names, account, path[1:])
    client = account.client
    assert client.put("/v1/a//b", content=b"there", headers=host).status_code == 201
    assert account.get(f"{path}/v1/a//b").content == b"there"
    assert client.get("/", headers=host).text == "v1/a//b\n"
    with_port = {"Host": f"{host['Host'].upper()}.:8080"}
    assert client.get("/v1/a//b", headers=with_port).content == b"there"
    assert names.questions() == [host["Host"]]


def test_an_alias_of_an_account_shows_its_containers(names: NameServer, account: Account) -> None:
    path = account.container()
    host = alias_of(names, account)
    assert path[1:] in account.client.get("/", headers=host).text.splitlines()
    # A container whose name is also that of a service.
    assert account.client.put("/identity", headers=host).status_code == 201
    assert account.head("/identity").status_code == 204


def test_links_of_a_site_lead_to_the_alias(
    names: NameServer, store: Store, account: Account
) -> None:
    path = account.container(
        X_Container_Read=".r:*,.rlistings", X_Container_Meta_Web_Listings="true"
    )
    account.put(f"{path}/d/o", b"1")
    host = alias_of(names, account, path[1:])
    moved = store.tested.client(None).get("/d", headers=host, follow_redirects=False)
    assert moved.status_code == 301
    assert urlsplit(moved.headers["location"]).path == "/d/"


def test_an_alias_of_an_alias_is_followed_as_far_as_is_set(
    names: NameServer, account: Account
) -> None:
    path = account.container()
    account.put(f"{path}/o", b"there")
    second = alias_of(names, account, path[1:])["Host"]
    first, before = f"first.{second}", f"before.{second}"
    names.aliases |= {first: second, before: first}
    assert account.client.get("/o", headers={"Host": first}).content == b"there"
    assert names.questions() == [first, second]
    refused = account.client.get("/o", headers={"Host": before})
    assert refused.status_code == 400
    assert "within 2 aliases" in refused.text
    assert names.questions() == [before, first]


@pytest.mark.parametrize("kind", ["unknown", "address", "loop", "elsewhere", "odd"])
def test_what_is_no_alias_of_ours_is_refused(
    names: NameServer, account: Account, kind: str
) -> None:
    host = f"{kind}.{uuid4().hex}.org"
    if kind == "address":
        names.hosts.add(host)
    elif kind == "loop":
        names.aliases[host] = host
    elif kind == "elsewhere":
        names.aliases[host] = f"{DOMAIN}.org"
    elif kind == "odd":
        host = f"{'x' * 64}..{host}"
    for path in ("/", "/v1/AUTH_x/c/o", "/identity/v3", f"{ROOT}/v1/{account.name}"):
        refused = account.client.get(path, headers={"Host": host})
        assert (refused.status_code, "CNAME lookup failed" in refused.text) == (400, True), path


def test_the_clouds_own_hosts_are_not_asked_about(names: NameServer, account: Account) -> None:
    path = account.container()
    account.put(f"{path}/o", b"there")
    names.questions()
    for host in (
        "localhost:8787", "cloud", "127.0.0.1", "192.0.2.1:80", "[2001:db8::1]:8080", "[::1]",
        "cloud.test", "CLOUD.test.:443", DOMAIN, f"{DOMAIN}:8080",
    ):  # fmt: skip
        got = account.client.get(f"{account.url}{path}/o", headers={"Host": host})
        assert (got.status_code, got.content) == (200, b"there"), host
        assert account.client.get("/identity/v3", headers={"Host": host}).status_code == 200
    assert names.questions() == []


def test_info_says_how_far_aliases_are_followed(account: Account) -> None:
    assert account.client.get(f"{ROOT}/info").json()["cname_lookup"] == {"lookup_depth": 2}


def test_nobody_else_waits_for_a_name_server(names: NameServer, account: Account) -> None:
    path = account.container()
    account.put(f"{path}/o", b"there")
    host = alias_of(names, account, path[1:])
    names.answers.clear()
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(account.client.get, "/o", headers=host)
        assert names.asked.get(timeout=60) == host["Host"]
        other = account.client.get("/identity/v3")
        came_first = not waits.done()
        names.answers.set()
        assert other.status_code == 200
        assert came_first
        assert waits.result().content == b"there"


# --- What is remembered -----------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def own_names() -> Iterator[NameServer]:
    with serving() as server:
        yield server


@pytest.fixture
def aliases(tmp_path: Path, own_names: NameServer, clock: Clock) -> Aliases:
    settings = load(environ={}, overrides={"state_dir": str(tmp_path), **looking_up(own_names)})
    made = Aliases(settings, clock)
    be_patient(made)
    return made


def test_an_alias_is_remembered_as_long_as_its_server_says(
    own_names: NameServer, aliases: Aliases, clock: Clock
) -> None:
    own_names.aliases = {"www.a.org": f"one.x.{DOMAIN}"}
    own_names.ttl = 30
    assert aliases.canonical("www.a.org") == f"one.x.{DOMAIN}"
    own_names.aliases = {"www.a.org": f"two.x.{DOMAIN}"}
    clock.now += 29
    assert aliases.canonical("www.a.org") == f"one.x.{DOMAIN}"
    assert own_names.questions() == ["www.a.org"]
    clock.now += 2
    assert aliases.canonical("www.a.org") == f"two.x.{DOMAIN}"


def test_a_name_that_is_no_alias_is_asked_for_again_a_minute_later(
    own_names: NameServer, aliases: Aliases, clock: Clock
) -> None:
    for _ in range(3):
        with pytest.raises(BadRequest):
            aliases.canonical("www.a.org")
    assert own_names.questions() == ["www.a.org"]
    own_names.aliases = {"www.a.org": f"c.x.{DOMAIN}"}
    clock.now += 61
    assert aliases.canonical("www.a.org") == f"c.x.{DOMAIN}"


def test_a_name_server_that_fails_is_asked_again_soon(
    own_names: NameServer, aliases: Aliases, clock: Clock
) -> None:
    own_names.aliases = {"www.a.org": f"c.x.{DOMAIN}"}
    own_names.fails = True
    for _ in range(2):
        with pytest.raises(BadRequest):
            aliases.canonical("www.a.org")
    assert own_names.questions() == ["www.a.org"]
    own_names.fails = False
    clock.now += 6
    assert aliases.canonical("www.a.org") == f"c.x.{DOMAIN}"


def test_all_who_ask_for_a_host_wait_for_one_answer(
    own_names: NameServer, aliases: Aliases
) -> None:
    own_names.aliases = {"www.a.org": f"c.x.{DOMAIN}"}
    own_names.answers.clear()
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(aliases.canonical, "www.a.org") for _ in range(8)]
        assert own_names.asked.get(timeout=60) == "www.a.org"
        own_names.answers.set()
        assert {each.result() for each in found} == {f"c.x.{DOMAIN}"}
    assert own_names.questions() == []


def test_lookups_that_wait_leave_threads_for_others(
    own_names: NameServer, aliases: Aliases
) -> None:
    hosts = [f"{number}.a.org" for number in range(8)]
    own_names.aliases = dict.fromkeys(hosts, f"c.x.{DOMAIN}")
    own_names.answers.clear()
    with ThreadPoolExecutor(32) as pool:
        asked = [pool.submit(aliases.canonical, name) for name in hosts * 4]
        refused = list(islice(as_completed(asked, 60), 16))
        assert {type(each.exception()) for each in refused} == {ServiceUnavailable}
        own_names.answers.set()
        assert {each.result() for each in asked if each not in refused} == {f"c.x.{DOMAIN}"}
    assert aliases.canonical(hosts[0]) == f"c.x.{DOMAIN}"


# --- What is served though it is old ----------------------------------------------------------


@pytest.fixture
def known(own_names: NameServer, aliases: Aliases, clock: Clock) -> str:
    """An alias that was found, and is to be asked for again."""
    own_names.aliases = {"www.a.org": f"one.x.{DOMAIN}"}
    own_names.ttl = 30
    assert aliases.canonical("www.a.org") == f"one.x.{DOMAIN}"
    clock.now += 31
    own_names.questions()
    return "www.a.org"


def test_an_alias_that_was_found_is_served_while_too_many_are_looked_up(
    own_names: NameServer, aliases: Aliases, known: str
) -> None:
    own_names.answers.clear()
    with ThreadPoolExecutor(16) as pool:
        others = [pool.submit(aliases.canonical, f"{number}.org") for number in range(16)]
        for _ in others:
            own_names.asked.get(timeout=60)
        try:
            assert aliases.canonical(known) == f"one.x.{DOMAIN}"
            with pytest.raises(ServiceUnavailable):
                aliases.canonical("new.org")
            assert own_names.questions() == []
        finally:
            own_names.answers.set()
        assert {type(each.exception()) for each in others} == {BadRequest}
    own_names.aliases = {known: f"two.x.{DOMAIN}"}
    assert aliases.canonical(known) == f"two.x.{DOMAIN}"


def test_one_waits_to_hear_whether_an_alias_has_changed(
    own_names: NameServer, aliases: Aliases, known: str
) -> None:
    own_names.aliases = {known: f"two.x.{DOMAIN}"}
    own_names.answers.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(aliases.canonical, known)
        try:
            assert own_names.asked.get(timeout=60) == known
            assert {aliases.canonical(known) for _ in range(20)} == {f"one.x.{DOMAIN}"}
        finally:
            own_names.answers.set()
        assert first.result() == f"two.x.{DOMAIN}"
    assert aliases.canonical(known) == f"two.x.{DOMAIN}"
    assert own_names.questions() == []


def test_an_alias_that_was_found_is_served_while_nobody_answers(
    own_names: NameServer, aliases: Aliases, known: str, clock: Clock
) -> None:
    own_names.fails = True
    for _ in range(3):
        assert aliases.canonical(known) == f"one.x.{DOMAIN}"
    assert own_names.questions() == [known]
    clock.now += 6
    assert aliases.canonical(known) == f"one.x.{DOMAIN}"
    assert own_names.questions() == [known]
    clock.now += 86_400  # but not for ever
    with pytest.raises(BadRequest):
        aliases.canonical(known)


def test_what_is_no_alias_any_more_is_not_served(
    own_names: NameServer, aliases: Aliases, known: str
) -> None:
    own_names.aliases = {}
    for _ in range(2):
        with pytest.raises(BadRequest):
            aliases.canonical(known)
    assert own_names.questions() == [known]


def test_names_that_are_no_aliases_do_not_take_the_place_of_aliases(
    own_names: NameServer, aliases: Aliases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aliases_module, "_REMEMBERED", 4)
    own_names.aliases = {"www.a.org": f"one.x.{DOMAIN}"}
    assert aliases.canonical("www.a.org") == f"one.x.{DOMAIN}"
    for number in range(6):
        with pytest.raises(BadRequest):
            aliases.canonical(f"{number}.org")
    own_names.questions()
    assert aliases.canonical("www.a.org") == f"one.x.{DOMAIN}"
    assert own_names.questions() == []
    with pytest.raises(BadRequest):
        aliases.canonical("0.org")  # forgotten
    assert own_names.questions() == ["0.org"]
