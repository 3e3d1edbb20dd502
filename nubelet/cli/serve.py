"""`nubelet serve`: one process of a cloud, in the foreground. `nubelet up` starts it.

A larger cloud starts more of them, one for each role and machine, all with the same database and
bus (docs/ARCHITECTURE.md). A node needs no database: give it `bus.url` alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nubelet.cli.instance import Instance, PidLock, state_dir_option

if TYPE_CHECKING:
    from nubelet.settings import Settings


@click.command()
@state_dir_option
@click.option(
    "--role",
    type=click.Choice(["all", "api", "worker", "node"]),
    default="all",
    show_default=True,
    help="What this process does.",
)
@click.option("--name", default="", help="With --role node: its name [that of the host].")
@click.option("--beside", hidden=True, help="PID:FD of the process that started this one.")
@click.option("--starting", type=int, hidden=True, help="FD that is locked until this one is seen.")
def serve_command(
    state_dir: Path,
    role: str = "all",
    name: str = "",
    beside: str | None = None,
    starting: int | None = None,
) -> None:
    """Run one process of a cloud until SIGTERM."""
    from nubelet import process, running
    from nubelet.kernel import log
    from nubelet.settings import SettingsError

    instance = Instance(state_dir)
    try:
        settings = _settings(instance, role)
        log.setup(level=settings.log.level, form="json" if settings.log.json else "text")
        if beside:
            parent, _, number = beside.partition(":")
            running.run_api_beside(
                settings,
                admin_password=instance.admin_password(),
                listen_fd=int(number),
                parent=int(parent),
            )
            return
        lock = _lock(instance, role, name)
        if starting is not None:
            os.close(starting)
        password = "" if role == "node" else instance.admin_password()
        roles = process.ALL_ROLES if role == "all" else frozenset({role})
        running.run(settings, admin_password=password, roles=roles, node_name=name)
        del lock
    except (process.CannotStart, SettingsError) as error:
        raise click.ClickException(str(error)) from None


def _settings(instance: Instance, role: str) -> Settings:
    from nubelet.settings import load

    if role == "all":
        instance.require_exists()
        return load(instance.settings_file)
    # A role of its own may have all its options in the environment.
    path = instance.settings_file if instance.exists else None
    settings = load(path, os.environ, {"state_dir": str(instance.state_dir)})
    if role != "node":
        instance.prepare(None)
    return settings


def _lock(instance: Instance, role: str, name: str) -> PidLock | None:
    """One main process, and one process of each node, in a state folder; others as many as one
    likes."""
    if role == "all":
        return PidLock(instance.pid_file)
    if role == "node":
        instance.state_dir.mkdir(parents=True, exist_ok=True)
        instance.state_dir.chmod(0o711)  # QEMU and dnsmasq may run as another user
        return PidLock(instance.state_dir / f"node{f'-{name}' if name else ''}.pid")
    return None
