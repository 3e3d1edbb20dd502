"""Accounts, containers and objects. The service has a gateway instead of a route table and access
lists instead of policy rules, so its operations are listed here."""

from __future__ import annotations

from nubelet.kernel.http.routes import Route
from tests.authorization.asking import Example
from tests.authorization.worlds import Things, World

_MOUNT = "/object-store"
_ACCOUNT = "/v1/{account}"
_CONTAINER = _ACCOUNT + "/{container}"
_OBJECT = _CONTAINER + "/{object}"
# Containers by who may do what in them, besides those who own the account.
_CONTAINERS = {
    "closed": {},
    "public": {"X-Container-Read": ".r:*,.rlistings"},
    "readable": {"X-Container-Read": "*:*"},
    "writable": {"X-Container-Write": "*:*"},
}


def things(world: World) -> Things:
    """Containers with an object each, but for `empty`."""
    restore(world)
    account = f"AUTH_{world.project_id}"
    return {"account": account, "container": "closed", "object": "walked"}


def restore(world: World) -> None:
    """Nothing here is in the database: what a request changed is put back."""
    client = world.member.client
    for name, headers in (*_CONTAINERS.items(), ("empty", {})):
        place = f"{_MOUNT}/v1/AUTH_{world.project_id}/{name}"
        access = {"X-Container-Read": "", "X-Container-Write": "", **headers}
        assert client.put(place, headers=access).status_code in (201, 202)
        if name != "empty":
            assert client.put(f"{place}/walked", content=b"walked").status_code == 201
            client.delete(f"{place}/another")


def _route(method: str, path: str) -> Route:
    return Route(method=method, path=path, handler=_nothing, rule="access lists", prefixed=False)


def _nothing(ctx: object, request: object) -> None:
    """The gateway handles requests itself."""


ROUTES = tuple(
    _route(method, path)
    for path, methods in (
        (_ACCOUNT, "GET HEAD POST"),
        (_CONTAINER, "GET HEAD PUT POST DELETE"),
        (_OBJECT, "GET HEAD PUT POST DELETE"),
    )
    for method in methods.split()
)
_META = {"X-Object-Meta-Walked": "x"}
EXAMPLES = {
    f"POST {_ACCOUNT}": Example(headers={"X-Account-Meta-Walked": "x"}),
    f"PUT {_CONTAINER}": Example(things={"container": "another"}),
    f"POST {_CONTAINER}": Example(headers={"X-Container-Meta-Walked": "x"}),
    f"DELETE {_CONTAINER}": Example(things={"container": "empty"}),
    f"PUT {_OBJECT}": Example(b"data", things={"object": "another"}),
    f"POST {_OBJECT}": Example(headers=_META),
} | {
    f"{method} {path} ({name})": Example(body, headers=headers, things={"container": name})
    for name in ("public", "readable", "writable")
    for method, path, body, headers in (
        ("GET", _CONTAINER, None, {}),
        ("POST", _CONTAINER, None, {"X-Container-Meta-Walked": "x"}),
        ("GET", _OBJECT, None, {}),
        ("PUT", _OBJECT, b"data", {}),
        ("POST", _OBJECT, None, _META),
        ("DELETE", _OBJECT, None, {}),
    )
}
