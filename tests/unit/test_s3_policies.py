"""What policies of buckets may say, and that what S3 does here is among it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nubelet.object_store.s3 import actions, gateway, policies, policy_conditions, rules
from nubelet.object_store.s3.errors import S3Error


def policy(action: str, condition: dict[str, dict[str, str]] | None = None) -> bytes:
    statement = {"Effect": "Allow", "Principal": "*", "Action": action}
    text = {"Statement": {**statement, "Resource": "arn:aws:s3:::b/*"}}
    if condition:
        text["Statement"]["Condition"] = condition  # type: ignore[assignment]
    return json.dumps(text).encode()


def test_policies_may_speak_of_all_that_is_done_here() -> None:
    done = {name for table in (gateway._BUCKET, gateway._KEY) for _, name in table.values()}
    done |= set(rules._WITH_VERSION.values()) | rules._READS | rules._LISTS | rules._WRITES
    assert done <= actions.ACTIONS


@pytest.mark.parametrize(
    "action",
    ["*", "s3:*", "s3:GetObject", "s3:getobject", "s3:Get*", "s3:?etObject", "S3:PutObject"],
)
def test_actions_that_there_are(action: str) -> None:
    assert json.loads(policies.check(policy(action), "b"))["Statement"]["Action"] == action


@pytest.mark.parametrize(
    "action", ["s3:GetObjects", "s3:Fetch*", "s3:", "s3", "", "s3:Get?", "**:*"]
)
def test_actions_that_there_are_not(action: str) -> None:
    with pytest.raises(S3Error) as caught:
        policies.check(policy(action), "b")
    assert caught.value.s3_code == "MalformedPolicy"
    assert action in caught.value.message


@pytest.mark.parametrize(
    "operator",
    ["StringNotLike", "StringNotEqualsIfExists", "NumericNotEquals", "ArnNotLike", "Null", "Bool"],
)
def test_operators_that_there_are(operator: str) -> None:
    policies.check(policy("s3:*", {operator: {"s3:max-keys": "1"}}), "b")


@pytest.mark.parametrize(
    "operator",
    [
        "NotStringEquals",
        "NotBool",
        "NullIfExists",
        "NumericNotLessThan",
        "stringEquals",
        "IfExists",
    ],
)
def test_operators_that_there_are_not(operator: str) -> None:
    with pytest.raises(S3Error) as caught:
        policies.check(policy("s3:*", {operator: {"s3:max-keys": "1"}}), "b")
    assert caught.value.s3_code == "MalformedPolicy"
    assert operator in caught.value.message


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("a*", "a", True),
        ("a*b", "ab", True),
        ("a*b", "abab", True),
        ("a*b", "aba", False),
        ("a*a", "a", False),
        ("*ab*ab", "abab", True),
        ("*ab*ab", "ab", False),
        ("a**b?", "a/b\nbc", True),
        ("?", "\n", True),
        ("a.c", "abc", False),
        pytest.param("a*" * 5000 + "b", "a" * 1024, False, id="many"),
        pytest.param("?*" * 500 + "b", "a" * 1024, False, id="many of anything"),
    ],
)
def test_wildcards(pattern: str, text: str, fits: bool) -> None:
    assert policy_conditions.fits(pattern, text) is fits


KEYS = "s3:RequestObjectTagKeys"


@pytest.mark.parametrize(
    ("operator", "wanted", "found", "holds"),
    [
        ("ForAnyValue:StringEquals", ["a", "b"], ("b", "c"), True),
        ("ForAnyValue:StringEquals", ["a", "b"], ("c",), False),
        ("ForAnyValue:StringEquals", ["a"], None, False),
        ("ForAnyValue:StringEqualsIfExists", ["a"], None, True),
        ("ForAnyValue:StringNotEquals", ["a", "b"], ("a", "c"), True),
        ("ForAnyValue:StringNotEquals", ["a", "b"], ("a", "b"), False),
        ("ForAnyValue:StringNotEquals", ["a"], None, False),
        ("ForAllValues:StringLike", ["a*", "b"], ("a1", "b"), True),
        ("ForAllValues:StringLike", ["a*"], ("a1", "b"), False),
        ("ForAllValues:StringLike", ["a*"], None, True),
        ("ForAllValues:StringNotEquals", ["a", "b"], ("c", "d"), True),
        ("ForAllValues:StringNotEquals", ["a", "b"], ("c", "b"), False),
        ("Null", ["true"], None, True),
        ("Null", ["true"], ("a",), False),
        ("BinaryEquals", ["YQ=="], "a", True),
        ("BinaryEquals", ["YQ=="], "YQ==", False),
        ("BinaryEqualsIfExists", ["YQ=="], None, True),
    ],
)
def test_conditions_of_sets_and_of_bytes(
    operator: str, wanted: list[str], found: str | tuple[str, ...] | None, holds: bool
) -> None:
    key = KEYS if "For" in operator else "s3:prefix"
    condition = {operator: {key: wanted}}
    policy_conditions.check(condition)
    assert policy_conditions.hold(condition, lambda name: found) is holds


@pytest.mark.parametrize(
    ("operator", "key", "value"),
    [
        ("StringEquals", KEYS, "a"),
        ("ForAllValues:Null", KEYS, "true"),
        ("ForSomeValues:StringEquals", KEYS, "a"),
        ("ForAnyValue:", KEYS, "a"),
        ("BinaryEquals", "s3:prefix", "a"),
        ("StringEquals", "s3:ExistingObjectTag/", "a"),
    ],
)
def test_conditions_that_cannot_be_judged(operator: str, key: str, value: str) -> None:
    with pytest.raises(S3Error) as caught:
        policies.check(policy("s3:*", {operator: {key: value}}), "b")
    assert caught.value.s3_code == "MalformedPolicy"


def about(action: str | list[str], resource: str | list[str]) -> bytes:
    statement = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": resource}
    return json.dumps({"Statement": statement}).encode()


BUCKET, OBJECTS = "arn:aws:s3:::b", "arn:aws:s3:::b/a/*"


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:ListBucket", BUCKET),
        ("s3:*", BUCKET),
        ("*", OBJECTS),
        ("s3:Get*", BUCKET),
        (["s3:ListBucket", "s3:GetObject"], [BUCKET, OBJECTS]),
        (["s3:ListBucket", "s3:GetObject"], "arn:aws:s3:::b*"),
        ("s3:GetObject", "arn:aws:s3:::*"),
    ],
)
def test_actions_that_are_about_their_resources(
    action: str | list[str], resource: str | list[str]
) -> None:
    policies.check(about(action, resource), "b")


@pytest.mark.parametrize(
    ("action", "resource", "wrong"),
    [
        ("s3:GetObject", BUCKET, "s3:GetObject"),
        ("s3:GetObject", "arn:aws:s3:::?", "s3:GetObject"),
        ("s3:ListBucket", OBJECTS, "s3:ListBucket"),
        ("s3:ListB*", [OBJECTS, "arn:aws:s3:::b/x"], "s3:ListB*"),
        (["s3:GetObject", "s3:ListBucket"], OBJECTS, "s3:ListBucket"),
        ("s3:ListAllMyBuckets", [BUCKET, OBJECTS], "s3:ListAllMyBuckets"),
    ],
)
def test_actions_that_are_about_none_of_their_resources(
    action: str | list[str], resource: str | list[str], wrong: str
) -> None:
    with pytest.raises(S3Error) as caught:
        policies.check(about(action, resource), "b")
    assert caught.value.s3_code == "MalformedPolicy"
    assert wrong in caught.value.message


def judged(resource: str, name: str, *, version: str = "2012-10-17", **said: str) -> str:
    """What a policy that allows a resource says of a key, of a request that says something."""
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}
    found = {"Version": version, "Statement": {**statement, "Resource": resource}}
    text = policies.check(json.dumps(found).encode(), "b")
    values = {f"aws:{key}": value for key, value in said.items()}
    return policies.judge(text, policies.Facts("p", "u", "s3:GetObject", name, values.get))


@pytest.mark.parametrize(
    ("resource", "said", "key", "fits"),
    [
        ("b/${aws:username}/*", {"username": "ann"}, "b/ann/x", True),
        ("b/${aws:UserName}/*", {"username": "ann"}, "b/bob/x", False),
        ("b/${aws:username}/*", {"username": "a*"}, "b/ann/x", False),
        ("b/${aws:username}/*", {"username": "a*"}, "b/a*/x", True),
        ("b/${aws:username}/*", {}, "b//x", False),
        ("b/${aws:username, 'all'}/*", {}, "b/all/x", True),
        ("b/${aws:username, 'all'}/*", {"username": "ann"}, "b/ann/x", True),
        ("b/${*}${?}${$}", {}, "b/*?$", True),
        ("b/${*}${?}${$}", {}, "b/aa$", False),
    ],
)
def test_variables(resource: str, said: dict[str, str], key: str, fits: bool) -> None:
    arn = f"arn:aws:s3:::{resource}"
    assert judged(arn, key, **said) == ("Allow" if fits else "")


def test_older_policies_have_no_variables() -> None:
    resource = "arn:aws:s3:::b/${aws:username}/*"
    assert judged(resource, "b/ann/x", version="2008-10-17", username="ann") == ""
    assert judged(resource, "b/${aws:username}/x", version="2008-10-17", username="ann") == "Allow"


def test_variables_in_conditions() -> None:
    found = {"aws:username": "a*n", "s3:prefix": "home/a*n/x"}
    for operator, wanted, holds in (
        ("StringLike", "home/${aws:username}/*", True),
        ("StringLike", "home/${aws:userid, 'a'}/*", False),
        ("StringEquals", "home/${aws:username}/x", True),
        ("StringEquals", "home/${aws:username}/${*}", False),
    ):
        condition = {operator: {"s3:prefix": wanted}}
        policy_conditions.check(condition, has_variables=True)
        resolved = policy_conditions.all_resolved(condition, found.get, None)
        assert policy_conditions.hold(resolved, found.get) is holds


@pytest.mark.parametrize(
    ("element", "wanted"),
    [
        (
            {
                "Resource": "arn:aws:s3:::b/*",
                "Condition": {"StringNotEquals": {"s3:prefix": "${aws:userid}"}},
            },
            {"Allow": "", "Deny": "Deny"},
        ),
        (
            {
                "Resource": "arn:aws:s3:::b/*",
                "Condition": {"StringEquals": {"s3:prefix": "${aws:userid}"}},
            },
            {"Allow": "", "Deny": ""},
        ),
        ({"NotResource": "arn:aws:s3:::b/${aws:userid}/*"}, {"Allow": "", "Deny": "Deny"}),
        ({"Resource": "arn:aws:s3:::b/${aws:userid}/*"}, {"Allow": "", "Deny": ""}),
    ],
)
def test_a_variable_without_a_value_lets_nobody_in(
    element: dict[str, Any], wanted: dict[str, str]
) -> None:
    for effect, verdict in wanted.items():
        statement = {"Effect": effect, "Principal": "*", "Action": "s3:GetObject", **element}
        found = {"Version": "2012-10-17", "Statement": statement}
        text = policies.check(json.dumps(found).encode(), "b")
        values = {"s3:prefix": "x"}
        facts = policies.Facts("", "", "s3:GetObject", "b/home/x", values.get)
        assert policies.judge(text, facts) == verdict


@pytest.mark.parametrize(
    "variable", ["${aws:odd}", "${}", "${aws:username", "${s3:RequestObjectTagKeys}", "${a, b}"]
)
def test_variables_that_there_are_not(variable: str) -> None:
    with pytest.raises(S3Error) as caught:
        judged(f"arn:aws:s3:::b/{variable}/*", "b/x")
    assert caught.value.s3_code == "MalformedPolicy"


def test_a_policy_is_text() -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}
    found = {"Statement": {**statement, "Resource": "arn:aws:s3:::b/*", "Sid": "\ud800"}}
    with pytest.raises(S3Error) as caught:
        policies.check(json.dumps(found).encode(), "b")
    assert caught.value.s3_code == "MalformedPolicy"
