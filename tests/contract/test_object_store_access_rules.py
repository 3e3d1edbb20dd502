"""Access rules of application credentials hold for all that a request to the store leads to."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from tests.object_store_calls import Account, Store, make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    yield from make_store(tmp_path_factory.mktemp("objects"), storage_domains=("store.test",))


@pytest.fixture
def account(store: Store) -> Account:
    return store.account()


def limited(store: Store, account: Account, *rules: tuple[str, str]) -> Account:
    """The same account, asked by a program that these rules (method, path) let in."""
    user, client = store.tested.user("member").user_id, store.tested.client("member")
    wanted = [{"service": "object-store", "method": each, "path": path} for each, path in rules]
    made = client.post(
        f"/identity/v3/users/{user}/application_credentials",
        json={"application_credential": {"name": uuid4().hex, "access_rules": wanted}},
    )
    assert made.status_code == 201, made.text
    credential = made.json()["application_credential"]
    part = {"id": credential["id"], "secret": credential["secret"]}
    asked = {"methods": ["application_credential"], "application_credential": part}
    nobody = store.tested.client(None)
    answer = nobody.post("/identity/v3/auth/tokens", json={"auth": {"identity": asked}})
    assert answer.status_code == 201, answer.text
    token = answer.headers["x-subject-token"]
    return Account(store.tested.client(None, X_Auth_Token=token), account.url)


def below(account: Account, container: str, *methods: str) -> list[tuple[str, str]]:
    """Rules for a container and what is in it."""
    paths = (f"/v1/{account.name}{container}", f"/v1/{account.name}{container}/**")
    return [(each, path) for each in methods for path in paths]


def refused(answer: httpx.Response, *named: str) -> None:
    assert answer.status_code == 403, answer.text
    assert "access rule" in answer.text
    for each in named:
        assert each in answer.text


def test_the_other_end_of_a_copy(store: Store, account: Account) -> None:
    mine, secret = account.container(), account.container()
    account.put(f"{mine}/o", b"open")
    account.put(f"{secret}/a b", b"secret")
    program = limited(store, account, *below(account, mine, "GET", "PUT"))
    source = f"{secret}/a%20b"
    refused(program.put(f"{mine}/x", X_Copy_From=source), f"GET /object-store/v1/{account.name}")
    assert program.put(f"{mine}/x", X_Copy_From=f"{mine}/o").status_code == 201
    assert account.names(mine) == ["o", "x"]
    wider = limited(
        store,
        account,
        *below(account, mine, "GET", "PUT"),
        ("GET", f"/object-store/v1/{account.name}{source}"),
    )
    assert wider.put(f"{mine}/z", X_Copy_From=source).status_code == 201
    assert account.get(f"{mine}/z").content == b"secret"


def test_segments_and_targets_of_links(store: Store, account: Account) -> None:
    mine, secret = account.container(), account.container()
    account.put(f"{secret}/s1", b"secret")
    account.put(f"{mine}/dlo", X_Object_Manifest=f"{secret}/s")
    account.put(f"{mine}/link", X_Symlink_Target=f"{secret}/s1")
    manifest = [{"path": f"{secret}/s1"}]
    parameters = {"multipart-manifest": "put"}
    assert account("PUT", f"{mine}/slo", params=parameters, json=manifest).status_code == 201
    program = limited(store, account, *below(account, mine, "GET", "PUT"))
    assert account.get(f"{mine}/slo").content == b"secret"
    for name in ("dlo", "link"):
        refused(program.get(f"{mine}/{name}"))
    answer = program.get(f"{mine}/slo")
    assert answer.status_code == 409  # as for any segment that cannot be read
    assert b"secret" not in answer.content
    refused(program.put(f"{mine}/new", X_Symlink_Target=f"{secret}/s1", X_Symlink_Target_Etag="x"))
    answer = program("PUT", f"{mine}/new", params=parameters, json=manifest)
    assert (answer.status_code, "403 Forbidden" in answer.text) == (400, True)
    wider = limited(
        store, account, *below(account, mine, "GET", "PUT"), *below(account, secret, "GET")
    )
    for name in ("dlo", "link", "slo"):
        assert wider.get(f"{mine}/{name}").content == b"secret"
    assert wider("PUT", f"{mine}/new", params=parameters, json=manifest).status_code == 201


def test_what_is_deleted_and_extracted_in_bulk(store: Store, account: Account) -> None:
    mine, secret = account.container(), account.container()
    for container in (mine, secret):
        account.put(f"{container}/o", b"1")
    rules = [("POST", f"/v1/{account.name}"), ("PUT", f"/v1/{account.name}")]
    program = limited(store, account, *rules, *below(account, mine, "DELETE", "PUT"))
    answer = program(
        "POST",
        "?bulk-delete",
        content=f"{mine}/o\n{secret}/o\n".encode(),
        headers={"Accept": "application/json", "Content-Type": "text/plain"},
    ).json()
    assert answer["Number Deleted"] == 1
    assert [status for _name, status in answer["Errors"]] == ["403 Forbidden"]
    assert (account.names(mine), account.names(secret)) == ([], ["o"])

    made = io.BytesIO()
    with tarfile.open(mode="w", fileobj=made) as archive:
        for container in (mine, secret):
            member = tarfile.TarInfo(f"{container[1:]}/new")
            archive.addfile(member, io.BytesIO(b""))
    answer = program(
        "PUT",
        "?extract-archive=tar",
        content=made.getvalue(),
        headers={"Accept": "application/json"},
    ).json()
    assert answer["Number Files Created"] == 1
    assert [status for _name, status in answer["Errors"]] == ["403 Forbidden"]
    assert (account.names(mine), account.names(secret)) == (["new"], ["o"])


def test_each_segment_that_is_deleted_later(store: Store, account: Account) -> None:
    mine, segments = account.container(), account.container()
    for name in ("mine/x", "mine/y", "precious"):
        account.put(f"{segments}/{name}", b"1")
    rules = [("DELETE", f"/v1/{account.name}{segments}/mine/**")]
    program = limited(store, account, *rules, *below(account, mine, "DELETE"))
    later = {"multipart-manifest": "delete", "async": "yes"}
    for name, last in (("theirs", "precious"), ("ours", "mine/y")):
        manifest = [{"path": f"{segments}/{each}"} for each in ("mine/x", last)]
        put = account("PUT", f"{mine}/{name}", params={"multipart-manifest": "put"}, json=manifest)
        assert put.status_code == 201
    refused(program("DELETE", f"{mine}/theirs", params=later), f"{segments}/precious")
    assert account.names(mine) == ["ours", "theirs"]
    assert program("DELETE", f"{mine}/ours", params=later).status_code == 204
    assert account.names(mine) == ["theirs"]


def test_what_the_host_names(store: Store, account: Account) -> None:
    mine, secret = account.container(), account.container()
    account.put(f"{mine}/o", b"open")
    program = limited(store, account, *below(account, mine, "GET", "PUT"), ("GET", "/o"))
    names = account.name.replace("_", "-")
    of_mine, of_secret = ({"Host": f"{each[1:]}.{names}.store.test"} for each in (mine, secret))
    path = f"/v1/{account.name}{mine}/x"
    refused(program.client.put(path, content=b"1", headers=of_secret))
    assert account.names(secret) == []
    assert program.client.get("/o", headers=of_mine).content == b"open"
    refused(program.client.get("/o", headers=of_secret))


def test_a_slash_that_is_escaped(store: Store, account: Account) -> None:
    container = account.container()
    account.put(f"{container}/a/b", b"secret")
    lister = limited(store, account, ("GET", f"/v1/{account.name}/*"))
    assert lister.get(container).status_code == 200
    assert lister.get(f"{container}%2Fa/b").status_code == 401  # no rule names what is sent
    for sent in (f"{container}%2Fa%2Fb", f"{container}%2fa%2fb"):
        refused(lister.get(sent), f"GET /object-store/v1/{account.name}{container}/a/b")
    reader = limited(store, account, ("GET", f"/v1/{account.name}{container}/*"))
    assert reader.get(f"{container}/a%2Fb").content == b"secret"


def test_versions_and_plain_requests_need_no_further_rule(store: Store, account: Account) -> None:
    """What the store does for itself is not asked."""
    mine = account.container(X_Versions_Enabled="true")
    old = account.container()
    archived = account.container(X_Versions_Location=old[1:])
    for container in (mine, archived):
        program = limited(store, account, *below(account, container, "PUT", "DELETE", "POST"))
        for data in (b"1", b"2"):
            assert program.put(f"{container}/é o", data).status_code == 201
        assert program.post(f"{container}/é o", X_Object_Meta_A="1").status_code == 202
        assert program.delete(f"{container}/é o").status_code == 204
        assert program.get(f"{container}/é o").status_code in (401, 403)
