"""An account: a list of containers with metadata. It comes to be with its first write."""

from __future__ import annotations

from nubelet.kernel.errors import ApiError, BadRequest
from nubelet.kernel.http.messages import Response
from nubelet.object_store import limits
from nubelet.object_store.api import answers, listing_formats
from nubelet.object_store.call import Call
from nubelet.object_store.storage import AccountInfo, Missing, timestamps

ACCESS_CONTROL = "x-account-access-control"
_NOBODY = "x-account-sysmeta-core-access-control"


def show(call: Call) -> Response:
    """GET lists the containers, HEAD shows the totals and the metadata."""
    call.authorize()
    kind = listing_formats.content_type(call)
    listing = listing_formats.page(call, limits.ACCOUNT_LISTING_LIMIT)
    try:
        info = call.store.account(call.account, newest=call.wants_newest)
    except Missing as missing:
        if missing.timestamp:
            gone = "The account was deleted; what is in it will be."
            raise ApiError(gone, status=410, title="Gone") from None
        info = _empty(call.account)
    headers = describe(call, info) | listing_formats.varies(call)
    if call.method == "HEAD":
        return Response(204, None, headers | answers.EMPTY, f"{kind}; charset=utf-8")
    shown = []
    if info.container_count:
        entries = call.store.list_containers(call.account, listing)
        shown = [listing_formats.show_container(each, call.store.policies) for each in entries]
    if not shown and kind == "text/plain":
        return Response(204, None, headers | answers.EMPTY, answers.PLAIN)
    body = listing_formats.render(kind, ("account", call.account), "container", shown)
    return Response(200, body, headers, f"{kind}; charset=utf-8")


def _empty(account: str) -> AccountInfo:
    now = timestamps.now()
    return AccountInfo(
        account=account,
        created_at=now,
        put_timestamp=now,
        metadata={},
        container_count=0,
        object_count=0,
        bytes_used=0,
    )


def describe(call: Call, info: AccountInfo) -> dict[str, str]:
    """The headers of an account."""
    headers = {
        "X-Account-Container-Count": str(info.container_count),
        "X-Account-Object-Count": str(info.object_count),
        "X-Account-Bytes-Used": str(info.bytes_used),
        "X-Timestamp": info.created_at,
        "X-Put-Timestamp": info.put_timestamp,
        "Accept-Ranges": "bytes",
    }
    for index, usage in info.policies.items():
        name = call.store.policies[index].name
        headers[f"X-Account-Storage-Policy-{name}-Container-Count"] = str(usage.container_count)
        headers[f"X-Account-Storage-Policy-{name}-Object-Count"] = str(usage.object_count)
        headers[f"X-Account-Storage-Policy-{name}-Bytes-Used"] = str(usage.bytes_used)
    headers |= answers.shown(info.metadata, call.is_owner)
    if call.is_owner and info.metadata.get(_NOBODY):
        headers["X-Account-Access-Control"] = info.metadata[_NOBODY]
    return headers


def update(call: Call) -> Response:
    """POST changes the metadata; PUT (for resellers) makes the account."""
    call.authorize()
    limits.check_metadata(call.headers, "account")
    changes = answers.change(call.headers, "account")
    if ACCESS_CONTROL in call.headers:
        from nubelet.object_store.features.authorization import check_account_acl

        changes[_NOBODY] = check_account_acl(call.headers[ACCESS_CONTROL])
    now = timestamps.now()
    check_total(call.account_metadata() | changes, "account")
    is_new = call.store.put_account(call.account, now, changes)
    if call.method == "PUT":
        return answers.done(201 if is_new else 202)
    return answers.done()


def delete(call: Call) -> Response:
    """Mark it deleted, with all it holds (for resellers)."""
    call.authorize()
    if call.query:
        raise BadRequest("Deleting an account takes no query.")
    call.store.delete_account(call.account, timestamps.now())
    return answers.done()


def ensure(call: Call) -> None:
    """Make the account if it is not there."""
    try:
        call.store.account(call.account, totals=False)
    except Missing as missing:
        if missing.timestamp:
            raise
        call.store.put_account(call.account, timestamps.now(), {})


def check_total(metadata: dict[str, str], target: str) -> None:
    """Raise BadRequest when the metadata after a change passes the limits for all of it."""
    limits.check_metadata({name: value for name, value in metadata.items() if value}, target)


METHODS = {"GET": show, "HEAD": show, "POST": update, "PUT": update, "DELETE": delete}
