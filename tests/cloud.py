"""A whole cloud for a test: real services on SQLite, fake hosts, callers with real tokens.

    def test_something(cloud):                        # fixture of tests/conftest.py
        member = cloud.client("member")               # a caller: see tests/personas.py
        answer = member.post("/compute/v2.1/servers", json={...})
        cloud.settle()                                # operations run until none is left
        cloud.user("member").project_id               # ids of the caller
        cloud.agents["host1"]                         # a node with fake drivers
        cloud.reconcile("name")                       # run a reconciler now

`make_cloud(tmp_path, services=("identity", "image"), hosts=("host1",))` makes others. With
NUBELET_TEST_DATABASE=postgresql the database is PostgreSQL (tests/postgresql.py).

Requests run through the ASGI application as in production, in its thread pool, from any number
of test threads at once. Services that do not import are left out; `cloud.missing` says why.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from nubelet.kernel.bus import InProcessBus
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import Context
from nubelet.kernel.database import Database
from nubelet.kernel.http.app import Application, Authenticator
from nubelet.kernel.ids import new_request_id
from nubelet.kernel.operations.runner import Runner
from nubelet.kernel.policy import Policy
from nubelet.kernel.reconcile import Reconcilers
from nubelet.kernel.requests import log_of, record_request
from nubelet.node.agent import Agent
from nubelet.settings import Settings, load
from tests import databases
from tests.personas import PERSONAS, FakeAuthenticator, Persona, register

ALL_SERVICES = ("identity", "image", "placement", "network", "object_store", "compute")
ADMIN_PASSWORD = "a-test-password"
REGION = "RegionOne"
BASE_URL = "http://cloud.test"
DATABASE = os.environ.get("NUBELET_TEST_DATABASE", "sqlite")
# Options of a cloud whose tests are about hashes: those of real clouds.
REAL_HASHES: dict[str, object] = {
    "identity.password_hash": "argon2id",
    "identity.password_hash_cost": 0,
}
__all__ = [
    "ADMIN_PASSWORD",
    "BASE_URL",
    "PERSONAS",
    "REAL_HASHES",
    "REGION",
    "TestedCloud",
    "make_cloud",
]


def make_cloud(
    tmp_path: Path,
    *,
    services: tuple[str, ...] = ALL_SERVICES,
    hosts: tuple[str, ...] = ("host1", "host2"),
    options: dict[str, object] | None = None,
    run_operations: bool = True,
    database: str = DATABASE,
) -> TestedCloud:
    """A cloud with its database made, its services started and its fake hosts known.

    `options`: settings that differ from the defaults (`{"limits.page_size": 10}`).
    `run_operations` False: operations run in `settle()` only, in the calling thread.
    `database`: its kind, "sqlite" or "postgresql".
    """
    found, missing = _import(services)
    settings = _settings(tmp_path, database, options or {})
    cloud = Cloud(settings, Database(settings.database.url), InProcessBus(), found)
    for service in found:
        cloud.policies[service.name] = Policy(service.rules, enforce_scope=True)
    tested = TestedCloud(cloud, missing)
    tested.begin(hosts, run_operations)
    return tested


@dataclass
class TestedCloud:
    """A cloud and what a test needs to act on it."""

    __test__ = False
    cloud: Cloud
    missing: dict[str, str]
    agents: dict[str, Agent] = field(default_factory=dict)
    _personas: dict[str, Persona] = field(default_factory=dict)
    _stops: list[Callable[[], object]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, hosts: tuple[str, ...], run_operations: bool) -> None:
        """Start what a process starts, in the same order (nubelet/process.py)."""
        cloud = self.cloud
        self._stops.append(cloud.database.close)
        _provide(cloud, self._stops)
        for service in cloud.services.values():
            if service.start:
                service.start(cloud)
        self._start_hosts(hosts)
        services = cloud.services.values()
        self.runner = Runner(
            cloud, [kind for each in services for kind in each.operations], workers=4
        )
        if run_operations:
            self.runner.start()
            self._stops.append(self.runner.stop)
        self.reconcilers = Reconcilers(
            cloud,
            [
                loop
                for each in services
                for loop in (*each.reconcilers, *each.own_reconcilers(cloud))
            ],
        )
        self.app = Application(cloud, recorder=record_request)
        self._stops += [
            log_of(cloud).close,
            self.app.pool.shutdown,
            *(each.pool.shutdown for each in self.app.streams.values()),
            self.app.send_pool.shutdown,
            self.app.slow_pool.shutdown,
        ]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stops.append(self._stop_loop)

    # --- Callers ----------------------------------------------------------------------------

    def user(self, name: str) -> Persona:
        """A persona of PERSONAS, made on first use."""
        with self._lock:
            if name not in self._personas:
                self._personas[name] = register(self.cloud, name)
            return self._personas[name]

    def client(self, name: str | None = "member", **headers: str) -> httpx.Client:
        """An HTTP client with the persona's token (None: without); `headers` for each request
        (`OpenStack_API_Version="compute 2.90"`: underscores are dashes)."""
        more = {key.replace("_", "-"): value for key, value in headers.items()}
        if name is not None:
            more["X-Auth-Token"] = self.user(name).token
        return httpx.Client(
            transport=_Transport(self.app, self._loop), base_url=BASE_URL, headers=more
        )

    def context(self, name: str, service: str, version: tuple[int, int] = (0, 0)) -> Context:
        """The context of a caller, for tests that call a service's functions directly."""
        return Context(
            self.cloud,
            service,
            self.user(name).credentials(self.cloud),
            request_id=new_request_id(),
            version=version,
            base_url=BASE_URL,
        )

    # --- Time -------------------------------------------------------------------------------

    def settle(self, timeout_seconds: float = 60.0) -> None:
        """Return when no unfinished operation is left; TimeoutError names those that are."""
        self.runner.run_until_idle(timeout_seconds)

    def reconcile(self, name: str = "") -> None:
        """Run one reconciler (or all, in order) in this thread; raises what it raises."""
        self.reconcilers.run_once(name)

    def close(self) -> None:
        """Stop everything that `begin` started."""
        for stop in reversed(self._stops):
            stop()
        self._stops.clear()
        if not self.cloud.database.is_sqlite:
            from tests import postgresql

            postgresql.drop_database(self.cloud.database.url)

    # --- Hosts ------------------------------------------------------------------------------

    def _start_hosts(self, hosts: tuple[str, ...]) -> None:
        """Nodes with fake drivers, each heard of once before this returns."""
        control = self._serve_control()
        for name in hosts:
            agent = self.agents[name] = _fake_agent(self.cloud.settings.state_dir, name)
            self._stops.append(self.cloud.bus.serve(f"node.{name}", agent.handle))
            self._stops.append(agent.stop)
            if control is not None:
                from nubelet.node.wire import Heartbeat

                control.heartbeat(
                    Heartbeat(host=agent.observe_host(), switching=agent.switching.name)
                )
            agent.start(control)

    def _serve_control(self) -> Any:
        from nubelet.node.control import CONTROL_TARGET, ControlClient, ControlServer

        if "compute" not in self.cloud.services:
            return None
        compute: Any = importlib.import_module("nubelet.compute")
        cloud = self.cloud
        server = ControlServer(
            heartbeat=lambda beat: compute.heartbeat(cloud, beat),
            guest_changed=lambda event: compute.guest_changed(cloud, event),
            metadata=lambda request: compute.metadata(cloud, request),
        )
        self._stops.append(cloud.bus.serve(CONTROL_TARGET, server.handle))
        return ControlClient(cloud.bus)

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=60)
        self._loop.close()


class _Transport(httpx.BaseTransport):
    """Carries a synchronous request to the application in its loop."""

    def __init__(self, app: Application, loop: asyncio.AbstractEventLoop) -> None:
        self._asgi = httpx.ASGITransport(app=app, raise_app_exceptions=True)
        self._loop = loop

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop).result(100)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        body = b"".join(request.stream)  # type: ignore[arg-type]
        response = await self._asgi.handle_async_request(
            httpx.Request(
                request.method,
                request.url,
                headers=request.headers,
                content=body,
                extensions=request.extensions,
            )
        )
        content = b"".join([part async for part in response.stream])  # type: ignore[union-attr]
        return httpx.Response(
            response.status_code, headers=response.headers, content=content, request=request
        )


def _import(names: tuple[str, ...]) -> tuple[tuple[Any, ...], dict[str, str]]:
    found, missing = [], {}
    for name in names:
        try:
            found.append(importlib.import_module(f"nubelet.{name}").SERVICE)
        except (ImportError, AttributeError) as error:
            missing[name] = f"{type(error).__name__}: {error}"
    return tuple(found), missing


def _settings(state_dir: Path, database: str, options: dict[str, object]) -> Settings:
    overrides: dict[str, object] = {
        "state_dir": state_dir,
        "compute.hypervisor": "fake",
        "network.switching": "fake",
        # Most passwords here are not what a test is about, and to hash them as real clouds do would
        # be a fifth of the work of identity's tests.
        "identity.password_hash": "scrypt",
        "identity.password_hash_cost": 10,
    }
    if database == "sqlite":
        overrides["database.url"] = databases.sqlite_url(state_dir / "nubelet.sqlite")
    else:
        overrides["database.url"] = databases.postgresql_url()
    return load(environ={}, overrides=overrides | options)


def _provide(cloud: Cloud, stops: list[Callable[[], object]]) -> None:
    """The drivers that wiring provides, as far as their services are here."""
    if "image" in cloud.services:
        from nubelet.image import ImageConverter, Stores, make_stores
        from nubelet.node.conversion import QemuImgConverter

        cloud.provide(Stores, make_stores(cloud.settings))
        cloud.provide(ImageConverter, QemuImgConverter())  # type: ignore[type-abstract]
    if "object_store" in cloud.services:
        from nubelet.object_store import Storage, make_storage

        cloud.provide(Storage, make_storage(cloud.settings))  # type: ignore[type-abstract]
    if "identity" not in cloud.services:
        FakeAuthenticator.provide(cloud)
        return
    from nubelet.identity import TokenAuthenticator, bootstrap

    authenticator = TokenAuthenticator(cloud)
    cloud.provide(Authenticator, authenticator)  # type: ignore[type-abstract]
    stops.append(authenticator.close)
    bootstrap(cloud, ADMIN_PASSWORD, REGION, BASE_URL)


def _fake_agent(state_dir: Path, name: str) -> Agent:
    from nubelet.node.disks.fake import FakeDisks
    from nubelet.node.hypervisor.fake import FakeHypervisor
    from nubelet.node.switching.fake import FakeSwitching

    folder = state_dir / "nodes" / name
    switching = FakeSwitching(folder)
    return Agent(
        name,
        FakeHypervisor(folder, has_port=switching.has_port),
        switching,
        FakeDisks(folder, host=name),
        folder,
    )
