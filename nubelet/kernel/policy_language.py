"""The language of policy.yaml: from text to a tree, from a tree to a fast predicate.

A rule is text such as `role:admin or (role:member and project_id:%(project_id)s)`. It is parsed
once into a small tree, the tree is compiled once into nested closures, and a request only calls
the outermost one (about a microsecond). The tree is kept, because an explanation of a refusal
has to name the leaves that were false.

    expression = term { "or" term }
    term       = factor { "and" factor }
    factor     = "not" factor | "(" expression ")" | check
    check      = "@" | "!" | "rule:" name | "role:" name | "field:" resource ":" name "=" value
               | left ":" right

`left` is a path into the credentials or a Python literal, `right` is text in which `%(name)s`
stands for an attribute of the target; the check holds when both are the same text. Unlike
oslo.policy, which logs a malformed rule and then refuses everything, this parser raises.

Read next: `policy_checks.py`, the single checks; `policy.py`, which holds the rules of a service.
In OpenStack: oslo_policy/_parser.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from nubelet.kernel.policy_checks import (
    Attributes,
    Check,
    PolicyError,
    allow,
    compile_check,
    refuse,
)

MAX_DEPTH = 100


class Leaf(NamedTuple):
    """One check that looks at credentials and target."""

    text: str
    column: int
    holds: Check


class Reference(NamedTuple):
    """`rule:name`."""

    name: str
    column: int


class Not(NamedTuple):
    """Holds when `node` does not."""

    node: Node


class All(NamedTuple):
    """Holds when every node does."""

    nodes: tuple[Node, ...]


class AnyOf(NamedTuple):
    """Holds when one node does."""

    nodes: tuple[Node, ...]


Node: TypeAlias = Leaf | Reference | Not | All | AnyOf


def parse(rule: object) -> Node:
    """The tree of one rule, given as text or in the old form of a list of lists.

    Raises PolicyError with the column of the first thing that does not fit.
    """
    if isinstance(rule, str):
        return _parse_text(rule)
    if isinstance(rule, Sequence) and not isinstance(rule, (bytes, bytearray)):
        return _parse_lists(rule)
    raise PolicyError(f"a rule is text or a list of lists of checks, not {rule!r}")


def compile_node(node: Node, resolve: Callable[[Reference], Check]) -> Check:
    """The predicate of a tree; `resolve` gives the predicate of a referenced rule."""
    match node:
        case Leaf(holds=holds):
            return holds
        case Reference():
            return resolve(node)
        case Not(node=inner):
            negated = compile_node(inner, resolve)
            return lambda credentials, target: not negated(credentials, target)
        case All(nodes=nodes):
            return _conjunction([compile_node(each, resolve) for each in nodes])
        case AnyOf(nodes=nodes):
            return _disjunction([compile_node(each, resolve) for each in nodes])


def references(node: Node) -> Iterator[Reference]:
    """Every `rule:name` in a tree, from left to right."""
    match node:
        case Reference():
            yield node
        case Not(node=inner):
            yield from references(inner)
        case All(nodes=nodes) | AnyOf(nodes=nodes):
            for each in nodes:
                yield from references(each)


# --- text to tree -----------------------------------------------------------------------------


@lru_cache(maxsize=4096)  # many rules of a cloud have the same text; a tree never changes
def _parse_text(rule: str) -> Node:
    return _Parser(rule).parse() if rule else Leaf("@", 1, allow)


class _Token(NamedTuple):
    text: str
    column: int


class _Parser:
    """Recursive descent over the words of one rule."""

    def __init__(self, rule: str) -> None:
        self._tokens = list(_tokenize(rule))
        self._end = len(rule) + 1
        self._position = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._expression()
        if extra := self._peek():
            hint = "no '(' is open here" if extra.text == ")" else "'and' or 'or' is missing before"
            raise PolicyError(f"{hint} {extra.text!r}", column=extra.column)
        return node

    def _peek(self) -> _Token | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _accept(self, keyword: str) -> bool:
        token = self._peek()
        if token is None or token.text.lower() != keyword:
            return False
        self._position += 1
        return True

    def _expression(self) -> Node:
        nodes = [self._term()]
        while self._accept("or"):
            nodes.append(self._term())
        return nodes[0] if len(nodes) == 1 else AnyOf(tuple(nodes))

    def _term(self) -> Node:
        nodes = [self._factor()]
        while self._accept("and"):
            nodes.append(self._factor())
        return nodes[0] if len(nodes) == 1 else All(tuple(nodes))

    def _factor(self) -> Node:
        token = self._peek()
        if token is None:
            raise PolicyError("a check is expected, the rule ends here", column=self._end)
        if self._depth > MAX_DEPTH:
            raise PolicyError(f"nested deeper than {MAX_DEPTH}", column=token.column)
        self._position += 1
        self._depth += 1
        try:
            return self._factor_from(token)
        finally:
            self._depth -= 1

    def _factor_from(self, token: _Token) -> Node:
        word = token.text.lower()
        if word == "not":
            return Not(self._factor())
        if word == "(":
            node = self._expression()
            if not self._accept(")"):
                raise PolicyError("this '(' is never closed", column=token.column)
            return node
        if word in ("and", "or", ")"):
            raise PolicyError(f"a check is expected, not {token.text!r}", column=token.column)
        return _check(token.text, token.column)


def _tokenize(rule: str) -> Iterator[_Token]:
    """Words and parentheses. A parenthesis inside a word, as in `%(name)s`, belongs to the word."""
    for word in re.finditer(r"\S+", rule):
        text, column = word.group(), word.start() + 1
        opened = len(text) - len(text.lstrip("("))
        inner = text[opened:].rstrip(")")
        for offset in range(opened):
            yield _Token("(", column + offset)
        if inner:
            yield _Token(inner, column + opened)
        closed_at = opened + len(inner)
        for offset in range(closed_at, len(text)):
            yield _Token(")", column + offset)


def _parse_lists(rule: Sequence[object]) -> Node:
    """The form before there was a language: any of the outer list, all of each inner list."""
    if not rule:
        return Leaf("@", 1, allow)
    alternatives: list[Node] = []
    for inner in rule:
        checks = [inner] if isinstance(inner, str) else inner
        if not isinstance(checks, Sequence) or not all(isinstance(each, str) for each in checks):
            raise PolicyError(f"a list of checks is expected, not {inner!r}")
        if checks:
            nodes = tuple(_check(str(each), 1) for each in checks)
            alternatives.append(nodes[0] if len(nodes) == 1 else All(nodes))
    if not alternatives:
        return Leaf("!", 1, refuse)
    return alternatives[0] if len(alternatives) == 1 else AnyOf(tuple(alternatives))


def _check(text: str, column: int) -> Leaf | Reference:
    if text.startswith("rule:"):
        return Reference(text.removeprefix("rule:"), column)
    return Leaf(text, column, compile_check(text, column))


# --- joining ----------------------------------------------------------------------------------


def _conjunction(checks: list[Check]) -> Check:
    if len(checks) == 2:
        first, second = checks
        return lambda credentials, target: (
            first(credentials, target) and second(credentials, target)
        )

    def every(credentials: Attributes, target: Attributes) -> bool:
        for check in checks:  # noqa: SIM110 - all() would cost a generator per request
            if not check(credentials, target):
                return False
        return True

    return every


def _disjunction(checks: list[Check]) -> Check:
    if len(checks) == 2:
        first, second = checks
        return lambda credentials, target: first(credentials, target) or second(credentials, target)

    def some(credentials: Attributes, target: Attributes) -> bool:
        for check in checks:  # noqa: SIM110 - as above
            if check(credentials, target):
                return True
        return False

    return some
