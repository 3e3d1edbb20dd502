"""Parts that the answers of accounts, containers and objects share."""

from __future__ import annotations

from collections.abc import Mapping

from nubelet.kernel.http.messages import Response

# What only the owner of an account may see or set.
OWNER_HEADERS = frozenset(
    (
        "x-container-read",
        "x-container-write",
        "x-container-sync-key",
        "x-container-sync-to",
        "x-account-meta-temp-url-key",
        "x-account-meta-temp-url-key-2",
        "x-container-meta-temp-url-key",
        "x-container-meta-temp-url-key-2",
        "x-account-access-control",
    )
)
PLAIN = "text/plain; charset=utf-8"
EMPTY = {"Content-Length": "0"}  # which Swift says even with 204


def title(name: str) -> str:
    """`x-object-meta-color` as it is usually written: `X-Object-Meta-Color`."""
    return name.title()


def shown(metadata: Mapping[str, str], is_owner: bool) -> dict[str, str]:
    """Metadata as headers of an answer, without what is the owner's."""
    return {
        title(name): value
        for name, value in metadata.items()
        if is_owner or name not in OWNER_HEADERS
    }


def done(status: int = 204, headers: dict[str, str] | None = None) -> Response:
    """An answer that needs no words."""
    return Response(status, b"" if status != 204 else None, headers or {}, PLAIN)


def change(
    headers: Mapping[str, str], target: str, further: tuple[str, ...] = ()
) -> dict[str, str]:
    """What a PUT or POST changes of the metadata of an account or container: names and new
    values, an empty one to remove. `X-Remove-...: x` removes too. further: other headers."""
    changes: dict[str, str] = {}
    prefix, remove = f"x-{target}-meta-", f"x-remove-{target}-meta-"
    inner = f"x-{target}-sysmeta-"
    changes.update(
        (name, value)
        for name, value in headers.items()
        if name.startswith((prefix, inner)) or name in further
    )
    for name in headers:
        kept = "x-" + name[len("x-remove-") :]
        if name.startswith(remove) or (name.startswith("x-remove-") and kept in further):
            changes.setdefault(kept, "")  # who sets and removes at once, sets
    return changes
