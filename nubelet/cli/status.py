"""`nubelet status`: what runs, and how it fares."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from nubelet.cli.asking import ask
from nubelet.cli.instance import Instance, state_dir_option

NOT_RUNNING = 3  # as `systemctl status` has it


@click.command()
@state_dir_option
def status_command(state_dir: Path) -> None:
    """Show the process, nodes, services, unfinished operations and reconcilers of a cloud.

    Exit code 0: it runs and all nodes are up. 1: a node is down, or the cloud does not answer.
    3: there is no cloud, or it is not running.
    """
    instance = Instance(state_dir)
    if not instance.exists:
        click.echo(f"There is no cloud in {instance.state_dir}.")
        sys.exit(NOT_RUNNING)
    pid = instance.pid()
    if pid is None:
        click.echo(f"The cloud in {instance.state_dir} is not running; start it: nubelet up")
        sys.exit(NOT_RUNNING)
    status = ask(instance, "/status")["status"]
    click.echo(f"Nubelet {status['version']}, process {pid}, {instance.state_dir}")
    _show_nodes(status["nodes"])
    click.secho("Services", bold=True)
    for service in status["services"]:
        click.echo(f"  {service['type']:<16} {service['path']:<20} {service['routes']} operations")
    click.secho(f"Operations under way: {len(status['operations'])}", bold=True)
    for operation in status["operations"][:20]:
        click.echo(
            f"  {operation['kind']:<20} {operation['state']:<10} "
            f"{operation['step'] or '':<20} {operation['subject_id']} "
            f"{operation['error'] or ''}"
        )
    click.secho("Reconcilers", bold=True)
    for loop in status["reconcilers"]:
        state = (
            f"failing ({loop['failures']}x): {loop['error']}"
            if loop["failures"]
            else loop["error"] or "ok"
        )
        click.echo(f"  {loop['name']:<34} {loop['finished_at'] or 'never':<22} {state}")
    sys.exit(0 if all(node["up"] for node in status["nodes"]) else 1)


def _show_nodes(nodes: list[dict[str, Any]]) -> None:
    click.secho("Nodes", bold=True)
    for node in nodes:
        how = f"{'up' if node['up'] else 'down'} since {node['since']}"
        if node["forced_down"]:
            how = "down: an administrator said so"
        if node["disabled"]:
            how += f", disabled: {node['disabled_reason'] or 'no reason was given'}"
        click.echo(
            f"  {node['name']:<20} {node['hypervisor']}/{node['accelerator']:<10} "
            f"{node['servers']:>4} servers  ",
            nl=False,
        )
        click.secho(how, fg="green" if node["up"] else "red")
