"""Uploads from a browser's form: the page signs what may be sent, the browser sends it here.

    <form action="/v1/AUTH_x/container/prefix" method="POST" enctype="multipart/form-data">
    redirect, max_file_size, max_file_count, expires, signature, then the files

In OpenStack: swift/common/middleware/formpost.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from nubelet.kernel.errors import ApiError, BadRequest, Unauthorized
from nubelet.kernel.http.messages import Response
from nubelet.object_store import limits
from nubelet.object_store.call import Call, Proceed
from nubelet.object_store.features import tempurl
from nubelet.object_store.features.form_parts import Part, Parts, boundary_of

MAX_VALUE_BYTES = 4096


def formpost(call: Call, proceed: Proceed) -> Response:
    """Take forms."""
    kind = call.headers.get("content-type", "")
    if call.method != "POST" or not kind.lower().startswith("multipart/form-data"):
        return proceed(call)
    if not call.container:
        return proceed(call)
    status, words = 201, ""
    form = _Form(call, proceed)
    try:
        for part in Parts(call.body(1 << 16), boundary_of(kind)):
            if part.file_name is None:
                form.fields[part.name.lower()] = part.text(MAX_VALUE_BYTES).strip()
            elif part.file_name:
                form.take(part)
        if not form.taken:
            raise BadRequest("no files to process")
    except ApiError as error:
        status, words = error.status, error.message
    return _answer(status, words, form.signed.get("redirect", ""))


def _answer(status: int, words: str, redirect: str) -> Response:
    if not redirect:
        return Response(status, words.encode(), {}, "text/plain; charset=utf-8")
    sign = "&" if "?" in redirect else "?"
    location = f"{redirect}{sign}status={status}&message={quote(words)}"
    href = quote(location, safe=":/?&=%#")
    body = f'<html><body><p><a href="{href}">Click to continue...</a></p></body></html>'
    return Response(303, body.encode(), {"Location": _safe(location)}, "text/html; charset=UTF-8")


def _safe(location: str) -> str:
    return "".join(each for each in location if each.isprintable())


class _Form:
    """A form that is being read. signed: the fields that came before the first file, once they
    were found to be signed: what comes after them changes nothing."""

    def __init__(self, call: Call, proceed: Proceed) -> None:
        self._call, self._proceed = call, proceed
        self.fields: dict[str, str] = {}
        self.signed: Mapping[str, str] = {}
        self.taken = 0

    def take(self, part: Part) -> None:
        """Store one file, when the fields before it allow that."""
        call = self._call
        if not self.signed:
            fields = dict(self.fields)
            call.authority = tempurl.authority(call.account, _check(call, fields))
            call.is_owner = False
            self.signed = fields
        if self.taken >= _number(self.signed, "max_file_count"):
            raise BadRequest("max file count exceeded")
        largest = _number(self.signed, "max_file_size")
        name = call.object + (part.file_name or "")
        if not limits.is_text(name):
            raise BadRequest("The name of the file is not UTF-8.")
        limits.check_names(call.account, call.container, name)
        headers = {"transfer-encoding": "chunked"}
        for header in ("x-delete-at", "x-delete-after"):
            if value := self.fields.get(header.replace("-", "_")):
                headers[header] = value
        if kind := part.headers.get("content-type"):
            headers["content-type"] = kind
        if encoding := part.headers.get("content-encoding"):
            headers["content-encoding"] = encoding
        put = call.sub(
            "PUT", object=name, headers=headers, body=lambda size: _limited(part.read(), largest)
        )
        response = self._proceed(put)
        if response.status >= 300:
            raise ApiError("", status=response.status)
        self.taken += 1


def _limited(body: Iterator[bytes], largest: int) -> Iterator[bytes]:
    size = 0
    for piece in body:
        size += len(piece)
        if size > largest:
            raise ApiError("max_file_size exceeded", status=413, title="Too Large")
        yield piece


def _number(fields: Mapping[str, str], name: str) -> int:
    text = fields.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(f"{name} not an integer")
    return int(text)


def _check(call: Call, fields: Mapping[str, str]) -> str | None:
    """The scope of the key that signed the form; raises Unauthorized."""
    if _number(fields, "expires") < time.time():
        raise Unauthorized("FormPost: Form Expired")
    parsed = tempurl.parse_signature(call, fields.get("signature", ""))
    if parsed is None:
        raise Unauthorized("FormPost: Invalid Signature")
    digest, signature = parsed
    tail = "\n".join(
        fields.get(name, "") for name in ("redirect", "max_file_size", "max_file_count", "expires")
    )
    paths = tempurl.signed_paths(call, call.object)
    if not call.object:
        paths += tuple(path.rstrip("/") for path in paths)
    texts = [f"{path}\n{tail}" for path in paths]
    scopes = [
        scope
        for key, scope in tempurl.keys(call)
        if tempurl.is_signed(key, digest, texts, signature)
    ]
    if not scopes:
        raise Unauthorized("FormPost: Invalid Signature")
    return None if None in scopes else scopes[0]
