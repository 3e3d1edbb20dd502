"""Limits, quotas, usage, server groups, actions, events and extensions of the Compute API, at each
microversion where their shape changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from nubelet.kernel import clock
from nubelet.kernel.clock import iso_micros
from tests import strict
from tests.cloud import TestedCloud, make_cloud
from tests.compute_calls import Caller, Project, read_contract
from tests.published import Contract

VERSIONS = [
    f"2.{minor}"
    for minor in (
        1,
        13,
        15,
        20,
        21,
        35,
        36,
        39,
        40,
        49,
        50,
        51,
        56,
        57,
        58,
        62,
        64,
        66,
        75,
        84,
        104,
    )
]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path_factory.mktemp("projects"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def project(cloud: TestedCloud) -> Project:
    return Project(cloud)


@pytest.fixture(scope="module")
def contract(published: Path) -> Contract:
    return read_contract(published)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def member(cloud: TestedCloud, contract: Contract, version: str) -> Caller:
    return Caller(cloud, version, "member", contract)


@pytest.fixture
def admin(cloud: TestedCloud, contract: Contract, version: str) -> Caller:
    return Caller(cloud, version, "admin", contract)


@pytest.fixture(scope="module")
def project_id(cloud: TestedCloud) -> str:
    return str(cloud.user("member").project_id)


@pytest.fixture(scope="module")
def life(cloud: TestedCloud, project: Project) -> str:
    """The id of a server that was made, stopped and deleted."""
    member = Caller(cloud)
    server_id = project.boot(member, name="short life")
    member.act(server_id, "os-stop")
    cloud.settle()
    project.free(server_id)
    return server_id


# --- Limits and quotas ---------------------------------------------------------------------------


def test_limits(member: Caller, admin: Caller, project: Project, project_id: str) -> None:
    server_id = project.boot(member)
    shown = strict.require("limits", "get_limit", member.number, member.get("/limits"))
    absolute = shown["limits"]["absolute"]
    assert shown["limits"]["rate"] == []
    assert (
        absolute["totalInstancesUsed"],
        absolute["totalCoresUsed"],
        absolute["totalRAMUsed"],
    ) == (1, 1, 512)
    assert (absolute["maxTotalInstances"], absolute["maxTotalRAMSize"]) == (10, 51200)
    assert admin.get(f"/limits?tenant_id={project_id}")["limits"]["absolute"] == absolute
    assert admin.get("/limits")["limits"]["absolute"]["totalInstancesUsed"] == 0
    assert member.call("GET", f"/limits?tenant_id={uuid4().hex}").status_code == 403
    assert member.get("/limits?reserved=1")["limits"]["absolute"] == absolute
    assert member.call("GET", "/limits?other=1").status_code == (
        400 if member.at_least(75) else 200
    )
    project.free(server_id)


def test_quota_sets(member: Caller, admin: Caller, project_id: str) -> None:
    path = f"/os-quota-sets/{project_id}"
    defaults = strict.require(
        "quotas", "get_quota_set", member.number, member.get(f"{path}/defaults")
    )["quota_set"]
    assert strict.require("quotas", "get_quota_set", member.number, member.get(path)) == {
        "quota_set": defaults
    }
    assert ("fixed_ips" in defaults) == (not member.at_least(36))
    assert ("injected_files" in defaults) == (not member.at_least(57))
    changed = admin.put(path, {"quota_set": {"cores": "7", "server_groups": -1}})
    quota = strict.require("quotas", "update_quota_set", admin.number, changed)["quota_set"]
    assert (quota["cores"], quota["server_groups"]) == (7, -1)
    detailed = strict.require(
        "quotas", "get_quota_set_details", member.number, member.get(f"{path}/detail")
    )["quota_set"]
    assert detailed["cores"] == {"limit": 7, "in_use": 0, "reserved": 0}
    assert detailed["id"] == project_id
    admin.delete(path, 202)
    assert member.get(path)["quota_set"] == defaults
    assert member.call("GET", f"{path}?other=1").status_code == (
        400 if member.at_least(75) else 200
    )
    refusals_of_quotas(admin, member, path)


def refusals_of_quotas(admin: Caller, member: Caller, path: str) -> None:
    for given, status in (
        ({"cores": -2}, 400),
        ({"cores": "many"}, 400),
        ({"cores": 1 << 31}, 400),
        ({"wheels": 4}, 400),
        ({"force": "perhaps"}, 400),
    ):
        assert admin.call("PUT", path, {"quota_set": given}).status_code == status, given
    for name, gone in (("fixed_ips", 36), ("injected_files", 57)):
        assert admin.call("PUT", path, {"quota_set": {name: 5}}).status_code == (
            400 if admin.at_least(gone) else 200
        )
    admin.delete(path, 202)
    unknown = f"/os-quota-sets/{uuid4().hex}"
    assert admin.call("GET", unknown).status_code == 400
    assert admin.call("PUT", unknown, {"quota_set": {"cores": 1}}).status_code == 400
    assert member.call("PUT", path, {"quota_set": {"cores": 99}}).status_code == 403
    assert member.call("DELETE", path).status_code == 403
    assert member.call("GET", unknown).status_code == 403
    assert member.call("GET", unknown + "/detail").status_code == 403


def test_quota_classes(member: Caller, admin: Caller, project_id: str) -> None:
    path = "/os-quota-class-sets/default"
    shown = strict.require("quota_classes", "get_quota_class_set", admin.number, admin.get(path))
    before = {name: value for name, value in shown["quota_class_set"].items() if name != "id"}
    raised = {name: value + 100 for name, value in before.items()}
    changed = admin.put(path, {"quota_class_set": raised})
    assert strict.require("quota_classes", "update_quota_class_set", admin.number, changed) == {
        "quota_class_set": raised
    }
    mine = member.get(f"/os-quota-sets/{project_id}")["quota_set"]
    assert mine["instances"] == before["instances"] + 100
    admin.put(path, {"quota_class_set": before})
    assert member.get(f"/os-quota-sets/{project_id}")["quota_set"]["instances"] == 10
    assert ("server_groups" in before) == admin.at_least(50)
    assert ("fixed_ips" in before) == (not admin.at_least(50))
    assert member.call("GET", path).status_code == 403
    assert member.call("PUT", path, {"quota_class_set": {"cores": 1}}).status_code == 403
    assert admin.call("PUT", path, {"quota_class_set": {"x": 1}}).status_code == 400


def test_a_limit_below_use_must_be_forced(
    cloud: TestedCloud, project: Project, project_id: str
) -> None:
    admin, path = Caller(cloud, who="admin"), f"/os-quota-sets/{project_id}"
    server_id = project.boot(Caller(cloud))
    refused = admin.call("PUT", path, {"quota_set": {"ram": 511}})
    assert refused.status_code == 400
    assert "already used and reserved 512" in refused.text
    admin.put(path, {"quota_set": {"ram": 511, "force": True}})
    answer = Caller(cloud).call("POST", "/servers", project.body(Caller(cloud)))
    assert answer.status_code == 403
    assert "ram" in answer.text
    admin.delete(path, 202)
    project.free(server_id)


def test_a_user_may_have_less_than_the_project(
    cloud: TestedCloud, project: Project, project_id: str
) -> None:
    admin, member = Caller(cloud, who="admin"), Caller(cloud)
    user_id = cloud.user("member").user_id
    path = f"/os-quota-sets/{project_id}?user_id={user_id}"
    assert (
        admin.put(path, {"quota_set": {"instances": 1, "server_groups": 0}})["quota_set"][
            "instances"
        ]
        == 1
    )
    assert admin.get(path)["quota_set"]["instances"] == 1
    assert admin.get(f"/os-quota-sets/{project_id}")["quota_set"]["instances"] == 10
    server_id = project.boot(member, max_count=3)
    assert member.call("POST", "/servers", project.body(member)).status_code == 403
    group = {"server_group": {"name": "g", "policy": "affinity"}}
    assert member.call("POST", "/os-server-groups", group).status_code == 403
    detail = admin.get(f"/os-quota-sets/{project_id}/detail?user_id={user_id}")["quota_set"]
    assert detail["instances"] == {"limit": 1, "in_use": 1, "reserved": 0}
    other = Caller(cloud, who="manager")  # of the same project
    second = project.boot(other)
    too_much = admin.call("PUT", path, {"quota_set": {"instances": 11}})
    assert too_much.status_code == 400
    assert "less than or equal to 10" in too_much.text
    admin.delete(path, 202)
    assert admin.get(path)["quota_set"]["instances"] == 10
    project.free(server_id, second)


# --- Usage ---------------------------------------------------------------------------------------


def test_usage(member: Caller, admin: Caller, life: str, project_id: str) -> None:
    now = clock.now()
    period = f"start={iso_micros(now - 86_400_000_000)}&end={iso_micros(now + 86_400_000_000)}"
    shown = strict.require(
        "tenant_usages",
        "get_tenant_usage",
        member.number,
        member.get(f"/os-simple-tenant-usage/{project_id}?{period}"),
    )["tenant_usage"]
    found = next(each for each in shown["server_usages"] if each["instance_id"] == life)
    assert (found["state"], found["name"], found["memory_mb"], found["local_gb"]) == (
        "terminated",
        "short life",
        512,
        1,
    )
    assert 0 < found["hours"] < 0.1
    assert found["ended_at"] > found["started_at"]
    assert shown["total_hours"] == pytest.approx(
        sum(each["hours"] for each in shown["server_usages"])
    )
    assert shown["total_memory_mb_usage"] == pytest.approx(512 * shown["total_hours"])
    listed = admin.get(f"/os-simple-tenant-usage?{period}&detailed=1")["tenant_usages"]
    assert [len(each) for each in listed] == [8]
    listed = strict.require(
        "tenant_usages",
        "list_tenant_usage",
        admin.number,
        admin.get(f"/os-simple-tenant-usage?{period}"),
    )["tenant_usages"]
    assert [each["tenant_id"] for each in listed] == [project_id]
    assert "server_usages" not in listed[0]
    refusals_of_usage(member, admin, project_id)


def refusals_of_usage(member: Caller, admin: Caller, project_id: str) -> None:
    path = f"/os-simple-tenant-usage/{project_id}"
    for query in ("start=2026-01-02T00:00:00&end=2026-01-01T00:00:00", "start=yesterday"):
        assert member.call("GET", f"{path}?{query}").status_code == 400
    assert member.get(f"{path}?start=2001-01-01T00:00:00&end=2001-02-01T00:00:00") == {
        "tenant_usage": {}
    }
    assert member.call("GET", "/os-simple-tenant-usage").status_code == 403
    assert member.call("GET", f"/os-simple-tenant-usage/{uuid4().hex}").status_code == 403
    assert member.call("GET", f"{path}?other=1").status_code == (
        400 if member.at_least(75) else 200
    )
    assert admin.call("GET", "/os-simple-tenant-usage/").status_code in (200, 404)


def test_pages_of_usage(
    cloud: TestedCloud, contract: Contract, project: Project, project_id: str
) -> None:
    member = Caller(cloud, "2.40", "member", contract)
    ids = [project.boot(member) for _ in range(3)]
    path, seen = f"/os-simple-tenant-usage/{project_id}?start=2020-01-01T00:00:00&limit=2", []
    while path:
        page = member.get(path)
        assert len(page["tenant_usage"]["server_usages"]) <= 2
        seen += [each["instance_id"] for each in page["tenant_usage"]["server_usages"]]
        links = page.get("tenant_usage_links")
        path = "/os-" + links[0]["href"].partition("/os-")[2] if links else ""
    assert seen[-3:] == ids
    assert len(set(seen)) == len(seen)
    admin = Caller(cloud, "2.104", "admin", contract)
    page = admin.get("/os-simple-tenant-usage?start=2020-01-01T00:00:00&limit=1&detailed=1")
    assert len(page["tenant_usages"][0]["server_usages"]) == 1
    assert "marker=" in page["tenant_usages_links"][0]["href"]
    assert admin.call("GET", f"/os-simple-tenant-usage?marker={uuid4()}").status_code == 400
    project.free(*ids)


# --- Server groups -------------------------------------------------------------------------------


def group_body(caller: Caller, name: str, policy: str) -> dict[str, Any]:
    given = {"policy": policy} if caller.at_least(64) else {"policies": [policy]}
    return {"server_group": {"name": name, **given}}


def test_server_groups(member: Caller, admin: Caller, project: Project) -> None:
    made = strict.require(
        "server_groups",
        "create_show_server_group",
        member.number,
        member.post("/os-server-groups", group_body(member, "together", "affinity"), 200),
    )["server_group"]
    path = f"/os-server-groups/{made['id']}"
    assert made["members"] == []
    server_id = make_in(project, member, made["id"])
    shown = strict.require(
        "server_groups", "create_show_server_group", member.number, member.get(path)
    )["server_group"]
    assert shown == {**made, "members": [server_id]}
    listed = strict.require(
        "server_groups", "list_server_groups", member.number, member.get("/os-server-groups")
    )["server_groups"]
    assert shown in listed
    assert shown in admin.get("/os-server-groups?all_projects=1")["server_groups"]
    assert shown not in admin.get("/os-server-groups")["server_groups"]
    project.free(server_id)
    assert member.get(path)["server_group"]["members"] == []
    soft = member.call("POST", "/os-server-groups", group_body(member, "s", "soft-affinity"))
    assert soft.status_code == (200 if member.at_least(15) else 400)
    if soft.is_success:
        member.delete(f"/os-server-groups/{soft.json()['server_group']['id']}", 204)
    refusals_of_groups(member, path)
    member.delete(path, 204)
    assert member.call("GET", path).status_code == 404
    assert member.call("DELETE", path).status_code == 404


def make_in(project: Project, member: Caller, group_id: str) -> str:
    body = project.body(member) | {"os:scheduler_hints": {"group": group_id}}
    server_id = str(member.post("/servers", body, 202)["server"]["id"])
    project.cloud.settle()
    return server_id


def refusals_of_groups(member: Caller, path: str) -> None:
    for body in (
        {"server_group": {"name": ""}},
        {"server_group": {"name": "x"}},
        group_body(member, "x", "anti"),
        group_body(member, " x", "affinity"),
    ):
        assert member.call("POST", "/os-server-groups", body).status_code == 400, body
    stranger = Caller(member.cloud, member.version, "stranger")
    assert stranger.call("GET", path).status_code == 404
    assert stranger.call("DELETE", path).status_code == 404
    assert stranger.get("/os-server-groups?all_projects=1")["server_groups"] == []
    reader = Caller(member.cloud, member.version, "reader")
    assert reader.get(path)["server_group"]["name"] == "together"
    assert reader.call("DELETE", path).status_code == 403
    assert (
        reader.call("POST", "/os-server-groups", group_body(reader, "x", "affinity")).status_code
        == 403
    )
    assert member.call("GET", "/os-server-groups?limit=x").status_code == 400
    assert member.call("GET", "/os-server-groups?other=1").status_code == (
        400 if member.at_least(75) else 200
    )


def test_rules_pages_and_the_quota_of_groups(cloud: TestedCloud, project_id: str) -> None:
    member, admin = Caller(cloud), Caller(cloud, who="admin")
    body = {"name": "apart", "policy": "anti-affinity", "rules": {"max_server_per_host": "3"}}
    made = member.post("/os-server-groups", {"server_group": body}, 200)["server_group"]
    assert made["rules"] == {"max_server_per_host": 3}
    for wrong in (
        {**body, "policy": "affinity"},
        {**body, "rules": {"max_server_per_host": 0}},
        {**body, "rules": {"other": 1}},
    ):
        assert member.call("POST", "/os-server-groups", {"server_group": wrong}).status_code == 400
    admin.put(f"/os-quota-sets/{project_id}", {"quota_set": {"server_groups": 3}})
    plain = {"server_group": {"name": "b", "policy": "affinity"}}
    ids = [
        made["id"],
        *(member.post("/os-server-groups", plain, 200)["server_group"]["id"] for _ in range(2)),
    ]
    over = member.call("POST", "/os-server-groups", plain)
    assert over.status_code == 403
    assert "too many server groups" in over.text
    page = member.get("/os-server-groups?limit=1&offset=1")["server_groups"]
    assert [each["id"] for each in page] == [ids[1]]
    assert len(member.get("/os-server-groups?limit=0")["server_groups"]) == 3
    for each in ids:
        member.delete(f"/os-server-groups/{each}", 204)
    admin.delete(f"/os-quota-sets/{project_id}", 202)


# --- Actions and events --------------------------------------------------------------------------


def test_actions_of_a_server(member: Caller, admin: Caller, project: Project) -> None:
    server_id = project.boot(member)
    member.act(server_id, "reboot", {"type": "HARD"})
    project.cloud.settle()
    path = f"/servers/{server_id}/os-instance-actions"
    actions = strict.require("servers", "list_instance_actions", member.number, member.get(path))[
        "instanceActions"
    ]
    assert [each["action"] for each in actions] == ["reboot", "create"]
    assert actions[0]["user_id"] == project.cloud.user("member").user_id
    assert ("updated_at" in actions[0]) == member.at_least(58)
    request_id = actions[1]["request_id"]
    shown = strict.require(
        "servers", "show_instance_action", member.number, member.get(f"{path}/{request_id}")
    )["instanceAction"]
    assert shown["action"] == "create"
    assert ("events" in shown) == member.at_least(51)
    assert not any(
        "traceback" in each or "host" in each or "details" in each
        for each in shown.get("events", ())
    )
    events_for_administrators(admin, f"{path}/{request_id}")
    refusals_of_actions(member, path)
    project.free(server_id)
    gone = member.call("GET", path)
    assert gone.status_code == (200 if member.at_least(21) else 404)
    if gone.is_success:
        assert [each["action"] for each in gone.json()["instanceActions"]] == [
            "delete",
            "reboot",
            "create",
        ]


def events_for_administrators(admin: Caller, path: str) -> None:
    events = strict.require("servers", "show_instance_action", admin.number, admin.get(path))[
        "instanceAction"
    ]["events"]
    assert {"compute_choose_host", "compute_start_guest", "compute_mark_active"} <= {
        each["event"] for each in events
    }
    assert {each["result"] for each in events} == {"Success"}
    assert all(each["finish_time"] >= each["start_time"] for each in events)
    assert all("traceback" in each for each in events)
    assert all(("hostId" in each) == admin.at_least(62) for each in events)
    assert all(("details" in each) == admin.at_least(84) for each in events)
    if admin.at_least(62):
        assert {each["host"] for each in events} <= {"host1", "host2"}
        assert all(len(each["hostId"]) == 56 for each in events)


def refusals_of_actions(member: Caller, path: str) -> None:
    assert member.call("GET", f"{path}/999").status_code == 404
    assert member.call("GET", f"/servers/{uuid4()}/os-instance-actions").status_code == 404
    stranger = Caller(member.cloud, member.version, "stranger")
    assert stranger.call("GET", path).status_code == 404
    assert Caller(member.cloud, member.version, "reader").call("GET", path).status_code == 200
    since = "changes-since=2020-01-01T00:00:00Z"
    assert member.call("GET", f"{path}?{since}").status_code == 200
    bad = 400 if member.at_least(58) else 200
    for query in ("changes-since=soon", "other=1", "limit=-1", "marker=req-x"):
        assert member.call("GET", f"{path}?{query}").status_code == bad, query
    assert member.call(
        "GET", f"{path}?changes-before=2020-01-01T00:00:00Z&{since}"
    ).status_code == (200 if not member.at_least(58) or member.at_least(66) else 400)


@pytest.mark.parametrize("version", ["2.58", "2.66", "2.104"])
def test_pages_and_times_of_actions(
    cloud: TestedCloud, contract: Contract, project: Project, life: str, version: str
) -> None:
    member = Caller(cloud, version, "member", contract)
    path, names = f"/servers/{life}/os-instance-actions?limit=1", []
    while path:
        page = strict.require("servers", "list_instance_actions", member.number, member.get(path))
        names += [each["action"] for each in page["instanceActions"]]
        links = page.get("links")
        path = "/servers" + links[0]["href"].partition("/servers")[2] if links else ""
    assert names == ["delete", "stop", "create"]
    path = f"/servers/{life}/os-instance-actions"
    changed = member.get(path)["instanceActions"][0]["updated_at"]
    assert [
        each["action"] for each in member.get(f"{path}?changes-since={changed}")["instanceActions"]
    ] == ["delete"]
    if member.at_least(66):
        assert [
            each["action"]
            for each in member.get(f"{path}?changes-before={changed}&changes-since={changed}")[
                "instanceActions"
            ]
        ] == ["delete"]
        assert (
            member.call(
                "GET",
                f"{path}?changes-since=2026-02-01T00:00:00Z&changes-before=2026-01-01T00:00:00Z",
            ).status_code
            == 400
        )


def test_a_failed_action_says_why(cloud: TestedCloud, project: Project) -> None:
    admin = Caller(cloud, who="admin")
    for each in admin.get("/os-services")["services"]:
        admin.put(f"/os-services/{each['id']}", {"status": "disabled"})
    server_id = project.boot(Caller(cloud))
    for each in admin.get("/os-services")["services"]:
        admin.put(f"/os-services/{each['id']}", {"status": "enabled"})
    path = f"/servers/{server_id}/os-instance-actions"
    action = Caller(cloud).get(path)["instanceActions"][0]
    assert "disabled" in action["message"]
    shown = admin.get(f"{path}/{action['request_id']}")["instanceAction"]
    failed = next(each for each in shown["events"] if each["result"] == "Error")
    assert failed["event"] == "compute_choose_host"
    assert "disabled" in failed["details"]
    project.free(server_id)


@pytest.mark.parametrize(
    ("version", "name", "status"),
    [
        ("2.1", "network-changed", 200),
        ("2.1", "volume-extended", 400),
        ("2.51", "network-vif-plugged", 200),
        ("2.104", "network-vif-deleted", 200),
    ],
)
def test_external_events(
    cloud: TestedCloud, contract: Contract, project: Project, version: str, name: str, status: int
) -> None:
    server_id = project.boot(Caller(cloud))
    service = Caller(cloud, version, "service", contract)
    event = {"name": name, "server_uuid": server_id, "tag": str(uuid4())}
    answer = service.call("POST", "/os-server-external-events", {"events": [event]})
    assert answer.status_code == status, answer.text
    if status == 200:
        strict.require("server_external_events", "create", service.number, answer.json())
        assert answer.json() == {"events": [{**event, "code": 200, "status": "completed"}]}
        mixed = service.call(
            "POST",
            "/os-server-external-events",
            {"events": [event, {**event, "server_uuid": str(uuid4())}]},
        )
        assert mixed.status_code == 207
        assert [each["code"] for each in mixed.json()["events"]] == [200, 404]
    for body, refused in (
        ({"events": []}, 400),
        ({"events": [{"name": "x"}]}, 400),
        ({"events": [{**event, "name": "network-changed", "server_uuid": str(uuid4())}]}, 404),
    ):
        assert service.call("POST", "/os-server-external-events", body).status_code == refused
    for who in ("member", "reader", "stranger"):
        assert (
            Caller(cloud, version, who)
            .call(
                "POST",
                "/os-server-external-events",
                {"events": [{**event, "name": "network-changed"}]},
            )
            .status_code
            == 403
        )
    project.free(server_id)


# --- Versions and extensions ---------------------------------------------------------------------


def test_version_documents(cloud: TestedCloud) -> None:
    client = cloud.client(None)
    listed = strict.require("versions", "list_versions", (2, 1), client.get("/compute/").json())[
        "versions"
    ]
    assert [each["id"] for each in listed] == ["v2.0", "v2.1"]
    for each in listed:
        link = next(link for link in each["links"] if link["rel"] == "self")
        answer = client.get(link["href"])
        assert answer.status_code == 200, link
        shown = strict.require("versions", "get_one_version", (2, 1), answer.json())["version"]
        assert [found for found in shown["links"] if found["rel"] == "self"] == [link]
    assert client.get("/compute/v2.1").json() == client.get("/compute/v2.1/").json()
    assert cloud.client("admin").get("/compute/v2.1/os-services/").status_code == 404


def test_extensions(cloud: TestedCloud, contract: Contract) -> None:
    for version in ("2.1", "2.104"):
        member = Caller(cloud, version, "member", contract)
        listed = strict.require(
            "extensions", "list_extensions", member.number, member.get("/extensions")
        )["extensions"]
        assert "Hosts" in [each["name"] for each in listed]
        assert member.get("/extensions/os-consoles")["extension"] in listed
        assert member.call("GET", "/extensions/os-nothing").status_code == 404
        assert cloud.client(None).get("/compute/v2.1/extensions").status_code == 401
