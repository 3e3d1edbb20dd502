"""A small service for tests of kernel/http: things with a name, on a database of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.bus import InProcessBus
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import Context, Credentials
from nubelet.kernel.database import Database, Id, Micros, Name
from nubelet.kernel.errors import Conflict, QuotaExceeded, Unauthorized
from nubelet.kernel.http import dialects
from nubelet.kernel.http.app import Application, Authenticator
from nubelet.kernel.http.collections import list_page, only_fields, render
from nubelet.kernel.http.dialects import Dialect
from nubelet.kernel.http.fields import Field, Resource, time_field
from nubelet.kernel.http.messages import FileBody, Request, Response
from nubelet.kernel.http.microversions import Microversions
from nubelet.kernel.http.routes import Route, by_version
from nubelet.kernel.policy import Policy, Rule
from nubelet.kernel.service import Service
from nubelet.settings import load

tables = sa.MetaData()
thing = sa.Table(
    "thing",
    tables,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name),
    sa.Column("rank", sa.Integer),
    sa.Column("color", Name),
    sa.Column("created_at", Micros, nullable=False),
)

THINGS = Resource(
    "thing",
    "things",
    thing,
    (
        Field(name="id", schema={"type": "string"}, filter="exact", sort=True),
        Field(
            name="name",
            schema={"type": ["string", "null"], "maxLength": 10},
            create="required",
            update=True,
            filter="exact",
            sort=True,
        ),
        Field(
            name="rank",
            schema={"type": ["integer", "null"]},
            create="optional",
            filter="int",
            sort=True,
        ),
        Field(
            name="color",
            schema={"type": "string"},
            create="optional",
            since=(2, 10),
            rule="{verb}_thing:color",
        ),
        time_field("created_at", sort=True),
    ),
)
RULES = (
    Rule("context_is_admin", "role:admin"),
    Rule("list", "role:reader"),
    Rule("create", "role:member"),
    Rule("create_thing:color", "role:admin"),
    Rule("other", "project_id:%(project_id)s"),
)
VERSIONS = Microversions((2, 1), (2, 20), ("compute",), "X-OpenStack-Nova-API-Version")


def _list(ctx: Context, request: Request) -> object:
    with ctx.cloud.database.read() as tx:
        page = list_page(ctx, tx, request, THINGS, sa.select(thing), max_limit=100)
    view = THINGS.view(ctx, only_fields(request))
    return render(ctx, request, THINGS, page, [view(row) for row in page.rows])


def _create(ctx: Context, request: Request) -> object:
    body = request.body["thing"]
    THINGS.authorize_fields(ctx, "create", body, ctx.own_target())
    row = {
        "rank": None,
        "color": None,
        **body,
        "id": body["name"] or "none",
        "created_at": clock.now(),
    }
    with ctx.cloud.database.write() as tx:
        tx.insert(thing, **row)
    return {"thing": row}


def _careless(ctx: Context, request: Request) -> object:
    return {"secret": 1}


def _raise(error: Exception) -> Any:
    def handler(ctx: Context, request: Request) -> object:
        raise error

    return handler


def _upload(ctx: Context, request: Request) -> object:
    sizes = [len(chunk) for chunk in request.chunks(1000)]
    return {"bytes": sum(sizes), "chunks": len(sizes)}


def _pieces(ctx: Context, request: Request) -> object:
    def pieces() -> Iterator[bytes]:
        yield b"one"
        yield b"two"

    return Response(200, pieces())


def _file(ctx: Context, request: Request) -> object:
    path = ctx.cloud.settings.state_dir / "file"
    path.write_bytes(bytes(range(256)))
    return Response(206, FileBody(str(path), 10, 5))


def _named(name: str) -> Any:
    def handler(ctx: Context, request: Request) -> object:
        return {"handler": name, **request.params}

    return handler


ROUTES = (
    Route(method="GET", path="/", handler=_named("versions"), open=True, prefixed=False),
    Route(method="GET", path="/things", handler=_list, rule="list"),
    Route(
        method="POST",
        path="/things",
        handler=_create,
        rule="create",
        body=THINGS.create_schema,
        status=201,
    ),
    Route(method="GET", path="/things/detail", handler=_named("detail"), rule="list"),
    Route(method="GET", path="/things/{thing_id}", handler=_named("one"), rule="list"),
    Route(
        method="GET", path="/things/{thing_id}/parts/{part...}", handler=_named("rest"), rule="list"
    ),
    Route(
        method="POST",
        path="/things/{thing_id}/action",
        handler=_named("start"),
        rule="create",
        action="start",
    ),
    Route(
        method="POST",
        path="/things/{thing_id}/action",
        handler=_named("stop"),
        rule="create",
        action="stop",
        since=(2, 5),
    ),
    Route(method="GET", path="/new", handler=_named("old"), rule="list", until=(2, 9)),
    Route(method="GET", path="/new", handler=_named("new"), rule="list", since=(2, 10)),
    Route(method="GET", path="/careless", handler=_careless, rule="other", rule_needs_target=True),
    Route(
        method="GET",
        path="/conflict",
        rule="list",
        handler=_raise(Conflict("It is BUSY.", code="thing.busy")),
    ),
    Route(
        method="GET",
        path="/quota",
        rule="list",
        handler=_raise(QuotaExceeded("things", limit=3, used=3, requested=1)),
    ),
    Route(
        method="GET", path="/bug", handler=_raise(ZeroDivisionError("secret detail")), rule="list"
    ),
    Route(method="PUT", path="/upload", handler=_upload, rule="create", stream=True),
    Route(method="GET", path="/pieces", handler=_pieces, rule="list"),
    Route(method="GET", path="/file", handler=_file, rule="list"),
    Route(
        method="POST",
        path="/versioned",
        handler=_named("versioned"),
        rule="create",
        body=by_version(
            ((2, 1), {"type": "object", "required": ["old"]}),
            ((2, 10), {"type": "object", "required": ["new"]}),
        ),
    ),
)


class _Tokens:
    """Tokens are names of roles."""

    def authenticate(self, token: str, headers: Mapping[str, str], route: str) -> Credentials:
        if token not in ("admin", "member", "reader"):
            raise Unauthorized
        order = ("admin", "member", "reader")
        return Credentials(user_id="u", project_id="p", roles=order[order.index(token) :])


class World:
    """The application and a client for it."""

    def __init__(self, folder: Path, dialect: Dialect = dialects.COMPUTE, **options: Any) -> None:
        service = Service(
            name="things",
            type="compute",
            title="Things",
            mount="/things-api",
            endpoint="/things-api/v2.1",
            routes=ROUTES,
            rules=RULES,
            dialect=dialect.with_versions(VERSIONS),
        )
        settings = load(None, {}, {"state_dir": str(folder), **options})
        self.database = Database(f"sqlite:///{folder}/db.sqlite")
        tables.create_all(self.database.engine)
        self.cloud = Cloud(settings, self.database, InProcessBus(), (service,))
        self.cloud.policies["things"] = Policy(RULES)
        self.cloud.provide(Authenticator, _Tokens())  # type: ignore[type-abstract]
        self.app = Application(self.cloud)
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = "admin",
        raw_path: bool = False,
        address: str = "127.0.0.1",
        **more: Any,
    ) -> httpx.Response:
        """One request; `path` is below the mount, `address` the client's."""
        headers = {**({"X-Auth-Token": token} if token else {}), **more.pop("headers", {})}

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, client=(address, 123))
            async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
                return await client.request(method, f"/things-api{path}", headers=headers, **more)

        return asyncio.run_coroutine_threadsafe(send(), self.loop).result(100)

    def get(self, path: str, **more: Any) -> httpx.Response:
        """GET below the version prefix."""
        return self.call("GET", f"/v2.1{path}", **more)

    def close(self) -> None:
        """Stop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.database.close()
