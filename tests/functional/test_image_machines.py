"""Several machines serve the image API, each with a cache and a staging folder of its own; another
one runs the imports. Only the store of the data is shared."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests import postgresql, rabbitmq
from tests.functional.test_deployment import Role, _as_cloud, _healthy, _wait
from tests.image_files import owners
from tests.serving import free_port

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]

DATA = os.urandom(5 << 20)
OCTETS = {"Content-Type": "application/octet-stream"}
IMAGES, CACHE = "/image/v2/images", "/image/v2/cache"


class Machine(NamedTuple):
    """A machine, its folder and (unless it only works) a client of its API."""

    role: Role
    folder: Path
    client: httpx.Client | None

    @property
    def api(self) -> httpx.Client:
        assert self.client is not None
        return self.client

    def files(self, kind: str) -> set[str]:
        folder = self.folder / kind
        return set(owners(path.name for path in folder.iterdir())) if folder.exists() else set()


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Machine]]:
    folder = tmp_path_factory.mktemp("machines")
    database = postgresql.new_database()
    made: dict[str, Machine] = {}
    try:
        for name, role in (("left", "api"), ("right", "api"), ("worker", "worker")):
            made[name] = _start(folder, name, role, database)
        yield made
    finally:
        for machine in made.values():
            machine.role.kill()
        postgresql.drop_database(database)


def _start(folder: Path, name: str, kind: str, database: str) -> Machine:
    own, port = folder / name, free_port()
    variables = {
        "NUBELET_BUS_URL": rabbitmq.server().url,
        "NUBELET_DATABASE_URL": database,
        "NUBELET_IMAGE_IMPORT_PLUGINS": "image_decompression,image_conversion",
        "NUBELET_IMAGE_STAGING_DIRECTORY": str(own / "staging"),
        "NUBELET_IMAGE_CACHE_DIRECTORY": str(own / "cache"),
        "NUBELET_HTTP_PORT": str(port),
    }
    if kind == "api":
        variables["NUBELET_IMAGE_MACHINE_URL"] = f"http://127.0.0.1:{port}/image"
    role = Role(folder / "shared", kind, **variables)
    if kind != "api":
        return Machine(role, own, None)
    _wait(lambda: _healthy(role), role)
    cloud = _as_cloud(role)
    cloud.login()
    return Machine(role, own, cloud.client())


def until(holds: Callable[[], object], what: str, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def create(machine: Machine, data: bytes | None = None, **more: str) -> str:
    values = {"name": "one", "disk_format": "raw", "container_format": "bare", **more}
    made = machine.api.post(IMAGES, json=values)
    assert made.status_code == 201, made.text
    one = str(made.json()["id"])
    if data is not None:
        put(machine, one, "file", data)
    return one


def put(machine: Machine, one: str, where: str, data: bytes) -> None:
    answer = machine.api.put(f"{IMAGES}/{one}/{where}", content=data, headers=OCTETS)
    assert answer.status_code == 204, answer.text


def status(machine: Machine, one: str) -> str:
    return str(machine.api.get(f"{IMAGES}/{one}").json()["status"])


def cached(machine: Machine) -> set[str]:
    shown: dict[str, Any] = machine.api.get(CACHE).json()
    return {each["image_id"] for each in shown["cached_images"]}


def test_what_is_staged_on_one_machine_is_imported_through_another(
    machines: dict[str, Machine],
) -> None:
    left, right, worker = machines["left"], machines["right"], machines["worker"]
    one = create(left)
    put(left, one, "stage", DATA)
    assert left.files("staging") == {one}
    assert right.files("staging") == worker.files("staging") == set()
    started = right.api.post(f"{IMAGES}/{one}/import", json={"method": {"name": "glance-direct"}})
    assert started.status_code == 202, started.text
    until(lambda: status(right, one) in ("active", "queued"), "it is imported")
    shown = right.api.get(f"{IMAGES}/{one}").json()
    assert (shown["status"], shown["size"]) == ("active", len(DATA))
    assert shown["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
    assert left.api.get(f"{IMAGES}/{one}/file").content == DATA
    until(lambda: not left.files("staging") | worker.files("staging"), "nothing is left staged")


def test_what_is_staged_on_one_machine_is_deleted_through_another(
    machines: dict[str, Machine],
) -> None:
    left, right = machines["left"], machines["right"]
    one = create(left)
    put(left, one, "stage", DATA)
    assert right.api.delete(f"{IMAGES}/{one}").status_code == 204
    until(lambda: not left.files("staging"), "nothing is left staged")


def test_staged_data_is_given_to_machines_of_this_cloud_only(
    machines: dict[str, Machine],
) -> None:
    left = machines["left"]
    one = create(left)
    put(left, one, "stage", b"secret")
    for query in ("", "?expires=9999999999&signature=00"):
        assert left.api.get(f"/image/staged/{one}{query}").status_code == 403
    assert left.api.delete(f"{IMAGES}/{one}").status_code == 204


def test_an_import_fails_when_the_machine_with_the_data_is_gone(
    machines: dict[str, Machine],
) -> None:
    """It is queued again; once the machine is back, nothing is left on its disk."""
    left, right = machines["left"], machines["right"]
    one = create(left)
    put(left, one, "stage", DATA)
    left.role.kill()
    started = right.api.post(f"{IMAGES}/{one}/import", json={"method": {"name": "glance-direct"}})
    assert started.status_code == 202
    until(lambda: status(right, one) == "queued", "it is queued again", 60)
    [task] = right.api.get(f"{IMAGES}/{one}/tasks").json()["tasks"]
    assert "staged data lies at" in task["message"]
    left.role.start()
    _wait(lambda: _healthy(left.role), left.role)
    until(lambda: not left.files("staging"), "nothing is left staged")


def test_each_machine_fills_and_clears_its_own_cache(machines: dict[str, Machine]) -> None:
    left, right = machines["left"], machines["right"]
    one = create(left, b"content")
    assert left.api.put(f"{CACHE}/{one}").status_code == 202
    until(lambda: cached(left) == {one}, "the left one has it")
    assert cached(right) == set() == right.files("cache")
    assert right.api.put(f"{CACHE}/{one}").status_code == 202
    until(lambda: cached(right) == {one}, "the right one has it")
    assert right.api.delete(CACHE).status_code == 204
    assert cached(right) == set()
    assert cached(left) == {one} == left.files("cache")
    assert left.api.delete(f"{IMAGES}/{one}").status_code == 204
