"""Links: an object that leads to another.

    PUT with X-Symlink-Target: container/object, no body
    X-Symlink-Target-Etag: a static link, good only as long as the target has that content

GET and HEAD follow (`?symlink=get`: the link itself); DELETE removes the link; POST is applied to
the link and tells where the target is.

In OpenStack: swift/common/middleware/symlink.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from nubelet.kernel.errors import ApiError, BadRequest, Conflict, PreconditionFailed
from nubelet.kernel.http.messages import Response
from nubelet.object_store import limits
from nubelet.object_store.api import objects
from nubelet.object_store.call import Call, Proceed, header, pieces
from nubelet.object_store.storage import OVERRIDE_ETAG, ObjectPath

MAX_LINKS = 2
TARGET = "x-object-sysmeta-symlink-target"
ACCOUNT = "x-object-sysmeta-symlink-target-account"
ETAG = "x-object-sysmeta-symlink-target-etag"
BYTES = "x-object-sysmeta-symlink-target-bytes"
_WHOLE_SIZE = "x-object-sysmeta-slo-size"
ASKED = "asked"  # note: the authority for what links lead to, where the call itself has none
FOLLOWED = "followed"  # note: the path of the object that a link led to
CAPABILITY: Mapping[str, Any] = {"symloop_max": MAX_LINKS, "static_links": True}


def symlinks(call: Call, proceed: Proceed) -> Response:
    """Make and follow links."""
    if not call.object:
        return proceed(call)
    if call.method == "PUT":
        if "x-symlink-target" in call.headers:
            _make(call, proceed)
        elif "x-symlink-target-etag" in call.headers or "x-symlink-target-account" in call.headers:
            raise BadRequest("X-Symlink-Target is missing.")
    elif call.is_read:
        if call.query.get("symlink") == "get":
            return _describe(proceed(call))
        return _follow(call, proceed)
    elif call.method == "POST":
        return _post(call, proceed)
    return proceed(call)


def _make(call: Call, proceed: Proceed) -> None:
    headers = call.headers
    target = _target(headers, call.account)
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise BadRequest("Symlink requests require a zero byte body")
    if target == call.path:
        raise BadRequest("Symlink cannot target itself")
    noted = {TARGET: quote(f"{target.container}/{target.object}")}
    if "x-symlink-target-account" in headers:  # else a copy leads to its own account
        noted[ACCOUNT] = quote(target.account)
    shown = shown_target(target)
    if etag := headers.get("x-symlink-target-etag", "").strip('"'):
        found = _check_target(call, proceed, target, etag)
        sizes = (header(found, name) for name in (BYTES, _WHOLE_SIZE, "Content-Length"))
        size = next((each for each in sizes if each), "0")
        noted |= {ETAG: etag, BYTES: size}
        shown += [f"symlink_target_etag={etag}", f"symlink_target_bytes={size}"]
        if whole := header(found, "x-object-sysmeta-slo-etag"):
            shown.append(f"slo_etag={whole}")
        if not headers.get("content-type"):
            headers["content-type"] = found.content_type or ""
    elif not headers.get("content-type"):
        headers["content-type"] = "application/symlink"
    for name in [name for name in headers if name.startswith("x-symlink-target")]:
        del headers[name]
    headers.update(noted)
    earlier = call.notes.get(objects.FINISH)

    def finish(own: str, size: int) -> Mapping[str, str]:
        more = earlier(own, size) if earlier else {}
        return {OVERRIDE_ETAG: "; ".join((own, *shown)), **more}

    call.notes = {**call.notes, objects.FINISH: finish}


def shown_target(target: ObjectPath) -> list[str]:
    """What a listing has behind the ETag of a link: where it leads."""
    return [
        f"symlink_target={quote(f'{target.container}/{target.object}')}",
        f"symlink_target_account={quote(target.account)}",
    ]


def _target(headers: Mapping[str, str], account: str) -> ObjectPath:
    text = unquote(headers["x-symlink-target"]).removeprefix("/")
    container, _, name = text.partition("/")
    if not container or not name or not limits.is_text(text):
        raise PreconditionFailed(
            "X-Symlink-Target header must be of the form <container name>/<object name>"
        )
    owner = unquote(headers.get("x-symlink-target-account", "")) or account
    if "/" in owner or not limits.is_text(owner):
        raise PreconditionFailed("Account name cannot contain slashes")
    limits.check_names(owner, container, name)
    return ObjectPath(owner, container, name)


def _check_target(call: Call, proceed: Proceed, target: ObjectPath, etag: str) -> Response:
    """What the name of a static link's target has (a link: itself; a version: what the name
    leads to); raises Conflict unless it has the content."""
    try:
        found = proceed(call.sub("HEAD").at(target))
        container, name, account = _led_to(found, target.account)
        if container.startswith("\0"):
            found = proceed(call.own("HEAD").at(ObjectPath(account, container, name)))
    except ApiError as error:
        if error.status in (401, 403):
            raise
        raise Conflict("X-Symlink-Target does not exist") from None
    own = _content(found)
    if own != etag:
        raise Conflict(f"Object Etag '{own}' does not match X-Symlink-Target-Etag header '{etag}'")
    return found


def _content(response: Response) -> str:
    """The ETag that a static link to this names: a static link's is that of its own target."""
    return (header(response, ETAG) or header(response, "Etag") or "").strip('"')


def _led_to(response: Response, account: str) -> tuple[str, str, str]:
    """Container, object and account that a link leads to; empty for what is no link."""
    target = header(response, TARGET)
    if target is None:
        return "", "", ""
    container, _, name = unquote(target).partition("/")
    return container, name, unquote(header(response, ACCOUNT) or "") or account


def _follow(call: Call, proceed: Proceed) -> Response:
    at, left, wanted, shown, expires = call, MAX_LINKS, "", "", ""
    while True:
        try:
            response = proceed(at)
        except ApiError as error:
            if shown:
                error.headers.setdefault("Content-Location", shown)
            raise
        etag = _content(response)
        container, name, account = _led_to(response, at.account)
        of_feature = container.startswith("\0")
        if wanted and wanted != etag and not of_feature:
            # Whatever conditions the caller has: this is not what the link was made for.
            raise Conflict(
                f"Object Etag '{etag}' does not match X-Symlink-Target-Etag header '{wanted}'",
                headers={"Content-Location": shown},
            )
        if not container:
            if shown:
                response.headers["Content-Location"] = shown
            if expires:
                response.headers["X-Delete-At"] = expires
            return response
        for _piece in pieces(response):
            pass
        wanted = header(response, ETAG) or (wanted if of_feature else "")
        path = ObjectPath(account, container, name)
        at = call.sub(call.method, headers=call.headers, query=call.query).at(path)
        at.notes = call.notes
        call.notes[FOLLOWED] = path
        if of_feature:  # which made the link, so it is neither counted nor shown
            at.authority = None
            expires = header(response, "X-Delete-At") or ""  # the name does, not the version
        else:
            at.authority = at.authority or call.notes.get(ASKED)
            left -= 1
            if left < 0:
                raise Conflict(f"Too many levels of symbolic links, maximum allowed is {MAX_LINKS}")
            shown = "/v1" + quote(str(path))


def _describe(response: Response) -> Response:
    target = header(response, TARGET)
    if target is not None:
        response.headers["X-Symlink-Target"] = target
        if account := header(response, ACCOUNT):
            response.headers["X-Symlink-Target-Account"] = account
        if etag := header(response, ETAG):
            response.headers["X-Symlink-Target-Etag"] = etag
            response.headers["X-Symlink-Target-Bytes"] = header(response, BYTES) or ""
    return response


def _post(call: Call, proceed: Proceed) -> Response:
    for name in call.headers:
        if name.startswith("x-symlink-target"):
            raise BadRequest("A PUT request is required to set a symlink target")
    try:  # before the POST, which may let the link expire
        head = proceed(call.own("HEAD"))
    except ApiError as error:
        if error.status != 404:
            raise
        head = Response(404)
    response = proceed(call)
    if response.status != 202:
        return response
    target = header(head, TARGET)
    if target is None or target.startswith("%00"):
        return response
    account = header(head, ACCOUNT) or quote(call.account)
    etag = header(head, ETAG)
    return Response(
        307,
        b"The requested POST was applied to a symlink. POST directly to the target to apply "
        b"requested metadata.",
        {
            **({"X-Symlink-Target-Etag": etag} if etag else {}),
            "Location": f"{call.request.base}/v1/{account}/{target}",
        },
        "text/plain; charset=utf-8",
    )
