"""The single checks of a policy rule: what stands between `and`, `or` and `not`.

Each function here turns the text of one check into a closure over credentials and target, done
once when the rules are loaded; whatever can be decided from the text alone is decided then.

Read next: `policy_language.py`, which joins checks into rules.
In OpenStack: oslo_policy/_checks.py; `field:` is neutron/policy.py, FieldCheck.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Attributes: TypeAlias = Mapping[str, Any]
Check: TypeAlias = Callable[[Attributes, Attributes], bool]
"""A compiled rule: (credentials, target) -> does it hold?"""

_MISSING: Any = object()
_COLLECTIONS = (list, tuple, set, frozenset)
_PLACEHOLDER = re.compile(r"%\(([^()]*)\)s|%%")


class PolicyError(Exception):
    """A rule that cannot be used; the message says where and why.

    `column` counts from 1 within the text of the rule; 0 where no place can be named.
    """

    def __init__(self, reason: str, *, column: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.column = column


def allow(_credentials: Attributes, _target: Attributes) -> bool:
    """The check `@`."""
    return True


def refuse(_credentials: Attributes, _target: Attributes) -> bool:
    """The check `!`."""
    return False


def compile_check(text: str, column: int) -> Check:
    """The predicate of one check other than `rule:`, which stands at `column` of its rule.

    Raises PolicyError when the text is no check.
    """
    if text in ("@", "!"):
        return allow if text == "@" else refuse
    if text[0] == text[-1] and text[0] in "'\"":
        raise PolicyError(f"{text} is quoted text, not a check", column=column)
    kind, colon, match = text.partition(":")
    if not colon:
        raise PolicyError(f"{text!r} is not a check: no ':' in it", column=column)
    if kind in ("http", "https"):
        raise PolicyError("checks by a remote server are not supported", column=column)
    at_match = column + len(kind) + 1
    if kind == "role":
        return _role_check(_template(match, at_match))
    if kind == "field":
        return _field_check(match, at_match)
    return _generic_check(kind, _template(match, at_match), column)


def describe(text: str, credentials: Attributes, target: Attributes) -> str:
    """What a check compared: the values of its left and right side, for an explanation."""
    kind, _, match = text.partition(":")
    if kind == "role":
        found = [f"roles: {', '.join(sorted(credentials.get('roles') or ())) or 'none'}"]
    elif kind == "field":
        name = match.partition(":")[2].partition("=")[0]
        found = [f"target's {name}: {_shown(_target_value(name)(target))}"]
    elif text in ("@", "!") or kind[:1] in "'\"" or kind in ("True", "False", "None"):
        found = []
    else:
        found = [f"caller's {kind}: {_shown(_credential_value(kind)(credentials))}"]
    for placeholder in _PLACEHOLDER.finditer(match):
        if name := placeholder[1]:
            found.append(f"target's {name}: {_shown(_target_value(name)(target))}")
    return "; ".join(found)


def _shown(value: Any) -> str:
    return "absent" if value is _MISSING else repr(value)


_Fill: TypeAlias = Callable[[Attributes], Any]


def _template(text: str, column: int) -> str | _Fill:
    """Text with `%(name)s` in it as a function of the target; plain text stays text.

    The function answers _MISSING when the target lacks a name.
    """
    remainder = _PLACEHOLDER.sub("", text)
    if "%" in remainder:
        raise PolicyError(f"only %(name)s and %% may follow '%' in {text!r}", column=column)
    names = [match[1] for match in _PLACEHOLDER.finditer(text) if match[1] is not None]
    if not names:
        return text.replace("%%", "%")
    if len(names) == 1 and text == f"%({names[0]})s":
        return _target_value(names[0])
    values = [(name, _target_value(name)) for name in names]

    def fill(target: Attributes) -> Any:
        found = {name: value(target) for name, value in values}
        return _MISSING if _MISSING in found.values() else text % found

    return fill


def _target_value(name: str) -> _Fill:
    """Find an attribute of the target: under its flat name, else by its path through mappings."""
    path = name.split(".")
    if len(path) == 1:
        return lambda target: target.get(name, _MISSING)

    def find(target: Attributes) -> Any:
        value = target.get(name, _MISSING)
        return _walk(target, path) if value is _MISSING else value

    return find


def _walk(value: Any, path: list[str]) -> Any:
    for segment in path:
        if not isinstance(value, Mapping):
            return _MISSING
        value = value.get(segment, _MISSING)
    return value


def _role_check(wanted: str | _Fill) -> Check:
    """`role:name`: the name of a role is compared without regard to case."""
    if isinstance(wanted, str):
        name = wanted.lower()

        def has_role(credentials: Attributes, _target: Attributes) -> bool:
            roles = credentials.get("roles") or ()
            return name in roles or any(role.lower() == name for role in roles)

        return has_role
    fill = wanted

    def has_target_role(credentials: Attributes, target: Attributes) -> bool:
        role = fill(target)
        if role is _MISSING:
            return False
        lowered = str(role).lower()
        return any(each.lower() == lowered for each in credentials.get("roles") or ())

    return has_target_role


def _field_check(match: str, column: int) -> Check:
    """`field:networks:shared=True`, `field:port:device_owner=~^network:`.

    The network service's own check of an attribute of the target against a fixed value (compared
    as text, true and false without regard to case) or, after `~`, a regular expression.
    """
    resource, colon, assignment = match.partition(":")
    name, equals, value = assignment.partition("=")
    if not (resource and colon and name and equals):
        raise PolicyError("expected field:resource:attribute=value", column=column)
    find = _target_value(name)
    holds = _field_predicate(value, column)

    def field_holds(_credentials: Attributes, target: Attributes) -> bool:
        found = find(target)
        return found is not _MISSING and found is not None and holds(str(found))

    return field_holds


def _field_predicate(value: str, column: int) -> Callable[[str], bool]:
    if value.startswith("~"):
        try:
            pattern = re.compile(value[1:])
        except re.error as error:
            raise PolicyError(
                f"{value[1:]!r} is no regular expression: {error}", column=column
            ) from None
        return lambda text: pattern.match(text) is not None
    if value.lower() in ("true", "false"):
        return lambda text: text.lower() == value.lower()
    return lambda text: text == value


def _generic_check(kind: str, wanted: str | _Fill, column: int) -> Check:
    literal = _literal(kind, column)
    if literal is not None:
        return _literal_check(literal, wanted)
    find = _credential_value(kind)
    if isinstance(wanted, str):
        constant = wanted

        def equals_constant(credentials: Attributes, _target: Attributes) -> bool:
            return _same(find(credentials), constant)

        return equals_constant
    fill = wanted

    def equals_target(credentials: Attributes, target: Attributes) -> bool:
        value = fill(target)
        if value is _MISSING:
            return False
        return _same(find(credentials), value if type(value) is str else str(value))

    return equals_target


def _literal(kind: str, column: int) -> str | None:
    """The text of a Python literal on the left side; None where it is a path."""
    try:
        return str(ast.literal_eval(kind))
    except ValueError:
        return None
    except (SyntaxError, TypeError, MemoryError, RecursionError):
        raise PolicyError(
            f"{kind!r} is neither a literal nor the name of a credential", column=column
        ) from None


def _literal_check(literal: str, wanted: str | _Fill) -> Check:
    if isinstance(wanted, str):
        return allow if wanted == literal else refuse
    fill = wanted

    def equals_literal(_credentials: Attributes, target: Attributes) -> bool:
        value = fill(target)
        return value is not _MISSING and str(value) == literal

    return equals_literal


def _credential_value(kind: str) -> _Fill:
    if kind == "system":  # the older spelling of system_scope, filled from it when that is set
        return lambda credentials: (
            credentials.get("system_scope") or credentials.get("system", _MISSING)
        )
    path = kind.split(".")
    if len(path) == 1:
        return lambda credentials: credentials.get(kind, _MISSING)

    def find(credentials: Attributes) -> Any:
        value = credentials.get(kind, _MISSING)
        return _candidates(credentials, path) if value is _MISSING else value

    return find


def _candidates(value: Any, path: list[str]) -> Any:
    """All values a path leads to: a collection on the way is searched element by element."""
    for position, segment in enumerate(path):
        if not isinstance(value, Mapping):
            return _MISSING
        value = value.get(segment, _MISSING)
        if isinstance(value, _COLLECTIONS):
            return [
                found
                for each in value
                for found in _as_list(_candidates(each, path[position + 1 :]))
            ]
    return value


def _as_list(value: Any) -> list[Any]:
    if value is _MISSING:
        return []
    return list(value) if isinstance(value, _COLLECTIONS) else [value]


def _same(value: Any, wanted: str) -> bool:
    if type(value) is str:
        return value == wanted
    if value is _MISSING:
        return False
    if isinstance(value, _COLLECTIONS):
        return any(str(each) == wanted for each in value)
    return str(value) == wanted
