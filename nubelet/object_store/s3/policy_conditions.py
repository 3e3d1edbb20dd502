"""Conditions of a bucket's policy: which there are, and whether they hold for a request.

    {"StringLike": {"s3:prefix": ["a/*", "b/*"]}}      one of the values fits what the request says
    ...IfExists                                        ... or it says nothing of that
    ForAnyValue:..., ForAllValues:...                  of a key with several values at once: one of
                                                       them fits, or none does not (nor where there
                                                       are none)

Reference: AWS Identity and Access Management User Guide, "Condition operators", "Set operators for
multivalued context keys"; Amazon S3 User Guide, "Bucket policy examples using condition keys".
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from nubelet.object_store.s3.errors import S3Error

# What a request says of a key: nothing, a value, or several.
Values = Callable[[str], str | tuple[str, ...] | None]

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
        "aws:principalarn",
        "aws:principaltype",
        "aws:resourceaccount",
        "aws:sourcearn",  # only a service has these two
        "aws:sourceaccount",
        "aws:principalisawsservice",
        "aws:viaawsservice",
        "aws:multifactorauthpresent",  # of keys that last, as all are here, nothing is said of it
        "aws:multifactorauthage",
        "s3:authtype",
        "s3:delimiter",
        "s3:if-match",
        "s3:if-none-match",
        "s3:max-keys",
        "s3:object-lock-legal-hold",
        "s3:object-lock-mode",
        "s3:object-lock-remaining-retention-days",
        "s3:object-lock-retain-until-date",
        "s3:prefix",
        "s3:resourceaccount",
        "s3:signatureage",
        "s3:signatureversion",
        "s3:versionid",
        "s3:x-amz-acl",
        "s3:x-amz-content-sha256",
        "s3:x-amz-copy-source",
        "s3:x-amz-grant-full-control",
        "s3:x-amz-grant-read",
        "s3:x-amz-grant-read-acp",
        "s3:x-amz-grant-write",
        "s3:x-amz-grant-write-acp",
        "s3:x-amz-metadata-directive",
        "s3:x-amz-server-side-encryption",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
        "s3:x-amz-server-side-encryption-customer-algorithm",
        "s3:x-amz-storage-class",
        "s3:x-amz-website-redirect-location",
    )
)
# Keys that have several values at once: only operators of sets can speak of them.
_OF_SETS = frozenset(("s3:requestobjecttagkeys",))
_TAG_KEYS = ("s3:existingobjecttag/", "s3:requestobjecttag/")
# Ranges of addresses, by version: what is wider is as good as everybody, as Amazon has it.
_WIDEST = {4: 8, 6: 32}
_ANY, _ALL = "ForAnyValue:", "ForAllValues:"


class UnresolvedError(Exception):
    """A variable has no value: its statement is about nothing."""


def check(conditions: Any, *, has_variables: bool = False) -> None:
    """Raise MalformedPolicy for what cannot be judged."""
    if not isinstance(conditions, dict):
        raise S3Error("MalformedPolicy", "Condition must be an object.")
    for operator, wanted in conditions.items():
        of_set, name = _parted(operator)
        known = _OF_KEYS if of_set else _OPERATORS
        if name not in known or not isinstance(wanted, dict):
            raise S3Error("MalformedPolicy", f"There is no condition {operator}.")
        for key, values in wanted.items():
            _check_key(key, is_set=bool(of_set) or name == "Null")
            for value in texts(values, loose=True):
                _check_value(name.removesuffix("IfExists"), value)
                if has_variables:
                    check_variables(value)


def _check_key(key: str, *, is_set: bool) -> None:
    name = key.lower()
    if name in _OF_SETS:
        if not is_set:
            message = f"{key} has several values: it needs {_ANY} or {_ALL}."
            raise S3Error("MalformedPolicy", message)
    elif name not in _KEYS and (not name.startswith(_TAG_KEYS) or name in _TAG_KEYS):
        raise S3Error("MalformedPolicy", f"Policy has an invalid condition key {key}.")


def _check_value(operator: str, value: str) -> None:
    if operator in ("IpAddress", "NotIpAddress"):
        _network(value)
    elif operator == "BinaryEquals" and _binary(value) is None:
        raise S3Error("MalformedPolicy", f"{value!r} is not base64.")


def texts(value: Any, *, loose: bool = False) -> list[str]:
    """One text, or a list of them; loose: truths and numbers, too. Raises MalformedPolicy."""
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


def hold(conditions: Mapping[str, Any], values: Values) -> bool:
    """Do they all hold?"""
    return all(
        _holds(operator, texts(wanted, loose=True), values(key.lower()))
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def is_few(conditions: Mapping[str, Any]) -> bool:
    """Does one of them hold for a few only: for named addresses, users or projects?"""
    return any(
        _is_few(operator, key.lower(), texts(wanted, loose=True))
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _is_few(operator: str, key: str, wanted: Sequence[str]) -> bool:
    if operator == "IpAddress" and key == "aws:sourceip":
        networks = [_network(each) for each in wanted]
        return all(each.prefixlen >= _WIDEST[each.version] for each in networks)
    if any("${" in each for each in wanted):
        return False  # it is what the request says
    if key not in ("aws:sourceip", "aws:userid", "aws:principalaccount", "aws:principalarn"):
        return False
    if operator in ("StringLike", "ArnLike", "ArnEquals"):
        return not any(set("*?") & set(each) for each in wanted)
    return operator in ("StringEquals", "StringEqualsIgnoreCase")


# --- Variables --------------------------------------------------------------------------------

# ${key} or ${key, 'what it is else'}; ${*}, ${?} and ${$} are these signs themselves.
_VARIABLE = re.compile(r"\$\{([^{},']*)(?:, '([^']*)')?\}")
# In patterns, in place of `*` and `?` of values: code points that no text has.
_SIGNS = {"*": "\ufdd0", "?": "\ufdd1"}
_BACK = {"\ufdd0": "*", "\ufdd1": "?"}
# Of what is compared, nothing is this.
NO_TEXT = f"\ufdd2{secrets.token_hex(16)}"
_TO_SIGNS, _FROM_SIGNS = str.maketrans(_SIGNS), str.maketrans(_BACK)


def check_variables(text: str) -> None:
    """Raise MalformedPolicy for variables that there are not."""
    for match in _VARIABLE.finditer(text):
        name, default = match[1], match[2]
        if name not in ("*", "?", "$") or default is not None:
            if name.lower() in _OF_SETS:
                raise S3Error("MalformedPolicy", f"{name} has several values: it is no variable.")
            _check_key(name, is_set=False)
    if "${" in _VARIABLE.sub("", text):
        raise S3Error("MalformedPolicy", f"{text!r} has a variable that cannot be read.")


def all_resolved(
    conditions: Mapping[str, Any], values: Values, unknown: str | None
) -> Mapping[str, Any]:
    """Conditions with the values of their variables; see `resolved`."""
    return {
        operator: {
            key: [resolved(each, values, unknown) for each in texts(wanted, loose=True)]
            for key, wanted in keys.items()
        }
        for operator, keys in conditions.items()
    }


def resolved(text: str, values: Values, unknown: str | None = None) -> str:
    """A pattern with the values of its variables, and `unknown` for those that have none; without
    that raises UnresolvedError."""

    def value(match: re.Match[str]) -> str:
        if match[1] in ("*", "?", "$"):
            return match[1].translate(_TO_SIGNS)
        found = values(match[1].lower())
        found = match[2] if found is None else found
        if not isinstance(found, str):
            if unknown is None:
                raise UnresolvedError
            return unknown
        return found.translate(_TO_SIGNS)

    return _VARIABLE.sub(value, text) if "${" in text else text


# --- Comparing --------------------------------------------------------------------------------


@lru_cache(1024)
def _pattern(text: str) -> re.Pattern[str]:
    """`*` for any text, `?` for a character. What is between two `*` is where it is found first,
    and nowhere else is tried: many of them cost no more."""
    first, *more = (
        "".join("." if each == "?" else re.escape(_BACK.get(each, each)) for each in part)
        for part in text.split("*")
    )
    between = "".join(f"(?>.*?{part})" for part in more[:-1])
    return re.compile(first + between + "".join(f".*{part}" for part in more[-1:]), re.DOTALL)


def fits(pattern: str, text: str) -> bool:
    """Does a text fit a pattern with `*` and `?`?"""
    return _pattern(pattern).fullmatch(text) is not None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _number(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


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


def _binary(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


_COMPARE: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda found, wanted: found == wanted.translate(_FROM_SIGNS),
    "StringEqualsIgnoreCase": (
        lambda found, wanted: found.lower() == wanted.translate(_FROM_SIGNS).lower()
    ),
    "StringLike": lambda found, wanted: fits(wanted, found),
    "ArnEquals": lambda found, wanted: fits(wanted, found),
    "ArnLike": lambda found, wanted: fits(wanted, found),
    "Bool": lambda found, wanted: found.lower() == wanted.lower(),
    "BinaryEquals": lambda found, wanted: found.encode() == _binary(wanted),
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
# Each holds where none of the values fits.
_NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress",
}
_OF_KEYS = frozenset(f"{name}{end}" for name in (*_COMPARE, *_NEGATED) for end in ("", "IfExists"))
_OPERATORS = _OF_KEYS | {"Null"}


def _parted(operator: str) -> tuple[str, str]:
    """What it asks of several values (empty: there is one), and the rest."""
    for of_set in (_ANY, _ALL):
        if operator.startswith(of_set):
            return of_set, operator.removeprefix(of_set)
    return "", operator


def _holds(operator: str, wanted: Sequence[str], found: str | tuple[str, ...] | None) -> bool:
    of_set, name = _parted(operator)
    if name == "Null":
        return any((each.lower() == "true") == (found is None) for each in wanted)
    is_lenient, name = name.endswith("IfExists"), name.removesuffix("IfExists")
    is_negative = name in _NEGATED
    if found is None:
        return is_lenient or of_set == _ALL or (is_negative and of_set != _ANY)
    compare = _COMPARE[_NEGATED.get(name, name)]
    values = (found,) if isinstance(found, str) else found
    held = (any(compare(value, each) for each in wanted) != is_negative for value in values)
    return all(held) if of_set == _ALL else any(held)
