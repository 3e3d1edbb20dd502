"""Limits of images: registered in identity, counted from rows, refused with 413."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cloud import REGION, TestedCloud, make_cloud

IMAGES = "/image/v2/images"
DATA = {"Content-Type": "application/octet-stream"}
MIB = bytes(1 << 20)


class Limits:
    """Registers and changes the limits of one project."""

    def __init__(self, tested: TestedCloud) -> None:
        self._client = tested.client("system_admin")
        self._project = tested.user("member").project_id
        services = self._client.get("/identity/v3/services?type=image").json()["services"]
        self._service = services[0]["id"]
        self._ids: dict[str, str] = {}

    def register(self, **defaults: int) -> None:
        body = [
            {
                "service_id": self._service,
                "resource_name": name,
                "default_limit": value,
                "region_id": REGION,
            }
            for name, value in defaults.items()
        ]
        answer = self._client.post(
            "/identity/v3/registered_limits", json={"registered_limits": body}
        )
        assert answer.status_code == 201, answer.text

    def set(self, **limits: int) -> None:
        for name, value in limits.items():
            if name in self._ids:
                answer = self._client.patch(
                    f"/identity/v3/limits/{self._ids[name]}",
                    json={"limit": {"resource_limit": value}},
                )
                assert answer.status_code == 200, answer.text
                continue
            limit = {
                "service_id": self._service,
                "project_id": self._project,
                "region_id": REGION,
                "resource_name": name,
                "resource_limit": value,
            }
            answer = self._client.post("/identity/v3/limits", json={"limits": [limit]})
            assert answer.status_code == 201, answer.text
            self._ids[name] = answer.json()["limits"][0]["id"]


@pytest.fixture
def tested(tmp_path: Path) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path, services=("identity", "image"), hosts=())
    yield made
    made.close()


@pytest.fixture
def limits(tested: TestedCloud) -> Limits:
    made = Limits(tested)
    made.register(
        image_size_total=10, image_stage_total=10, image_count_total=10, image_count_uploading=10
    )
    return made


@pytest.fixture
def member(tested: TestedCloud) -> httpx.Client:
    return tested.client("member")


def create(client: httpx.Client, status: int = 201) -> str:
    answer = client.post(IMAGES, json={"disk_format": "raw", "container_format": "bare"})
    assert answer.status_code == status, answer.text
    return str(answer.json().get("id"))


def put(client: httpx.Client, one: str, target: str, data: bytes = MIB) -> int:
    answer = client.put(f"{IMAGES}/{one}/{target}", content=data, headers=DATA)
    if answer.status_code == 413:
        assert "is over limit of" in answer.json()["message"]
        assert client.get(f"{IMAGES}/{one}").json()["status"] == "queued"
    return answer.status_code


def start(client: httpx.Client, one: str, **method: Any) -> int:
    body = {"method": method or {"name": "glance-direct"}}
    return client.post(f"{IMAGES}/{one}/import", json=body).status_code


def usage(client: httpx.Client) -> dict[str, Any]:
    return dict(client.get("/image/v2/info/usage").json()["usage"])


def test_without_limits_nothing_is_refused(member: httpx.Client) -> None:
    assert usage(member)["image_count_total"] == {"limit": -1, "usage": 0}
    for _ in range(3):
        create(member)
    assert usage(member)["image_count_total"] == {"limit": -1, "usage": 3}


def test_the_number_of_images(tested: TestedCloud, member: httpx.Client, limits: Limits) -> None:
    """CVE-2016-8611: images without number."""
    limits.set(image_count_total=1)
    one = create(member)
    create(member, 413)
    create(tested.client("stranger"))  # each project has its own
    limits.set(image_count_total=2)
    create(member)
    create(member, 413)
    assert member.delete(f"{IMAGES}/{one}").status_code == 204
    create(member)
    limits.set(image_count_total=-1)
    create(member)


def test_the_number_of_images_whose_data_is_coming(
    tested: TestedCloud, member: httpx.Client, limits: Limits
) -> None:
    limits.set(image_count_uploading=1)
    first, second, third = (create(member) for _ in range(3))
    assert put(member, first, "stage") == 204
    assert put(member, second, "stage") == 413
    assert put(member, second, "file") == 413
    download = {"name": "web-download", "uri": "http://93.184.216.34/x"}
    assert start(member, second, **download) == 413
    assert member.get(f"{IMAGES}/{second}").json()["status"] == "queued"
    limits.set(image_count_uploading=2)
    assert put(member, third, "file") == 204
    assert put(member, second, "stage") == 204
    assert start(member, first) == 202
    tested.settle()
    limits.set(image_count_uploading=1)
    assert put(member, create(member), "file") == 413
    assert start(member, second) == 202
    tested.settle()
    assert put(member, create(member), "file") == 204


def test_the_size_of_stored_data(tested: TestedCloud, member: httpx.Client, limits: Limits) -> None:
    limits.set(image_size_total=1)
    first = create(member)
    assert put(member, first, "file") == 204
    assert put(member, create(member), "file") == 204  # nobody knew how large it would be
    assert put(member, create(member), "file") == 413
    assert usage(member)["image_size_total"] == {"limit": 1, "usage": 2}
    limits.set(image_size_total=2)
    staged = create(member)
    assert put(member, staged, "stage") == 204
    assert start(member, staged) == 413  # what was staged is known
    assert member.get(f"{IMAGES}/{staged}").json()["status"] == "uploading"
    assert member.delete(f"{IMAGES}/{first}").status_code == 204
    assert start(member, staged) == 202
    tested.settle()
    assert member.get(f"{IMAGES}/{staged}").json()["status"] == "active"
    assert usage(member)["image_size_total"]["usage"] == 2


def test_the_size_of_staged_data(tested: TestedCloud, member: httpx.Client, limits: Limits) -> None:
    limits.set(image_stage_total=1)
    first, second, third = (create(member) for _ in range(3))
    assert put(member, first, "stage") == 204
    assert put(member, second, "stage") == 204
    assert usage(member)["image_stage_total"] == {"limit": 1, "usage": 2}
    assert put(member, third, "stage") == 413
    download = {"name": "web-download", "uri": "http://93.184.216.34/x"}
    assert start(member, third, **download) == 413
    assert put(member, third, "file") == 204  # does not pass through the staging area
    assert start(member, first) == 202
    tested.settle()
    assert put(member, create(member), "stage") == 204


def test_images_made_at_once_count_each_other(
    tested: TestedCloud, member: httpx.Client, limits: Limits
) -> None:
    limits.set(image_count_total=3)
    statuses: list[int] = []

    def make() -> None:
        body = {"disk_format": "raw", "container_format": "bare"}
        statuses.append(tested.client("member").post(IMAGES, json=body).status_code)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201] * 3 + [413] * 5


def test_usage_is_shown_as_published(member: httpx.Client, published: Path) -> None:
    sample = json.loads((published / "samples/glance/v2/samples/usage-response.json").read_text())
    shown = member.get("/image/v2/info/usage").json()
    assert shown["usage"].keys() == sample["usage"].keys()
    assert {frozenset(each) for each in shown["usage"].values()} == {frozenset(("limit", "usage"))}
