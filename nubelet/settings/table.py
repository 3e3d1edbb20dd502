"""The options as data: names, types in words, defaults; for messages, `explain` and the reference.

Read next: `options.py`, which this reads; `loading.py`, which uses it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from nubelet.settings.checks import CHECKS
from nubelet.settings.options import Section, Settings

PREFIX = "NUBELET_"


class SettingsError(Exception):
    """An option that cannot be used; the message names its place, its name and what is wanted."""


class Option(NamedTuple):
    """One option as the table describes it. `section` is empty for the few outside any table."""

    section: str
    field: str
    type: Any
    default: Any
    description: str
    examples: tuple[Any, ...]
    default_text: str
    is_secret: bool

    @property
    def name(self) -> str:
        """As in messages: `http.port`."""
        return f"{self.section}.{self.field}" if self.section else self.field

    @property
    def variable(self) -> str:
        """As in the environment: `NUBELET_HTTP_PORT`."""
        return PREFIX + self.name.replace(".", "_").upper()

    @property
    def expected(self) -> str:
        """What its value has to be, in words."""
        if self.name in CHECKS:
            return CHECKS[self.name][1]
        bare = get_args(self.type)[0]
        if get_origin(bare) is Literal:  # in the order of the table; msgspec sorts them
            return "one of " + ", ".join(get_args(bare))
        return _in_words(msgspec.inspect.type_info(self.type))


@cache
def options() -> tuple[Option, ...]:
    """The table of options, in the order of the file `options.py`."""
    return tuple(_options_of(Settings, ""))


def find_option(name: str, where: str = "") -> Option:
    """The option called `name`. Raises SettingsError with the nearest name, beginning `where`."""
    known = {option.name: option for option in options()}
    if name in known:
        return known[name]
    place = f"{where}: " if where else ""
    raise SettingsError(f"{place}there is no option {name!r}{hint(name, known)}")


def _options_of(holder: type[msgspec.Struct], section: str) -> Iterator[Option]:
    hints = get_type_hints(holder, include_extras=True)
    for field in msgspec.structs.fields(holder):
        hint = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, Section):
            yield from _options_of(hint, field.name)
        elif field.name != "origins":
            meta: msgspec.Meta = hint.__metadata__[0]
            extra = meta.extra or {}
            default = field.default
            if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
                default = field.default_factory()
            yield Option(
                section,
                field.name,
                hint,
                default,
                meta.description or "",
                tuple(meta.examples or ()),
                str(extra.get("default", "")),
                bool(extra.get("secret")),
            )


def _in_words(kind: Any) -> str:
    """A msgspec type description as a person would say it."""
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return _in_words(inner)
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return _number_in_words(kind)
        case msgspec.inspect.StrType(max_length=length):
            return f"text of at most {length} characters" if length else "text"
        case (
            msgspec.inspect.VarTupleType(item_type=item) | msgspec.inspect.ListType(item_type=item)
        ):
            return f"a list, each {_in_words(item)}"
        case msgspec.inspect.TupleType(item_types=items):
            return f"{len(items)} values, each {_in_words(items[0])}"
        case msgspec.inspect.DictType(value_type=value):
            return f"a table of names, each with {_in_words(value)}"
        case _:
            return "the path of a file or folder"


def _number_in_words(kind: Any) -> str:
    noun = "an integer" if isinstance(kind, msgspec.inspect.IntType) else "a number"
    low, high = kind.ge if kind.ge is not None else kind.gt, kind.le
    word = "from" if kind.ge is not None else "above"
    if low is None:
        return noun
    return f"{noun} {word} {low}" + (f" to {high}" if high is not None else " up")


def as_toml(value: object) -> str:
    """A value as it is written in the file."""
    if isinstance(value, msgspec.Struct):
        value = _as_table(value)
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {as_toml(each)}" for key, each in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(as_toml(each) for each in value) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def _as_table(value: msgspec.Struct) -> dict[str, object]:
    """A variant of an option: its type, and what differs from its defaults."""
    table: dict[str, object] = {"type": value.__struct_config__.tag}
    for field in msgspec.structs.fields(value):
        given = getattr(value, field.name)
        if given != field.default:
            table[field.name] = given
    return table


def hint(name: str, known: Iterable[str]) -> str:
    """The nearest known name, as the end of an error message; empty when none is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
