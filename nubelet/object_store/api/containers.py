"""A container: a list of objects with metadata, access lists and a storage policy."""

from __future__ import annotations

from nubelet.kernel.errors import BadRequest, Conflict, NotFound
from nubelet.kernel.http.messages import Response
from nubelet.object_store import limits
from nubelet.object_store.api import accounts, answers, listing_formats
from nubelet.object_store.call import Call
from nubelet.object_store.features import acls, public_access
from nubelet.object_store.storage import ContainerInfo, Missing, NotEmpty, timestamps

FURTHER = (
    "x-container-read",
    "x-container-write",
    "x-container-sync-key",
    "x-container-sync-to",
    "x-versions-location",
    "x-history-location",
)


def show(call: Call) -> Response:
    """GET lists the objects, HEAD shows the totals and the metadata."""
    info = call.container_info()
    call.authorize(info.metadata.get("x-container-read", "") if info else "")
    kind = listing_formats.content_type(call)
    listing = listing_formats.page(call, limits.CONTAINER_LISTING_LIMIT)
    if info is None:
        raise NotFound(message="The container does not exist.")
    headers = describe(call, info) | listing_formats.varies(call)
    if call.method == "HEAD":
        return Response(204, None, headers | answers.EMPTY, f"{kind}; charset=utf-8")
    try:
        entries = call.store.list_objects(call.account, call.container, listing)
    except Missing:
        raise NotFound(message="The container does not exist.") from None
    if not entries and kind == "text/plain":
        return Response(204, None, headers | answers.EMPTY, answers.PLAIN)
    if kind == "application/json":
        body = listing_formats.objects_json(entries)
    else:
        shown = [listing_formats.show_object(each) for each in entries]
        body = listing_formats.render(kind, ("container", call.container), "object", shown)
    return Response(200, body, headers, f"{kind}; charset=utf-8")


def describe(call: Call, info: ContainerInfo) -> dict[str, str]:
    """The headers of a container."""
    return {
        "X-Container-Object-Count": str(info.object_count),
        "X-Container-Bytes-Used": str(info.bytes_used),
        "X-Timestamp": info.created_at,
        "X-Put-Timestamp": info.put_timestamp,
        "Last-Modified": timestamps.http_date(info.put_timestamp),
        "X-Storage-Policy": call.store.policies[info.policy].name,
        "Accept-Ranges": "bytes",
        **answers.shown(info.metadata, call.is_owner),
    }


def create(call: Call) -> Response:
    """Make the container, or change its metadata where it is there."""
    call.authorize()
    changes = _changes(call)
    policy = None
    if asked := call.headers.get("x-storage-policy"):
        found = call.store.policies.named(asked)
        if found is None:
            raise BadRequest(f"Invalid X-Storage-Policy '{asked}'")
        policy = found.index
    accounts.ensure(call)
    try:
        is_new = call.store.put_container(
            call.account, call.container, timestamps.now(), changes, policy
        )
    except Conflict:
        raise Conflict("The container exists with another storage policy.") from None
    call.forget()
    return answers.done(201 if is_new else 202)


def update(call: Call) -> Response:
    """Change the metadata."""
    call.authorize()
    changes = _changes(call)
    try:
        call.store.post_container(call.account, call.container, timestamps.now(), changes)
    except Missing:
        raise NotFound(message="The container does not exist.") from None
    call.forget()
    return answers.done()


def _changes(call: Call) -> dict[str, str]:
    headers = dict(call.headers)
    limits.check_metadata(headers, "container")
    for name in ("x-container-read", "x-container-write"):
        if headers.get(name):
            headers[name] = acls.clean(name, headers[name])
    changes = answers.change(headers, "container", FURTHER)
    if call.authority is not None and not call.is_owner:
        changes = {name: changes[name] for name in changes if name not in answers.OWNER_HEADERS}
    if call.authority is not None:
        public_access.check(call, changes)
    info = call.container_info()
    accounts.check_total((info.metadata if info else {}) | changes, "container")
    return changes


def delete(call: Call) -> Response:
    """Delete an empty container."""
    call.authorize()
    try:
        call.store.delete_container(call.account, call.container, timestamps.now())
    except Missing:
        raise NotFound(message="The container does not exist.") from None
    except NotEmpty as error:
        raise Conflict(
            f"There was a conflict when trying to complete your request. {error.message}"
        ) from None
    call.forget()
    return answers.done()


METHODS = {"GET": show, "HEAD": show, "PUT": create, "POST": update, "DELETE": delete}
