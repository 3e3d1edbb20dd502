"""Locations: the API of version 2.17, and the older one by PATCH."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cloud import TestedCloud, make_cloud
from tests.web import served

URL = "/image/v2/images"
V21 = "application/openstack-images-v2.1-json-patch"
DATA = b"from the web"
SHA = hashlib.sha512(DATA).hexdigest()
Made = tuple[TestedCloud, str]


def cloud(folder: Path, **options: object) -> TestedCloud:
    return make_cloud(
        folder,
        services=("identity", "image"),
        options={
            "image.stores": {"web": {"type": "http"}},
            "image.web_download_networks": ("127.0.0.1/32",),
            **options,
        },
    )


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("web"), {"image": DATA, "same": DATA}) as url:
        yield url


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = cloud(
        tmp_path_factory.mktemp("image"),
        **{"image.show_locations": True, "image.show_direct_url": True},
    )
    yield made
    made.close()


@pytest.fixture
def client(tested: TestedCloud) -> httpx.Client:
    return tested.client("member")


def create(client: httpx.Client) -> str:
    made = client.post(URL, json={"disk_format": "raw", "container_format": "bare"})
    return str(made.json()["id"])


def show(client: httpx.Client, one: str) -> Any:
    return client.get(f"{URL}/{one}").json()


def add(client: httpx.Client, one: str, url: str, **hashes: str) -> httpx.Response:
    body = {"url": url} | ({"validation_data": hashes} if hashes else {})
    return client.post(f"{URL}/{one}/locations", json=body)


def patch(client: httpx.Client, one: str, **change: Any) -> httpx.Response:
    return client.patch(f"{URL}/{one}", content=json.dumps([change]), headers={"Content-Type": V21})


# --- The API of 2.17 --------------------------------------------------------------------------


def test_a_location_gives_a_queued_image_data_and_hashes(
    tested: TestedCloud, client: httpx.Client, web: str
) -> None:
    one = create(client)
    assert add(client, one, f"{web}/image").status_code == 202
    tested.settle()
    shown = show(client, one)
    assert (shown["status"], shown["size"], shown["stores"]) == ("active", len(DATA), "web")
    assert (shown["os_hash_algo"], shown["os_hash_value"]) == ("sha512", SHA)
    assert shown["checksum"] == hashlib.md5(DATA).hexdigest()
    [task] = client.get(f"{URL}/{one}/tasks").json()["tasks"]
    assert (task["type"], task["status"]) == ("location_import", "success")
    again = add(client, one, f"{web}/image")
    assert (again.status_code, "active" in again.json()["message"]) == (409, True)


def test_the_hash_that_is_given_must_be_true(
    tested: TestedCloud, client: httpx.Client, web: str
) -> None:
    one, two = create(client), create(client)
    good = hashlib.sha256(DATA).hexdigest()
    assert (
        add(
            client, one, f"{web}/image", os_hash_algo="sha256", os_hash_value=good.upper()
        ).status_code
        == 202
    )
    add(client, two, f"{web}/image", os_hash_algo="sha512", os_hash_value="beefdead" * 16)
    tested.settle()
    shown = show(client, one)
    assert (shown["status"], shown["os_hash_algo"], shown["os_hash_value"]) == (
        "active",
        "sha256",
        good,
    )
    wrong = show(client, two)
    assert wrong["status"] == "queued"
    assert wrong["os_hash_algo"] is wrong["os_hash_value"] is wrong["checksum"] is None
    [task] = client.get(f"{URL}/{two}/tasks").json()["tasks"]
    assert (task["status"], SHA in task["message"]) == ("failure", True)
    # The image is as good as new.
    octets = {"Content-Type": "application/octet-stream"}
    assert client.put(f"{URL}/{two}/file", content=b"own", headers=octets).status_code == 204
    assert show(client, two)["stores"] == "file"


@pytest.mark.parametrize(
    "hashes",
    [
        {"os_hash_algo": "sha512", "os_hash_value": "dbc9e0f80d131e64"},
        {"os_hash_value": SHA},
        {"os_hash_algo": "sha512"},
        {"os_hash_algo": "sha123", "os_hash_value": SHA},
        {"os_hash_algo": "sha256", "os_hash_value": SHA},
        {"os_hash_algo": "sha512", "os_hash_value": "x" * 128},
        {"other": "x"},
    ],
)
def test_hashes_that_no_data_has_are_refused(
    client: httpx.Client, web: str, hashes: dict[str, str]
) -> None:
    one = create(client)
    assert add(client, one, f"{web}/image", **hashes).status_code == 400
    assert show(client, one)["status"] == "queued"


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1/x", "http://169.254.169.254/x", "gopher://x/y", "file:///etc/passwd", "x"],
)
def test_locations_that_lead_inside_are_refused(client: httpx.Client, url: str) -> None:
    one = create(client)
    assert add(client, one, url).status_code == 400
    assert patch(client, one, op="add", path="/locations/-", value=place(url)).status_code == 400
    assert show(client, one)["status"] == "queued"


def test_data_of_the_cloud_itself_is_nobodys_location(
    tested: TestedCloud, client: httpx.Client
) -> None:
    """OSSN-0065 and OSSN-0090: a location could be another project's image."""
    secret = create(client)
    octets = {"Content-Type": "application/octet-stream"}
    client.put(f"{URL}/{secret}/file", content=b"secret", headers=octets)
    url = show(client, secret)["direct_url"]
    assert url.startswith("file://")
    for name in ("stranger", "admin"):
        thief = tested.client(name)
        one = create(thief)
        assert add(thief, one, url).status_code == 400
        assert patch(thief, one, op="add", path="/locations/-", value=place(url)).status_code == 400


def test_a_location_that_does_not_answer_fails_its_task(
    tested: TestedCloud, client: httpx.Client, web: str
) -> None:
    one = create(client)
    assert add(client, one, f"{web}/missing").status_code == 202
    tested.settle()
    [task] = client.get(f"{URL}/{one}/tasks").json()["tasks"]
    assert (task["status"], "404" in task["message"]) == ("failure", True)
    assert show(client, one)["status"] == "queued"


def test_who_may_see_and_add_locations(tested: TestedCloud, client: httpx.Client, web: str) -> None:
    one = create(client)
    assert add(tested.client("reader"), one, f"{web}/image").status_code == 403
    assert add(tested.client("stranger"), one, f"{web}/image").status_code == 404
    assert add(tested.client("service"), one, f"{web}/image").status_code == 202
    tested.settle()
    path = f"{URL}/{one}/locations"
    persons = (("member", 403), ("stranger", 404), ("service", 200), ("system_reader", 403))
    for name, status in persons:
        assert tested.client(name).get(path).status_code == status, name


def test_hashes_need_not_be_computed(tmp_path: Path, web: str) -> None:
    tested = cloud(tmp_path, **{"image.hash_locations": False})
    try:
        client = tested.client("member")
        one, two = create(client), create(client)
        add(client, one, f"{web}/image")
        add(client, two, f"{web}/image", os_hash_algo="sha512", os_hash_value="beefdead" * 16)
        tested.settle()
        shown = show(client, one)
        assert (shown["status"], shown["size"]) == ("active", len(DATA))
        assert shown["os_hash_value"] is shown["checksum"] is None
        assert show(client, two)["os_hash_value"] == "beefdead" * 16
        assert not shown.keys() & {"locations", "direct_url"}
        refused = patch(client, one, op="add", path="/locations/-", value=place(f"{web}/same"))
        assert (refused.status_code, "invisible" in refused.json()["message"]) == (403, True)
    finally:
        tested.close()


# --- By PATCH ---------------------------------------------------------------------------------


def place(url: str, hashes: dict[str, str] | None = None, **metadata: str) -> dict[str, Any]:
    return {"url": url, "metadata": metadata} | ({"validation_data": hashes} if hashes else {})


def located(client: httpx.Client, web: str, *names: str) -> str:
    one = create(client)
    for name in names:
        value = place(f"{web}/{name}", foo=name)
        answer = patch(client, one, op="add", path="/locations/-", value=value)
        assert answer.status_code == 200, answer.text
    return one


def test_locations_are_added_and_removed(
    tested: TestedCloud, client: httpx.Client, web: str
) -> None:
    assert show(client, create(client))["locations"] == []
    one = located(client, web, "image")
    shown = show(client, one)
    assert (shown["status"], shown["size"]) == ("active", len(DATA))
    assert shown["os_hash_value"] is None
    assert shown["locations"] == [
        {"url": f"{web}/image", "metadata": {"foo": "image", "store": "web"}}
    ]
    assert shown["direct_url"] == f"{web}/image"
    first = place(f"{web}/same", speed="88mph")
    assert patch(client, one, op="add", path="/locations/0", value=first).status_code == 200
    shown = show(client, one)
    assert [each["url"] for each in shown["locations"]] == [f"{web}/same", f"{web}/image"]
    assert shown["direct_url"] == f"{web}/same"
    other = patch(client, one, op="add", path="/locations/0", value=place(f"{web}/other"))
    assert (other.status_code, str(len(DATA)) in other.json()["message"]) == (400, True)
    double = patch(client, one, op="add", path="/locations/-", value=first)
    assert (double.status_code, "exists" in double.json()["message"]) == (400, True)
    assert patch(client, one, op="remove", path="/locations/0").status_code == 403
    admin = tested.client("admin")
    assert patch(admin, one, op="remove", path="/locations/2").status_code == 400
    assert patch(admin, one, op="remove", path="/locations/0").status_code == 200
    assert show(client, one)["direct_url"] == f"{web}/image"
    last = patch(admin, one, op="remove", path="/locations/0")
    assert (last.status_code, "last location" in last.json()["message"]) == (403, True)


def test_replacing_changes_only_what_is_said_of_locations(client: httpx.Client, web: str) -> None:
    one = located(client, web, "image", "same")
    known = show(client, one)["locations"]
    known[0]["metadata"]["date"] = "2015-10-15"
    assert patch(client, one, op="replace", path="/locations", value=known).status_code == 200
    assert show(client, one)["locations"] == known
    for value in (known[:1], [known[0], place(f"{web}/image#new")], []):
        answer = patch(client, one, op="replace", path="/locations", value=value)
        assert answer.status_code == (403 if value == [] else 400)
    assert show(client, one)["locations"] == known
    new = create(client)
    value = [place(f"{web}/image"), place(f"{web}/same")]
    assert patch(client, new, op="replace", path="/locations", value=value).status_code == 200
    assert show(client, new)["status"] == "active"


def test_hashes_come_with_the_first_location_and_are_kept(client: httpx.Client, web: str) -> None:
    one = create(client)
    hashes = {"checksum": "1" * 32, "os_hash_algo": "sha512", "os_hash_value": "deadbeef" * 16}
    value = place(f"{web}/image", hashes)
    assert patch(client, one, op="add", path="/locations/-", value=value).status_code == 200
    shown = show(client, one)
    assert {name: shown[name] for name in hashes} == hashes
    assert "validation_data" not in shown["locations"][0]
    others = {"checksum": "2" * 32, "os_hash_value": "beefdead" * 16}
    for name, other in others.items():
        value = place(f"{web}/same", hashes | {name: other})
        answer = patch(client, one, op="add", path="/locations/-", value=value)
        assert (answer.status_code, name in answer.json()["message"]) == (409, True)
    value = place(f"{web}/same", hashes)
    assert patch(client, one, op="add", path="/locations/-", value=value).status_code == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"op": "add", "path": "/locations", "value": []}, 400),
        ({"op": "replace", "path": "/locations/0", "value": {}}, 400),
        ({"op": "remove", "path": "/locations"}, 400),
        ({"op": "add", "path": "/locations/-/x", "value": {}}, 400),
        ({"op": "add", "path": "/locations/-", "value": {"url": "http://x/"}}, 400),
        ({"op": "add", "path": "/locations/-", "value": "http://x/"}, 400),
        ({"op": "add", "path": "/locations/x", "value": {"url": "u", "metadata": {}}}, 400),
        ({"op": "replace", "path": "/locations", "value": "x"}, 400),
        ({"op": "replace", "path": "/locations", "value": None}, 400),
        ({"op": "add", "path": "/direct_url", "value": "x"}, 403),
    ],
)
def test_malformed_changes(client: httpx.Client, change: dict[str, Any], status: int) -> None:
    one = create(client)
    answer = patch(client, one, **change)
    assert answer.status_code == status, answer.text
    assert show(client, one)["status"] == "queued"
