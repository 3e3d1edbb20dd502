"""A cloud started by the `nubelet` command as a user would, for tests."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.serving import free_port


class CommandCloud:
    """A cloud in a folder of its own; every call is a call of the command."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.state_dir = folder / "cloud"
        self.password = secrets.token_hex(6)
        self.options = options
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = ""

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command on this cloud."""
        done = subprocess.run(
            [sys.executable, "-m", "nubelet", *words, "--state-dir", str(self.state_dir)],
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done

    def up(self) -> None:
        """Start it (again)."""
        self.run("up", "--port", str(self.port), "--admin-password", self.password, *self.options)

    def purge(self) -> None:
        """Remove it."""
        self.run("down", "--purge")

    def pid(self) -> int:
        """Its process."""
        return int((self.state_dir / "nubelet.pid").read_text())

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists() and process_state(pid) != "Z":
            time.sleep(0.005)

    def login(self) -> str:
        """A token of the administrator."""
        domain = {"id": "default"}
        answer = httpx.post(
            f"{self.url}/identity/v3/auth/tokens",
            json={
                "auth": {
                    "identity": {
                        "methods": ["password"],
                        "password": {
                            "user": {"name": "admin", "domain": domain, "password": self.password}
                        },
                    },
                    "scope": {"project": {"name": "admin", "domain": domain}},
                }
            },
            timeout=60,
        )
        assert answer.status_code == 201, answer.text
        self.token = answer.headers["x-subject-token"]
        return self.token

    def client(self) -> httpx.Client:
        """A client with the token of the last login."""
        return httpx.Client(base_url=self.url, headers={"X-Auth-Token": self.token}, timeout=60)

    def doctor(self) -> dict[str, list[str]]:
        """Findings of the doctor, areas without any left out."""
        with self.client() as client:
            answer = client.get("/operating/v1/doctor")
        assert answer.status_code == 200, answer.text
        return {area: found for area, found in answer.json()["doctor"]["findings"].items() if found}

    def well(self, seconds: float = 120.0) -> str:
        """What the command says once it finds nothing: at first loops may be under way yet, and a
        busy machine may be late with an answer."""
        until = time.monotonic() + seconds
        while (done := self.run("doctor", check=False)).returncode:
            assert time.monotonic() < until, done.stdout + done.stderr
            time.sleep(0.2)
        return done.stdout

    def assert_whole(self, seconds: float = 120.0) -> None:
        """The doctor finds nothing, as soon as the loops have done with what was last changed and
        have tried again what once failed."""
        until = time.monotonic() + seconds
        while findings := self.doctor():
            assert time.monotonic() < until, pretty(findings)
            time.sleep(0.2)


def process_state(pid: int) -> str:
    """As ps shows it; Z for one that is gone, be it while this looks at it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def items(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    """The list at a path, whatever its name."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return next(value for value in body.values() if isinstance(value, list))


def pretty(value: object) -> str:
    """For messages of failed assertions."""
    return json.dumps(value, indent=2, default=str)
