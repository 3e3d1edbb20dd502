"""A bucket as a web site: pages for folders and errors, redirects.

Reference: Amazon S3 User Guide, "Hosting a static website using Amazon S3". Visitors show no
signature: what they see is what everybody may read.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element

from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import header
from nubelet.object_store.s3 import errors, objects, owners, xml
from nubelet.object_store.s3.asked import Asked, noted
from nubelet.object_store.s3.errors import S3Error

REDIRECT = "x-object-transient-sysmeta-s3-redirect"
_MOST_RULES = 50
_CONDITION = ("KeyPrefixEquals", "HttpErrorCodeReturnedEquals")
_REDIRECT = ("Protocol", "HostName", "HttpRedirectCode", "ReplaceKeyPrefixWith", "ReplaceKeyWith")


# --- The configuration ------------------------------------------------------------------------


def show(asked: Asked) -> Response:
    """GET ?website."""
    site = _site(noted(asked.require_permitted(), "website"))
    if site is None:
        raise S3Error("NoSuchWebsiteConfiguration", BucketName=asked.bucket)
    return xml.document(
        "WebsiteConfiguration",
        {
            "RedirectAllRequestsTo": site.get("all"),
            "IndexDocument": {"Suffix": site["index"]} if "index" in site else None,
            "ErrorDocument": {"Key": site["error"]} if site.get("error") else None,
            "RoutingRules": {"RoutingRule": site["rules"]} if site.get("rules") else None,
        },
    )


def update(asked: Asked) -> Response:
    """PUT and DELETE ?website."""
    asked.require_permitted()
    if asked.request.method == "DELETE":
        asked.note(website="")
        return Response(204)
    document = xml.read(asked.document(), "WebsiteConfiguration")
    asked.note(website=json.dumps(_read(document), separators=(",", ":")))
    owners.take(asked.store, asked.bucket, asked.account)
    return Response(200, b"")


def _site(kept: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = json.loads(kept) if kept else None
    return found


def _read(document: Element) -> dict[str, Any]:
    everything = document.find("RedirectAllRequestsTo")
    if everything is not None:
        if len(document) != 1 or not xml.text(everything, "HostName"):
            raise S3Error("MalformedXML", "RedirectAllRequestsTo stands alone and has a HostName.")
        return {"all": _texts(everything, ("HostName", "Protocol"))}
    suffix = xml.text(document, "IndexDocument/Suffix")
    if not suffix or "/" in suffix:
        raise S3Error("InvalidArgument", "The suffix of the index document is empty or has a /.")
    error = document.find("ErrorDocument")
    if error is not None and not xml.text(error, "Key"):
        raise S3Error("MalformedXML", "The error document has no key.")
    rules = [_rule(each) for each in document.findall("RoutingRules/RoutingRule")]
    if len(rules) > _MOST_RULES:
        raise S3Error("MalformedXML", f"There are {_MOST_RULES} routing rules at most.")
    return {
        "index": suffix,
        "error": xml.text(document, "ErrorDocument/Key"),
        "rules": rules,
    }


def _texts(element: Element, names: tuple[str, ...]) -> dict[str, str]:
    found = {name: xml.text(element, name) for name in names if element.find(name) is not None}
    if found.get("Protocol", "http") not in ("http", "https"):
        raise S3Error("InvalidRequest", "Protocol must be http or https.")
    return found


def _rule(element: Element) -> dict[str, Any]:
    condition, redirect = element.find("Condition"), element.find("Redirect")
    if redirect is None:
        raise S3Error("MalformedXML", "A routing rule has no redirect.")
    found = _texts(redirect, _REDIRECT)
    if not found or ("ReplaceKeyWith" in found and "ReplaceKeyPrefixWith" in found):
        raise S3Error("InvalidRequest", "A redirect changes something, and the key in one way.")
    if not 301 <= int(_digits(found.get("HttpRedirectCode", "301"))) <= 308:
        raise S3Error("InvalidRequest", "HttpRedirectCode must be one of redirects.")
    rule: dict[str, Any] = {"Redirect": found}
    if condition is not None:
        wanted = _texts(condition, _CONDITION)
        if not wanted or not _digits(wanted.get("HttpErrorCodeReturnedEquals", "404")):
            raise S3Error("InvalidRequest", "A condition is empty.")
        rule["Condition"] = wanted
    return rule


def _digits(text: str) -> str:
    if not text.isascii() or not text.isdigit() or len(text) != 3:
        raise S3Error("InvalidRequest", "A status has three digits.")
    return text


# --- Visits -----------------------------------------------------------------------------------


def is_site(asked: Asked) -> bool:
    """Does the bucket have a configuration?"""
    return bool(noted(asked.bucket_info(), "website"))


def visit(asked: Asked) -> Response:
    """GET and HEAD of a page."""
    asked.action = "GetObject"
    try:
        if asked.request.method not in ("GET", "HEAD"):
            raise S3Error("MethodNotAllowed")
        return _visit(asked)
    except ApiError as error:
        return _error_page(asked, errors.translated(error))


def _visit(asked: Asked) -> Response:
    site = _site(noted(asked.bucket_info(), "website"))
    if site is None:
        raise S3Error("NoSuchWebsiteConfiguration", BucketName=asked.bucket)
    if "all" in site:
        return _redirect(asked, site["all"], asked.key, "")
    for rule in site["rules"]:
        if "HttpErrorCodeReturnedEquals" not in rule.get("Condition", {}) and _fits(rule, asked, 0):
            return _by_rule(asked, rule)
    is_folder = not asked.key or asked.key.endswith("/")
    page = replace(asked, key=asked.key + site["index"] if is_folder else asked.key)
    try:
        return _page(page)
    except ApiError as error:
        found = errors.translated(error)
    if not is_folder and found.status in (403, 404):
        try:
            inside = replace(asked, key=f"{asked.key}/{site['index']}", query={})
            inside.ask(inside.call("HEAD"))  # who may not read it is not told that it is there
            return Response(302, b"", {"Location": f"/{quote(asked.key)}/"})
        except ApiError:
            pass
    for rule in site["rules"]:
        if _fits(rule, asked, found.status):
            return _by_rule(asked, rule)
    if site.get("error"):
        try:
            shown = _page(replace(asked, key=site["error"]), plain=True)
            shown.status = found.status
            return shown
        except ApiError:
            pass
    raise found


def _page(asked: Asked, *, plain: bool = False) -> Response:
    if plain:
        without = ("range", "if-match", "if-none-match", "if-modified-since")
        sent = {name: value for name, value in asked.headers.items() if name not in without}
        asked = replace(asked, request=replace(asked.request, headers=sent))
    asked.query = {}
    shown = objects.show(asked)
    target = shown.headers.get("x-amz-website-redirect-location")
    if target and not plain:
        close = getattr(shown.body, "close", None)
        if close is not None:
            close()
        return Response(301, b"", {"Location": target})
    return shown


def _fits(rule: Mapping[str, Any], asked: Asked, status: int) -> bool:
    condition = rule.get("Condition", {})
    wanted = condition.get("HttpErrorCodeReturnedEquals")
    if wanted is not None and int(wanted) != status:
        return False
    return asked.key.startswith(condition.get("KeyPrefixEquals", ""))


def _by_rule(asked: Asked, rule: Mapping[str, Any]) -> Response:
    redirect, prefix = rule["Redirect"], rule.get("Condition", {}).get("KeyPrefixEquals", "")
    key = asked.key
    if "ReplaceKeyWith" in redirect:
        key = redirect["ReplaceKeyWith"]
    elif "ReplaceKeyPrefixWith" in redirect:
        key = redirect["ReplaceKeyPrefixWith"] + key.removeprefix(prefix)
    return _redirect(asked, redirect, key, redirect.get("HttpRedirectCode", "301"))


def _redirect(asked: Asked, to: Mapping[str, str], key: str, status: str) -> Response:
    protocol = to.get("Protocol") or asked.request.base_url.partition(":")[0]
    host = to.get("HostName") or asked.headers.get("host", "")
    location = f"{protocol}://{host}/{quote(key)}"
    return Response(int(status or 301), b"", {"Location": location})


def check_target(target: str) -> str:
    """Where a key redirects to; raises InvalidRedirectLocation."""
    if len(target) > 2048 or not target.startswith(("/", "http://", "https://")):
        raise S3Error("InvalidRedirectLocation")
    return target


def headers_of(found: Response) -> dict[str, str]:
    """What a key's answer says of its redirect."""
    target = header(found, REDIRECT)
    return {"x-amz-website-redirect-location": target} if target else {}


def _error_page(asked: Asked, error: S3Error) -> Response:
    title = f"{error.status} {html.escape(error.s3_code)}"
    body = (
        f"<html><head><title>{title}</title></head><body><h1>{title}</h1><ul>"
        f"<li>Code: {html.escape(error.s3_code)}</li>"
        f"<li>Message: {html.escape(error.message)}</li>"
        f"<li>RequestId: {asked.ctx.request_id}</li></ul></body></html>"
    )
    headers = {"x-amz-error-code": error.s3_code}
    return Response(error.status, body.encode(), headers, "text/html; charset=utf-8")
