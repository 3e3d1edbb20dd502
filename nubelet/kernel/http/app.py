"""The life of a request, on one screen (`Application.serve`), and the ASGI shell around it.

    ASGI -> find the service by its mount -> find the route -> negotiate the version
         -> authenticate -> authorize -> validate -> handler -> render -> log

The shell is asynchronous; everything from authentication on runs in a bounded thread pool as
plain functions. Streams have a pool of their own so that slow uploads cannot stop the API, and
so have routes that burn CPU on purpose (password hashing).
Read next: routes.py, then any `<service>/api/*.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol
from urllib.parse import quote, unquote

import msgspec

from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import ANONYMOUS, Context, Credentials
from nubelet.kernel.database import TransactionRetry
from nubelet.kernel.errors import (
    ApiError,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    ServiceUnavailable,
    Unauthorized,
    UnsupportedMediaType,
)
from nubelet.kernel.http import certificates, cors, openapi, schemas
from nubelet.kernel.http.bodies import Body, ClientGone, read_file, send_pieces
from nubelet.kernel.http.messages import (
    URL_SAFE,
    FileBody,
    Request,
    Response,
    check_depth,
    check_text,
    parse_query,
)
from nubelet.kernel.http.routes import (
    Found,
    Route,
    RouteTrie,
    choose_action,
    parameter_names,
    resolve,
)
from nubelet.kernel.http.streams import Streams
from nubelet.kernel.ids import REQUEST_ID, new_request_id
from nubelet.kernel.log import bound
from nubelet.kernel.requests import RequestRecord
from nubelet.kernel.service import Service

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

access_log = logging.getLogger("nubelet.access")
log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


class Authenticator(Protocol):
    """What turns a token into credentials (identity provides it)."""

    def authenticate(
        self,
        token: str,
        headers: Mapping[str, str],
        route: str,
    ) -> Credentials:
        """Raises Unauthorized. `route` is "METHOD service-type path", for access rules; the path
        is the whole one, and escaped where the client escaped any of it."""
        ...


# What remembers changing requests for `nubelet explain`; never waits (kernel/requests.py).
RequestRecorder = Callable[[Cloud, RequestRecord], None]


class _Mounted:
    """A service in the URL space."""

    def __init__(self, service: Service, mount: str) -> None:
        self.service, self.mount, self.trie = service, mount, RouteTrie()
        self.gateway: list[Route] = []
        if service.gateway is not None:
            self.gateway.append(
                Route(
                    method="*", path="/{path...}", handler=service.gateway, open=True, stream=True
                )
            )
            return
        for route in service.routes:
            for prefix in service.dialect.prefixes if route.prefixed else ("",):
                self.trie.add(prefix, route)


class Application:
    """The ASGI application of one process."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        threads: int = 16,
        stream_threads: int = 96,
        recorder: RequestRecorder | None = None,
    ) -> None:
        self.cloud = cloud
        self.recorder = recorder
        self.limits = cloud.settings.limits
        self.proxies = cloud.settings.federation.proxy_addresses
        self.mounts: dict[str, _Mounted] = {}
        for service in cloud.services.values():
            for mount in (service.mount, *service.aliases):
                self.mounts[mount.strip("/")] = _Mounted(service, mount)
        self.claimants = [
            self.mounts[service.mount.strip("/")]
            for service in cloud.services.values()
            if service.claims
        ]
        self.takers = [
            (service.takes, self.mounts[service.mount.strip("/")])
            for service in cloud.services.values()
            if service.takes
        ]
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="api")
        # A thread each for as long as a body comes. The image service may keep its data in the
        # object store: what stands still here must leave threads there.
        self.streams = {
            is_gateway: Streams(stream_threads, "object" if is_gateway else "stream")
            for is_gateway in (False, True)
        }
        # A thread only while a piece is made.
        self.send_pool = ThreadPoolExecutor(32, thread_name_prefix="send")
        # One core is left for everybody else: a storm of logins must not slow them.
        cores = max(1, (os.cpu_count() or 1) - 1)
        self.slow_pool = ThreadPoolExecutor(cores, thread_name_prefix="slow")
        # Paths outside the services' routes. Each service's document needs no token: it says
        # nothing that the published API references do not.
        self.extra: dict[str, Callable[[Scope, Receive, Send], Awaitable[None]]] = {
            f"{service.mount.rstrip('/')}/openapi.json": openapi.endpoint(service)
            for service in cloud.services.values()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            handler = self.extra.get(scope["path"])
            await (
                handler(scope, receive, send)
                if handler
                else send({"type": "websocket.close", "code": 4404})
            )

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(self, scope, receive, send)
        extra = self.extra.get(scope["path"])
        if extra and exchange.claimant() is None:
            await extra(scope, receive, send)
            return
        response = await exchange.run()
        await exchange.answer(response)


class _Exchange:
    """One request and its answer."""

    def __init__(self, app: Application, scope: Scope, receive: Receive, send: Send) -> None:
        self.app, self.scope, self.receive, self.send = app, scope, receive, send
        self.started = time.perf_counter_ns()
        self.headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        self.method: str = scope["method"]
        self.loop = asyncio.get_running_loop()
        self.request_id = new_request_id()
        asked = self.headers.get("x-openstack-request-id", "")
        self.global_request_id = asked if REQUEST_ID.match(asked) else None
        self.mounted: _Mounted | None = None
        self.ctx: Context | None = None
        self.request: Request | None = None
        self.error = ""
        self.action = ""
        self.body = Body(receive, self.headers, self.loop, scope.get("extensions"))
        self.is_claimed = False
        self.version_headers: dict[str, str] = {}
        client = scope.get("client")
        self.remote = client[0] if client else ""
        certificates.drop_untrusted(self.headers, self.remote, app.proxies)

    async def run(self) -> Response:
        """Everything up to the answer; never raises but for cancellation."""
        try:
            self._check_header_size()
            self.mounted = self._find_service()
            if self.mounted.gateway:
                routes, request = self.mounted.gateway, self._gateway_request(self.mounted)
            elif self.method == "OPTIONS" and cors.is_preflight(self.headers):
                return Response(204)
            else:
                routes, request = self._find(self.mounted)
            stream = any(route.stream for route in routes)
            if not stream:
                request.raw = await self.body.read(self.app.limits.body_bytes)
            else:
                await self._prefetch(request)
            if not stream:
                pool = self.app.slow_pool if routes[0].slow else self.app.pool
                return await self.loop.run_in_executor(pool, self._serve, routes, request)
            streams = self.app.streams[bool(self.mounted.gateway)]
            async with streams.share_of(self.remote):
                return await self.loop.run_in_executor(streams.pool, self._serve, routes, request)
        except ApiError as error:
            return self._failed(error)
        except ClientGone:
            return Response(499)

    async def _prefetch(self, request: Request) -> None:
        """A gateway refuses in words of its own, also a body that stands still."""
        try:
            await self.body.prefetch()
        except RequestTimeout as error:
            if self.mounted is None or not self.mounted.gateway:
                raise
            request.stalled = error

    def _find_service(self) -> _Mounted:
        """Whose request is it: who claims it by its headers, or by the first part of its path, or
        takes what is nobody else's."""
        claimant = self.claimant()
        if claimant is not None:
            self.is_claimed = True
            return claimant
        mount = unquote(self._raw_path()[1:].split(b"/", 1)[0].decode("latin-1"))
        mounted = self.app.mounts.get(mount) or self.app.mounts.get("")
        if mounted is not None:
            return mounted
        for takes, mounted in self.app.takers:
            if takes(self.headers, mount):
                self.is_claimed = True
                return mounted
        raise NotFound(message=f"There is no service at /{mount}.")

    def claimant(self) -> _Mounted | None:
        """The service that a request is for whatever its path, by its host's name or signature."""
        query = self.scope.get("query_string", b"")
        for mounted in self.app.claimants:
            claims = mounted.service.claims
            if claims is not None and claims(self.app.cloud, self.headers, query):
                return mounted
        return None

    def _raw_path(self) -> bytes:
        raw: bytes = self.scope.get("raw_path") or quote(self.scope["path"]).encode()
        return raw.split(b"?", 1)[0]

    def _gateway_request(self, mounted: _Mounted) -> Request:
        """A request whose path the service reads itself."""
        raw, mount = self._raw_path(), "" if self.is_claimed else mounted.mount.rstrip("/")
        origin = self._origin()
        return Request(
            method=self.method,
            path=self.scope["path"],
            base=mount,
            params={},
            query=parse_query(self.scope.get("query_string", b""), nul=True),
            headers=self.headers,
            chunks=self.body.chunks,
            url=origin + raw.decode("latin-1"),
            base_url=origin + mount,
            raw_path=raw[len(mount) :],
            raw_query=self.scope.get("query_string", b""),
        )

    def _find(self, mounted: _Mounted) -> tuple[list[Route], Request]:
        """The routes of the method at the path (several: actions or versions)."""
        raw = self._raw_path()
        try:
            segments = [
                unquote(part, errors="strict") for part in raw.decode("latin-1").split("/")[1:]
            ]
        except UnicodeDecodeError:
            raise BadRequest("The path is not UTF-8.") from None
        has_slash = segments[-1:] == [""]
        if has_slash:
            segments.pop()
        if b"%00" in raw:  # nothing has such a name, and PostgreSQL cannot look for it
            raise NotFound(message="The resource could not be found.")
        inner = segments[1:] if mounted.mount.strip("/") else segments
        found = mounted.trie.find(inner)
        # A slash at the end is the empty name of a resource, but for roots (`/v3/`, `/v2.1/`).
        if found is None or (
            has_slash
            and not mounted.service.dialect.ignores_last_slash
            and len(inner) > found.prefix_length
            and any(route.prefixed for each in found.routes.values() for route in each)
        ):
            raise NotFound(message="The resource could not be found.")
        by_method = found.routes
        method = "GET" if self.method == "HEAD" and "HEAD" not in by_method else self.method
        if method not in by_method:
            allowed = ", ".join(sorted(by_method))
            raise MethodNotAllowed(
                f"{self.method} is not allowed here.", headers={"Allow": allowed}
            )
        routes = by_method[method]
        return routes, self._request(routes[0], inner, found)

    def _request(self, route: Route, inner: list[str], found: Found) -> Request:
        assert self.mounted is not None
        origin, mount = self._origin(), self.mounted.mount.rstrip("/")
        names = parameter_names(route.path)
        base = "/".join([mount, *inner[: found.prefix_length]])
        path = "/".join([mount, *inner])
        return Request(
            method=self.method,
            path=path,
            base=base,
            params=dict(zip(names, found.values[len(found.values) - len(names) :], strict=True)),
            query=parse_query(self.scope.get("query_string", b"")),
            headers=self.headers,
            chunks=self.body.chunks,
            url=origin + quote(path, safe=URL_SAFE),
            base_url=origin + quote(base, safe=URL_SAFE),
        )

    def _serve(self, routes: list[Route], request: Request) -> Response:
        """From authentication to the rendered answer, in a worker thread."""
        self.request = request
        try:
            with bound(request_id=self.request_id):
                return self._dispatch(routes, request)
        except ApiError as error:
            return self._failed(error)
        except ClientGone:
            return Response(499)
        except Exception:
            log.exception(
                "unexpected error in %s %s [%s]", request.method, request.path, self.request_id
            )
            return self._failed(
                ApiError(
                    "An unexpected error prevented the server from fulfilling your request. "
                    f"It is recorded under {self.request_id}."
                )
            )

    def _dispatch(self, routes: list[Route], request: Request) -> Response:
        assert self.mounted is not None
        service = self.mounted.service
        dialect = service.dialect
        credentials = self._authenticate(routes, request, service)
        version = (0, 0)
        if dialect.microversions is not None:
            version = dialect.microversions.negotiate(self.headers)
            self.version_headers = dialect.microversions.response_headers(version)
        ctx = self.ctx = Context(
            self.app.cloud,
            service.name,
            credentials,
            request_id=self.request_id,
            global_request_id=self.global_request_id,
            version=version,
            remote_address=self.remote,
            base_url=self._origin(),
            only_reads=self.method in ("GET", "HEAD"),
        )
        ever, routes = routes, [route for route in routes if route.serves(version)]
        if not routes:
            raise NotFound(message="The resource could not be found at this API version.")
        if not routes[0].stream:
            request.body = self._decode(routes[0], request.raw)
            routes = choose_action(routes, request.body, ever)
        route = routes[0]
        ctx.rule, self.action = route.rule or "", route.action or ""
        if route.rule and not route.rule_needs_target:
            ctx.authorize(route.rule, {**ctx.own_target(), **request.params})
        self._validate(route, request, version)
        answer = self._handle(route, ctx, request)
        if route.rule and not ctx.authorized:
            raise RuntimeError(f"the handler of {route.method} {route.path} enforced no rule")
        return answer if isinstance(answer, Response) else Response(route.status, answer)

    def _authenticate(
        self,
        routes: list[Route],
        request: Request,
        service: Service,
    ) -> Credentials:
        token = self.headers.get("x-auth-token")
        if routes[0].open and not token:
            return ANONYMOUS
        if not token:
            raise Unauthorized(headers=self._challenge())
        route = f"{request.method} {service.type} {self._escaped_path(request)}"
        try:
            return self.app.cloud.get(Authenticator).authenticate(  # type: ignore[type-abstract]
                token, self.headers, route
            )
        except Unauthorized as error:
            if routes[0].open:
                return ANONYMOUS
            error.headers.update(self._challenge())
            raise

    def _escaped_path(self, request: Request) -> str:
        """The path in one spelling, whatever the client's. An escaped slash stays one: it is part
        of a name, not between two."""
        raw = self.scope.get("raw_path") or b""
        if b"%" not in raw:
            return request.path
        segments = raw.split(b"?", 1)[0].decode("latin-1").split("/")
        return "/".join(quote(unquote(part), safe=URL_SAFE.replace("/", "")) for part in segments)

    def _handle(self, route: Route, ctx: Context, request: Request) -> Any:
        """Run the handler; again when the database chose its transaction as a victim."""
        for attempt in range(4):
            try:
                return route.handler(ctx, request)
            except TransactionRetry:
                if route.stream or attempt == 3:
                    break
                time.sleep(0.01 * 2**attempt)
        raise ServiceUnavailable(
            "The database is busy; please try again.", headers={"Retry-After": "1"}
        )

    def _decode(self, route: Route, raw: bytes) -> Any:
        if not raw:
            return None
        if route.form:
            return {name: values[0] for name, values in parse_query(raw).items()}
        content_type = self.headers.get("content-type", "application/json").split(";")[0].strip()
        if "json" not in content_type and content_type not in ("", "text/plain"):
            raise UnsupportedMediaType(f"The content type {content_type} is not supported.")
        try:
            body = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(f"Malformed request body: {error}") from None
        check_depth(raw, body)
        check_text(raw, body)
        return body

    def _validate(self, route: Route, request: Request, version: tuple[int, int]) -> None:
        body = resolve(route.body, version)
        if body is not None:
            if request.body is None:
                raise BadRequest("A request body is required.")
            schemas.check(body, request.body, "body")
        query = resolve(route.query, version)
        if query is not None:
            schemas.check(query, request.query, "query")

    def _failed(self, error: ApiError) -> Response:
        self.error = f"{type(error).__name__}: {error.message}"
        if self.mounted is None:
            return Response(
                error.status,
                {"error": {"code": error.status, "title": error.title, "message": error.message}},
            )
        dialect = self.mounted.service.dialect
        if self.ctx is not None:
            error.version = self.ctx.version
        status = dialect.status_of(error)
        return Response(
            status,
            dialect.error(error, status, self.request_id),
            dict(error.headers),
            dialect.error_content_type,
        )

    # --- bytes ------------------------------------------------------------------------------

    async def answer(self, response: Response) -> None:
        """Send the answer and write the access log."""
        complete = False
        try:
            if response.status != 499:
                await self._send_response(response)
                complete = True
        except (OSError, ClientGone):
            self.error = "the client went away"
        except ApiError as error:  # the answer has begun: it can only be cut short
            self.error = f"the answer broke off: {error.message}"
            with bound(request_id=self.request_id):
                log.warning("%s %s: %s", self.method, self.scope["path"], self.error)
        finally:
            if response.on_sent:
                await self.loop.run_in_executor(self.app.send_pool, response.on_sent, complete)
            self._finish(response.status)

    async def _send_response(self, response: Response) -> None:
        body = response.body
        headers = {**self._own_headers(), **response.headers}
        self.request_id = headers["x-openstack-request-id"]  # a gateway may have names of its own
        if self.body.may_stay_away():
            headers["Connection"] = "close"
        if (
            body is not None
            and not isinstance(body, bytes | FileBody)
            and not isinstance(body, Iterator)
        ):
            body = _encoder.encode(body)
            headers.setdefault("Content-Type", response.content_type or "application/json")
        elif response.content_type:
            headers.setdefault("Content-Type", response.content_type)
        if body is None or isinstance(body, bytes):
            data = body or b""
            if response.status != 204 and "Content-Length" not in headers:
                headers["Content-Length"] = str(len(data))
            await self._start(response.status, headers)
            await self.send(
                {"type": "http.response.body", "body": b"" if self.method == "HEAD" else data}
            )
            return
        await self._start(response.status, headers)
        if self.method != "HEAD":
            pieces = read_file(body) if isinstance(body, FileBody) else iter(body)
            await send_pieces(self.loop, self.app.send_pool, pieces, self.send)
        await self.send({"type": "http.response.body", "body": b""})

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (name.encode("latin-1"), str(value).encode("utf-8"))
                    for name, value in headers.items()
                ],
            }
        )

    def _own_headers(self) -> dict[str, str]:
        headers = {"x-openstack-request-id": self.request_id, **self.version_headers}
        if self.mounted and self.mounted.service.dialect.legacy_request_id_header:
            headers[self.mounted.service.dialect.legacy_request_id_header] = self.request_id
        if self.mounted and self.mounted.gateway:
            return headers  # it has its own rules for browsers
        return headers | cors.headers(self.headers, self.app.cloud.settings.http.cors_origins)

    def _finish(self, status: int) -> None:
        duration = (time.perf_counter_ns() - self.started) // 1000
        ctx = self.ctx
        user, project = (ctx.user_id, ctx.project_id) if ctx else ("", None)
        if access_log.isEnabledFor(logging.INFO):
            access_log.info(
                '%s "%s %s" %d %.1fms user=%s project=%s %s',
                self.remote or "-",
                self.method,
                self.scope["path"],
                status,
                duration / 1000,
                user or "-",
                project or "-",
                self.request_id,
            )
        if self.mounted and self.mounted.gateway:
            return  # a cloud makes thousands of objects a second: `explain` has no use for them
        if self.app.recorder and ctx and self.request and self.method not in ("GET", "HEAD"):
            self.app.recorder(self.app.cloud, self._record(ctx, self.request, status, duration))

    def _record(
        self,
        ctx: Context,
        request: Request,
        status: int,
        duration: int,
    ) -> RequestRecord:
        return RequestRecord(
            request_id=self.request_id,
            global_request_id=self.global_request_id,
            at=clock.now() - duration,
            duration_micros=duration,
            service=ctx.service,
            method=self.method,
            path=request.path,
            user_id=ctx.user_id,
            project_id=ctx.project_id,
            rule=ctx.rule,
            status=status,
            error=self.error,
            action=self.action,
            remote_address=self.remote,
        )

    def _check_header_size(self) -> None:
        limit = self.app.limits.header_bytes
        if sum(len(name) + len(value) for name, value in self.scope["headers"]) > limit:
            raise ApiError(
                f"The request headers are larger than {limit} bytes.",
                status=431,
                title="Request Header Fields Too Large",
            )

    def _origin(self) -> str:
        configured: str = self.app.cloud.settings.http.public_url
        if configured:
            return configured.rstrip("/")
        name, port = self.scope.get("server") or ("localhost", 80)
        host = self.headers.get("host") or f"{name}:{port}"
        return f"{self.scope.get('scheme', 'http')}://{host}"

    def _challenge(self) -> dict[str, str]:
        return {"WWW-Authenticate": f'Keystone uri="{self._origin()}/identity"'}


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
