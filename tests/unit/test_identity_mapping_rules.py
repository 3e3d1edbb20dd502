"""The mapping language of federation: who somebody is by what their identity provider says."""

from __future__ import annotations

from typing import Any

import pytest

from nubelet.identity.federation import rules
from nubelet.identity.federation.rules import Mapped, MappedProject, Place
from nubelet.kernel.errors import BadRequest

BOB = {
    "UserName": "bob",
    "Email": "bob@example.org",
    "FirstName": "Bob",
    "LastName": "Builder",
    "kind": "Employee;Tester",
    "groups": "dev-a;dev-b;ops",
}


def mapped(*given: dict[str, Any], version: str = "1.0", **attributes: str) -> Mapped:
    checked = rules.check({"rules": list(given), "schema_version": version})
    return rules.evaluate("m", checked["rules"], version, rules.split(BOB | attributes))


def rule(*local: dict[str, Any], remote: list[dict[str, Any]]) -> dict[str, Any]:
    return {"local": list(local), "remote": remote}


def names(*types: str) -> list[dict[str, Any]]:
    return [{"type": each} for each in types]


def test_a_placeholder_stands_for_a_kept_value() -> None:
    local = {"user": {"name": "{0} {1}", "email": "{2}"}}
    found = mapped(rule(local, remote=names("FirstName", "LastName", "Email")))
    assert (found.name, found.email, found.is_local) == ("Bob Builder", "bob@example.org", False)


def test_conditions_that_only_ask_keep_no_value() -> None:
    remote = [{"type": "kind", "any_one_of": ["Employee"]}, *names("UserName")]
    assert mapped(rule({"user": {"name": "{0}"}}, remote=remote)).name == "bob"


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ({"any_one_of": ["Tester", "Boss"]}, True),
        ({"any_one_of": ["Boss"]}, False),
        ({"any_one_of": ["^Emp.*ee$"], "regex": True}, True),
        ({"any_one_of": ["^mp"], "regex": True}, False),
        ({"not_any_of": ["Boss"]}, True),
        ({"not_any_of": ["Boss", "Tester"]}, False),
        ({"not_any_of": ["Te"], "regex": True}, False),
        ({"any_one_of": []}, False),
        ({"not_any_of": []}, True),
    ],
)
def test_conditions(condition: dict[str, Any], fits: bool) -> None:
    remote = [*names("UserName"), {"type": "kind", **condition}]
    only = rule({"user": {"name": "{0}"}}, remote=remote)
    if fits:
        assert mapped(only).name == "bob"
    else:
        with pytest.raises(BadRequest, match="no rule of the mapping m fits"):
            mapped(only)


def test_an_attribute_that_is_not_there_fails_its_rule_also_with_not_any_of() -> None:
    remote = [{"type": "absent", "not_any_of": ["x"]}]
    with pytest.raises(BadRequest):
        mapped(rule({"user": {"name": "bob"}}, remote=remote))


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ({"whitelist": ["ops", "dev-a", "unknown"]}, ["dev-a", "ops"]),
        ({"blacklist": ["ops"]}, ["dev-a", "dev-b"]),
        ({"whitelist": ["^dev-"], "regex": True}, ["dev-a", "dev-b"]),
        ({"blacklist": ["^dev-"], "regex": True}, ["ops"]),
        ({"whitelist": ["none"]}, []),
        ({}, ["dev-a", "dev-b", "ops"]),
    ],
)
def test_lists_of_groups(condition: dict[str, Any], kept: list[str]) -> None:
    remote = [*names("UserName"), {"type": "groups", **condition}]
    local = {"user": {"name": "{0}"}, "groups": "{1}", "domain": {"name": "Default"}}
    found = mapped(rule(local, remote=remote))
    assert found.groups == [(name, Place(name="Default")) for name in kept]


def test_group_ids_of_the_assertion_and_of_the_mapping() -> None:
    local = [{"group_ids": "{0}"}, {"group_ids": "['x', 'y']"}, {"group": {"id": "z"}}]
    found = mapped(rule({"user": {"name": "bob"}}, *local, remote=names("groups")))
    assert found.group_ids == ["dev-a", "dev-b", "ops", "x", "y", "z"]


def test_a_value_that_looks_like_a_list_is_one_name() -> None:
    """Whoever chooses their own attributes must not choose their groups."""
    found = mapped(rule({"group_ids": "{0}"}, remote=names("Email")), Email="['admins', 'x']")
    assert found.group_ids == ["['admins', 'x']"]


def test_placeholders_in_values_stay_as_they_are() -> None:
    found = mapped(
        rule({"user": {"name": "{0}"}}, remote=names("UserName", "Email")), UserName="{1}"
    )
    assert found.name == "{1}"


def test_groups_of_another_cloud_name_their_domain() -> None:
    text = 'JSON:{"name":"ops","domain":{"name":"Default"}}'
    found = mapped(rule({"groups": "{0}"}, remote=names("groups")), groups=text)
    assert found.groups == [("ops", Place(name="Default"))]


@pytest.mark.parametrize("text", ["JSON:{", "JSON:[]", 'JSON:{"name":1}', "plain"])
def test_groups_without_a_domain_are_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        mapped(rule({"groups": "{0}"}, remote=names("groups")), groups=text)


def test_all_rules_that_fit_add_up_and_the_first_user_counts() -> None:
    found = mapped(
        rule({"user": {"name": "{0}"}}, {"group": {"id": "a"}}, remote=names("UserName")),
        rule({"user": {"name": "other"}, "group": {"id": "b"}}, remote=names("kind")),
        rule({"group": {"id": "c"}}, remote=names("absent")),
    )
    assert (found.name, found.group_ids) == ("bob", ["a", "b"])


def test_projects_heed_domains_from_version_2() -> None:
    project = {"name": "of {0}", "roles": [{"name": "member"}, {"name": "reader"}]}
    local = {"user": {"name": "{0}"}, "projects": [project], "domain": {"id": "d"}}
    one = rule(local, remote=names("UserName"))
    roles = ("member", "reader")
    assert mapped(one).projects == [MappedProject("of bob", roles, None)]
    assert mapped(one).domain is None
    found = mapped(one, version="2.0")
    assert found.projects == [MappedProject("of bob", roles, Place(id="d"))]
    assert found.domain == Place(id="d")
    project["domain"] = {"name": "{0}"}  # type: ignore[assignment]
    assert mapped(one, version="2.0").projects == [
        MappedProject("of bob", roles, Place(name="bob"))
    ]
    with pytest.raises(BadRequest):
        mapped(one)


def test_local_users_are_in_the_domain_that_the_rule_names() -> None:
    user = {"name": "{0}", "type": "local", "domain": {"name": "Default"}}
    found = mapped(rule({"user": user}, remote=names("UserName")))
    assert (found.is_local, found.domain) == (True, Place(name="Default"))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "rules"),
        ({"rules": []}, "rules"),
        ({"rules": [{"local": []}]}, "remote"),
        ({"rules": [{"local": [], "remote": []}]}, "remote"),
        ({"rules": [{"local": [{"usr": {}}], "remote": [{"type": "a"}]}]}, "usr"),
        ({"rules": [{"local": [], "remote": [{"type": "a"}]}], "more": 1}, "more"),
        ({"rules": [{"local": [], "remote": [{"type": "a"}]}], "schema_version": "9"}, "version"),
        (
            {"rules": [rule({"user": {"name": "{1}"}}, remote=[{"type": "a"}])]},
            r"\{1\}",
        ),
        (
            {"rules": [rule(remote=[{"type": "a", "any_one_of": ["("], "regex": True}])]},
            "regular expression",
        ),
        (
            {"rules": [rule(remote=[{"type": "a", "blacklist": ["(" * 5000], "regex": True}])]},
            "regular expression",
        ),
        (
            {
                "rules": [
                    rule(remote=[{"type": "a", "whitelist": ["a{99999999999}"], "regex": True}])
                ]
            },
            "regular expression",
        ),
        (
            {"rules": [rule(remote=[{"type": "a", "any_one_of": ["b"], "not_any_of": ["c"]}])]},
            "remote",
        ),
    ],
)
def test_what_is_no_mapping_is_refused_by_name(given: dict[str, Any], named: str) -> None:
    with pytest.raises(BadRequest, match=named):
        rules.check(given)
