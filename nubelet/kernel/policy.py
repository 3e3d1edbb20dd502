"""Who may do what: the policy rules of one service, named as upstream names them.

Every route names a rule and every rule has a default in its service's `policy.py`. An operator
may override a default with a line in a policy.yaml file, which is read again when it changes.
Nothing is allowed by omission: a rule nobody defined refuses, a file with a mistake in it is not
used at all, and a token of the wrong scope is refused before the rule is looked at.

Read next: `policy_language.py`, what a rule may say and how it is compiled.
In OpenStack: oslo_policy/policy.py, Enforcer.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nubelet.kernel.errors import Forbidden
from nubelet.kernel.policy_checks import Check, PolicyError, describe
from nubelet.kernel.policy_language import (
    All,
    AnyOf,
    Leaf,
    Node,
    Not,
    Reference,
    compile_node,
    parse,
    references,
)

__all__ = ["MONITOR", "Policy", "PolicyError", "Rule"]

log = logging.getLogger(__name__)


class Rule(NamedTuple):
    """A rule and its default check.

    `operations` are the (method, path) pairs it guards, for the reference page. `scope_types`
    (of `system`, `domain`, `project`) are the token scopes it accepts; empty accepts all.
    `monitored`: may monitors read what it guards (see `MONITOR`)? Not where that is what users
    put into the cloud.
    """

    name: str
    check: str
    description: str = ""
    operations: tuple[tuple[str, str], ...] = ()
    scope_types: tuple[str, ...] = ()
    monitored: bool = True


# Who sees everything of a service and changes nothing: whoever this rule lets in may make every
# request that only reads. A service without the rule has no monitors.
MONITOR = Rule(
    "monitor",
    "role:reader and system_scope:all",
    "Readers of the whole cloud: every GET is allowed, except for the content of things.",
)


class _Source(NamedTuple):
    """Where the text of a rule stands: `place` begins an error message."""

    check: object
    place: str


class _Compiled(NamedTuple):
    """All rules at one moment; replaced as a whole, so readers need no lock."""

    checks: dict[str, tuple[tuple[str, ...], Check]]
    trees: dict[str, Node]


class Policy:
    """The compiled rules of one service."""

    def __init__(
        self,
        rules: Iterable[Rule],
        overrides: Mapping[str, str] | None = None,
        *,
        enforce_scope: bool = True,
    ) -> None:
        """Compile `rules` with `overrides` (rule name to check) in place of defaults.

        Raises PolicyError for a rule defined twice, a syntax error, a reference to a rule that
        does not exist, a cycle, or an override that nothing would ever look at.
        """
        self.rules: dict[str, Rule] = {}
        self._enforce_scope = enforce_scope
        self._path: Path | None = None
        self._signature: tuple[int, ...] = ()
        for rule in rules:
            if rule.name in self.rules:
                raise PolicyError(f"rule {rule.name!r} is defined twice")
            self.rules[rule.name] = rule
        self._compiled = self._compile(
            {name: _Source(check, "override") for name, check in (overrides or {}).items()}
        )

    @classmethod
    def load(
        cls, rules: Iterable[Rule], path: Path | None, *, enforce_scope: bool = True
    ) -> Policy:
        """Compile `rules` with the overrides of a policy.yaml file, which may be absent.

        Raises PolicyError naming the file and line, the rule and the column within the check.
        """
        policy = cls(rules, enforce_scope=enforce_scope)
        if path is not None:
            policy._path = path
            policy._signature = _signature(path)
            policy._compiled = policy._compile(_read(path))
        return policy

    def allows(self, rule: str, credentials: Mapping[str, Any], target: Mapping[str, Any]) -> bool:
        """Does the rule hold for these credentials and this target? An unknown rule does not."""
        entry = self._compiled.checks.get(rule)
        if entry is None:
            return False
        scope_types, check = entry
        if scope_types and _scope(credentials) not in scope_types:
            return False
        return check(credentials, target)

    def allows_reading(self, rule: str, credentials: Mapping[str, Any]) -> bool:
        """Would a request that only reads be allowed by the service's rule for monitors?"""
        known = self.rules.get(rule)
        return (
            known is not None
            and known.monitored
            and rule != MONITOR.name
            and self.allows(MONITOR.name, credentials, {})
        )

    def authorize(
        self, rule: str, credentials: Mapping[str, Any], target: Mapping[str, Any]
    ) -> None:
        """Raise Forbidden, naming the rule, unless it holds."""
        if not self.allows(rule, credentials, target):
            raise Forbidden(f"Policy doesn't allow {rule} to be performed.", code=rule)

    def explain(self, rule: str, credentials: Mapping[str, Any], target: Mapping[str, Any]) -> str:
        """Say which checks held, one per line, indented as the rule is nested.

        Meant for `nubelet explain` and the log of a refusal, not for the refused caller.
        """
        compiled = self._compiled
        entry = compiled.checks.get(rule)
        if entry is None:
            return f"{rule}: refused, no such rule"
        scope_types, check = entry
        scope = _scope(credentials)
        if scope_types and scope not in scope_types:
            wanted = " or ".join(scope_types)
            return f"{rule}: refused, the token's scope is {scope} and the rule wants {wanted}"
        verdict = "allowed" if check(credentials, target) else "refused"
        lines = _explain(compiled.trees[rule], compiled, credentials, target, 1)
        return "\n".join([f"{rule}: {verdict}", *lines])

    def reload_if_changed(self) -> None:
        """Take up a change of the policy file; with a mistake in it, keep the rules in force."""
        if self._path is None:
            return
        signature = _signature(self._path)
        if signature == self._signature:
            return
        self._signature = signature  # also after a failure: one log line per edit, not per look
        try:
            self._compiled = self._compile(_read(self._path))
        except PolicyError as error:
            log.error("policy file not taken, earlier rules stay in force: %s", error)
        else:
            log.info("policy file %s taken", self._path)

    def _compile(self, overrides: Mapping[str, _Source]) -> _Compiled:
        sources = {name: _Source(rule.check, "default") for name, rule in self.rules.items()}
        sources.update(overrides)
        trees: dict[str, Node] = {}
        for name, source in sources.items():
            try:
                trees[name] = parse(source.check)
            except PolicyError as error:
                raise _located(error, name, source) from None
        self._refuse_unused(overrides, trees)
        checks = _Linker(sources, trees).link()
        scopes = {
            name: rule.scope_types if self._enforce_scope else ()
            for name, rule in self.rules.items()
        }
        return _Compiled({name: (scopes.get(name, ()), checks[name]) for name in trees}, trees)

    def _refuse_unused(self, overrides: Mapping[str, _Source], trees: Mapping[str, Node]) -> None:
        """A file may define rules of its own for others to refer to; any other new name is a typo.

        To take it in silence would leave the operator believing that something is now forbidden.
        """
        used = {reference.name for node in trees.values() for reference in references(node)}
        for name, source in overrides.items():
            if name not in self.rules and name not in used:
                hint = _hint(name, self.rules)
                error = PolicyError(f"there is no such rule and no rule refers to it{hint}")
                raise _located(error, name, source)


class _Linker:
    """Compiles trees in the order of their references, and finds the ones that cannot be."""

    def __init__(self, sources: Mapping[str, _Source], trees: Mapping[str, Node]) -> None:
        self._sources = sources
        self._trees = trees
        self._checks: dict[str, Check] = {}
        self._path: list[str] = []

    def link(self) -> dict[str, Check]:
        for name in self._trees:
            self._compile(name)
        return self._checks

    def _compile(self, name: str) -> Check:
        if name not in self._checks:
            self._path.append(name)
            self._checks[name] = compile_node(self._trees[name], self._resolve)
            self._path.pop()
        return self._checks[name]

    def _resolve(self, reference: Reference) -> Check:
        referrer = self._path[-1]
        reason = ""
        if reference.name not in self._trees:
            reason = f"rule:{reference.name} does not exist{_hint(reference.name, self._trees)}"
        elif reference.name in self._path:
            cycle = [*self._path[self._path.index(reference.name) :], reference.name]
            reason = f"the rule refers to itself: {' -> '.join(cycle)}"
        if reason:
            error = PolicyError(reason, column=reference.column)
            raise _located(error, referrer, self._sources[referrer])
        return self._compile(reference.name)


def _located(error: PolicyError, name: str, source: _Source) -> PolicyError:
    column = f", column {error.column}" if error.column else ""
    located = PolicyError(f"{source.place}: rule {name!r}{column}: {error.reason}")
    located.column = error.column
    return located


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _scope(credentials: Mapping[str, Any]) -> str:
    """The scope of a token, as scope_types names it; an unscoped token counts as project."""
    if credentials.get("system_scope") or credentials.get("system"):
        return "system"
    return "domain" if credentials.get("domain_id") else "project"


def _signature(path: Path) -> tuple[int, ...]:
    """What changes when the file does: a replaced, edited, removed or new file differs."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _read(path: Path) -> dict[str, _Source]:
    """The overrides of a policy.yaml file, each with its line; none when there is no file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: {error}") from None
    import yaml  # at first use: most clouds have no policy file

    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise PolicyError(f"{path}: not YAML: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, yaml.MappingNode):
        raise PolicyError(f"{path}:1: expected lines of the form 'rule name: check'")
    constructor = yaml.SafeLoader("")
    overrides: dict[str, _Source] = {}
    for key, value in document.value:
        place = f"{path}:{key.start_mark.line + 1}"
        name = str(key.value)
        if name in overrides:
            raise PolicyError(f"{place}: rule {name!r} stands here a second time")
        try:
            check = constructor.construct_object(value, deep=True)
        except yaml.YAMLError as error:
            raise PolicyError(f"{place}: rule {name!r}: put the check in quotes: {error}") from None
        overrides[name] = _Source(check, place)
    return overrides


def _explain(
    node: Node,
    compiled: _Compiled,
    credentials: Mapping[str, Any],
    target: Mapping[str, Any],
    depth: int,
) -> list[str]:
    """One line per node: `+` where it holds, `-` where it does not."""

    def below(*nodes: Node) -> list[str]:
        return [
            line
            for each in nodes
            for line in _explain(each, compiled, credentials, target, depth + 1)
        ]

    def resolve(reference: Reference) -> Check:
        return compiled.checks[reference.name][1]

    mark = "+" if compile_node(node, resolve)(credentials, target) else "-"
    start = "  " * depth + mark + " "
    match node:
        case Leaf(text=text):
            compared = describe(text, credentials, target)
            return [f"{start}{text}  ({compared})" if compared else start + text]
        case Reference(name=name):
            return [f"{start}rule:{name}", *below(compiled.trees[name])]
        case Not(node=inner):
            return [f"{start}not", *below(inner)]
        case All(nodes=nodes):
            return [f"{start}all of", *below(*nodes)]
        case AnyOf(nodes=nodes):
            return [f"{start}any of", *below(*nodes)]
