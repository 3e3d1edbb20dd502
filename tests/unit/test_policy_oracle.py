"""Our policy compiler and oslo.policy give the same answer to the same question.

Random rules, credentials and targets go to both. Only where oslo.policy crashes or, after a
logged mistake, refuses everything do we differ on purpose (see test_policy.py).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nubelet.kernel.policy import Policy, Rule
from nubelet.kernel.policy_language import parse

oslo_config = pytest.importorskip("oslo_config.cfg")
oslo_policy = pytest.importorskip("oslo_policy.policy")

NAMES = ["project_id", "user_id", "domain_id", "flavor", "target.user.domain_id", "network:owner"]
VALUES = ["a", "b", "None", "True", "", "1", "é"]
RULES = ["r0", "r1", "r2", "r3"]

scalars = st.one_of(st.sampled_from(VALUES), st.none(), st.booleans(), st.integers(0, 2))
role_names = st.sampled_from(["admin", "member", "Reader", "MANAGER", "a"])
placeholders = st.sampled_from(NAMES).map(lambda name: f"%({name})s")
matches = st.one_of(
    placeholders,
    st.sampled_from(["a", "b", "None", "True", "all", "1", "100%%"]),
    st.tuples(placeholders, st.sampled_from(["-x", "", ":a"]), placeholders).map("".join),
)
kinds = st.sampled_from(
    ["project_id", "user_id", "domain_id", "is_admin", "system_scope", "system", "missing",
     "roles", "token.user.id", "groups.id", "'a'", "True", "None", "1", "\"b\""]
)  # fmt: skip


# A strategy costs more to make than to draw from: each is made once. `usable`: how many of RULES it
# may refer to.
@cache
def checks(usable: int) -> st.SearchStrategy[str]:
    options = [
        st.sampled_from(["@", "!", "is_admin:True", "system_scope:all"]),
        role_names.map(lambda name: f"role:{name}"),
        placeholders.map(lambda name: f"role:{name}"),
        st.tuples(kinds, matches).map(":".join),
    ]
    if usable:
        options.append(st.sampled_from(RULES[:usable]).map(lambda name: f"rule:{name}"))
    return st.one_of(options)


@cache
def expressions(usable: int) -> st.SearchStrategy[str]:
    """The text of a rule: any nesting, superfluous parentheses, spaces, and upper case."""

    def joined(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        operators = st.sampled_from([" and ", " or ", " AND ", "  Or\t"])
        return st.one_of(
            st.tuples(children, operators, children).map("".join),
            children.map(lambda child: f"({child})"),
            children.map(lambda child: f"not ({child})"),
            children.map(lambda child: f"( {child} )"),
        )

    simple = st.one_of(checks(usable), checks(usable).map(lambda check: f"not {check}"))
    return st.one_of(st.recursive(simple, joined, max_leaves=8), st.just(""))


@cache
def lists(usable: int) -> st.SearchStrategy[list[Any]]:
    """A rule in the list form."""
    inner = st.one_of(checks(usable), st.lists(checks(usable), max_size=3))
    return st.lists(inner, max_size=3)


@st.composite
def rule_sets(draw: st.DrawFn) -> dict[str, Any]:
    """Four rules, each of which may refer to the ones before it; at times in the list form.

    The first two are single checks: in a large rule one check rarely decides.
    """
    rules: dict[str, Any] = {name: draw(checks(0)) for name in RULES[:2]}
    for usable, name in enumerate(RULES[2:], 2):
        is_list = draw(st.integers(0, 5)) == 0
        rules[name] = draw(lists(usable) if is_list else expressions(usable))
    return rules


credentials_sets = st.fixed_dictionaries(
    {"roles": st.lists(role_names, max_size=3)},
    optional={
        "project_id": scalars,
        "user_id": scalars,
        "domain_id": scalars,
        "is_admin": st.booleans(),
        "system_scope": st.sampled_from(["all", None]),
        "token": st.fixed_dictionaries({"user": st.fixed_dictionaries({"id": scalars})}),
        "groups": st.lists(st.fixed_dictionaries({"id": scalars}), max_size=2),
    },
)
targets = st.dictionaries(st.sampled_from(NAMES), scalars, max_size=5)
scopes = st.lists(st.sampled_from(["system", "domain", "project"]), unique=True, max_size=2)


@cache
def enforcer() -> Any:
    return oslo_policy.Enforcer(oslo_config.ConfigOpts(), use_conf=False)


def oslo_answers(
    rules: dict[str, Any], scope_types: list[str], credentials: dict[str, Any], target: Any
) -> list[bool]:
    oslo = enforcer()
    oslo.set_rules(oslo_policy.Rules.from_dict(rules), use_conf=False)
    oslo.registered_rules["r3"] = oslo_policy.RuleDefault("r3", "", scope_types=scope_types or None)
    return [bool(oslo.enforce(name, dict(target), dict(credentials))) for name in RULES]


def nested(target: dict[str, Any]) -> dict[str, Any]:
    """The same target with dotted names taken apart into mappings."""
    result: dict[str, Any] = {}
    for name, value in target.items():
        *path, last = name.split(".")
        place = result
        for segment in path:
            place = place.setdefault(segment, {})
        place[last] = value
    return result


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rule_sets(), scopes, credentials_sets, targets)
def test_same_answer_as_oslo_policy(
    rules: dict[str, Any], scope_types: list[str], credentials: dict[str, Any], target: Any
) -> None:
    policy = Policy(
        [
            Rule(name, check, scope_types=tuple(scope_types) if name == "r3" else ())
            for name, check in rules.items()
        ]
    )

    def answers(credentials: dict[str, Any], target: dict[str, Any]) -> list[bool]:
        return [policy.allows(name, credentials, target) for name in RULES]

    expected = oslo_answers(rules, scope_types, credentials, target)
    assert answers(credentials, target) == expected
    assert answers(credentials, nested(target)) == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["(", ")", "and", "or", "not", "role:a", "@", "bad"]), max_size=7))
def test_what_oslo_policy_cannot_parse_is_refused_here_and_nothing_else(words: list[str]) -> None:
    """oslo.policy answers a malformed rule with `!`; here it is an error at load."""
    from oslo_policy import _checks, _parser

    from nubelet.kernel.policy import PolicyError

    text = " ".join(words)
    understood = bool(text) is False or not _is_fallback(_parser.parse_rule(text), _checks, text)
    if "bad" in words:
        understood = False
    try:
        parse(text)
    except PolicyError:
        assert not understood, text
    else:
        assert understood, text


def _is_fallback(tree: Any, checks_module: Any, text: str) -> bool:
    """No word of the alphabet is `!`, so a bare FalseCheck is the sign of a failed parse."""
    return isinstance(tree, checks_module.FalseCheck)
