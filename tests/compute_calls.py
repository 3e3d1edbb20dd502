"""Calling the Compute API in tests: a project with everything a server needs, and answers that
are held against the published schemas of the asked microversion."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import jsonschema

from nubelet.compute import SERVICE
from nubelet.kernel.http.routes import RouteTrie
from tests.cloud import TestedCloud
from tests.published import Contract, _version

NEWEST = "2.104"
# The document tells IPv4 from IPv6 by their formats; of other formats (times) nova has its own.
_ADDRESSES = jsonschema.FormatChecker(formats=["ipv4", "ipv6"])
exercised: set[tuple[str, str, str | None]] = set()


def read_contract(published: Path) -> Contract:
    """The published document of the Compute API."""
    return Contract(published / "openapi/compute/v2.104.yaml")


def published_schema(
    contract: Contract, method: str, path: str, action: str | None, version: tuple[int, ...]
) -> Any:
    """The schema of an answer (for actions: of that action's) at a version, or None.

    Of the variants the newest that the version has reached counts: upper limits are misprinted in
    the document where versions were compared as text ("2.9" after "2.35").
    """

    def variants(schema: Any) -> Iterator[Any]:
        schema = contract._follow(schema)
        parts = [contract._follow(each) for each in schema.get("oneOf", ())]
        if any("x-openstack" in each for each in parts):
            for each in parts:
                yield from variants(each)
        else:
            yield schema

    found: list[tuple[tuple[int, ...], Any]] = []
    for status, response in contract._paths[path][method.lower()]["responses"].items():
        schema = response.get("content", {}).get("application/json", {}).get("schema")
        for each in variants(schema) if status.startswith("2") and schema else ():
            limits = each.get("x-openstack", {})
            least = _version(limits.get("min-ver"), (0, 0))
            if limits.get("action-name") == action and least <= version:
                found.append((least, each))
    return max(found, key=lambda pair: pair[0])[1] if found else None


class Caller:
    """A caller at one microversion. Each answer is checked against the published schema."""

    def __init__(
        self,
        cloud: TestedCloud,
        version: str = NEWEST,
        who: str = "member",
        contract: Contract | None = None,
    ) -> None:
        self.cloud, self.version, self.who, self.contract = cloud, version, who, contract
        self.number = tuple(int(part) for part in version.split("."))
        self.client = cloud.client(who, OpenStack_API_Version=f"compute {version}")

    def at_least(self, minor: int) -> bool:
        return self.number >= (2, minor)

    def call(self, method: str, path: str, body: Any = None, status: int | None = None) -> Any:
        answer = self.client.request(method, f"/compute/v2.1{path}", json=body)
        pattern = _pattern(method, path.split("?")[0])
        action = next(iter(body)) if pattern and pattern.endswith("/action") and body else None
        if pattern:
            exercised.add((method, pattern, action))
        if status is not None:
            assert answer.status_code == status, (method, path, self.version, answer.text)
        if answer.is_success and pattern:
            self._judge(method, pattern, action, answer)
        return answer

    def _judge(self, method: str, pattern: str, action: str | None, answer: httpx.Response) -> None:
        assert answer.headers["OpenStack-API-Version"] == f"compute {self.version}"
        assert answer.headers["X-OpenStack-Nova-API-Version"] == self.version
        if self.contract is None or not answer.content:
            return
        path = "/v2.1" + _anonymous(pattern)
        if path not in self.contract._paths:
            return
        schema = published_schema(self.contract, method, path, action, self.number)
        if schema is None:
            return
        judge = jsonschema.Draft202012Validator(
            {**schema, "components": self.contract.document["components"]},
            format_checker=_ADDRESSES,
        )
        problems = [
            f"{'/'.join(map(str, each.absolute_path))}: {each.message[-300:]}"
            for error in judge.iter_errors(answer.json())
            for each in (error.context or [error])
        ]
        assert not problems, (method, pattern, self.version, problems)

    def get(self, path: str, status: int = 200) -> Any:
        return self.call("GET", path, status=status).json()

    def post(self, path: str, body: Any, status: int) -> Any:
        answer = self.call("POST", path, body, status)
        return answer.json() if answer.content else None

    def put(self, path: str, body: Any, status: int = 200) -> Any:
        answer = self.call("PUT", path, body, status)
        return answer.json() if answer.content else None

    def delete(self, path: str, status: int) -> None:
        self.call("DELETE", path, status=status)

    def act(self, server_id: str, action: str, argument: Any = None, status: int = 202) -> Any:
        return self.post(f"/servers/{server_id}/action", {action: argument}, status)


_TRIE = RouteTrie()
for _route in SERVICE.routes:
    if _route.prefixed:
        _TRIE.add("", _route)


def _pattern(method: str, path: str) -> str | None:
    """The path of the route that serves a URL."""
    found = _TRIE.find([part for part in path.split("/") if part])
    if found is None or method not in found.routes:
        return None
    return found.routes[method][0].path


def _anonymous(pattern: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in pattern.split("/"))


class Project:
    """A project ("one") with a flavor, an image and a network; makes servers."""

    def __init__(self, cloud: TestedCloud) -> None:
        self.cloud = cloud
        admin = cloud.client("admin", OpenStack_API_Version="compute 2.104")
        flavor = self._made(
            admin.post(
                "/compute/v2.1/flavors",
                json={
                    "flavor": {"name": f"small {time.time_ns()}", "ram": 512, "vcpus": 1, "disk": 1}
                },
            )
        )
        self.flavor_id = str(flavor["flavor"]["id"])
        member = cloud.client("member")
        self.image_id = self.new_image("boots")
        self.network_id = str(
            self._made(member.post("/network/v2.0/networks", json={"network": {"name": "inside"}}))[
                "network"
            ]["id"]
        )
        self.subnet_id = str(
            self._made(
                member.post(
                    "/network/v2.0/subnets",
                    json={
                        "subnet": {
                            "network_id": self.network_id,
                            "cidr": "10.0.0.0/20",
                            "ip_version": 4,
                            "dns_nameservers": ["9.9.9.9"],
                        }
                    },
                )
            )["subnet"]["id"]
        )

    @staticmethod
    def _made(answer: httpx.Response) -> Any:
        assert answer.is_success, answer.text
        return answer.json()

    def new_image(self, name: str, who: str = "member", **fields: Any) -> str:
        """An active image of 1 KiB."""
        client = self.cloud.client(who)
        made = self._made(
            client.post(
                "/image/v2/images",
                json={"name": name, "disk_format": "raw", "container_format": "bare", **fields},
            )
        )
        stored = client.put(
            f"/image/v2/images/{made['id']}/file",
            content=b"x" * 1024,
            headers={"Content-Type": "application/octet-stream"},
        )
        assert stored.status_code == 204, stored.text
        return str(made["id"])

    def new_port(self, who: str = "member", **fields: Any) -> dict[str, Any]:
        """A port on the project's network."""
        port: dict[str, Any] = self._made(
            self.cloud.client(who).post(
                "/network/v2.0/ports", json={"port": {"network_id": self.network_id, **fields}}
            )
        )
        return port["port"]  # type: ignore[no-any-return]

    def raise_quotas(self, **limits: int) -> None:
        """Let the project have more."""
        from nubelet.compute import quotas

        with self.cloud.cloud.database.write() as tx:
            quotas.of(self.cloud.cloud).set(tx, str(self.cloud.user("member").project_id), limits)

    def body(self, caller: Caller, **fields: Any) -> dict[str, Any]:
        """The body of a creation."""
        server: dict[str, Any] = {
            "name": "web",
            "flavorRef": self.flavor_id,
            "imageRef": self.image_id,
        }
        if caller.at_least(37):
            server["networks"] = "auto"
        return {"server": server | fields}

    def boot(self, caller: Caller, *, wait: bool = True, **fields: Any) -> str:
        """Make a server; `wait`: until nothing is being done to it."""
        made = caller.post("/servers", self.body(caller, **fields), 202)
        server_id = str(made["server"]["id"])
        if wait:
            self.cloud.settle()
        return server_id

    def show(self, server_id: str, who: str = "admin", version: str = NEWEST) -> dict[str, Any]:
        """The server as this caller sees it."""
        shown: Mapping[str, Any] = Caller(self.cloud, version, who).get(f"/servers/{server_id}")
        return dict(shown["server"])

    def free(self, *server_ids: str) -> None:
        """Delete servers and wait for it."""
        caller = Caller(self.cloud, who="admin")
        for server_id in server_ids:
            caller.call("DELETE", f"/servers/{server_id}")
        self.cloud.settle()
