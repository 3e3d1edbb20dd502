"""What policies of buckets may say, and that what S3 does here is among it."""

from __future__ import annotations

import json

import pytest

from nubelet.object_store.s3 import actions, gateway, policies, rules
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
    assert policies._fits(pattern, text) is fits
