"""What is wrong with an answer, and with what a later read shows."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NamedTuple
from urllib.parse import quote

from nubelet.kernel.http.routes import NEWEST, Route, RouteTrie, resolve
from nubelet.kernel.http.schemas import validator
from nubelet.kernel.service import Service
from tests.asgi import Answer
from tests.authorization.matrix import Matrix

# What a service may answer above 499 on purpose: operations that exist and are not done.
_MEANT = {501}


class Finding(NamedTuple):
    """A fault, and the request that shows it."""

    what: str
    request: dict[str, Any]

    def __str__(self) -> str:
        shown = {key: value for key, value in self.request.items() if value}
        return f"{self.what}\n    {shown!r}"


class Judge:
    """Asks, and keeps what was wrong; the first of each kind for an operation."""

    def __init__(self, matrix: Matrix, service: Service) -> None:
        self.matrix, self.service = matrix, service
        self.findings: dict[str, Finding] = {}
        self.statuses: Counter[int] = Counter()
        self.asked = 0
        self._trie = RouteTrie()
        for route in service.routes:
            prefix = service.dialect.prefixes[0] if route.prefixed else ""
            self._trie.add(prefix, route)

    def ask(self, request: dict[str, Any], *, keep: bool = False) -> Answer | None:
        """One request, judged. `keep`: what it makes may stay. None: it did not come back."""
        self.asked += 1
        try:
            answer = self.matrix.asker.ask(**request)
            self.statuses[answer.status] += 1
            self._judge(request, answer)
            if answer.status < 300 and request["method"] in ("POST", "PUT", "PATCH"):
                self._read_back(request, answer)
            if keep and answer.status == 201 and not self._route_has_parameters(request):
                self.matrix.rewinding.keep()
        except TimeoutError:
            self._found("it hangs", request)
            return None
        finally:
            self.matrix.rewinding.rewind()
        return answer

    def _judge(self, request: dict[str, Any], answer: Answer) -> None:
        if answer.status >= 500 and answer.status not in _MEANT:
            self._found(f"{answer.status} {answer.body[:200]!r}", request)
        kind = answer.headers.get("content-type", "")
        if "json" in kind and request["method"] != "HEAD" and answer.body:
            try:
                shown = json.loads(answer.body)
            except ValueError:
                self._found(f"no JSON: {answer.body[:200]!r}", request)
            else:
                self._fits(request, answer, shown)

    def _fits(self, request: dict[str, Any], answer: Answer, shown: Any) -> None:
        """Does a success fit the schema that the service serves?"""
        routes = self._routes(request["path"], request["method"])
        if answer.status >= 300 or len(routes) != 1:
            return
        versions = self.service.dialect.microversions
        schema = resolve(routes[0].response, versions.minimum if versions else NEWEST)
        if schema is not None and "OpenStack-API-Version" not in request["headers"]:
            error = next(iter(validator(schema).iter_errors(shown)), None)
            if error is not None:
                self._found(f"the answer does not fit: {str(error)[:200]}", request)

    def _read_back(self, request: dict[str, Any], answer: Answer) -> None:
        """What was made or changed can be shown, and so can the list it is in."""
        path = request["path"].rstrip("/")
        reads = [path] if self._routes(path, "GET") else []
        made = _identifier(answer)
        item = f"{path}/{quote(made, safe='')}"
        if request["method"] == "POST" and made and self._routes(item, "GET"):
            reads.append(item)
        for place in reads:
            admin = self.matrix.tested.user("admin_of_one").token
            headers = {**request["headers"], "X-Auth-Token": admin}
            headers.pop("Content-Type", None)
            read = self.matrix.asker.ask("GET", place, headers=headers)
            if read.status >= 500 or (place == item and read.status != 200):
                self._found(f"then GET {place}: {read.status} {read.body[:200]!r}", request)

    def _routes(self, path: str, method: str) -> list[Route]:
        if not path.startswith(self.service.mount):
            return []
        found = self._trie.find([p for p in path[len(self.service.mount) :].split("/") if p])
        return list(found.routes.get(method, ())) if found else []

    def _route_has_parameters(self, request: dict[str, Any]) -> bool:
        routes = self._routes(request["path"], request["method"])
        return not routes or "{" in routes[0].path

    def _found(self, what: str, request: dict[str, Any]) -> None:
        routes = self._routes(request["path"], request["method"])
        kind = what.split("req-")[0].split("'")[0][:60]
        place = routes[0].path if routes else request["path"][:40]
        action = str(request.get("body", b"")[:30]) if place.endswith("/action") else ""
        key = f"{request['method']} {place} {action} {kind}"
        self.findings.setdefault(key, Finding(what, request))


def _identifier(answer: Answer) -> str:
    """The id of what an answer shows."""
    try:
        shown = answer.json()
    except ValueError:
        return ""
    if isinstance(shown, dict) and "id" not in shown and len(shown) == 1:
        shown = next(iter(shown.values()))
    found = shown.get("id") if isinstance(shown, dict) else None
    return found if isinstance(found, str) else ""
