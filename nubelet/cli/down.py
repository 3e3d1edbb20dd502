"""`nubelet down`: stop the cloud; its virtual machines go on. `--purge` removes everything."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nubelet.cli import external_networks
from nubelet.cli.instance import Instance, state_dir_option

if TYPE_CHECKING:
    from nubelet.settings import Settings


@click.command()
@state_dir_option
@click.option(
    "--purge", is_flag=True, help="Remove all it ever made: guests, networks, processes, files."
)
def down_command(state_dir: Path, purge: bool) -> None:
    """Stop a cloud. Guests and their networks go on, unless purged."""
    instance = Instance(state_dir)
    with instance.alone():
        if not instance.exists:
            click.echo(f"There is no cloud in {instance.state_dir}.")
            return
        ran = instance.stop()
        click.echo("The cloud was stopped." if ran else "The cloud was not running.")
        if purge:
            for line in purge_all(instance):
                click.echo(f"  removed {line.removeprefix('removed ')}")
            click.echo(f"Nothing of the cloud in {instance.state_dir} is left on this machine.")
            return
    click.echo(
        "Virtual machines and networks go on; `nubelet up` takes them up again, "
        "`nubelet down --purge` removes them."
    )


def _tell_of_database(settings: Settings) -> None:
    """Other machines may use a database server too: what is there is not ours to remove."""
    from nubelet.settings import explain

    if not settings.database.url.startswith("sqlite"):
        click.echo(f"The database {explain(settings, 'database.url').value} is left as it is.")


def purge_all(instance: Instance) -> list[str]:
    """Remove everything of a stopped cloud; says what, one line each."""
    from nubelet import wiring
    from nubelet.settings import load

    settings = load(instance.settings_file)
    removed = wiring.purge(settings)
    external_networks.release(instance.state_dir)
    _tell_of_database(settings)
    for folder in (*wiring.state_folders(settings), instance.state_dir):
        if folder.exists():
            shutil.rmtree(folder)
            removed.append(f"folder {folder}")
    return removed
