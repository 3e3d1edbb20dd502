"""One code, two deployments: the same cloud on PostgreSQL and RabbitMQ, in one process or in one
for each role, or with several API processes on one machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import postgresql, rabbitmq
from tests.functional.command import CommandCloud, items, pretty, process_state
from tests.serving import free_port

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]

SETTLE_SECONDS = 100
POLICY_SECONDS = 100


@pytest.fixture
def database_url() -> Iterator[str]:
    made = postgresql.new_database()
    yield made
    postgresql.drop_database(made)


@pytest.fixture
def large(tmp_path: Path, database_url: str) -> Iterator[CommandCloud]:
    """A cloud whose nubelet.toml names PostgreSQL and RabbitMQ."""
    made = CommandCloud(tmp_path, "--fake")
    _write_settings(made, database=database_url, bus=rabbitmq.server().url)
    yield made
    made.purge()


# --- PostgreSQL and RabbitMQ ------------------------------------------------------------------


def test_up_on_postgresql_and_rabbitmq(large: CommandCloud) -> None:
    large.up()
    large.login()
    body = prepare(large)
    first, second = boot(large, body), boot(large, body)
    wait_for(large, {first: "ACTIVE", second: "ACTIVE"})
    _delete(large, second)
    wait_for(large, {first: "ACTIVE"})
    large.assert_whole()
    assert not (large.state_dir / "nubelet.sqlite").exists()


def test_kill_and_restart_on_postgresql_and_rabbitmq(large: CommandCloud) -> None:
    large.up()
    large.login()
    body = prepare(large)
    kept = boot(large, body)
    wait_for(large, {kept: "ACTIVE"})
    for _ in range(3):
        late = boot(large, body)
        large.kill()
        large.up()
        wait_for(large, {kept: "ACTIVE", late: "ACTIVE"})
        _delete(large, late)
        wait_for(large, {kept: "ACTIVE"})
    large.run("down")
    large.up()
    wait_for(large, {kept: "ACTIVE"})
    large.assert_whole()


def test_a_database_that_is_away_is_named(tmp_path: Path) -> None:
    cloud = CommandCloud(tmp_path, "--fake")
    _write_settings(cloud, database="postgresql+psycopg://nobody:secret@127.0.0.1:1/none")
    refused = cloud.run("up", "--port", str(cloud.port), check=False)
    assert refused.returncode == 1
    assert "the database does not answer" in refused.stderr
    assert "secret" not in refused.stderr + refused.stdout
    cloud.purge()


# --- A process for each role ------------------------------------------------------------------


class Role:
    """`nubelet serve --role ...` in a folder of its own."""

    def __init__(self, folder: Path, role: str, *options: str, **variables: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.log = folder / f"{role}.out"
        self.words = [
            sys.executable,
            "-m",
            "nubelet",
            "serve",
            "--role",
            role,
            "--state-dir",
            str(folder),
            *options,
        ]
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "NUBELET_COMPUTE_HYPERVISOR": "fake",
            "NUBELET_NETWORK_SWITCHING": "fake",
            **variables,
        }
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.words,
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parents[2],
            )
        return self.process

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(100)

    def text(self) -> str:
        return self.log.read_text(errors="replace")


@pytest.fixture
def roles(tmp_path: Path, database_url: str) -> Iterator[dict[str, Role]]:
    """Two APIs, a worker and two nodes; the nodes know the broker alone."""
    bus = {"NUBELET_BUS_URL": rabbitmq.server().url}
    control = {**bus, "NUBELET_DATABASE_URL": database_url}
    shared = tmp_path / "control"
    made: dict[str, Role] = {}
    for number in (1, 2):
        made[f"api{number}"] = Role(shared, "api", **control, NUBELET_HTTP_PORT=str(free_port()))
        _wait(lambda number=number: _healthy(made[f"api{number}"]), made[f"api{number}"])
    made["worker"] = Role(shared, "worker", **control)
    for name in ("left", "right"):
        made[name] = Role(tmp_path / name, "node", "--name", name, **bus)
    yield made
    for role in made.values():
        if role.process.poll() is None:
            role.kill()


def test_roles_in_processes_of_their_own(roles: dict[str, Role]) -> None:
    one, other = (_as_cloud(roles[name]) for name in ("api1", "api2"))
    one.login()
    other.token = one.token
    _wait(lambda: _hosts(one) == {"left", "right"}, roles["left"])
    body = prepare(one)
    servers = [boot(one, body) for _ in range(4)]
    wait_for(other, dict.fromkeys(servers, "ACTIVE"))
    with other.client() as client:
        shown = items(client, "/compute/v2.1/servers/detail")
        assert {server["OS-EXT-SRV-ATTR:host"] for server in shown} == {"left", "right"}
        console = client.post(
            f"/compute/v2.1/servers/{servers[0]}/action", json={"os-getConsoleOutput": {}}
        )
        assert "system ready" in console.json()["output"]

    roles["worker"].kill()
    roles["left"].kill()
    late = boot(other, body)
    roles["worker"].start()
    roles["left"].start()
    wait_for(one, dict.fromkeys([*servers, late], "ACTIVE"))

    one.login()
    one.assert_whole()
    for name, role in roles.items():
        assert role.stop() == 0, f"{name}: {role.text()[-2000:]}"
        assert "Traceback" not in role.text(), f"{name}: {role.text()[-4000:]}"


def test_a_node_knows_no_database(roles: dict[str, Role]) -> None:
    node, worker = roles["left"], roles["worker"]
    cloud = _as_cloud(roles["api1"])
    cloud.login()
    _wait(lambda: "left" in _hosts(cloud), node)
    assert not any("DATABASE" in name for name in node.environment)
    assert not [path for path in node.folder.rglob("*") if "sqlite" in path.name]
    assert "admin-password" not in os.listdir(node.folder)
    assert not _loaded(node, "sqlalchemy", "psycopg", "libpq", "libsqlite")
    assert _loaded(worker, "sqlalchemy"), "the look at the process's memory finds nothing"


def test_a_node_does_not_mind_a_database_that_it_cannot_reach(
    roles: dict[str, Role], tmp_path: Path
) -> None:
    cloud = _as_cloud(roles["api1"])
    cloud.login()
    far = Role(
        tmp_path / "far",
        "node",
        "--name",
        "far",
        NUBELET_BUS_URL=rabbitmq.server().url,
        NUBELET_DATABASE_URL="postgresql+psycopg://u:p@127.0.0.1:1/none",
    )
    roles["far"] = far
    _wait(lambda: "far" in _hosts(cloud), far)
    assert far.stop() == 0


def test_a_second_process_of_the_same_node_is_refused(
    roles: dict[str, Role], tmp_path: Path
) -> None:
    _wait(lambda: "running as node" in roles["left"].text(), roles["left"])
    again = Role(
        roles["left"].folder, "node", "--name", "left", NUBELET_BUS_URL=rabbitmq.server().url
    )
    try:
        assert again.process.wait(100) == 1
        assert "another process already runs this" in again.text()
    finally:
        again.kill()


def test_a_node_alone_needs_a_broker(tmp_path: Path) -> None:
    alone = Role(tmp_path / "alone", "node")
    assert alone.process.wait(100) == 1
    assert "set bus.url" in alone.text()
    assert "Traceback" not in alone.text()


# --- Several API processes on one machine ----------------------------------------------------


@contextlib.contextmanager
def _three_api_processes(folder: Path, kind: str) -> Iterator[CommandCloud]:
    made = CommandCloud(folder, "--fake")
    url = postgresql.new_database() if kind == "postgresql" else ""
    _write_settings(made, database=url, workers=3)
    made.up()
    made.login()
    yield made
    made.purge()
    if url:
        postgresql.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def several(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CommandCloud]:
    """A cloud with three API processes and no broker."""
    with _three_api_processes(tmp_path, request.param) as made:
        yield made


_HARDLY_EVER_LOOKS = """
from nubelet.kernel.operations.runner import Runner

Runner.__init__.__kwdefaults__["poll_seconds"] = 600.0
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def with_bells_only(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommandCloud]:
    """The same, whose worker looks for operations once in ten minutes if no bell rings."""
    folder = tmp_path / "python"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_HARDLY_EVER_LOOKS)
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{path}" if path else str(folder))
    with _three_api_processes(tmp_path, request.param) as made:
        yield made


def test_several_api_processes_answer(several: CommandCloud) -> None:
    pids = set[int]()
    # One after the other is quick enough to answer all that come: which ones answer is chance.
    _wait(lambda: len(pids.update(_answering(several)) or pids) > 1)
    assert several.pid() not in pids
    for pid in pids:
        assert str(several.state_dir) in Path(f"/proc/{pid}/cmdline").read_text()
    body = prepare(several)
    servers = [boot(several, body) for _ in range(6)]
    wait_for(several, dict.fromkeys(servers, "ACTIVE"))
    with several.client() as client:
        for server in servers:  # read from the node, which lives in another process
            console = client.post(
                f"/compute/v2.1/servers/{server}/action", json={"os-getConsoleOutput": {}}
            )
            assert "system ready" in console.json()["output"]
    several.assert_whole()


def test_up_returns_when_every_api_process_has_started(several: CommandCloud) -> None:
    """Those that are slow to start, too: each opens the database before it can answer."""
    for child in _children(several.pid()):
        assert (several.state_dir / "run" / f"api-{child}").exists()
        opened = set[str]()
        for each in Path(f"/proc/{child}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                opened.add(os.readlink(each))
        assert any(each.startswith("anon_inode:[eventpoll]") for each in opened)


def test_doorbells_reach_the_worker_at_once(with_bells_only: CommandCloud) -> None:
    """A server is made in far less than the time between two looks of the worker."""
    cloud = with_bells_only
    body = prepare(cloud)
    for _ in range(3):
        started = time.monotonic()
        server = boot(cloud, body)
        wait_for(cloud, {server: "ACTIVE"}, pause=0.01)
        _delete(cloud, server)
        wait_for(cloud, {}, pause=0.01)
        assert time.monotonic() - started < 100


def test_a_token_revoked_in_one_process_is_refused_in_all(several: CommandCloud) -> None:
    old = several.token
    headers = {"X-Auth-Token": old, "X-Subject-Token": old}
    with several.client() as client:
        for _ in range(8):
            assert _fresh(several, "/compute/v2.1/servers", old) == 200
        assert client.delete("/identity/v3/auth/tokens", headers=headers).status_code == 204
    assert {_fresh(several, "/compute/v2.1/servers", old) for _ in range(12)} == {401}


def test_a_lost_api_process_is_replaced(several: CommandCloud) -> None:
    victim = _answering(several).pop()
    os.kill(victim, signal.SIGKILL)
    log = several.state_dir / "log" / "nubelet.log"
    _wait(lambda: f"API process {victim} ended with -9" in log.read_text())
    _wait(lambda: len(_answering(several) - {victim}) == 3)


def test_all_processes_end_with_the_main_one(several: CommandCloud) -> None:
    children = _children(several.pid())
    assert len(children) == 3
    several.kill()
    _wait(lambda: not _alive(children))
    several.up()
    main, children = several.pid(), _children(several.pid())
    several.run("down")
    assert not _alive([main, *children])


# --- Policies --------------------------------------------------------------------------------


def test_a_policy_file_is_taken_while_the_cloud_runs(tmp_path: Path) -> None:
    cloud = CommandCloud(tmp_path, "--fake")
    cloud.up()
    try:
        cloud.login()
        rule = "os_compute_api:os-hypervisors:list"
        file = cloud.state_dir / "policy" / "compute.yaml"
        file.parent.mkdir(exist_ok=True)
        with cloud.client() as client:

            def status() -> int:
                return client.get("/compute/v2.1/os-hypervisors").status_code

            def write(text: str) -> None:
                whole = cloud.state_dir / "policy.new"  # the cloud may look at any moment
                whole.write_text(text)
                whole.rename(file)

            assert status() == 200
            write(f'"{rule}": "!"\n')
            _wait(lambda: status() == 403, seconds=POLICY_SECONDS)
            assert rule in client.get("/compute/v2.1/os-hypervisors").text
            assert client.get("/compute/v2.1/servers").status_code == 200

            write(f'"{rule}": "role:admin and and"\n')
            log = cloud.state_dir / "log" / "nubelet.log"
            _wait(lambda: "earlier rules stay in force" in log.read_text(), seconds=POLICY_SECONDS)
            assert status() == 403

            file.unlink()
            _wait(lambda: status() == 200, seconds=POLICY_SECONDS)
    finally:
        cloud.purge()


def test_a_cloud_does_not_start_with_a_broken_policy_file(tmp_path: Path) -> None:
    cloud = CommandCloud(tmp_path, "--fake")
    (cloud.state_dir / "policy").mkdir(parents=True)
    (cloud.state_dir / "policy" / "compute.yaml").write_text('"no_such_rule": "!"\n')
    refused = cloud.run("up", "--port", str(cloud.port), "--fake", check=False)
    assert refused.returncode == 1
    assert "no_such_rule" in refused.stderr
    assert "Traceback" not in refused.stderr
    cloud.purge()


# --- What the tests share --------------------------------------------------------------------


def prepare(cloud: CommandCloud) -> dict[str, Any]:
    """A flavor, an image and a network; the body that boots a server from them."""
    with cloud.client() as client:
        client.post(
            "/compute/v2.1/flavors",
            json={"flavor": {"name": "d", "id": "d", "ram": 64, "vcpus": 1, "disk": 1}},
        ).raise_for_status()
        network = (
            client.post("/network/v2.0/networks", json={"network": {"name": "d"}})
            .raise_for_status()
            .json()["network"]["id"]
        )
        client.post(
            "/network/v2.0/subnets",
            json={"subnet": {"network_id": network, "cidr": "10.0.0.0/24", "ip_version": 4}},
        ).raise_for_status()
        image = (
            client.post(
                "/image/v2/images",
                json={"name": "d", "disk_format": "raw", "container_format": "bare"},
            )
            .raise_for_status()
            .json()["id"]
        )
        client.put(
            f"/image/v2/images/{image}/file",
            content=b"d" * 1024,
            headers={"Content-Type": "application/octet-stream"},
        ).raise_for_status()
    return {
        "server": {
            "name": "d",
            "imageRef": image,
            "flavorRef": "d",
            "networks": [{"uuid": network}],
        }
    }


def boot(cloud: CommandCloud, body: dict[str, Any]) -> str:
    """Ask for a server; its id."""
    with cloud.client() as client:
        answer = client.post("/compute/v2.1/servers", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["server"]["id"])


def wait_for(cloud: CommandCloud, wanted: dict[str, str], pause: float = 0.1) -> None:
    """Wait until these are the servers, with these states."""
    until = time.monotonic() + SETTLE_SECONDS
    with cloud.client() as client:
        while True:
            servers = items(client, "/compute/v2.1/servers/detail")
            if {server["id"]: server["status"] for server in servers} == wanted:
                return
            assert time.monotonic() < until, pretty(
                [
                    {
                        key: server.get(key)
                        for key in ("id", "status", "OS-EXT-STS:task_state", "fault")
                    }
                    for server in servers
                ]
            )
            time.sleep(pause)


def _delete(cloud: CommandCloud, server: str) -> None:
    with cloud.client() as client:
        assert client.delete(f"/compute/v2.1/servers/{server}").status_code == 204


def _write_settings(
    cloud: CommandCloud, *, database: str = "", bus: str = "", workers: int = 1
) -> None:
    cloud.state_dir.mkdir(parents=True)
    lines = [
        "[compute]",
        'hypervisor = "fake"',
        "[network]",
        'switching = "fake"',
        "[http]",
        f"workers = {workers}",
    ]
    if database:
        lines += ["[database]", f'url = "{database}"']
    if bus:
        lines += ["[bus]", f'url = "{bus}"']
    (cloud.state_dir / "nubelet.toml").write_text("\n".join(lines) + "\n")


def _as_cloud(role: Role) -> CommandCloud:
    """To speak with an API process as with a cloud of the command."""
    cloud = CommandCloud(role.folder)
    cloud.port = int(role.environment["NUBELET_HTTP_PORT"])
    cloud.url = f"http://127.0.0.1:{cloud.port}"
    cloud.password = (role.folder / "admin-password").read_text().strip()
    return cloud


def _hosts(cloud: CommandCloud) -> set[str]:
    with cloud.client() as client:
        return {
            host["hypervisor_hostname"] for host in items(client, "/compute/v2.1/os-hypervisors")
        }


def _healthy(role: Role) -> bool:
    try:
        url = f"http://127.0.0.1:{role.environment['NUBELET_HTTP_PORT']}/healthcheck"
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def _answering(cloud: CommandCloud) -> set[int]:
    """The processes that answer, asked by many connections at once."""
    found = set()
    clients = [httpx.Client(base_url=cloud.url) for _ in range(12)]
    for client in clients:
        found.add(int(client.get("/healthcheck").json()["pid"]))
    for client in clients:
        client.close()
    return found


def _fresh(cloud: CommandCloud, path: str, token: str) -> int:
    """The status of one request on a connection of its own."""
    return httpx.get(cloud.url + path, headers={"X-Auth-Token": token}).status_code


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            found += map(int, (task / "children").read_text().split())
    return found


def _alive(pids: list[int]) -> list[int]:
    """Those that run, and not only wait to be taken notice of."""
    return [pid for pid in pids if process_state(pid) != "Z"]


def _loaded(role: Role, *names: str) -> list[str]:
    """Which of these libraries the process has in its memory."""
    maps = Path(f"/proc/{role.process.pid}/maps").read_text()
    return [name for name in names if name in maps]


def _wait(
    condition: Callable[[], bool], role: Role | None = None, seconds: float = SETTLE_SECONDS
) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, role.text()[-3000:] if role else "it did not come to be"
        if role is not None:
            assert role.process.poll() is None, role.text()[-3000:]
        time.sleep(0.05)
