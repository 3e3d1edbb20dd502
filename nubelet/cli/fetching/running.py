"""`nubelet image fetch`, step by step: download, check, unpack, look at, upload."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from nubelet.cli.asking import Session
from nubelet.cli.fetching import checksums, downloads, sources, unpacking, uploading
from nubelet.cli.fetching.checksums import Checksum
from nubelet.cli.fetching.sources import Source
from nubelet.cli.fetching.uploading import Wanted
from nubelet.cli.instance import Instance


@dataclass(frozen=True)
class Options:
    """The options of the command."""

    name: str | None = None
    arch: str | None = None
    mirror: str | None = None
    checksum: str | None = None
    checksums: str | None = None
    no_checksum: bool = False
    visibility: str = "public"
    properties: tuple[str, ...] = ()
    keep: bool = False


def run(word: str, instance: Instance, options: Options) -> None:
    """Bring the image into the cloud, or say that it is there."""
    instance.require_exists()
    machine = options.arch or sources.own_machine()
    if machine not in sources.machines():
        raise click.ClickException(f"--arch: {machine} is none of {', '.join(sources.machines())}")
    properties = _properties(options.properties)
    source = sources.find(word, machine, options.mirror)
    session = Session(instance)
    folder = instance.state_dir / "fetch"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(folder, source), _Progress() as progress:
        path = _acquire(source, options, folder, progress)
        plain = unpacking.unpacked(path, folder, progress.begin("Unpacking"))
        wanted = _look_at(plain, source, options, properties, progress)
        _bring(session, wanted, plain, progress)
        for each in {path, plain} - {source.path}:
            if not options.keep:
                each.unlink(missing_ok=True)


def _acquire(source: Source, options: Options, folder: Path, progress: _Progress) -> Path:
    """The file, downloaded if need be, and checked."""
    expected = _expected(source, options)
    if source.url is None:
        assert source.path is not None
        if expected and not checksums.verify(source.path, expected, progress.begin("Checking")):
            raise click.ClickException(f"{source.path} does not have the checksum {expected}")
        return source.path
    path = downloads.target(folder, source.url)
    if not path.exists():
        downloads.fetch(source.url, path, progress.total("Downloading"))
    check = progress.begin("Checking", path.stat().st_size)
    if expected and not checksums.verify(path, expected, check):
        path.unlink()
        raise click.ClickException(
            f"{source.url} does not have the checksum {expected}: what came was removed. It may "
            "have been replaced while it came; if this happens again, do not trust the server."
        )
    return path


def _expected(source: Source, options: Options) -> Checksum | None:
    """The checksum that the file must have; None where the user takes it without."""
    if options.checksum:
        return checksums.parse(options.checksum)
    listed = options.checksums or (None if source.checksum else source.checksums)
    if listed:
        text = downloads.fetch_text(listed)
        found = checksums.look_up(text, source.file_name) if text else None
        if found is None:
            raise click.ClickException(f"{listed} has no checksum of {source.file_name}")
        return found
    if source.checksum or source.url is None or options.no_checksum:
        return source.checksum
    found = checksums.find_beside(source.url, source.file_name, downloads.fetch_text)
    if found is None:
        raise click.ClickException(
            f"no list of checksums lies beside {source.url}: state one with --checksum or "
            "--checksums, or take the file as it comes with --no-checksum"
        )
    return found


def _look_at(
    path: Path, source: Source, options: Options, more: dict[str, str], progress: _Progress
) -> Wanted:
    from nubelet.kernel.errors import ApiError
    from nubelet.wiring import identify_image

    size = path.stat().st_size
    try:
        disk_format, disk_bytes = identify_image(
            uploading.pieces(path, progress.begin("Looking at it", size))
        )
    except ApiError as error:
        raise click.ClickException(f"{path.name}: {error.message}") from None
    return Wanted(
        name=options.name or source.name,
        disk_format=disk_format,
        visibility=options.visibility,
        min_disk=uploading.disk_gib(disk_bytes),
        min_ram=source.min_ram,
        properties={**source.properties, **more},
        sha512=checksums.digest(path, "sha512", progress.begin("Hashing", size)),
    )


def _bring(session: Session, wanted: Wanted, path: Path, progress: _Progress) -> None:
    ready, waiting = uploading.find_present(session, wanted)
    if ready:
        uploading.finish(session, ready, wanted.sha512)
        progress.say(f"{wanted.name} is there already: image {ready}")
        return
    image_id = waiting or uploading.create(session, wanted)
    sent = progress.begin("Uploading", path.stat().st_size)
    uploading.fill(session, image_id, path, wanted.sha512, sent)
    progress.say(
        f"{wanted.name}: image {image_id}, {wanted.disk_format}, "
        f"needs {wanted.min_disk} GiB of disk"
    )


def _properties(words: tuple[str, ...]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise click.ClickException(f"--property: {name or '(nothing)'} is not KEY=VALUE")
    return {name: value for name, _, value in pairs}


@contextmanager
def _alone(folder: Path, source: Source) -> Iterator[None]:
    """Two commands never write the same file."""
    name = downloads.target(folder, source.url or str(source.path)).name + ".lock"
    with (folder / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise click.ClickException(
                f"another command is fetching {source.file_name} at this moment"
            ) from None
        yield


class _Progress:
    """A bar for each step on a terminal; elsewhere only what is said."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bars = Progress(
            TextColumn("{task.description:<14}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not Console(stderr=True).is_terminal,
        )

    def __enter__(self) -> _Progress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, what: str, total: int | None = None) -> Callable[[int], None]:
        """A step; the answer is told how many bytes are done more."""
        task = self._bars.add_task(what, total=total, visible=total is not None)
        return lambda more: self._bars.update(task, advance=more, visible=True)

    def total(self, what: str) -> Callable[[int, int | None], None]:
        """A step; the answer is told how many bytes are done, of how many."""
        task = self._bars.add_task(what, total=None)
        return lambda done, total: self._bars.update(task, completed=done, total=total)

    def say(self, text: str) -> None:
        """A result."""
        click.echo(text)
