"""Imports: staged and downloaded, as users and their tasks see them."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.cloud import TestedCloud, make_cloud
from tests.image_files import owners
from tests.web import served

URL = "/image/v2/images"
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = make_cloud(
        tmp_path_factory.mktemp("image"),
        services=("identity", "image"),
        options={"image.web_download_networks": ("127.0.0.1/32",)},
    )
    yield made
    made.close()


@pytest.fixture
def client(tested: TestedCloud) -> httpx.Client:
    return tested.client("member")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("web"), {"image": b"from the web"}) as url:
        yield url


def create(client: httpx.Client, **values: Any) -> str:
    made = client.post(URL, json={"disk_format": "raw", "container_format": "bare", **values})
    identifier: str = made.json()["id"]
    return identifier


def stage(client: httpx.Client, one: str, data: bytes = b"staged") -> httpx.Response:
    return client.put(f"{URL}/{one}/stage", content=data, headers=OCTETS)


def start(
    client: httpx.Client, one: str, name: str = "glance-direct", uri: str | None = None, **more: Any
) -> httpx.Response:
    method = {"name": name} | ({"uri": uri} if uri else {})
    return client.post(f"{URL}/{one}/import", json={"method": method, **more})


def files(tested: TestedCloud) -> set[str]:
    folder: Path = tested.cloud.settings.image.directory
    return set(owners(path.name for path in folder.rglob("*") if path.is_file()))


def test_staged_data_is_imported(tested: TestedCloud, client: httpx.Client) -> None:
    one = create(client)
    assert stage(client, one).status_code == 204
    shown = client.get(f"{URL}/{one}").json()
    assert (shown["status"], shown["size"]) == ("uploading", len(b"staged"))
    assert client.get(f"{URL}/{one}/file").status_code == 204
    started = start(client, one, all_stores=True)
    assert started.status_code == 202
    tested.settle()
    shown = client.get(f"{URL}/{one}").json()
    assert (shown["status"], shown["size"], shown["stores"]) == ("active", 6, "file")
    assert shown["os_glance_importing_to_stores"] == shown["os_glance_failed_import"] == ""
    assert client.get(f"{URL}/{one}/file").content == b"staged"
    [task] = client.get(f"{URL}/{one}/tasks").json()["tasks"]
    assert task["status"] == "success"
    assert task["request_id"] == started.headers["x-openstack-request-id"]
    assert task["input"]["import_req"]["method"]["name"] == "glance-direct"
    client.delete(f"{URL}/{one}")
    tested.settle()
    assert one not in files(tested)


def test_data_is_fetched_from_the_web(tested: TestedCloud, client: httpx.Client, web: str) -> None:
    one = create(client)
    assert start(client, one, "web-download", f"{web}/image").status_code == 202
    shown = client.get(f"{URL}/{one}").json()
    assert shown["status"] in ("importing", "active")
    tested.settle()
    assert client.get(f"{URL}/{one}/file").content == b"from the web"


@pytest.mark.parametrize("name", ["glance-direct", "web-download"])
def test_a_failed_import_says_why_and_leaves_nothing(
    tested: TestedCloud, client: httpx.Client, web: str, name: str
) -> None:
    one = create(client, disk_format="qcow2", os_distro="debian")
    if name == "glance-direct":
        stage(client, one)
    assert start(client, one, name, f"{web}/image").status_code == 202
    tested.settle()
    shown = client.get(f"{URL}/{one}").json()
    assert shown["status"] == "queued"
    assert shown["os_glance_failed_import"] == "file"
    assert shown["os_glance_importing_to_stores"] == ""
    assert (shown["size"], shown["checksum"], shown["os_distro"]) == (None, None, "debian")
    [task] = client.get(f"{URL}/{one}/tasks").json()["tasks"]
    assert task["status"] == "failure"
    assert "did not match disk_format" in task["message"]
    assert one not in files(tested)
    client.patch(
        f"{URL}/{one}",
        json=[{"op": "replace", "path": "/disk_format", "value": "raw"}],
        headers={"Content-Type": "application/openstack-images-v2.1-json-patch"},
    )
    assert start(client, one, "web-download", f"{web}/image").status_code == 202
    tested.settle()
    shown = client.get(f"{URL}/{one}").json()
    assert shown["status"] == "active"
    assert shown["os_glance_failed_import"] == ""
    assert [task["status"] for task in client.get(f"{URL}/{one}/tasks").json()["tasks"]] == [
        "success",
        "failure",
    ]


def test_a_url_that_does_not_answer_fails_the_import(
    tested: TestedCloud, client: httpx.Client, web: str
) -> None:
    one = create(client)
    start(client, one, "web-download", f"{web}/missing")
    tested.settle()
    [task] = client.get(f"{URL}/{one}/tasks").json()["tasks"]
    assert (task["status"], "404" in task["message"]) == ("failure", True)
    assert client.get(f"{URL}/{one}").json()["status"] == "queued"


@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.169.254/x",
        "file:///etc/passwd",
        "http://10.0.0.1/x",
        "http://127.0.0.1/\u00fc",
        None,
    ],
)
def test_a_url_into_our_networks_is_refused(client: httpx.Client, uri: str | None) -> None:
    one = create(client)
    assert start(client, one, "web-download", uri).status_code == 400
    assert client.get(f"{URL}/{one}").json()["status"] == "queued"


def test_imports_that_cannot_be(tested: TestedCloud, client: httpx.Client, web: str) -> None:
    one = create(client)
    assert start(client, one).status_code == 409  # nothing staged
    assert start(client, one, "copy-image").status_code == 403
    assert start(tested.client("admin"), one, "copy-image").status_code == 409
    assert start(client, one, "magic").status_code == 400
    assert start(client, one, "web-download", f"{web}/image", stores=["nowhere"]).status_code == 409
    assert client.post(f"{URL}/{one}/import", json={}).status_code == 400
    assert start(client, str(uuid4())).status_code == 404
    assert stage(client, one).status_code == 204
    assert stage(client, one).status_code == 409
    assert start(client, one, "web-download", f"{web}/image").status_code == 409
    assert client.put(f"{URL}/{one}/file", content=b"x", headers=OCTETS).status_code == 409
    assert (
        tested.client("reader")
        .post(f"{URL}/{one}/import", json={"method": {"name": "glance-direct"}})
        .status_code
        == 403
    )
    assert stage(tested.client("stranger"), one).status_code == 404
    assert start(tested.client("stranger"), one).status_code == 404
    without = client.post(URL, json={}).json()["id"]
    assert start(client, without, "web-download", f"{web}/image").status_code == 409
    client.delete(f"{URL}/{one}")
    tested.settle()
    assert one not in files(tested)


def test_what_there_is_to_import_with_and_to(tested: TestedCloud, client: httpx.Client) -> None:
    shown = client.get("/image/v2/info/import").json()
    assert shown["import-methods"]["value"] == [
        "glance-direct",
        "web-download",
        "copy-image",
        "glance-download",
    ]
    [store] = client.get("/image/v2/info/stores").json()["stores"]
    assert (store["id"], store["default"]) == ("file", "true")
    assert client.get("/image/v2/info/stores/detail").status_code == 403
    [detail] = tested.client("admin").get("/image/v2/info/stores/detail").json()["stores"]
    assert detail["type"] == "file"


# --- Servers that are slow, or answer what they should not ---------------------------------------


@contextmanager
def answering(*pieces: bytes | threading.Event) -> Iterator[str]:
    """The URL of a server that says this to everybody, and waits where an event stands."""

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            for piece in pieces:
                if isinstance(piece, threading.Event):
                    piece.wait(100)
                else:
                    self.wfile.write(piece)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/image"
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n\r\nabc", "206"),
        (b"nonsense\r\n\r\n", "HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "instead of 9"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc", "too early"),
    ],
)
def test_an_answer_that_is_not_the_whole_image_is_none(
    tested: TestedCloud, client: httpx.Client, answer: bytes, told: str
) -> None:
    one = create(client)
    with answering(answer) as url:
        assert start(client, one, "web-download", url).status_code == 202
        tested.settle()
    [task] = client.get(f"{URL}/{one}/tasks").json()["tasks"]
    assert task["status"] == "failure"
    assert told in task["message"]
    assert client.get(f"{URL}/{one}").json()["status"] == "queued"


def test_slow_servers_hold_up_nobody_else(tested: TestedCloud, client: httpx.Client) -> None:
    """One member begins more imports than there are workers, from a server that never ends. The
    import of another is done meanwhile, and the tasks of those that run say so."""
    may_end = threading.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nda"
    with answering(head, may_end, b"ta") as url:
        slow = [create(client) for _ in range(6)]
        for one in slow:
            assert start(client, one, "web-download", url).status_code == 202
        other = tested.client("stranger")
        theirs = create(other)
        assert stage(other, theirs).status_code == 204
        assert start(other, theirs).status_code == 202
        until(lambda: other.get(f"{URL}/{theirs}").json()["status"] == "active")

        def states() -> list[str]:
            found = [client.get(f"{URL}/{one}/tasks").json()["tasks"][0] for one in slow]
            return sorted(task["status"] for task in found)

        until(lambda: states() == ["pending"] * 5 + ["processing"])
        may_end.set()
        tested.settle()
    assert states() == ["success"] * 6


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)


def test_tasks_are_told_to_the_owner_alone(
    tested: TestedCloud, client: httpx.Client, web: str
) -> None:
    """They name where an image came from, which may be a signed URL."""
    one = create(client, visibility="community")
    assert start(client, one, "web-download", f"{web}/image?signature=secret").status_code == 202
    tested.settle()
    assert len(client.get(f"{URL}/{one}/tasks").json()["tasks"]) == 1
    assert len(tested.client("admin").get(f"{URL}/{one}/tasks").json()["tasks"]) == 1
    seen = tested.client("stranger").get(f"{URL}/{one}/tasks")
    assert (seen.status_code, seen.json()["tasks"]) == (200, [])
