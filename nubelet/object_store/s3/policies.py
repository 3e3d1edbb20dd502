"""Bucket policies: who may do what with a bucket, under which conditions, in Amazon's language.

A statement fits a request by its principals, actions, resources and conditions. What a statement
denies is denied, whoever allows it; what one allows is allowed; else the lists decide.

    Principal   "*", {"AWS": project, "arn:aws:iam::project:root" or ":user/id"},
                {"CanonicalUser": project}, {"Service": name} (no request comes from one: what is
                allowed to it, as to the writer of logs, opens nothing)

Reference: AWS Identity and Access Management User Guide, "IAM JSON policy elements reference";
Amazon S3 User Guide, "Bucket policies for Amazon S3". What cannot be judged is refused when the
policy is set, never passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from nubelet.object_store.s3 import policy_conditions
from nubelet.object_store.s3.actions import ACTIONS, OF_BUCKETS, OF_KEYS
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.s3.policy_conditions import Values, fits, texts

ALLOW, DENY = "Allow", "Deny"
MOST_BYTES = 20 << 10
_ARN = "arn:aws:s3:::"
_SERVICE = "Service"
_WITH_VARIABLES = "2012-10-17"
_ELEMENTS = frozenset(
    ("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource")
) | {"NotResource", "Condition"}


class Facts(NamedTuple):
    """What a request is, for a policy. values: of condition keys, in lower case."""

    project: str
    user: str
    action: str
    resource: str
    values: Values


def check(text: bytes, bucket: str) -> str:
    """A policy as it is kept; raises MalformedPolicy."""
    if len(text) > MOST_BYTES:
        raise S3Error("MalformedPolicy", "A policy has 20 KiB at most.")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise S3Error("MalformedPolicy", "The policy is not JSON.") from None
    if not isinstance(found, dict) or not set(found) <= {"Version", "Id", "Statement"}:
        raise S3Error("MalformedPolicy", "The policy must have Version, Id and Statement only.")
    if found.get("Version", "2008-10-17") not in (_WITH_VARIABLES, "2008-10-17"):
        raise S3Error("MalformedPolicy", "The version of the policy is unknown.")
    statements = found.get("Statement")
    statements = [statements] if isinstance(statements, dict) else statements
    if not isinstance(statements, list) or not statements:
        raise S3Error("MalformedPolicy", "The policy has no statement.")
    has_variables = found.get("Version") == _WITH_VARIABLES
    sids = [each["Sid"] for each in statements if isinstance(each, dict) and "Sid" in each]
    if len(set(map(str, sids))) < len(sids):
        raise S3Error("MalformedPolicy", "Two statements have the same Sid.")
    for each in statements:
        _check_statement(each, bucket, has_variables)
    kept = json.dumps(found, separators=(",", ":"), ensure_ascii=False)
    try:
        kept.encode()
    except UnicodeEncodeError:
        raise S3Error("MalformedPolicy", "The policy has half of a character.") from None
    return kept


def _check_statement(each: Any, bucket: str, has_variables: bool) -> None:
    if not isinstance(each, dict) or not set(each) <= _ELEMENTS:
        raise S3Error("MalformedPolicy", "A statement has an unknown element.")
    if each.get("Effect") not in (ALLOW, DENY):
        raise S3Error("MalformedPolicy", "Effect must be Allow or Deny.")
    for name in ("Principal", "Action", "Resource"):
        if (name in each) == (f"Not{name}" in each):
            raise S3Error("MalformedPolicy", f"A statement has one of {name} and Not{name}.")
    for name in ("Principal", "NotPrincipal"):
        if name in each:
            _principals(each[name])
            if _SERVICE in each[name] and (each["Effect"], name) != (ALLOW, "Principal"):
                raise S3Error("MalformedPolicy", "A service can only be allowed something.")
    for name in ("Action", "NotAction"):
        for text in texts(each.get(name, [])):
            if not _actions(text.lower()):
                raise S3Error("MalformedPolicy", f"Policy has invalid action {text}.")
    for name in ("Resource", "NotResource"):
        for text in texts(each.get(name, [])):
            own = text.removeprefix(_ARN).partition("/")[0]
            if not text.startswith(_ARN) or not fits(own, bucket):
                raise S3Error("MalformedPolicy", "Policy has invalid resource.")
            if has_variables:
                policy_conditions.check_variables(text)
    _check_reach(each, bucket)
    policy_conditions.check(each.get("Condition", {}), has_variables=has_variables)


def _check_reach(each: Mapping[str, Any], bucket: str) -> None:
    """Each action must be one of what the statement is about: the bucket, or keys in it."""
    if "Action" not in each or "Resource" not in each:
        return
    named = [text.removeprefix(_ARN) for text in texts(each["Resource"])]
    reached: set[str] = set()
    if any(fits(name, bucket) for name in named):
        reached |= OF_BUCKETS
    if any("/" in name or "*" in name for name in named):
        reached |= OF_KEYS
    for text in texts(each["Action"]):
        if reached.isdisjoint(_actions(text.lower())):
            message = f"{text} is not about any of the resources of its statement."
            raise S3Error("MalformedPolicy", message)


def _actions(text: str) -> frozenset[str]:
    """What S3 does whose names fit, by `*` and `?`, in lower case."""
    if text == "*":
        return ACTIONS
    is_s3, name = text.startswith("s3:"), text.removeprefix("s3:")
    return frozenset(each for each in ACTIONS if is_s3 and fits(name, each.lower()))


def _principals(value: Any) -> list[str]:
    """`*`, `project` or `project/user`."""
    if value == "*":
        return ["*"]
    kinds = {"AWS", "CanonicalUser", _SERVICE}
    if not isinstance(value, dict) or not set(value) <= kinds or not value:
        raise S3Error("MalformedPolicy", "Invalid principal in policy.")
    found = []
    for kind, each in value.items():
        for text in texts(each):
            if kind == _SERVICE:
                if not text.endswith(".amazonaws.com"):
                    raise S3Error("MalformedPolicy", "Invalid principal in policy.")
                continue
            match = re.fullmatch(r"arn:aws:iam::([^:]*):(root|user/(.+))", text)
            if match:
                found.append(f"{match[1]}/{match[3]}" if match[3] else match[1])
            elif text and ":" not in text and "/" not in text:
                found.append(text)
            else:
                raise S3Error("MalformedPolicy", "Invalid principal in policy.")
    return found


# --- Judging ----------------------------------------------------------------------------------


class _Policy(NamedTuple):
    statements: tuple[Mapping[str, Any], ...]
    has_variables: bool


@lru_cache(256)
def _read(text: str) -> _Policy:
    found = json.loads(text)
    statements = found["Statement"]
    statements = [statements] if isinstance(statements, dict) else statements
    has_variables = found.get("Version") == _WITH_VARIABLES and "${" in text
    return _Policy(tuple(statements), has_variables)


def judge(text: str, facts: Facts) -> str:
    """Allow, Deny, or empty: the policy says nothing of it."""
    verdict, policy = "", _read(text)
    for each in policy.statements:
        if each["Effect"] != verdict and _applies(each, facts, policy.has_variables):
            if each["Effect"] == DENY:
                return DENY
            verdict = ALLOW
    return verdict


def is_public(text: str) -> bool:
    """Does it let everybody do something, whatever their address?"""
    for each in _read(text).statements:
        if each["Effect"] != ALLOW:
            continue
        everybody = "NotPrincipal" in each or "*" in _principals(each["Principal"])
        if everybody and not policy_conditions.is_few(each.get("Condition", {})):
            return True
    return False


def _applies(each: Mapping[str, Any], facts: Facts, has_variables: bool) -> bool:
    try:
        return _is_about(each, facts, has_variables)
    except policy_conditions.UnresolvedError:
        return False


def _is_about(each: Mapping[str, Any], facts: Facts, has_variables: bool) -> bool:
    if not _one_of(each, "Principal", lambda value: _is_principal(_principals(value), facts)):
        return False
    if not _one_of(
        each,
        "Action",
        lambda value: any(fits(text.lower(), facts.action.lower()) for text in texts(value)),
    ):
        return False

    # With a variable that has no value nothing is allowed. What is denied to all but those whom the
    # value fits is denied: no text has it.
    unknown = policy_conditions.NO_TEXT if each["Effect"] == DENY else None

    def is_resource(text: str) -> bool:
        if has_variables:
            text = policy_conditions.resolved(text, facts.values, unknown)
        return fits(text, _ARN + facts.resource)

    if not _one_of(each, "Resource", lambda value: any(map(is_resource, texts(value)))):
        return False
    conditions = each.get("Condition", {})
    if has_variables:
        conditions = policy_conditions.all_resolved(conditions, facts.values, unknown)
    return policy_conditions.hold(conditions, facts.values)


def _one_of(each: Mapping[str, Any], name: str, fits: Callable[[Any], bool]) -> bool:
    return fits(each[name]) if name in each else not fits(each[f"Not{name}"])


def _is_principal(principals: Sequence[str], facts: Facts) -> bool:
    names = {"*"}
    if facts.project:
        names |= {facts.project, f"{facts.project}/{facts.user}"}
    return not names.isdisjoint(principals)
