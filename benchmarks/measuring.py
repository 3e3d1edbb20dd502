"""What the benchmarks share: a cloud of their own, its CPU and memory, a plain HTTP client."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import psutil

PASSWORD = secrets.token_hex(8)


class BenchCloud:
    """A cloud started by the command, in a folder of its own."""

    def __init__(self, *arguments: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="nubelet-bench-")
        self.state_dir = Path(self.folder) / "cloud"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.arguments = arguments
        self.token = ""

    def up(self) -> float:
        """Start it; seconds from the command to healthy."""
        started = time.monotonic()
        self.nubelet("up", "--port", str(self.port), "--admin-password", PASSWORD, *self.arguments)
        return time.monotonic() - started

    def down(self) -> None:
        """Remove it."""
        self.nubelet("down", "--purge")
        Path(self.folder).rmdir()  # fails if anything is left

    def nubelet(self, *words: str) -> str:
        """Run the command on this cloud."""
        return subprocess.run(
            [sys.executable, "-m", "nubelet", *words, "--state-dir", str(self.state_dir)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    @property
    def processes(self) -> list[psutil.Process]:
        """The processes of the control plane and node agent (guests are not counted)."""
        main = psutil.Process(int((self.state_dir / "nubelet.pid").read_text()))
        return [
            main,
            *(child for child in main.children(recursive=True) if "qemu" not in child.name()),
        ]

    def cpu_seconds(self) -> float:
        """CPU used so far by all its processes."""
        total = 0.0
        for process in self.processes:
            times = process.cpu_times()
            total += times.user + times.system
        return total

    def resident_mib(self) -> float:
        """Memory of all its processes: proportional set size, so that shared pages count once."""
        return sum(process.memory_full_info().pss for process in self.processes) / 2**20

    def login(self) -> str:
        """A token of the administrator, kept for the requests that follow."""
        self.token = log_in_as_admin(self, "/identity/v3")
        return self.token


class Measured(Protocol):
    """What is measured: our cloud, or another."""

    port: int
    token: str

    def cpu_seconds(self) -> float:
        """CPU used so far by all its processes."""


def log_in_as_admin(cloud: Measured, base: str) -> str:
    """A token of the administrator for their project."""
    domain = {"id": "default"}
    user = {"name": "admin", "domain": domain, "password": PASSWORD}
    identity = {"methods": ["password"], "password": {"user": user}}
    scope = {"project": {"name": "admin", "domain": domain}}
    body = {"auth": {"identity": identity, "scope": scope}}
    status, headers, _ = Client(cloud).request("POST", f"{base}/auth/tokens", body)
    assert status == 201, status
    return headers["x-subject-token"]


class Client:
    """One kept-open connection."""

    def __init__(self, cloud: Measured) -> None:
        self.cloud = cloud
        self.connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=120)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        **headers: str,
    ) -> tuple[int, dict[str, str], Any]:
        """Status, lower-case headers, decoded body."""
        sent = {"X-Auth-Token": self.cloud.token, **headers} if self.cloud.token else dict(headers)
        data = None
        if body is not None:
            data = json.dumps(body)
            sent["Content-Type"] = "application/json"
        self.connection.request(method, path, body=data, headers=sent)
        answer = self.connection.getresponse()
        raw = answer.read()
        is_json = "json" in (answer.getheader("content-type") or "")
        return (
            answer.status,
            {name.lower(): value for name, value in answer.getheaders()},
            json.loads(raw) if raw and is_json else raw,
        )

    def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The decoded body of a request that must succeed."""
        status, _, answer = self.request(method, path, body, **headers)
        assert status < 300, (method, path, status, answer)
        return answer

    def raw(self, path: str, headers: dict[str, str]) -> None:
        """GET without looking at the answer: the client's own work stays small."""
        self.connection.request("GET", path, headers=headers)
        self.connection.getresponse().read()


def cpu_ms_per_request(cloud: Measured, action: Callable[[], object], *, count: int) -> float:
    """CPU of all processes of the cloud per call of `action`, in ms: median of three runs."""
    for _ in range(max(3, count // 20)):
        action()
    figures = []
    for _ in range(3):
        before = cloud.cpu_seconds()
        for _ in range(count):
            action()
        figures.append((cloud.cpu_seconds() - before) / count * 1000)
    return statistics.median(figures)


def row(
    title: str, value: float, unit: str, target: float | None = None, peer: float | None = None
) -> None:
    """Print one figure beside its target and the peer's."""
    text = f"{title:<52} {value:>9.2f} {unit:<5}"
    if target is not None:
        text += f"  target {target:>8.2f} {'met' if value <= target else 'MISSED':<6}"
    if peer is not None:
        text += f"  peer {peer:>8.1f} ({peer / value if value else 0:,.0f}x)"
    print(text, flush=True)
