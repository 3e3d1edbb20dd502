"""`nubelet object-node`: a storage node of an object storage cluster, in the foreground.

It serves its devices and runs the daemons that keep them whole; with `--only` it is one of these
parts alone. In OpenStack: swift-{account,container,object}-server and the daemons beside them.
"""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="object-node")
@click.option(
    "--cluster",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder with cluster.toml and the rings.",
)
@click.option(
    "--devices",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/srv/node"),
    show_default=True,
    help="Folder of the devices: one folder, or mounted disk, for each.",
)
@click.option("--ip", required=True, help="Address of this node, as the rings name it.")
@click.option("--port", type=click.IntRange(1, 65535), default=6200, show_default=True)
@click.option(
    "--only",
    multiple=True,
    help="Be only this part: server, or the name of a daemon. May be given again.",
)
@click.option("--once", is_flag=True, help="One pass of each daemon, without a server.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="debug: each call, with the id of the client's request that it is for.",
)
def object_node_command(
    cluster: Path,
    devices: Path,
    ip: str,
    port: int,
    only: tuple[str, ...],
    once: bool,
    log_level: str,
) -> None:
    """Run a storage node of an object storage cluster until SIGTERM."""
    from nubelet.kernel import log
    from nubelet.object_store.cluster.configuration import ConfigurationError
    from nubelet.object_store.cluster.running import run
    from nubelet.object_store.ring import RingFileError

    log.setup(level=log_level, form="text")
    try:
        run(cluster, devices, ip, port, only=frozenset(only), once=once)
    except (ConfigurationError, RingFileError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{ip} port {port}: {error.strerror}") from None
