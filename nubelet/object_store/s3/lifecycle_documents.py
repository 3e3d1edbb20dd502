"""Lifecycle configurations as documents: read without trusting them, and written.

What is out of place is MalformedXML, as S3 has it of what its schema does not allow; values that
cannot be are InvalidArgument, combinations InvalidRequest.

Reference: Amazon S3 API Reference, "PutBucketLifecycleConfiguration".
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element

from nubelet.object_store.s3 import digits, tags, xml
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.s3.lifecycle_rules import (
    AND,
    EMPTY,
    OLD,
    Lifecycle,
    Rule,
    is_midnight,
    iso,
)

ROOT = "LifecycleConfiguration"
_MOST_RULES, _LONGEST_ID, _LONGEST_PREFIX = 1000, 255, 1024
_MOST_DAYS, _MOST_KEPT, _MOST_BYTES = 2**31 - 1, 100, 2**63 - 1
_END_OF_YEARS = 253_402_300_800
# The classes that S3 can move keys to. There is STANDARD alone here, where all keys are.
_CLASSES = (
    *("GLACIER", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "DEEP_ARCHIVE"),
    "GLACIER_IR",
)
_TRANSITIONS = ("Transition", "NoncurrentVersionTransition")
_ACTIONS = ("Expiration", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
_OF_RULES = {"ID", "Status", "Prefix", "Filter", *_TRANSITIONS, *_ACTIONS}
_OF_FILTERS = ("Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan")


# --- Read -------------------------------------------------------------------------------------


def read(body: bytes) -> list[Rule]:
    """The rules of a document; raises MalformedXML, InvalidArgument, InvalidRequest,
    InvalidStorageClass."""
    document = xml.read(body, ROOT)
    found = document.findall("Rule")
    if not 0 < len(found) <= _MOST_RULES or len(found) != len(document):
        raise S3Error("MalformedXML", f"There must be 1 to {_MOST_RULES} rules.")
    rules = [_rule(each) for each in found]
    if len({rule.id for rule in rules}) != len(rules):
        raise S3Error("InvalidArgument", "Two rules have the same ID.")
    if len({rule.form == OLD for rule in rules}) > 1:
        raise S3Error("InvalidRequest", "Rules have a Filter, or a Prefix, but all the same.")
    return rules


def _rule(each: Element) -> Rule:
    _check_children(each, _OF_RULES, repeated=_TRANSITIONS)
    name, status = xml.text(each, "ID"), xml.text(each, "Status")
    if len(name) > _LONGEST_ID:
        raise S3Error(
            "InvalidArgument", f"ID length should not exceed allowed limit of {_LONGEST_ID}."
        )
    if status not in ("Enabled", "Disabled"):
        raise S3Error("MalformedXML", "Status must be Enabled or Disabled.")
    rule = Rule(id=name or secrets.token_hex(16), is_enabled=status == "Enabled", form=OLD)
    _read_scope(rule, each)
    _refuse_transitions(each)
    if not any(each.find(action) is not None for action in _ACTIONS):
        raise S3Error("InvalidRequest", "A rule has no action.")
    _read_expiration(rule, each.find("Expiration"))
    _read_noncurrent(rule, each.find("NoncurrentVersionExpiration"))
    _read_abort(rule, each.find("AbortIncompleteMultipartUpload"))
    return rule


def _check_children(each: Element, known: Any, repeated: tuple[str, ...] = ()) -> None:
    there = [child.tag for child in each]
    for name in there:
        if name not in known or (name not in repeated and there.count(name) > 1):
            raise S3Error("MalformedXML", f"{each.tag} has a {name} too many.")


def _read_scope(rule: Rule, each: Element) -> None:
    found = each.find("Filter")
    if (found is None) == (each.find("Prefix") is None):
        raise S3Error("MalformedXML", "A rule has a Filter, or (the older form) a Prefix.")
    if found is None:
        rule.prefix = each.findtext("Prefix") or ""
    else:
        if len(found) > 1:
            raise S3Error("MalformedXML", "What a filter has more than one of is in an And.")
        rule.form = found[0].tag if len(found) else EMPTY
        if rule.form == AND:
            if len(found[0]) < 2:
                raise S3Error("MalformedXML", "An And has at least two elements.")
            found = found[0]
        _read_filter(rule, found)
    if len(rule.prefix.encode("utf-8", "surrogatepass")) > _LONGEST_PREFIX:
        raise S3Error("InvalidRequest", f"The maximum size of a prefix is {_LONGEST_PREFIX}.")


def _read_filter(rule: Rule, found: Element) -> None:
    _check_children(found, _OF_FILTERS, repeated=("Tag",))
    rule.prefix = found.findtext("Prefix") or ""
    pairs = [
        (tag.findtext("Key") or "", tag.findtext("Value") or "") for tag in found.findall("Tag")
    ]
    if len({key for key, _value in pairs}) != len(pairs):
        raise S3Error("InvalidRequest", "Duplicate Tag Keys are not allowed.")
    rule.tags = tags.read(pairs)
    rule.greater = _size(found, "ObjectSizeGreaterThan")
    rule.less = _size(found, "ObjectSizeLessThan")
    if rule.greater is not None and rule.less is not None and rule.less <= rule.greater:
        raise S3Error(
            "InvalidRequest",
            "ObjectSizeLessThan has to be a value greater than ObjectSizeGreaterThan.",
        )


def _size(found: Element, name: str) -> int | None:
    if found.find(name) is None:
        return None
    size = _integer(found, name, "MalformedXML")
    if size < (1 if name == "ObjectSizeLessThan" else 0) or size > _MOST_BYTES:
        raise S3Error("InvalidRequest", f"{name} is not a size in bytes that it can be.")
    return size


def _integer(element: Element, name: str, code: str) -> int:
    text = xml.text(element, name)
    number = digits.read(text.removeprefix("-"), 10**15)
    if number is None:
        raise S3Error(code, f"{name} must be an integer.")
    return -number if text.startswith("-") else number


def _days(element: Element, name: str) -> int:
    days = _integer(element, name, "MalformedXML")
    if not 0 < days <= _MOST_DAYS:
        raise S3Error("InvalidArgument", f"{name} of {element.tag} must be a number above zero.")
    return days


def _refuse_transitions(each: Element) -> None:
    for name in _TRANSITIONS:
        for transition in each.findall(name):
            wanted = xml.text(transition, "StorageClass")
            if wanted not in _CLASSES:
                raise S3Error("MalformedXML", f"'{wanted}' is not a StorageClass to move keys to.")
            raise S3Error("InvalidStorageClass", f"There is no storage class {wanted} here.")


def _read_expiration(rule: Rule, found: Element | None) -> None:
    if found is None:
        return
    _check_children(found, ("Days", "Date", "ExpiredObjectDeleteMarker"))
    if len(found) != 1:
        raise S3Error(
            "MalformedXML", "Expiration has one of Days, Date and ExpiredObjectDeleteMarker."
        )
    kind = found[0].tag
    if kind == "Days":
        rule.days = _days(found, kind)
    elif kind == "Date":
        rule.date = _date(xml.text(found, kind))
    else:
        text = xml.text(found, kind)
        if text not in ("true", "false"):
            raise S3Error("MalformedXML", f"{kind} must be true or false.")
        if rule.tags:
            raise S3Error("InvalidRequest", f"{kind} does not go with tags.")
        rule.removes_markers = text == "true"


def _date(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text if "-" in text else "")  # with its dashes, as in XML
        time = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise S3Error("MalformedXML", "Date is not one of ISO 8601.") from None
    if not is_midnight(time):
        raise S3Error("InvalidArgument", "'Date' must be at midnight GMT.")
    if not 0 <= time < _END_OF_YEARS:
        raise S3Error("InvalidArgument", "'Date' must be between the years 1970 and 9999.")
    return time


def _read_noncurrent(rule: Rule, found: Element | None) -> None:
    if found is None:
        return
    _check_children(found, ("NoncurrentDays", "NewerNoncurrentVersions"))
    if found.find("NoncurrentDays") is None:
        raise S3Error("MalformedXML", f"{found.tag} has NoncurrentDays.")
    rule.noncurrent_days = _days(found, "NoncurrentDays")
    if found.find("NewerNoncurrentVersions") is not None:
        rule.noncurrent_kept = _integer(found, "NewerNoncurrentVersions", "MalformedXML")
        if not 0 < rule.noncurrent_kept <= _MOST_KEPT:
            raise S3Error(
                "InvalidArgument", f"NewerNoncurrentVersions must be between 1 and {_MOST_KEPT}."
            )


def _read_abort(rule: Rule, found: Element | None) -> None:
    if found is None:
        return
    _check_children(found, ("DaysAfterInitiation",))
    rule.abort_days = _days(found, "DaysAfterInitiation")
    if rule.tags or rule.greater is not None or rule.less is not None:
        raise S3Error("InvalidRequest", f"{found.tag} does not go with tags or sizes.")


# --- Written ----------------------------------------------------------------------------------


def document(lifecycle: Lifecycle) -> Mapping[str, Any]:
    """The content of the document that GET answers with."""
    return {"Rule": [_shown(rule) for rule in lifecycle.rules]}


def _shown(rule: Rule) -> dict[str, Any]:
    return {
        "ID": rule.id,
        "Prefix": rule.prefix if rule.form == OLD else None,
        "Filter": None if rule.form == OLD else _filter(rule),
        "Status": "Enabled" if rule.is_enabled else "Disabled",
        "Expiration": _expiration(rule),
        "NoncurrentVersionExpiration": {
            "NoncurrentDays": rule.noncurrent_days,
            "NewerNoncurrentVersions": rule.noncurrent_kept or None,
        }
        if rule.noncurrent_days
        else None,
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": rule.abort_days}
        if rule.abort_days
        else None,
    }


def _filter(rule: Rule) -> dict[str, Any]:
    has_prefix = rule.prefix or rule.form == "Prefix"
    found = {
        "Prefix": rule.prefix if has_prefix else None,
        "Tag": [{"Key": key, "Value": value} for key, value in rule.tags.items()],
        "ObjectSizeGreaterThan": rule.greater,
        "ObjectSizeLessThan": rule.less,
    }
    return {AND: found} if rule.form == AND else found


def _expiration(rule: Rule) -> dict[str, Any] | None:
    if rule.days:
        return {"Days": rule.days}
    if rule.date is not None:
        return {"Date": iso(rule.date)}
    if rule.removes_markers is not None:
        return {"ExpiredObjectDeleteMarker": rule.removes_markers}
    return None
