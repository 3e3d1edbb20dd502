"""Hypervisors, services, zones, aggregates and hosts of the Compute API, at each microversion where
their shape changes: answers fit the published schemas and Tempest's, and do what they say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests import strict
from tests.cloud import TestedCloud, make_cloud
from tests.compute_calls import Caller, Project, read_contract
from tests.published import Contract

VERSIONS = [f"2.{minor}" for minor in (1, 11, 28, 33, 41, 42, 43, 52, 53, 75, 81, 88, 104)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path_factory.mktemp("hosts"), hosts=("host1", "host2", "host3"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def project(cloud: TestedCloud) -> Project:
    return Project(cloud)


@pytest.fixture(scope="module")
def server_id(project: Project) -> str:
    """A server that stays, somewhere."""
    return project.boot(Caller(project.cloud))


@pytest.fixture(scope="module")
def contract(published: Path) -> Contract:
    return read_contract(published)


@pytest.fixture(params=VERSIONS)
def admin(request: pytest.FixtureRequest, cloud: TestedCloud, contract: Contract) -> Caller:
    return Caller(cloud, str(request.param), "admin", contract)


def newest(cloud: TestedCloud, who: str = "admin", version: str = "2.104") -> Caller:
    return Caller(cloud, version, who)


def host_of(project: Project, server_id: str) -> str:
    return str(project.show(server_id)["OS-EXT-SRV-ATTR:host"])


# --- Hypervisors ---------------------------------------------------------------------------------


def test_hypervisors(admin: Caller, project: Project, server_id: str) -> None:
    listed = strict.require(
        "hypervisors", "list_search_hypervisors", admin.number, admin.get("/os-hypervisors")
    )["hypervisors"]
    assert [each["hypervisor_hostname"] for each in listed] == ["host1", "host2", "host3"]
    detailed = admin.get("/os-hypervisors/detail")["hypervisors"]
    busy = next(
        each for each in detailed if each["hypervisor_hostname"] == host_of(project, server_id)
    )
    shown = admin.get(f"/os-hypervisors/{busy['id']}")
    assert shown["hypervisor"].keys() == busy.keys()
    assert busy["service"]["host"] == busy["hypervisor_hostname"]
    if admin.at_least(88):
        assert busy["uptime"]
        assert "vcpus" not in busy
    else:
        strict.require("hypervisors", "get_hypervisor", admin.number, shown)
        use_of(admin, busy)
    if not admin.at_least(53):
        by_pattern(admin, server_id)
    else:
        with_servers(admin, busy, server_id)


def use_of(admin: Caller, busy: dict[str, Any]) -> None:
    assert busy["vcpus_used"] == 1
    assert busy["memory_mb_used"] == 512 + 512  # the server's, and what the host keeps
    assert busy["free_ram_mb"] == busy["memory_mb"] - 1024
    assert (busy["local_gb_used"], busy["running_vms"], busy["current_workload"]) == (1, 1, 0)
    sums = strict.require(
        "hypervisors",
        "get_hypervisor_statistics",
        admin.number,
        admin.get("/os-hypervisors/statistics"),
    )["hypervisor_statistics"]
    assert (sums["count"], sums["running_vms"], sums["vcpus_used"]) == (3, 1, 1)
    uptime = strict.require(
        "hypervisors",
        "get_hypervisor_uptime",
        admin.number,
        admin.get(f"/os-hypervisors/{busy['id']}/uptime"),
    )
    assert "load average" in uptime["hypervisor"]["uptime"]


def by_pattern(admin: Caller, server_id: str) -> None:
    found = admin.get("/os-hypervisors/host/search")["hypervisors"]
    assert len(found) == 3
    on = strict.require(
        "hypervisors",
        "get_hypervisors_servers",
        admin.number,
        admin.get("/os-hypervisors/host/servers"),
    )["hypervisors"]
    assert [each["uuid"] for host in on for each in host.get("servers", [])] == [server_id]
    assert admin.call("GET", "/os-hypervisors/nowhere/search").status_code == 404
    assert admin.call("GET", "/os-hypervisors/nowhere/servers").status_code == 404
    assert admin.call("GET", "/os-hypervisors/999999").status_code == 404
    assert admin.call("GET", f"/os-hypervisors/{uuid4()}").status_code == 404


def with_servers(admin: Caller, busy: dict[str, Any], server_id: str) -> None:
    shown = admin.get(f"/os-hypervisors/{busy['id']}?with_servers=true")["hypervisor"]
    assert [each["uuid"] for each in shown["servers"]] == [server_id]
    listed = admin.get("/os-hypervisors?with_servers=1")["hypervisors"]
    assert sum("servers" in each for each in listed) == (3 if admin.at_least(75) else 1)
    found = admin.get("/os-hypervisors?hypervisor_hostname_pattern=ost2")["hypervisors"]
    assert [each["hypervisor_hostname"] for each in found] == ["host2"]
    for path, status in (
        ("?hypervisor_hostname_pattern=nowhere", 404),
        ("?hypervisor_hostname_pattern=host&limit=1", 400),
        ("?with_servers=perhaps", 400),
        ("?other=1", 400),
        ("/1", 400),
        (f"/{uuid4()}", 404),
        ("/host1/search", 404),
    ):
        assert admin.call("GET", f"/os-hypervisors{path}").status_code == status, path


@pytest.mark.parametrize("version", ["2.33", "2.53", "2.104"])
def test_pages_of_hypervisors(cloud: TestedCloud, contract: Contract, version: str) -> None:
    admin = Caller(cloud, version, "admin", contract)
    path, names = "/os-hypervisors?limit=2", []
    while path:
        page = admin.get(path)
        names += [each["hypervisor_hostname"] for each in page["hypervisors"]]
        links = page.get("hypervisors_links")
        path = "/os-hypervisors" + links[0]["href"].partition("/os-hypervisors")[2] if links else ""
    assert names == ["host1", "host2", "host3"]
    assert admin.call("GET", f"/os-hypervisors?marker={uuid4()}").status_code == 400
    assert admin.call("GET", "/os-hypervisors?limit=-1").status_code == 400


def test_hypervisors_before_pages_ignore_limits(cloud: TestedCloud) -> None:
    assert len(newest(cloud, version="2.32").get("/os-hypervisors?limit=1")["hypervisors"]) == 3


def test_what_is_gone_is_unknown(cloud: TestedCloud) -> None:
    for version, path in (
        ("2.88", "/os-hypervisors/statistics"),
        ("2.53", "/os-hypervisors/h/search"),
        ("2.43", "/os-hosts"),
        ("2.43", "/os-hosts/host1"),
        ("2.36", "/os-security-groups"),
        ("2.36", "/images"),
    ):
        assert newest(cloud, version=version).call("GET", path).status_code == 404, path


# --- Services ------------------------------------------------------------------------------------


def test_services(admin: Caller) -> None:
    listed = strict.require("services", "list_services", admin.number, admin.get("/os-services"))[
        "services"
    ]
    assert [each["host"] for each in listed] == ["host1", "host2", "host3"]
    assert {(each["binary"], each["state"], each["status"], each["zone"]) for each in listed} == {
        ("nova-compute", "up", "enabled", "nova")
    }
    assert len(admin.get("/os-services?host=host2&binary=nova-compute")["services"]) == 1
    assert admin.get("/os-services?host=host2&binary=other")["services"] == []
    assert admin.call("GET", "/os-services?xxx=1").status_code == (
        400 if admin.at_least(75) else 200
    )
    (by_uuid if admin.at_least(53) else by_name)(admin, listed[2])


def by_name(admin: Caller, service: dict[str, Any]) -> None:
    named = {"host": service["host"], "binary": "nova-compute"}
    done = admin.put("/os-services/disable", named)
    assert strict.require("services", "enable_disable_service", admin.number, done)["service"] == {
        **named,
        "status": "disabled",
    }
    reasoned = admin.put("/os-services/disable-log-reason", {**named, "disabled_reason": "dust"})
    strict.require("services", "disable_log_reason", admin.number, reasoned)
    shown = admin.get("/os-services?host=host3")["services"][0]
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", "dust")
    admin.put("/os-services/enable", named)
    assert admin.get("/os-services?host=host3")["services"][0]["disabled_reason"] is None
    assert admin.call("PUT", "/os-services/disable-log-reason", named).status_code == 400
    unknown = {"host": "nowhere", "binary": "nova-compute"}
    assert admin.call("PUT", "/os-services/enable", unknown).status_code == 404
    assert admin.call("PUT", "/os-services/enable", {"host": "host1"}).status_code == 400
    forced = admin.call("PUT", "/os-services/force-down", {**named, "forced_down": True})
    assert forced.status_code == (200 if admin.at_least(11) else 404)
    if admin.at_least(11):
        strict.require("services", "update_forced_down", admin.number, forced.json())
        assert admin.get("/os-services?host=host3")["services"][0]["state"] == "down"
        admin.put("/os-services/force-down", {**named, "forced_down": "false"})
    assert admin.call("DELETE", "/os-services/abc").status_code == 400
    assert admin.call("DELETE", "/os-services/999999").status_code == 404


def by_uuid(admin: Caller, service: dict[str, Any]) -> None:
    path = f"/os-services/{service['id']}"
    done = admin.put(path, {"status": "disabled", "disabled_reason": "dust"})
    shown = strict.require("services", "update_service", admin.number, done)["service"]
    assert (shown["status"], shown["disabled_reason"], shown["state"]) == ("disabled", "dust", "up")
    assert admin.put(path, {"forced_down": True})["service"]["state"] == "down"
    back = admin.put(path, {"status": "enabled", "forced_down": False})["service"]
    assert (back["status"], back["disabled_reason"], back["state"]) == ("enabled", None, "up")
    for body in (
        {},
        {"disabled_reason": "x"},
        {"status": "enabled", "disabled_reason": "x"},
        {"status": "off"},
        {"status": "disabled", "other": 1},
    ):
        assert admin.call("PUT", path, body).status_code == 400, body
    assert admin.call("PUT", f"/os-services/{uuid4()}", {"status": "enabled"}).status_code == 404
    assert admin.call("PUT", "/os-services/1", {"status": "enabled"}).status_code == 400
    assert admin.call("DELETE", f"/os-services/{uuid4()}").status_code == 404
    assert admin.call("DELETE", "/os-services/1").status_code == 400


def test_a_disabled_service_takes_no_servers_and_its_zone_may_vanish(
    cloud: TestedCloud, project: Project, server_id: str
) -> None:
    admin = newest(cloud)
    ids = {each["host"]: each["id"] for each in admin.get("/os-services")["services"]}
    for service_id in ids.values():
        admin.put(f"/os-services/{service_id}", {"status": "disabled"})
    zones = admin.get("/os-availability-zone")["availabilityZoneInfo"]
    assert [each["zoneState"]["available"] for each in zones] == [False]
    assert admin.get("/limits")["limits"]["absolute"]["totalInstancesUsed"] == 0
    failed = project.boot(newest(cloud, "member"))
    assert "disabled" in project.show(failed)["fault"]["message"]
    project.free(failed)
    for service_id in ids.values():
        admin.put(f"/os-services/{service_id}", {"status": "enabled"})
    busy = ids[host_of(project, server_id)]
    assert admin.call("DELETE", f"/os-services/{busy}").status_code == 409


def test_a_service_without_servers_can_be_forgotten(tmp_path: Path, contract: Contract) -> None:
    cloud = make_cloud(tmp_path, hosts=("host1", "host2"))
    try:
        for version in ("2.52", "2.53"):
            admin = Caller(cloud, version, "admin", contract)
            gone = admin.get("/os-services")["services"][-1]
            admin.delete(f"/os-services/{gone['id']}", 204)
            assert gone["host"] not in [
                each["host"] for each in admin.get("/os-services")["services"]
            ]
        assert admin.get("/os-hypervisors")["hypervisors"] == []
    finally:
        cloud.close()


# --- Zones and aggregates ------------------------------------------------------------------------


def test_zones(admin: Caller, cloud: TestedCloud, contract: Contract) -> None:
    member = Caller(cloud, admin.version, "member", contract)
    listed = strict.require(
        "availability_zone",
        "list_availability_zone_list",
        admin.number,
        member.get("/os-availability-zone"),
    )
    assert listed["availabilityZoneInfo"] == [
        {"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}
    ]
    detailed = strict.require(
        "availability_zone",
        "list_availability_zone_list_detail",
        admin.number,
        admin.get("/os-availability-zone/detail"),
    )["availabilityZoneInfo"]
    assert sorted(detailed[0]["hosts"]) == ["host1", "host2", "host3"]
    service = detailed[0]["hosts"]["host1"]["nova-compute"]
    assert service["active"] is True
    assert service["available"] is True
    assert member.call("GET", "/os-availability-zone/detail").status_code == 403


def test_aggregates(admin: Caller) -> None:
    name = f"rack {admin.version}"
    created = strict.require(
        "aggregates",
        "create_aggregate",
        admin.number,
        admin.post(
            "/os-aggregates", {"aggregate": {"name": name, "availability_zone": "north"}}, 200
        ),
    )
    made = created["aggregate"]
    path = f"/os-aggregates/{made['id']}"
    assert (made["availability_zone"], made["updated_at"]) == ("north", None)
    added = admin.post(f"{path}/action", {"add_host": {"host": "host3"}}, 200)
    strict.require("aggregates", "aggregate_add_remove_host", admin.number, added)
    assert added["aggregate"]["hosts"] == ["host3"]
    zones = admin.get("/os-availability-zone")["availabilityZoneInfo"]
    assert [each["zoneName"] for each in zones] == ["north", "nova"]
    changed = admin.put(path, {"aggregate": {"name": name + "b", "availability_zone": "south"}})
    strict.require("aggregates", "update_aggregate", admin.number, changed)
    assert changed["aggregate"]["metadata"] == {"availability_zone": "south"}
    told = admin.post(
        f"{path}/action",
        {"set_metadata": {"metadata": {"ssd": "true", "availability_zone": None}}},
        200,
    )
    strict.require("aggregates", "aggregate_set_metadata", admin.number, told)
    assert told["aggregate"]["metadata"] == {"ssd": "true"}
    assert told["aggregate"]["availability_zone"] is None
    refusals_of_aggregates(admin, path, name + "b")
    removed = admin.post(f"{path}/action", {"remove_host": {"host": "host3"}}, 200)
    assert removed["aggregate"]["hosts"] == []
    strict.require("aggregates", "get_aggregate", admin.number, admin.get(path))
    strict.require("aggregates", "list_aggregates", admin.number, admin.get("/os-aggregates"))
    admin.delete(path, 200)
    assert admin.call("GET", path).status_code == 404


def refusals_of_aggregates(admin: Caller, path: str, name: str) -> None:
    assert admin.call("DELETE", path).status_code == 400  # it has a host
    action = f"{path}/action"
    for method, where, body, status in (
        ("POST", "/os-aggregates", {"aggregate": {"name": name}}, 409),
        ("POST", "/os-aggregates", {"aggregate": {"name": ""}}, 400),
        ("POST", "/os-aggregates", {"aggregate": {"name": "a" * 256}}, 400),
        ("POST", "/os-aggregates", {"aggregate": {"name": "x", "availability_zone": "a:b"}}, 400),
        ("PUT", path, {"aggregate": {}}, 400),
        ("PUT", "/os-aggregates/99999", {"aggregate": {"name": "x"}}, 404),
        ("POST", action, {"add_host": {"host": "host3"}}, 409),
        ("POST", action, {"add_host": {"host": "nowhere"}}, 404),
        ("POST", action, {"remove_host": {"host": "host1"}}, 404),
        ("POST", action, {"set_metadata": {"metadata": {"availability_zone": ""}}}, 400),
        ("POST", action, {"set_metadata": {"metadata": {"a/b": "c"}}}, 400),
        ("POST", action, {"explode": {}}, 400),
        ("GET", "/os-aggregates/-1", None, 404),
    ):
        assert admin.call(method, where, body).status_code == status, (method, where, body)


def test_a_host_is_in_one_zone_and_servers_stay_in_theirs(
    cloud: TestedCloud, project: Project, server_id: str
) -> None:
    admin = newest(cloud)
    host = host_of(project, server_id)
    made = [
        admin.post("/os-aggregates", {"aggregate": {"name": name, "availability_zone": zone}}, 200)[
            "aggregate"
        ]["id"]
        for name, zone in (("first", "east"), ("second", "west"), ("third", None))
    ]
    first, second, third = (f"/os-aggregates/{each}/action" for each in made)
    refused = admin.call("POST", first, {"add_host": {"host": host}})
    assert refused.status_code == 409
    assert "instances" in refused.text
    admin.post(third, {"add_host": {"host": host}}, 200)
    refused = admin.call(
        "POST", third, {"set_metadata": {"metadata": {"availability_zone": "east"}}}
    )
    assert refused.status_code == 400
    other = next(name for name in ("host1", "host2", "host3") if name != host)
    admin.post(first, {"add_host": {"host": other}}, 200)
    assert admin.call("POST", second, {"add_host": {"host": other}}).status_code == 409
    admin.post(first, {"remove_host": {"host": other}}, 200)
    admin.post(third, {"remove_host": {"host": host}}, 200)
    for each in made:
        admin.delete(f"/os-aggregates/{each}", 200)


def test_images_are_fetched_before_they_are_needed(cloud: TestedCloud, project: Project) -> None:
    admin = newest(cloud)
    made = admin.post("/os-aggregates", {"aggregate": {"name": "cached"}}, 200)["aggregate"]
    path = f"/os-aggregates/{made['id']}"
    for host in ("host1", "host2"):
        admin.post(f"{path}/action", {"add_host": {"host": host}}, 200)
    image_id = project.new_image("cached")
    admin.post(f"{path}/images", {"cache": [{"id": image_id}]}, 202)
    cloud.settle()
    assert [
        name for name, agent in cloud.agents.items() if image_id in agent.disks.observe().images
    ] == ["host1", "host2"]
    for body, status in (
        ({"cache": [{"id": image_id}, {"id": image_id}]}, 400),
        ({"cache": []}, 400),
        ({"cache": [{"id": str(uuid4())}]}, 400),
        ({"cache": [{"id": "x"}]}, 400),
    ):
        assert admin.call("POST", f"{path}/images", body).status_code == status, body
    assert (
        newest(cloud, version="2.80")
        .call("POST", f"{path}/images", {"cache": [{"id": image_id}]})
        .status_code
        == 404
    )
    for host in ("host1", "host2"):
        admin.post(f"{path}/action", {"remove_host": {"host": host}}, 200)
    admin.delete(path, 200)


# --- os-hosts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.1", "2.42"])
def test_hosts(
    cloud: TestedCloud, contract: Contract, project: Project, server_id: str, version: str
) -> None:
    admin = Caller(cloud, version, "admin", contract)
    listed = strict.require("hosts", "list_hosts", admin.number, admin.get("/os-hosts"))
    assert [each["host_name"] for each in listed["hosts"]] == ["host1", "host2", "host3"]
    assert len(admin.get("/os-hosts?zone=nova")["hosts"]) == 3
    assert len(admin.get("/os-hosts?zone=")["hosts"]) == 3
    assert admin.get("/os-hosts?zone=xxx")["hosts"] == []
    host = host_of(project, server_id)
    shown = strict.require(
        "hosts", "get_host_detail", admin.number, admin.get(f"/os-hosts/{host}")
    )["host"]
    found = {each["resource"]["project"]: each["resource"] for each in shown}
    assert list(found) == ["(total)", "(used_now)", "(used_max)", cloud.user("member").project_id]
    assert (found["(used_max)"]["cpu"], found["(used_max)"]["memory_mb"]) == (1, 512)
    done = strict.require(
        "hosts", "update_host", admin.number, admin.put("/os-hosts/host3", {"status": "disable"})
    )
    assert done == {"host": "host3", "status": "disabled"}
    admin.put("/os-hosts/host3", {"status": "enable"})
    for path, body, status in (
        ("host1", {}, 400),
        ("host1", {"status": "invalid", "maintenance_mode": "enable"}, 400),
        ("host1", {"maintenance_mode": "enable"}, 501),
        ("nowhere", {"status": "enable", "maintenance_mode": "enable"}, 404),
    ):
        assert admin.call("PUT", f"/os-hosts/{path}", body).status_code == status, body
    assert admin.call("GET", "/os-hosts/nowhere").status_code == 404
    for action in ("startup", "shutdown", "reboot"):
        assert admin.call("GET", f"/os-hosts/host1/{action}").status_code == 501
        assert admin.call("GET", f"/os-hosts/nowhere/{action}").status_code == 404


@pytest.mark.parametrize("version", ["2.1", "2.104"])
def test_audit_log(cloud: TestedCloud, contract: Contract, version: str) -> None:
    admin = Caller(cloud, version, "admin", None)  # the document takes names of hosts for UUIDs
    log = strict.require(
        "instance_usage_audit_logs",
        "list_instance_usage_audit_log",
        admin.number,
        admin.get("/os-instance_usage_audit_log"),
    )
    assert log["instance_usage_audit_logs"]["num_hosts_not_run"] == 3
    shown = strict.require(
        "instance_usage_audit_logs",
        "get_instance_usage_audit_log",
        admin.number,
        admin.get("/os-instance_usage_audit_log/2026-01-15%2010:00:00"),
    )
    assert shown["instance_usage_audit_log"]["period_beginning"] == "2025-12-01 00:00:00"
    assert shown["instance_usage_audit_log"]["period_ending"] == "2026-01-01 00:00:00"
    for text in ("invalid_time", "0001-01-01%2000:00:00", "2026-13-01%2000:00:00"):
        assert admin.call("GET", f"/os-instance_usage_audit_log/{text}").status_code == 400


@pytest.mark.parametrize("who", ["member", "reader", "manager", "stranger"])
def test_all_of_this_is_for_administrators(cloud: TestedCloud, who: str) -> None:
    for version, method, path, body in (
        ("2.1", "GET", "/os-hypervisors", None),
        ("2.1", "GET", "/os-hypervisors/detail", None),
        ("2.1", "GET", "/os-hypervisors/1", None),
        ("2.1", "GET", "/os-hypervisors/1/uptime", None),
        ("2.1", "GET", "/os-hypervisors/host/search", None),
        ("2.1", "GET", "/os-hypervisors/host/servers", None),
        ("2.1", "GET", "/os-hypervisors/statistics", None),
        ("2.1", "GET", "/os-services", None),
        ("2.1", "PUT", "/os-services/enable", {"host": "host1", "binary": "nova-compute"}),
        ("2.53", "PUT", f"/os-services/{uuid4()}", {"status": "enabled"}),
        ("2.53", "DELETE", f"/os-services/{uuid4()}", None),
        ("2.1", "GET", "/os-aggregates", None),
        ("2.1", "GET", "/os-aggregates/1", None),
        ("2.1", "POST", "/os-aggregates", {"aggregate": {"name": "mine"}}),
        ("2.1", "POST", "/os-aggregates/1/action", {"add_host": {"host": "host1"}}),
        ("2.81", "POST", "/os-aggregates/1/images", {"cache": [{"id": str(uuid4())}]}),
        ("2.1", "GET", "/os-hosts", None),
        ("2.1", "GET", "/os-hosts/host1", None),
        ("2.1", "GET", "/os-hosts/host1/reboot", None),
        ("2.1", "GET", "/os-instance_usage_audit_log", None),
        ("2.1", "GET", "/os-instance_usage_audit_log/2026-01-15%2010:00:00", None),
    ):
        caller = newest(cloud, who, version)
        answer = caller.call(method, path, body)
        assert answer.status_code == 403, (method, path, answer.text)
        assert "os_compute_api:" in answer.text or "compute:aggregates" in answer.text
