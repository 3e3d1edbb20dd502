"""A URL of a user never leads into our own networks: not by its host, its name, or a redirect."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from nubelet.image import web_download
from nubelet.image.web_download import Refused
from nubelet.kernel.errors import BadRequest

LOCAL = ("127.0.0.0/8",)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://localhost/x",
        "http://[::1]/x",
        "http://10.0.0.1/x",
        "http://172.16.3.4/x",
        "http://192.168.1.1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/x",
        "http://[fc00::1]/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://0.0.0.0/x",
        "http://224.0.0.1/x",
        "http://255.255.255.255/x",
        "http://100.64.0.1/x",
        "http://[2002:7f00:1::]/x",
        "http://[64:ff9b::7f00:1]/x",
        "http://[::ffff:0:7f00:1]/x",
        "http://[::]/x",
        "http://[::127.0.0.1]/x",
        "http://[fec0::1]/x",
        "http://[ff02::1]/x",
        "http://2130706433/x",
        "http://0x7f000001/x",
        "http://0x7f.1/x",
        "http://0177.0.0.1/x",
        "http://127.1/x",
        "http://1.1/x",
        "http://localhost./x",
        "http://a.localhost/x",
        "http://example.org\\@127.0.0.1/x",
        "http://example.org\r\nHost: 127.0.0.1/x",
        "file:///etc/passwd",
        "ftp://example.org/x",
        "gopher://example.org/x",
        "//example.org/x",
        "http:///x",
        "http://user@example.org/x",
        "http://example.org:22/x",
        "http://example.org:x/",
        "http://exam ple.org/",
        "",
        "http://93.184.216.34:8080/x",
    ],
)
def test_bad_urls_are_refused_at_once(url: str) -> None:
    with pytest.raises(BadRequest) as caught:
        web_download.check(url, ())
    assert "does not pass filtering" in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x.qcow2",
        "https://example.org/",
        "https://93.184.216.34/x",
        "http://[2606:2800::1]/x",
    ],
)
def test_public_urls_pass(url: str) -> None:
    web_download.check(url, ())


def test_allowed_networks_pass_and_others_still_do_not() -> None:
    web_download.check("http://127.0.0.1:8123/x", LOCAL)
    with pytest.raises(BadRequest):
        web_download.check("http://10.0.0.1/x", LOCAL)


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.1.2.3"], ["93.184.216.34", "169.254.169.254"], ["fe80::1%eth0"], ["::1"]],
)
def test_a_name_that_means_one_of_our_addresses_is_refused(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *args, **kwargs: [(0, 0, 0, "", (address, 80)) for address in addresses],
    )
    monkeypatch.setattr(socket, "create_connection", lambda *args, **kwargs: pytest.fail("went"))
    with pytest.raises(Refused, match="not a public address"):
        list(web_download.fetch("http://innocent.example/x", ()))


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0177.1",
        "127.1",
        "[::ffff:7f00:1]",
        "１２７.0.0.1",
    ],
)
def test_an_address_in_disguise_is_refused_when_it_is_met(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *args, **kwargs: pytest.fail("went"))
    with pytest.raises(Refused, match="not a public address"):
        list(web_download.fetch(f"http://{host}/x", ()))


def test_a_name_that_changes_its_meaning_is_not_asked_twice(
    monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    port = int(server.rpartition(":")[2])
    answers = iter(["127.0.0.1", "169.254.169.254"])
    asked, went = [], []
    connect = socket.create_connection

    def look_up(host: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (next(answers), port))]

    def go(address: tuple[str, int], *args: Any, **kwargs: Any) -> socket.socket:
        went.append(address[0])
        raw = socket.socket()
        raw.connect(("127.0.0.1", port))
        return raw

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket, "create_connection", go)
    assert b"".join(web_download.fetch(f"http://rebind.example:{port}/data", LOCAL)) == b"content"
    assert (asked, went) == (["rebind.example"], ["127.0.0.1"])
    assert connect is not go


def test_this_machines_public_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_download, "_can_bind", lambda address: address == "93.184.216.34")
    with pytest.raises(BadRequest, match="this machine"):
        web_download.check("http://93.184.216.34/x", ())
    web_download.check("http://93.184.216.35/x", ())
    monkeypatch.setattr(web_download, "_can_bind", lambda address: True)  # ip_nonlocal_bind
    web_download.check("http://93.184.216.34/x", ())
    monkeypatch.undo()
    assert web_download._can_bind("127.0.0.1")
    assert not web_download._can_bind("192.0.2.1")


class Pages(http.server.BaseHTTPRequestHandler):
    """/data, /loop, /to?URL, /short, /missing."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path in ("/to", "/loop"):
            self.send_response(302)
            self.send_header("Location", query or "/loop")
            self.end_headers()
            return
        self.send_response(404 if path == "/missing" else 200)
        self.send_header("Content-Length", "100" if path == "/short" else "7")
        self.end_headers()
        self.wfile.write(b"content")

    def log_message(self, *args: Any) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def fetched(url: str) -> bytes:
    return b"".join(web_download.fetch(url, LOCAL))


def test_data_is_fetched_also_through_redirects(server: str) -> None:
    assert fetched(f"{server}/data") == b"content"
    assert fetched(f"{server}/to?/data") == b"content"
    assert fetched(f"{server}/to?{server}/data") == b"content"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/to?http://10.0.0.1/x", "not a public"),
        ("/to?http://169.254.169.254/x", "not a public"),
        ("/to?file:///etc/passwd", "only http"),
        ("/to?http://[::1]/x", "not a public"),
        ("/loop", "redirects"),
        ("/short", "bytes came"),
        ("/missing", "404"),
    ],
)
def test_what_leads_nowhere_good_is_refused(server: str, path: str, words: str) -> None:
    with pytest.raises((Refused, OSError, http.client.HTTPException), match=words):
        fetched(f"{server}{path}")
