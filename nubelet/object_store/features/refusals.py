"""Refusals as browsers and clients read them: a status, a title, and the cause.

What a program did wrong is answered with the cause alone; what a person may meet in a
browser (no permission, nothing there, a fault of the store) with a page.
"""

from __future__ import annotations

import html
from http import HTTPStatus

from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Response

_AS_TEXT = frozenset((400, 409, 411, 412, 413, 422))


def refusal(error: ApiError) -> Response:
    """An error as an answer."""
    headers = dict(error.headers)
    if error.status in _AS_TEXT:
        text = error.message.encode("utf-8", "replace")
        form = "plain" if b"<" in text or b"&" in text else "html"  # never markup of the caller's
        kind = headers.pop("Content-Type", f"text/{form}; charset=UTF-8")
        return Response(error.status, text, headers, kind)
    kind = headers.pop("Content-Type", "text/html; charset=UTF-8")
    return Response(error.status, error_page(error.status, error.message), headers, kind)


def error_page(status: int, message: str) -> bytes:
    """The body of a refusal."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    text = html.escape(message.encode("utf-8", "replace").decode())
    return f"<html><h1>{title}</h1><p>{text}</p></html>".encode()
