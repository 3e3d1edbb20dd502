"""kill -9 at every stage of a change of the object store: the old or the new, never a mix.

A child process carries out one request and kills itself at the n-th system call that changes a
file, for every n until the request comes through. Each time the store
must show the old object or the new one; and after `catch_up` the listing must say the same, the
totals must be right, and no temporary file may be left.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nubelet.kernel.context import Context, Credentials
from nubelet.kernel.http.messages import Request, Response
from nubelet.object_store import gateway
from nubelet.object_store.storage import Policies, Policy, Storage, timestamps
from nubelet.object_store.storage.local import LocalStorage
from nubelet.object_store.storage.objects import state
from nubelet.settings import load

pytestmark = pytest.mark.crash
_CHANGES = ("open", "write", "fsync", "link", "unlink", "rename", "mkdir", "setxattr", "makedirs")
_OWNER = Credentials(user_id="u", project_id="p", roles=("member",))


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process did outlives its death without fsync; that is for losses of power."""
    connect = sqlite3.connect
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    # Another test of this process may have moved the clock. While it is behind the last timestamp,
    # the children that are killed here and their parent would make the same ones.
    monkeypatch.setattr(timestamps, "_last", 0)
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **more: connect(*args, **{"factory": Hasty} | more)
    )


class Hasty(sqlite3.Connection):
    """A connection that does not wait for the disk."""

    def execute(self, sql: str, *more: Any) -> Any:
        return super().execute(sql.replace("synchronous=FULL", "synchronous=OFF"), *more)


class Api:
    """The API over a folder, or another storage, without a server."""

    def __init__(self, folder: Path, store: Any = None) -> None:
        self.store = store or LocalStorage(folder, Policies([Policy(0, "one", True)]))
        settings = load(environ={}, overrides={"state_dir": folder})
        cloud = SimpleNamespace(settings=settings, get={Storage: self.store}.__getitem__)
        self.context: Any = Context(cloud, "object_store", _OWNER, request_id="req-" + "0" * 32)  # type: ignore[arg-type]

    def __call__(
        self, method: str, path: str, data: bytes = b"", query: str = "", **headers: str
    ) -> Response:
        sent = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        sent.setdefault("content-length", str(len(data)))
        request = Request(
            method=method,
            path=path,
            base="",
            params={},
            query={
                part.partition("=")[0]: [part.partition("=")[2]]
                for part in query.split("&")
                if part
            },
            headers=sent,
            chunks=lambda size: iter((data,) if data else ()),
            raw_path=f"/v1/AUTH_p{path}".encode(),
        )
        return gateway.serve(self.context, request)

    def body(self, path: str) -> bytes | None:
        """The content of an object; None where there is none."""
        answer = self("GET", path)
        assert answer.status in (200, 404), answer
        if answer.status == 404:
            return None
        return answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)

    def listed(self, container: str) -> dict[str, int]:
        """Name -> bytes, as the listing says."""
        answer = self("GET", container, query="format=json")
        assert isinstance(answer.body, bytes)
        return {each["name"]: each["bytes"] for each in json.loads(answer.body)}


def kill_at(number: int, change: Callable[[], object]) -> bool:
    """Carry out a change in a child that kills itself at its `number`-th step; was it killed?"""
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
        return os.WIFSIGNALED(status)
    code = 1
    try:
        _count_down(number)
        change()
        code = 0
    finally:
        os._exit(code)


def _count_down(number: int) -> None:
    left = [number]

    def step() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            step()
            return function(*arguments, **more)

        return call

    for name in _CHANGES:
        setattr(os, name, counted(getattr(os, name)))

    class Counted(Hasty):
        execute = counted(Hasty.execute)

    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **more: connect(*args, factory=Counted, **more)  # type: ignore[assignment]


Setup = Callable[[Api], object]
Check = Callable[[Api], None]


def crash_everywhere(tmp_path: Path, setup: Setup, change: Setup, check: Check) -> int:
    """Run the whole series; how many steps the change has."""
    first = tmp_path / "first"
    api = Api(first)
    setup(api)
    api.store.close()
    for number in range(1, 1000):
        folder = tmp_path / str(number)
        shutil.copytree(first, folder)
        killed = kill_at(number, lambda folder=folder: change(Api(folder)))  # type: ignore[misc]
        api = Api(folder)
        check(api)
        api.store.catch_up(thorough=True)
        check(api)
        assert os.listdir(folder / "tmp") == []
        for each in folder.glob("objects/*/*/*"):
            assert state(os.listdir(each)).obsolete == (), "it is there for ever"
        _totals_are_right(api)
        api.store.close()
        shutil.rmtree(folder)
        if not killed:
            return number
    raise AssertionError("it never came through")


def _totals_are_right(api: Api) -> None:
    account = api.store.account("AUTH_p")
    count = size = 0
    for name in ("c", "s", "old"):
        head = api("HEAD", f"/{name}")
        if head.status == 204:
            listed = api.listed(f"/{name}")
            for each, length in listed.items():
                body = api("HEAD", f"/{name}/{each}", query="symlink=get&multipart-manifest=get")
                assert body.status == 200, f"{each} is listed and not there"
                count += 1
                size += int(body.headers["Content-Length"])
                del length
            assert head.headers["X-Container-Object-Count"] == str(len(listed))
    assert (account.object_count, account.bytes_used) == (count, size)


def container(api: Api) -> None:
    api("PUT", "/c")


def test_a_new_object(tmp_path: Path) -> None:
    def check(api: Api) -> None:
        body = api.body("/c/o")
        assert body in (None, b"new")
        listed = api.listed("/c")
        assert listed in ({}, {"o": 3})
        if os.listdir(tmp_path / api.store.folder / "tmp") == []:
            assert listed == ({} if body is None else {"o": 3})

    steps = crash_everywhere(tmp_path, container, lambda api: api("PUT", "/c/o", b"new"), check)
    assert steps > 20


def test_overwriting(tmp_path: Path) -> None:
    def setup(api: Api) -> None:
        container(api)
        api("PUT", "/c/o", b"old-one", X_Object_Meta_A="old")

    def check(api: Api) -> None:
        head = api("HEAD", "/c/o")
        meta = head.headers["X-Object-Meta-A"]
        assert (api.body("/c/o"), meta) in ((b"old-one", "old"), (b"new", "new"))
        listed = api.listed("/c")["o"]
        if not os.listdir(Path(api.store.folder, "tmp")):
            assert listed == int(head.headers["Content-Length"])

    crash_everywhere(
        tmp_path, setup, lambda api: api("PUT", "/c/o", b"new", X_Object_Meta_A="new"), check
    )


def test_metadata_too_long_for_an_attribute(tmp_path: Path) -> None:
    """It goes to a side file, which is part of the same all or nothing."""
    long = {f"X_Object_Meta_{each}": "v" * 200 for each in range(15)}

    def setup(api: Api) -> None:
        container(api)
        api("PUT", "/c/o", b"old", **long, X_Object_Manifest="c/" + "x" * 3000)

    def check(api: Api) -> None:
        head = api("HEAD", "/c/o", query="multipart-manifest=get")
        assert head.status == 200
        expected = ("3", "v" * 200) if "X-Object-Manifest" in head.headers else ("5", "w" * 200)
        assert (head.headers["Content-Length"], head.headers["X-Object-Meta-7"]) == expected

    crash_everywhere(
        tmp_path,
        setup,
        lambda api: api(
            "PUT",
            "/c/o",
            b"newer",
            **dict.fromkeys(long, "w" * 200),
            Content_Disposition="y" * 3000,
        ),
        check,
    )


def test_deleting(tmp_path: Path) -> None:
    def setup(api: Api) -> None:
        container(api)
        api("PUT", "/c/o", b"old")

    def check(api: Api) -> None:
        body = api.body("/c/o")
        assert body in (None, b"old")
        if not os.listdir(Path(api.store.folder, "tmp")):
            assert api.listed("/c") == ({} if body is None else {"o": 3})

    crash_everywhere(tmp_path, setup, lambda api: api("DELETE", "/c/o"), check)


def test_changing_metadata(tmp_path: Path) -> None:
    def setup(api: Api) -> None:
        container(api)
        api("PUT", "/c/o", b"old", X_Object_Meta_A="1", X_Object_Meta_B="1")

    def check(api: Api) -> None:
        headers = api("HEAD", "/c/o").headers
        found = (headers.get("X-Object-Meta-A"), headers.get("X-Object-Meta-B"))
        assert found in (("1", "1"), ("2", None))
        assert api.body("/c/o") == b"old"

    crash_everywhere(tmp_path, setup, lambda api: api("POST", "/c/o", X_Object_Meta_A="2"), check)


def test_a_manifest(tmp_path: Path) -> None:
    entries = json.dumps([{"path": "/s/1"}, {"path": "/s/2"}]).encode()

    def setup(api: Api) -> None:
        container(api)
        api("PUT", "/s")
        api("PUT", "/s/1", b"hello ")
        api("PUT", "/s/2", b"you")
        api("PUT", "/c/o", b"old")

    def check(api: Api) -> None:
        assert api.body("/c/o") in (b"old", b"hello you")

    crash_everywhere(
        tmp_path,
        setup,
        lambda api: api("PUT", "/c/o", entries, query="multipart-manifest=put"),
        check,
    )


def test_overwriting_with_history(tmp_path: Path) -> None:
    def setup(api: Api) -> None:
        api("PUT", "/old")
        api("PUT", "/c", X_Versions_Location="old")
        api("PUT", "/c/o", b"old")

    def check(api: Api) -> None:
        body = api.body("/c/o")
        assert body in (b"old", b"new")
        if body == b"new":
            (name,) = api.listed("/old")
            assert api.body(f"/old/{name}") == b"old"

    crash_everywhere(tmp_path, setup, lambda api: api("PUT", "/c/o", b"new"), check)


def test_overwriting_with_versions(tmp_path: Path) -> None:
    def setup(api: Api) -> None:
        api("PUT", "/c", X_Versions_Enabled="true")
        api("PUT", "/c/o", b"old")

    def check(api: Api) -> None:
        assert api.body("/c/o") in (b"old", b"new")

    first = tmp_path / "first"
    api = Api(first)
    setup(api)
    api.store.close()
    for number in range(1, 1000):
        folder = tmp_path / str(number)
        shutil.copytree(first, folder)
        killed = kill_at(number, lambda folder=folder: Api(folder)("PUT", "/c/o", b"new"))  # type: ignore[misc]
        api = Api(folder)
        check(api)
        api.store.catch_up(thorough=True)
        check(api)
        answer = api("GET", "/c", query="versions&format=json")
        assert isinstance(answer.body, bytes)
        versions = json.loads(answer.body)
        assert [each["is_latest"] for each in versions].count(True) == 1
        latest = next(each for each in versions if each["is_latest"])
        current = api("HEAD", "/c/o").headers["X-Object-Version-Id"]
        assert latest["version_id"] == current
        api.store.close()
        shutil.rmtree(folder)
        if not killed:
            return


def test_a_new_container(tmp_path: Path) -> None:
    def check(api: Api) -> None:
        assert api("HEAD", "/c").status in (204, 404)
        again = api("PUT", "/c")
        assert again.status in (201, 202)
        assert api("PUT", "/c/o", b"x").status == 201
        assert api("DELETE", "/c/o").status == 204
        api.store.catch_up(thorough=True)
        listing = api("GET", "", query="format=json").body
        assert isinstance(listing, bytes)
        assert [each["name"] for each in json.loads(listing)] == ["c"]

    crash_everywhere(tmp_path, lambda api: None, lambda api: api("PUT", "/c"), check)
