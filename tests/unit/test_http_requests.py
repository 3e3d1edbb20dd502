"""The life of a request: routing, versions, refusals, bodies, as a client meets them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from nubelet.kernel.http import dialects, openapi
from nubelet.kernel.http.app import Application
from tests.unit.http_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, **{"http.cors_origins": ("https://ui.example",)})
    yield made
    made.close()


def test_literal_segments_win_over_parameters(world: World) -> None:
    assert world.get("/things/detail").json() == {"handler": "detail"}
    assert world.get("/things/x").json() == {"handler": "one", "thing_id": "x"}


def test_parameters_are_decoded_and_the_rest_keeps_its_slashes(world: World) -> None:
    assert world.get("/things/a%2Fb").json()["thing_id"] == "a/b"
    assert world.get("/things/a/parts/b/c").json()["part"] == "b/c"
    assert world.get("/things/%C3%BC").json()["thing_id"] == "ü"
    for name in ("%ff", "a%C3"):  # else two names would be one
        assert world.get(f"/things/{name}").status_code == 400


def test_every_prefix_and_the_root_answer(world: World) -> None:
    assert world.call("GET", "/v2/things/detail").json() == {"handler": "detail"}
    assert world.call("GET", "/", token=None).json() == {"handler": "versions"}
    assert world.call("GET", "", token=None).json() == {"handler": "versions"}


def test_an_unknown_path_is_404_and_a_wrong_method_405(world: World) -> None:
    assert world.get("/nothing").status_code == 404
    assert world.get("/things/").status_code == 404  # the empty name of a thing
    answer = world.call("DELETE", "/v2.1/things")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


def test_a_version_chooses_the_handler(world: World) -> None:
    assert world.get("/new").json()["handler"] == "old"
    for headers in (
        {"OpenStack-API-Version": "compute 2.10"},
        {"X-OpenStack-Nova-API-Version": "2.10"},
        {"OpenStack-API-Version": "volume 3.0, compute latest"},
    ):
        answer = world.get("/new", headers=headers)
        assert answer.json()["handler"] == "new"
    assert answer.headers["openstack-api-version"] == "compute 2.20"
    assert answer.headers["x-openstack-nova-api-version"] == "2.20"


@pytest.mark.parametrize(
    ("asked", "status"), [("2.21", 406), ("3.0", 406), ("two", 400), ("2.01", 400)]
)
def test_an_unknown_version_is_refused(world: World, asked: str, status: int) -> None:
    answer = world.get("/new", headers={"OpenStack-API-Version": f"compute {asked}"})
    assert answer.status_code == status, answer.text
    if status == 406:
        assert answer.json()["errors"][0]["max_version"] == "2.20"


def test_actions_are_told_apart_by_their_key(world: World) -> None:
    def act(body: object, version: str = "2.20") -> tuple[int, object]:
        answer = world.call(
            "POST",
            "/v2.1/things/x/action",
            json=body,
            headers={"OpenStack-API-Version": f"compute {version}"},
        )
        return answer.status_code, answer.json()

    assert act({"start": None})[1] == {"handler": "start", "thing_id": "x"}
    assert act({"stop": None})[1] == {"handler": "stop", "thing_id": "x"}
    assert act({"stop": None}, "2.4")[0] == 404  # it does not exist yet
    assert act({"dance": None})[0] == 400
    assert act({"start": None, "stop": None})[0] == 400
    assert act([])[0] == 400


def test_no_token_a_wrong_token_and_a_missing_role(world: World) -> None:
    for token in (None, "stolen"):
        answer = world.get("/things", token=token)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Keystone uri="http://cloud/identity"'
    answer = world.call("POST", "/v2.1/things", token="reader", json={"thing": {"name": "a"}})
    assert answer.status_code == 403
    assert "create" in answer.json()["forbidden"]["message"]


def test_a_rule_on_one_attribute(world: World) -> None:
    def create(token: str) -> int:
        return world.call(
            "POST",
            "/v2.1/things",
            token=token,
            headers={"OpenStack-API-Version": "compute 2.10"},
            json={"thing": {"name": token, "color": "red"}},
        ).status_code

    assert create("member") == 403
    assert create("admin") == 201


def test_a_handler_that_enforces_no_rule_is_refused_its_answer(world: World) -> None:
    answer = world.get("/careless")
    assert answer.status_code == 500
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"{", "Malformed"),
        (b"\xff", "Malformed"),
        (b"", "required"),
        (b'{"thing": {"name": 5}}', "name"),
        (b'{"thing": {"name": "x", "size": 1}}', "size"),
        (b'{"thing": {}}', "name"),
        (b'{"thing": {"name": "12345678901"}}', "name"),
        (b'{"thing": {"name": "x", "color": "red"}}', "color"),  # not before 2.10
        (b"[" * 100_000, "Malformed"),
    ],
)
def test_bad_bodies_are_400_and_name_the_field(world: World, body: bytes, part: str) -> None:
    answer = world.call(
        "POST", "/v2.1/things", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400, answer.text
    assert part in answer.json()["badRequest"]["message"]


def test_schemas_change_with_the_version(world: World) -> None:
    def post(version: str, body: object) -> int:
        return world.call(
            "POST",
            "/v2.1/versioned",
            json=body,
            headers={"OpenStack-API-Version": f"compute {version}"},
        ).status_code

    assert [post("2.9", {"old": 1}), post("2.9", {"new": 1})] == [200, 400]
    assert [post("2.10", {"old": 1}), post("2.10", {"new": 1})] == [400, 200]


def test_limits(tmp_path: Path) -> None:
    world = World(tmp_path, **{"limits.body_bytes": 65536, "limits.header_bytes": 4096})
    big = b'{"thing": {"name": "' + b"x" * 70_000 + b'"}}'
    json_type = {"Content-Type": "application/json"}
    assert world.call("POST", "/v2.1/things", content=big, headers=json_type).status_code == 413
    streamed = (big[i : i + 1000] for i in range(0, len(big), 1000))

    async def pieces() -> object:
        for piece in streamed:
            yield piece

    assert (
        world.call("POST", "/v2.1/things", content=pieces(), headers=json_type).status_code == 413
    )
    assert world.get("/things", headers={"X-Long": "x" * 5000}).status_code == 431
    world.close()


def test_the_content_type_must_be_json(world: World) -> None:
    answer = world.call(
        "POST", "/v2.1/things", content=b"<xml/>", headers={"Content-Type": "application/xml"}
    )
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("dialect", "path", "status", "body"),
    [
        (
            dialects.COMPUTE,
            "/conflict",
            409,
            {"conflictingRequest": {"code": 409, "message": "It is BUSY."}},
        ),
        (
            dialects.IDENTITY,
            "/conflict",
            409,
            {"error": {"code": 409, "title": "Conflict", "message": "It is BUSY."}},
        ),
        (
            dialects.NETWORK,
            "/conflict",
            409,
            {"NeutronError": {"type": "thing.busy", "message": "It is BUSY.", "detail": ""}},
        ),
        (
            dialects.IMAGE,
            "/conflict",
            409,
            {"code": 409, "title": "Conflict", "message": "It is BUSY."},
        ),
    ],
)
def test_each_family_has_its_own_envelope(
    tmp_path: Path, dialect: dialects.Dialect, path: str, status: int, body: object
) -> None:
    world = World(tmp_path, dialect)
    answer = world.call("GET", f"{dialect.prefixes[0]}{path}")
    assert (answer.status_code, answer.json()) == (status, body)
    world.close()


def test_placement_errors_carry_code_and_request(tmp_path: Path) -> None:
    world = World(tmp_path, dialects.PLACEMENT)
    answer = world.call("GET", "/conflict", headers={"OpenStack-API-Version": "compute 2.20"})
    error = answer.json()["errors"][0]
    assert (error["status"], error["detail"]) == (409, "It is BUSY.")
    assert error["code"] == "placement.undefined_code"  # ours are not placement's
    assert error["request_id"] == answer.headers["x-openstack-request-id"]
    world.close()


@pytest.mark.parametrize(
    ("dialect", "status"), [(dialects.COMPUTE, 403), (dialects.NETWORK, 409), (dialects.IMAGE, 413)]
)
def test_a_passed_quota_has_the_familys_status(
    tmp_path: Path, dialect: dialects.Dialect, status: int
) -> None:
    world = World(tmp_path, dialect)
    answer = world.call("GET", f"{dialect.prefixes[0]}/quota")
    assert answer.status_code == status
    assert "3" in answer.text
    world.close()


def test_a_defect_of_ours_shows_only_the_request_id(world: World) -> None:
    answer = world.get("/bug")
    assert answer.status_code == 500
    assert answer.headers["x-openstack-request-id"] in answer.text
    assert "secret detail" not in answer.text
    assert "Traceback" not in answer.text


def test_request_ids(world: World) -> None:
    first, second = world.get("/new"), world.get("/new")
    assert first.headers["x-openstack-request-id"].startswith("req-")
    assert first.headers["x-openstack-request-id"] != second.headers["x-openstack-request-id"]
    assert first.headers["x-compute-request-id"] == first.headers["x-openstack-request-id"]


def test_head_is_get_without_a_body(world: World) -> None:
    answer = world.call("HEAD", "/v2.1/new")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


def test_cross_origin(world: World) -> None:
    ours = {"Origin": "https://ui.example"}
    answer = world.call(
        "OPTIONS",
        "/v2.1/things",
        token=None,
        headers={**ours, "Access-Control-Request-Method": "POST"},
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://ui.example"
    assert world.get("/new", headers=ours).headers["access-control-allow-origin"]
    foreign = world.get("/new", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers


def test_streams_flow_both_ways(world: World) -> None:
    async def body() -> object:
        for _ in range(50):
            yield b"x" * 100

    answer = world.call("PUT", "/v2.1/upload", content=body()).json()
    assert answer == {"bytes": 5000, "chunks": 5}
    assert world.get("/pieces").content == b"onetwo"
    assert world.get("/file").content == bytes(range(10, 15))


def test_who_waits_to_send_a_body_and_is_refused_loses_the_connection(world: World) -> None:
    """What it sends next might be this body, or another request: nobody can tell."""
    headers = {"Expect": "100-continue", "Content-Length": "10"}
    refused = world.call("PUT", "/v2.1/upload", headers=headers, token=None)
    assert (refused.status_code, refused.headers.get("connection")) == (401, "close")
    refused = world.call("PUT", "/v2.1/upload", content=b"1234567890", token=None)
    assert (refused.status_code, refused.headers.get("connection")) == (401, None)


def test_the_openapi_document_tells_what_is_served(world: World) -> None:
    service = world.cloud.services["things"]
    newest, oldest = openapi.document(service), openapi.document(service, (2, 1))
    create = newest["paths"]["/things-api/v2.1/things"]["post"]
    schema = create["requestBody"]["content"]["application/json"]["schema"]
    assert "color" in schema["properties"]["thing"]["properties"]
    old = oldest["paths"]["/things-api/v2.1/things"]["post"]["requestBody"]["content"]
    assert "color" not in old["application/json"]["schema"]["properties"]["thing"]["properties"]
    assert create["x-openstack"]["rule"] == "create"
    assert create["security"] == [{"token": []}]


def test_the_openapi_document_is_served(world: World) -> None:
    answer = world.call("GET", "/openapi.json", token=None)
    assert answer.status_code == 200
    assert answer.json() == openapi.document(world.cloud.services["things"])


def test_uploads_that_stand_still_leave_others_theirs(world: World) -> None:
    """One address sends more bodies than there are threads, and none to its end."""
    world.app = Application(world.cloud, stream_threads=4)
    begun, may_end = threading.Semaphore(0), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"some"
        begun.release()
        await may_end.wait()
        yield b"more"

    def upload(content: Any, address: str) -> httpx.Response:
        return world.call("PUT", "/v2.1/upload", content=content, address=address)

    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(upload, slow(), "192.0.2.1") for _ in range(10)]
        assert begun.acquire(timeout=60)
        assert pool.submit(upload, b"x" * 500_000, "192.0.2.2").result(60).status_code == 200
        assert not any(each.done() for each in waiting)
        world.loop.call_soon_threadsafe(may_end.set)
        assert {each.result(60).status_code for each in waiting} == {200}
