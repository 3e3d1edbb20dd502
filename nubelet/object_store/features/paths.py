"""The account, container and object of a request's path: `/v1/account/container/object`."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from nubelet.kernel.errors import NotFound, PreconditionFailed
from nubelet.kernel.http.messages import Response
from nubelet.object_store import limits
from nubelet.object_store.call import Call, Proceed

RAW_PATH = "raw-path"  # note: the path after names of the host were put before it (domains.py)


def paths(call: Call, proceed: Proceed) -> Response:
    """Raises what Swift answers for names that cannot be."""
    raw = call.notes.get(RAW_PATH) or call.request.raw_path
    for version in (b"/v1/", b"/v1.0/"):
        if raw.startswith(version) and len(raw) > len(version):
            call.account, call.container, call.object = names(raw[len(version) :])
            return proceed(call)
    if raw.strip(b"/") in (b"v1", b"v1.0"):
        raise PreconditionFailed("Bad URL")
    raise NotFound(message="There is no such path.")


def is_as_sent(call: Call) -> bool:
    """Does the path of the request, between its slashes, name account and container? Else the host
    does, or one slash at least is escaped."""
    return RAW_PATH not in call.notes and not any(
        b"%2f" in part for part in call.request.raw_path.lower().split(b"/", 4)[:4]
    )


def names(raw_path: bytes) -> tuple[str, str, str]:
    """Account, container and object of a path after `/v1/`; raises what Swift answers."""
    decoded = unquote_to_bytes(raw_path)
    try:
        text = decoded.decode()
    except UnicodeDecodeError:
        raise PreconditionFailed("Invalid UTF8 or contains NULL") from None
    if "\0" in text:
        raise PreconditionFailed("Invalid UTF8 or contains NULL")
    account, _, rest = text.partition("/")
    container, _, name = rest.partition("/")
    if not account or (not container and name):
        raise PreconditionFailed("Bad URL")
    limits.check_names(account, container, name)
    return account, container, name
