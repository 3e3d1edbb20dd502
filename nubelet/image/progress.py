"""What a task says of how far it has come: written every few seconds, by the operation alone."""

from __future__ import annotations

import time
from collections.abc import Iterator

from nubelet.image.model import image_progress
from nubelet.kernel import clock
from nubelet.kernel.operations.run import Run

EVERY_SECONDS = 2.0


class Stopped(Exception):  # noqa: N818 - a state
    """The operation was asked to end in the middle of a step."""


def go_on(run: Run) -> None:
    """Raise Stopped when the operation shall end."""
    if run.stopping:
        raise Stopped("the import was stopped")


def tell(run: Run, message: str) -> None:
    """This is what the task says from here on."""
    with run.cloud.database.write() as tx:
        if not tx.update(
            image_progress,
            image_progress.c.operation_id == run.operation_id,
            message=message,
            updated_at=clock.now(),
        ):
            tx.insert(
                image_progress,
                operation_id=run.operation_id,
                message=message,
                updated_at=clock.now(),
            )


def counted(run: Run, verb: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same chunks; the task says how many MiB went by, and the operation can be stopped."""
    size, told = 0, time.monotonic()
    for chunk in chunks:
        go_on(run)
        yield chunk
        size += len(chunk)
        if time.monotonic() - told > EVERY_SECONDS:
            told = time.monotonic()
            tell(run, f"{verb} {size >> 20} MiB")
