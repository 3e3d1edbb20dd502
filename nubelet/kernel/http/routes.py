"""The route table: what a service answers to, and how a path finds its handler.

A `Route` is one operation of an API: method, path, versions, schemas, policy rule, handler.
Dispatch, validation, authorization, OpenAPI documents and the contract tests all read it.
`POST .../action` bodies are told apart by their single key (`action=`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from nubelet.kernel.context import Context, Version
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http.messages import Request

Handler = Callable[[Context, Request], Any]
Schema = Mapping[str, Any]
# A schema, one made for the asked version, or none.
SchemaSource = Schema | Callable[[Version], Schema | None] | None

OLDEST: Version = (0, 0)
NEWEST: Version = (999, 999)


@dataclass(frozen=True, kw_only=True)
class Route:
    """One operation.

    rule: the policy rule; enforced on the caller before the handler runs, unless
    `rule_needs_target`, in which case the handler must call `ctx.authorize(target=...)` itself
    (a handler that forgets is refused its answer). `open` routes need no token.
    body/query: JSON schemas (query values are lists of strings). stream: the handler reads
    `request.chunks()`; no JSON is decoded. form: the body is an HTML form, decoded as an object of
    texts. slow: takes tens of milliseconds of CPU (password
    hashing), so it runs in a few threads of its own and never holds up other requests.
    prefixed: False for paths outside the version prefix (version documents).
    """

    method: str
    path: str
    handler: Handler
    rule: str | None = None
    open: bool = False
    rule_needs_target: bool = False
    since: Version = OLDEST
    until: Version = NEWEST
    action: str | None = None
    body: SchemaSource = None
    query: SchemaSource = None
    response: SchemaSource = None
    status: int = 200
    stream: bool = False
    form: bool = False
    slow: bool = False
    prefixed: bool = True
    summary: str = ""

    def __post_init__(self) -> None:
        if not self.open and not self.rule:
            raise ValueError(f"{self.method} {self.path} has neither a policy rule nor open=True")

    def serves(self, version: Version) -> bool:
        """Does this operation exist at that version?"""
        return self.since <= version <= self.until


def by_version(*steps: tuple[Version, Schema | None]) -> Callable[[Version], Schema | None]:
    """A schema that changes: `by_version(((2, 1), first), ((2, 19), second))`."""
    ordered = sorted(steps, key=lambda step: step[0])

    def choose(version: Version) -> Schema | None:
        chosen = None
        for since, schema in ordered:
            if since <= version:
                chosen = schema
        return chosen

    return choose


def resolve(source: SchemaSource, version: Version) -> Schema | None:
    """The schema of a source at a version."""
    return source(version) if callable(source) else source


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    rest: _Node | None = None  # `{name...}`: everything that is left, slashes included
    routes: dict[str, list[Route]] = field(default_factory=dict)
    prefix_length: int = 0


class Found(NamedTuple):
    """What a path leads to: routes by method, the values its parameters took in order, and
    how many of its segments are the version prefix."""

    routes: Mapping[str, list[Route]]
    values: list[str]
    prefix_length: int


class RouteTrie:
    """Finds routes by path segments; literal segments win over parameters."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, prefix: str, route: Route) -> None:
        """Insert one route under a version prefix such as `/v3`."""
        node = self._root
        for segment in _segments(prefix) + _segments(route.path):
            if segment.startswith("{") and segment.endswith("...}"):
                node.rest = node.rest or _Node()
                node = node.rest
            elif segment.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.children.setdefault(segment, _Node())
        node.routes.setdefault(route.method, []).append(route)
        node.prefix_length = len(_segments(prefix))

    def find(self, segments: Sequence[str]) -> Found | None:
        """What a path (in decoded segments) leads to; None for an unknown path."""
        return _walk(self._root, segments, 0, [])


def _segments(path: str) -> list[str]:
    return path.strip("/").split("/") if path.strip("/") else []


def _walk(node: _Node, segments: Sequence[str], at: int, values: list[str]) -> Found | None:
    if at == len(segments):
        return Found(node.routes, values, node.prefix_length) if node.routes else None
    child = node.children.get(segments[at])
    if child is not None:
        found = _walk(child, segments, at + 1, values)
        if found:
            return found
    if node.parameter is not None and segments[at]:
        found = _walk(node.parameter, segments, at + 1, [*values, segments[at]])
        if found:
            return found
    if node.rest is not None:
        return Found(node.rest.routes, [*values, "/".join(segments[at:])], node.rest.prefix_length)
    return None


@lru_cache(maxsize=4096)
def parameter_names(path: str) -> tuple[str, ...]:
    """`("server_id",)` of `/servers/{server_id}`."""
    return tuple(
        segment[1:-1].removesuffix("...") for segment in path.split("/") if segment.startswith("{")
    )


def choose_action(routes: list[Route], body: Any, ever: Sequence[Route] = ()) -> list[Route]:
    """Of the routes of one `POST .../action` path, those that the body's key names.

    ever: the routes of all versions. Raises NotFound for an action of another version.
    """
    if not any(route.action for route in routes):
        return routes
    if not isinstance(body, dict) or len(body) != 1:
        raise BadRequest("The body must be an object with one key that names the action.")
    key = next(iter(body))
    chosen = [route for route in routes if route.action == key]
    if not chosen and any(route.action == key for route in ever):
        raise NotFound(message=f"There is no action {key} at this API version.")
    if not chosen:
        raise BadRequest(f"There is no such action: {key}")
    return chosen
