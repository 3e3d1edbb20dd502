"""An object store to test: a cloud of identity and object store, and an account of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from nubelet.object_store import Storage
from nubelet.object_store.storage.local import LocalStorage
from tests.cloud import TestedCloud, make_cloud

ROOT = "/object-store"


class Store:
    """A cloud with an object store."""

    def __init__(self, tested: TestedCloud) -> None:
        self.tested = tested

    @property
    def storage(self) -> LocalStorage:
        found = self.tested.cloud.get(Storage)  # type: ignore[type-abstract]
        assert isinstance(found, LocalStorage)
        return found

    def account(self, name: str = "member") -> Account:
        """The account of a persona's project, asked by that persona."""
        project = self.tested.user(name).project_id
        return Account(self.tested.client(name), f"{ROOT}/v1/AUTH_{project}")

    def seen_by(self, name: str | None, owner: str = "member", **headers: str) -> Account:
        """The account of the owner's project, asked by another persona (None: nobody)."""
        project = self.tested.user(owner).project_id
        return Account(self.tested.client(name, **headers), f"{ROOT}/v1/AUTH_{project}")


class Account:
    """Requests below one account's URL."""

    def __init__(self, client: httpx.Client, url: str) -> None:
        self.client, self.url = client, url

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1]

    def __call__(self, method: str, path: str = "", **more: Any) -> httpx.Response:
        return self.client.request(method, self.url + path, **more)

    def get(self, path: str = "", **headers: str) -> httpx.Response:
        return self("GET", path, headers=_dashes(headers))

    def head(self, path: str = "", **headers: str) -> httpx.Response:
        return self("HEAD", path, headers=_dashes(headers))

    def delete(self, path: str = "", **headers: str) -> httpx.Response:
        return self("DELETE", path, headers=_dashes(headers))

    def post(self, path: str = "", data: bytes = b"", **headers: str) -> httpx.Response:
        return self("POST", path, content=data, headers=_dashes(headers))

    def put(self, path: str, data: bytes = b"", **headers: str) -> httpx.Response:
        return self("PUT", path, content=data, headers=_dashes(headers))

    def container(self, **headers: str) -> str:
        """A new container: `/name`."""
        path = f"/c-{uuid4().hex[:10]}"
        assert self.put(path, **headers).status_code == 201
        return path

    def names(self, url: str, /, **query: Any) -> list[str]:
        """A listing in JSON, as names and pseudo folders."""
        answer = self("GET", url, params={"format": "json", **query})
        assert answer.status_code == 200, answer.text
        return [each.get("name") or each["subdir"] for each in answer.json()]


def make_store(folder: Path, **options: object) -> Iterator[Store]:
    """For fixtures: `yield from make_store(...)`."""
    tested = make_cloud(
        folder,
        services=("identity", "object_store"),
        hosts=(),
        options={f"object_store.{name}": value for name, value in options.items()},
    )
    yield Store(tested)
    tested.close()


def _dashes(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
