"""Domains and projects: the tree, what it refuses, tags, filters and pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.cloud import TestedCloud, make_cloud
from tests.identity_calls import change, make

V3 = "/identity/v3"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(
        tmp_path_factory.mktemp("identity"),
        services=("identity",),
        hosts=(),
        options={"limits.page_size": 30},
    )
    yield tested
    tested.close()


@pytest.fixture(scope="module")
def admin(cloud: TestedCloud) -> httpx.Client:
    return cloud.client("admin")


def names(admin: httpx.Client, noun: str, query: str) -> list[str]:
    answer = admin.get(f"{V3}/{noun}s?{query}")
    assert answer.status_code == 200, answer.text
    return sorted(each["name"] for each in answer.json()[f"{noun}s"])


# --- Where a project goes ---------------------------------------------------------------------


def test_a_project_without_a_domain_goes_where_the_token_is_scoped(cloud, admin):
    assert make(admin, "project", name="by-project")["domain_id"] == "default"
    domain = make(admin, "domain", name="by-domain")
    found = make(cloud.client("domain_admin"), "project", name="by-domain-token")
    assert found["domain_id"] == "default"
    assert found["parent_id"] == "default"
    found = make(cloud.client("system_admin"), "project", name="by-system")
    assert found["domain_id"] == "default"
    assert (
        make(cloud.client("system_admin"), "project", name="x", domain_id=domain["id"])["domain_id"]
        == domain["id"]
    )


def test_a_parent_decides_the_domain(admin):
    domain = make(admin, "domain", name="parental")
    top = make(admin, "project", name="top", domain_id=domain["id"])
    below = make(admin, "project", name="below", parent_id=top["id"])
    assert below["domain_id"] == domain["id"]
    error = make(admin, "project", 400, name="x", parent_id=top["id"], domain_id="default")
    assert domain["id"] in error["message"]
    assert make(admin, "project", 404, name="x", parent_id="nothing")
    assert make(admin, "project", 404, name="x", domain_id="nothing")


def test_projects_nest_five_deep(admin):
    parent = "default"
    for depth in range(5):
        parent = make(admin, "project", name=f"deep-{depth}", parent_id=parent)["id"]
    assert "deep" in make(admin, "project", 403, name="deeper", parent_id=parent)["message"]


def test_a_project_does_not_move(admin):
    one, other = (make(admin, "project", name=f"still-{number}") for number in range(2))
    assert "parent_id" in change(admin, "project", one["id"], 403, parent_id=other["id"])["message"]
    assert "domain_id" in change(admin, "project", one["id"], 400, domain_id="other")["message"]
    assert "is_domain" in change(admin, "project", one["id"], 400, is_domain=True)["message"]
    same = change(admin, "project", one["id"], parent_id="default", domain_id="default")
    assert same["parent_id"] == "default"


def test_names_are_unique_in_their_domain(admin):
    domain = make(admin, "domain", name="unique")
    first = make(admin, "project", name="web", domain_id=domain["id"])
    second = make(admin, "project", name="db", domain_id=domain["id"])
    error = make(admin, "project", 409, name="web", domain_id=domain["id"])
    assert "web" in error["message"]
    assert first["id"] in error["message"]
    assert error["title"] == "Conflict"
    assert "web" in change(admin, "project", second["id"], 409, name="web")["message"]
    assert make(admin, "project", name="web")["name"] == "web"  # in another domain
    assert first["id"] not in make(admin, "domain", 409, name="unique")["message"]
    change(admin, "project", first["id"], name="web")  # its own name is no conflict


# --- Domains ------------------------------------------------------------------------------------


def test_a_project_that_acts_as_a_domain_is_one(admin):
    made = make(admin, "project", name="acting", is_domain=True)
    assert (made["domain_id"], made["parent_id"], made["is_domain"]) == (None, None, True)
    assert admin.get(f"{V3}/domains/{made['id']}").json()["domain"]["name"] == "acting"
    assert make(admin, "user", name="u", domain_id=made["id"])["domain_id"] == made["id"]
    assert "acting" in names(admin, "project", "is_domain=true")
    assert "acting" not in names(admin, "project", "limit=1000")
    assert (
        "domain_id"
        in make(admin, "project", 400, name="x", is_domain=True, domain_id="default")["message"]
    )


def test_a_domain_by_a_chosen_id(admin):
    assert make(admin, "domain", name="chosen", explicit_domain_id="chosen-id")["id"] == "chosen-id"
    assert (
        "chosen-id"
        in make(admin, "domain", 409, name="other", explicit_domain_id="chosen-id")["message"]
    )


def test_a_domain_takes_everything_along_but_only_when_disabled(cloud, admin):
    domain = make(admin, "domain", name="doomed")["id"]
    top = make(admin, "project", name="top", domain_id=domain)["id"]
    below = make(admin, "project", name="below", parent_id=top, tags=["t"])["id"]
    user = make(admin, "user", name="u", domain_id=domain, password="x")["id"]
    guest = make(admin, "user", name="guest-of-doomed", default_project_id=below)["id"]
    group = make(admin, "group", name="g", domain_id=domain)["id"]
    role = make(admin, "role", name="r", domain_id=domain)["id"]
    plain = make(admin, "role", name="held-in-doomed")["id"]
    admin.put(f"{V3}/groups/{group}/users/{user}")
    for path in (
        f"projects/{below}/users/{guest}",
        f"domains/{domain}/groups/{group}",
        f"projects/{top}/users/{user}",
    ):
        assert admin.put(f"{V3}/{path}/roles/{plain}").status_code == 204
    admin.put(f"{V3}/projects/{top}/users/{user}/roles/{role}")
    assert admin.delete(f"{V3}/domains/{domain}").status_code == 403
    change(admin, "domain", domain, enabled=False)
    assert admin.delete(f"{V3}/domains/{domain}").status_code == 204
    for path in (
        f"projects/{top}",
        f"projects/{below}",
        f"users/{user}",
        f"groups/{group}",
        f"roles/{role}",
        f"domains/{domain}",
    ):
        assert admin.get(f"{V3}/{path}").status_code == 404, path
    assert "default_project_id" not in admin.get(f"{V3}/users/{guest}").json()["user"]
    assert admin.get(f"{V3}/role_assignments?user.id={guest}").json()["role_assignments"] == []
    assert cloud.cloud.services["identity"].check(cloud.cloud) == []


# --- Enabled, immutable, deleted --------------------------------------------------------------


def test_a_project_is_disabled_from_the_leaves_up(admin):
    top = make(admin, "project", name="tree")["id"]
    leaf = make(admin, "project", name="leaf", parent_id=top)["id"]
    assert "below" in change(admin, "project", top, 403, enabled=False)["message"]
    assert change(admin, "project", leaf, enabled=False)["enabled"] is False
    assert change(admin, "project", top, enabled="false")["enabled"] is False
    assert "disabled" in change(admin, "project", leaf, 403, enabled=True)["message"]
    assert "disabled" in make(admin, "project", 400, name="x", parent_id=top)["message"]


def test_a_project_goes_only_without_children(admin):
    top = make(admin, "project", name="with-child")["id"]
    child = make(admin, "project", name="child-of-it", parent_id=top)["id"]
    refused = admin.delete(f"{V3}/projects/{top}")
    assert refused.status_code == 403
    assert child in refused.text
    assert admin.delete(f"{V3}/projects/{child}").status_code == 204
    assert admin.delete(f"{V3}/projects/{top}").status_code == 204


@pytest.mark.parametrize("noun", ["project", "domain", "role"])
def test_an_immutable_thing_stays_as_it_is(admin, noun):
    made = make(admin, noun, name=f"fixed-{noun}", options={"immutable": True})
    assert made["options"] == {"immutable": True}
    assert "immutable" in change(admin, noun, made["id"], 403, name="other")["message"]
    assert admin.delete(f"{V3}/{noun}s/{made['id']}").status_code == 403
    freed = change(admin, noun, made["id"], options={"immutable": None})
    assert freed["options"] == {}
    assert change(admin, noun, made["id"], name=f"other-{noun}")["name"] == f"other-{noun}"


def test_the_roles_of_the_beginning_are_immutable(admin):
    for role in admin.get(f"{V3}/roles").json()["roles"]:
        if role["name"] in ("admin", "manager", "member", "reader", "service"):
            assert admin.delete(f"{V3}/roles/{role['id']}").status_code == 403


# --- The tree as it is shown ------------------------------------------------------------------


def test_parents_and_subtree(admin):
    ids = ["default"]
    for depth in range(3):
        ids.append(make(admin, "project", name=f"shown-{depth}", parent_id=ids[-1])["id"])
    _, top, middle, leaf = ids

    def show(query: str) -> Any:
        answer = admin.get(f"{V3}/projects/{middle}?{query}")
        return answer.json().get("project", answer.status_code)

    assert [each["project"]["id"] for each in show("parents_as_list")["parents"]] == [top]
    assert [each["project"]["id"] for each in show("subtree_as_list")["subtree"]] == [leaf]
    assert show("parents_as_ids")["parents"] == {top: {"default": None}}
    assert show("subtree_as_ids")["subtree"] == {leaf: None}
    assert show("parents_as_list&parents_as_ids") == 400
    assert show("subtree_as_list&subtree_as_ids") == 400
    assert admin.get(f"{V3}/projects/{leaf}?subtree_as_ids").json()["project"]["subtree"] is None


def test_a_member_sees_only_relatives_they_belong_to(cloud, admin):
    own = cloud.user("member").project_id
    child = make(admin, "project", name="child-of-one", parent_id=own)["id"]
    shown = cloud.client("member").get(f"{V3}/projects/{own}?subtree_as_list").json()["project"]
    assert shown["subtree"] == []
    role = admin.get(f"{V3}/roles?name=reader").json()["roles"][0]["id"]
    admin.put(f"{V3}/projects/{child}/users/{cloud.user('member').user_id}/roles/{role}")
    shown = cloud.client("member").get(f"{V3}/projects/{own}?subtree_as_list").json()["project"]
    assert [each["project"]["id"] for each in shown["subtree"]] == [child]


# --- Lists --------------------------------------------------------------------------------------


def test_tags_filter_projects(admin):
    for name, tags in (("t-ab", ["a", "b"]), ("t-b", ["b"]), ("t-c", ["c"])):
        make(admin, "project", name=name, tags=tags)

    def tagged(query: str) -> list[str]:
        return names(admin, "project", f"{query}&name__startswith=t-")

    assert tagged("tags=a,b") == ["t-ab"]
    assert tagged("tags=b") == ["t-ab", "t-b"]
    assert tagged("tags-any=a,c") == ["t-ab", "t-c"]
    assert tagged("not-tags=a,b") == ["t-b", "t-c"]
    assert tagged("not-tags-any=a,c") == ["t-b"]


@pytest.mark.parametrize("tag", ["with/slash", "with,comma", "", "x" * 256])
def test_a_bad_tag_is_refused(admin, tag):
    project = admin.get(f"{V3}/projects?name=admin").json()["projects"][0]["id"]
    answer = admin.put(f"{V3}/projects/{project}/tags", json={"tags": [tag]})
    assert answer.status_code == 400
    assert admin.put(f"{V3}/projects/{project}/tags", json={"tags": ["x", "x"]}).status_code == 400
    for spelled in ("a%2Fb", "a%2Cb", "x" * 256):
        assert admin.put(f"{V3}/projects/{project}/tags/{spelled}").status_code == 400


def test_comparisons(admin):
    domain = make(admin, "domain", name="comparing")["id"]
    for name in ("Web-1", "web-2", "100%_sure", "db"):
        make(admin, "project", name=name, domain_id=domain)

    def found(query: str) -> list[str]:
        return names(admin, "project", f"domain_id={domain}&{query}")

    assert found("name__contains=eb-") == ["Web-1", "web-2"]
    assert found("name__startswith=web") == ["web-2"]
    assert found("name__istartswith=WEB") == ["Web-1", "web-2"]
    assert found("name__endswith=2") == ["web-2"]
    assert found("name__iendswith=SURE") == ["100%_sure"]
    assert found("name__contains=%") == ["100%_sure"]
    assert found("name__contains=_") == ["100%_sure"]
    assert found("name__iequals=DB") == ["db"]
    assert found("name__equals=DB") == []
    assert found("name=db") == ["db"]
    assert admin.get(f"{V3}/projects?name__like=x").status_code == 400


def test_filters_by_place_and_state(admin):
    domain = make(admin, "domain", name="filtering", enabled=True)["id"]
    top = make(admin, "project", name="f-top", domain_id=domain)["id"]
    make(admin, "project", name="f-below", parent_id=top)
    make(admin, "project", name="f-off", domain_id=domain, enabled=False)
    assert names(admin, "project", f"parent_id={top}") == ["f-below"]
    assert names(admin, "project", f"domain_id={domain}&enabled=false") == ["f-off"]
    assert names(admin, "project", f"domain_id={domain}&enabled") == ["f-below", "f-top"]
    assert "filtering" in names(admin, "domain", "enabled=1&limit=1000")
    assert admin.get(f"{V3}/projects?enabled=perhaps").status_code == 400


def test_pages(admin):
    domain = make(admin, "domain", name="paging")["id"]
    for number in range(7):
        make(admin, "project", name=f"page-{number}", domain_id=domain)
    seen, url = [], f"{V3}/projects?domain_id={domain}&limit=3"
    sizes = []
    while url:
        page = admin.get(url).json()
        sizes.append(len(page["projects"]))
        seen += [each["name"] for each in page["projects"]]
        assert "truncated" not in page
        url = page["links"]["next"]
    assert sizes == [3, 3, 1]
    assert sorted(seen) == [f"page-{number}" for number in range(7)]
    assert admin.get(f"{V3}/projects?limit=-1").status_code == 400
    assert admin.get(f"{V3}/projects?limit=x").status_code == 400
    assert admin.get(f"{V3}/projects?marker=nothing").status_code == 400


def test_a_list_that_was_cut_says_so(admin):
    domain = make(admin, "domain", name="many")["id"]
    for number in range(31):
        make(admin, "group", name=f"g-{number}", domain_id=domain)
    page = admin.get(f"{V3}/groups?domain_id={domain}").json()
    assert len(page["groups"]) == 30
    assert page["truncated"] is True
    rest = admin.get(page["links"]["next"]).json()
    assert len(rest["groups"]) == 1
    assert "truncated" not in rest


def test_sorting(admin):
    domain = make(admin, "domain", name="sorting")["id"]
    for name in ("b", "c", "a"):
        make(admin, "user", name=name, domain_id=domain)
    url = f"{V3}/users?domain_id={domain}&sort_key=name&sort_dir="
    assert [each["name"] for each in admin.get(url + "asc").json()["users"]] == ["a", "b", "c"]
    assert [each["name"] for each in admin.get(url + "desc").json()["users"]] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("noun", "values", "field"),
    [
        ("project", {}, "name"),
        ("project", {"name": ""}, "name"),
        ("project", {"name": " "}, "name"),
        ("project", {"name": "x" * 65}, "name"),
        ("project", {"name": 7}, "name"),
        ("project", {"name": "x", "enabled": "perhaps"}, "enabled"),
        ("project", {"name": "x", "options": {"colour": "red"}}, "options"),
        ("domain", {"name": "x" * 65}, "name"),
        ("domain", {"name": "x", "enabled": 7}, "enabled"),
        ("user", {"name": "x" * 256}, "name"),
        ("user", {"name": "x", "password": 7}, "password"),
        ("user", {"name": "x", "options": {"unknown": True}}, "options"),
        ("group", {"name": ""}, "name"),
        ("role", {"name": ""}, "name"),
        ("service", {"name": "x"}, "type"),
        ("service", {"type": "x", "enabled": "true"}, "enabled"),
        ("endpoint", {"interface": "public", "url": "http://x"}, "service_id"),
        ("region", {"id": "x" * 256}, "id"),
    ],
)
def test_bad_bodies_name_the_field(admin, noun, values, field):
    error = make(admin, noun, 400, **values)
    assert field in error["message"], error


def test_a_body_must_be_there_and_be_an_object(admin):
    assert admin.post(f"{V3}/projects").status_code == 400
    assert admin.post(f"{V3}/projects", json=[]).status_code == 400
    assert admin.post(f"{V3}/projects", json={"user": {}}).status_code == 400
    assert (
        admin.post(
            f"{V3}/projects", content=b"{", headers={"Content-Type": "application/json"}
        ).status_code
        == 400
    )
