"""One process of a cloud: its roles, from start to stop.

The roles are `api` (answers requests), `worker` (runs operations and reconcilers, hears the
nodes) and `node` (guests and networks of this host; it has no database). On one machine a single
process has all of them; a larger cloud runs several processes of each. Roles are started from
the inside out (node, worker, API), so that the first request finds everything in place, and
stopped in the opposite order.

Read next: wiring.py (what is started), running.py (signals, the port, several API processes).
In OpenStack: the fifty-odd daemons' `cmd/` folders.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from nubelet import __version__, wiring
from nubelet.node.agent import Agent
from nubelet.node.control import CONTROL_TARGET, ControlClient, ControlServer
from nubelet.node.wire import Heartbeat
from nubelet.settings import Settings

if TYPE_CHECKING:
    from nubelet.kernel.bus import Bus
    from nubelet.kernel.cloud import Cloud
    from nubelet.kernel.http.app import Application, Receive, Scope, Send

log = logging.getLogger(__name__)

ROLES = ("api", "worker", "node")
ALL_ROLES = frozenset(ROLES)
POLICY_SECONDS = 1.0


class CannotStart(Exception):  # noqa: N818 - what happened
    """This process cannot start as things are; the message is for its operator."""


class Process:
    """The roles of one process. `stop` may be called however far `start` came."""

    def __init__(
        self,
        settings: Settings,
        *,
        admin_password: str = "",
        roles: frozenset[str] = ALL_ROLES,
        node_name: str = "",
        ready_file: Path | None = None,
    ) -> None:
        """`ready_file`: an API process beside the main one answers as healthy once it is there
        (`mark_ready` of the main one)."""
        self.settings = settings
        self.admin_password = admin_password
        self.roles = roles
        self.started = time.time()
        self.cloud: Cloud | None = None
        self.agents: list[Agent] = []
        self._node_name = node_name
        self._ready_file = ready_file
        self._heard: set[str] = set()  # nodes whose heartbeat has arrived
        self._bus: Bus | None = None
        self._stops: list[Callable[[], object]] = []

    def start(self) -> Application | None:
        """Bring up everything but the HTTP port; an API process gets its application.

        Raises CannotStart.
        """
        if not self.roles:
            return None
        bus = self._bus = wiring.make_bus(self.settings, serves=self.roles != {"api"})
        self._stops.append(bus.close)
        if self.roles & {"api", "worker"}:
            self._start_cloud(bus)
        if not self.settings.services:  # else there is nothing for nodes to do
            if "worker" in self.roles:
                self._serve_nodes()
            if "node" in self.roles:
                self._start_agents(bus)
        if "worker" in self.roles:
            self._start_workers()
        if self.roles & {"api", "worker"}:
            self._start_reconcilers()
        return self._application() if "api" in self.roles else None

    def stop(self) -> None:
        """Stop the roles, the last started first. Guests and networks go on."""
        for stop in reversed(self._stops):
            try:
                stop()
            except Exception:
                log.exception("while stopping")
        self._stops.clear()

    def silent_nodes(self) -> list[str]:
        """Nodes of this process that the control plane has not heard of yet."""
        return [agent.name for agent in self.agents if agent.name not in self._heard]

    # --- Starting ---------------------------------------------------------------------------

    def _start_cloud(self, bus: Bus) -> None:
        import sqlalchemy as sa

        from nubelet import identity
        from nubelet.kernel.policy import PolicyError
        from nubelet.migrations import SchemaTooNew

        try:
            cloud = self.cloud = wiring.make_cloud(self.settings, bus=bus)
        except (PolicyError, SchemaTooNew) as error:
            raise CannotStart(str(error)) from error
        except sa.exc.OperationalError as error:
            raise CannotStart(f"the database does not answer: {error.orig}") from error
        self._stops.append(cloud.database.close)
        identity.bootstrap(
            cloud, self.admin_password, self.settings.identity.region, base_url(self.settings)
        )
        for service in cloud.services.values():
            if service.start:
                service.start(cloud)
        ended = threading.Event()
        self._stops.append(ended.set)
        threading.Thread(
            target=_watch_policies, args=(cloud, ended), daemon=True, name="policies"
        ).start()

    def _serve_nodes(self) -> None:
        from nubelet import compute

        cloud = self._cloud()
        control = ControlServer(
            heartbeat=lambda beat: compute.heartbeat(cloud, beat),
            guest_changed=lambda event: compute.guest_changed(cloud, event),
            metadata=lambda request: compute.metadata(cloud, request),
        )
        self._stops.append(cloud.bus.serve(CONTROL_TARGET, control.handle))

    def _start_agents(self, bus: Bus) -> None:
        self.agents = wiring.make_agents(self.settings, self._node_name)
        for agent in self.agents:
            self._stops.append(bus.serve(f"node.{agent.name}", agent.handle))
            self._stops.append(agent.stop)
            agent.start(_Control(bus, self._heard))

    def _start_workers(self) -> None:
        from nubelet.kernel.operations.runner import Runner

        cloud = self._cloud()
        services = cloud.services.values()
        runner = Runner(cloud, [kind for service in services for kind in service.operations])
        runner.start()
        self._stops.append(runner.stop)

    def _start_reconcilers(self) -> None:
        """Those of the cloud beside a worker; those of this machine beside the API, too."""
        from nubelet.kernel.housekeeping import housekeeper
        from nubelet.kernel.reconcile import Reconcilers

        cloud = self._cloud()
        services = cloud.services.values()
        loops = [loop for service in services for loop in service.own_reconcilers(cloud)]
        if "worker" in self.roles:
            loops += [housekeeper(), *(loop for each in services for loop in each.reconcilers)]
        reconcilers = Reconcilers(cloud, loops)
        reconcilers.start()
        self._stops.append(reconcilers.stop)

    def _application(self) -> Application:
        from nubelet.kernel.http.app import Application
        from nubelet.kernel.requests import log_of, record_request

        app = Application(self._cloud(), recorder=record_request)
        self._stops.append(log_of(self._cloud()).close)
        app.extra["/"] = self._versions
        app.extra["/healthcheck"] = self._health
        return app

    def _cloud(self) -> Cloud:
        assert self.cloud is not None
        return self.cloud

    # --- What every process answers ---------------------------------------------------------

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /healthcheck: 200 once everything is up and every node of ours was heard of."""
        silent = self.silent_nodes()
        if self._ready_file is not None and not self._ready_file.exists():
            silent = ["the nodes of this machine"]
        await _send_json(
            send,
            503 if silent else 200,
            {
                "status": f"waiting for {', '.join(silent)}" if silent else "ok",
                "version": __version__,
                "pid": os.getpid(),
                "uptime_seconds": round(time.time() - self.started, 1),
                "nodes": [agent.name for agent in self.agents],
            },
        )

    async def _versions(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /: where each service lives."""
        await _send_json(
            send,
            200,
            {
                "services": [
                    {"type": service.type, "title": service.title, "path": service.endpoint}
                    for service in self._cloud().services.values()
                ]
            },
        )


class _Control(ControlClient):
    """Remembers which nodes were heard."""

    def __init__(self, bus: Bus, heard: set[str]) -> None:
        super().__init__(bus)
        self._heard = heard

    def heartbeat(self, beat: Heartbeat) -> None:
        super().heartbeat(beat)
        self._heard.add(beat.host.name)


def _watch_policies(cloud: Cloud, ended: threading.Event) -> None:
    """Take up changed policy files, until the process ends."""
    while not ended.wait(POLICY_SECONDS):
        for policy in cloud.policies.values():
            try:
                policy.reload_if_changed()
            except OSError as error:
                log.error("a policy file cannot be read, earlier rules stay in force: %s", error)


async def _send_json(send: Send, status: int, value: Any) -> None:
    body = msgspec.json.encode(value)
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


def base_url(settings: Settings) -> str:
    """scheme://host:port that clients on this machine reach the cloud by."""
    if settings.http.public_url:
        return settings.http.public_url.rstrip("/")
    host = settings.http.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not bound to
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http.port}"
