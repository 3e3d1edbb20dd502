"""/{collection}/{id}/tags: short texts that users put on things to find them again.

API reference: https://docs.openstack.org/api-ref/network/v2/#standard-attributes-tag-extension
"""

from __future__ import annotations

from typing import Any

from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.network import refusals
from nubelet.network.api import (
    floating_ips,
    networks,
    ports,
    routers,
    security_groups,
    subnet_pools,
    subnets,
)
from nubelet.network.api.noun import Noun, View

MAX_TAGS = 50
MAX_LENGTH = 255


class Tags:
    """The tags of one noun."""

    def __init__(self, noun: Noun) -> None:
        self._noun = noun

    def routes(self) -> tuple[Route, ...]:
        """The routes below the noun's."""
        rule, place = self._noun.rule, f"{self._noun.path}/{{id}}/tags"
        one = f"{place}/{{tag}}"

        def route(method: str, path: str, verb: str, handler: Any, status: int) -> Route:
            return Route(
                method=method,
                path=path,
                handler=handler,
                status=status,
                rule=f"{verb}_{rule}:tags",
                rule_needs_target=True,
                summary=f"{verb.capitalize()} tags",
            )

        return (
            route("GET", place, "get", self.list, 200),
            route("POST", place, "create", self.add_all, 200),
            route("PUT", place, "update", self.replace, 200),
            route("DELETE", place, "delete", self.clear, 204),
            route("GET", one, "get", self.check, 204),
            route("PUT", one, "update", self.add, 201),
            route("DELETE", one, "delete", self.remove, 204),
        )

    def list(self, ctx: Context, request: Request) -> View:
        """All tags."""
        with ctx.cloud.database.read() as tx:
            return {"tags": self._found(ctx, tx, request).tags}

    def check(self, ctx: Context, request: Request) -> None:
        """Is the tag there? 404 when not."""
        with ctx.cloud.database.read() as tx:
            self._require(self._found(ctx, tx, request), request.params["tag"])

    def add(self, ctx: Context, request: Request) -> None:
        """Add one tag."""
        tag = _checked([request.params["tag"]])
        with self._noun.writing(ctx) as tx:
            row = self._found(ctx, tx, request)
            self._store(tx, row, [*row.tags, *tag])

    def add_all(self, ctx: Context, request: Request) -> View:
        """Add several tags."""
        tags = _body(request)
        with self._noun.writing(ctx) as tx:
            row = self._found(ctx, tx, request)
            return {"tags": self._store(tx, row, [*row.tags, *tags])}

    def replace(self, ctx: Context, request: Request) -> View:
        """Have these tags and no others."""
        tags = _body(request)
        with self._noun.writing(ctx) as tx:
            return {"tags": self._store(tx, self._found(ctx, tx, request), tags)}

    def remove(self, ctx: Context, request: Request) -> None:
        """Remove one tag; 404 when it is not there."""
        with self._noun.writing(ctx) as tx:
            row = self._found(ctx, tx, request)
            self._require(row, request.params["tag"])
            self._store(tx, row, [tag for tag in row.tags if tag != request.params["tag"]])

    def clear(self, ctx: Context, request: Request) -> None:
        """Remove all tags."""
        with self._noun.writing(ctx) as tx:
            self._store(tx, self._found(ctx, tx, request), [])

    def _found(self, ctx: Context, tx: Tx, request: Request) -> Any:
        row, target = self._noun.find(ctx, tx, request.params["id"], lock=tx.writable)
        ctx.authorize(target=target)
        return row

    def _store(self, tx: Tx, row: Any, tags: Any) -> Any:
        tags = list(dict.fromkeys(tags))
        if len(tags) > MAX_TAGS:
            raise refusals.malformed(f"Number of tags exceeds the maximum {MAX_TAGS}.")
        if tags != row.tags:
            table = self._noun.table
            tx.update(
                table,
                table.c.id == row.id,
                tags=tags,
                updated_at=clock.now(),
                revision_number=table.c.revision_number + 1,
            )
        return tags

    @staticmethod
    def _require(row: Any, tag: str) -> None:
        if tag not in row.tags:
            raise NotFound(message=f"Tag {tag} could not be found.", code="TagNotFound")


def _body(request: Request) -> list[str]:
    body = request.body
    if not isinstance(body, dict) or set(body) != {"tags"}:
        raise refusals.malformed("Invalid tags body")
    return _checked(body["tags"])


def _checked(tags: Any) -> list[str]:
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise refusals.malformed("Invalid input for tags. Reason: a list of texts is needed.")
    for tag in tags:
        if not tag or len(tag) > MAX_LENGTH:
            raise refusals.malformed(
                f"Invalid input for tags. Reason: '{tag}' has not 1 to {MAX_LENGTH} characters."
            )
    return tags


ROUTES = tuple(
    route
    for noun in (
        networks.NOUN,
        subnets.NOUN,
        ports.NOUN,
        routers.NOUN,
        floating_ips.NOUN,
        subnet_pools.NOUN,
        security_groups.NOUN,
    )
    for route in Tags(noun).routes()
)
