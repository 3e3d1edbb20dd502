"""The `nubelet` command as its user meets it: start, look, refuse, stop, leave no trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.functional.command import CommandCloud, process_state

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandCloud]:
    """A cloud that runs; tests leave it so."""
    made = CommandCloud(tmp_path_factory.mktemp("command"), "--fake")
    made.up()
    yield made
    made.purge()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[CommandCloud]:
    """A cloud of the test's own, not started."""
    made = CommandCloud(tmp_path, "--fake")
    yield made
    made.run("down", "--purge")


# --- up ---------------------------------------------------------------------------------------


def test_up_says_where_the_cloud_is(fresh: CommandCloud) -> None:
    said = fresh.run("up", "--port", str(fresh.port), "--fake").stdout
    assert f"The cloud in {fresh.state_dir} is healthy after" in said
    assert fresh.url in said
    assert f"nubelet openrc --state-dir {fresh.state_dir}" in said
    answer = httpx.get(f"{fresh.url}/healthcheck", timeout=60).json()
    assert (answer["status"], answer["pid"]) == ("ok", fresh.pid())


def test_a_second_up_leaves_a_running_cloud_alone(cloud: CommandCloud) -> None:
    pid = cloud.pid()
    assert "was running already" in cloud.run("up").stdout
    cloud.up()
    assert cloud.pid() == pid


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--port", "1"), "http.port"),
        (("--nodes", "7"), "compute.fake_nodes"),
        (("--admin-password", "another"), "--admin-password"),
    ],
)
def test_a_second_up_with_other_settings_is_refused(
    cloud: CommandCloud, words: tuple[str, ...], named: str
) -> None:
    pid = cloud.pid()
    refused = cloud.run("up", *words, check=False)
    assert refused.returncode == 1
    assert f"runs with other settings than asked for ({named})" in refused.stderr
    assert "`nubelet down` first" in refused.stderr
    assert cloud.pid() == pid


def test_a_stopped_cloud_takes_other_settings(fresh: CommandCloud) -> None:
    fresh.up()
    fresh.run("down")
    fresh.run("up", "--nodes", "3")
    assert httpx.get(f"{fresh.url}/healthcheck", timeout=60).json()["nodes"] == [
        "fake-1",
        "fake-2",
        "fake-3",
    ]
    fresh.login()


def test_a_taken_port_is_refused_and_nothing_is_changed(fresh: CommandCloud) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", fresh.port))
        listener.listen()
        refused = fresh.run("up", "--port", str(fresh.port), "--fake", check=False)
    assert refused.returncode == 1
    assert f"port {fresh.port} is used already" in refused.stderr
    assert f"(process {os.getpid()})" in refused.stderr
    assert "Nothing was changed." in refused.stderr
    assert not fresh.state_dir.exists()


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cloud").write_text("a file")
    refused = CommandCloud(tmp_path).run("up", "--fake", check=False)
    assert refused.returncode != 0
    assert "is a file" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[http]\nprt = 1\n", "http.port"),
        ("[http]\nport = 'x'\n", "http.port"),
        ("[htp]\nport = 1\n", "[htp]"),
        ("port = \n", "not TOML"),
        ("[database]\nurl = 'mysql://x'\n", "postgresql+psycopg://"),
    ],
)
def test_settings_with_a_mistake_are_refused(fresh: CommandCloud, text: str, named: str) -> None:
    fresh.state_dir.mkdir()
    file = fresh.state_dir / "nubelet.toml"
    file.write_text(text)
    refused = fresh.run("up", "--fake", check=False)
    assert refused.returncode == 1
    assert named in refused.stderr
    assert str(file) in refused.stderr
    assert "Traceback" not in refused.stderr
    assert file.read_text() == text
    file.unlink()


# --- status, openrc, config -------------------------------------------------------------------


def test_status_tells_of_services_operations_and_reconcilers(cloud: CommandCloud) -> None:
    said = cloud.run("status").stdout
    assert f"process {cloud.pid()}" in said
    for part in ("/compute/v2.1", "Operations under way: 0", "power_states"):
        assert part in said


def test_openrc_and_clouds_yaml_work(cloud: CommandCloud, tmp_path: Path) -> None:
    shell = cloud.run("openrc").stdout
    names = subprocess.run(
        ["sh", "-c", f"{shell}\nenv"], capture_output=True, text=True, check=True
    ).stdout
    assert f"OS_PASSWORD={cloud.password}" in names
    assert f"OS_AUTH_URL={cloud.url}/identity/v3" in names
    import openstack

    file = tmp_path / "clouds.yaml"
    file.write_text(cloud.run("openrc", "--clouds-yaml").stdout)
    from openstack.config import OpenStackConfig

    region = OpenStackConfig(config_files=[str(file)], load_envvars=False).get_one("nubelet")
    connection = openstack.connection.Connection(config=region)
    assert connection.current_project.name == "admin"
    connection.close()
    refused = cloud.run("openrc", "--user", "demo", check=False)
    assert refused.returncode == 1
    assert "nubelet demo" in refused.stderr


def test_config_explains_an_option(cloud: CommandCloud) -> None:
    said = cloud.run("config", "explain", "http.port").stdout
    assert f"http.port = {cloud.port}" in said
    assert str(cloud.state_dir / "nubelet.toml") in said
    assert "TCP port to listen on" in said
    refused = cloud.run("config", "explain", "http.prot", check=False)
    assert refused.returncode == 1
    assert "http.port" in refused.stderr
    assert "compute.hypervisor" in cloud.run("config", "list").stdout


def test_config_hides_passwords(fresh: CommandCloud) -> None:
    fresh.state_dir.mkdir()
    (fresh.state_dir / "nubelet.toml").write_text(
        '[database]\nurl = "postgresql+psycopg://me:hush@db/n"\n'
        '[bus]\nurl = "amqp://me:hush@mq"\n[compute]\nhypervisor = "fake"\n'
    )
    said = fresh.run("config", "list").stdout + fresh.run("config", "explain", "bus.url").stdout
    assert "me:***@db" in said
    assert "hush" not in said


def test_commands_without_a_cloud_say_so(tmp_path: Path) -> None:
    none = CommandCloud(tmp_path)
    for words, code in (
        (("status",), 3),
        (("doctor",), 1),
        (("openrc",), 1),
        (("serve",), 1),
        (("down",), 0),
        (("explain", "req-1"), 1),
    ):
        done = none.run(*words, check=False)
        assert done.returncode == code, words
        assert "here is no cloud in" in done.stdout + done.stderr, words
        assert "Traceback" not in done.stderr
    assert not none.state_dir.exists()


def test_a_stopped_cloud_says_so(fresh: CommandCloud) -> None:
    fresh.up()
    fresh.run("down")
    status = fresh.run("status", check=False)
    assert status.returncode == 3
    assert "is not running" in status.stdout
    assert "is it up?" in fresh.run("doctor", check=False).stderr
    assert "was not running" in fresh.run("down").stdout


def test_secrets_are_for_their_owner_alone(cloud: CommandCloud) -> None:
    for name in ("admin-password", "nubelet.toml", "nubelet.sqlite", "nubelet.sqlite-wal"):
        assert (cloud.state_dir / name).stat().st_mode & 0o077 == 0, name
    keys = cloud.state_dir / "fernet-keys"
    assert keys.stat().st_mode & 0o077 == 0
    assert cloud.password not in (cloud.state_dir / "log/nubelet.log").read_text()


# --- ending -----------------------------------------------------------------------------------


def test_sigterm_ends_in_order(fresh: CommandCloud) -> None:
    """Requests under way are answered, leases are given back, and it says 0."""
    fresh.up()
    fresh.login()
    pid = fresh.pid()
    statuses: list[int] = []
    images: list[str] = []
    go_on = threading.Event()

    def is_under_way() -> bool:
        with fresh.client() as client:
            path = f"/image/v2/images/{images[0]}" if images else "/image/v2/images"
            return bool(client.get(path).json().get("status") == "saving")

    def upload() -> None:
        with fresh.client() as client:
            image = client.post(
                "/image/v2/images",
                json={"name": "slow", "disk_format": "raw", "container_format": "bare"},
            ).json()["id"]

            def slowly() -> Iterator[bytes]:
                yield b"x" * 1000
                images.append(image)
                go_on.wait(60)
                for _ in range(5):  # after it was asked to end
                    time.sleep(0.1)
                    yield b"x" * 1000

            statuses.append(
                client.put(
                    f"/image/v2/images/{image}/file",
                    content=slowly(),
                    headers={"Content-Type": "application/octet-stream"},
                ).status_code
            )

    thread = threading.Thread(target=upload)
    thread.start()
    deadline = time.monotonic() + 60
    while not is_under_way():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(pid, signal.SIGTERM)
    go_on.set()
    thread.join()
    deadline = time.monotonic() + 60
    while process_state(pid) != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert statuses == [204]
    import sqlite3

    with sqlite3.connect(fresh.state_dir / "nubelet.sqlite") as database:
        held = database.execute("SELECT name FROM reconciler_state WHERE lease_until > 0")
        assert held.fetchall() == []
    assert "Traceback" not in (fresh.state_dir / "log/nubelet.log").read_text()


def test_in_the_foreground_it_runs_until_it_is_interrupted(fresh: CommandCloud) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "nubelet",
            "up",
            "--foreground",
            "--fake",
            "--port",
            str(fresh.port),
            "--state-dir",
            str(fresh.state_dir),
        ],
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 100
    while True:
        try:
            if httpx.get(f"{fresh.url}/healthcheck", timeout=60).status_code == 200:
                break
        except httpx.TransportError:
            assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()


def test_purge_leaves_no_trace(
    fresh: CommandCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"  # of its own: others make files in /tmp too
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    fresh.run("up", "--fake", "--nodes", "2", "--port", str(fresh.port))
    said = fresh.run("down", "--purge").stdout
    assert f"removed folder {fresh.state_dir}" in said
    assert "is left" in said
    assert not fresh.state_dir.exists()
    assert not _processes_of(fresh)
    assert list(temporary.iterdir()) == []
    assert "There is no cloud" in fresh.run("down", "--purge").stdout


def test_purge_says_what_it_leaves_in_another_database(fresh: CommandCloud) -> None:
    from tests import postgresql

    url = postgresql.new_database()
    fresh.state_dir.mkdir()
    (fresh.state_dir / "nubelet.toml").write_text(f'[database]\nurl = "{url}"\n')
    fresh.up()
    said = fresh.run("down", "--purge").stdout
    assert "The database postgresql+psycopg://" in said
    assert "is left as it is" in said
    postgresql.drop_database(url)


def test_a_killed_cloud_can_be_purged(fresh: CommandCloud) -> None:
    fresh.up()
    fresh.kill()
    fresh.run("down", "--purge")
    assert not fresh.state_dir.exists()


def test_a_reused_process_number_is_not_believed(fresh: CommandCloud) -> None:
    fresh.up()
    fresh.kill()
    (fresh.state_dir / "nubelet.pid").write_text(f"{os.getpid()}\n")
    assert "was not running" in fresh.run("down").stdout


# --- side by side -----------------------------------------------------------------------------


def test_two_clouds_live_side_by_side(cloud: CommandCloud, fresh: CommandCloud) -> None:
    fresh.up()
    cloud.login()
    fresh.login()
    for one in (cloud, fresh):
        with one.client() as client:
            client.post(
                "/network/v2.0/networks", json={"network": {"name": one.url}}
            ).raise_for_status()
    for one, other in ((cloud, fresh), (fresh, cloud)):
        with one.client() as client:
            names = client.get("/network/v2.0/networks").json()["networks"]
            assert one.url in json.dumps(names)
            assert other.url not in json.dumps(names)
            refused = httpx.get(
                f"{other.url}/network/v2.0/networks", headers={"X-Auth-Token": one.token}
            )
            assert refused.status_code == 401
    fresh.run("down", "--purge")
    cloud.login()
    assert "process" in cloud.run("status").stdout


def _processes_of(cloud: CommandCloud) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if str(cloud.state_dir) in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found
