"""How many things done at once are answered: counts, and the errors one by one.

As text, JSON or XML, as Accept asks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import chain
from urllib.parse import quote
from xml.sax.saxutils import escape

from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import Call, Proceed

# While a long answer is being worked out, a blank is sent so often.
BEAT_SECONDS = 10.0
_EXPLAINED = {
    400: "The server could not comply with the request since it is either malformed or "
    "otherwise incorrect.",
    422: "Unable to process the contained instructions",
}
Counts = Sequence[tuple[str, int]]
Problems = Sequence[tuple[str, str]]


def kind(call: Call) -> str:
    """The media type of the answer."""
    accept = call.headers.get("accept", "")
    for offer in ("application/json", "application/xml", "text/xml", "text/plain"):
        if offer in accept:
            return offer
    return "text/plain"


def status_line(status: int) -> str:
    """`400 Bad Request`."""
    return f"{status} {HTTPStatus(status).phrase}"


def explained(status: int, words: str = "") -> str:
    """The title of a status and what it means, as the API says it in such answers."""
    return f"{HTTPStatus(status).phrase}\n{_EXPLAINED.get(status, words)}"


def beats(work: Iterable[object]) -> Iterator[bytes]:
    """Do the work, a blank after each BEAT_SECONDS of it."""
    last = time.monotonic()
    for _ in work:
        if time.monotonic() - last > BEAT_SECONDS:
            last = time.monotonic()
            yield b" "


def text(
    call: Call,
    counts: Counts,
    problems: Problems,
    status: int,
    body: str = "",
    *,
    further: Mapping[str, str] | None = None,
) -> bytes:
    """The answer's body. further: what else it says, name -> value."""
    more = list((further or {}).items())
    media = kind(call)
    line = status_line(status)
    if media == "application/json":
        value: dict[str, object] = {
            **dict(counts),
            "Response Status": line,
            "Response Body": body,
            **dict(more),
            "Errors": [list(problem) for problem in problems],
        }
        return json.dumps(value).encode()
    if media.endswith("xml"):
        parts = ["<delete>\n"]
        for name, number in (*counts, ("Response Status", line), ("Response Body", body), *more):
            tag = name.lower().replace(" ", "_")
            parts.append(f"<{tag}>{escape(str(number))}</{tag}>\n")
        parts.append("<errors>\n")
        parts += [
            f"<object><name>{escape(name)}</name><status>{escape(cause)}</status></object>\n"
            for name, cause in problems
        ]
        return "".join([*parts, "</errors>\n</delete>\n"]).encode()
    lines = [f"{name}: {number}" for name, number in counts]
    lines += [f"Response Status: {line}", f"Response Body: {body}"]
    lines += [*(f"{name}: {value}" for name, value in more), "Errors:"]
    lines += [f"{name}, {cause}" for name, cause in problems]
    return ("\n".join(lines) + "\n").encode()


def delete_all(
    call: Call, proceed: Proceed, deletes: Iterable[Call], problems: Problems = ()
) -> Response:
    """Delete objects (and containers) one by one; the answer goes on meanwhile."""
    work = _delete_all(call, proceed, deletes, problems)
    first = next(work)  # short work is done when the answer begins
    return Response(200, chain((first,), work), {}, kind(call))


def _delete_all(
    call: Call, proceed: Proceed, deletes: Iterable[Call], problems: Problems
) -> Iterator[bytes]:
    deleted = missing = 0
    errors, worst = list(problems), 400
    last = time.monotonic()
    for path in deletes:
        if time.monotonic() - last > BEAT_SECONDS:
            last = time.monotonic()
            yield b" "
        try:
            proceed(path)
            deleted += 1
        except ApiError as error:
            if error.status == 404:
                missing += 1
                continue
            name = quote(
                f"/{path.container}/{path.object}" if path.object else f"/{path.container}"
            )
            errors.append((name, status_line(error.status)))
            if error.status == 401:
                worst = 401
                break
    counts = (("Number Deleted", deleted), ("Number Not Found", missing))
    status, words = 200, ""
    if errors:
        status, words = worst, ""
    elif not deleted and not missing:
        status, words = 400, "Invalid bulk delete."
    yield text(call, counts, errors, status, words)
