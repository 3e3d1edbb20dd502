"""A small body that stands still: who is asked says so in its own words, and nothing is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from xml.etree import ElementTree

import httpx
import pytest

from nubelet.kernel.http import bodies
from tests.object_store_calls import Store, make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    yield from make_store(tmp_path_factory.mktemp("objects"))


def stall(store: Store, method: str, path: str, **headers: str) -> httpx.Response:
    """The answer to a request of whose eight bytes four are sent."""

    async def body() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(600)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=store.tested.app)
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        request = httpx.Request(
            method,
            f"http://cloud.test{path}",
            content=body(),
            headers={"content-length": "8", **more},
        )
        response = await transport.handle_async_request(request)
        await response.aread()
        return response

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "STALL_SECONDS", 0.5)
        return asyncio.run(asyncio.wait_for(ask(), 100))


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "GET"])
@pytest.mark.parametrize("path", ["/s3/bucket/key", "/bucket/key", "/s3/"])
def test_s3_says_it_in_xml(store: Store, method: str, path: str) -> None:
    answer = stall(store, method, path)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/xml"
    found = ElementTree.fromstring(answer.text)
    assert (found.tag, found.findtext("Code")) == ("Error", "RequestTimeout")
    assert found.findtext("RequestId") == answer.headers["x-amz-request-id"]


def test_swift_says_it_and_does_nothing(store: Store) -> None:
    """Also what reads no body."""
    account = store.account()
    container = account.container()
    account.put(f"{container}/o", b"1")
    token = account.client.headers["x-auth-token"]
    url = f"{account.url}{container}"
    for method, path in (("DELETE", f"{url}/o"), ("PUT", f"{url}/new"), ("POST", url)):
        answer = stall(store, method, path, x_auth_token=token, x_container_meta_a="b")
        assert answer.status_code == 408, answer.text
        assert "stood still" in answer.text
        assert answer.headers["x-trans-id"]
    assert account.names(container) == ["o"]
    assert "x-container-meta-a" not in account.head(container).headers


def test_a_service_without_a_gateway_is_not_asked(store: Store) -> None:
    path = "/identity/v3/OS-FEDERATION/identity_providers/none/protocols/none/auth"
    answer = stall(store, "POST", path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (408, 408)
