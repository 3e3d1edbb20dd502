"""Temporary URLs, forms, web sites, quotas, many at once, browsers, read-only accounts."""

from __future__ import annotations

import hmac
import io
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.cloud import TestedCloud
from tests.object_store_calls import ROOT, Account, Store, make_store

KEY = "a-secret-key"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    yield from make_store(tmp_path_factory.mktemp("objects"), policies=("gold", "silver"))


@pytest.fixture
def account(store: Store) -> Account:
    return store.account()


@pytest.fixture
def reseller(store: Store) -> Account:
    """The member's account as a ResellerAdmin sees it."""
    return Account(reseller_client(store.tested), store.account().url)


def reseller_client(tested: TestedCloud) -> httpx.Client:
    from nubelet import identity

    with tested.cloud.database.write() as tx:
        project = identity.ensure_project(tx, "resellers")
        user = identity.ensure_user(tx, "test-reseller")
        identity.ensure_assignment(tx, user, "ResellerAdmin", project_id=project)
    token = identity.issue_token(tested.cloud, user, project_id=project)
    return tested.client(None, X_Auth_Token=token)


# --- Temporary URLs ---------------------------------------------------------------------------


def sign(text: str, key: str = KEY, digest: str = "sha256") -> str:
    return hmac.new(key.encode(), text.encode(), digest).hexdigest()


class Signed:
    """A client without token that asks for signed URLs of an account."""

    def __init__(self, store: Store, account: Account) -> None:
        self.client, self.account = store.tested.client(None), account

    def __call__(
        self,
        method: str,
        path: str,
        *,
        signed: str = "",
        key: str = KEY,
        digest: str = "sha256",
        ends: int | None = None,
        prefix: str | None = None,
        ip: str | None = None,
        content: bytes = b"",
        headers: Any = None,
        **query: str,
    ) -> httpx.Response:
        ends = ends or int(time.time()) + 60
        of = f"/v1/{self.account.name}{path}"
        text = f"{signed or method}\n{ends}\n{of}"
        if prefix is not None:
            container = path.split("/")[1]
            of = f"/v1/{self.account.name}/{container}/{prefix}"
            text = f"{signed or method}\n{ends}\nprefix:{of}"
            query["temp_url_prefix"] = prefix
        if ip is not None:
            text = f"ip={ip}\n{text}"
            query["temp_url_ip_range"] = ip
        params = {"temp_url_sig": sign(text, key, digest), "temp_url_expires": str(ends), **query}
        return self.client.request(
            method, self.account.url + path, params=params, content=content, headers=headers
        )


@pytest.fixture
def signed(store: Store, account: Account) -> Signed:
    account.post(X_Account_Meta_Temp_URL_Key=KEY)
    return Signed(store, account)


def test_a_temporary_url(account: Account, signed: Signed) -> None:
    path = account.container()
    account.put(f"{path}/dir/o", b"data", X_Object_Meta_A="1", X_Object_Meta_Public_B="2")
    answer = signed("GET", f"{path}/dir/o")
    assert answer.content == b"data"
    assert answer.headers["content-disposition"] == "attachment; filename=\"o\"; filename*=UTF-8''o"
    assert "x-object-meta-a" not in answer.headers
    assert answer.headers["x-object-meta-public-b"] == "2"
    assert signed("GET", f"{path}/dir/o", digest="sha512").status_code == 200
    assert signed("HEAD", f"{path}/dir/o", signed="GET").status_code == 200
    assert signed("GET", f"{path}/dir/o", signed="HEAD").status_code == 401
    assert signed("GET", f"{path}/dir/o", inline="").headers["content-disposition"] == "inline"
    named = signed("GET", f"{path}/dir/o", filename='a"b\r\n.txt').headers["content-disposition"]
    assert '"a%22b%0D%0A.txt"' in named


def test_a_temporary_url_with_the_path_as_it_is_reached(account: Account, signed: Signed) -> None:
    path = account.container() + "/o"
    account.put(path, b"data")
    ends = int(time.time()) + 60
    query = {"temp_url_sig": sign(f"GET\n{ends}\n{account.url}{path}"), "temp_url_expires": ends}
    assert signed.client.get(account.url + path, params=query).content == b"data"
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))
    assert signed.client.get(account.url + path, params=query | {"temp_url_expires": when})


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "other"},
        {"ends": 1000},
        {"digest": "sha1"},
        {"signed": "PUT"},
        {"prefix": "x"},
        {"ip": "10.0.0.0/8"},
        {"ip": "nonsense"},
    ],
)
def test_bad_signatures_are_refused(account: Account, signed: Signed, wrong: Any) -> None:
    path = account.container() + "/o"
    account.put(path, b"data")
    assert signed("GET", path).status_code == 200
    assert signed("GET", path, **wrong).status_code == 401


def test_prefixes_and_addresses(account: Account, signed: Signed) -> None:
    path = account.container()
    account.put(f"{path}/dir/o", b"data")
    assert signed("GET", f"{path}/dir/o", prefix="dir/").content == b"data"
    assert signed("GET", f"{path}/dir/o", prefix="dir/", ip="127.0.0.0/8").content == b"data"


def test_uploads_by_temporary_url(account: Account, signed: Signed) -> None:
    path = account.container()
    assert signed("PUT", f"{path}/o", content=b"new").status_code == 201
    assert account.get(f"{path}/o").content == b"new"
    for name in ("X-Object-Manifest", "X-Symlink-Target", "X-Copy-From"):
        answer = signed("PUT", f"{path}/p", headers={name: f"{path[1:]}/o"})
        assert answer.status_code == 400
        assert account.get(f"{path}/p").status_code == 404
    assert signed("DELETE", f"{path}/o").status_code == 204


def test_the_key_of_a_container_opens_it_alone(account: Account, signed: Signed) -> None:
    path = account.container(X_Container_Meta_Temp_URL_Key_2="mine")
    other = account.container()
    account.put(f"{path}/o", b"data")
    account.put(f"{other}/o", b"data")
    assert signed("GET", f"{path}/o", key="mine").status_code == 200
    assert signed("GET", f"{other}/o", key="mine").status_code == 401
    account.put(f"{path}/l", X_Symlink_Target=f"{other[1:]}/o")
    assert signed("GET", f"{path}/l", key="mine").status_code == 401
    assert signed("GET", f"{path}/l").status_code == 200


# --- Forms ------------------------------------------------------------------------------------


def form(store: Store, account: Account, path: str, files: Any, **fields: str) -> httpx.Response:
    values = {
        "redirect": "",
        "max_file_size": "100",
        "max_file_count": "2",
        "expires": str(int(time.time()) + 60),
        **fields,
    }
    order = ("redirect", "max_file_size", "max_file_count", "expires")
    text = "\n".join([f"/v1/{account.name}{path}", *(values[name] for name in order)])
    values.setdefault("signature", sign(text))
    return store.tested.client(None).post(account.url + path, data=values, files=files)


def test_a_form_uploads_files(store: Store, account: Account, signed: Signed) -> None:
    path = account.container()
    files = [("file1", ("a.txt", b"one", "text/plain")), ("file2", ("b", b"two", "c/d"))]
    answer = form(store, account, f"{path}/pre-", files, x_delete_after="100")
    assert answer.status_code == 201, answer.text
    assert account.get(f"{path}/pre-a.txt").content == b"one"
    head = account.head(f"{path}/pre-b")
    assert head.headers["content-type"] == "c/d"
    assert "x-delete-at" in head.headers
    answer = form(store, account, f"{path}/", files[:1], redirect="http://there.example/x")
    assert answer.status_code == 303
    assert answer.headers["location"] == "http://there.example/x?status=201&message="
    data = bytes(range(256)) * 1024
    answer = form(store, account, f"{path}/", [("f", ("big", data))], max_file_size="300000")
    assert answer.status_code == 201
    assert account.get(f"{path}/big").content == data


def test_names_of_files_in_forms(store: Store, account: Account, signed: Signed) -> None:
    """Some programs escape a quotation mark, and browsers leave a backslash as it is."""
    path = account.container()
    for sent, name in (('a\\"b', 'a"b'), ("c\\d", "c\\d"), ("e\\", "e\\")):
        files = [("file1", ("NAME", b"1", "text/plain"))]
        written = form(store, account, f"{path}/", files, max_file_count="2").request
        data = written.read().replace(b'filename="NAME"', b'filename="%s"' % sent.encode())
        kind = {"Content-Type": written.headers["content-type"]}
        answer = store.tested.client(None).post(f"{account.url}{path}/", content=data, headers=kind)
        assert answer.status_code == 201, answer.text
        assert name in account.names(path)


def test_wrong_forms(store: Store, account: Account, signed: Signed) -> None:
    path = account.container() + "/"
    one = [("file", ("a", b"x"))]
    assert form(store, account, path, one, signature="0" * 64).status_code == 401
    assert form(store, account, path, one, expires="1000").status_code == 401
    assert form(store, account, path, one, max_file_size="x").status_code == 400
    assert form(store, account, path, [("f", ("a", b"x" * 101))]).status_code == 413
    three = [(f"f{each}", (f"n{each}", b"x")) for each in range(3)]
    assert form(store, account, path, three).status_code == 400
    assert form(store, account, path, None).status_code != 201
    assert account.get(f"{path}a").status_code == 404
    assert account.names(path.rstrip("/")) == ["n0", "n1"]


def test_what_was_not_signed_changes_nothing_of_a_form(
    store: Store, account: Account, signed: Signed
) -> None:
    path = account.container()
    ends = str(int(time.time()) + 60)
    text = "\n".join([f"/v1/{account.name}{path}/", "", "1", "1", ends])
    fields = {"max_file_size": "1", "max_file_count": "1", "expires": ends, "signature": sign(text)}
    late = {"max_file_size": "99", "max_file_count": "9", "_taken": "0", "_signed": "yes"}
    parts: list[Any] = [(name, (None, value)) for name, value in fields.items()]
    parts.append(("file", ("a", b"x")))
    parts += [(name, (None, value)) for name, value in late.items()]
    parts += [("redirect", (None, "http://evil.example/")), ("file", ("b", b"too long"))]
    client = store.tested.client(None)
    answer = client.post(f"{account.url}{path}/", files=parts)
    assert answer.status_code == 400
    assert account.names(path) == ["a"]
    unsigned = [("_signed", (None, "yes")), ("redirect", (None, "http://evil.example/"))]
    answer = client.post(f"{account.url}{path}/", files=[*unsigned, ("file", ("c", b"x"))])
    assert answer.status_code in (400, 401)
    assert account.names(path) == ["a"]


# --- Web sites --------------------------------------------------------------------------------


@pytest.fixture
def site(store: Store, account: Account) -> tuple[Account, str]:
    path = account.container(
        X_Container_Read=".r:*,.rlistings",
        X_Container_Meta_Web_Index="index.html",
        X_Container_Meta_Web_Error="error.html",
    )
    account.put(f"{path}/index.html", b"<p>home</p>")
    account.put(f"{path}/sub/index.html", b"sub")
    account.put(f"{path}/docs/a.txt", b"a")
    account.put(f"{path}/404error.html", b"not here")
    return store.seen_by(None), path


def test_a_web_site(site: tuple[Account, str]) -> None:
    visitor, path = site
    answer = visitor.get(path)
    assert answer.status_code == 301
    assert answer.headers["location"].endswith(f"{path}/")
    home = visitor.get(f"{path}/")
    assert (home.status_code, home.content) == (200, b"<p>home</p>")
    assert home.headers["content-type"] == "text/html"
    assert visitor.get(f"{path}/sub").status_code == 301
    assert visitor.get(f"{path}/sub/").content == b"sub"
    missing = visitor.get(f"{path}/none")
    assert (missing.status_code, missing.content) == (404, b"not here")
    assert visitor.get(f"{path}/docs/").status_code == 404


def test_listings_of_a_web_site(site: tuple[Account, str], account: Account) -> None:
    visitor, path = site
    account.post(path, X_Container_Meta_Web_Listings="true", X_Container_Meta_Web_Index="")
    account.put(f"{path}/<b>", b"x")
    account.put(f"{path}//elsewhere/x", b"x")
    page = visitor.get(f"{path}/")
    assert page.status_code == 200
    assert 'href="docs/"' in page.text
    assert 'href=".//"' in page.text  # "/" would lead out of the site
    assert "&lt;b&gt;" in page.text
    assert "<b>" not in page.text
    assert "a.txt" in visitor.get(f"{path}/docs/").text
    assert visitor.get(f"{path}/docs").status_code == 301
    account.post(path, X_Container_Meta_Web_Listings_CSS="style.css")
    assert 'href="../style.css"' in visitor.get(f"{path}/docs/").text
    account.post(path, X_Container_Read=".r:*")
    assert visitor.get(f"{path}/").status_code == 401


def test_a_bearer_of_a_token_sees_no_web_site(site: tuple[Account, str], account: Account) -> None:
    _, path = site
    assert account.get(f"{path}").status_code == 200
    assert account.get(f"{path}/none").content != b"not here"
    assert account.get(f"{path}/none", X_Web_Mode="true").content == b"not here"


# --- Quotas -----------------------------------------------------------------------------------


def test_quotas_of_a_container(account: Account) -> None:
    path = account.container(X_Container_Meta_Quota_Bytes="10", X_Container_Meta_Quota_Count="2")
    assert account.put(f"{path}/a", b"12345").status_code == 201
    assert account.put(f"{path}/b", b"123456").status_code == 413
    assert account.put(f"{path}/b", X_Copy_From=f"{path}/a").status_code == 201
    assert account.put(f"{path}/c", b"").status_code == 413
    assert account.post(path, X_Container_Meta_Quota_Bytes="many").status_code == 400


def test_quotas_of_an_account(store: Store, account: Account, reseller: Account) -> None:
    path = account.container()
    silver = account.container(X_Storage_Policy="silver")
    used = int(account.head().headers["x-account-bytes-used"])
    assert account.post(X_Account_Meta_Quota_Bytes="1").status_code == 403
    assert account.post(X_Account_Quota_Count="1").status_code == 403
    assert reseller.post(X_Account_Quota_Bytes="x").status_code == 400
    assert reseller.post(X_Account_Meta_Quota_Bytes=str(used + 5)).status_code == 204
    assert account.put(f"{path}/a", b"123456").status_code == 413
    assert account.put(f"{path}/a", b"12345").status_code == 201
    assert account.put(f"{path}/b", b"1").status_code == 413
    assert reseller.post(X_Account_Meta_Quota_Bytes="").status_code == 204
    assert reseller.post(X_Account_Quota_Bytes_Policy_Silver="3").status_code == 204
    assert account.put(f"{silver}/a", b"1234").status_code == 413
    assert account.put(f"{path}/b", b"1234").status_code == 201
    assert account.head().headers["x-account-quota-bytes-policy-silver"] == "3"
    assert reseller.post(X_Remove_Account_Quota_Bytes_Policy_Silver="x").status_code == 204
    count = account.head().headers["x-account-object-count"]
    reseller.post(X_Account_Quota_Count=count)
    assert account.put(f"{silver}/a", b"1").status_code == 413
    reseller.post(X_Account_Quota_Count="")
    assert account.put(f"{silver}/a", b"1").status_code == 201


# --- Many at once -----------------------------------------------------------------------------


def archive(mode: str, files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def extract(account: Account, path: str, kind: str, data: bytes) -> Any:
    answer = account(
        "PUT",
        path,
        params={"extract-archive": kind},
        content=data,
        headers={"Accept": "application/json"},
    )
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.parametrize(("kind", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2")])
def test_an_archive_is_extracted(account: Account, kind: str, mode: str) -> None:
    path = account.container()
    data = archive(mode, {"a": b"1", "dir/b": b"22", "./c": b"x" * 100_000})
    result = extract(account, path, kind, data)
    assert result["Number Files Created"] == 3
    assert result["Response Status"] == "201 Created"
    assert account.names(path) == ["a", "c", "dir/b"]
    assert account.get(f"{path}/c").content == b"x" * 100_000
    new = path[1:] + "-new"
    assert extract(account, "", kind, archive(mode, {f"{new}/o": b"1"}))["Errors"] == []
    assert account.names(f"/{new}") == ["o"]
    for folder in ("pre", "slash/"):
        assert extract(account, f"{path}/{folder}", kind, data)["Number Files Created"] == 3
        assert account.get(f"{path}/{folder.rstrip('/')}/dir/b").content == b"22"


def test_wrong_archives(store: Store, account: Account) -> None:
    path = account.container()
    result = extract(account, path, "tar", b"nonsense" * 1000)
    assert result["Response Status"] == "400 Bad Request"
    result = extract(account, path, "tar", archive("w", {"x" * 1025: b"1", "ok": b"2"}))
    assert result["Number Files Created"] == 1
    assert result["Errors"] == [["x" * 1025, "400 Bad Request"]]
    answer = account("PUT", path, params={"extract-archive": "zip"}, content=b"x")
    assert answer.status_code == 400
    result = extract(store.seen_by("stranger"), path, "tar", archive("w", {"a": b"1"}))
    assert result["Number Files Created"] == 0


def bulk_delete(account: Account, method: str, *names: str) -> Any:
    answer = account(
        method,
        params={"bulk-delete": ""},
        content="\n".join(names).encode(),
        headers={"Accept": "application/json", "Content-Type": "text/plain"},
    )
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_many_are_deleted(account: Account, method: str) -> None:
    path = account.container()
    account.put(f"{path}/a", b"1")
    account.put(f"{path}/b%20c", b"1")
    account.put(f"{path}/d", b"1")
    result = bulk_delete(account, method, f"{path}/a", f"{path[1:]}/b%20c", f"{path}/none", path)
    assert result["Number Deleted"] == 2
    assert result["Number Not Found"] == 1
    assert result["Errors"] == [[path, "409 Conflict"]]
    assert result["Response Status"] == "400 Bad Request"
    result = bulk_delete(account, method, f"{path}/d", path)
    assert (result["Number Deleted"], result["Response Status"]) == (2, "200 OK")
    result = bulk_delete(account, method, *["/x/y"] * 10_001)
    assert result["Response Status"] == "413 Request Entity Too Large"


def test_nobody_deletes_what_is_others(store: Store, account: Account) -> None:
    path = account.container()
    account.put(f"{path}/a", b"1")
    result = bulk_delete(store.seen_by("stranger"), "POST", f"{path}/a")
    assert result["Number Deleted"] == 0
    assert result["Errors"] == [[f"{path}/a", "403 Forbidden"]]
    assert account.get(f"{path}/a").status_code == 200


# --- Browsers ---------------------------------------------------------------------------------


def test_scripts_of_other_pages(store: Store, account: Account) -> None:
    path = account.container(
        X_Container_Meta_Access_Control_Allow_Origin="http://a.example http://b.example",
        X_Container_Meta_Access_Control_Max_Age="9",
        X_Container_Meta_Access_Control_Expose_Headers="x-mine",
    )
    account.put(f"{path}/o", b"x", X_Object_Meta_A="1")
    anyone = store.seen_by(None)
    asked = {"Origin": "http://b.example", "Access-Control-Request-Method": "PUT"}
    answer = anyone("OPTIONS", f"{path}/o", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "http://b.example"
    assert answer.headers["access-control-max-age"] == "9"
    assert "PUT" in answer.headers["access-control-allow-methods"]
    other = asked | {"Origin": "http://c.example"}
    assert anyone("OPTIONS", f"{path}/o", headers=other).status_code == 401
    got = account.get(f"{path}/o", Origin="http://a.example")
    assert got.headers["access-control-allow-origin"] == "http://a.example"
    exposed = got.headers["access-control-expose-headers"].split(", ")
    assert {"etag", "x-object-meta-a", "x-mine", "x-trans-id"} <= set(exposed)
    error = account.get(f"{path}/none", Origin="http://a.example")
    assert error.status_code == 404
    assert error.headers["access-control-allow-origin"] == "http://a.example"
    silent = account.get(f"{path}/o", Origin="http://c.example")
    assert "access-control-allow-origin" not in silent.headers
    answer = store.tested.client(None).get(f"{ROOT}/crossdomain.xml")
    assert "<cross-domain-policy>" in answer.text


# --- Read only --------------------------------------------------------------------------------


def test_a_read_only_account(account: Account, reseller: Account) -> None:
    path = account.container()
    account.put(f"{path}/o", b"x")
    account("POST", headers={"X-Account-Sysmeta-Read-Only": "true"})
    assert account.put(f"{path}/p", b"x").status_code == 201
    reseller("POST", headers={"X-Account-Sysmeta-Read-Only": "true"})
    try:
        assert account.put(f"{path}/p", b"x").status_code == 405
        assert account.delete(f"{path}/o").status_code == 405
        assert account.get(f"{path}/o").status_code == 200
    finally:
        reseller("POST", headers={"X-Account-Sysmeta-Read-Only": "false"})
    assert account.put(f"{path}/p", b"x").status_code == 201


def test_what_is_said_of_the_features(store: Store) -> None:
    info = store.tested.client(None).get(f"{ROOT}/info").json()
    assert info["tempurl"]["allowed_digests"] == ["sha256", "sha512"]
    assert info["slo"]["max_manifest_segments"] == 1000
