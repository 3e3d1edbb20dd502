"""The whole thing, really: the demo boots a guest that answers ssh; it survives the end of the
process and a reboot of the machine; two clouds live side by side; purge leaves nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from nubelet.node.wire import cloud_tag
from nubelet.settings import load
from tests.functional.command import CommandCloud

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("qemu-system-x86_64"),
        reason="real guests need root and QEMU",
    ),
]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandCloud]:
    made = CommandCloud(tmp_path_factory.mktemp("e2e"))
    made.up()
    yield made
    if made.state_dir.exists():
        made.purge()


@pytest.fixture(scope="module")
def address(cloud: CommandCloud) -> str:
    """The floating IP of a guest that the demo booted."""
    text = cloud.run("demo").stdout
    found = re.search(r"cirros@([\d.]+)", text)
    assert found, text
    assert "Linux demo-1" in text, text
    assert re.search(r"ACTIVE after\s+[\d.]+ s", text), text
    return found[1]


def test_the_demo_boots_a_guest_that_answers_ssh(cloud: CommandCloud, address: str) -> None:
    assert _ssh(cloud, address, "hostname") == "demo-1"
    metadata = _ssh(
        cloud, address, "wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json"
    )
    assert json.loads(metadata)["name"] == "demo-1"
    cloud.login()
    cloud.assert_whole()


def test_the_demo_runs_twice(cloud: CommandCloud, address: str) -> None:
    assert "Linux demo-2" in cloud.run("demo").stdout
    cloud.login()
    with cloud.client() as client:
        servers = client.get("/compute/v2.1/servers?all_tenants=1&name=demo-2").json()["servers"]
        assert client.delete(f"/compute/v2.1/servers/{servers[0]['id']}").status_code == 204


def test_guests_go_on_while_the_cloud_is_down(cloud: CommandCloud, address: str) -> None:
    booted = _ssh(cloud, address, "cat /proc/stat | grep btime")
    cloud.run("down")
    assert _ssh(cloud, address, "cat /proc/stat | grep btime") == booted
    cloud.run("up")
    assert _ssh(cloud, address, "cat /proc/stat | grep btime") == booted
    cloud.login()
    assert _statuses(cloud)["demo-1"] == "ACTIVE"


def test_explain_tells_one_chain_down_to_the_host(cloud: CommandCloud, address: str) -> None:
    cloud.login()
    with cloud.client() as client:
        servers = client.get("/compute/v2.1/servers?all_tenants=1&name=demo-1").json()["servers"]
    story = cloud.run("explain", servers[0]["id"]).stdout
    for part in (
        "POST /compute/v2.1/servers",
        "os_compute_api:servers:create",
        "choose_host",
        "qemu-img create",
        "virDomainCreate",
        "mark_active",
    ):
        assert part in story, story


def test_a_guest_boots_from_an_image_of_another(cloud: CommandCloud, address: str) -> None:
    """What was written in the running guest is there in one that boots from its image."""
    booted = _ssh(cloud, address, "echo it was here > marker; sync; cat /proc/stat | grep btime")
    user = _demo_user(cloud)
    source = user.compute.find_server("demo-1")
    image = user.compute.create_server_image(source, "shot", wait=True, timeout=120)
    assert image.status == "active"
    assert user.compute.get_server(source).status == "ACTIVE"
    assert _ssh(cloud, address, "cat /proc/stat | grep btime") == booted
    server = user.compute.create_server(
        name="from-shot",
        image_id=image.id,
        flavor_id=user.compute.find_flavor("m1.tiny").id,
        key_name="demo",
        networks=[{"uuid": user.network.find_network("demo").id}],
        security_groups=[{"name": "demo"}],
    )
    user.compute.wait_for_server(server, interval=0.2, wait=120)
    floating = user.network.create_ip(
        floating_network_id=user.network.find_network("public").id,
        port_id=next(iter(user.network.ports(device_id=server.id))).id,
    )
    place = floating.floating_ip_address
    # It answers with the name of the other until it has read its own metadata.
    words = "test $(hostname) = from-shot && cat marker"
    assert _ssh_in_time(cloud, place, words) == "it was here"
    user.compute.delete_server(server)
    user.compute.wait_for_delete(server, interval=0.2, wait=120)
    user.network.delete_ip(floating)
    user.image.delete_image(image)
    assert not list((cloud.state_dir / "node" / "guests").glob("*/*snapshot-*"))


def test_everything_returns_after_a_reboot(cloud: CommandCloud, address: str) -> None:
    _lose_power(cloud)
    cloud.run("up")
    assert _ssh_in_time(cloud, address, "hostname") == "demo-1"
    cloud.login()
    assert _statuses(cloud)["demo-1"] == "ACTIVE"
    cloud.assert_whole()


def test_two_clouds_live_side_by_side(cloud: CommandCloud, address: str, tmp_path: Path) -> None:
    other = CommandCloud(tmp_path)
    other.up()
    try:
        assert "Linux demo-1" in other.run("demo").stdout
        assert _ssh(cloud, address, "hostname") == "demo-1"
        mine, theirs = (
            load(one.state_dir / "nubelet.toml").network.external_cidr for one in (cloud, other)
        )
        assert mine != theirs
    finally:
        other.purge()
    assert not _traces(other)
    assert _ssh(cloud, address, "hostname") == "demo-1"


def test_purge_leaves_nothing(cloud: CommandCloud, address: str) -> None:
    assert _traces(cloud)
    said = cloud.run("down", "--purge").stdout
    assert "removed" in said, said
    assert not cloud.state_dir.exists()
    assert not _traces(cloud)


def _ssh(cloud: CommandCloud, address: str, command: str) -> str:
    return subprocess.run(
        [
            "ssh",
            "-i",
            str(cloud.state_dir / "demo" / "id_ed25519"),
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-o",
            "ConnectTimeout=30",
            f"cirros@{address}",
            command,
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=90,
    ).stdout.strip()


def _ssh_in_time(cloud: CommandCloud, address: str, command: str) -> str:
    """What a guest says that boots now."""
    deadline = time.monotonic() + 240
    while True:
        try:
            return _ssh(cloud, address, command)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            assert time.monotonic() < deadline, f"{address} did not come up"
            time.sleep(0.5)


def _demo_user(cloud: CommandCloud) -> Any:
    """The SDK as the user whom the demo made."""
    import openstack

    return openstack.connect(
        auth_url=f"{cloud.url}/identity/v3",
        username="demo",
        password=(cloud.state_dir / "demo" / "demo-password").read_text().strip(),
        project_name="demo",
        user_domain_name="Default",
        project_domain_name="Default",
        region_name="RegionOne",
        load_yaml_config=False,
        load_envvars=False,
    )


def _statuses(cloud: CommandCloud) -> dict[str, str]:
    with cloud.client() as client:
        servers = client.get("/compute/v2.1/servers/detail?all_tenants=1").json()["servers"]
    return {server["name"]: server["status"] for server in servers}


def _processes(cloud: CommandCloud) -> dict[psutil.Process, str]:
    """Processes that show the cloud's state folder on their command line, which stands beside."""
    found = {}
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if str(cloud.state_dir) in line:
            found[process] = line
    return found


def _namespaces(cloud: CommandCloud) -> list[str]:
    tag = cloud_tag(str(cloud.state_dir / "node"))
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return [line.split()[0] for line in listed.stdout.splitlines() if f"nb-{tag}" in line]


def _traces(cloud: CommandCloud) -> list[str]:
    """Whatever shows that this cloud was ever here."""
    tag = cloud_tag(str(cloud.state_dir / "node"))
    devices = [name for name in psutil.net_if_addrs() if name[1:5] == tag]
    tables = subprocess.run(
        ["nft", "list", "tables"], capture_output=True, text=True, check=False
    ).stdout
    return [
        *_namespaces(cloud),
        *devices,
        *_processes(cloud).values(),
        *(line for line in tables.splitlines() if tag in line),
        *([str(cloud.state_dir)] if cloud.state_dir.exists() else []),
    ]


def _lose_power(cloud: CommandCloud) -> None:
    """What a reboot takes: every process, every namespace with all devices in it."""
    for process in _processes(cloud):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended with the one it belonged to
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(list(_processes(cloud)), timeout=60)
    for namespace in _namespaces(cloud):
        subprocess.run(["ip", "netns", "delete", namespace], check=True)
