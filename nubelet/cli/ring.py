"""`nubelet ring`: make and change the rings of an object storage cluster.

Changes go to a builder file (`object.builder`); `rebalance` gives partitions to devices and
`write` makes the ring file that the servers read. In OpenStack: `swift-ring-builder`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nubelet.object_store.ring import Device, RingBuilder

_builder_file = click.argument("builder_file", type=click.Path(dir_okay=False, path_type=Path))
_search = click.argument("search", nargs=-1, required=True)


@click.group(name="ring")
def ring_command() -> None:
    """Make and change the rings of an object storage cluster.

    A device is written r<region>z<zone>-<ip>:<port>/<device>, and found by any part of it: d3 (its
    id), z2, 10.0.0.1, 10.0.0.1:6200/sdb, /sdb.
    """


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    from nubelet.object_store.ring import DeviceSyntaxError, RingError, RingFileError

    try:
        yield
    except (DeviceSyntaxError, RingError, RingFileError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[RingBuilder]:
    """The builder in `path`, saved unless something is refused; one command at a time."""
    import fcntl

    from nubelet.object_store.ring import RingBuilder

    with _refusals(), path.with_name(f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        builder = RingBuilder.load(path)
        yield builder
        builder.save(path)


def _load(path: Path) -> RingBuilder:
    from nubelet.object_store.ring import RingBuilder

    with _refusals():
        return RingBuilder.load(path)


def _found(builder: RingBuilder, texts: tuple[str, ...]) -> list[Device]:
    found = {device.id: device for text in texts for device in builder.search(text)}
    if not found:
        raise click.ClickException(f"no device is {' or '.join(texts)}")
    return list(found.values())


@ring_command.command()
@_builder_file
@click.argument("part_power", type=int)
@click.argument("replicas", type=float)
@click.argument("min_part_hours", type=int)
def create(builder_file: Path, part_power: int, replicas: float, min_part_hours: int) -> None:
    """Make a builder of 2^PART_POWER partitions with REPLICAS (2.5: half of them have three), of
    which each stays for MIN_PART_HOURS after it moved.

    About 100 partitions for each device that there may ever be is a good number.
    """
    from nubelet.object_store.ring import RingBuilder

    if builder_file.exists():
        raise click.ClickException(f"{builder_file} is there already")
    with _refusals():
        RingBuilder(part_power, replicas, min_part_hours).save(builder_file)


@ring_command.command()
@_builder_file
@click.argument("devices", nargs=-1, required=True, metavar="(DEVICE WEIGHT)...")
def add(builder_file: Path, devices: tuple[str, ...]) -> None:
    """Add devices, each with its weight (its size in GB, say)."""
    from nubelet.object_store.ring.devices import parse_device

    if len(devices) % 2:
        raise click.UsageError("each DEVICE needs a WEIGHT")
    with _changing(builder_file) as builder:
        for text, weight in zip(devices[::2], devices[1::2], strict=True):
            device = builder.add(**parse_device(text), weight=_number(weight))
            click.echo(f"{device} added with weight {device.weight:g}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is no weight") from None


@ring_command.command()
@_builder_file
@_search
def remove(builder_file: Path, search: tuple[str, ...]) -> None:
    """Take devices away (dead ones; drain good ones with weight 0 first)."""
    with _changing(builder_file) as builder:
        for device in _found(builder, search):
            builder.remove(device.id)
            click.echo(f"{device} removed: rebalance moves what it holds")


@ring_command.command("set-weight")
@_builder_file
@click.argument("search")
@click.argument("weight", type=float)
def set_weight(builder_file: Path, search: str, weight: float) -> None:
    """Change the weight of devices; 0 drains them."""
    with _changing(builder_file) as builder:
        for device in _found(builder, (search,)):
            click.echo(f"{builder.set_weight(device.id, weight)} has weight {weight:g}")


@ring_command.command("set-info")
@_builder_file
@click.argument("search")
@click.argument("device")
def set_info(builder_file: Path, search: str, device: str) -> None:
    """Change what a device is: DEVICE names the parts that change (10.0.0.9:6200, /sdc, _meta)."""
    from nubelet.object_store.ring.devices import parse_search

    with _changing(builder_file) as builder:
        fields = parse_search(device)
        found = _found(builder, (search,))
        if "id" in fields:
            raise click.UsageError("the id of a device does not change")
        for old in found:
            click.echo(f"{old} is now {builder.set_info(old.id, **fields)}")


@ring_command.command("set-replicas")
@_builder_file
@click.argument("replicas", type=float)
def set_replicas(builder_file: Path, replicas: float) -> None:
    """Change how many replicas there are."""
    with _changing(builder_file) as builder:
        builder.set_replicas(replicas)


@ring_command.command("set-overload")
@_builder_file
@click.argument("overload")
def set_overload(builder_file: Path, overload: str) -> None:
    """Let devices hold more than their weight (0.1 or 10%) where that spreads replicas better."""
    percent = overload.endswith("%")
    value = _number(overload.rstrip("%")) / (100 if percent else 1)
    with _changing(builder_file) as builder:
        builder.set_overload(value)


@ring_command.command("set-min-part-hours")
@_builder_file
@click.argument("hours", type=int)
def set_min_part_hours(builder_file: Path, hours: int) -> None:
    """Change how long a partition that moved stays."""
    with _changing(builder_file) as builder:
        builder.set_min_part_hours(hours)


@ring_command.command("pretend-min-part-hours-passed")
@_builder_file
def pretend(builder_file: Path) -> None:
    """Let every partition move at the next rebalance (only when replication has finished)."""
    with _changing(builder_file) as builder:
        builder.pretend_min_part_hours_passed()


@ring_command.command()
@_builder_file
@click.option("--seed", type=int, help="The same changes with the same seed give the same ring.")
def rebalance(builder_file: Path, seed: int | None) -> None:
    """Give partitions to devices, with as few moves as possible. `write` then makes the ring."""
    with _changing(builder_file) as builder:
        done = builder.rebalance(seed=seed)
    total = sum(builder.held().values())
    click.echo(
        f"{done.moved} of {total} replicas moved ({100 * done.moved / total:.2f} %). "
        f"Balance {done.balance:.2f} %, dispersion {done.dispersion:.2f} %."
    )
    if done.waiting:
        click.echo(f"{done.waiting} partitions moved less than {builder.min_part_hours} h ago.")


@ring_command.command()
@_builder_file
def validate(builder_file: Path) -> None:
    """Say whether every replica is on a device of its own."""
    with _refusals():
        _load(builder_file).validate()
    click.echo("The ring is valid.")


@ring_command.command()
@_builder_file
@click.option("-o", "--output", type=click.Path(path_type=Path), help="[*.ring beside]")
def write(builder_file: Path, output: Path | None) -> None:
    """Write the ring file that the servers read."""
    path = output or builder_file.with_suffix(".ring")
    with _refusals():
        _load(builder_file).ring().save(path)
    click.echo(str(path))


@ring_command.command()
@_builder_file
def show(builder_file: Path) -> None:
    """The devices, what they hold, and how far they are off their share."""
    builder = _load(builder_file)
    power = builder.part_power
    click.echo(
        f"{builder_file}: version {builder.version}, {builder.partitions} partitions (2^{power}),"
        f" {builder.replicas:g} replicas, {len(builder.devices)} devices,"
        f" balance {builder.balance():.2f} %, overload {100 * builder.overload:g} %,"
        f" min_part_hours {builder.min_part_hours}"
    )
    if builder.next_part_power is not None:
        click.echo(f"The partition power is being raised to {builder.next_part_power}.")
    _print_devices(builder, builder.devices)


@ring_command.command()
@_builder_file
@_search
def search(builder_file: Path, search: tuple[str, ...]) -> None:
    """The devices that match."""
    builder = _load(builder_file)
    with _refusals():
        _print_devices(builder, _found(builder, search))


def _print_devices(builder: RingBuilder, devices: list[Device]) -> None:
    held, wanted = builder.held(), builder.wanted()
    for device in devices:
        share = wanted.get(device.id, 0.0)
        off = f"{100 * (held[device.id] / share - 1):+.2f} %" if share else "-"
        replication = "%s:%d" % device.peer  # noqa: UP031 - a pair
        click.echo(
            f"{device!s:<40} weight {device.weight:<10g} partitions {held[device.id]:<8} "
            f"balance {off:<10} replication {replication} {device.meta}".rstrip()
        )


@ring_command.command()
@_builder_file
@click.option("--verbose", "-v", is_flag=True, help="Every region, zone, server and device.")
def dispersion(builder_file: Path, verbose: bool) -> None:
    """How well the replicas are spread over regions, zones and servers."""
    builder = _load(builder_file)
    with _refusals():
        report = builder.dispersion()
    click.echo(
        f"Dispersion {report.percent:.2f} %, balance {builder.balance():.2f} %. "
        f"An overload of {100 * report.required_overload:.2f} % would spread all."
    )
    for tier in sorted(report.tiers, key=lambda tier: tier.name):
        if verbose or tier.crowded:
            counts = ", ".join(f"{number} with {c}" for c, number in enumerate(tier.counts))
            click.echo(f"{tier.name:<40} most {tier.most}, too many in {tier.crowded}: {counts}")


@ring_command.command("increase-partition-power")
@_builder_file
@click.argument("step", type=click.Choice(["prepare", "increase", "cancel", "finish"]))
def increase(builder_file: Path, step: str) -> None:
    """Double the partitions: prepare, relink, increase, clean up, finish; `write` after each."""
    with _changing(builder_file) as builder:
        if step == "increase":
            builder.increase_partition_power()
        else:
            getattr(builder, f"{step}_increase_partition_power")()


@ring_command.command()
@click.argument("ring_file", type=click.Path(path_type=Path))
@click.argument("device_folder", type=click.Path(path_type=Path, file_okay=False), nargs=-1)
@click.option("--cleanup", is_flag=True, help="Remove the old places, after `increase`.")
def relink(ring_file: Path, device_folder: tuple[Path, ...], cleanup: bool) -> None:
    """Link what is in folders of devices to where the larger power looks for it.

    DEVICE_FOLDER is one of the ring on a device: /srv/node/sdb/objects; objects-1 and fragments-1
    of an erasure-coded policy; accounts; containers. Listings (the last two) are looked for in
    both places and are moved with --cleanup.
    """
    from nubelet.object_store.cluster.moving_listings import KINDS, move
    from nubelet.object_store.ring import Ring
    from nubelet.object_store.ring.relinker import Relinked, Relinker

    with _refusals():
        ring = Ring.load(ring_file)
        relinker = Relinker(ring)
        for folder in device_folder:
            if folder.name in KINDS:
                report = move(ring, folder) if cleanup else Relinked()
            else:
                report = relinker.cleanup(folder) if cleanup else relinker.relink(folder)
            click.echo(f"{folder}: {report.done} done, {report.errors} errors")
            if report.errors:
                raise SystemExit(1)


@ring_command.command()
@click.argument("ring_file", type=click.Path(path_type=Path))
@click.argument("account")
@click.argument("container", default="")
@click.argument("obj", default="", metavar="OBJECT")
@click.option("--handoffs", default=3, show_default=True, help="How many to show.")
@click.option("--hash-prefix", default="", help="As in the cluster's settings.")
@click.option("--hash-suffix", default="", help="As in the cluster's settings.")
def nodes(
    ring_file: Path,
    account: str,
    container: str,
    obj: str,
    handoffs: int,
    hash_prefix: str,
    hash_suffix: str,
) -> None:
    """Where an account, container or object is."""
    from itertools import islice

    from nubelet.object_store.ring import Ring

    with _refusals():
        ring = Ring.load(ring_file, prefix=hash_prefix.encode(), suffix=hash_suffix.encode())
    part, devices = ring.lookup(account, container, obj)
    click.echo(f"partition {part}, hash {ring.hash(account, container, obj)}")
    for device in devices:
        click.echo(f"primary  {device}")
    for device in islice(ring.handoffs(part), handoffs):
        click.echo(f"handoff  {device}")
