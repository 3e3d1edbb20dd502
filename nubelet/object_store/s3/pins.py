"""An answer of several looks at a key, all of them at the same write of it.

What is looked at first (is the condition met, how long are the parts?) and what is sent then are
two calls to the store. Where somebody writes the key in between, all is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable

from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import header
from nubelet.object_store.s3.errors import S3Error

_TRIES = 10
_TOLD = ("X-Timestamp", "X-Object-Version-Id")


class ChangedError(Exception):
    """What was found first is not what is there now."""


def of_one_write(answer: Callable[[], Response]) -> Response:
    """The answer, asked for again as long as that raises ChangedError; raises OperationAborted
    where the key changes all the time."""
    for _ in range(_TRIES):
        try:
            return answer()
        except ChangedError:
            continue
    raise S3Error("OperationAborted")


def check(found: Response, later: Response) -> None:
    """Raise ChangedError unless both are about the same write of the key, with the same tags."""
    if any(header(found, name) != header(later, name) for name in _TOLD):
        discard(later)
        raise ChangedError


def discard(answer: Response) -> None:
    """Nobody reads this answer: what it holds open is closed."""
    if answer.on_sent is not None:
        answer.on_sent(False)
    close = getattr(answer.body, "close", None)
    if close is not None:
        close()
