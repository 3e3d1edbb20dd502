"""Networks: what may be asked, what is answered, what is refused, and who sees what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.network_world import NetworkWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NetworkWorld]:
    made = NetworkWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkWorld]:
    """One world for tests that leave nothing behind."""
    made = NetworkWorld(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


def test_a_new_network_is_complete(world: NetworkWorld) -> None:
    made = world.create("network", name="blue", description="sky", tags=["a", "b"])
    assert world.show("network", made["id"]) == made
    assert (made["name"], made["description"], made["tags"]) == ("blue", "sky", ["a", "b"])
    assert made["status"] == "ACTIVE"
    assert made["admin_state_up"] is True
    assert made["mtu"] == 1450
    assert made["revision_number"] == 1
    assert made["project_id"] == made["tenant_id"] == world.project()
    assert "provider:network_type" not in made


def test_operators_see_what_carries_a_network(world: NetworkWorld) -> None:
    made = world.create("network")
    seen = world.show("network", made["id"], "admin")
    assert seen["provider:network_type"] == "vxlan"
    assert seen["provider:physical_network"] is None
    assert 1 <= seen["provider:segmentation_id"] < 2**24


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"provider:network_type": "vlan"}, "InvalidInput"),
        ({"provider:network_type": "flat"}, "InvalidInput"),
        ({"provider:network_type": "flat", "provider:physical_network": "moon"}, "InvalidInput"),
        (
            {
                "provider:network_type": "flat",
                "provider:physical_network": "external",
                "provider:segmentation_id": 5,
            },
            "InvalidInput",
        ),
        (
            {"provider:network_type": "local", "provider:physical_network": "external"},
            "InvalidInput",
        ),
        ({"provider:network_type": "vxlan", "provider:segmentation_id": 2**24}, "InvalidInput"),
        ({"provider:segmentation_id": 7}, "InvalidInput"),
        ({"mtu": 9000}, "InvalidInput"),
        ({"mtu": 20}, "InvalidInput"),
        ({"mtu": "wide"}, "HTTPBadRequest"),
        ({"colour": "blue"}, "HTTPBadRequest"),
        ({"name": None}, "HTTPBadRequest"),
        ({"name": "x" * 256}, "HTTPBadRequest"),
        ({"id": "mine"}, "HTTPBadRequest"),
        ({"status": "DOWN"}, "HTTPBadRequest"),
    ],
)
def test_nonsense_is_refused(shared: NetworkWorld, values: dict[str, object], kind: str) -> None:
    said = shared.cannot_create(400, kind, "network", "admin", **values)
    assert any(str(name).rpartition(":")[2].split("_")[0] in said.lower() for name in values), said


def test_segments_are_nobodys_twice(world: NetworkWorld) -> None:
    world.create(
        "network", "admin", **{"provider:network_type": "vxlan", "provider:segmentation_id": 4711}
    )
    world.cannot_create(
        409,
        "TunnelIdInUse",
        "network",
        "admin",
        **{"provider:network_type": "vxlan", "provider:segmentation_id": 4711},
    )
    world.external()
    world.cannot_create(
        409,
        "FlatNetworkInUse",
        "network",
        "admin",
        **{"provider:network_type": "flat", "provider:physical_network": "external"},
    )


def test_no_segment_left_is_said(tmp_path: Path) -> None:
    world = NetworkWorld(tmp_path, options={"network.vni_range": [5, 6]})
    try:
        for _ in range(2):
            world.create("network")
        world.cannot_create(503, "NoNetworkAvailable", "network")
    finally:
        world.close()


def test_unknown_zones_are_refused(world: NetworkWorld) -> None:
    world.cannot_create(
        404, "AvailabilityZoneNotFound", "network", availability_zone_hints=["mars"]
    )
    made = world.create("network", availability_zone_hints=["nova"])
    assert made["availability_zone_hints"] == ["nova"]
    assert made["availability_zones"] == []
    world.subnet(network=made["id"])
    assert world.show("network", made["id"])["availability_zones"] == ["nova"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shared", True),
        ("router:external", True),
        ("is_default", True),
        ("provider:network_type", "vxlan"),
        ("provider:physical_network", "x"),
        ("provider:segmentation_id", 5),
    ],
)
def test_attributes_of_operators_are_theirs(shared: NetworkWorld, name: str, value: object) -> None:
    said = shared.cannot_create(403, "PolicyNotAuthorized", "network", **{name: value})
    assert f"create_network:{name}" in said
    made = shared.create("network")
    said = shared.cannot_update(403, "PolicyNotAuthorized", "network", made["id"], **{name: value})
    assert f"update_network:{name}" in said


def test_default_values_of_those_attributes_need_no_right(world: NetworkWorld) -> None:
    world.create(
        "network", shared=False, **{"router:external": False, "provider:network_type": None}
    )


def test_several_are_created_together_or_none(world: NetworkWorld) -> None:
    made = world.ok("POST", "/networks", json={"networks": [{"name": "a"}, {"name": "b"}]})
    assert [each["name"] for each in made["networks"]] == ["a", "b"]
    world.refused(
        400, "HTTPBadRequest", "POST", "/networks", json={"networks": [{"name": "c"}, {"name": 5}]}
    )
    assert {each["name"] for each in world.list("network")} == {"a", "b"}
    for body in ({"networks": []}, {"network": []}, {}, [], {"network": {}, "x": 1}, "text"):
        world.refused(400, "HTTPBadRequest", "POST", "/networks", json=body)


def test_an_update_counts_and_if_match_holds_it(world: NetworkWorld) -> None:
    made = world.create("network")
    changed = world.update("network", made["id"], name="new", mtu=1400)
    assert (changed["name"], changed["mtu"], changed["revision_number"]) == ("new", 1400, 2)
    path = f"/networks/{made['id']}"
    said = world.refused(
        412,
        "RevisionNumberConstraintFailed",
        "PUT",
        path,
        json={"network": {"name": "x"}},
        headers={"If-Match": "revision_number=1"},
    )
    assert "current revision is 2" in said
    world.refused(
        412,
        "RevisionNumberConstraintFailed",
        "DELETE",
        path,
        headers={"If-Match": "revision_number=1"},
    )
    world.refused(400, "HTTPBadRequest", "DELETE", path, headers={"If-Match": "etag"})
    world.ok("DELETE", path, headers={"If-Match": "revision_number=2"})


def test_carriers_cannot_be_changed(world: NetworkWorld) -> None:
    made = world.create("network")
    world.cannot_update(
        400, "InvalidInput", "network", made["id"], "admin", **{"provider:segmentation_id": 99}
    )
    world.cannot_update(400, "HTTPBadRequest", "network", made["id"], project_id="other")


def test_a_network_in_use_stays_and_takes_its_own_with_it(world: NetworkWorld) -> None:
    inside = world.subnet()
    network_id = inside["network_id"]
    port = world.create("port", network_id=network_id)
    said = world.refused(409, "NetworkInUse", "DELETE", f"/networks/{network_id}")
    assert port["id"] in said
    world.delete("port", port["id"])
    world.delete("network", network_id)  # its DHCP port and subnet go with it
    world.refused(404, "SubnetNotFound", "GET", f"/subnets/{inside['id']}")
    assert world.list("port", caller="admin") == []
    world.refused(404, "NetworkNotFound", "GET", f"/networks/{network_id}")
    world.refused(404, "NetworkNotFound", "DELETE", f"/networks/{network_id}")


# --- Visibility ------------------------------------------------------------------------------


def test_others_networks_do_not_exist(world: NetworkWorld) -> None:
    made = world.create("network")
    path = f"/networks/{made['id']}"
    for method, body in (("GET", None), ("PUT", {"network": {"name": "x"}}), ("DELETE", None)):
        world.refused(404, "NetworkNotFound", method, path, "stranger", json=body)
    assert world.list("network", caller="stranger") == []
    assert world.list("network", f"?id={made['id']}", caller="stranger") == []
    for call in ("member", "reader", "manager", "admin", "admin_of_one"):
        assert world.show("network", made["id"], call)["id"] == made["id"]


def test_readers_may_not_change(world: NetworkWorld) -> None:
    made = world.create("network")
    assert "create_network" in world.cannot_create(403, "PolicyNotAuthorized", "network", "reader")
    world.cannot_update(403, "PolicyNotAuthorized", "network", made["id"], "reader", name="x")
    world.refused(403, "PolicyNotAuthorized", "DELETE", f"/networks/{made['id']}", "reader")


def test_tokens_of_other_scopes_are_refused(world: NetworkWorld) -> None:
    """But for monitors, who may read: readers of the system (docs/operating/personas.md)."""
    world.refused(403, "PolicyNotAuthorized", "GET", "/networks", "domain_admin")
    made = world.create("network", "member", name="seen")
    assert [each["id"] for each in world.list("network", caller="system_admin")] == [made["id"]]
    path, body = f"/networks/{made['id']}", {"network": {"name": "x"}}
    for caller in ("system_admin", "domain_admin"):
        world.refused(403, "PolicyNotAuthorized", "POST", "/networks", caller, json=body)
    world.cannot_update(403, "PolicyNotAuthorized", "network", made["id"], "system_admin", name="x")
    world.refused(403, "PolicyNotAuthorized", "DELETE", path, "system_admin")
    answer = world.call("GET", "/networks", None)
    assert answer.status_code == 401


def test_shared_and_external_networks_are_seen_by_all_but_changed_by_none(
    world: NetworkWorld,
) -> None:
    shared = world.create("network", "admin", name="shared", shared=True)
    outside = world.external()
    for caller in ("member", "stranger"):
        assert {each["name"] for each in world.list("network", caller=caller)} == {
            "shared",
            "public",
        }
        assert world.show("network", shared["id"], caller)["shared"] is True
        assert world.show("network", outside["id"], caller)["router:external"] is True
        world.cannot_update(403, "PolicyNotAuthorized", "network", shared["id"], caller, name="x")
        world.refused(403, "PolicyNotAuthorized", "DELETE", f"/networks/{outside['id']}", caller)
        assert [each["network_id"] for each in world.list("subnet", caller=caller)] == [
            outside["id"]
        ]


def test_sharing_ends_when_nobody_else_uses_it(world: NetworkWorld) -> None:
    shared = world.create("network", "admin", shared=True)
    port = world.create("port", network_id=shared["id"])
    world.cannot_update(409, "InvalidSharedSetting", "network", shared["id"], "admin", shared=False)
    world.delete("port", port["id"])
    world.update("network", shared["id"], "admin", shared=False)
    world.refused(404, "NetworkNotFound", "GET", f"/networks/{shared['id']}")


def test_an_external_network_in_use_stays_external(world: NetworkWorld) -> None:
    found = world.routed()
    outside = found["external"]["id"]
    world.cannot_update(
        409, "ExternalNetworkInUse", "network", outside, "admin", **{"router:external": False}
    )
    world.refused(409, "NetworkInUse", "DELETE", f"/networks/{outside}", "admin")


def test_there_is_one_default_external_network(world: NetworkWorld) -> None:
    first = world.create("network", "admin", is_default=True, **{"router:external": True})
    said = world.cannot_create(
        409,
        "DefaultExternalNetworkExists",
        "network",
        "admin",
        is_default=True,
        **{"router:external": True},
    )
    assert first["id"] in said
    world.cannot_create(400, "InvalidInput", "network", "admin", is_default=True)


def test_operators_create_for_others(world: NetworkWorld) -> None:
    made = world.create("network", "admin", tenant_id=world.project())
    assert world.show("network", made["id"])["project_id"] == world.project()
    said = world.cannot_create(400, "HTTPBadRequest", "network", tenant_id="elsewhere")
    assert "admin" in said
    world.cannot_create(400, "HTTPBadRequest", "network", "admin", tenant_id="a", project_id="b")


# --- Lists -----------------------------------------------------------------------------------


def test_lists_are_filtered(world: NetworkWorld) -> None:
    for name in ("a", "b", ""):
        world.create("network", name=name)
    world.create("network", "stranger", name="a")

    def names(query: str, caller: str = "member") -> list[str]:
        return sorted(each["name"] for each in world.list("network", query, caller))

    assert names("?name=a") == ["a"]
    assert names("?name=a&name=b") == ["a", "b"]
    assert names("?name=") == [""]
    assert names("?admin_state_up=false") == []
    assert names("?admin_state_up=True&name=b") == ["b"]
    assert names("?status=ACTIVE&name=b") == ["b"]
    assert names("?status=DOWN") == []
    assert names(f"?project_id={world.project()}", "admin") == ["", "a", "b"]
    assert names(f"?tenant_id={world.project('stranger')}", "admin") == ["a"]
    assert names("?shared=true") == []
    assert names("?router:external=false") == ["", "a", "b"]
    assert names("?provider:network_type=vxlan&name=a", "admin") == ["a", "a"]
    said = world.refused(400, "HTTPBadRequest", "GET", "/networks?colour=blue")
    assert "colour" in said


def test_lists_come_in_the_asked_order_and_form(world: NetworkWorld) -> None:
    for name in ("b", "c", "a"):
        world.create("network", name=name)
    found = world.list("network", "?sort_key=name&sort_dir=desc&fields=name&fields=mtu")
    assert found == [{"name": name, "mtu": 1450} for name in "cba"]
    assert world.show("network", world.list("network")[0]["id"])["name"] == "b"
    one = world.ok("GET", f"/networks/{world.list('network')[0]['id']}?fields=id,name")
    assert set(one["network"]) == {"id", "name"}
    world.refused(400, "HTTPBadRequest", "GET", "/networks?sort_key=colour")


def test_pages_lead_to_each_other(world: NetworkWorld) -> None:
    for name in "abcde":
        world.create("network", name=name)
    seen, path = [], "/networks?limit=2&sort_key=name"
    while path:
        answer = world.ok("GET", path)
        seen.append([each["name"] for each in answer["networks"]])
        links = {each["rel"]: each["href"] for each in answer.get("networks_links", [])}
        last = answer.get("networks_links", [])
        path = links.get("next", "").partition("/v2.0")[2]
    assert seen == [["a", "b"], ["c", "d"], ["e"]]
    back = next(each["href"] for each in last if each["rel"] == "previous")
    answer = world.ok("GET", back.partition("/v2.0")[2])
    assert [each["name"] for each in answer["networks"]] == ["c", "d"]
    world.refused(400, "HTTPBadRequest", "GET", "/networks?limit=-1")
    world.refused(400, "HTTPBadRequest", "GET", "/networks?marker=nobody")


def test_quota_counts_what_is_there(world: NetworkWorld) -> None:
    world.ok("PUT", f"/quotas/{world.project()}", "admin", json={"quota": {"network": 2}})
    first = world.create("network")
    world.create("network")
    said = world.cannot_create(409, "OverQuota", "network")
    assert "network" in said
    world.delete("network", first["id"])
    world.create("network")
    world.create("network", "stranger")


def test_tags(world: NetworkWorld) -> None:
    one, two = world.create("network", name="one"), world.create("network", name="two")
    place = f"/networks/{one['id']}/tags"
    assert world.call("PUT", f"{place}/red").status_code == 201
    assert world.ok("PUT", place, json={"tags": ["red", 'qu"ote']})["tags"] == ["red", 'qu"ote']
    assert world.ok("POST", place, json={"tags": ["blue"]})["tags"] == ["red", 'qu"ote', "blue"]
    world.ok("PUT", f"/networks/{two['id']}/tags", json={"tags": ["red", "re"]})
    assert world.call("GET", f"{place}/red").status_code == 204
    world.refused(404, "TagNotFound", "GET", f"{place}/r")

    def names(query: str) -> list[str]:
        return sorted(each["name"] for each in world.list("network", query))

    assert names("?tags=red") == ["one", "two"]
    assert names("?tags=red,blue") == ["one"]
    assert names("?tags-any=blue,re") == ["one", "two"]
    assert names("?not-tags=red,blue") == ["two"]
    assert names("?not-tags-any=blue,nothing") == ["two"]
    assert names("?tags=re") == ["two"]
    assert names("?tags=qu%22ote") == ["one"]
    assert world.call("DELETE", f"{place}/red").status_code == 204
    world.refused(404, "TagNotFound", "DELETE", f"{place}/red")
    assert world.call("DELETE", place).status_code == 204
    assert world.ok("GET", place) == {"tags": []}
    world.refused(404, "NetworkNotFound", "GET", place, "stranger")
    world.refused(403, "PolicyNotAuthorized", "PUT", f"{place}/x", "reader")
    world.refused(400, "HTTPBadRequest", "PUT", place, json={"tags": ["x" * 256]})
    world.refused(400, "HTTPBadRequest", "PUT", place, json={"tags": "x"})


def test_changes_of_a_time_on_are_found(world: NetworkWorld) -> None:
    world.create("network")
    assert len(world.list("network", "?changed_since=2020-01-01T00:00:00Z")) == 1
    assert world.list("network", "?changed_since=2120-01-01T00:00:00Z") == []
    world.refused(400, "InvalidInput", "GET", "/networks?changed_since=yesterday")


def test_booleans_and_numbers_may_come_as_text(world: NetworkWorld) -> None:
    made = world.create("network", admin_state_up="False", mtu="1400")
    assert (made["admin_state_up"], made["mtu"]) == (False, 1400)
