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

import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from nubelet.object_store.s3.actions import ACTIONS
from nubelet.object_store.s3.errors import S3Error

ALLOW, DENY = "Allow", "Deny"
MOST_BYTES = 20 << 10
_ARN = "arn:aws:s3:::"
_SERVICE = "Service"
_ACTIONS = frozenset(f"s3:{each.lower()}" for each in ACTIONS)
_ELEMENTS = frozenset(
    ("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource")
) | {"NotResource", "Condition"}
_KEYS = frozenset(
    (
        "aws:sourceip",
        "aws:securetransport",
        "aws:referer",
        "aws:useragent",
        "aws:currenttime",
        "aws:epochtime",
        "aws:userid",
        "aws:username",
        "aws:principalaccount",
        "aws:sourcearn",  # only a service has these two
        "aws:sourceaccount",
        "s3:prefix",
        "s3:delimiter",
        "s3:max-keys",
        "s3:versionid",
        "s3:x-amz-acl",
        "s3:x-amz-copy-source",
        "s3:x-amz-metadata-directive",
        "s3:x-amz-server-side-encryption",
        "s3:x-amz-server-side-encryption-customer-algorithm",
        "s3:x-amz-content-sha256",
        "s3:x-amz-storage-class",
        "s3:x-amz-grant-read",
        "s3:x-amz-grant-write",
        "s3:x-amz-grant-read-acp",
        "s3:x-amz-grant-write-acp",
        "s3:x-amz-grant-full-control",
        "s3:signatureversion",
        "s3:authtype",
        "s3:if-match",
        "s3:if-none-match",
    )
)
# Ranges of addresses, by version: what is wider is as good as everybody, as Amazon has it.
_WIDEST = {4: 8, 6: 32}
_TAG_KEYS = ("s3:existingobjecttag/", "s3:requestobjecttag/")


class Facts(NamedTuple):
    """What a request is, for a policy. values: condition keys in lower case."""

    project: str
    user: str
    action: str
    resource: str
    values: Callable[[str], str | None]


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
    if found.get("Version", "2008-10-17") not in ("2012-10-17", "2008-10-17"):
        raise S3Error("MalformedPolicy", "The version of the policy is unknown.")
    statements = found.get("Statement")
    statements = [statements] if isinstance(statements, dict) else statements
    if not isinstance(statements, list) or not statements:
        raise S3Error("MalformedPolicy", "The policy has no statement.")
    for each in statements:
        _check_statement(each, bucket)
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def _check_statement(each: Any, bucket: str) -> None:
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
        for text in _texts(each.get(name, [])):
            if not _is_action(text.lower()):
                raise S3Error("MalformedPolicy", f"Policy has invalid action {text}.")
    for name in ("Resource", "NotResource"):
        for text in _texts(each.get(name, [])):
            own = text.removeprefix(_ARN).partition("/")[0]
            if not text.startswith(_ARN) or not _fits(own, bucket):
                raise S3Error("MalformedPolicy", "Policy has invalid resource.")
    conditions = each.get("Condition", {})
    if not isinstance(conditions, dict):
        raise S3Error("MalformedPolicy", "Condition must be an object.")
    for operator, wanted in conditions.items():
        if operator not in _OPERATORS or not isinstance(wanted, dict):
            raise S3Error("MalformedPolicy", f"There is no condition {operator}.")
        for key, values in wanted.items():
            if key.lower() not in _KEYS and not key.lower().startswith(_TAG_KEYS):
                raise S3Error("MalformedPolicy", f"Policy has an invalid condition key {key}.")
            for value in _texts(values, loose=True):
                if operator.removesuffix("IfExists") in ("IpAddress", "NotIpAddress"):
                    _network(value)


def _is_action(text: str) -> bool:
    """Is it, in lower case, the name of what S3 does, or does it fit some, by `*` and `?`?"""
    return text == "*" or (text.startswith("s3:") and any(_fits(text, each) for each in _ACTIONS))


def _texts(value: Any, *, loose: bool = False) -> list[str]:
    values = value if isinstance(value, list) else [value]
    found = []
    for each in values:
        if isinstance(each, str):
            found.append(each)
        elif loose and isinstance(each, bool):
            found.append(str(each).lower())
        elif loose and isinstance(each, int | float):
            found.append(str(each))
        else:
            raise S3Error("MalformedPolicy", "A text is expected.")
    return found


def _principals(value: Any) -> list[str]:
    """`*`, `project` or `project/user`."""
    if value == "*":
        return ["*"]
    kinds = {"AWS", "CanonicalUser", _SERVICE}
    if not isinstance(value, dict) or not set(value) <= kinds or not value:
        raise S3Error("MalformedPolicy", "Invalid principal in policy.")
    found = []
    for kind, each in value.items():
        for text in _texts(each):
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


@lru_cache(256)
def _statements(text: str) -> tuple[Mapping[str, Any], ...]:
    found = json.loads(text)["Statement"]
    return tuple([found] if isinstance(found, dict) else found)


def judge(text: str, facts: Facts) -> str:
    """Allow, Deny, or empty: the policy says nothing of it."""
    verdict = ""
    for each in _statements(text):
        if each["Effect"] != verdict and _applies(each, facts):
            if each["Effect"] == DENY:
                return DENY
            verdict = ALLOW
    return verdict


def is_public(text: str) -> bool:
    """Does it let everybody do something, whatever their address?"""
    for each in _statements(text):
        if each["Effect"] != ALLOW:
            continue
        everybody = "NotPrincipal" in each or "*" in _principals(each["Principal"])
        if everybody and not any(
            _is_few(operator, key.lower(), _texts(values, loose=True))
            for operator, wanted in each.get("Condition", {}).items()
            for key, values in wanted.items()
        ):
            return True
    return False


def _is_few(operator: str, key: str, wanted: Sequence[str]) -> bool:
    """Does the condition hold for a few only: of named addresses, users or projects?"""
    if operator == "IpAddress" and key == "aws:sourceip":
        networks = [_network(each) for each in wanted]
        return all(each.prefixlen >= _WIDEST[each.version] for each in networks)
    if key not in ("aws:sourceip", "aws:userid", "aws:principalaccount"):
        return False
    if operator in ("StringLike", "ArnLike", "ArnEquals"):
        return not any(set("*?") & set(each) for each in wanted)
    return operator in ("StringEquals", "StringEqualsIgnoreCase")


def _applies(each: Mapping[str, Any], facts: Facts) -> bool:
    if not _one_of(each, "Principal", lambda value: _is_principal(_principals(value), facts)):
        return False
    if not _one_of(
        each,
        "Action",
        lambda value: any(_fits(text.lower(), facts.action.lower()) for text in _texts(value)),
    ):
        return False
    if not _one_of(
        each,
        "Resource",
        lambda value: any(_fits(text, _ARN + facts.resource) for text in _texts(value)),
    ):
        return False
    return all(
        _holds(operator, key.lower(), _texts(values, loose=True), facts)
        for operator, wanted in each.get("Condition", {}).items()
        for key, values in wanted.items()
    )


def _one_of(each: Mapping[str, Any], name: str, fits: Callable[[Any], bool]) -> bool:
    return fits(each[name]) if name in each else not fits(each[f"Not{name}"])


def _is_principal(principals: Sequence[str], facts: Facts) -> bool:
    names = {"*"}
    if facts.project:
        names |= {facts.project, f"{facts.project}/{facts.user}"}
    return not names.isdisjoint(principals)


@lru_cache(1024)
def _pattern(text: str) -> re.Pattern[str]:
    """`*` for any text, `?` for a character. What is between two `*` is where it is found first,
    and nowhere else is tried: many of them cost no more."""
    first, *more = (
        "".join("." if each == "?" else re.escape(each) for each in part)
        for part in text.split("*")
    )
    between = "".join(f"(?>.*?{part})" for part in more[:-1])
    return re.compile(first + between + "".join(f".*{part}" for part in more[-1:]), re.DOTALL)


def _fits(pattern: str, text: str) -> bool:
    return _pattern(pattern).fullmatch(text) is not None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return _number(text)


def _network(text: str) -> Any:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise S3Error("MalformedPolicy", f"{text!r} is no range of addresses.") from None


def _is_in(found: str, wanted: str) -> bool:
    try:
        return ipaddress.ip_address(found) in _network(wanted)
    except ValueError:
        return False


_COMPARE: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda found, wanted: found == wanted,
    "StringEqualsIgnoreCase": lambda found, wanted: found.lower() == wanted.lower(),
    "StringLike": lambda found, wanted: _fits(wanted, found),
    "ArnEquals": lambda found, wanted: _fits(wanted, found),
    "ArnLike": lambda found, wanted: _fits(wanted, found),
    "Bool": lambda found, wanted: found.lower() == wanted.lower(),
    "IpAddress": _is_in,
    "NumericEquals": lambda found, wanted: _number(found) == _number(wanted),
    "NumericLessThan": lambda found, wanted: _number(found) < _number(wanted),
    "NumericLessThanEquals": lambda found, wanted: _number(found) <= _number(wanted),
    "NumericGreaterThan": lambda found, wanted: _number(found) > _number(wanted),
    "NumericGreaterThanEquals": lambda found, wanted: _number(found) >= _number(wanted),
    "DateEquals": lambda found, wanted: _moment(found) == _moment(wanted),
    "DateLessThan": lambda found, wanted: _moment(found) < _moment(wanted),
    "DateLessThanEquals": lambda found, wanted: _moment(found) <= _moment(wanted),
    "DateGreaterThan": lambda found, wanted: _moment(found) > _moment(wanted),
    "DateGreaterThanEquals": lambda found, wanted: _moment(found) >= _moment(wanted),
}


_NEGATED = (
    "StringNotEquals",
    "StringNotEqualsIgnoreCase",
    "StringNotLike",
    "ArnNotEquals",
    "ArnNotLike",
    "NumericNotEquals",
    "DateNotEquals",
    "NotIpAddress",
)
_OPERATORS = frozenset(
    ["Null"] + [f"{name}{end}" for name in (*_COMPARE, *_NEGATED) for end in ("", "IfExists")]
)


def _operator(name: str) -> tuple[Callable[[str, str], bool] | None, bool, bool]:
    """The comparison, whether it must fail, whether it passes where there is no value."""
    is_lenient = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    if name == "Null":
        return (lambda found, wanted: False), False, is_lenient
    if name in _COMPARE:
        return _COMPARE[name], False, is_lenient
    positive = name.replace("Not", "", 1)
    return (_COMPARE.get(positive) if "Not" in name else None), True, is_lenient


def _holds(operator: str, key: str, wanted: Sequence[str], facts: Facts) -> bool:
    found = facts.values(key)
    if operator == "Null":
        return any((each.lower() == "true") == (found is None) for each in wanted)
    compare, is_negative, is_lenient = _operator(operator)
    if compare is None:
        return False
    if found is None:
        return is_lenient or is_negative
    return any(compare(found, each) for each in wanted) != is_negative
