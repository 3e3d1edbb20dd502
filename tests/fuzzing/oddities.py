"""Good requests of the authorization matrix, bent without any knowledge of schemas: odd names in
the path, odd filters, odd headers, odd bytes for a body."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from nubelet.kernel.http.routes import NEWEST, Route, resolve
from tests.authorization.asking import Call
from tests.authorization.worlds import Things
from tests.fuzzing.judge import Judge


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TEXTS = (
    "",
    " ",
    "x" * 300,
    "x" * 5000,
    "-1",
    "0",
    "9" * 40,
    "1e309",
    "NaN",
    "null",
    "None",
    "true",
    "[]",
    "{}",
    "'",
    '"',
    "%",
    "%s%n",
    "_",
    "\\",
    "..",
    "../..",
    "a/b",
    "in:a,b",
    "in:",
    "in:" + "a," * 500,
    "gt:",
    "lt:2030-01-01T00:00:00Z",
    "neq:x",
    "2030-13-45T99:99:99Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "name:asc,name:desc",
    ":asc",
    "\u2028",
    "\u0130stanbul",
    "e\u0301",
    "\U0001f4a5",
    "\x00",
    "\x1f",
    "\r\nX-Evil: 1",
    "00000000-0000-4000-8000-000000000000",
    "0" * 32,
    "10.0.0.1",
    "::1",
    "0.0.0.0/0",
    "file:///etc/passwd",
    "SELECT 1; --",
    "${x}",
    "{user_id}",
)
_FILTERS = _words(
    """
    limit marker sort sort_key sort_dir fields page_reverse name id enabled domain_id
    project_id tenant_id user_id group.id role.id scope.project.id scope.domain.id
    scope.system effective include_names include_subtree parents_as_list subtree_as_ids tags
    tags-any not-tags name__contains name__icontains allow_expired nocatalog changes-since
    changes-before all_tenants status visibility owner member_status size_min created_at
    updated_at os_hidden resources in_tree member_of required root_required is_domain
    parent_id shared router:external fixed_ips device_id type service_id region_id interface
    password_expires_at
    """
)
_HEADERS = _words(
    """
    X-Auth-Token X-Subject-Token X-Service-Token Content-Type Accept OpenStack-API-Version
    X-OpenStack-Nova-API-Version X-OpenStack-Request-ID Host Range Content-Range If-Match
    If-None-Match If-Modified-Since Authorization Origin Accept-Language X-Forwarded-For
    X-Forwarded-Proto Openstack-Identity-Access-Rules OpenStack-Auth-Receipt Expect Cookie
    x-image-meta-store X-Trans-Id Content-Encoding Forwarded X-Http-Method-Override
    """
)
_HEADER_VALUES = (
    "compute 2.1",
    "compute 2.999",
    "compute latest",
    "compute -1",
    "placement 1.39, compute 2.90",
    "identity 3.14",
    "latest",
    "application/xml",
    "text/plain; charset=utf-7",
    "application/json; charset=latin-1",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "bytes=0-",
    "bytes=5-2",
    "bytes=-99999999999999999999",
    "bytes 0-1/*",
    "req-00000000-0000-4000-8000-000000000000",
    "Bearer x",
    "Basic %%%",
    "AWS x:y",
    "\xff\xfe",
    "gAAAAA" + "A" * 200,
    "*",
    'W/"x"',
    "Sun, 99 Foo 2026",
    "http://evil.example:99999",
    "a:b:c",
    "[::1",
)
_BODIES = (
    b"null",
    b"0",
    b'""',
    b"[]",
    b"{}",
    b"[[]]",
    b"{",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b'"\\ud800"',
    b'{"a": 1, "a": 2}',
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b'{"a": ' + b"9" * 400 + b"}",
    b"[" * 500 + b"]" * 500,
    b'{"x":' * 200 + b"1" + b"}" * 200,
    b'{"\\u0000": "\\u0000"}',
    b"x" * 100_000,
    b"a=b&c=d",
    b"<xml/>",
)


def fuzz(judge: Judge, personas: tuple[str | None, ...], requests: int, number: int) -> None:
    """`requests` bent requests (by None: without a token)."""
    chance = random.Random(f"{number} oddities {judge.service.name}")
    calls = list(judge.matrix.calls(judge.service.name))
    things = judge.matrix.worlds["own"].things
    for _ in range(requests):
        call, persona = chance.choice(calls), chance.choice(personas)
        request = call.question(_odd_things(call, things, chance), _token(judge, persona))
        for bend in chance.sample(_BENDS, chance.choice((1, 1, 2, 3))):
            bend(request, call.route, chance)
        judge.ask(request)


def _token(judge: Judge, persona: str | None) -> str | None:
    return None if persona is None else judge.matrix.tested.user(persona).token


def _odd_things(call: Call, things: Things, chance: random.Random) -> Things:
    if chance.random() < 0.6:
        return things
    return {
        name: quote(chance.choice(TEXTS), safe="") if chance.random() < 0.3 else value
        for name, value in things.items()
    }


def _bend_query(request: dict[str, Any], route: Route, chance: random.Random) -> None:
    schema = resolve(route.query, NEWEST) or {}
    names = [*(schema.get("properties") or {}), *_FILTERS]
    pairs = [(chance.choice(names), chance.choice(TEXTS)) for _ in range(chance.randint(1, 4))]
    if chance.random() < 0.1:
        pairs.append((chance.choice(TEXTS), ""))
    query = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs).encode()
    if chance.random() < 0.1:
        query += chance.choice((b"&%ff=%ff", b"&&&", b"&=", b"&%zz", b"&a;b", b"&x=" + b"y" * 9000))
    request["query"] = b"&".join(part for part in (request["query"], query) if part)


def _bend_headers(request: dict[str, Any], route: Route, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        value = chance.choice((*_HEADER_VALUES, *TEXTS))
        value = value.encode("latin-1", "replace").decode("latin-1")
        request["headers"][chance.choice(_HEADERS)] = value.replace("\r", "").replace("\n", "")


def _bend_body(request: dict[str, Any], route: Route, chance: random.Random) -> None:
    body = request["body"]
    if not body or chance.random() < 0.3:
        request["body"] = chance.choice(_BODIES)
        return
    at = chance.randrange(len(body))
    piece = chance.choice(
        (b"", b"null", b"[]", b"{}", b'"', b"0", b"-1", b"\x00", b"\xff", b"1e99")
    )
    request["body"] = body[:at] + piece + body[at + chance.randint(0, 4) :]


def _bend_value(request: dict[str, Any], route: Route, chance: random.Random) -> None:
    """One word of the body becomes another."""
    words = request["body"].split(b'"')
    if len(words) < 4:
        return
    words[chance.randrange(1, len(words) - 1)] = chance.choice(TEXTS).encode("unicode_escape")
    request["body"] = b'"'.join(words)


def _bend_path(request: dict[str, Any], route: Route, chance: random.Random) -> None:
    parts = request["path"].split("/")
    at = chance.randrange(1, len(parts))
    parts[at] = quote(chance.choice(TEXTS), safe="")
    if chance.random() < 0.2:
        parts.append("")
    request["path"] = "/".join(parts)


_BENDS: tuple[Callable[[dict[str, Any], Route, random.Random], None], ...] = (
    _bend_query,
    _bend_headers,
    _bend_body,
    _bend_value,
    _bend_path,
)
