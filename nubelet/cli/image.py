"""`nubelet image`: what an operator does once so that users find images and their properties.

Read next: `fetching/` (images from the web), `definitions.py` (metadata definitions).
"""

from __future__ import annotations

from pathlib import Path

import click

from nubelet.cli.instance import Instance, state_dir_option


@click.group()
def image_command() -> None:
    """Bring images and metadata definitions into the cloud."""


@image_command.command("load-definitions")
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--replace", is_flag=True, help="Replace namespaces that are there already.")
@state_dir_option
def load_definitions(folder: Path | None, replace: bool, state_dir: Path) -> None:
    """Load the usual metadata definitions: what properties images, flavors and volumes may have.

    FOLDER holds other ones, a TOML or JSON file for each namespace. Namespaces that are there
    already are left as they are, so the command may be repeated.
    """
    from nubelet.cli import definitions
    from nubelet.cli.asking import Session

    found = definitions.read(folder or definitions.USUAL)
    session = Session(Instance(state_dir))
    for definition in found:
        done = definitions.load(session.call, definition, replace=replace)
        click.echo(f"{done:<10} {definition['namespace']}")


@image_command.command("fetch")
@click.argument("image", required=False)
@click.option("--list", "lists", is_flag=True, help="Show the images that are known by name.")
@click.option("--name", help="Name of the image in the cloud; else that of the source.")
@click.option("--arch", help="x86_64 or aarch64; else that of this machine.")
@click.option("--mirror", metavar="URL", help="Folder on the web that has the files instead.")
@click.option("--checksum", metavar="ALGORITHM:HASH", help="What the file must have.")
@click.option("--checksums", metavar="URL", help="List of checksums that has the file.")
@click.option("--no-checksum", is_flag=True, help="Take a file from the web unchecked.")
@click.option(
    "--visibility",
    type=click.Choice(["public", "private", "shared", "community"]),
    default="public",
    show_default=True,
)
@click.option("--property", "properties", multiple=True, metavar="KEY=VALUE", help="May be given "
              "several times; wins over what is known of the image.")  # fmt: skip
@click.option("--keep", is_flag=True, help="Keep the downloaded file.")
@state_dir_option
def fetch(image: str | None, lists: bool, state_dir: Path, **options: object) -> None:
    """Bring a public cloud image into the cloud, checked.

    IMAGE is a known name (`--list`), a URL, or a file. The command may be repeated: it goes on
    where it was interrupted, and does nothing when the image is there.
    """
    from nubelet.cli.fetching import sources
    from nubelet.cli.fetching.running import Options, run

    if lists or image is None:
        for name, title in sources.known().items():
            click.echo(f"{name:<14} {title}")
        if image is None and not lists:
            raise click.UsageError("Name one of these, a URL or a file.")
        return
    run(image, Instance(state_dir), Options(**options))  # type: ignore[arg-type]
