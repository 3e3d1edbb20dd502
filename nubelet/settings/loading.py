"""Read the options of a cloud: from defaults, one TOML file, the environment, the command line.

Each of these wins over the one before it. Nothing is taken silently: an unknown name is an error
with the nearest known one, a wrong value is an error that names where it stands and what is wanted.

Read next: `options.py`, the table of all options.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import msgspec

from nubelet.decoding import prepared
from nubelet.private_files import write_private
from nubelet.settings.checks import CHECKS
from nubelet.settings.options import Settings
from nubelet.settings.table import (
    PREFIX,
    Option,
    SettingsError,
    as_toml,
    find_option,
    hint,
    options,
)

FILE_NAME = "nubelet.toml"


class Explanation(NamedTuple):
    """The answer of `explain`; its text is what a person reads."""

    name: str
    value: object
    origin: str
    expected: str
    description: str

    def __str__(self) -> str:
        return (
            f"{self.name} = {as_toml(self.value)}\n"
            f"  from      {self.origin}\n  expected  {self.expected}\n  {self.description}"
        )


class _Found(NamedTuple):
    value: object
    origin: str
    is_text: bool


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """All options of a cloud, complete: what depends on `state_dir` is filled in.

    `path` is the TOML file; without one, `NUBELET_CONFIG` or `nubelet.toml` in the state folder is
    read where there is one. `environ` is the environment (default: this process's). `overrides`
    (option name -> value, None for "not given") come from the command line. Raises SettingsError.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    found: dict[str, _Found] = {}
    path = path or _find_file(environ, given)
    if path is not None:
        found.update(_from_file(path))
    found.update(_from_environment(environ))
    for name, value in given.items():
        option = find_option(name, "command line")
        found[option.name] = _Found(value, "command line", isinstance(value, str))
    values = {name: _convert(find_option(name), each) for name, each in found.items()}
    origins = {name: each.origin for name, each in found.items()}
    settings = _assemble(values, origins, environ)
    _check(settings)
    return settings


def explain(settings: Settings, name: str) -> Explanation:
    """The value in force, where it came from, and what the option means.

    Raises SettingsError when there is no such option. Passwords in URLs are not shown.
    """
    option = find_option(name)
    value: object = settings.value(name)
    if option.is_secret:
        is_url = isinstance(value, str)
        shown = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", str(value))
        value = shown if is_url or not value else "***"
    origin = settings.origins.get(option.name, "default")
    return Explanation(option.name, value, origin, option.expected, option.description)


def save(settings: Settings, path: Path) -> None:
    """Write the options that differ from their defaults to a TOML file only the owner can read.

    The file is replaced as a whole: a reader sees the old one or the new one.
    """
    lines: list[str] = []
    section = ""
    for option in options():
        if settings.origins.get(option.name, "default").startswith("default"):
            continue
        if option.section != section:
            section = option.section
            lines.append(f"\n[{section}]")
        lines.append(f"{option.field} = {as_toml(settings.value(option.name))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    head = "# Options of this cloud: `nubelet config explain OPTION` tells about each."
    write_private(path, "\n".join([head, *lines]) + "\n")


# --- where values come from -------------------------------------------------------------------


def _find_file(environ: Mapping[str, str], given: Mapping[str, object]) -> Path | None:
    if named := environ.get(PREFIX + "CONFIG"):
        return Path(named)
    state_dir = given.get("state_dir") or environ.get(PREFIX + "STATE_DIR")
    path = Path(str(state_dir) if state_dir else _default_state_dir(environ)) / FILE_NAME
    return path if path.is_file() else None


def _default_state_dir(environ: Mapping[str, str]) -> str:
    if os.geteuid() == 0:
        return "/var/lib/nubelet"
    home = environ.get("HOME") or str(Path.home())
    return (environ.get("XDG_STATE_HOME") or f"{home}/.local/state") + "/nubelet"


def _from_file(path: Path) -> dict[str, _Found]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from None
    sections = {option.section for option in options()} - {""}
    found: dict[str, _Found] = {}
    for key, value in document.items():
        if key in sections:
            if not isinstance(value, dict):
                raise SettingsError(f"{path}: {key} is a table of options: write [{key}]")
            pairs = {f"{key}.{name}": each for name, each in value.items()}
        elif isinstance(value, dict):
            raise SettingsError(f"{path}: there is no table [{key}]{hint(key, sections)}")
        else:
            pairs = {key: value}
        for name, each in pairs.items():
            found[find_option(name, str(path)).name] = _Found(each, str(path), False)
    return found


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Found]:
    """Options named in the environment. A name that begins like a table's has to be an option."""
    known = {option.variable: option for option in options()}
    sections = tuple(f"{PREFIX}{option.section.upper()}_" for option in options() if option.section)
    found: dict[str, _Found] = {}
    for variable, text in environ.items():
        if option := known.get(variable):
            found[option.name] = _Found(text, f"environment {variable}", True)
        elif variable.startswith(sections):
            raise SettingsError(
                f"environment: there is no option {variable}{hint(variable, known)}"
            )
    return found


def _convert(option: Option, found: _Found) -> Any:
    value = _from_text(option, str(found.value)) if found.is_text else found.value
    try:
        return msgspec.convert(
            value, prepared(option.type), strict=not found.is_text, dec_hook=_to_path
        )
    except (msgspec.ValidationError, TypeError):
        raise _refusal(option, found.origin, option.expected, found.value) from None


def _from_text(option: Option, text: str) -> object:
    """Text of the environment for a list or table: JSON, or values with commas between them."""
    kind = msgspec.inspect.type_info(option.type)
    inner = kind.type if isinstance(kind, msgspec.inspect.Metadata) else kind
    if isinstance(inner, (msgspec.inspect.VarTupleType, msgspec.inspect.TupleType)):
        if not text.lstrip().startswith("["):
            return [each.strip() for each in text.split(",") if each.strip()]
    elif not isinstance(inner, msgspec.inspect.DictType):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _to_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, (str, Path)) and str(value):
        return Path(os.path.abspath(os.path.expanduser(value)))
    raise TypeError


def _refusal(option: Option, origin: str, expected: str, value: object) -> SettingsError:
    shown = "the value given" if option.is_secret else as_toml(value)
    return SettingsError(f"{origin}: {option.name}: expected {expected}, not {shown}")


# --- putting it together ----------------------------------------------------------------------


def _assemble(
    values: dict[str, Any], origins: dict[str, str], environ: Mapping[str, str]
) -> Settings:
    state_dir = values.setdefault("state_dir", Path(_default_state_dir(environ)))
    images = Path(values.get("image.directory") or state_dir / "images")
    derived = {
        "database.url": f"sqlite:///{state_dir}/nubelet.sqlite",
        "identity.admin_password_file": state_dir / "admin-password",
        "federation.directory": state_dir / "identity-providers",
        "image.directory": images,
        "image.staging_directory": images / "staging",
        "image.cache_directory": state_dir / "image-cache",
        "object_store.directory": state_dir / "object-store",
        "policy.directory": state_dir / "policy",
    }
    for name, value in derived.items():
        if not values.get(name):
            values[name] = value
            origins[name] = "default, from state_dir"
    tables: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, _, field = name.rpartition(".")
        tables.setdefault(section, {})[field] = value
    top = tables.pop("", {})
    hints = get_type_hints(Settings)
    sections = {name: hints[name](**fields) for name, fields in tables.items()}
    return Settings(**top, **sections, origins=origins)


def _check(settings: Settings) -> None:
    """What a type cannot say. Raises SettingsError for the first option that does not fit."""
    for name, (holds, expected) in CHECKS.items():
        option = find_option(name)
        value = settings.value(name)
        if not holds(settings, value):
            origin = settings.origins.get(name, "default")
            raise _refusal(option, origin, expected, value)
