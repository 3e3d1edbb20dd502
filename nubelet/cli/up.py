"""`nubelet up`: from a command line to a healthy cloud.

Check what is missing before anything is changed, write the settings, start one process in the
background, wait until it answers. A cloud that runs already is left alone.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nubelet.cli import external_networks
from nubelet.cli.instance import Instance, state_dir_option

if TYPE_CHECKING:
    from nubelet.settings import Settings

HEALTHY_WITHIN_SECONDS = 180  # a busy machine may take a minute


@click.command()
@state_dir_option
@click.option("--port", type=click.IntRange(1, 65535), help="TCP port of the APIs [8787].")
@click.option("--admin-password", help="The administrator's password; made up if not given.")
@click.option("--fake", is_flag=True, help="Pretend all guests and networks: no root, no QEMU.")
@click.option("--nodes", type=click.IntRange(1, 1000), help="With --fake: how many hosts.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["object-store"]),
    help="Run this service alone, with identity: no guests, no networks, no root.",
)
@click.option("--foreground", is_flag=True, help="Stay in the foreground.")
def up_command(
    state_dir: Path,
    port: int | None,
    admin_password: str | None,
    fake: bool,
    nodes: int | None,
    only: tuple[str, ...],
    foreground: bool,
) -> None:
    """Start a cloud and return when it is healthy."""
    instance = Instance(state_dir)
    with instance.alone():
        prepare(
            instance, port=port, admin_password=admin_password, fake=fake, nodes=nodes, only=only
        )
        in_front = foreground and instance.pid() is None
        started = time.monotonic()
        ran = False if in_front else ensure_up(instance)
    if in_front:
        from nubelet.cli.serve import serve_command

        serve_command.callback(state_dir)  # type: ignore[misc]
        return
    url = _url(instance)
    click.echo(
        f"The cloud in {instance.state_dir} "
        + ("was running already" if ran else f"is healthy after {time.monotonic() - started:.1f} s")
        + f": {url}"
    )
    click.echo(
        f'Use it:  eval "$(nubelet openrc --state-dir {instance.state_dir})"; '
        "openstack catalog list"
    )


def prepare(
    instance: Instance,
    *,
    port: int | None = None,
    admin_password: str | None = None,
    fake: bool = False,
    nodes: int | None = None,
    only: tuple[str, ...] = (),
) -> None:
    """Write the settings of a new cloud, or the changed ones of a stopped one."""
    wanted: dict[str, Any] = {}
    if port:
        wanted["http.port"] = port
    if fake:
        wanted |= {"compute.hypervisor": "fake", "network.switching": "fake"}
    if nodes:
        wanted["compute.fake_nodes"] = nodes
    if only:
        wanted["services"] = only
    if instance.pid() is not None:
        _refuse_changes(instance, wanted, admin_password)
        return
    has_network = not (fake or only or "NUBELET_NETWORK_EXTERNAL_CIDR" in os.environ)
    if not instance.exists and has_network:
        with external_networks.claim(instance.state_dir) as network:
            wanted["network.external_cidr"] = network
            _write(instance, wanted, admin_password)
    else:
        settings = _write(instance, wanted, admin_password)
        if settings.network.switching != "fake" and not settings.services:
            external_networks.keep(instance.state_dir, settings.network.external_cidr)


def _write(instance: Instance, wanted: dict[str, Any], admin_password: str | None) -> Settings:
    """Write the settings, if the machine has what they need."""
    from nubelet.settings import load

    overrides = {"state_dir": str(instance.state_dir), **wanted}
    path = instance.settings_file if instance.exists else None
    settings = load(path, os.environ, overrides)
    is_fake = settings.compute.hypervisor == "fake"
    _preflight(settings, fake=is_fake or bool(settings.services))
    instance.prepare(admin_password)
    if not instance.exists or wanted:
        from nubelet.settings import save

        save(settings, instance.settings_file)
    return settings


def ensure_up(instance: Instance, *, port: int | None = None) -> bool:
    """Start the cloud if it does not run, and wait until it is healthy; True if it ran.

    To be called with the instance alone (`Instance.alone`).
    """
    if not instance.exists or (port and instance.pid() is None):
        prepare(instance, port=port)
    url = _url(instance)
    if instance.pid() is not None and instance.health(url):
        return True
    child = instance.spawn() if instance.pid() is None else None
    deadline = time.monotonic() + HEALTHY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if instance.health(url, 5):
            return child is None
        # Somebody may have started another one by hand meanwhile: then that one serves.
        if child is not None and child.poll() is not None and instance.pid() is None:
            raise click.ClickException(
                f"the cloud stopped while starting; the end of {instance.log_file}:\n"
                + instance.log_tail()
            )
        time.sleep(0.03)
    raise click.ClickException(
        f"the cloud is not healthy after {HEALTHY_WITHIN_SECONDS} s: "
        f"see {instance.log_file}\n{instance.log_tail()}"
    )


def _url(instance: Instance) -> str:
    from nubelet.settings import load

    http = load(instance.settings_file).http
    host = "127.0.0.1" if http.host in ("0.0.0.0", "::") else http.host  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{http.port}"


def _preflight(settings: Any, fake: bool) -> None:
    from nubelet.cli import preflight

    needs = preflight.check(settings, fake)
    if needs:
        lines = "\n".join(f"  - {need}" for need in needs)
        raise click.ClickException(
            f"this machine cannot run the cloud yet:\n{lines}\nNothing was changed."
        )
    if not fake:
        kind, reason = preflight.accelerator()
        click.echo(
            f"Guests run with {'KVM' if kind == 'kvm' else 'software emulation (TCG)'}: {reason}"
        )


def _refuse_changes(instance: Instance, wanted: dict[str, Any], password: str | None) -> None:
    from nubelet.settings import load

    settings = load(instance.settings_file)
    different = [option for option, value in wanted.items() if settings.value(option) != value]
    if password and password != instance.admin_password():
        different.append("--admin-password")
    if different:
        raise click.ClickException(
            f"the cloud in {instance.state_dir} runs with other settings than asked for "
            f"({', '.join(different)}): `nubelet down` first"
        )
