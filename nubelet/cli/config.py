"""`nubelet config`: options, their values and where those came from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nubelet.cli.instance import Instance, state_dir_option

if TYPE_CHECKING:
    from nubelet.settings import Settings


@click.group()
def config_command() -> None:
    """Look at the options of a cloud."""


@config_command.command("explain")
@click.argument("option", metavar="SECTION.NAME")
@state_dir_option
def explain_option(option: str, state_dir: Path) -> None:
    """Show an option's value, where it came from, and what it means."""
    from nubelet.settings import SettingsError, explain

    try:
        click.echo(str(explain(_settings(state_dir), option)))
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


@config_command.command("list")
@state_dir_option
def list_options(state_dir: Path) -> None:
    """Show every option and its value."""
    from nubelet.settings import explain
    from nubelet.settings.table import options

    settings = _settings(state_dir)
    for option in options():
        shown = explain(settings, option.name)
        click.echo(f"{option.name:<32} {shown.value!s:<40} {shown.origin}")


def _settings(state_dir: Path) -> Settings:
    from nubelet.settings import load

    instance = Instance(state_dir)
    return load(
        instance.settings_file if instance.exists else None,
        os.environ,
        {"state_dir": str(instance.state_dir)},
    )
