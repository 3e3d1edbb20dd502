"""What placement's query parameters say: resources, traits, aggregates, granular groups."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from nubelet.kernel.context import Context, Version
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.messages import Query
from nubelet.kernel.http.routes import Schema
from nubelet.kernel.ids import is_uuid
from nubelet.placement import names
from nubelet.placement.api.answers import canonical
from nubelet.placement.search import Group

BAD_VALUE = "placement.query.bad_value"
DUPLICATE_KEY = "placement.query.duplicate_key"
MISSING_VALUE = "placement.query.missing_value"
_TRAIT = re.compile(r"[A-Z0-9_]{1,255}")
_RESOURCE = re.compile(r"([A-Z0-9_]{1,255}):([1-9]\d{0,18})")
_STRINGS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
Names = frozenset[str]


class Traits(NamedTuple):
    """required: of each set one; forbidden: none."""

    required: tuple[Names, ...] = ()
    forbidden: Names = frozenset()


class Aggregates(NamedTuple):
    """member_of: of each set one; excluded: none."""

    member_of: tuple[Names, ...] = ()
    excluded: Names = frozenset()


def allowed_keys(
    version: Version, keys: dict[str, Version], patterns: dict[str, Version] | None = None
) -> Schema:
    """A schema that refuses parameters which do not exist at the version."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: _STRINGS for key, since in keys.items() if since <= version},
        "patternProperties": {
            key: _STRINGS for key, since in (patterns or {}).items() if since <= version
        },
    }


def one(query: Query, key: str, name: str = "") -> str | None:
    """A parameter that may be given once; raises BadRequest when it is given more often.

    `name`: how the caller spelled it, if not as `key`.
    """
    values = query.get(key)
    if values is None:
        return None
    if len(values) > 1:
        raise BadRequest(
            f"Query parameter {name or key} is given {len(values)} times; once is allowed.",
            code=DUPLICATE_KEY,
        )
    return values[0]


def resources(key: str, text: str) -> dict[str, int]:
    """`VCPU:2,MEMORY_MB:512`; raises BadRequest."""
    found: dict[str, int] = {}
    for part in text.split(","):
        match = _RESOURCE.fullmatch(part.strip())
        if match is None:
            raise BadRequest(
                f"Badly formed {key} parameter '{text}': expected RESOURCE_CLASS:AMOUNT,...",
                code=BAD_VALUE,
            )
        if match[1] in found:
            raise BadRequest(f"Resource class {match[1]} is given twice in {key}.", code=BAD_VALUE)
        found[match[1]] = int(match[2])
    return found


def require_known_classes(tx: Tx, key: str, asked: dict[str, int]) -> None:
    """Raise BadRequest for a resource class that does not exist."""
    unknown = names.unknown_resource_classes(tx, asked)
    if unknown:
        raise BadRequest(f"Invalid resource class in {key} parameter: {', '.join(unknown)}")


def traits(ctx: Context, key: str, values: list[str], *, any_of: bool = True) -> Traits:
    """`A,B`, `!C` (1.22), several of them and `in:A,B` (1.39; unless `any_of` is False)."""
    required: list[Names] = []
    forbidden: set[str] = set()
    for value in values if ctx.at_least(1, 39) else values[-1:]:
        if any_of and ctx.at_least(1, 39) and value.startswith("in:"):
            alternatives = value[3:].split(",")
            _require_traits(key, value, alternatives)
            required.append(frozenset(alternatives))
            continue
        for part in map(str.strip, value.split(",")):
            excluded = ctx.at_least(1, 22) and part.startswith("!")
            name = part.removeprefix("!") if excluded else part
            _require_traits(key, value, [name])
            if excluded:
                forbidden.add(name)
            else:
                required.append(frozenset((name,)))
    conflicting = {name for one_of in required for name in one_of if len(one_of) == 1} & forbidden
    if conflicting:
        raise BadRequest(
            "Conflicting required and forbidden traits found in the following "
            f"traits keys: {key}: ({', '.join(sorted(conflicting))})"
        )
    return Traits(tuple(dict.fromkeys(required)), frozenset(forbidden))


def _require_traits(key: str, value: str, found: list[str]) -> None:
    if not all(_TRAIT.fullmatch(name) for name in found):
        raise BadRequest(
            f"Invalid query string parameters: Expected '{key}' parameter value of "
            f"the form: HW_CPU_X86_VMX,CUSTOM_MAGIC. Got: {value}",
            code=BAD_VALUE,
        )


def require_known_traits(tx: Tx, asked: set[str]) -> None:
    """Raise BadRequest for a trait that does not exist."""
    unknown = names.unknown_traits(tx, asked)
    if unknown:
        raise BadRequest(f"No such trait(s): {', '.join(unknown)}.")


def aggregates(ctx: Context, key: str, values: list[str]) -> Aggregates:
    """`A`, `in:A,B`, and from 1.32 on `!A`, `!in:A,B`; several from 1.24 on."""
    if len(values) > 1 and not ctx.at_least(1, 24):
        raise BadRequest(f"Multiple {key} parameters are not supported", code=DUPLICATE_KEY)
    member_of: list[Names] = []
    excluded: set[str] = set()
    for value in values:
        text = value
        negative = text.startswith("!") and ctx.at_least(1, 32)
        if negative:
            text = text[1:]
        if text.startswith("in:"):
            ids = text[3:].split(",")
        elif "," in text:
            raise BadRequest(
                f"Multiple values for '{key}' must be prefixed with the 'in:' "
                f"keyword. Got: {value}",
                code=BAD_VALUE,
            )
        else:
            ids = [text]
        if not all(is_uuid(each) for each in ids):
            raise BadRequest(
                f"Expected '{key}' parameter to contain valid UUID(s). Got: {value}", code=BAD_VALUE
            )
        found = frozenset(canonical(each) for each in ids)
        if negative:
            excluded |= found
        else:
            member_of.append(found)
    return Aggregates(tuple(member_of), frozenset(excluded))


def uuid(key: str, text: str | None) -> str | None:
    """A UUID parameter; raises BadRequest."""
    if text is None:
        return None
    if not is_uuid(text):
        raise BadRequest(f"Expected '{key}' parameter to be a UUID. Got: {text}", code=BAD_VALUE)
    return canonical(text)


_GROUP_KEY_25 = re.compile(r"(resources|required|member_of|in_tree)([1-9]\d*)?")
_GROUP_KEY_33 = re.compile(r"(resources|required|member_of|in_tree)([a-zA-Z0-9_-]{1,64})?")
GROUP_PATTERNS = {
    "^(resources|required|member_of)[1-9][0-9]*$": (1, 25),
    "^in_tree[1-9][0-9]*$": (1, 31),
    "^(resources|required|member_of|in_tree)[a-zA-Z0-9_-]{1,64}$": (1, 33),
}


def groups(ctx: Context, query: Query, subtrees: Names) -> tuple[Group, ...]:
    """The request groups of a query; raises BadRequest for one without resources.

    From 1.36 on a group with a suffix named in same_subtree (`subtrees`) may have none.
    """
    pattern = _GROUP_KEY_33 if ctx.at_least(1, 33) else _GROUP_KEY_25
    parts: dict[str, dict[str, list[str]]] = {}
    for key, values in query.items():
        match = pattern.fullmatch(key)
        if match:
            parts.setdefault(match[2] or "", {})[match[1]] = values
    found = []
    for suffix, given in sorted(parts.items()):
        if "resources" not in given:
            _require_subtree(ctx, suffix, given, subtrees)
        found.append(_group(ctx, suffix, given))
    if not any(group.resources for group in found):
        raise BadRequest(
            "There must be at least one resources or resources[$S] parameter.", code=MISSING_VALUE
        )
    return tuple(found)


def _require_subtree(
    ctx: Context,
    suffix: str,
    given: dict[str, list[str]],
    subtrees: Names,
) -> None:
    if suffix and suffix in subtrees and ctx.at_least(1, 36):
        return
    raise BadRequest(
        f"All traits and aggregates must be associated with resources: "
        f"{', '.join(f'{name}{suffix}' for name in sorted(given))} without "
        f"resources{suffix}.",
        code=MISSING_VALUE,
    )


def _group(ctx: Context, suffix: str, given: dict[str, list[str]]) -> Group:
    text = one(given, "resources", f"resources{suffix}")
    asked = traits(ctx, f"required{suffix}", given.get("required", []))
    belonging = aggregates(ctx, f"member_of{suffix}", given.get("member_of", []))
    in_tree = uuid(f"in_tree{suffix}", one(given, "in_tree", f"in_tree{suffix}"))
    return Group(
        suffix,
        resources(f"resources{suffix}", text) if text is not None else {},
        asked.required,
        asked.forbidden,
        belonging.member_of,
        belonging.excluded,
        in_tree,
    )
