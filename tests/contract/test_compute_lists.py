"""Lists of servers: filters, order, pages; several servers by one request; old paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from nubelet.kernel import clock
from tests.cloud import TestedCloud, make_cloud
from tests.compute_calls import Caller, Project


class Servers:
    """Four servers that differ."""

    def __init__(self, cloud: TestedCloud) -> None:
        self.cloud, self.project = cloud, Project(cloud)
        self.project.raise_quotas(instances=-1, cores=-1, ram=-1)
        self.member = Caller(cloud)
        admin = Caller(cloud, who="admin")
        self.other_flavor = admin.post(
            "/flavors", {"flavor": {"name": "other", "ram": 1024, "vcpus": 2, "disk": 1}}, 200
        )["flavor"]["id"]
        self.other_image = self.project.new_image("other")
        self.ids = {
            "web-1": self.boot("web-1", tags=["blue", "front"], metadata={"role": "web"}),
            "web-2": self.boot("web-2", tags=["blue"], flavorRef=self.other_flavor),
            "db-1": self.boot(
                "db-1",
                tags=["red"],
                imageRef=self.other_image,
                description="the database",
                config_drive=True,
            ),
            "old.db": self.boot("old.db"),
        }
        cloud.settle()
        self.member.act(self.ids["old.db"], "os-stop")
        cloud.settle()

    def boot(self, name: str, **fields: Any) -> str:
        return self.project.boot(self.member, wait=False, name=name, **fields)

    def named(self, query: str, who: str = "member", version: str = "2.104") -> list[str]:
        """The names that a query finds, in their order."""
        found = Caller(self.cloud, version, who).get(f"/servers{query}")["servers"]
        return [each["name"] for each in found]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    cloud = make_cloud(tmp_path_factory.mktemp("lists"))
    yield Servers(cloud)
    cloud.close()


ALL = ["old.db", "db-1", "web-2", "web-1"]  # the newest first


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ALL),
        ("?name=web", ["web-2", "web-1"]),
        ("?name=^db", ["db-1"]),
        ("?name=b-1$", ["db-1", "web-1"]),
        ("?name=old.db", ["old.db"]),
        ("?name=none", []),
        ("?status=ACTIVE", ["db-1", "web-2", "web-1"]),
        ("?status=shutoff", ["old.db"]),
        ("?status=active&status=shutoff", ALL),
        ("?status=error", []),
        ("?tags=blue", ["web-2", "web-1"]),
        ("?tags=blue,front", ["web-1"]),
        ("?tags-any=front,red", ["db-1", "web-1"]),
        ("?not-tags=blue,front", ["old.db", "db-1", "web-2"]),
        ("?not-tags-any=blue,red", ["old.db"]),
        ("?locked=false", ALL),
        ("?locked=true", []),
        ("?vm_state=stopped", ["old.db"]),
        ("?power_state=4", ["old.db"]),
        ("?task_state=spawning", []),
        ("?config_drive=true", ["db-1"]),
        ("?sort_key=display_name&sort_dir=asc", ["db-1", "old.db", "web-1", "web-2"]),
        ("?sort_key=display_name&sort_dir=desc", ["web-2", "web-1", "old.db", "db-1"]),
        (
            "?sort_key=vm_state&sort_key=display_name&sort_dir=desc&sort_dir=asc",
            ["old.db", "db-1", "web-1", "web-2"],
        ),
        ("?limit=2", ALL[:2]),
        ("?limit=0", []),
        ("?limit=1000", ALL),
        ("?changes-since=2000-01-01T00:00:00Z", ALL),
        ("?changes-before=2000-01-01T00:00:00Z", []),
        ("?all_tenants=0", ALL),
    ],
)
def test_filters(servers: Servers, query: str, names: list[str]) -> None:
    found = servers.named(query)
    if "sort_key" in query or not query:
        assert found == names
    assert sorted(found) == sorted(names)


def test_filters_by_what_a_server_is_made_of(servers: Servers) -> None:
    assert servers.named(f"?flavor={servers.other_flavor}") == ["web-2"]
    assert servers.named(f"?image={servers.other_image}") == ["db-1"]
    assert servers.named("?flavor=none") == []
    assert servers.named("?metadata=" + quote('{"role": "web"}')) == ["web-1"]
    assert servers.named("?metadata=" + quote('{"role": "w"}')) == []
    shown = servers.member.get(f"/servers/{servers.ids['web-1']}")["server"]
    address = shown["addresses"]["inside"][0]["addr"]
    assert servers.named("?ip=" + quote(f"^{address}$")) == ["web-1"]
    assert sorted(servers.named("?ip=10.0.")) == sorted(ALL)
    assert servers.named("?ip6=fe80") == []


def test_filters_for_administrators_only(servers: Servers) -> None:
    host = servers.project.show(servers.ids["db-1"])["OS-EXT-SRV-ATTR:host"]
    assert "db-1" in servers.named(f"?all_tenants=1&host={host}", "admin")
    assert servers.named("?all_tenants=1&host=none", "admin") == []
    assert servers.named("?host=none") == ALL  # ignored
    project_id = servers.cloud.user("member").project_id
    assert servers.named(f"?all_tenants=1&project_id={project_id}", "admin") == ALL
    assert servers.named(f"?tenant_id={project_id}", "admin") == []
    assert servers.named("?all_tenants=1&description=database", "admin") == ["db-1"]
    assert servers.named(f"?all_tenants=1&uuid={servers.ids['web-2']}", "admin") == ["web-2"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?limit=-1", 400),
        ("?limit=x", 400),
        ("?marker=none", 400),
        ("?sort_key=color", 400),
        ("?sort_dir=up", 400),
        ("?color=red", 400),
        ("?status=odd", 400),
        ("?name=a(", 400),
        ("?name=" + quote("(a+)+$"), 400),
        ("?changes-since=yesterday", 400),
        ("?changes-since=2020-01-02T00:00:00Z&changes-before=2020-01-01T00:00:00Z", 400),
        ("?locked=maybe", 400),
        ("?power_state=x", 400),
        ("?metadata=x", 400),
        ("?status=deleted", 403),
        ("?all_tenants=1", 403),
        ("?all_tenants=maybe", 400),
    ],
)
def test_queries_that_are_refused(servers: Servers, query: str, status: int) -> None:
    assert servers.member.call("GET", f"/servers{query}").status_code == status
    assert servers.member.call("GET", f"/servers/detail{query}").status_code == status


def test_old_versions_ignore_what_they_do_not_know(servers: Servers) -> None:
    assert servers.named("?color=red", version="2.74") == ALL
    assert servers.named("?status=odd", version="2.37") == []
    assert servers.named("?tags=blue", version="2.25") == ALL
    assert servers.named("?vm_state=stopped", version="2.82") == ALL


def test_pages_are_linked(servers: Servers) -> None:
    found, url = [], "/servers/detail?limit=1&sort_key=display_name&sort_dir=asc"
    for _ in range(5):
        page = servers.member.get(url)
        found += [each["name"] for each in page["servers"]]
        if "servers_links" not in page:
            break
        [link] = page["servers_links"]
        assert link["rel"] == "next"
        parts = urlsplit(link["href"])
        url = parts.path.removeprefix("/compute/v2.1") + "?" + parts.query
    assert found == ["db-1", "old.db", "web-1", "web-2"]


def test_deleted_servers_are_told_by_changes_since(servers: Servers) -> None:
    before = clock.iso_micros_z(clock.now())
    gone = servers.project.boot(servers.member, name="gone")
    servers.project.free(gone)
    assert "gone" not in servers.named("")
    changed = servers.member.get(f"/servers/detail?changes-since={before}")["servers"]
    told = {each["id"]: each["status"] for each in changed}
    assert told[gone] == "DELETED"
    listed = Caller(servers.cloud, who="admin").get("/servers/detail?all_tenants=1&deleted=true")[
        "servers"
    ]
    [shown] = [each for each in listed if each["id"] == gone]
    assert shown["OS-SRV-USG:terminated_at"]
    assert shown["OS-EXT-STS:vm_state"] == "deleted"


def test_several_servers_by_one_request(servers: Servers) -> None:
    body = servers.project.body(
        servers.member, name="many", min_count=2, max_count=3, return_reservation_id=True
    )
    made = servers.member.post("/servers", body, 202)
    assert list(made) == ["reservation_id"]
    servers.cloud.settle()
    found = Caller(servers.cloud, who="admin").get(
        f"/servers/detail?all_tenants=1&reservation_id={made['reservation_id']}"
    )["servers"]
    assert sorted(each["name"] for each in found) == ["many-1", "many-2", "many-3"]
    assert sorted(each["OS-EXT-SRV-ATTR:hostname"] for each in found) == [
        "many-1",
        "many-2",
        "many-3",
    ]
    assert sorted(each["OS-EXT-SRV-ATTR:launch_index"] for each in found) == [0, 1, 2]
    assert {each["status"] for each in found} == {"ACTIVE"}
    servers.project.free(*(each["id"] for each in found))


@pytest.mark.parametrize(
    ("name", "hostname"),
    [
        ("Web Server_1", "web-server-1"),
        ("x" * 80, "x" * 63),
        ("-a.b-", "a-b"),
        ("\u4e2d\u6587", None),
    ],
)
def test_host_names_are_made_of_names(servers: Servers, name: str, hostname: str | None) -> None:
    server_id = servers.project.boot(servers.member, name=name, wait=False)
    shown = servers.project.show(server_id, who="member")
    assert shown["name"] == name
    assert shown["OS-EXT-SRV-ATTR:hostname"] == (hostname or f"Server-{server_id}")
    servers.project.free(server_id)


def test_access_addresses_are_spelled_canonically(servers: Servers) -> None:
    server_id = servers.ids["web-1"]
    changed = servers.member.put(
        f"/servers/{server_id}",
        {"server": {"accessIPv6": "0000:0000:0000:0000:0000:babe:220.12.22.2"}},
    )
    assert changed["server"]["accessIPv6"] == "::babe:dc0c:1602"


def test_paths_with_the_project_and_the_version_2(servers: Servers) -> None:
    client, project_id = servers.member.client, servers.cloud.user("member").project_id
    for prefix in (f"/compute/v2.1/{project_id}", "/compute/v2", f"/compute/v2/{project_id}"):
        listed = client.get(f"{prefix}/servers")
        assert listed.status_code == 200
        [link, _] = listed.json()["servers"][0]["links"]
        assert link["href"].startswith(f"http://cloud.test{prefix}/servers/")
    assert client.get("/compute/v2.1/no-such-noun").status_code == 404


def test_versions_are_negotiated(servers: Servers) -> None:
    client = servers.cloud.client("member")
    for headers, version in (
        ({}, "2.1"),
        ({"OpenStack-API-Version": "compute 2.50"}, "2.50"),
        ({"X-OpenStack-Nova-API-Version": "2.60"}, "2.60"),
        ({"OpenStack-API-Version": "compute latest"}, "2.104"),
        ({"OpenStack-API-Version": "volume 3.1"}, "2.1"),
    ):
        answer = client.get("/compute/v2.1/servers", headers=headers)
        assert answer.headers["OpenStack-API-Version"] == f"compute {version}"
        assert answer.headers["X-OpenStack-Nova-API-Version"] == version
        assert "OpenStack-API-Version" in answer.headers["Vary"]
    for asked, status in (("2.105", 406), ("3.0", 406), ("two", 400), ("2", 400)):
        answer = client.get(
            "/compute/v2.1/servers", headers={"OpenStack-API-Version": f"compute {asked}"}
        )
        assert answer.status_code == status
    root = servers.cloud.client(None).get("/compute/").json()["versions"]
    assert [(each["id"], each["version"]) for each in root] == [("v2.0", ""), ("v2.1", "2.104")]
