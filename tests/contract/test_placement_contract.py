"""Every operation of placement at every version where its shape changes: the documented status,
and an answer that the published schema accepts."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jsonschema_rs
import pytest
import yaml

from nubelet.kernel.ids import is_uuid
from nubelet.placement import SERVICE
from tests.cloud import TestedCloud, make_cloud

NEWEST = "1.39"
# The published document gives another operation's answer here; it is that one inventory.
MISPRINTS = {
    ("POST", "/resource_providers/{uuid}/inventories"): (
        "PUT",
        "/resource_providers/{uuid}/inventories/{resource_class}",
    )
}
# The document has only the newest shape of these; older answers are held against a sample.
SAMPLES = {
    ("PUT", "/resource_providers/{uuid}/aggregates"): (19, "aggregates/update-aggregates.json"),
    ("GET", "/resource_providers/{uuid}/aggregates"): (19, "aggregates/get-aggregates.json"),
    ("GET", "/allocation_candidates"): (12, "allocation_candidates/get-allocation_candidates.json"),
    ("GET", "/usages"): (38, "usages/get-usages.json"),
}
exercised: set[tuple[str, str]] = set()


@pytest.fixture(scope="module")
def placement_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path_factory.mktemp("placement"), services=("placement",))
    yield made
    made.close()


@pytest.fixture(scope="module")
def schemas(published: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(
        (published / "openapi/placement/v1.39.yaml").read_text(), Loader=yaml.CSafeLoader
    )
    repair(document["components"]["schemas"])
    return document


def repair(part: Any) -> None:
    """Correct what contradicts the published samples and history: the parent of a root is null,
    traits of a provider come with its generation, and its allocations with their consumers'."""
    if isinstance(part, list):
        for each in part:
            repair(each)
    elif isinstance(part, dict):
        properties = part.get("properties", {})
        if "parent_provider_uuid" in properties:
            properties["parent_provider_uuid"]["type"] = ["string", "null"]
        if list(properties) == ["traits"]:
            properties["resource_provider_generation"] = {"type": "integer"}
        if list(properties) == ["resources"]:
            properties["consumer_generation"] = {"type": "integer"}
        for each in part.values():
            repair(each)


def at(cloud: TestedCloud, version: str, who: str = "admin") -> httpx.Client:
    return cloud.client(who, OpenStack_API_Version=f"placement {version}")


class Caller:
    """Calls operations by their path in the route table, and checks each answer."""

    def __init__(
        self, cloud: TestedCloud, document: dict[str, Any], version: str, published: Path
    ) -> None:
        self.samples = published / "samples/placement/samples"
        self.client = at(cloud, version)
        self.service = at(cloud, version, "service")
        self.document, self.version = document, version

    def call(
        self,
        method: str,
        path: str,
        status: int,
        *,
        query: str = "",
        body: Any = None,
        **params: str,
    ) -> Any:
        exercised.add((method, path))
        client = self.service if path == "/reshaper" else self.client
        answer = client.request(method, "/placement" + path.format(**params) + query, json=body)
        assert answer.status_code == status, (method, path, self.version, answer.text)
        assert answer.headers["OpenStack-API-Version"] == f"placement {self.version}"
        if not answer.content:
            return None
        self.check(method, path, answer.json())
        return answer.json()

    def check(self, method: str, path: str, content: Any) -> None:
        method, path = MISPRINTS.get((method, path), (method, path))
        since, sample = SAMPLES.get((method, path), (0, ""))
        if not self.at_least(since):
            assert shape(content) == shape(json.loads((self.samples / sample).read_text()))
            return
        operation = self.document["paths"][path][method.lower()]
        for described in operation["responses"].values():
            schema = described.get("content", {}).get("application/json", {}).get("schema")
            if schema:
                whole = {**schema, "components": self.document["components"]}
                error = next(
                    iter(jsonschema_rs.Draft202012Validator(whole).iter_errors(content)), None
                )
                assert error is None, (method, path, self.version, error)

    def at_least(self, minor: int) -> bool:
        return int(self.version.split(".")[1]) >= minor


def shape(content: Any) -> Any:
    """The types in an answer: of an object's values by key, of a list's first item."""
    if isinstance(content, dict):
        if all(key.isupper() or is_uuid(key) for key in content):
            return {"KEY": shape(next(iter(content.values())))} if content else {}
        return {key: shape(value) for key, value in content.items()}
    if isinstance(content, list):
        return [shape(content[0])] if content else []
    return type(content).__name__


VERSIONS = [f"1.{minor}" for minor in range(40)]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_operation_answers_as_documented(
    placement_cloud: TestedCloud,
    schemas: dict[str, Any],
    published: Path,
    version: str,
) -> None:
    caller = Caller(placement_cloud, schemas, version, published)
    provider, name = str(uuid4()), f"host {uuid4()}"
    created = caller.call(
        "POST",
        "/resource_providers",
        200 if caller.at_least(20) else 201,
        body={"name": name, "uuid": provider},
    )
    assert (created is not None) == caller.at_least(20)
    shown = caller.call("GET", "/resource_providers/{uuid}", 200, uuid=provider)
    assert ("parent_provider_uuid" in shown) == caller.at_least(14)
    assert {link["rel"] for link in shown["links"]} == {
        "self",
        "inventories",
        "usages",
        *(["aggregates"] if caller.at_least(1) else []),
        *(["traits"] if caller.at_least(6) else []),
        *(["allocations"] if caller.at_least(11) else []),
    }
    listed = caller.call("GET", "/resource_providers", 200, query=f"?name={name}")
    assert [each["uuid"] for each in listed["resource_providers"]] == [provider]
    caller.call("PUT", "/resource_providers/{uuid}", 200, uuid=provider, body={"name": name + "2"})
    inventories(caller, provider)
    allocations(caller, provider)
    if caller.at_least(1):
        aggregates(caller, provider)
    if caller.at_least(2):
        resource_classes(caller)
    if caller.at_least(6):
        traits(caller, provider)
    if caller.at_least(10):
        candidates(caller)
    if caller.at_least(30):
        reshape(caller, provider)
    caller.call("DELETE", "/resource_providers/{uuid}", 204, uuid=provider)


def inventories(caller: Caller, provider: str) -> None:
    path, one = (
        "/resource_providers/{uuid}/inventories",
        "/resource_providers/{uuid}/inventories/{resource_class}",
    )
    empty = caller.call("GET", path, 200, uuid=provider)
    assert empty == {"inventories": {}, "resource_provider_generation": 0}
    put = caller.call(
        "PUT",
        path,
        200,
        uuid=provider,
        body={
            "resource_provider_generation": 0,
            "inventories": {
                "VCPU": {"total": 16, "allocation_ratio": 2.0},
                "DISK_GB": {"total": 9},
            },
        },
    )
    assert put["resource_provider_generation"] == 1
    assert put["inventories"]["VCPU"] == {
        "total": 16,
        "reserved": 0,
        "min_unit": 1,
        "max_unit": 2147483647,
        "step_size": 1,
        "allocation_ratio": 2.0,
    }
    caller.call(
        "POST",
        path,
        201,
        uuid=provider,
        body={"resource_class": "MEMORY_MB", "total": 2048, "resource_provider_generation": 1},
    )
    changed = caller.call(
        "PUT",
        one,
        200,
        uuid=provider,
        resource_class="MEMORY_MB",
        body={"total": 4096, "reserved": 512, "resource_provider_generation": 2},
    )
    assert changed["total"] == 4096
    assert changed["resource_provider_generation"] == 3
    caller.call("GET", one, 200, uuid=provider, resource_class="MEMORY_MB")
    caller.call("DELETE", one, 204, uuid=provider, resource_class="DISK_GB")
    if caller.at_least(5):
        other = str(uuid4())
        caller.client.post("/placement/resource_providers", json={"name": other, "uuid": other})
        caller.call("DELETE", path, 204, uuid=other)


def allocations(caller: Caller, provider: str) -> None:
    consumer, path = str(uuid4()), "/allocations/{consumer_uuid}"
    resources = {"VCPU": 2, "MEMORY_MB": 128}
    body: dict[str, Any] = {"allocations": {provider: {"resources": resources}}}
    if not caller.at_least(12):
        body = {"allocations": [{"resource_provider": {"uuid": provider}, "resources": resources}]}
    if caller.at_least(8):
        body |= {"project_id": "a-project", "user_id": "a-user"}
    if caller.at_least(28):
        body["consumer_generation"] = None
    if caller.at_least(34):
        body["mappings"] = {"": [provider]}
    if caller.at_least(38):
        body["consumer_type"] = "INSTANCE"
    caller.call("PUT", path, 204, consumer_uuid=consumer, body=body)
    shown = caller.call("GET", path, 200, consumer_uuid=consumer)
    assert shown["allocations"][provider]["resources"] == resources
    assert ("project_id" in shown) == caller.at_least(12)
    assert ("consumer_generation" in shown) == caller.at_least(28)
    assert ("consumer_type" in shown) == caller.at_least(38)
    held = caller.call("GET", "/resource_providers/{uuid}/allocations", 200, uuid=provider)
    assert held["allocations"][consumer]["resources"] == resources
    assert ("consumer_generation" in held["allocations"][consumer]) == caller.at_least(28)
    used = caller.call("GET", "/resource_providers/{uuid}/usages", 200, uuid=provider)
    assert used["usages"] == resources
    if caller.at_least(9):
        usages(caller)
    if caller.at_least(13):
        body.pop("mappings", None)
        body["allocations"] = {}
        if caller.at_least(28):
            body["consumer_generation"] = 1
        caller.call("POST", "/allocations", 204, body={consumer: body})
        caller.call("DELETE", path, 404, consumer_uuid=consumer)
    else:
        caller.call("DELETE", path, 204, consumer_uuid=consumer)
    assert caller.call("GET", path, 200, consumer_uuid=consumer) == {"allocations": {}}


def usages(caller: Caller) -> None:
    found = caller.call("GET", "/usages", 200, query="?project_id=a-project&user_id=a-user")
    used = found["usages"]
    if caller.at_least(38):
        used = used["INSTANCE"]
        assert used.pop("consumer_count") == 1
    assert used == {"VCPU": 2, "MEMORY_MB": 128}


def aggregates(caller: Caller, provider: str) -> None:
    path, wanted = "/resource_providers/{uuid}/aggregates", [str(uuid4()), str(uuid4())]
    body: Any = wanted
    if caller.at_least(19):
        shown = caller.call("GET", path, 200, uuid=provider)
        body = {
            "aggregates": wanted,
            "resource_provider_generation": shown["resource_provider_generation"],
        }
    put = caller.call("PUT", path, 200, uuid=provider, body=body)
    assert sorted(put["aggregates"]) == sorted(wanted)
    assert caller.call("GET", path, 200, uuid=provider) == put
    assert ("resource_provider_generation" in put) == caller.at_least(19)


def resource_classes(caller: Caller) -> None:
    name, path = f"CUSTOM_{uuid4().hex.upper()}", "/resource_classes/{name}"
    caller.call("POST", "/resource_classes", 201, body={"name": name})
    listed = caller.call("GET", "/resource_classes", 200)
    assert {"VCPU", name} <= {each["name"] for each in listed["resource_classes"]}
    assert caller.call("GET", path, 200, name=name)["name"] == name
    if caller.at_least(7):
        caller.call("PUT", path, 204, name=name)
        caller.call("PUT", path, 201, name=name + "_2")
    else:
        caller.call("PUT", path, 200, name=name, body={"name": name + "_2"})
    caller.call("DELETE", path, 204, name=name + "_2")


def traits(caller: Caller, provider: str) -> None:
    name, path = f"CUSTOM_{uuid4().hex.upper()}", "/traits/{name}"
    caller.call("PUT", path, 201, name=name)
    caller.call("PUT", path, 204, name=name)
    caller.call("GET", path, 204, name=name)
    assert caller.call("GET", "/traits", 200, query=f"?name=in:{name},NONE") == {"traits": [name]}
    own = "/resource_providers/{uuid}/traits"
    shown = caller.call("GET", own, 200, uuid=provider)
    put = caller.call(
        "PUT",
        own,
        200,
        uuid=provider,
        body={
            "traits": ["HW_CPU_X86_AVX2", name],
            "resource_provider_generation": shown["resource_provider_generation"],
        },
    )
    assert put["traits"] == sorted(["HW_CPU_X86_AVX2", name])
    caller.call("DELETE", own, 204, uuid=provider)
    caller.call("DELETE", path, 204, name=name)


def candidates(caller: Caller) -> None:
    provider = str(uuid4())
    caller.client.post("/placement/resource_providers", json={"name": provider, "uuid": provider})
    caller.client.put(
        f"/placement/resource_providers/{provider}/inventories",
        json={
            "resource_provider_generation": 0,
            "inventories": {"PCI_DEVICE": {"total": 3}, "VGPU": {"total": 1}},
        },
    )
    found = caller.call("GET", "/allocation_candidates", 200, query="?resources=PCI_DEVICE:3")
    [request] = found["allocation_requests"]
    wanted = {"resources": {"PCI_DEVICE": 3}}
    assert request["allocations"] == (
        {provider: wanted}
        if caller.at_least(12)
        else [{"resource_provider": {"uuid": provider}, **wanted}]
    )
    assert ("mappings" in request) == caller.at_least(34)
    summary = found["provider_summaries"][provider]
    assert summary["resources"]["PCI_DEVICE"] == {"capacity": 3, "used": 0}
    assert ("VGPU" in summary["resources"]) == caller.at_least(27)
    assert ("traits" in summary) == caller.at_least(17)
    assert ("root_provider_uuid" in summary) == caller.at_least(29)
    caller.call("DELETE", "/resource_providers/{uuid}", 204, uuid=provider)


def reshape(caller: Caller, provider: str) -> None:
    generation = caller.call("GET", "/resource_providers/{uuid}", 200, uuid=provider)["generation"]
    caller.call(
        "POST",
        "/reshaper",
        204,
        body={
            "allocations": {},
            "inventories": {
                provider: {
                    "inventories": {"VGPU": {"total": 1}},
                    "resource_provider_generation": generation,
                }
            },
        },
    )


def test_the_version_document_needs_no_token(placement_cloud: TestedCloud, published: Path) -> None:
    exercised.add(("GET", "/"))
    answer = placement_cloud.client(None).get("/placement/")
    assert answer.status_code == 200
    sample = json.loads((published / "samples/placement/samples/root/get-root.json").read_text())
    assert answer.json()["versions"][0].keys() == sample["versions"][0].keys()
    assert answer.json()["versions"][0]["max_version"] == NEWEST


def test_operations_do_not_exist_before_their_version(placement_cloud: TestedCloud) -> None:
    for route in SERVICE.routes:
        minor = route.since[1]
        if minor:
            path = "/placement" + route.path.format(
                uuid=uuid4(), name="CUSTOM_A", consumer_uuid=uuid4(), resource_class="VCPU"
            )
            answer = at(placement_cloud, f"1.{minor - 1}").request(route.method, path, json={})
            assert answer.status_code in (400, 404), (route.method, route.path, answer.text)
            if (route.method, route.path) != ("PUT", "/resource_classes/{name}"):
                assert answer.status_code == 404, (route.method, route.path)


def test_every_published_operation_is_served_and_tested(published: Path) -> None:
    with open(published / "samples/placement/routes.tsv") as file:
        wanted = {(row["method"], row["path"]) for row in csv.DictReader(file, delimiter="\t")}
    served = {(route.method, route.path) for route in SERVICE.routes}
    assert wanted <= served
    assert served <= exercised, served - exercised


@pytest.mark.parametrize("version", ["1.0", "1.22", "1.23", NEWEST])
def test_errors_have_codes_from_1_23_on(placement_cloud: TestedCloud, version: str) -> None:
    answer = at(placement_cloud, version).get(f"/placement/resource_providers/{uuid4()}")
    assert answer.status_code == 404
    [error] = answer.json()["errors"]
    assert error["status"] == 404
    assert error["title"] == "Not Found"
    assert error["detail"]
    assert error["request_id"] == answer.headers["x-openstack-request-id"]
    assert error.get("code") == (
        "placement.undefined_code" if version in ("1.23", NEWEST) else None
    )


@pytest.mark.parametrize("version", ["1.14", "1.15"])
def test_answers_are_not_cached_from_1_15_on(placement_cloud: TestedCloud, version: str) -> None:
    client = at(placement_cloud, version)
    for path in (
        "resource_providers",
        "traits",
        "resource_classes",
        "usages?project_id=x",
        "allocation_candidates?resources=VCPU:1",
        f"allocations/{uuid4()}",
    ):
        headers = client.get(f"/placement/{path}").headers
        assert headers.get("cache-control") == ("no-cache" if version == "1.15" else None)
        assert ("last-modified" in headers) == (version == "1.15")


def test_an_unknown_version_is_not_acceptable(placement_cloud: TestedCloud) -> None:
    answer = at(placement_cloud, "1.99").get("/placement/resource_providers")
    assert answer.status_code == 406
    assert answer.json()["errors"][0]["max_version"] == NEWEST
