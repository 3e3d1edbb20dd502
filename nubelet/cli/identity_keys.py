"""`nubelet identity-keys`: what tokens, credentials and the secrets of domains are sealed with."""

from __future__ import annotations

from pathlib import Path

import click

from nubelet.cli.instance import Instance, state_dir_option


@click.group(name="identity-keys")
def identity_keys_command() -> None:
    """Look after the keys of identity."""


@identity_keys_command.command()
@state_dir_option
def rotate(state_dir: Path) -> None:
    """Let the next key take over for tokens, credentials and domains' secrets.

    Tokens stay good, and stored secrets are sealed again. The cloud may be running, and does this
    by itself in time. If it is interrupted, run it again.
    """
    from nubelet import wiring
    from nubelet.settings import load

    instance = Instance(state_dir)
    instance.require_exists()
    settings = load(instance.settings_file)
    for folder, number in wiring.rotate_identity_keys(settings).items():
        click.echo(f"{folder}: key {number} seals from now on.")
