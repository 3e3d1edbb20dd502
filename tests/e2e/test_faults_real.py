"""Faults of a real host: the first line of `nubelet explain` names the cause, the doctor names the
thing, loops mend what they can, and nothing is left behind.

One cloud with one guest for the whole module; the tests that boot others expect them not to start.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from nubelet.kernel.ids import new_uuid
from nubelet.node.wire import cloud_tag, tap_name
from tests.functional.command import CommandCloud, items, pretty

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("qemu-system-x86_64"),
        reason="real guests need root and QEMU",
    ),
]


class Place:
    """A real cloud with the demo's things and one running guest."""

    def __init__(self, cloud: CommandCloud) -> None:
        self.cloud = cloud
        cloud.run("demo")
        cloud.login()
        self.http = cloud.client()
        self.http.headers["OpenStack-API-Version"] = "compute 2.90"
        self.node = cloud.state_dir / "node"
        self.tag = cloud_tag(str(self.node))
        self.namespace = f"nb-{self.tag}"
        (self.guest,) = items(self.http, "/compute/v2.1/servers/detail?all_tenants=1")
        self.host = self.guest["OS-EXT-SRV-ATTR:host"]
        (self.image,) = items(self.http, "/image/v2/images?name=cirros")
        self.flavor = items(self.http, "/compute/v2.1/flavors")[0]["id"]
        self.network = self.new_network()["id"]
        self.post(
            "/network/v2.0/subnets",
            subnet={
                "network_id": self.network,
                "cidr": "10.77.0.0/24",
                "ip_version": 4,
                "enable_dhcp": False,
            },
        )

    def post(self, path: str, **body: Any) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.is_success, answer.text
        return next(iter(answer.json().values())) if len(answer.json()) == 1 else answer.json()

    def new_network(self) -> Any:
        return self.post("/network/v2.0/networks", network={"name": "n"})

    def new_image(self, **properties: str) -> tuple[str, Path]:
        """An image of its own, and the file in the store."""
        made = self.post(
            "/image/v2/images", name="own", disk_format="raw", container_format="bare", **properties
        )
        self.http.put(
            f"/image/v2/images/{made['id']}/file",
            content=b"\0" * (1 << 20),
            headers={"Content-Type": "application/octet-stream"},
        ).raise_for_status()
        (path,) = (self.cloud.state_dir / "images").glob(f"{made['id']}.*")
        return str(made["id"]), path

    def refused(self, **fields: Any) -> str:
        """The first line about a server that comes to nothing; nothing is left of it."""
        server_id = self.post(
            "/compute/v2.1/servers",
            server={
                "name": "s",
                "imageRef": self.image["id"],
                "flavorRef": self.flavor,
                "networks": [{"uuid": self.network}],
                **fields,
            },
        )["id"]
        shown = self.wait(server_id, lambda shown: shown["status"] != "BUILD")
        assert shown["status"] == "ERROR", pretty(shown)
        line = self.first_line(server_id)
        assert line.endswith(shown["fault"]["message"]), pretty([line, shown["fault"]])
        assert line.startswith(f"create_server of server {server_id} failed in step ")
        assert not (self.node / "guests" / server_id).exists()
        assert self.http.delete(f"/compute/v2.1/servers/{server_id}").status_code == 204
        _until(lambda: self.http.get(f"/compute/v2.1/servers/{server_id}").status_code == 404)
        self.whole()
        return line

    def wait(self, server_id: str, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        shown: dict[str, Any] = {}

        def is_so() -> bool:
            nonlocal shown
            shown = self.http.get(f"/compute/v2.1/servers/{server_id}").json()["server"]
            return until(shown)

        _until(is_so)
        return shown

    def first_line(self, identifier: str) -> str:
        return self.cloud.run("explain", identifier).stdout.splitlines()[0]

    def finds(self, area: str, sentence: str) -> None:
        found = self.cloud.doctor()
        assert any(sentence in each for each in found.get(area, [])), pretty([sentence, found])

    def whole(self) -> None:
        _until(lambda: not self.cloud.doctor(), lambda: pretty(self.cloud.doctor()))

    def look_again(self) -> None:
        """Hosts are compared every minute: now."""
        database = sqlite3.connect(self.cloud.state_dir / "nubelet.sqlite", timeout=60)
        with database:
            database.execute("UPDATE network_host SET observed_at = 0")
        database.close()

    def processes(self, *words: str) -> list[psutil.Process]:
        """Processes of this cloud whose command line has all the words."""
        found = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if all(word in line for word in (str(self.cloud.state_dir), *words)):
                found.append(process)
        return found

    def has_link(self, name: str) -> bool:
        """Is there such a device on the host?"""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.ip("link", "show", name)
            return True
        return False

    def ip(self, *words: str) -> None:
        subprocess.run(
            ["ip", "netns", "exec", self.namespace, "ip", *words], check=True, capture_output=True
        )


def _until(done: Callable[[], bool], why: Callable[[], str] = str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, why()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    cloud = CommandCloud(tmp_path_factory.mktemp("faults"))
    with pytest.MonkeyPatch.context() as patch:
        # Clouds that other tests begin at this moment choose among others (172.24.0.0/16).
        patch.setenv("NUBELET_NETWORK_EXTERNAL_CIDR", "172.25.4.0/24")
        cloud.up()
    try:
        yield Place(cloud)
    finally:
        cloud.purge()


@pytest.fixture
def place(running: Place) -> Iterator[Place]:
    running.whole()
    yield running
    running.whole()


# --- Servers that cannot be made ---------------------------------------------------------------


def test_an_image_whose_data_is_gone_from_the_store(place: Place) -> None:
    image, path = place.new_image()
    path.unlink()
    place.finds("image", f"image {image} (own) is active but its data is missing")
    assert (
        place.first_line(image)
        == f"image {image} (own) is active: its data is missing from the store file"
    )
    path.write_bytes(b"\0" * (1 << 20))  # as large as it was, so that nothing else is found
    path.unlink()
    server = place.post(
        "/compute/v2.1/servers",
        server={
            "name": "s",
            "imageRef": image,
            "flavorRef": place.flavor,
            "networks": [{"uuid": place.network}],
        },
    )["id"]
    place.wait(server, lambda shown: shown["status"] == "ERROR")
    assert place.first_line(server).endswith(
        f"No valid host was found. {place.host}: The data of image {image} is missing: there is "
        f"no file {path}"
    )
    place.http.delete(f"/compute/v2.1/servers/{server}").raise_for_status()
    place.http.delete(f"/image/v2/images/{image}").raise_for_status()


def test_an_image_whose_data_was_changed(place: Place) -> None:
    image, path = place.new_image()
    path.write_bytes(b"x" + path.read_bytes()[1:])
    line = place.refused(imageRef=image)
    assert line.endswith(
        f"{place.host}: Image {image} is damaged: its sha512 is not the one it was uploaded with"
    ), line
    place.http.delete(f"/image/v2/images/{image}").raise_for_status()


def test_a_machine_that_the_hypervisor_does_not_have(place: Place) -> None:
    image, _ = place.new_image(hw_machine_type="q99")
    line = place.refused(imageRef=image)
    assert line.endswith(
        f"No valid host was found. {place.host}: The hypervisor has no machine type 'q99'"
    ), line
    place.http.delete(f"/image/v2/images/{image}").raise_for_status()


def test_dhcp_that_cannot_start(place: Place) -> None:
    network = place.new_network()["id"]
    folder = place.node / "switching" / "dhcp" / network
    known = [path for path in place.node.rglob("dhcp") if path.is_dir()]
    assert folder.parent in known, (folder, known)
    (folder / "leases").mkdir(parents=True)  # where dnsmasq wants a file
    place.post(
        "/network/v2.0/subnets",
        subnet={"network_id": network, "cidr": "10.78.0.0/24", "ip_version": 4},
    )
    _until(lambda: "dnsmasq" in place.first_line(network), lambda: place.first_line(network))
    line = place.first_line(network)
    assert line.startswith(f"network {network} (n) is in trouble: "), line
    assert "lease" in line, line
    server = place.post(
        "/compute/v2.1/servers",
        server={
            "name": "s",
            "imageRef": place.image["id"],
            "flavorRef": place.flavor,
            "networks": [{"uuid": network}],
        },
    )["id"]
    shown = place.wait(server, lambda shown: shown["status"] != "BUILD")
    assert shown["status"] == "ERROR", pretty(shown)
    line = place.first_line(server)
    assert line.endswith(shown["fault"]["message"])
    assert "dnsmasq" in line, line
    (folder / "leases").rmdir()
    place.http.delete(f"/compute/v2.1/servers/{server}").raise_for_status()
    _until(lambda: place.http.delete(f"/network/v2.0/networks/{network}").status_code in (204, 404))
    _until(lambda: not place.processes("dnsmasq", network))


def test_a_full_disk(place: Place) -> None:
    """The folder of guests' disks lies on a file system that has no room."""
    folder = place.node / "guests"
    kept = folder.rename(folder.with_name("guests.kept"))
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "nubelet-test", folder], check=True)
    try:
        (folder / "filler").write_bytes(b"\0" * (12 << 10))
        server = place.post(
            "/compute/v2.1/servers",
            server={
                "name": "s",
                "imageRef": place.image["id"],
                "flavorRef": place.flavor,
                "networks": [{"uuid": place.network}],
            },
        )["id"]
        shown = place.wait(server, lambda shown: shown["status"] != "BUILD")
        line = place.first_line(server)
        assert shown["status"] == "ERROR", line
        assert line.endswith(shown["fault"]["message"])
        assert line.endswith(
            f"No valid host was found. {place.host}: The disk of host "
            f"{place.host} is full: disk {server}-root needs 4.0 MiB, 0 bytes "
            "are free"
        ), line
        place.finds("compute", f"server {place.guest['id']} has no disks on host {place.host}")
        place.finds(
            "compute", f"host {place.host} has file {folder / 'filler'}, which belongs to nothing"
        )
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()
        kept.rename(folder)
    place.http.delete(f"/compute/v2.1/servers/{server}").raise_for_status()


# --- What dies ---------------------------------------------------------------------------------


def test_a_guest_whose_qemu_was_killed_runs_again(place: Place) -> None:
    (before,) = place.processes("qemu-system", place.guest["id"])
    before.send_signal(signal.SIGKILL)
    _until(
        lambda: "recover_server" in place.first_line(place.guest["id"]),
        lambda: place.first_line(place.guest["id"]),
    )
    _until(
        lambda: " was done in " in place.first_line(place.guest["id"]),
        lambda: place.first_line(place.guest["id"]),
    )
    (after,) = place.processes("qemu-system", place.guest["id"])
    assert after.pid != before.pid
    assert place.wait(place.guest["id"], lambda shown: True)["status"] == "ACTIVE"


def test_a_dnsmasq_that_died_is_found_and_started_again(place: Place) -> None:
    (before,) = place.processes("dnsmasq", "--conf-file")
    network = Path(before.cmdline()[-1].partition("=")[2]).parent.name
    before.send_signal(signal.SIGKILL)
    place.finds("network", f"network {network} has no living DHCP service on host {place.host}")
    place.look_again()
    place.whole()
    assert place.processes("dnsmasq", network)


def test_a_tap_that_was_removed_is_found_and_made_again(place: Place) -> None:
    network = place.new_network()["id"]
    place.post(
        "/network/v2.0/subnets",
        subnet={
            "network_id": network,
            "cidr": "10.79.0.0/24",
            "ip_version": 4,
            "enable_dhcp": False,
        },
    )
    port = place.post(
        "/network/v2.0/ports",
        port={
            "network_id": network,
            "binding:host_id": place.host,
            "device_id": "x",
            "device_owner": "compute:nova",
        },
    )["id"]
    _until(lambda: _port(place.http, port)["status"] == "ACTIVE")
    place.ip("link", "delete", tap_name(place.tag, port))
    place.finds("network", f"port {port} is missing on host {place.host}")
    place.look_again()
    # A port that is being made again is no finding, so the doctor may be content before it is.
    _until(lambda: place.has_link(tap_name(place.tag, port)))
    place.whole()
    place.http.delete(f"/network/v2.0/ports/{port}").raise_for_status()
    place.http.delete(f"/network/v2.0/networks/{network}").raise_for_status()


def _port(http: httpx.Client, port_id: str) -> Any:
    return http.get(f"/network/v2.0/ports/{port_id}").json()["port"]


# --- What is nobody's --------------------------------------------------------------------------


def test_strays_on_the_host_are_named(place: Place) -> None:
    stray, folder = new_uuid(), place.node / "guests"
    tap, namespace = tap_name(place.tag, stray), f"{place.namespace}-r-{stray}"
    place.ip("tuntap", "add", "dev", tap, "mode", "tap")
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    (folder / stray).mkdir()
    (folder / "notes.txt").write_text("whose is this?")
    (folder / place.guest["id"] / "copy.qcow2").write_bytes(b"")
    try:
        for sentence in (
            f"host {place.host} has device {tap}, which belongs to nothing",
            f"host {place.host} has namespace {namespace}, which belongs to nothing",
        ):
            place.finds("network", sentence)
        for sentence in (
            f"host {place.host} has disks of {stray}, which is no server there",
            f"host {place.host} has file {folder / 'notes.txt'}, which belongs to",
            f"host {place.host} has file "
            f"{folder / place.guest['id'] / 'copy.qcow2'}, which belongs to nothing",
        ):
            place.finds("compute", sentence)
    finally:
        place.ip("link", "delete", tap)
        subprocess.run(["ip", "netns", "delete", namespace], check=False)
        shutil.rmtree(folder / stray, ignore_errors=True)
        (folder / "notes.txt").unlink()
        (folder / place.guest["id"] / "copy.qcow2").unlink()


def test_a_guest_that_was_removed_behind_our_back_is_found(place: Place) -> None:
    """Its domain is gone from the hypervisor: the doctor says so, and it is brought back."""
    (before,) = place.processes("qemu-system", place.guest["id"])
    place.cloud.kill()
    before.send_signal(signal.SIGKILL)
    for path in place.node.rglob(f"{place.guest['id']}.xml"):
        path.unlink()
    place.cloud.up()
    place.cloud.login()
    _until(lambda: bool(place.processes("qemu-system", place.guest["id"])))
    assert place.wait(place.guest["id"], lambda shown: True)["status"] == "ACTIVE"
