"""The mapping language: from what an identity provider says of somebody to a user of ours.

A mapping is a list of rules. A rule has conditions on the attributes of the assertion (`remote`)
and what follows when all of them hold (`local`). A condition without `any_one_of` or `not_any_of`
also keeps its values, as they were or through a `whitelist` or `blacklist`; `{0}`, `{1}`, ... in
`local` stand for the kept values in their order.

    {"remote": [{"type": "OIDC-preferred_username"},
                {"type": "OIDC-groups", "whitelist": ["^dev-.*"], "regex": true}],
     "local": [{"user": {"name": "{0}"}, "groups": "{1}", "domain": {"name": "Default"}}]}

`schema_version` 2.0 heeds the domain of a rule and of a project; in 1.0 users and projects are
always in the domain of the identity provider. Nothing here looks at the database.

Read next: `login.py`, which makes users, groups and projects of the result.
In OpenStack: keystone/federation/utils.py.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nubelet.identity.federation.rules_schema import DEFAULT_VERSION, SCHEMAS
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http import schemas

Attributes = Mapping[str, Sequence[str]]
Values = list[str]
_PLACEHOLDER = re.compile(r"\{(\d*)\}")
_FILTERS = ("any_one_of", "not_any_of", "blacklist", "whitelist")


class Place(NamedTuple):
    """A domain as a mapping names it, by id or by name."""

    id: str | None = None
    name: str | None = None


@dataclass
class Mapped:
    """Who somebody is by a mapping. `domain` None: that of the identity provider."""

    name: str | None = None
    id: str | None = None
    email: str | None = None
    is_local: bool = False
    domain: Place | None = None
    group_ids: list[str] = field(default_factory=list)
    groups: list[tuple[str, Place]] = field(default_factory=list)
    projects: list[MappedProject] = field(default_factory=list)


class MappedProject(NamedTuple):
    """A project that somebody is to have, with roles there."""

    name: str
    roles: tuple[str, ...]
    domain: Place | None


def check(given: Mapping[str, Any]) -> dict[str, Any]:
    """The rules and their version out of a request's mapping; raises BadRequest."""
    version = given.get("schema_version") or DEFAULT_VERSION
    if version not in SCHEMAS:
        raise BadRequest(
            "Invalid input for field/attribute schema_version: it must be one of "
            f"{', '.join(SCHEMAS)}."
        )
    # The command line sends null for a version that was not named.
    schemas.check(SCHEMAS[version], {**given, "schema_version": version}, "mapping")
    for rule in given["rules"]:
        for condition in rule["remote"]:
            _check_expressions(condition)
        kept = sum(1 for each in rule["remote"] if not {"any_one_of", "not_any_of"} & each.keys())
        for text in _texts(rule["local"]):
            _check_placeholders(text, kept)
    return {"rules": given["rules"], "schema_version": version}


def evaluate(mapping_id: str, rules: Any, version: str, attributes: Attributes) -> Mapped:
    """Who the bearer of these attributes is; raises BadRequest where no rule says it."""
    follows = []
    for rule in rules:
        kept = _kept_values(rule["remote"], attributes)
        if kept is not None:
            follows += [_fill(local, kept, mapping_id) for local in rule["local"]]
    if not follows:
        raise BadRequest(
            "Could not map any federated user properties to identity values: no rule of the "
            f"mapping {mapping_id} fits."
        )
    mapped, named = Mapped(), False
    for local in follows:
        if local.get("user") and not named:  # the first user counts
            _take_user(mapped, local, version)
            named = True
        _take_groups(mapped, local, mapping_id)
        mapped.projects += _projects(local, version)
    mapped.group_ids = list(dict.fromkeys(mapped.group_ids))
    mapped.groups = list(dict.fromkeys(mapped.groups))
    return mapped


def split(attributes: Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
    """Attributes as lists: a text holds several values when there are semicolons in it."""
    return {
        name: value.split(";") if isinstance(value, str) else [str(each) for each in value]
        for name, value in attributes.items()
    }


# --- Conditions -------------------------------------------------------------------------------


def _kept_values(conditions: Any, attributes: Attributes) -> list[Values] | None:
    """The values for `{0}`, `{1}`, ...; None where a condition does not hold."""
    kept = []
    for condition in conditions:
        values = list(attributes.get(condition["type"], ()))
        if not values:
            return None
        kind = next((name for name in _FILTERS if name in condition), None)
        if kind is None:
            kept.append(values)
            continue
        fitting = _fitting(condition[kind], values, bool(condition.get("regex")))
        if kind == "whitelist":
            kept.append(fitting)
        elif kind == "blacklist":
            kept.append([value for value in values if value not in fitting])
        elif bool(fitting) != (kind == "any_one_of"):
            return None
    return kept


def _fitting(wanted: Sequence[str], values: Values, is_regex: bool) -> Values:
    if is_regex:
        return [value for value in values if any(re.search(each, value) for each in wanted)]
    return [value for value in values if value in wanted]


# --- What follows -----------------------------------------------------------------------------


def _fill(local: Any, kept: list[Values], mapping_id: str) -> Any:
    """A copy of a part of `local` with its placeholders filled. A text that is nothing but a
    placeholder becomes a list when there are several values (or none)."""
    if isinstance(local, dict):
        return {name: _fill(each, kept, mapping_id) for name, each in local.items()}
    if isinstance(local, list):
        return [_fill(each, kept, mapping_id) for each in local]
    if not isinstance(local, str):
        return local

    def values_of(match: re.Match[str], position: int) -> Values:
        number = int(match[1]) if match[1] else position
        if number >= len(kept):
            raise BadRequest(
                f"The mapping {mapping_id} refers to {match[0]}, but its rule keeps "
                f"{len(kept)} values."
            )
        return kept[number]

    whole = _PLACEHOLDER.fullmatch(local)
    if whole is None and local.startswith("["):
        return _written_list(local) or local
    if whole:
        values = values_of(whole, 0)
        return values[0] if len(values) == 1 else values
    positions = iter(range(len(kept) + local.count("{}")))
    return _PLACEHOLDER.sub(
        lambda match: ";".join(values_of(match, next(positions) if not match[1] else 0)), local
    )


def _written_list(text: str) -> list[str] | None:
    """A list that stands in the mapping itself as `['a', 'b']`. What comes from a provider is
    never read so: it would be the provider's users who write it."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return [str(each) for each in found] if isinstance(found, list) else None


def _take_user(mapped: Mapped, local: Mapping[str, Any], version: str) -> None:
    user = local["user"]
    mapped.name, mapped.id = _text(user.get("name")), _text(user.get("id"))
    mapped.email = _text(user.get("email"))
    mapped.is_local = user.get("type") == "local"
    if version != "1.0" or mapped.is_local:
        mapped.domain = _place(user.get("domain")) or _place(local.get("domain"))


def _take_groups(mapped: Mapped, local: Mapping[str, Any], mapping_id: str) -> None:
    group = local.get("group")
    if group and "id" in group:
        mapped.group_ids += _list(group["id"])
    elif group:
        place = _place(group["domain"])
        if place:
            mapped.groups += [(name, place) for name in _list(group["name"])]
    mapped.group_ids += _list(local.get("group_ids"))
    for name in _list(local.get("groups")):
        mapped.groups.append(_group(name, local, mapping_id))


def _group(name: str, local: Mapping[str, Any], mapping_id: str) -> tuple[str, Place]:
    """A group by its name, or by `JSON:{"name": ..., "domain": {...}}` as clouds write it in
    assertions for one another."""
    domain: Any = local.get("domain")
    if name.startswith("JSON:"):
        try:
            given = json.loads(name.removeprefix("JSON:"))
            name, domain = given["name"], given.get("domain")
        except (ValueError, TypeError, KeyError, AttributeError):
            raise BadRequest(f"{name[:100]} does not name a group.") from None
    place = _place(domain)
    if place is None or not isinstance(name, str):
        raise BadRequest(
            f"The mapping {mapping_id} is not valid: both groups and domain must be specified."
        )
    return name, place


def _projects(local: Mapping[str, Any], version: str) -> Iterator[MappedProject]:
    for project in local.get("projects") or ():
        domain = None
        if version != "1.0":
            domain = _place(project.get("domain")) or _place(local.get("domain"))
        roles = tuple(role for each in project["roles"] for role in _list(each["name"]))
        for name in _list(project["name"]):
            yield MappedProject(name, roles, domain)


def _place(given: Any) -> Place | None:
    if not isinstance(given, dict):
        return None
    identifier, name = _text(given.get("id")), _text(given.get("name"))
    return Place(identifier, name) if identifier or name else None


def _text(value: Any) -> str | None:
    if isinstance(value, list):
        value = ";".join(value)
    return value or None


def _list(value: Any) -> list[str]:
    if not value:
        return []
    if isinstance(value, list):
        return [str(each) for each in value]
    return [str(value)]


# --- Checks -----------------------------------------------------------------------------------


def _check_expressions(condition: Mapping[str, Any]) -> None:
    if not condition.get("regex"):
        return
    for kind in _FILTERS:
        for expression in condition.get(kind, ()):
            try:
                re.compile(expression)
            except (re.error, RecursionError, OverflowError) as error:
                raise BadRequest(
                    f"Invalid input for field/attribute {kind}: {expression!r} is not a regular "
                    f"expression ({error})."
                ) from None


def _check_placeholders(text: str, kept: int) -> None:
    for match in _PLACEHOLDER.finditer(text):
        if match[1] and int(match[1]) >= kept:
            raise BadRequest(
                f"Invalid input for field/attribute local: {match[0]} refers to a condition that "
                f"is not there; those that keep their values are counted from 0 to {kept - 1}."
            )


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict | list):
        for each in part.values() if isinstance(part, dict) else part:
            yield from _texts(each)
