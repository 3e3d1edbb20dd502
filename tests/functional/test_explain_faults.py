"""Whatever breaks, the first line of `nubelet explain` says what, the server's fault says the same,
and nothing is left behind."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from nubelet.node.faults import Faults
from tests.functional.command import CommandCloud, items, pretty

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]

NODES = ("fake-1", "fake-2", "fake-3")
NO_HOST = "failed in step choose_host: No valid host was found. "


class Place:
    """A fake cloud with what a server needs, and faults for its nodes."""

    def __init__(self, cloud: CommandCloud) -> None:
        self.cloud = cloud
        cloud.login()
        self.http = cloud.client()
        self.http.headers["OpenStack-API-Version"] = "compute 2.90"
        self.project = self.http.get(
            "/identity/v3/auth/tokens", headers={"X-Subject-Token": cloud.token}
        ).json()["token"]["project"]["id"]
        self.faults = {name: Faults(cloud.state_dir / "node" / name / "faults") for name in NODES}
        self.flavor("small", ram=64)
        self.network = self.new_network("10.0.0.0/24")
        self.image = self.new_image()

    def post(self, path: str, **body: Any) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.is_success, answer.text
        return next(iter(answer.json().values())) if len(answer.json()) == 1 else answer.json()

    def flavor(self, name: str, *, ram: int) -> None:
        self.post(
            "/compute/v2.1/flavors",
            flavor={"name": name, "id": name, "ram": ram, "vcpus": 1, "disk": 1},
        )

    def new_network(self, cidr: str, **subnet: Any) -> str:
        network = str(self.post("/network/v2.0/networks", network={"name": "n"})["id"])
        self.post(
            "/network/v2.0/subnets",
            subnet={"network_id": network, "cidr": cidr, "ip_version": 4, **subnet},
        )
        return network

    def new_image(self) -> str:
        image = str(
            self.post("/image/v2/images", name="i", disk_format="raw", container_format="bare")[
                "id"
            ]
        )
        self.http.put(
            f"/image/v2/images/{image}/file",
            content=b"i" * 512,
            headers={"Content-Type": "application/octet-stream"},
        ).raise_for_status()
        return image

    # --- Servers ------------------------------------------------------------------------------

    def create(self, **fields: Any) -> httpx.Response:
        return self.http.post(
            "/compute/v2.1/servers",
            json={
                "server": {
                    "name": "s",
                    "imageRef": self.image,
                    "flavorRef": "small",
                    "networks": [{"uuid": self.network}],
                    **fields,
                }
            },
        )

    def server(self, **fields: Any) -> dict[str, Any]:
        """A server that is not in BUILD any more."""
        made = self.create(**fields)
        assert made.status_code == 202, made.text
        return self.wait(made.json()["server"]["id"], lambda shown: shown["status"] != "BUILD")

    def show(self, server_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/compute/v2.1/servers/{server_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["server"])

    def wait(
        self, server_id: str, until: Callable[[dict[str, Any]], bool], seconds: float = 90
    ) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while not until(shown := self.show(server_id)):
            assert time.monotonic() < end, pretty(shown)
            time.sleep(0.03)
        return shown

    def first_line(self, identifier: str) -> str:
        return self.cloud.run("explain", identifier).stdout.splitlines()[0]

    def failed(self, shown: dict[str, Any]) -> str:
        """The first line about a server in ERROR; its fault says the same; nothing is left of it
        when it is deleted."""
        assert shown["status"] == "ERROR", pretty(shown)
        line = self.first_line(shown["id"])
        message = shown["fault"]["message"]
        assert line.startswith(f"create_server of server {shown['id']} failed in step ")
        assert line.endswith(message) or (len(message) == 255 and message in line), pretty(
            [line, message]
        )
        assert not items(self.http, f"/network/v2.0/ports?device_id={shown['id']}")
        self.delete(shown["id"])
        return line

    def delete(self, server_id: str) -> None:
        assert self.http.delete(f"/compute/v2.1/servers/{server_id}").status_code == 204
        end = time.monotonic() + 90
        while self.http.get(f"/compute/v2.1/servers/{server_id}").status_code != 404:
            assert time.monotonic() < end
            time.sleep(0.03)

    # --- Faults -------------------------------------------------------------------------------

    @contextmanager
    def everywhere(self, method: str, code: str, message: str) -> Iterator[None]:
        for faults in self.faults.values():
            faults.fail_next(method, code, message, keep=True)
        try:
            yield
        finally:
            self.clear()

    def clear(self) -> None:
        for faults in self.faults.values():
            faults.clear()

    def whole(self) -> None:
        """The doctor finds nothing, as soon as what is retried was tried again."""
        self.cloud.assert_whole()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    cloud = CommandCloud(tmp_path_factory.mktemp("faults"), "--fake", "--nodes", str(len(NODES)))
    cloud.up()
    try:
        place = Place(cloud)
        with closing(place.http):
            yield place
    finally:
        cloud.purge()


@pytest.fixture
def place(running: Place) -> Iterator[Place]:
    yield running
    running.clear()
    running.whole()


def everyone(reason: str) -> str:
    """Each host's reason; all hosts at once when that were too long for a fault."""
    each = "; ".join(f"{name}: {reason}" for name in NODES)
    return each if len(each) <= 200 else f"{', '.join(NODES)}: {reason}"


# --- Servers that cannot be made ---------------------------------------------------------------

REFUSALS = (
    ("ensure_guest", "hypervisor_refused", "QEMU refused the guest: no such machine type q99"),
    ("ensure_image", "image_corrupt", "Image 1 is damaged: its sha512 is another"),
    ("ensure_disk", "disk_full", "The disk is full: 1 MiB needed, 0 free"),
    ("ensure_port", "command_failed", "nft refused the rules of port 1"),
)


@pytest.mark.parametrize(("method", "code", "message"), REFUSALS)
def test_what_every_host_refuses_is_told_with_its_reason(
    place: Place, method: str, code: str, message: str
) -> None:
    with place.everywhere(method, code, message):
        line = place.failed(place.server())
    assert line.endswith(NO_HOST + everyone(message)), line


def test_one_host_that_refuses_is_left_and_told_further_down(place: Place) -> None:
    for name in NODES[:2]:
        place.faults[name].fail_next("ensure_guest", "hypervisor_refused", "no such machine")
    done = place.server()
    assert done["status"] == "ACTIVE", pretty(done)
    story = place.cloud.run("explain", done["id"]).stdout
    assert re.search(r"create_server of server \S+ was done in", story.splitlines()[0])
    if done["OS-EXT-SRV-ATTR:host"] != NODES[0]:
        assert "went back to choose_host: no such machine" in story
    place.delete(done["id"])


def test_dhcp_that_does_not_start(place: Place) -> None:
    why = "dnsmasq does not start for network 1: address already in use"
    with place.everywhere("ensure_network", "dhcp_failed", why):
        network = place.new_network("10.0.7.0/24")
        line = place.failed(place.server(networks=[{"uuid": network}]))
        assert line.endswith(NO_HOST + everyone(why)), line
        told = place.first_line(network)
        assert told.startswith(f"network {network} (n) is in trouble: {why}"), told
    assert place.http.delete(f"/network/v2.0/networks/{network}").status_code == 204


def test_a_security_group_that_hosts_refuse(place: Place) -> None:
    why = "nft refused the rules of a security group: unknown protocol"
    group = place.post("/network/v2.0/security-groups", security_group={"name": "odd"})["id"]
    with place.everywhere("ensure_security_groups", "command_failed", why):
        line = place.failed(place.server(security_groups=[{"name": "odd"}]))
    assert line.endswith(NO_HOST + everyone(why)), line
    assert place.http.delete(f"/network/v2.0/security-groups/{group}").status_code == 204


def test_a_rule_that_a_host_refuses_later_is_told_of_the_group(place: Place) -> None:
    group = place.post("/network/v2.0/security-groups", security_group={"name": "late"})["id"]
    server = place.server(security_groups=[{"name": "late"}])
    with place.everywhere("ensure_security_groups", "command_failed", "nft refused: no such type"):
        place.post(
            "/network/v2.0/security-group-rules",
            security_group_rule={
                "security_group_id": group,
                "direction": "ingress",
                "protocol": "icmp",
            },
        )
        line = _until(lambda: place.first_line(group), "nft refused")
    assert line.startswith(f"security group {group} (late) is in trouble: nft refused: no such")
    place.delete(server["id"])
    assert place.http.delete(f"/network/v2.0/security-groups/{group}").status_code == 204


def test_no_host_with_room_names_what_is_short_on_each(place: Place) -> None:
    place.flavor("huge", ram=1 << 24)
    with _quota(place, ram=-1):
        line = place.failed(place.server(flavorRef="huge"))
    assert line.endswith(
        NO_HOST + everyone(f"gives out at most 262144 MiB memory at a time, {1 << 24} asked")
    ), line


def test_all_hosts_down_or_disabled(place: Place) -> None:
    services = {
        one["host"]: one["id"]
        for one in items(place.http, "/compute/v2.1/os-services?binary=nova-compute")
    }

    def change(name: str, **values: Any) -> None:
        answer = place.http.put(f"/compute/v2.1/os-services/{services[name]}", json=values)
        assert answer.status_code == 200, answer.text

    change(NODES[0], forced_down=True)
    change(NODES[1], forced_down=True)
    change(NODES[2], status="disabled", disabled_reason="new memory")
    try:
        line = place.failed(place.server())
        assert place.first_line(NODES[0]) == f"host {NODES[0]} is down: an administrator said so"
    finally:
        change(NODES[0], forced_down=False)
        change(NODES[1], forced_down=False)
        change(NODES[2], status="enabled")
    assert f"{NODES[0]}: service forced down by an administrator" in line, line
    assert f"{NODES[2]}: service disabled: new memory" in line, line


def test_image_data_that_is_gone_from_the_store(place: Place) -> None:
    image = place.new_image()
    (stored,) = [
        path for path in (place.cloud.state_dir / "images").rglob(f"*{image}*") if path.is_file()
    ]
    stored.unlink()
    line = place.failed(place.server(imageRef=image))
    assert f"The data of image {image} is missing: there is no file {stored}" in line, line
    told = place.first_line(image)
    assert told == f"image {image} (i) is active: its data is missing from the store file", told
    assert f"image {image}" in str(place.cloud.doctor())
    assert place.http.delete(f"/image/v2/images/{image}").status_code == 204


def test_no_free_address_in_the_subnet(place: Place) -> None:
    network = place.new_network(
        "10.0.9.0/29",
        enable_dhcp=False,
        allocation_pools=[{"start": "10.0.9.2", "end": "10.0.9.2"}],
    )
    first = place.server(networks=[{"uuid": network}])
    assert first["status"] == "ACTIVE"
    refused = place.create(networks=[{"uuid": network}])
    if refused.status_code == 202:
        line = place.failed(
            place.wait(refused.json()["server"]["id"], lambda shown: shown["status"] != "BUILD")
        )
    else:
        line = place.first_line(refused.headers["x-openstack-request-id"])
    assert re.search(
        rf"[Nn]o more (free )?IP addresses (are )?(available )?on network {network}", line
    ), line
    place.delete(first["id"])


def test_the_quota_of_ports_is_used_up_in_the_middle(place: Place) -> None:
    """What is checked when the server is asked for may be gone when the port is made."""
    used = len(items(place.http, f"/network/v2.0/ports?project_id={place.project}"))
    path = f"/network/v2.0/quotas/{place.project}"
    place.http.put(path, json={"quota": {"port": used + 1}}).raise_for_status()
    try:
        made = [place.create() for _ in range(2)]
        lines = []
        for answer in made:
            if answer.status_code != 202:
                lines.append(place.first_line(answer.headers["x-openstack-request-id"]))
                continue
            shown = place.wait(
                answer.json()["server"]["id"], lambda shown: shown["status"] != "BUILD"
            )
            if shown["status"] == "ERROR":
                lines.append(place.failed(shown))
            else:
                place.delete(shown["id"])
    finally:
        place.http.delete(path).raise_for_status()
    assert len(lines) == 1, lines
    assert re.search("[Qq]uota.*port", lines[0]), lines


def test_a_node_that_dies_in_the_middle(place: Place) -> None:
    """The whole process dies while a guest is started; the operation goes on by itself."""
    made = place.create()
    place.cloud.kill()
    place.cloud.up()
    shown = place.wait(made.json()["server"]["id"], lambda shown: shown["status"] != "BUILD")
    assert shown["status"] == "ACTIVE", pretty(shown)
    assert "was done in" in place.first_line(shown["id"])
    place.delete(shown["id"])


def test_a_guest_that_is_gone_at_once(place: Place) -> None:
    with place.everywhere("observe_guest", "no_such_guest", "QEMU ended at once: no memory"):
        line = place.failed(place.server())
    assert "QEMU ended at once: no memory" in line, line


# --- Servers that cannot be changed ------------------------------------------------------------


def test_a_failed_stop_keeps_the_server_and_says_why(place: Place) -> None:
    server = place.server()
    faults = place.faults[server["OS-EXT-SRV-ATTR:host"]]
    faults.fail_next("set_power", "hypervisor_refused", "the monitor does not answer")
    place.http.post(
        f"/compute/v2.1/servers/{server['id']}/action", json={"os-stop": None}
    ).raise_for_status()
    line = _until(lambda: place.first_line(server["id"]), "failed in step power_off")
    assert line == (
        f"stop_server of server {server['id']} failed in step power_off: the monitor "
        "does not answer"
    ), line
    assert place.show(server["id"])["status"] == "ACTIVE"
    refused = place.http.post(
        f"/compute/v2.1/servers/{server['id']}/action", json={"os-start": None}
    )
    assert refused.status_code == 409
    assert place.first_line(server["id"]) == line  # it is as it is because of that
    place.delete(server["id"])


def test_what_cannot_be_taken_back_either_says_both(place: Place) -> None:
    server = place.server()
    with place.everywhere("set_power", "hypervisor_refused", "the monitor does not answer"):
        place.http.post(
            f"/compute/v2.1/servers/{server['id']}/action", json={"os-stop": None}
        ).raise_for_status()
        line = _until(lambda: place.first_line(server["id"]), "does not succeed yet")
        assert line.endswith(
            "taking it back does not succeed yet: undo of power_off: the monitor does not answer"
        ), line
        findings = place.cloud.doctor()["operations"]
        assert f"(stop_server of server {server['id']}) cannot be taken back yet" in findings[0]
    place.wait(server["id"], lambda shown: shown["OS-EXT-STS:task_state"] is None)
    place.delete(server["id"])


def test_a_delete_that_a_host_refuses_says_so_and_can_be_asked_for_again(place: Place) -> None:
    server = place.server()
    with place.everywhere("remove_guest", "hypervisor_refused", "the guest is stuck in I/O"):
        assert place.http.delete(f"/compute/v2.1/servers/{server['id']}").status_code == 204
        shown = place.wait(server["id"], lambda shown: shown["status"] == "ERROR")
    line = place.first_line(server["id"])
    assert line == (
        f"delete_server of server {server['id']} failed in step remove_guest: the "
        "guest is stuck in I/O"
    )
    assert line.endswith(shown["fault"]["message"])
    place.delete(server["id"])


# --- Requests that are refused -----------------------------------------------------------------


def test_a_refused_request_names_the_rule(place: Place) -> None:
    member = _member(place)
    refused = member.post(
        "/compute/v2.1/flavors", json={"flavor": {"name": "mine", "ram": 1, "vcpus": 1, "disk": 0}}
    )
    assert refused.status_code == 403
    line = place.first_line(refused.headers["x-openstack-request-id"])
    assert line.startswith("POST /compute/v2.1/flavors was refused with 403: "), line
    assert "os_compute_api:os-flavor-manage:create" in line, line


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"flavorRef": "none"}, "Flavor none could not be found"),
        ({"imageRef": "1" * 8 + "-1111-1111-1111-" + "1" * 12}, "1" * 12),
        ({"key_name": "lost"}, "Invalid key_name provided"),
        ({"networks": [{"port": "1" * 8 + "-1111-1111-1111-" + "1" * 12}]}, "1" * 12),
    ],
)
def test_a_server_refused_at_once_says_what_is_missing(
    place: Place, fields: dict[str, Any], why: str
) -> None:
    refused = place.create(**fields)
    assert refused.status_code in (400, 404), refused.text
    line = place.first_line(refused.headers["x-openstack-request-id"])
    assert re.match(rf"POST /compute/v2.1/servers was refused with {refused.status_code}: ", line)
    assert why in line, line


def test_what_is_deleted_after_the_request_is_not_missed(place: Place) -> None:
    """A server has copies of its flavor and key: only the image's data must still be there."""
    place.flavor("passing", ram=64)
    place.http.post(
        "/compute/v2.1/os-keypairs",
        json={
            "keypair": {
                "name": "passing",
                "type": "ssh",
                "public_key": "ssh-ed25519 "
                "AAAAC3NzaC1lZDI1NTE5AAAAIKhTVyPzlA8WzTjHqVqKZ3mCRbEwZbcPnXxN4Qe1Vv2E me",
            }
        },
    ).raise_for_status()
    for faults in place.faults.values():
        faults.fail_next("ensure_disk", "disk_full", "full")  # so that it takes several rounds
    made = place.create(flavorRef="passing", key_name="passing")
    assert made.status_code == 202, made.text
    assert place.http.delete("/compute/v2.1/flavors/passing").status_code == 202
    assert place.http.delete("/compute/v2.1/os-keypairs/passing").status_code == 204
    shown = place.wait(made.json()["server"]["id"], lambda shown: shown["status"] != "BUILD")
    if shown["status"] == "ERROR":
        assert "full" in place.failed(shown)
    else:
        place.delete(shown["id"])


# --- Other things, and other people ------------------------------------------------------------


def test_everything_can_be_asked_about(place: Place) -> None:
    outside = place.post(
        "/network/v2.0/networks",
        network={
            "name": "out",
            "router:external": True,
            "provider:network_type": "flat",
            "provider:physical_network": "external",
        },
    )["id"]
    place.post(
        "/network/v2.0/subnets",
        subnet={
            "network_id": outside,
            "cidr": "172.30.0.0/24",
            "ip_version": 4,
            "enable_dhcp": False,
        },
    )
    router = place.post(
        "/network/v2.0/routers",
        router={"name": "r", "external_gateway_info": {"network_id": outside}},
    )["id"]
    subnet = items(place.http, f"/network/v2.0/subnets?network_id={place.network}")[0]["id"]
    place.http.put(
        f"/network/v2.0/routers/{router}/add_router_interface", json={"subnet_id": subnet}
    ).raise_for_status()
    server = place.server()
    port = items(place.http, f"/network/v2.0/ports?device_id={server['id']}")[0]["id"]
    floating = place.post(
        "/network/v2.0/floatingips", floatingip={"floating_network_id": outside, "port_id": port}
    )

    assert re.match("PUT .*/add_router_interface was answered 200", place.first_line(router))
    for thing, noun in (
        (port, "port"),
        (floating["id"], "floating IP"),
        (router, "router"),
        (subnet, "subnet"),
        (place.image, "image"),
        (floating["floating_ip_address"], "floating IP"),
        ("r", "router"),
    ):
        assert f"\n{noun} " in place.cloud.run("explain", thing).stdout, noun
    assert place.first_line(NODES[0]) == f"host {NODES[0]} is up"
    operation = re.search(
        r"create_server ([0-9a-f-]{36}) of", place.cloud.run("explain", server["id"]).stdout
    )
    assert operation
    assert "was done in" in place.first_line(operation[1])

    with place.everywhere("ensure_router", "command_failed", "nft refused the translation"):
        place.http.put(
            f"/network/v2.0/routers/{router}",
            json={"router": {"routes": [{"destination": "9.9.9.0/24", "nexthop": "10.0.0.9"}]}},
        ).raise_for_status()
        line = _until(lambda: place.first_line(router), "nft refused")
        assert line.startswith(f"router {router} (r) is ERROR: nft refused the translation"), line
        line = place.first_line(floating["id"])
        assert line.startswith(f"floating IP {floating['id']} ("), line
        assert "nft refused the translation" in line

    place.http.delete(f"/network/v2.0/floatingips/{floating['id']}").raise_for_status()
    place.http.put(
        f"/network/v2.0/routers/{router}", json={"router": {"routes": []}}
    ).raise_for_status()
    place.http.put(
        f"/network/v2.0/routers/{router}/remove_router_interface", json={"subnet_id": subnet}
    ).raise_for_status()
    place.http.delete(f"/network/v2.0/routers/{router}").raise_for_status()
    place.delete(server["id"])


def test_a_name_of_several_things_is_refused_with_their_ids(place: Place) -> None:
    first, second = place.server(name="twin"), place.server(name="twin")
    done = place.cloud.run("explain", "twin", check=False)
    assert done.returncode == 1
    assert all(each["id"] in done.stderr for each in (first, second)), done.stderr
    place.delete(second["id"])
    assert first["id"] in place.first_line("twin")
    place.delete(first["id"])
    done = place.cloud.run("explain", "twin", check=False)
    assert (done.returncode, done.stderr) == (1, "Error: Nothing is known of twin.\n")


def test_a_member_is_told_of_own_things_only_and_nothing_of_hosts(place: Place) -> None:
    member, theirs = _member(place), place.server(name="theirs")
    made = member.post("/network/v2.0/networks", json={"network": {"name": "mine"}})
    mine = made.json()["network"]["id"]

    def ask(identifier: str) -> httpx.Response:
        return member.get(f"/operating/v1/explain/{identifier}")

    told = ask(mine).json()["explanation"]
    assert told["headline"] == "POST /network/v2.0/networks was answered 201"
    unknown = ask("unknown")
    assert unknown.status_code == 404
    member.delete(f"/compute/v2.1/servers/{theirs['id']}")  # refused, and remembered as theirs
    request_id = place.http.post("/network/v2.0/networks", json={"network": {"name": "x"}}).headers[
        "x-openstack-request-id"
    ]
    for identifier in (place.network, request_id, NODES[0], "theirs"):
        refused = ask(identifier)
        assert refused.status_code == 404, refused.text
        assert refused.text == unknown.text.replace("unknown", identifier)
    assert "was done in" in place.first_line(theirs["id"])
    foreign = ask(theirs["id"])
    assert not re.search("theirs|fake-", foreign.text), foreign.text
    for path in ("status", "doctor"):
        assert member.get(f"/operating/v1/{path}").status_code == 403

    public = place.new_image()
    place.http.patch(
        f"/image/v2/images/{public}",
        headers={"Content-Type": "application/openstack-images-v2.1-json-patch"},
        json=[{"op": "replace", "path": "/visibility", "value": "public"}],
    ).raise_for_status()
    own = member.post(
        "/compute/v2.1/servers",
        json={
            "server": {"name": "own", "flavorRef": "small", "imageRef": public, "networks": "none"}
        },
        headers={"OpenStack-API-Version": "compute 2.90"},
    )
    assert own.status_code == 202, own.text
    server_id = own.json()["server"]["id"]
    place.wait(server_id, lambda shown: shown["status"] != "BUILD")
    told = ask(server_id).json()["explanation"]
    assert "choose_host: done" in "\n".join(told["lines"])
    assert "fake-" not in str(told)
    assert "scheduling" in place.cloud.run("explain", server_id).stdout
    place.delete(server_id)
    member.delete(f"/network/v2.0/networks/{mine}")
    place.delete(theirs["id"])


# --- Words -------------------------------------------------------------------------------------


def _until(ask: Callable[[], str], part: str, seconds: float = 90) -> str:
    end = time.monotonic() + seconds
    while part not in (said := ask()):
        assert time.monotonic() < end, said
        time.sleep(0.1)
    return said


@contextmanager
def _quota(place: Place, **limits: int) -> Iterator[None]:
    path = f"/compute/v2.1/os-quota-sets/{place.project}"
    place.http.put(path, json={"quota_set": limits}).raise_for_status()
    try:
        yield
    finally:
        place.http.delete(path).raise_for_status()


def _member(place: Place) -> httpx.Client:
    """A member of a project of its own."""
    name = f"m{time.time_ns()}"
    project = place.post("/identity/v3/projects", project={"name": name})["id"]
    user = place.post("/identity/v3/users", user={"name": name, "password": name})["id"]
    (role,) = items(place.http, "/identity/v3/roles?name=member")
    place.http.put(
        f"/identity/v3/projects/{project}/users/{user}/roles/{role['id']}"
    ).raise_for_status()
    answer = httpx.post(
        f"{place.cloud.url}/identity/v3/auth/tokens",
        json={
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"id": user, "password": name}},
                },
                "scope": {"project": {"id": project}},
            }
        },
        timeout=60,
    )
    assert answer.status_code == 201, answer.text
    return httpx.Client(
        base_url=place.cloud.url,
        timeout=60,
        headers={"X-Auth-Token": answer.headers["x-subject-token"]},
    )


def test_the_story_of_a_cloud_that_is_not_there(tmp_path: Path) -> None:
    done = CommandCloud(tmp_path).run("explain", "anything", check=False)
    assert done.returncode == 1
    assert "there is no cloud in" in done.stderr
