"""What an operator or a developer notices of policy: answers, errors, explanations, reloads."""

from __future__ import annotations

import itertools
import logging
import os
import time
import timeit
from pathlib import Path
from typing import Any

import pytest

from nubelet.kernel.errors import Forbidden
from nubelet.kernel.policy import Policy, PolicyError, Rule

RULES = [
    Rule("context_is_admin", "role:admin"),
    Rule("admin_or_owner", "rule:context_is_admin or project_id:%(project_id)s"),
    Rule("servers:show", "rule:admin_or_owner", scope_types=("project",)),
    Rule("users:show", "role:reader and domain_id:%(target.user.domain_id)s"),
    Rule("networks:show", "field:networks:shared=True or rule:admin_or_owner"),
]

MEMBER: dict[str, Any] = {
    "user_id": "u",
    "project_id": "p1",
    "domain_id": None,
    "system_scope": None,
    "roles": ("member", "reader"),
    "is_admin": False,
}


def override(check: object) -> Policy:
    return Policy([Rule("r", "!")], {"r": check})  # type: ignore[dict-item]


def test_owner_is_allowed_and_stranger_is_not() -> None:
    policy = Policy(RULES)
    assert policy.allows("servers:show", MEMBER, {"project_id": "p1"})
    assert not policy.allows("servers:show", MEMBER, {"project_id": "p2"})
    assert not policy.allows("servers:show", MEMBER, {})


def test_rule_nobody_defined_refuses_even_admin() -> None:
    admin = {**MEMBER, "roles": ("admin",)}
    assert not Policy(RULES).allows("servers:fly", admin, {})


@pytest.mark.parametrize(
    "target",
    [
        {"target": {"user": {"domain_id": "d"}}},
        {"target.user.domain_id": "d"},
    ],
)
def test_target_may_be_nested_or_flat(target: dict[str, Any]) -> None:
    reader = {**MEMBER, "domain_id": "d"}
    assert Policy(RULES).allows("users:show", reader, target)
    assert not Policy(RULES).allows("users:show", {**reader, "domain_id": "e"}, target)


def test_roles_are_compared_without_case() -> None:
    assert Policy(RULES).allows("context_is_admin", {"roles": ["ADMIN"]}, {})
    assert Policy([Rule("r", "role:AdMin")]).allows("r", {"roles": {"admin"}}, {})


def test_credentials_with_dotted_names() -> None:
    policy = Policy([Rule("r", "trust.trust_id:%(trust_id)s")])
    assert policy.allows("r", {"trust.trust_id": "t"}, {"trust_id": "t"})
    assert policy.allows("r", {"trust": {"trust_id": "t"}}, {"trust_id": "t"})
    assert not policy.allows("r", {"trust": "t"}, {"trust_id": "t"})


def test_collection_in_the_credentials_holds_when_one_element_does() -> None:
    policy = Policy([Rule("r", "groups.id:%(group)s"), Rule("s", "service_roles:service")])
    assert policy.allows("r", {"groups": [{"id": 1}, {"id": 2}]}, {"group": 2})
    assert not policy.allows("r", {"groups": [{"id": 1}, {"name": 2}]}, {"group": 2})
    assert policy.allows("s", {"service_roles": ("x", "service")}, {})


@pytest.mark.parametrize(
    ("check", "target", "expected"),
    [
        ("field:networks:shared=True", {"shared": True}, True),
        ("field:networks:shared=True", {"shared": False}, False),
        ("field:networks:shared=True", {}, False),
        ("field:networks:router:external=True", {"router:external": True}, True),
        ("field:port:device_owner=~^network:", {"device_owner": "network:dhcp"}, True),
        ("field:port:device_owner=~^network:", {"device_owner": "compute:nova"}, False),
        ("field:port:device_owner=~.*", {"device_owner": None}, False),
        ("field:port:status=DOWN", {"status": "DOWN"}, True),
    ],
)
def test_field_checks_of_the_network_service(
    check: str, target: dict[str, Any], expected: bool
) -> None:
    assert Policy([Rule("r", check)]).allows("r", {}, target) is expected


@pytest.mark.parametrize(
    ("credentials", "scope_types", "expected"),
    [
        ({"system_scope": "all"}, ("system",), True),
        ({"system_scope": "all"}, ("project", "domain"), False),
        ({"domain_id": "d"}, ("domain",), True),
        ({"domain_id": "d"}, ("project",), False),
        ({"project_id": "p"}, ("project",), True),
        ({"project_id": "p"}, ("system",), False),
        ({}, ("project",), True),
    ],
)
def test_scope_of_the_token(
    credentials: dict[str, Any], scope_types: tuple[str, ...], expected: bool
) -> None:
    rules = [Rule("r", "@", scope_types=scope_types)]
    assert Policy(rules).allows("r", credentials, {}) is expected
    assert Policy(rules, enforce_scope=False).allows("r", credentials, {})


def test_override_replaces_the_check_and_keeps_the_scope() -> None:
    policy = Policy(RULES, {"servers:show": "@"})
    assert policy.allows("servers:show", MEMBER, {"project_id": "p2"})
    assert not policy.allows("servers:show", {"system_scope": "all", "roles": ["admin"]}, {})


def test_override_reaches_the_rules_that_refer_to_it() -> None:
    policy = Policy(RULES, {"context_is_admin": "role:operator"})
    assert policy.allows("servers:show", {"roles": ["operator"], "project_id": "x"}, {})


def test_authorize_names_the_rule() -> None:
    with pytest.raises(Forbidden, match="servers:show"):
        Policy(RULES).authorize("servers:show", MEMBER, {"project_id": "p2"})
    Policy(RULES).authorize("servers:show", MEMBER, {"project_id": "p1"})


@pytest.mark.parametrize(
    ("check", "column", "reason"),
    [
        ("role:a or", 10, "ends here"),
        ("role:a role:b", 8, "'and' or 'or' is missing"),
        ("(role:a or role:b", 1, "never closed"),
        ("role:a)", 7, "no '(' is open"),
        ("role:a or member", 11, "no ':' in it"),
        ("and role:a", 1, "a check is expected"),
        ("role:a and 'quoted'", 12, "quoted text"),
        ("role:a and project_id:%(x)d", 23, "only %(name)s"),
        ("a.b-:x", 1, "neither a literal nor"),
        ("role:a and http://example.org", 12, "remote server"),
        ("rule:q", 1, "rule:q does not exist"),
        ("field:networks", 7, "expected field:"),
        ("field:port:x=~(", 7, "no regular expression"),
        ("   ", 4, "ends here"),
        (None, 0, "text or a list"),
        ({"a": "b"}, 0, "text or a list"),
        ([["role:a", 3]], 0, "list of checks"),
    ],
)
def test_mistakes_name_rule_and_column(check: object, column: int, reason: str) -> None:
    with pytest.raises(PolicyError) as caught:
        override(check)
    assert reason in str(caught.value)
    assert "'r'" in str(caught.value)
    assert caught.value.column == column
    if column:
        assert f"column {column}" in str(caught.value)


def test_very_deep_nesting_is_an_error_not_a_crash() -> None:
    with pytest.raises(PolicyError, match="nested deeper"):
        override("(" * 5000 + "@" + ")" * 5000)
    with pytest.raises(PolicyError, match="nested deeper"):
        override("not " * 5000 + "@")


def test_cycle_is_named_in_full() -> None:
    rules = [Rule("a", "rule:b"), Rule("b", "role:x or not rule:c"), Rule("c", "rule:a")]
    with pytest.raises(PolicyError, match="a -> b -> c -> a"):
        Policy(rules)


def test_same_rule_twice_is_refused() -> None:
    with pytest.raises(PolicyError, match="'a' is defined twice"):
        Policy([Rule("a", "@"), Rule("a", "!")])


def test_misspelt_override_is_refused_with_a_hint() -> None:
    with pytest.raises(PolicyError, match="did you mean 'servers:show'"):
        Policy(RULES, {"servers:shwo": "!"})


def test_override_may_bring_a_rule_of_its_own() -> None:
    overrides = {"operators": "role:operator", "context_is_admin": "role:admin or rule:operators"}
    assert Policy(RULES, overrides).allows("context_is_admin", {"roles": ["operator"]}, {})


def test_explanation_shows_each_check_and_what_it_compared() -> None:
    text = Policy(RULES).explain("servers:show", MEMBER, {"project_id": "p2"})
    lines = text.splitlines()
    assert lines[0] == "servers:show: refused"
    assert "  - rule:admin_or_owner" in lines
    assert "        - role:admin  (roles: member, reader)".strip() in text
    assert "caller's project_id: 'p1'; target's project_id: 'p2'" in text
    allowed = Policy(RULES).explain("servers:show", MEMBER, {"project_id": "p1"})
    assert allowed.startswith("servers:show: allowed")
    assert "+ project_id:%(project_id)s" in allowed


def test_explanation_of_wrong_scope_and_unknown_rule() -> None:
    system = {**MEMBER, "system_scope": "all"}
    text = Policy(RULES).explain("servers:show", system, {})
    assert "scope is system and the rule wants project" in text
    assert "no such rule" in Policy(RULES).explain("servers:fly", MEMBER, {})


@pytest.mark.parametrize(
    ("check", "target"),
    [
        ("not (role:a and 'x':%(y)s) or field:n:shared=True", {"y": "x"}),
        ("@ or ! or True:%(gone)s", {}),
    ],
)
def test_explanation_covers_every_kind_of_check(check: str, target: dict[str, Any]) -> None:
    lines = Policy([Rule("r", check)]).explain("r", MEMBER, target).splitlines()
    assert lines[0] == "r: allowed"
    assert all(line.lstrip()[0] in "+-" for line in lines[1:])


# --- files ------------------------------------------------------------------------------------


_seconds = itertools.count(1_700_000_000)


def write(path: Path, text: str) -> None:
    """Write with a later time each call, as an editor a second later would."""
    path.write_text(text, encoding="utf-8")
    second = next(_seconds)
    os.utime(path, (second, second))


def test_file_overrides_defaults(tmp_path: Path) -> None:
    path = tmp_path / "compute.yaml"
    write(path, '# ours\n"servers:show": "@"\ncontext_is_admin:\n  - ["role:root"]\n')
    policy = Policy.load(RULES, path)
    assert policy.allows("servers:show", MEMBER, {})
    assert policy.allows("context_is_admin", {"roles": ["root"]}, {})


@pytest.mark.parametrize("text", ["", "# only a comment\n", "{}\n"])
def test_empty_file_changes_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "compute.yaml"
    write(path, text)
    assert not Policy.load(RULES, path).allows("servers:show", MEMBER, {"project_id": "p2"})


def test_absent_file_is_no_error_and_is_taken_up_when_it_appears(tmp_path: Path) -> None:
    path = tmp_path / "compute.yaml"
    policy = Policy.load(RULES, path)
    assert not policy.allows("servers:show", MEMBER, {"project_id": "p2"})
    write(path, '"servers:show": "@"\n')
    policy.reload_if_changed()
    assert policy.allows("servers:show", MEMBER, {"project_id": "p2"})
    path.unlink()
    policy.reload_if_changed()
    assert not policy.allows("servers:show", MEMBER, {"project_id": "p2"})


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('"servers:show": "@"\nserver:show: "!"\n', 2, "there is no such rule"),
        ('\n"servers:show": "role:a or"\n', 2, "column 10"),
        ('"servers:show": "@"\n"servers:show": "!"\n', 2, "a second time"),
        ("- a\n- b\n", 1, "rule name: check"),
        ('"servers:show": [unclosed\n', None, "not YAML"),
        ('"servers:show": !nope x\n', 1, "in quotes"),
        ('"servers:show":\n', 1, "text or a list"),
        ('"servers:show": true\n', 1, "text or a list"),
    ],
)
def test_mistake_in_a_file_names_file_and_line(
    tmp_path: Path, text: str, line: int | None, reason: str
) -> None:
    path = tmp_path / "compute.yaml"
    write(path, text)
    with pytest.raises(PolicyError) as caught:
        Policy.load(RULES, path)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}" if line else str(path))


def test_mistake_while_running_keeps_the_rules_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "compute.yaml"
    write(path, '"servers:show": "@"\n')
    policy = Policy.load(RULES, path)
    with caplog.at_level(logging.INFO):
        write(path, '"servers:show": "role:a or"\n')
        policy.reload_if_changed()
        policy.reload_if_changed()
        assert policy.allows("servers:show", MEMBER, {"project_id": "p2"})
        errors = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert len(errors) == 1
        assert "column 10" in errors[0].getMessage()
        write(path, '"servers:show": "!"\n')
        policy.reload_if_changed()
    assert not policy.allows("servers:show", MEMBER, {"project_id": "p1"})


def test_a_check_costs_microseconds() -> None:
    """A bound ten times the usual figure, so that it fails for a design change, not for noise."""
    policy = Policy(RULES)
    target = {"project_id": "p1"}
    runs = timeit.repeat(
        lambda: policy.allows("servers:show", MEMBER, target),
        timer=time.thread_time,
        number=2000,
        repeat=7,
    )
    assert min(runs) / 2000 < 20e-6
