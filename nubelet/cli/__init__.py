"""The `nubelet` command: one module for each subcommand, imported only when it is used.

Read next: up.py (from a command line to a healthy cloud), instance.py (what a state folder holds).
"""

from __future__ import annotations

import importlib

import click

# Subcommand -> module in this folder; the function has the module's name.
_COMMANDS = {
    "up": "up",
    "down": "down",
    "status": "status",
    "demo": "demo",
    "explain": "explain",
    "doctor": "doctor",
    "openrc": "openrc",
    "image": "image",
    "config": "config",
    "serve": "serve",
    "ring": "ring",
    "identity-keys": "identity_keys",
    "object-keys": "object_keys",
    "object-node": "object_node",
    "object": "object",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        module = _COMMANDS.get(name)
        if module is None:
            return None
        command = getattr(importlib.import_module(f"nubelet.cli.{module}"), f"{module}_command")
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        from nubelet.settings import SettingsError

        try:
            return super().invoke(ctx)
        except SettingsError as error:  # a mistake in nubelet.toml or the environment
            raise click.ClickException(str(error)) from None


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nubelet")
def main() -> None:
    """Nubelet: a cloud of your own that speaks the OpenStack APIs."""
