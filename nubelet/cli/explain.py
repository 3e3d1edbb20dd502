"""`nubelet explain`: why a thing is as it is, from the request down to the host's commands."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import click

from nubelet.cli.asking import ask
from nubelet.cli.instance import Instance, state_dir_option


@click.command()
@click.argument("identifier", metavar="ID|NAME|REQUEST_ID")
@state_dir_option
@click.option("--json", "as_json", is_flag=True, help="Everything, for a program.")
def explain_command(identifier: str, state_dir: Path, as_json: bool) -> None:
    """Tell how a thing came to be; a failure's cause is the first line.

    Servers, ports, networks, routers, floating IPs, images, hosts (by id or name), operations,
    and requests (by the x-openstack-request-id of the answer). Exit code 1: nothing is known of
    it, or the cloud does not answer.
    """
    found = ask(Instance(state_dir), f"/explain/{quote(identifier, safe='')}")["explanation"]
    if as_json:
        click.echo(json.dumps(found["details"], indent=2))
        return
    first, *rest = found["lines"]
    click.secho(first, bold=True, fg="green" if found["ok"] else "red")
    for line in rest:
        click.echo(line)
