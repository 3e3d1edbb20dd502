"""Containers that follow one another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nubelet.object_store.features.container_sync import signature
from nubelet.object_store.storage import timestamps
from tests.object_store_calls import ROOT, Account, Store, make_store

KEY = "key-of-the-realm"


class Bridge(BaseHTTPRequestHandler):
    """A port in front of the cloud under test, for what speaks HTTP itself."""

    store: Store
    url: str

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value.encode("latin-1") for name, value in self.headers.items()}
        answer = self.store.tested.client(None).request(
            self.command, self.path, content=body, headers=headers
        )
        self.send_response(answer.status_code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_DELETE = do_PUT

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bridge)
    url = f"http://127.0.0.1:{server.server_port}{ROOT}/v1/"
    realms = {"Mine": {"key": KEY, "cluster_here": url, "cluster_gone": "http://127.0.0.1:9/v1/"}}
    made = make_store(
        tmp_path_factory.mktemp("objects"), sync_realms=realms, sync_hosts=("127.0.0.1",)
    )
    store = Bridge.store = next(made)
    Bridge.url = url
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield store
    server.shutdown()
    next(made, None)


def pair(one: Account, two: Account, **more: str) -> tuple[str, str]:
    """Containers of two accounts that follow one another."""
    first, second = one.container(), two.container()
    for mine, there, other in ((one, two, second), (two, one, first)):
        path = first if mine is one else second
        to = f"//mine/HERE/{there.name}{other}"
        answer = mine.post(path, X_Container_Sync_To=to, X_Container_Sync_Key="shared", **more)
        assert answer.status_code == 204, answer.text
    return first, second


def test_what_is_written_on_one_side_comes_to_the_other(store: Store) -> None:
    one, two = store.account(), store.account("stranger")
    first, second = pair(one, two)
    one.put(f"{first}/a%2F%C3%A9", b"data", X_Object_Meta_A="1", Content_Type="a/b")
    two.put(f"{second}/b", b"other")
    store.tested.reconcile("object-store-sync")
    got = two.get(f"{second}/a/%C3%A9")
    assert (got.content, got.headers["x-object-meta-a"]) == (b"data", "1")
    assert got.headers["content-type"] == "a/b"
    assert got.headers["x-timestamp"] == one.head(f"{first}/a/%C3%A9").headers["x-timestamp"]
    assert one.get(f"{first}/b").content == b"other"
    one.put(f"{first}/b", b"newer")
    one.delete(f"{first}/a/%C3%A9")
    store.tested.reconcile("object-store-sync")
    store.tested.reconcile("object-store-sync")
    assert two.get(f"{second}/b").content == b"newer"
    assert two.get(f"{second}/a/%C3%A9").status_code == 404
    assert one.names(first) == two.names(second) == ["b"]


def test_a_side_that_is_away_is_told_later(store: Store) -> None:
    one, two = store.account(), store.account("stranger")
    first, second = pair(one, two)
    one.put(f"{first}/a", b"data")
    here = f"//mine/here/{two.name}{second}"
    one.post(first, X_Container_Sync_To=here.replace("here", "gone"))
    store.tested.reconcile("object-store-sync")
    assert two.get(f"{second}/a").status_code == 404
    one.post(first, X_Container_Sync_To=here)
    store.tested.reconcile("object-store-sync")
    assert two.get(f"{second}/a").status_code == 200


@pytest.mark.parametrize("to", ["x", "//mine/here/a", "//other/here/a/c", "//mine/no/a/c"])
def test_wrong_targets(store: Store, to: str) -> None:
    account = store.account()
    assert account.post(account.container(), X_Container_Sync_To=to).status_code == 400


def test_only_signed_requests_get_in(store: Store, tmp_path: Path) -> None:
    account = store.account()
    path = account.container(X_Container_Sync_Key="shared")
    anyone = store.seen_by(None)
    now = timestamps.now()

    def send(method: str, signed: str, stamp: str = now, realm: str = "mine") -> int:
        headers = {"X-Timestamp": stamp, "X-Container-Sync-Auth": f"{realm} nonce {signed}"}
        return anyone(method, f"{path}/o", content=b"x", headers=headers).status_code

    full = f"/v1/{account.name}{path}/o"
    good = signature("PUT", full, now, "nonce", KEY, "shared")
    assert send("PUT", signature("PUT", full, now, "nonce", KEY, "other")) == 401
    assert send("PUT", signature("PUT", full, now, "nonce", "other", "shared")) == 401
    assert send("PUT", good, stamp=timestamps.now()) == 401
    assert send("PUT", good, realm="no") == 401
    assert send("PUT", "") == 401
    assert send("DELETE", good) == 401
    assert send("PUT", good) == 201
    assert account.head(f"{path}/o").headers["x-timestamp"] == now
    info = store.tested.client(None).get(f"{ROOT}/info").json()
    assert set(info["container_sync"]["realms"]["MINE"]["clusters"]) == {"HERE", "GONE"}


# --- By URL and key ---------------------------------------------------------------------------


def test_containers_follow_by_url_and_key_alone(store: Store) -> None:
    one, two = store.account(), store.account("stranger")
    second = two.container(X_Container_Sync_Key="shared")
    to = f"{Bridge.url}{two.name}{second}"
    first = one.container(X_Container_Sync_To=to, X_Container_Sync_Key="shared")
    one.put(f"{first}/o", b"data")
    one.put(f"{first}/gone", b"data")
    store.tested.reconcile("object-store-sync")
    assert two.get(f"{second}/o").content == b"data"
    stamp = one.head(f"{first}/o").headers["x-timestamp"]
    assert two.head(f"{second}/o").headers["x-timestamp"] == stamp
    one.delete(f"{first}/gone")
    store.tested.reconcile("object-store-sync")
    assert two.names(second) == ["o"]


def test_a_wrong_key_lets_nobody_in(store: Store) -> None:
    one = store.account()
    path = one.container(X_Container_Sync_Key="shared")
    anyone = store.seen_by(None)
    now = timestamps.now()
    for key, status in (("other", 401), ("", 401), ("shared", 201)):
        answer = anyone.put(f"{path}/o", b"1", X_Container_Sync_Key=key, X_Timestamp=now)
        assert answer.status_code == status
    assert anyone.get(f"{path}/o", X_Container_Sync_Key="shared").status_code == 401


@pytest.mark.parametrize(
    "target",
    [
        "http://elsewhere.example/v1/a/c",
        "http://127.0.0.1/v1/a",
        "http://127.0.0.1/v1/a/c/o",
        "http://127.0.0.1/v1/a/c?x",
        "http://u@127.0.0.1/v1/a/c",
        "http://[/v1/a/c",
    ],
)
def test_urls_that_cannot_be_followed(store: Store, target: str) -> None:
    one = store.account()
    assert one.post(one.container(), X_Container_Sync_To=target).status_code == 400
