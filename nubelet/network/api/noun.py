"""The manners that all nouns of the Networking API share, written once.

A `Noun` gives its field table and five functions (what may be seen, how it looks, create,
update, delete); from here come list, show, bulk creation, `fields=`, filters, If-Match,
`tenant_id` beside `project_id`, the rules of single attributes, and 404 instead of 403 for what
the caller may not even see.

Read next: `networks.py`, the simplest noun.
In OpenStack: neutron/api/v2/base.py and neutron/pecan_wsgi.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import TransactionRetry, Tx
from nubelet.kernel.http import schemas
from nubelet.kernel.http.collections import SortKeys, list_page, only_fields, render
from nubelet.kernel.http.fields import UNSET, Field, Resource
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.network import refusals

Values = dict[str, Any]
View = dict[str, Any]
# Query parameters that are no filters.
_PAGING = frozenset(
    {"fields", "sort_key", "sort_dir", "sort", "limit", "marker", "page_reverse", "verbose"}
)
_DIGITS = re.compile(r"[0-9]{1,18}")
_TRUE = frozenset({"true", "1", "t", "yes", "y", "on"})
_FALSE = frozenset({"false", "0", "f", "no", "n", "off"})


class Noun:
    """One resource of the Networking API. Subclasses fill in what differs.

    kind: in error types (`Network` -> NetworkNotFound). rule: in rule names (`network` ->
    get_network). path: the collection's URL. parts: sub-attributes with rules of their own.
    verbs: the operations that exist.
    """

    resource: Resource
    kind: str
    rule: str
    path: str
    parts: Mapping[str, tuple[str, ...]] = {}
    verbs: frozenset[str] = frozenset({"list", "show", "create", "update", "delete"})
    default_sort: SortKeys = (("created_at", "asc"), ("id", "asc"))

    # --- What differs ------------------------------------------------------------------------

    def visible(self, ctx: Context) -> sa.ColumnElement[bool] | None:
        """Which rows the caller may know of at all; None for all rows."""
        if ctx.is_admin:
            return None
        return self.table.c.project_id == ctx.project_id

    def conditions(
        self,
        ctx: Context,
        query: Mapping[str, list[str]],
    ) -> Iterable[sa.ColumnElement[bool]]:
        """Conditions of filters that are no fields."""
        return ()

    extra_filters: frozenset[str] = frozenset()

    def selection(self) -> Sequence[Any]:
        """The columns that `present` needs; by default the whole table."""
        return (self.table,)

    def targets(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[Values]:
        """What policy rules look at, for each row."""
        return [{"project_id": row.project_id, "tenant_id": row.project_id} for row in rows]

    def new_target(self, ctx: Context, tx: Tx, values: Values) -> Values:
        """What policy rules look at when something is created."""
        return {**values, "tenant_id": values.get("project_id")}

    def present(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[View]:
        """The rows as answered, in a fixed number of queries."""
        raise NotImplementedError

    def create(self, ctx: Context, tx: Tx, values: Values) -> str:
        """Insert; returns the id. `values` are complete (defaults filled in)."""
        raise NotImplementedError

    def update(self, ctx: Context, tx: Tx, row: Any, changes: Values) -> None:
        """Change what `changes` names."""
        raise NotImplementedError

    def delete(self, ctx: Context, tx: Tx, row: Any) -> None:
        """Remove."""
        raise NotImplementedError

    # --- Routes ------------------------------------------------------------------------------

    @property
    def table(self) -> sa.Table:
        """The table of the resource."""
        assert self.resource.table is not None
        return self.resource.table

    def routes(self) -> tuple[Route, ...]:
        """The routes of the standard operations."""
        one = f"{self.path}/{{id}}"
        get = f"get_{self.rule}"
        found: list[Route] = []

        def add(
            verb: str,
            method: str,
            path: str,
            handler: Callable[..., Any],
            rule: str,
            status: int = 200,
            response: Any = None,
        ) -> None:
            if verb in self.verbs:
                found.append(
                    Route(
                        method=method,
                        path=path,
                        handler=handler,
                        rule=rule,
                        status=status,
                        rule_needs_target=True,
                        response=response,
                        summary=f"{verb.capitalize()} {self.resource.plural.replace('_', ' ')}",
                    )
                )

        add("list", "GET", self.path, self.handle_list, get, 200, self.resource.list_schema)
        add(
            "create",
            "POST",
            self.path,
            self.handle_create,
            f"create_{self.rule}",
            201,
            self.resource.show_schema,
        )
        add("show", "GET", one, self.handle_show, get, 200, self.resource.show_schema)
        add(
            "update",
            "PUT",
            one,
            self.handle_update,
            f"update_{self.rule}",
            200,
            self.resource.show_schema,
        )
        add("delete", "DELETE", one, self.handle_delete, f"delete_{self.rule}", 204)
        return tuple(found)

    # --- Handlers ----------------------------------------------------------------------------

    def handle_list(self, ctx: Context, request: Request) -> View:
        """What the caller may see, narrowed by the query."""
        with ctx.cloud.database.read() as tx:
            return self.page(ctx, tx, request)

    def page(self, ctx: Context, tx: Tx, request: Request, *more: sa.ColumnElement[bool]) -> View:
        """The answer of a list; `more` narrows it further."""
        self._check_filters(request)
        authorize_list(ctx, f"get_{self.rule}")
        condition = self.visible(ctx)
        statement = sa.select(*self.selection())
        for each in (condition, *self.conditions(ctx, request.query), *more):
            if each is not None:
                statement = statement.where(each)
        page = list_page(
            ctx,
            tx,
            request,
            self.resource,
            statement,
            max_limit=None,
            default_sort=self.default_sort,
            marker_scope=condition,
        )
        rows = self.allowed(ctx, tx, page.rows)
        items = chosen(self.present(ctx, tx, rows), only_fields(request))
        return render(ctx, request, self.resource, page, items)

    def handle_show(self, ctx: Context, request: Request) -> View:
        """One thing; 404 when the caller may not see it."""
        with ctx.cloud.database.read() as tx:
            row, _target = self.find(ctx, tx, request.params["id"])
            ctx.authorized = True  # find() enforced the rule; a refusal is a 404
            view = (
                self.present(ctx, tx, [row])
                if self.selection() == (self.table,)
                else self._views(ctx, tx, [row.id])
            )
        return {self.resource.singular: chosen(view, only_fields(request))[0]}

    def handle_create(self, ctx: Context, request: Request) -> View:
        """One thing, or several at once: all or none."""
        single, many = self.resource.singular, self.resource.plural
        body = request.body
        if isinstance(body, dict) and isinstance(body.get(many), list) and body[many]:
            bodies = body[many]
            if any(not isinstance(each, dict) for each in bodies):
                raise refusals.malformed(f"Invalid format: each of {many} is an object")
            bodies = [
                each[single] if set(each) == {single} and isinstance(each[single], dict) else each
                for each in bodies
            ]
        else:
            bodies = [unwrapped(body, single)]
        new = [self.new_values(ctx, each) for each in bodies]
        with self.writing(ctx) as tx:
            ids = []
            for values, given in new:
                self.authorize_new(ctx, tx, values, given)
                ids.append(self.create(ctx, tx, values))
            views = self._views(ctx, tx, ids)
        return {single: views[0]} if single in body else {many: views}

    def handle_update(self, ctx: Context, request: Request) -> View:
        """Change attributes."""
        given = unwrapped(request.body, self.resource.singular)
        with self.writing(ctx) as tx:
            row, target = self.find(ctx, tx, request.params["id"], lock=True)
            check_revision(request, row)
            changes = self.checked("update", given)
            ctx.authorize(f"update_{self.rule}", {**target, **changes})
            self.authorize_parts(ctx, "update", changes, {**target, **changes})
            self.update(ctx, tx, row, changes)
            view = self._views(ctx, tx, [row.id])[0]
        return {self.resource.singular: view}

    def handle_delete(self, ctx: Context, request: Request) -> None:
        """Remove."""
        with self.writing(ctx) as tx:
            row, target = self.find(ctx, tx, request.params["id"], lock=True)
            check_revision(request, row)
            ctx.authorize(f"delete_{self.rule}", target)
            self.delete(ctx, tx, row)

    # --- For handlers of further operations ---------------------------------------------------

    def find(
        self,
        ctx: Context,
        tx: Tx,
        identifier: str,
        *,
        lock: bool = False,
    ) -> tuple[Any, Values]:
        """The row and its policy target; `<Kind>NotFound` when the caller may not see it."""
        statement = sa.select(self.table).where(self.table.c.id == identifier)
        condition = self.visible(ctx)
        if condition is not None:
            statement = statement.where(condition)
        if lock:
            statement = statement.with_for_update()
        row = tx.first(statement)
        if row is None:
            raise self.missing(identifier)
        target = self.targets(ctx, tx, [row])[0]
        if not ctx.allows(f"get_{self.rule}", target):
            authorize_list(ctx, f"get_{self.rule}")  # a token of the wrong scope is told so
            raise self.missing(identifier)
        return row, target

    def missing(self, identifier: str) -> Exception:
        """The 404 of this noun."""
        return refusals.not_found(self.kind, identifier)

    def view(self, ctx: Context, tx: Tx, identifier: str) -> View:
        """One thing as answered, visible or not."""
        return self._views(ctx, tx, [identifier])[0]

    @staticmethod
    @contextlib.contextmanager
    def writing(ctx: Context) -> Iterator[Tx]:
        """A write transaction in which a violated unique constraint means "try again": checks
        before the insert name the cause; what slips between them is a race."""
        try:
            with ctx.cloud.database.write() as tx:
                yield tx
        except sa.exc.IntegrityError as error:
            raise TransactionRetry(str(error.orig)) from error

    def authorize_parts(
        self, ctx: Context, verb: str, given: Mapping[str, Any], target: Values
    ) -> None:
        """Enforce the rules of attributes, and of parts of attributes, that the caller set."""
        for name, value in given.items():
            field = self.resource.field(name)
            if field is None or field.rule is None:
                continue
            if verb == "create" and field.default is not UNSET and value == field.default:
                continue
            ctx.authorize(f"{verb}_{self.rule}:{name}", target)
            for part in self.parts.get(name, ()):
                items = value if isinstance(value, list) else [value]
                if any(isinstance(each, dict) and part in each for each in items):
                    ctx.authorize(f"{verb}_{self.rule}:{name}:{part}", target)

    # --- Parts of handlers, also for inside.py ---------------------------------------------------

    def authorize_new(self, ctx: Context, tx: Tx, values: Values, given: Values) -> None:
        """Enforce the rules of a creation."""
        target = self.new_target(ctx, tx, values)
        ctx.authorize(f"create_{self.rule}", target)
        self.authorize_parts(ctx, "create", given, target)

    def _views(self, ctx: Context, tx: Tx, ids: Sequence[str]) -> list[View]:
        rows = tx.all(sa.select(*self.selection()).where(self.table.c.id.in_(ids)))
        by_id = {view["id"]: view for view in self.present(ctx, tx, rows)}
        return [by_id[each] for each in ids]

    def allowed(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> Sequence[Any]:
        """The rows for which the get rule holds; asked once per distinct target."""
        rule = f"get_{self.rule}"
        if not rows or (ctx.is_admin and ctx.allows(rule)):
            return rows
        known: dict[tuple[Any, ...], bool] = {}
        kept = []
        for row, target in zip(rows, self.targets(ctx, tx, rows), strict=True):
            key = tuple(target.values())
            allowed = known.get(key)
            if allowed is None:
                allowed = known[key] = ctx.allows(rule, target)
            if allowed:
                kept.append(row)
        return kept

    def _check_filters(self, request: Request) -> None:
        wrong = [
            name
            for name in request.query
            if name not in _PAGING
            and name not in self.extra_filters
            and ((field := self.resource.field(name)) is None or field.filter is None)
        ]
        if wrong:
            raise refusals.malformed(f"{wrong} is invalid attribute for filtering")

    def new_values(self, ctx: Context, given: Values) -> tuple[Values, Values]:
        """The complete attributes of a new thing, and those that the caller named."""
        given = self.checked("create", given)
        project_id = given.get("project_id") or ctx.project_id
        if project_id != ctx.project_id and not ctx.is_admin:
            raise refusals.malformed(
                "Specifying 'project_id' or 'tenant_id' other than the authenticated project in "
                "request requires admin privileges"
            )
        values = {**self.resource.defaults(), **given, "project_id": project_id or ""}
        return values, given

    def checked(self, verb: str, given: Values) -> Values:
        """The attributes of a body: known, allowed here, of the right form."""
        if "tenant_id" in given:
            given = dict(given)
            project = given.pop("tenant_id")
            if given.setdefault("project_id", project) != project:
                raise refusals.malformed("'project_id' and 'tenant_id' do not match")
        checked: Values = {}
        unknown = [name for name in given if self.resource.field(name) is None]
        if unknown:
            raise refusals.malformed(f"Unrecognized attribute(s) '{', '.join(sorted(unknown))}'")
        for name, value in given.items():
            field = self.resource.field(name)
            assert field is not None
            if not (field.create != "no" if verb == "create" else field.update):
                raise refusals.malformed(
                    f"Attribute '{name}' not allowed in {'POST' if verb == 'create' else 'PUT'}"
                )
            checked[name] = check_value(field, value)
        if verb == "create":
            for field in self.resource.fields:
                if field.create == "required" and field.name not in checked:
                    raise refusals.malformed(
                        f"Failed to parse request. Required attribute '{field.name}' not specified"
                    )
        return checked


def authorize_list(ctx: Context, rule: str) -> None:
    """A list refuses nobody (it shows less), but for tokens of a scope that the rule excludes."""
    if ctx.credentials.system_scope or ctx.credentials.domain_id:
        ctx.authorize(rule)
    ctx.authorized = True


def unwrapped(body: Any, name: str) -> Values:
    """The object under the one key `name`."""
    if not isinstance(body, dict) or set(body) != {name}:
        raise refusals.malformed(f"Unable to find '{name}' in request body")
    if not isinstance(body[name], dict):
        raise refusals.malformed(f"'{name}' must be an object")
    return body[name]  # type: ignore[no-any-return]


def chosen(views: list[View], fields: Sequence[str]) -> list[View]:
    """Only the asked attributes, if any were asked for."""
    if not fields:
        return views
    return [{name: view[name] for name in fields if name in view} for view in views]


def check_revision(request: Request, row: Any) -> None:
    """Enforce `If-Match: revision_number=N`; 412 when the thing has another revision."""
    wanted = request.headers.get("if-match", "").strip().strip('"')
    if not wanted:
        return
    name, _, number = wanted.partition("=")
    if name != "revision_number" or not _DIGITS.fullmatch(number.strip()):
        raise refusals.malformed(f"If-Match must be revision_number=<integer>, not '{wanted}'")
    present = getattr(row, "revision_number", None)
    if present is not None and present != int(number):
        raise refusals.revision_mismatch(int(number), present)


def check_value(field: Field, value: Any) -> Any:
    """The value in its type; 400 naming the attribute when it does not fit."""
    value = coerced(field.schema, value)
    validator = schemas.validator(field.schema)
    if not validator.is_valid(value):
        error = next(iter(validator.iter_errors(value)))
        raise refusals.malformed(f"Invalid input for {field.name}. Reason: {error.message}.")
    return value


def coerced(schema: Mapping[str, Any], value: Any) -> Any:
    """Booleans and integers that came as text, as clients of this API send them."""
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if isinstance(value, str) and "string" not in kinds:
        lowered = value.strip().lower()
        if "boolean" in kinds and (lowered in _TRUE or lowered in _FALSE):
            return lowered in _TRUE
        if "integer" in kinds and _DIGITS.fullmatch(lowered.removeprefix("-")):
            return int(lowered)
        if "null" in kinds and lowered in ("", "none"):
            return None
    elif (
        isinstance(value, int)
        and not isinstance(value, bool)
        and kinds == ["boolean"]
        and value in (0, 1)
    ):
        return bool(value)
    return value
