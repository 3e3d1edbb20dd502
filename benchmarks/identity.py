"""Identity beside today's Keystone: logins, validations, lists, and logins in a storm.

    python -m benchmarks.identity                    # beside the figures of another day
    python -m benchmarks.identity --keystone VENV    # beside a Keystone started for this run

The figures of another day are those of Keystone 30 with its defaults (bcrypt of cost 12, tokens
cached in memcached) on two cores of the same kind of machine. What is wanted: ten times its logins
and twelve times its validations per second of CPU.

Validations in a storm are measured in short windows, one calm, one busy, and so on: whatever else
the machine does is in both.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from benchmarks.keystone import Keystone
from benchmarks.measuring import PASSWORD, BenchCloud, Client, cpu_ms_per_request, row

USERS = 1000
STORM_CLIENTS = 20
WINDOWS, WINDOW_SECONDS = 10, 2.0
BASE = "/identity/v3"
LOGINS = "/auth/tokens"
# Title, requests in a run, target in ms, peer of another day in ms, wanted factor.
FIGURES = (
    ("log in by password", 40, 24, 226, 10),
    ("validate a token", 2000, 0.30, 3.6, 12),
    ("list 1,000 users", 20, 25, 187, 1),
)


def main(arguments: Sequence[str] = ()) -> None:
    """Start a cloud, and Keystone where it is asked for, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keystone", type=Path, help="virtual environment with keystone, gunicorn")
    options = parser.parse_args(arguments)
    cloud = BenchCloud("--fake")
    cloud.up()
    try:
        cloud.login()
        ours = Side(cloud, BASE)
        ours.add_users()
        theirs = _keystone(options.keystone) if options.keystone else [None] * len(FIGURES)
        for figure, mine, other in zip(FIGURES, ours.figures(), theirs, strict=True):
            title, _, target, peer, factor = figure
            row(f"{title}: CPU", mine, "ms", target, other or peer)
            if other is not None:
                row(f"{title}: Keystone's CPU over ours, at least {factor}", other / mine, "x")
        storm(ours)
    finally:
        cloud.down()


def _keystone(venv: Path) -> list[float]:
    peer = Keystone(venv)
    try:
        peer.up()
        peer.login()
        side = Side(peer, "/v3")
        side.add_users()
        return side.figures()
    finally:
        peer.down()


class Side:
    """One of the two, its URLs, and a connection that is kept open."""

    def __init__(self, cloud: BenchCloud | Keystone, base: str) -> None:
        self.cloud, self.base, self.client = cloud, base, Client(cloud)

    def add_users(self) -> None:
        """So that there are a thousand."""
        for number in range(USERS - 1):
            self.client.ok("POST", f"{self.base}/users", {"user": {"name": f"bench-{number}"}})

    def figures(self) -> list[float]:
        """CPU of all processes in ms per request, for each of FIGURES."""
        self.client.connection.close()  # or the server did, meanwhile: another one is opened
        actions = (self.log_in, self.validate, self.list_users)
        return [
            cpu_ms_per_request(self.cloud, action, count=count)
            for action, (_, count, *_) in zip(actions, FIGURES, strict=True)
        ]

    def log_in(self) -> None:
        log_in(self.client.connection, self.base)

    def validate(self) -> None:
        token = self.cloud.token
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        self.client.raw(f"{self.base}{LOGINS}", headers)

    def list_users(self) -> None:
        self.client.raw(f"{self.base}/users", {"X-Auth-Token": self.cloud.token})


def log_in(connection: http.client.HTTPConnection, base: str) -> None:
    """One login, not looked at: the client's own work stays small."""
    headers = {"Content-Type": "application/json"}
    connection.request("POST", f"{base}{LOGINS}", body=_login(), headers=headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 201, answer.status


def storm(side: Side) -> None:
    """How long a validation takes while twenty others log in without a pause."""
    others = Others(side)
    calm, busy = [], []
    begun = others.done.value
    try:
        for _ in range(WINDOWS):
            others.pause()
            calm += _validations(side)
            others.go_on()
            busy += _validations(side)
    finally:
        others.end()
    seconds = WINDOWS * (WINDOW_SECONDS + Others.UNDER_WAY)
    row("logins per second, 20 clients", (others.done.value - begun) / seconds, "/s")
    for name, share in (("median", 50), ("p99", 99)):
        quiet, loud = (statistics.quantiles(each, n=100)[share - 1] for each in (calm, busy))
        row(f"validate a token, {name}, nobody else", quiet, "ms")
        row(f"validate a token, {name}, while 20 log in", loud, "ms")
        row(f"validate a token, {name}, busy over calm", loud / quiet, "x", 3)


def _validations(side: Side) -> list[float]:
    """Milliseconds of each, one every two milliseconds."""
    took, end = [], time.monotonic() + WINDOW_SECONDS
    while time.monotonic() < end:
        begun = time.perf_counter()
        side.validate()
        took.append((time.perf_counter() - begun) * 1000)
        time.sleep(0.002)
    return took


class Others:
    """Twenty clients in a process of their own, so that they share no interpreter with the one
    that measures."""

    UNDER_WAY = 0.5  # seconds until all are; three logins of each

    def __init__(self, side: Side) -> None:
        self.wanted, self.stop = multiprocessing.Event(), multiprocessing.Event()
        self.done, self.busy = multiprocessing.Value("i", 0), multiprocessing.Value("i", 0)
        shared = (self.wanted, self.stop, self.done, self.busy)
        self._process = multiprocessing.Process(
            target=_log_in_together, args=(side.cloud.port, side.base, *shared)
        )
        self._process.start()

    def go_on(self) -> None:
        """All log in, again and again."""
        self.wanted.set()
        time.sleep(self.UNDER_WAY)

    def pause(self) -> None:
        """Nobody does; returns when the last ones are done."""
        self.wanted.clear()
        while self.busy.value:
            time.sleep(0.01)
        time.sleep(0.1)

    def end(self) -> None:
        self.stop.set()
        self.wanted.set()
        self._process.join()


def _log_in_together(
    port: int, base: str, wanted: Event, stop: Event, done: Any, busy: Any
) -> None:
    def again_and_again() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while wanted.wait() and not stop.is_set():
            with busy.get_lock():
                busy.value += 1
            log_in(connection, base)
            with done.get_lock():
                done.value += 1
            with busy.get_lock():
                busy.value -= 1

    threads = [threading.Thread(target=again_and_again) for _ in range(STORM_CLIENTS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def _login() -> str:
    domain = {"id": "default"}
    user = {"name": "admin", "domain": domain, "password": PASSWORD}
    identity = {"methods": ["password"], "password": {"user": user}}
    scope = {"project": {"name": "admin", "domain": domain}}
    return json.dumps({"auth": {"identity": identity, "scope": scope}})


if __name__ == "__main__":
    main(sys.argv[1:])
