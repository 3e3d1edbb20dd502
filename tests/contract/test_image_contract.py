"""Every operation of the image service: the documented status, and an answer that the published
schema accepts."""

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

from nubelet.image import SERVICE
from tests.cloud import TestedCloud, make_cloud
from tests.web import served

PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
DATA = {"Content-Type": "application/octet-stream"}
# What only nodes and machines of this cloud ask for.
OUR_OWN = {("GET", "/data/{image_id}"), ("GET", "/staged/{key}")}
exercised: set[tuple[str, str]] = set()


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    folder = tmp_path_factory.mktemp("image")
    made = make_cloud(
        folder,
        services=("identity", "image"),
        options={
            "image.stores": {
                "archive": {"type": "file", "directory": str(folder / "archive"), "weight": 9},
                "web": {"type": "http"},
            },
            "image.web_download_networks": ("127.0.0.1/32",),
            "image.show_locations": True,
        },
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def document(published: Path) -> dict[str, Any]:
    return yaml.load(
        (published / "openapi/image/v2.16.yaml").read_text(),  # type: ignore[no-any-return]
        Loader=yaml.CSafeLoader,
    )


class Caller:
    """Calls operations by their path in the published API, and checks each answer."""

    def __init__(self, client: httpx.Client, document: dict[str, Any]) -> None:
        self.client, self.document = client, document

    def call(self, method: str, path: str, status: int, *, query: str = "", **more: Any) -> Any:
        names = ("image_id", "member_id", "tag", "store_id", "task_id")
        params = {key: more.pop(key) for key in names if key in more}
        exercised.add((method, path.removeprefix("/v2")))
        answer = self.client.request(method, "/image" + path.format(**params) + query, **more)
        assert answer.status_code == status, (method, path, answer.text)
        if answer.headers.get("content-type") != "application/json":
            return answer.content
        if status < 400:
            self.check(method, path.replace("{tag}", "{tag_value}"), answer.json())
        return answer.json()

    def check(self, method: str, path: str, content: Any) -> None:
        if path.startswith(("/v2/schemas/", "/v2/info/stores", "/v2/info/usage")):
            return  # the published document contradicts its samples
        operation = self.document["paths"].get(path, {}).get(method.lower(), {"responses": {}})
        for described in operation["responses"].values():
            schema = described.get("content", {}).get("application/json", {}).get("schema")
            if schema:
                whole = {**schema, "components": self.document["components"]}
                error = next(
                    iter(jsonschema_rs.Draft202012Validator(whole).iter_errors(content)), None
                )
                assert error is None, (method, path, error, content)


@pytest.fixture(scope="module")
def web_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("web"), {"image": b"from the web"}) as url:
        yield f"{url}/image"


@pytest.fixture
def caller(tested: TestedCloud, document: dict[str, Any]) -> Caller:
    return Caller(tested.client("member"), document)


def test_images(caller: Caller, tested: TestedCloud, published: Path) -> None:
    created = caller.call(
        "POST",
        "/v2/images",
        201,
        json={
            "name": "an image",
            "disk_format": "raw",
            "container_format": "bare",
            "tags": ["a", "b"],
            "os_distro": "debian",
            "min_ram": 64,
        },
    )
    samples = published / "samples/glance/v2/samples"
    sample = json.loads((samples / "image-create-response.json").read_text())
    assert sample.keys() - {"locations", "direct_url", "stores"} <= created.keys()
    one = created["id"]
    shown = caller.call("GET", "/v2/images/{image_id}", 200, image_id=one)
    assert shown == created
    listed = caller.call("GET", "/v2/images", 200, query="?name=an image&limit=1")
    assert listed["images"] == [shown]
    changed = caller.call(
        "PATCH",
        "/v2/images/{image_id}",
        200,
        image_id=one,
        headers=PATCH,
        json=[{"op": "replace", "path": "/name", "value": "other"}],
    )
    assert changed["name"] == "other"
    caller.call("GET", "/v2/images/{image_id}/file", 204, image_id=one)
    caller.call(
        "PUT", "/v2/images/{image_id}/file", 204, image_id=one, headers=DATA, content=b"content"
    )
    assert caller.call("GET", "/v2/images/{image_id}/file", 200, image_id=one) == b"content"
    active = caller.call("GET", "/v2/images/{image_id}", 200, image_id=one)
    assert active["status"] == "active"
    caller.call("POST", "/v2/images/{image_id}/actions/deactivate", 204, image_id=one)
    caller.call("POST", "/v2/images/{image_id}/actions/reactivate", 204, image_id=one)
    caller.call("PUT", "/v2/images/{image_id}/tags/{tag}", 204, image_id=one, tag="c")
    caller.call("DELETE", "/v2/images/{image_id}/tags/{tag}", 204, image_id=one, tag="c")
    caller.call("DELETE", "/v2/images/{image_id}", 204, image_id=one)
    caller.call("GET", "/v2/images/{image_id}", 404, image_id=one)


def test_members(caller: Caller, tested: TestedCloud, document: dict[str, Any]) -> None:
    one = caller.client.post("/image/v2/images", json={"visibility": "shared"}).json()["id"]
    other = tested.user("stranger").project_id
    path = "/v2/images/{image_id}/members"
    caller.call("POST", path, 200, image_id=one, json={"member": other})
    assert len(caller.call("GET", path, 200, image_id=one)["members"]) == 1
    caller.call("GET", path + "/{member_id}", 200, image_id=one, member_id=other)
    stranger = Caller(tested.client("stranger"), document)
    changed = stranger.call(
        "PUT",
        path + "/{member_id}",
        200,
        image_id=one,
        member_id=other,
        json={"status": "accepted"},
    )
    assert changed["status"] == "accepted"
    caller.call("DELETE", path + "/{member_id}", 204, image_id=one, member_id=other)


def test_import(caller: Caller, tested: TestedCloud, document: dict[str, Any]) -> None:
    one = caller.client.post(
        "/image/v2/images", json={"disk_format": "raw", "container_format": "bare"}
    ).json()["id"]
    caller.call(
        "PUT", "/v2/images/{image_id}/stage", 204, image_id=one, headers=DATA, content=b"content"
    )
    caller.call(
        "POST",
        "/v2/images/{image_id}/import",
        202,
        image_id=one,
        json={"method": {"name": "glance-direct"}},
    )
    tested.settle()
    [task] = caller.call("GET", "/v2/images/{image_id}/tasks", 200, image_id=one)["tasks"]
    assert task["status"] == "success"
    assert caller.call("GET", "/v2/info/import", 200)["import-methods"]["value"]
    assert caller.call("GET", "/v2/info/stores", 200)["stores"]
    assert caller.call("GET", "/v2/info/usage", 200)["usage"]
    admin = Caller(tested.client("admin"), document)
    assert admin.call("GET", "/v2/info/stores/detail", 200)["stores"]


def test_stores_and_locations(
    caller: Caller, tested: TestedCloud, document: dict[str, Any], web_file: str
) -> None:
    one = caller.client.post(
        "/image/v2/images", json={"disk_format": "raw", "container_format": "bare"}
    ).json()["id"]
    caller.client.put(f"/image/v2/images/{one}/stage", headers=DATA, content=b"content")
    started = {"method": {"name": "glance-direct"}, "all_stores": True}
    caller.call("POST", "/v2/images/{image_id}/import", 202, image_id=one, json=started)
    tested.settle()
    shown = caller.call("GET", "/v2/images/{image_id}", 200, image_id=one)
    assert [each["metadata"]["store"] for each in shown["locations"]] == ["file", "archive"]
    admin = Caller(tested.client("admin"), document)
    path = "/v2/stores/{store_id}/{image_id}"
    admin.call("DELETE", path, 204, image_id=one, store_id="file")
    two = caller.client.post(
        "/image/v2/images", json={"disk_format": "raw", "container_format": "bare"}
    ).json()["id"]
    path = "/v2/images/{image_id}/locations"
    caller.call("POST", path, 202, image_id=two, json={"url": web_file})
    tested.settle()
    service = Caller(tested.client("service"), document)
    [place] = service.call("GET", path, 200, image_id=two)
    assert (place["url"], place["metadata"]) == (web_file, {"store": "web"})


def test_tasks(
    tested: TestedCloud, document: dict[str, Any], published: Path, web_file: str
) -> None:
    admin = Caller(tested.client("admin"), document)
    asked = {
        "type": "import",
        "input": {
            "import_from": web_file,
            "import_from_format": "raw",
            "image_properties": {"name": "made", "container_format": "bare", "disk_format": "raw"},
        },
    }
    created = admin.call("POST", "/v2/tasks", 201, json=asked)
    samples = published / "samples/glance/v2/samples"
    sample = json.loads((samples / "task-create-response.json").read_text())
    assert sample.keys() <= created.keys()
    tested.settle()
    shown = admin.call("GET", "/v2/tasks/{task_id}", 200, task_id=created["id"])
    assert shown["status"] == "success", shown
    listed = admin.call("GET", "/v2/tasks", 200, query="?type=import")
    assert [each["id"] for each in listed["tasks"]] == [created["id"]]
    image = admin.client.get(f"/image/v2/images/{shown['result']['image_id']}").json()
    assert (image["name"], image["status"]) == ("made", "active")
    for name in ("task", "tasks"):
        answer = admin.call("GET", f"/v2/schemas/{name}", 200)
        wanted = json.loads((samples / f"schemas-{name}-{LISTED[name]}.json").read_text())
        assert answer["name"] == wanted["name"]
        assert wanted["properties"].keys() <= answer["properties"].keys()


LISTED = {"task": "show-response", "tasks": "list-response"}


def test_cache(caller: Caller, tested: TestedCloud, document: dict[str, Any]) -> None:
    one = create_active(caller.client)
    admin = Caller(tested.client("admin"), document)
    admin.call("PUT", "/v2/cache/{image_id}", 202, image_id=one)
    assert admin.call("GET", "/v2/cache", 200)["queued_images"] == [one]
    admin.call("DELETE", "/v2/cache/{image_id}", 204, image_id=one)
    admin.call("POST", "/v2/cache/clean", 200)
    assert admin.call("POST", "/v2/cache/prune", 200)["total_files_pruned"] == 0
    admin.call("DELETE", "/v2/cache", 204)


def create_active(client: httpx.Client) -> str:
    made = client.post("/image/v2/images", json={"disk_format": "raw", "container_format": "bare"})
    one = str(made.json()["id"])
    assert client.put(f"/image/v2/images/{one}/file", content=b"x", headers=DATA).is_success
    return one


def test_documents(caller: Caller, published: Path) -> None:
    for name in ("image", "images", "member", "members"):
        assert caller.call("GET", f"/v2/schemas/{name}", 200)["name"] == name
    for path, status in (("/image/", 300), ("/image/versions", 200)):
        exercised.add(("GET", path.removeprefix("/image")))
        answer = caller.client.get(path)
        assert answer.status_code == status
        sample = json.loads(
            next((published / "samples/glance/versions").rglob("*.json")).read_text()
        )
        assert answer.json().keys() == sample.keys()
        assert answer.json()["versions"][0].keys() == sample["versions"][0].keys()
        assert [
            each["id"] for each in answer.json()["versions"] if each["status"] == "CURRENT"
        ] == ["v2.17"]


def test_the_schema_of_an_image_describes_what_is_shown(caller: Caller) -> None:
    schema = caller.client.get("/image/v2/schemas/image").json()
    shown = caller.client.post("/image/v2/images", json={"name": "x"}).json()
    assert shown.keys() <= schema["properties"].keys()
    assert schema["properties"]["id"]["pattern"]


@pytest.mark.parametrize(
    ("status", "request_of"),
    [
        (401, lambda c, _: c.client(None).get("/image/v2/images")),
        (404, lambda c, _: c.client().get(f"/image/v2/images/{uuid4()}")),
        (404, lambda c, _: c.client().get("/image/v2/nothing")),
        (400, lambda c, _: c.client().post("/image/v2/images", json={"min_ram": "x"})),
        (403, lambda c, _: c.client("reader").post("/image/v2/images", json={})),
        (415, lambda c, one: c.client().patch(f"/image/v2/images/{one}", json=[])),
        (409, lambda c, one: c.client().post("/image/v2/images", json={"id": one})),
    ],
)
def test_errors(tested: TestedCloud, status: int, request_of: Any) -> None:
    one = tested.client().post("/image/v2/images", json={}).json()["id"]
    answer = request_of(tested, one)
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == status
    assert answer.json()["message"]


def test_every_operation_that_is_served_is_published_and_tested(
    tested: TestedCloud, published: Path
) -> None:
    with open(published / "samples/glance/routes.tsv") as file:
        wanted = {
            (row["method"], row["path"].removeprefix("/v2"))
            for row in csv.DictReader(file, delimiter="\t")
        }
    # Metadata definitions have a test of their own: test_image_definitions.py.
    served = {
        (route.method, route.path) for route in SERVICE.routes if "/metadefs/" not in route.path
    }
    wanted = {(method, path) for method, path in wanted if "/metadefs/" not in path}
    assert served - OUR_OWN == wanted
    assert served - OUR_OWN <= exercised, served - OUR_OWN - exercised
