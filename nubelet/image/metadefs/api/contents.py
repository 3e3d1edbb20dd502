"""What objects and properties of a namespace have in common: their handlers and routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from nubelet.image.metadefs import contents, namespaces
from nubelet.image.metadefs.api.opening import NAMESPACE, open_namespace, read_body
from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route

Handler = Callable[[Context, Request], object]
Schema = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A kind of thing in namespaces.

    noun, plural: in paths and rules; title: in the reference; view: a row, and the name of its
    namespace, as the API shows it; delete_rule: upstream's names differ.
    """

    table: sa.Table
    noun: str
    plural: str
    title: str
    titles: str
    view: Callable[[Any, str], Any]
    delete_rule: str
    body: Schema
    response: Schema
    list_response: Schema

    def create(self, ctx: Context, request: Request) -> object:
        """Add one to the namespace."""
        body = read_body(request)
        with ctx.cloud.database.write() as tx:
            namespace = open_namespace(ctx, tx, request)
            contents.create(tx, self.table, namespace.id, [body])
            row = contents.find(tx, self.table, namespace, body["name"])
        return self.view(row, namespace.namespace)

    def show(self, ctx: Context, request: Request) -> object:
        """Show one."""
        with ctx.cloud.database.read() as tx:
            namespace = open_namespace(ctx, tx, request)
            row = contents.find(tx, self.table, namespace, self.name(request))
        return self.view(row, namespace.namespace)

    def update(self, ctx: Context, request: Request) -> object:
        """Replace one."""
        body = read_body(request)
        with ctx.cloud.database.write() as tx:
            namespace = open_namespace(ctx, tx, request)
            row = contents.replace(tx, self.table, namespace, self.name(request), body)
        return self.view(row, namespace.namespace)

    def delete(self, ctx: Context, request: Request) -> object:
        """Delete one."""
        with ctx.cloud.database.write() as tx:
            namespace = open_namespace(ctx, tx, request)
            row = contents.find(tx, self.table, namespace, self.name(request))
            what = f"Metadata definition {self.noun} {row.name}"
            namespaces.require_unprotected(namespace, what)
            tx.delete(self.table, self.table.c.id == row.id)
        return None

    def delete_all(self, ctx: Context, request: Request) -> object:
        """Delete all of the namespace."""
        with ctx.cloud.database.write() as tx:
            namespace = open_namespace(ctx, tx, request)
            namespaces.require_unprotected(namespace, f"Namespace {namespace.namespace}")
            contents.delete_all(tx, self.table, namespace.id)
        return None

    def name(self, request: Request) -> str:
        """The name in the path."""
        return request.params[f"{self.noun}_name"]

    def routes(self, list_all: Handler, show: Handler | None = None) -> tuple[Route, ...]:
        """Their routes; `list_all` and `show` where they are of their own kind."""
        all_of_them = f"{NAMESPACE}/{self.plural}"
        one = f"{all_of_them}/{{{self.noun}_name}}"

        def route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
            return Route(
                method=method, path=path, handler=handler, rule=rule, rule_needs_target=True, **more
            )

        takes = {"body": self.body, "response": self.response}
        return (
            route(
                "GET",
                all_of_them,
                list_all,
                f"get_metadef_{self.plural}",
                response=self.list_response,
            ),
            route(
                "POST",
                all_of_them,
                self.create,
                f"add_metadef_{self.noun}",
                status=201,
                summary=f"Create {self.title}",
                **takes,
            ),
            route(
                "DELETE",
                all_of_them,
                self.delete_all,
                "delete_metadef_namespace",
                status=204,
                summary=f"Delete all {self.titles} of a namespace",
            ),
            route(
                "GET",
                one,
                show or self.show,
                f"get_metadef_{self.noun}",
                response=self.response,
                summary=f"Show {self.title}",
            ),
            route(
                "PUT",
                one,
                self.update,
                f"modify_metadef_{self.noun}",
                summary=f"Replace {self.title}",
                **takes,
            ),
            route(
                "DELETE",
                one,
                self.delete,
                self.delete_rule,
                status=204,
                summary=f"Delete {self.title}",
            ),
        )
