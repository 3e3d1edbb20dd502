"""`nubelet object`: look into an object storage cluster.

In OpenStack: swift-object-info, swift-account-audit, swift-recon, swift-dispersion-report,
swift-manage-shard-ranges.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nubelet.object_store.cluster.storage import ClusterStorage
    from nubelet.object_store.tools.replicas import Looking, Report

_cluster = click.option(
    "--cluster",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    envvar="NUBELET_OBJECT_STORE_CLUSTER",
    help="Folder with cluster.toml and the rings.",
)


@click.group(name="object")
def object_command() -> None:
    """Look into an object storage cluster: where replicas are, and what is wrong."""


@contextlib.contextmanager
def _looking(cluster: Path) -> Iterator[tuple[Looking, ClusterStorage]]:
    from nubelet.kernel.errors import ApiError
    from nubelet.object_store.cluster.configuration import Cluster, ConfigurationError
    from nubelet.object_store.cluster.storage import ClusterStorage
    from nubelet.object_store.ring import RingFileError
    from nubelet.object_store.tools.replicas import Looking

    try:
        looking = Looking(Cluster(cluster))
        storage = ClusterStorage(cluster)
    except (ConfigurationError, RingFileError) as error:
        raise click.ClickException(str(error)) from None
    try:
        yield looking, storage
    except ApiError as error:
        raise click.ClickException(error.message) from None
    finally:
        looking.close()
        storage.close()


def _print(report: Report) -> None:
    click.echo(f"{report.name}: partition {report.part}, hash {report.digest}")
    for replica in report.replicas:
        kind = "primary" if replica.is_primary else "handoff"
        click.echo(f"  {kind} {replica.device}")
        for fact in replica.facts:
            click.echo(f"    {fact}")
    for problem in report.problems:
        click.echo(f"  wrong: {problem}")
    if report.problems:
        raise SystemExit(1)


@object_command.command()
@_cluster
@click.argument("account")
@click.argument("container")
@click.argument("obj", metavar="OBJECT")
def info(cluster: Path, account: str, container: str, obj: str) -> None:
    """Where the replicas of an object are, their MD5s, and what is wrong. Ends with 1 if
    something is."""
    with _looking(cluster) as (looking, storage):
        policy = storage.container(account, container).policy
        _print(looking.object(account, container, obj, policy))


@object_command.command("container-info")
@_cluster
@click.argument("account")
@click.argument("container")
def container_info(cluster: Path, account: str, container: str) -> None:
    """Where the replicas of a container's listing are, and what is wrong."""
    with _looking(cluster) as (looking, _):
        _print(looking.container(account, container))


@object_command.command("shards")
@_cluster
@click.argument("account")
@click.argument("container")
def shards(cluster: Path, account: str, container: str) -> None:
    """How a container is sharded, as each replica of its listing says."""
    from nubelet.object_store.cluster.wire import NodeFailed
    from nubelet.object_store.tools.shards import shardings

    states = ("planned", "filling", "active")
    with _looking(cluster) as (looking, _):
        try:
            found = shardings(looking, account, container)
        except NodeFailed as error:
            raise click.ClickException(str(error)) from None
        for peer, sharding in found.items():
            if sharding is None or not sharding.live:
                click.echo(f"{peer}: not sharded")
                continue
            click.echo(f"{peer}: {states[sharding.state]}, {len(sharding.live)} shards")
            for each in sharding.live:
                span = f"after {each.lower!r}" + (f" to {each.upper!r}" if each.upper else "")
                click.echo(f"  {each.name}: {span}, {each.object_count} objects,"
                           f" {each.bytes_used} bytes")  # fmt: skip


@object_command.command("shard")
@_cluster
@click.option("--objects", type=click.IntRange(1), required=True, help="Objects of each shard.")
@click.argument("account")
@click.argument("container")
def shard(cluster: Path, objects: int, account: str, container: str) -> None:
    """Have a container split now, however few objects it has. The sharders do it, in their next
    passes; without this they do it when it is larger than `sharding.objects` in cluster.toml."""
    from nubelet.object_store.tools.shards import shard as begin

    with _looking(cluster) as (_, storage):
        begin(storage, account, container, objects)


@object_command.command("account-info")
@_cluster
@click.argument("account")
def account_info(cluster: Path, account: str) -> None:
    """Where the replicas of an account's listing are, and what is wrong."""
    with _looking(cluster) as (looking, _):
        _print(looking.account(account))


@object_command.command()
@_cluster
@click.argument("account")
@click.argument("container", default="")
@click.argument("obj", default="", metavar="[OBJECT]")
def audit(cluster: Path, account: str, container: str, obj: str) -> None:
    """Look at every replica of everything below an account or container, and tell what is wrong."""
    from nubelet.object_store.tools.audit import audit as walk

    looked = wrong = 0
    with _looking(cluster) as (looking, storage):
        for report in walk(storage, looking, account, container, obj):
            looked += 1
            for problem in report.problems:
                wrong += 1
                click.echo(f"{report.name}: {problem}")
    click.echo(f"{looked} looked at, {wrong} wrong.")
    if wrong:
        raise SystemExit(1)


@object_command.command()
@_cluster
def recon(cluster: Path) -> None:
    """What each node tells of its daemons, queues and devices."""
    from nubelet.object_store.tools.recon import figures

    with _looking(cluster) as (looking, _):
        for name, told in figures(looking).items():
            if isinstance(told, str):
                click.echo(f"{name}: {told}")
                continue
            click.echo(f"{name}: release {told.version}, {told.queued} updates wait,"
                       f" {told.quarantined} quarantined")  # fmt: skip
            rings = ", ".join(f"{ring} {number}" for ring, number in told.rings.items())
            click.echo(f"  versions of the rings: {rings}")
            for device, space in sorted(told.devices.items()):
                used = 100 * (1 - space["free"] / space["size"]) if space["size"] else 0.0
                click.echo(f"  device {device}: {used:.1f} % used")
            for daemon, numbers in sorted(told.daemons.items()):
                rest = ", ".join(
                    f"{key} {value:g}" for key, value in numbers.items() if key != "began"
                )
                click.echo(f"  {daemon}: {rest}")


@object_command.command()
@_cluster
@click.option("--policy", default=0, show_default=True, help="Index of the storage policy.")
@click.option("--partitions", default=100, show_default=True, help="How many to look at.")
def dispersion(cluster: Path, policy: int, partitions: int) -> None:
    """How many replicas of partitions, chosen at random, are where and as they should be."""
    from nubelet.object_store.tools.recon import dispersion as measure

    with _looking(cluster) as (looking, _):
        try:
            result = measure(looking, policy, partitions)
        except KeyError:
            raise click.ClickException(f"there is no policy {policy}") from None
    click.echo(
        f"{result.percent:.2f} % of the replicas of {result.partitions} partitions are whole"
        f" ({result.found} of {result.expected})."
    )
    for part in result.lacking:
        click.echo(f"partition {part} is not whole")
