"""`nubelet object-keys`: the secrets that `object_store.encryption` uses."""

from __future__ import annotations

from pathlib import Path

import click

from nubelet.cli.instance import Instance, state_dir_option


@click.group(name="object-keys")
def object_keys_command() -> None:
    """Look after the secrets that objects are encrypted with."""


@object_keys_command.command()
@state_dir_option
def rotate(state_dir: Path) -> None:
    """Make a new secret: objects written from now on are encrypted with it.

    Earlier ones stay readable as long as their secrets are kept.
    """
    from nubelet import wiring
    from nubelet.settings import load

    instance = Instance(state_dir)
    settings = load(instance.settings_file if instance.exists else None)
    number = wiring.rotate_object_keys(settings)
    click.echo(f"Secret {number} encrypts from now on.")
