"""The OpenAPI document of a service, made from its route table (OpenAPI 3.1).

Served at `/<service>/openapi.json`; one path item per path, one operation per method. Actions
of one path share an operation whose body is one of theirs. `x-openstack` holds the version
range and the policy rule.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from nubelet.kernel.context import Version
from nubelet.kernel.http.microversions import text
from nubelet.kernel.http.routes import NEWEST, OLDEST, Route, parameter_names, resolve
from nubelet.kernel.service import Service


def document(service: Service, version: Version | None = None) -> dict[str, Any]:
    """The document at an API version (default: the newest)."""
    versions = service.dialect.microversions
    at = version or (versions.maximum if versions else NEWEST)
    paths: dict[str, dict[str, Any]] = {}
    for route in (*service.routes, *service.operations_of_gateway):
        if not route.serves(at):
            continue
        prefix = service.dialect.prefixes[0] if route.prefixed else ""
        item = paths.setdefault((service.mount + prefix + route.path).rstrip("/") or "/", {})
        method = route.method.lower()
        if method in item:
            _add_action(item[method], route, at)
        else:
            item[method] = _operation(service, route, at)
    return {
        "openapi": "3.1.0",
        "info": {"title": service.title, "version": text(at) if at != NEWEST else "1.0"},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}}
        },
    }


def endpoint(service: Service) -> Callable[..., Awaitable[None]]:
    """An ASGI application that serves the newest document of a service, made when first asked."""
    made: list[bytes] = []

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if not made:
            made.append(msgspec.json.encode(document(service)))
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(made[0])).encode()),
                ],
            }
        )
        await send({"type": "http.response.body", "body": made[0]})

    return serve


def _operation(service: Service, route: Route, at: Version) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _identifier(route),
        "summary": route.summary or (route.handler.__doc__ or "").split("\n")[0],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in parameter_names(route.path)
        ],
        "responses": {
            str(route.status): _answer(route, at),
            "default": {"description": "An error in the service's envelope"},
        },
        "x-openstack": {
            "rule": route.rule,
            "min-ver": _limit(route.since, OLDEST),
            "max-ver": _limit(route.until, NEWEST),
        },
    }
    if not route.open:
        operation["security"] = [{"token": []}]
    query = resolve(route.query, at)
    for name, schema in ((query or {}).get("properties") or {}).items():
        item = schema.get("items", schema) if schema.get("type") == "array" else schema
        operation["parameters"].append({"name": name, "in": "query", "schema": dict(item)})
    body = resolve(route.body, at)
    if body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": dict(body)}},
        }
    elif route.stream:
        operation["requestBody"] = {"content": {"application/octet-stream": {}}}
    return operation


def _add_action(operation: dict[str, Any], route: Route, at: Version) -> None:
    body = resolve(route.body, at)
    if body is None:
        return
    content = operation.setdefault("requestBody", {"required": True, "content": {}})["content"]
    present = content.setdefault("application/json", {}).get("schema")
    if present is None:
        content["application/json"]["schema"] = dict(body)
    elif "oneOf" in present:
        present["oneOf"].append(dict(body))
    else:
        content["application/json"]["schema"] = {"oneOf": [present, dict(body)]}
    operation["responses"].setdefault(str(route.status), _answer(route, at))


def _answer(route: Route, at: Version) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": route.summary or "Success"}
    schema = resolve(route.response, at)
    if schema is not None:
        answer["content"] = {"application/json": {"schema": dict(schema)}}
    return answer


def _identifier(route: Route) -> str:
    words = [part.strip("{}.") for part in route.path.split("/") if part]
    return "_".join([route.method.lower(), *words, *([route.action] if route.action else [])])


def _limit(version: Version, none: Version) -> str | None:
    return None if version == none else text(version)
