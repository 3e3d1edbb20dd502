"""One question of the matrix: a route, asked by a caller about the things of a world."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from nubelet.kernel.http.microversions import text
from nubelet.kernel.http.routes import NEWEST, Route, parameter_names, resolve
from nubelet.kernel.service import Service
from tests.asgi import Answer
from tests.authorization.worlds import Things
from tests.examples import example

NOTHING = "00000000-0000-4000-8000-000000000000"
_JSON = "application/json"


class Example(NamedTuple):
    """How a route is asked where the smallest body that its schema accepts would not do.

    In texts, `{name}` stands for a thing of the world; a body of bytes is sent as it is. `things`
    are put in place of the world's: {"domain_id": "{spare_domain_id}"}.
    """

    body: Any = None
    query: str = ""
    headers: Mapping[str, str] = {}
    things: Mapping[str, str] = {}


class Call(NamedTuple):
    """A row of the matrix as it is asked. `label` tells several examples of a route apart."""

    service: Service
    route: Route
    example: Example | None
    label: str = ""

    @property
    def path(self) -> str:
        prefix = self.service.dialect.prefixes[0] if self.route.prefixed else ""
        return prefix + self.route.path.rstrip("/") or "/"

    def __str__(self) -> str:
        route = self.route
        limit = "" if route.until == NEWEST else f" @{text(route.until)}"
        action = f" {route.action}" if route.action else ""
        label = f" ({self.label})" if self.label else ""
        return f"{route.method} {self.path}{action}{limit}{label}"

    def question(
        self, things: Things, token: str | None, *, missing: bool = False
    ) -> dict[str, Any]:
        """The arguments of `Asker.ask`. `missing`: ids in the path lead to nothing."""
        headers = self._version_headers()
        if token is not None:
            headers["X-Auth-Token"] = token
        found = self.example or Example()
        things = {**things, **{k: _fill(value, things) for k, value in found.things.items()}}
        headers |= {name: _fill(value, things) for name, value in found.headers.items()}
        body = found.body if found.body is not None else self._smallest_body()
        if isinstance(body, bytes):
            headers.setdefault("Content-Type", "application/octet-stream")
        elif body is not None:
            headers.setdefault("Content-Type", _JSON)
            body = msgspec.json.encode(_fill(body, things))
        return {
            "method": self.route.method,
            "path": self.service.mount + self._filled_path(things, missing),
            "query": str(_fill(found.query, things)).encode(),
            "headers": headers,
            "body": body or b"",
        }

    def _filled_path(self, things: Things, missing: bool) -> str:
        path = self.path.replace("...}", "}")
        for name in parameter_names(self.route.path):
            value = things.get(f"{self.route.path.split('/')[1]}/{name}", things.get(name, NOTHING))
            is_caller = value == things.get("self/user_id")  # who always exists
            found = NOTHING if missing and len(value) >= 32 and not is_caller else value
            path = path.replace(f"{{{name}}}", found)
        return path

    def _smallest_body(self) -> Any:
        body = example(resolve(self.route.body, self._version()))
        if body is None and self.route.action:
            return {self.route.action: None}
        return body

    def _version(self) -> tuple[int, int]:
        microversions = self.service.dialect.microversions
        return min(self.route.until, microversions.maximum) if microversions else NEWEST

    def _version_headers(self) -> dict[str, str]:
        microversions = self.service.dialect.microversions
        if microversions is None:
            return {}
        version = text(self._version())
        return {"OpenStack-API-Version": f"{microversions.service_types[0]} {version}"}

    def seen(self, answer: Answer, marks: Collection[str]) -> str:
        """The letter of a caller that was let in: for a collection that may be narrowed to what
        the caller may see, `o` when it shows none of the marks, `e` when it is empty."""
        if self.route.method != "GET" or parameter_names(self.route.path) or self.route.open:
            return "+"
        body = answer.body.decode("utf-8", "replace")
        if any(mark in body for mark in marks):
            return "+"
        lists = [value for value in answer.json().values() if isinstance(value, list)]
        return "e" if lists and not any(lists) else "o"

    def about(self, things: Things, own: Things) -> Things:
        """The things of a world for a caller that has `own` in it: where the path begins with a
        user, that is the caller."""
        if self.route.path.startswith("/users/{user_id}") and own:
            return {**things, **own, "user_id": own["self/user_id"]}
        return {**things, **own}


def calls(
    service: Service, routes: Iterable[Route], examples: Mapping[str, Example]
) -> Iterator[Call]:
    """The rows of a service: its routes, and the further examples ("... (label)") of them."""
    unused = dict(examples)
    for route in routes:
        call = Call(service, route, None)
        name = str(call)
        yield call._replace(example=unused.pop(name, None))
        for key in [key for key in unused if key.startswith(f"{name} (")]:
            label = key.removeprefix(f"{name} (").removesuffix(")")
            yield call._replace(example=unused.pop(key), label=label)
    assert not unused, f"examples of {service.name} without a route: {sorted(unused)}"


def _fill(value: Any, things: Things) -> Any:
    if isinstance(value, str):
        for name, thing in things.items() if "{" in value else ():
            value = value.replace(f"{{{name}}}", thing)
        return value
    if isinstance(value, dict):
        return {_fill(key, things): _fill(each, things) for key, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, things) for each in value]
    return value
