"""A container as a web site, for visitors without token (or with `X-Web-Mode: true`).

    X-Container-Meta-Web-Index: index.html     what a folder shows
    X-Container-Meta-Web-Error: error.html     `<status>error.html` is shown for an error
    X-Container-Meta-Web-Listings: true        a folder without index shows what is in it
    X-Container-Meta-Web-Listings-CSS, -Web-Directory-Type

In OpenStack: swift/common/middleware/staticweb.py.
"""

from __future__ import annotations

import html
from urllib.parse import quote

from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Response
from nubelet.object_store import limits
from nubelet.object_store.call import Call, Proceed, header, is_true
from nubelet.object_store.features import tempurl
from nubelet.object_store.storage import Listing, ObjectEntry, Subdirectory
from nubelet.object_store.storage.timestamps import iso

_PREFIX = tempurl.PREFIX
_SETTINGS = ("index", "error", "listings", "listings-css", "listings-label", "directory-type")


def staticweb(call: Call, proceed: Proceed) -> Response:
    """Show web pages."""
    is_visitor = not call.ctx.user_id and ("decided" not in call.notes or _PREFIX in call.notes)
    if not call.is_read or not call.container:
        return proceed(call)
    if not is_visitor and not is_true(call.headers.get("x-web-mode")):
        return proceed(call)
    info = call.container_info()
    site = {
        name: info.metadata[f"x-container-meta-web-{name}"]
        for name in _SETTINGS
        if info and f"x-container-meta-web-{name}" in info.metadata
    }
    if not call.object:
        return _root(call, proceed, site)
    return _page(call, proceed, site)


def _root(call: Call, proceed: Proceed, site: dict[str, str]) -> Response:
    if not site.get("index") and not is_true(site.get("listings")):
        if is_true(call.headers.get("x-web-mode")):
            raise ApiError("The container is no web site.", status=404, title="Not Found")
        return proceed(call)
    if not _asked_path(call).endswith("/"):
        return _with_slash(call)
    return _folder(call, proceed, site, "")


def _page(call: Call, proceed: Proceed, site: dict[str, str]) -> Response:
    name = call.object
    try:
        response = proceed(call)
    except ApiError as error:
        if not site:
            raise
        if error.status == 404:
            if name.endswith("/"):
                return _folder(call, proceed, site, name)
            if _is_folder(call, proceed, site, name):
                return _with_slash(call)
        return _error(call, proceed, site, error)
    kind = (response.content_type or "").split(";")[0]
    if kind == site.get("directory-type", "application/directory") and site:
        if name.endswith("/"):
            return _folder(call, proceed, site, name)
        if int(header(response, "Content-Length") or 0) <= 1:
            return _with_slash(call)
    return response


def _asked_path(call: Call) -> str:
    return call.request.raw_path.decode("latin-1")


def _with_slash(call: Call) -> Response:
    location = call.request.base_url + _asked_path(call) + "/"
    if call.request.raw_query:
        location += "?" + call.request.raw_query.decode("latin-1")
    return Response(301, b"", {"Location": location}, "text/html; charset=UTF-8")


def _is_folder(call: Call, proceed: Proceed, site: dict[str, str], name: str) -> bool:
    """Is there something to show in the folder of that name?"""
    if site.get("index"):
        try:
            proceed(call.sub("HEAD", object=f"{name}/{site['index']}"))
            return True
        except ApiError as error:
            if error.status != 404:
                return False
    if not is_true(site.get("listings")):
        return False
    found = call.store.list_objects(
        call.account, call.container, Listing(limit=1, prefix=f"{name}/")
    )
    return bool(found)


def _folder(call: Call, proceed: Proceed, site: dict[str, str], name: str) -> Response:
    """The index of a folder, else the list of what is in it."""
    if site.get("index"):
        index = call.sub(call.method, object=name + site["index"], headers=dict(call.headers))
        try:
            return proceed(index)
        except ApiError as error:
            if error.status != 404:
                return _error(call, proceed, site, error)
    return _listing(call, proceed, site, name)


def _listing(call: Call, proceed: Proceed, site: dict[str, str], prefix: str) -> Response:
    label = site.get("listings-label", f"/v1/{call.account}/{call.container}")
    if not is_true(site.get("listings")):
        missing = ApiError("Listing Disabled", status=404, title="Not Found")
        return _error(call, proceed, site, missing)
    # Whoever may list the container sees its pages; `.r:*` alone shows objects, not lists.
    # A temporary URL of a prefix shows what begins with it.
    signed = call.notes.get(_PREFIX)
    if signed is None or not prefix.startswith(signed):
        check = call.sub("GET", object="")
        info = call.container_info()
        try:
            check.authorize(info.metadata.get("x-container-read", "") if info else "")
        except ApiError as error:
            return _error(call, proceed, site, error)
    entries = call.store.list_objects(
        call.account,
        call.container,
        Listing(limit=limits.CONTAINER_LISTING_LIMIT, prefix=prefix, delimiter="/"),
    )
    if prefix and not entries:
        missing = ApiError("There is no such folder.", status=404, title="Not Found")
        return _error(call, proceed, site, missing)
    return _render(call, site, label, prefix, entries)


def _render(
    call: Call,
    site: dict[str, str],
    label: str,
    prefix: str,
    entries: list[ObjectEntry | Subdirectory],
) -> Response:
    title = html.escape(f"Listing of {label}/{prefix}")
    css = site.get("listings-css")
    if css:
        href = (
            css if "://" in css or css.startswith("/") else "../" * prefix.count("/") + quote(css)
        )
        style = f'<link rel="stylesheet" type="text/css" href="{html.escape(href)}" />'
    else:
        style = (
            '<style type="text/css">h1 {font-size: 1em; font-weight: bold;} '
            "th {text-align: left; padding: 0px 1em 0px 1em;} "
            "td {padding: 0px 1em 0px 1em;} a {text-decoration: none;}</style>"
        )
    rows = []
    query = html.escape(tempurl.links(call))
    if prefix and prefix != call.notes.get(_PREFIX):
        rows.append(
            '<tr id="parent" class="item"><td class="colname"><a href="../'
            + query
            + '">../</a></td>'
            '<td class="colsize">&nbsp;</td><td class="coldate">&nbsp;</td></tr>'
        )
    for entry in entries:
        name = entry.name[len(prefix) :]
        if not name:
            continue
        start = "./" if name.startswith("/") else ""  # else it would begin at the host's root
        link = f'<a href="{start}{quote(name)}{query}">{html.escape(name)}</a>'
        if isinstance(entry, ObjectEntry):
            size, date, kind = _size(entry.size), _date(entry.timestamp), "item"
            kind += " type-" + html.escape(entry.content_type.split(";")[0].replace("/", "-"))
        else:
            size, date, kind = "&nbsp;", "&nbsp;", "subdir"
        rows.append(
            f'<tr class="{kind}"><td class="colname">{link}</td>'
            f'<td class="colsize">{size}</td><td class="coldate">{date}</td></tr>'
        )
    page = (
        '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01 Transitional//EN" '
        '"http://www.w3.org/TR/html4/loose.dtd">\n'
        f"<html><head><title>{title}</title>{style}</head>"
        f'<body><h1 id="title">{title}</h1><table id="listing"><tr id="heading">'
        '<th class="colname">Name</th><th class="colsize">Size</th>'
        f'<th class="coldate">Date</th></tr>\n' + "\n".join(rows) + "\n</table></body></html>\n"
    )
    call.notes[tempurl.LISTED] = True
    return Response(200, page.encode(), {}, "text/html; charset=UTF-8")


def _size(number: int) -> str:
    size = float(number)
    for unit in ("", "Ki", "Mi", "Gi"):
        if size < 1024:
            return f"{size:.0f}{unit}"
        size /= 1024
    return f"{size:.0f}Ti"


def _date(timestamp: str) -> str:
    return iso(timestamp).replace("T", " ")[:19]


def _error(call: Call, proceed: Proceed, site: dict[str, str], error: ApiError) -> Response:
    """The site's own page for an error, under the error's status."""
    if not site.get("error"):
        raise error
    page = call.sub("GET", object=f"{error.status}{site['error']}")
    try:
        response = proceed(page)
    except ApiError:
        raise error from None
    if response.status != 200:
        raise error
    response.status = error.status
    response.headers |= error.headers
    return response
