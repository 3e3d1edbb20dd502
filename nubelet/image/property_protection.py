"""Which additional properties of images who may create, read, update and delete.

An operator writes a file of sections, each a regular expression on the names of properties, with
the roles (or, by `image.property_protection_rule_format`, the policy check) of each action:

    [^x_licence_]
    create = admin, licence-keeper
    read = @
    update = admin
    delete = !

The first section that matches a name decides; `@` is everybody, `!` nobody; a name that no section
matches is nobody's, and neither is an action that a section leaves out. The file is read again when
it changes; one with a mistake in it is not used at all.

In OpenStack: glance/common/property_utils.py and property_protection_file.
"""

from __future__ import annotations

import configparser
import functools
import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from nubelet.image.schemas import RESERVED_PREFIX
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import Context
from nubelet.kernel.errors import Forbidden
from nubelet.kernel.policy import Policy, PolicyError, Rule

log = logging.getLogger(__name__)
Action = Literal["create", "read", "update", "delete"]
ACTIONS: tuple[Action, ...] = ("create", "read", "update", "delete")
_EVERYBODY, _NOBODY = "@", "!"


class ProtectionError(Exception):
    """The file cannot be used; the text says where it is wrong."""


class _Judge(Protocol):
    """Does an action's right-hand side let a caller in?"""

    def __call__(self, ctx: Context) -> bool: ...


class _Section(NamedTuple):
    pattern: re.Pattern[str]
    judges: Mapping[str, _Judge]


class Protection:
    """The sections of one file."""

    def __init__(self, sections: Iterable[_Section]) -> None:
        self._sections = tuple(sections)

    def allows(self, ctx: Context, name: str, action: Action) -> bool:
        """May the caller do this with a property of that name?"""
        if name.startswith(RESERVED_PREFIX):
            return True  # what the service keeps there has rules of its own
        section = next((each for each in self._sections if each.pattern.search(name)), None)
        judge = section and section.judges.get(action)
        return judge is not None and judge(ctx)


def read(path: Path, rule_format: str, rules: Iterable[Rule]) -> Protection:
    """The protection that a file describes; raises ProtectionError.

    rules: those of the image service, which a policy check may refer to.
    """
    parser = configparser.RawConfigParser(delimiters=("=",), interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise ProtectionError(f"{path}: {error}") from None
    known = tuple(rules)
    return Protection(
        _section(path, text, dict(parser[text]), rule_format, known) for text in parser.sections()
    )


def _section(
    path: Path, text: str, actions: dict[str, str], rule_format: str, rules: tuple[Rule, ...]
) -> _Section:
    place = f"{path}: [{text}]"
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ProtectionError(f"{place}: not a regular expression: {error}") from None
    unknown = actions.keys() - set(ACTIONS)
    if unknown:
        raise ProtectionError(f"{place}: there is no action {min(unknown)}")
    make = _of_roles if rule_format == "roles" else _of_policy
    return _Section(
        pattern,
        {name: make(f"{place}: {name}", value.strip(), rules) for name, value in actions.items()},
    )


def _of_roles(place: str, value: str, rules: tuple[Rule, ...]) -> _Judge:
    wanted = {role.strip().lower() for role in value.split(",")} - {""}
    if _EVERYBODY in wanted and _NOBODY in wanted:
        raise ProtectionError(f"{place}: {_EVERYBODY} and {_NOBODY} contradict each other")
    if _EVERYBODY in wanted:
        return lambda ctx: True
    if _NOBODY in wanted:
        return lambda ctx: False
    return lambda ctx: not wanted.isdisjoint(role.lower() for role in ctx.roles)


def _of_policy(place: str, value: str, rules: tuple[Rule, ...]) -> _Judge:
    if not value:  # to a policy file this would be everybody
        return lambda ctx: False
    if any(rule.name == value for rule in rules):
        return lambda ctx: ctx.allows(value)  # as the operator's policy file has it now
    name = "this property"
    try:
        policy = Policy([*rules, Rule(name, value)], enforce_scope=False)
    except PolicyError as error:
        raise ProtectionError(f"{place}: {error}") from None
    return lambda ctx: policy.allows(name, ctx.policy_credentials, ctx.own_target())


def start(cloud: Cloud) -> None:
    """Read the file of the settings; raises ProtectionError when it cannot be used."""
    cloud.provide(PropertyProtection, PropertyProtection(cloud))


def readable(ctx: Context, properties: Mapping[str, str]) -> dict[str, str]:
    """Those of an image's properties that the caller may read."""
    return reader(ctx)(properties)


def reader(ctx: Context) -> Callable[[Mapping[str, str]], dict[str, str]]:
    """As `readable`, for many images by the file as it is now: each name is judged once."""
    return ctx.cloud.get(PropertyProtection).reader(ctx)


def require(ctx: Context, present: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raise Forbidden unless the caller may bring an image's properties from one state to
    another."""
    ctx.cloud.get(PropertyProtection).require(ctx, present, wanted)


def may_filter(ctx: Context, name: str) -> bool:
    """May the caller learn which images have a property of this name and value?"""
    return ctx.cloud.get(PropertyProtection).allows(ctx, name, "read")


class PropertyProtection:
    """The file of the settings, as it is now; without one everything is allowed."""

    def __init__(self, cloud: Cloud) -> None:
        """Raises ProtectionError when the file cannot be used."""
        settings = cloud.settings.image
        text = settings.property_protection_file
        self._path = Path(text) if text else None
        self._format = settings.property_protection_rule_format
        self._rules = tuple(cloud.services["image"].rules)
        self._lock = threading.Lock()
        self._signature: tuple[int, int] | None = None
        self._protection: Protection | None = None
        if self._path:
            self._signature = _signature(self._path)
            self._protection = read(self._path, self._format, self._rules)

    def allows(self, ctx: Context, name: str, action: Action) -> bool:
        """May the caller do this with a property of that name?"""
        protection = self._current()
        return protection is None or protection.allows(ctx, name, action)

    def reader(self, ctx: Context) -> Callable[[Mapping[str, str]], dict[str, str]]:
        """Picks those of an image's properties that the caller may read."""
        protection = self._current()
        if protection is None:
            return dict
        may_read = functools.cache(lambda name: protection.allows(ctx, name, "read"))
        return lambda properties: {
            name: value for name, value in properties.items() if may_read(name)
        }

    def require(self, ctx: Context, present: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        """Raise Forbidden unless the caller may bring the properties from one state to another."""
        protection = self._current()
        if protection is None:
            return
        for name in present.keys() | wanted.keys():
            if name not in present:
                action: Action = "create"
            elif name not in wanted:
                action = "delete"
            elif present[name] != wanted[name]:
                action = "update"
            else:
                continue
            if not protection.allows(ctx, name, action):
                raise Forbidden(f"Property '{name}' is protected: you may not {action} it.")

    def _current(self) -> Protection | None:
        if self._path is None:
            return None
        signature = _signature(self._path)
        with self._lock:
            if signature != self._signature:
                self._signature = signature
                try:
                    self._protection = read(self._path, self._format, self._rules)
                    log.info("read %s again", self._path)
                except ProtectionError as error:
                    log.error("the protection of properties stays as it was: %s", error)
            return self._protection


def _signature(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
