"""Tasks: administrators see every import, start one that makes its image, and page through them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.cloud import TestedCloud, make_cloud
from tests.web import served

URL, TASKS = "/image/v2/images", "/image/v2/tasks"


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = make_cloud(
        tmp_path_factory.mktemp("image"),
        services=("identity", "image"),
        options={"image.web_download_networks": ("127.0.0.1/32",)},
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("web"), {"image": b"from the web"}) as url:
        yield url


@pytest.fixture
def admin(tested: TestedCloud) -> httpx.Client:
    return tested.client("admin")


def asked(url: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "import",
        "input": {
            "import_from": url,
            "import_from_format": "raw",
            "image_properties": {"disk_format": "raw", "container_format": "bare", **properties},
        },
    }


def test_a_task_makes_its_image(tested: TestedCloud, admin: httpx.Client, web: str) -> None:
    wanted = asked(f"{web}/image", name="made", visibility="public", tags=["a"], os_distro="debian")
    created = admin.post(TASKS, json=wanted)
    assert created.status_code == 201, created.text
    task = created.json()
    assert created.headers["Location"].endswith(f"/v2/tasks/{task['id']}")
    assert (task["status"], task["input"], task["result"]) == ("pending", wanted["input"], None)
    tested.settle()
    done = admin.get(f"{TASKS}/{task['id']}").json()
    assert (done["status"], done["expires_at"] > done["created_at"]) == ("success", True)
    shown = admin.get(f"{URL}/{done['result']['image_id']}").json()
    assert {name: shown[name] for name in ("name", "visibility", "tags", "os_distro", "size")} == {
        "name": "made",
        "visibility": "public",
        "tags": ["a"],
        "os_distro": "debian",
        "size": 12,
    }
    [beside] = admin.get(f"{URL}/{shown['id']}/tasks").json()["tasks"]
    assert (beside["id"], beside["type"]) == (task["id"], "import")


def test_a_task_that_fails_leaves_no_image(
    tested: TestedCloud, admin: httpx.Client, web: str
) -> None:
    task = admin.post(TASKS, json=asked(f"{web}/missing", name="lost")).json()
    tested.settle()
    done = admin.get(f"{TASKS}/{task['id']}").json()
    assert (done["status"], done["result"], "404" in done["message"]) == ("failure", None, True)
    assert admin.get(URL, params={"name": "lost"}).json()["images"] == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"type": "export", "input": {}}, 400),
        ({"type": "api_image_import", "input": {}}, 400),
        ({"type": "import"}, 400),
        ({"type": "import", "input": {"import_from": "http://x.example/"}}, 400),
        (asked("file:///etc/passwd"), 400),
        (asked("http://10.0.0.1/image"), 400),
        (asked("http://x.example/", disk_format="wrong"), 400),
        (asked("http://x.example/", status="active"), 403),
        (asked("http://x.example/", os_glance_x="1"), 403),
    ],
)
def test_tasks_that_cannot_be(admin: httpx.Client, body: dict[str, Any], status: int) -> None:
    answer = admin.post(TASKS, json=body)
    assert answer.status_code == status, answer.text


def test_tasks_are_for_administrators(tested: TestedCloud, admin: httpx.Client, web: str) -> None:
    task = admin.post(TASKS, json=asked(f"{web}/image")).json()
    member = tested.client("member")
    for answer in (
        member.get(TASKS),
        member.get(f"{TASKS}/{task['id']}"),
        member.post(TASKS, json=asked(f"{web}/image")),
    ):
        assert answer.status_code == 403
    assert admin.get(f"{TASKS}/nothing").status_code == 404


def test_lists_are_filtered_sorted_and_paged(
    tested: TestedCloud, admin: httpx.Client, web: str
) -> None:
    for name in ("image", "missing", "image"):
        admin.post(TASKS, json=asked(f"{web}/{name}"))
    member = tested.client("member")
    one = member.post(URL, json={"disk_format": "raw", "container_format": "bare"}).json()["id"]
    method = {"name": "web-download", "uri": f"{web}/image"}
    member.post(f"{URL}/{one}/import", json={"method": method})
    tested.settle()

    def listed(**query: Any) -> list[dict[str, Any]]:
        answer = admin.get(TASKS, params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["tasks"])

    everything = listed()
    assert [each["created_at"] for each in everything] == sorted(
        (each["created_at"] for each in everything), reverse=True
    )
    assert {"input", "result", "message"}.isdisjoint(everything[0])
    assert {each["status"] for each in listed(status="failure")} == {"failure"}
    assert [each["type"] for each in listed(type="api_image_import")] == ["api_image_import"]
    upward = listed(sort_key="created_at", sort_dir="asc")
    assert [each["id"] for each in upward] == [each["id"] for each in reversed(everything)]
    first = admin.get(TASKS, params={"limit": 2}).json()
    second = admin.get("/image" + first["next"]).json()
    found = [each["id"] for each in (*first["tasks"], *second["tasks"])]
    assert found == [each["id"] for each in everything[:4]]
    for wrong in (
        {"status": "x"},
        {"type": "x"},
        {"limit": "x"},
        {"limit": -1},
        {"marker": "x"},
        {"sort_key": "x"},
        {"sort_dir": "x"},
    ):
        assert admin.get(TASKS, params=wrong).status_code == 400, wrong
