"""The object store alone, through unmodified clients and through bad ones."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import swiftclient
from botocore.client import Config
from botocore.exceptions import ClientError

from tests.functional.command import CommandCloud

pytestmark = pytest.mark.functional
USERS = {
    "test:tester": "testing .admin",
    "test:guest": "guesting",
    "test2:tester2": "testing2 .admin",
}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandCloud]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUBELET_OBJECT_STORE_USERS", json.dumps(USERS))
        made = CommandCloud(tmp_path_factory.mktemp("alone"), "--only", "object-store")
        made.up()
        yield made
        made.purge()


@pytest.fixture
def by_identity(cloud: CommandCloud) -> swiftclient.Connection:
    return swiftclient.Connection(
        authurl=f"{cloud.url}/identity/v3",
        user="admin",
        key=cloud.password,
        auth_version="3",
        os_options={
            "project_name": "admin",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
    )


@pytest.fixture
def by_own_user(cloud: CommandCloud) -> swiftclient.Connection:
    return swiftclient.Connection(
        authurl=f"{cloud.url}/object-store/auth/v1.0", user="test:tester", key="testing"
    )


@pytest.mark.parametrize("fixture", ["by_identity", "by_own_user"])
def test_swiftclient(request: pytest.FixtureRequest, fixture: str) -> None:
    client: swiftclient.Connection = request.getfixturevalue(fixture)
    client.put_container("box")
    etag = client.put_object("box", "a/ü", b"data", headers={"X-Object-Meta-A": "1"})
    assert etag == hashlib.md5(b"data").hexdigest()
    headers, body = client.get_object("box", "a/ü")
    assert (body, headers["x-object-meta-a"]) == (b"data", "1")
    _, listing = client.get_container("box", delimiter="/")
    assert listing == [{"subdir": "a/"}]
    client.delete_object("box", "a/ü")
    client.delete_container("box")
    assert "slo" in client.get_capabilities()


def s3_client(cloud: CommandCloud, user: str, key: str, version: str = "s3v4") -> Any:
    """Of a user of the store's own."""
    return boto3.client(
        "s3",
        endpoint_url=f"{cloud.url}/s3",
        region_name="us-east-1",
        aws_access_key_id=user,
        aws_secret_access_key=key,
        config=Config(
            s3={"addressing_style": "path"}, signature_version=version, retries={"max_attempts": 0}
        ),
    )


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_s3_for_users_of_the_store(
    cloud: CommandCloud, by_own_user: swiftclient.Connection, version: str
) -> None:
    owner = s3_client(cloud, "test:tester", "testing", version)
    owner.create_bucket(Bucket="bucket")
    owner.put_object(Bucket="bucket", Key="a/ü", Body=io.BytesIO(b"data" * 100_000))
    assert by_own_user.get_object("bucket", "a/ü")[1] == b"data" * 100_000
    assert owner.list_buckets()["Owner"]["ID"] == "test"
    for user, key, code in (
        ("test:tester", "wrong", "SignatureDoesNotMatch"),
        ("test:nobody", "testing", "InvalidAccessKeyId"),
        ("test:guest", "guesting", "AccessDenied"),
        ("test2:tester2", "testing2", "AccessDenied"),
    ):
        with pytest.raises(ClientError) as caught:
            s3_client(cloud, user, key, version).get_object(Bucket="bucket", Key="a/ü")
        assert caught.value.response["Error"]["Code"] == code
    owner.put_object_acl(Bucket="bucket", Key="a/ü", GrantRead="id=test2")
    other = s3_client(cloud, "test2:tester2", "testing2", version)
    assert other.get_object(Bucket="bucket", Key="a/ü")["ContentLength"] == 400_000
    owner.delete_object(Bucket="bucket", Key="a/ü")
    owner.delete_bucket(Bucket="bucket")


def swift(cloud: CommandCloud, folder: Path, *words: str) -> str:
    """The unmodified `swift` command."""
    done = subprocess.run(
        [
            Path(sys.executable).parent / "swift",
            *("-A", f"{cloud.url}/object-store/auth/v1.0", "-U", "test:tester", "-K", "testing"),
            *words,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_swift_command(cloud: CommandCloud, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "big").write_bytes(data)
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "small").write_bytes(b"small")
    for kind in (["--use-slo"], []):
        swift(cloud, tmp_path, "upload", "-S", "1000000", *kind, "cli", "big", "dir")
        assert swift(cloud, tmp_path, "list", "cli").split() == ["big", "dir/small"]
        stat = swift(cloud, tmp_path, "stat", "cli", "big")
        assert "Content Length: 3000000" in stat
        swift(cloud, tmp_path, "download", "cli", "big", "-o", "again")
        assert (tmp_path / "again").read_bytes() == data
        swift(cloud, tmp_path, "delete", "cli")
        assert "cli\n" not in swift(cloud, tmp_path, "list")


def raw(cloud: CommandCloud, text: str, body: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", cloud.port), timeout=60)
    connection.sendall(text.replace("\n", "\r\n").encode() + body)
    return connection


def store_folder(cloud: CommandCloud) -> Path:
    return cloud.state_dir / "object-store"


def test_a_client_that_goes_away_leaves_nothing(
    cloud: CommandCloud, by_own_user: swiftclient.Connection
) -> None:
    by_own_user.put_container("gone")
    url, token = by_own_user.get_auth()
    path = url.split(str(cloud.port), 1)[1]
    for length in ("1000", "5000000"):
        head = f"PUT {path}/gone/o HTTP/1.1\nHost: x\nX-Auth-Token: {token}\n"
        connection = raw(cloud, f"{head}Content-Length: {length}\n\n", b"x" * 500)
        time.sleep(0.2)
        connection.close()
    chunked = f"PUT {path}/gone/o HTTP/1.1\nHost: x\nX-Auth-Token: {token}\n"
    connection = raw(cloud, f"{chunked}Transfer-Encoding: chunked\n\n", b"5\r\nhello\r\n")
    time.sleep(0.2)
    connection.close()
    deadline = time.monotonic() + 60
    while os.listdir(store_folder(cloud) / "tmp") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert os.listdir(store_folder(cloud) / "tmp") == []
    assert by_own_user.get_container("gone")[1] == []


def test_a_connection_goes_on_after_a_refusal(
    cloud: CommandCloud, by_own_user: swiftclient.Connection
) -> None:
    """What is left of a refused body is not taken for the next request."""
    url, token = by_own_user.get_auth()
    path = url.split(str(cloud.port), 1)[1]
    head = f"PUT {path}/nowhere/o HTTP/1.1\nHost: x\nX-Auth-Token: {token}\n"
    smuggled = f"DELETE {path}/gone HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n\r\n".encode()
    body = smuggled + b"x" * 500_000
    connection = raw(cloud, f"{head}Content-Length: {len(body)}\n\n", body)
    answers = b""
    connection.settimeout(60)
    try:
        while piece := connection.recv(65536):
            answers += piece
            connection.settimeout(3)  # a second answer would come soon
    except (TimeoutError, ConnectionResetError):
        pass
    assert answers.count(b"HTTP/1.1 ") == 1
    assert answers.startswith(b"HTTP/1.1 404")


def test_no_acknowledged_object_is_lost_by_kill(
    cloud: CommandCloud, by_own_user: swiftclient.Connection
) -> None:
    by_own_user.put_container("killed")
    url, token = by_own_user.get_auth()
    acknowledged: dict[str, bytes] = {}
    ending = threading.Event()

    def write(number: int) -> None:
        client = swiftclient.Connection(preauthurl=url, preauthtoken=token, retries=0)
        count = 0
        while not ending.is_set():
            name, data = f"{number}-{count}", os.urandom(2000 + count)
            try:
                client.put_object("killed", name, data)
                acknowledged[name] = data
                if count % 3 == 2:
                    old = f"{number}-{count - 1}"
                    acknowledged.pop(old)
                    client.delete_object("killed", old)
            except Exception:
                return
            count += 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 120
    # Some more than are needed: each writer may be about to delete one.
    while len(acknowledged) <= 70 and time.monotonic() < deadline:
        time.sleep(0.05)
    cloud.kill()
    ending.set()
    for thread in threads:
        thread.join(30)
    cloud.up()
    assert len(acknowledged) > 60
    _check(by_own_user, store_folder(cloud), acknowledged)


def _check(client: swiftclient.Connection, folder: Path, acknowledged: dict[str, bytes]) -> None:
    for name, data in acknowledged.items():
        assert client.get_object("killed", name)[1] == data
    deadline = time.monotonic() + 60
    while os.listdir(folder / "tmp") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert os.listdir(folder / "tmp") == []
    headers, entries = client.get_container("killed", full_listing=True)
    listed: dict[str, Any] = {each["name"]: each for each in entries}
    assert set(acknowledged) <= set(listed)
    for name, entry in listed.items():
        assert len(client.get_object("killed", name)[1]) == entry["bytes"]
    assert int(headers["x-container-object-count"]) == len(listed)


def test_an_answer_that_breaks_off_is_one_line_of_the_log(
    cloud: CommandCloud, by_identity: swiftclient.Connection
) -> None:
    client = by_identity
    client.put_container("broken")
    pieces = [os.urandom(2 << 20) for _ in range(2)]
    etags = [client.put_object("broken", f"s{at}", piece) for at, piece in enumerate(pieces)]
    manifest = [{"path": f"/broken/s{at}", "etag": etag} for at, etag in enumerate(etags)]
    query = "multipart-manifest=put"
    client.put_object("broken", "whole", json.dumps(manifest), query_string=query)
    client.delete_object("broken", "s1")
    url, token = client.get_auth()
    headers = {"X-Auth-Token": token}
    with requests.get(f"{url}/broken/whole", headers=headers, stream=True, timeout=60) as answer:
        assert answer.status_code == 200
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            answer.content  # noqa: B018
    log = (cloud.state_dir / "log" / "nubelet.log").read_text()
    told = [line for line in log.splitlines() if answer.headers["X-Trans-Id"] in line]
    assert sum("the answer broke off" in line for line in told) == 1
    assert "Traceback" not in log
