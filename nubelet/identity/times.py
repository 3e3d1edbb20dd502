"""Times that callers set: when something is to end."""

from __future__ import annotations

from nubelet.kernel import clock
from nubelet.kernel.errors import BadRequest


def read_future(name: str, text: str | None) -> int | None:
    """An ISO 8601 time in a body as microseconds; None for none. Raises BadRequest for one that is
    past, or none at all."""
    if text is None:
        return None
    try:
        moment = clock.parse_iso(text)
    except (ValueError, OverflowError):
        raise BadRequest(
            f"Invalid input for field/attribute {name}: {text!r} is not an ISO 8601 time."
        ) from None
    if moment <= clock.now():
        raise BadRequest(f"Invalid input for field/attribute {name}: {text} is past.")
    return moment
