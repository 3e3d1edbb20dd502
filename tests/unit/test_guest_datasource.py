"""The guest's metadata client, run here by the shell and tools it has in the guest (busybox)."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "nubelet/guest/overlay/root/usr/lib/guest"
INSTANCE = "6bd2c3ab-0000-4444-8888-1234567890ab"

pytestmark = pytest.mark.skipif(shutil.which("busybox") is None, reason="needs busybox-static")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


@pytest.fixture
def service(tree: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(tree)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def lookup(document: Any, want: str) -> list[str]:
    text = document if isinstance(document, str) else json.dumps(document)
    found = subprocess.run(
        ["busybox", "awk", "-v", f"want={want}", "-f", str(LIBRARY / "json.awk")],
        input=text, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return found.stdout.splitlines() if found.returncode == 0 else ["failed"]


@pytest.mark.parametrize(
    ("document", "want", "found"),
    [
        ({"uuid": INSTANCE}, "uuid", [INSTANCE]),
        ({"meta": {"uuid": "wrong"}, "uuid": "right"}, "uuid", ["right"]),
        ({"public_keys": {"a/b": "ssh-rsa A\n", "c": "ssh-rsa B"}}, "public_keys",
         ["ssh-rsa A", "ssh-rsa B"]),
        ({"keys": [{"data": "x"}, {"data": "y"}]}, "keys/1/data", ["y"]),
        ({"a": 'quote " brace } \\ tab\t', "b": 5}, "b", ["5"]),
        ({"a": 'quote " brace } \\ end'}, "a", ['quote " brace } \\ end']),
        ({"a": "<A>&é"}, "a", ["<A>&"]),
        ({"a": None, "b": True, "c": -1.5e3}, "b", ["true"]),
        ({"a": {}, "b": [], "c": "z"}, "c", ["z"]),
        ({}, "a", []),
        (' {\n "a" : [ 1 , { "b" : "x" } ] } ', "a/1/b", ["x"]),
        ('{"a": "unfinished', "a", ["failed"]),
        ("<html>not json</html>", "a", ["failed"]),
    ],
)  # fmt: skip
def test_json_lookup(document: Any, want: str, found: list[str]) -> None:
    assert lookup(document, want) == found


def ask(service: str, tmp_path: Path) -> tuple[int, dict[str, str]]:
    data = tmp_path / "data"
    data.mkdir(exist_ok=True)
    script = f". {LIBRARY}/datasource; service={service} data={data}; metadata_service 5"
    finished = subprocess.run(
        ["busybox", "sh", "-c", script], env={"library": str(LIBRARY), "PATH": "/bin:/usr/bin"},
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    return finished.returncode, {path.name: path.read_text() for path in data.iterdir()}


def test_openstack_paths_are_preferred(service: str, tree: Path, tmp_path: Path) -> None:
    latest = tree / "openstack" / "latest"
    latest.mkdir(parents=True)
    document = {"uuid": INSTANCE, "hostname": "vm.novalocal", "public_keys": {"k": "ssh-rsa A u\n"}}
    (latest / "meta_data.json").write_text(json.dumps(document))
    code, data = ask(service, tmp_path)
    assert code == 0
    assert data["instance-id"] == INSTANCE + "\n"
    assert data["hostname"] == "vm.novalocal\n"
    assert data["keys"] == "ssh-rsa A u\n"


def test_ec2_paths_are_the_second_choice(service: str, tree: Path, tmp_path: Path) -> None:
    latest = tree / "latest" / "meta-data"
    for number in range(2):
        (latest / "public-keys" / str(number)).mkdir(parents=True)
        (latest / "public-keys" / str(number) / "openssh-key").write_text(f"ssh-rsa KEY{number}")
    (latest / "public-keys" / "index.html").write_text("0=one\n1=two")
    (latest / "instance-id").write_text("i-00000001")
    (latest / "local-hostname").write_text("vm.novalocal")
    code, data = ask(service, tmp_path)
    assert code == 0
    assert data["instance-id"] == "i-00000001"
    assert data["hostname"] == "vm.novalocal"
    assert data["keys"].split("\n") == ["ssh-rsa KEY0", "ssh-rsa KEY1", ""]


def test_no_service_and_empty_service_are_failures(service: str, tmp_path: Path) -> None:
    assert ask(service, tmp_path)[0] != 0
    assert ask("http://127.0.0.1:9", tmp_path)[0] != 0
