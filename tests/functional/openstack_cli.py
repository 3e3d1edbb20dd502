"""The unmodified `openstack` command, run inside the test process to save its second of start.

cli = OpenStackCli(cloud_url, password)
cli("server start one")                     # must succeed; its output
cli.ask("server show one")["status"]        # the same, as JSON
cli.refused("server show nobody")           # must not succeed; what it said
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shlex
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import pytest

# Lines that succeeded in this process, without options.
succeeded: list[str] = []


def commands_of(group: str) -> set[str]:
    """The commands that the client has for an API: `openstack.identity.v3`."""
    return {point.name.replace("_", " ") for point in entry_points(group=group)}


def forgotten(request: pytest.FixtureRequest, commands: set[str]) -> list[str]:
    """Those of the commands that no session ran; skips where not the whole module runs."""
    module = request.node.module
    tests = {name for name in vars(module) if name.startswith("test_")}
    chosen = {item.originalname for item in request.session.items if item.module is module}
    if tests - chosen:
        pytest.skip("only some of the sessions ran")
    ran = {_command(line, commands) for line in succeeded}
    return sorted(commands - ran)


def _command(line: str, commands: set[str]) -> str:
    """The longest command that a line begins with."""
    words = line.split()
    for count in range(min(len(words), 6), 0, -1):
        if " ".join(words[:count]) in commands:
            return " ".join(words[:count])
    return ""


class _Terminal(io.StringIO):
    """Nothing is typed; but it is not a file that an image could be read from."""

    def isatty(self) -> bool:
        return True


class OpenStackCli:
    """A user with a password and a project."""

    def __init__(
        self,
        url: str,
        password: str,
        *,
        user: str = "admin",
        project: str = "admin",
    ) -> None:
        self.credentials = [
            "--os-auth-url",
            f"{url}/identity/v3",
            "--os-username",
            user,
            "--os-password",
            password,
            "--os-project-name",
            project,
            "--os-user-domain-id",
            "default",
            "--os-project-domain-id",
            "default",
            "--os-region-name",
            "RegionOne",
            "--os-identity-api-version",
            "3",
        ]

    def __call__(self, line: str) -> str:
        """Run a command that must succeed; what it printed."""
        code, said, complained = self.run(line)
        assert code == 0, f"openstack {line}\n{said}\n{complained}"
        succeeded.append(line)
        return said

    def ask(self, line: str) -> Any:
        """Run a command that must succeed; what it printed, from JSON."""
        return json.loads(self(f"{line} -f json"))

    def refused(self, line: str) -> str:
        """Run a command that must fail; what it said."""
        code, said, complained = self.run(line)
        assert code, f"openstack {line} succeeded:\n{said}"
        return said + complained

    def run(self, line: str) -> tuple[int, str, str]:
        """Run a command: exit code, standard output, standard error."""
        from openstackclient.shell import OpenStackShell

        _forget_clients()
        output, errors = io.StringIO(), io.StringIO()
        with (
            _undisturbed_logging(),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            stdin, sys.stdin = sys.stdin, _Terminal()
            try:
                code = OpenStackShell().run([*self.credentials, *shlex.split(line)])
            except SystemExit as left:  # argparse: there is no such option
                code = left.code if isinstance(left.code, int) else 2
            finally:
                sys.stdin = stdin
        return code or 0, output.getvalue(), errors.getvalue()


def _forget_clients() -> None:
    """The shell keeps its clients (with the user's token) in the class, for one run a process."""
    from openstackclient.common.clientmanager import ClientManager
    from osc_lib.clientmanager import ClientCache

    for kind in ClientManager.__mro__:
        for value in vars(kind).values():
            if isinstance(value, ClientCache):
                value._handle = None


@contextlib.contextmanager
def _undisturbed_logging() -> Iterator[None]:
    """The shell sets up logging for a process of its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = [logging.NullHandler()]
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
