"""The pages of the tour are true: the package on the third is built from its text, and used."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.functional.command import CommandCloud

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]
PAGE = Path(__file__).parents[2] / "docs/tour/03-twenty-lines-more.md"
V3 = "/identity/v3"


def build(folder: Path) -> Path:
    """What `pip install` makes of the package: its modules, and its entry points."""
    for name, text in re.findall(r"```\w+ file=(\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "nubelet_hello/__init__.py").write_text("")
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / "nubelet_hello-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
            for group, points in project["entry-points"].items()
        )
    )
    return folder


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Iterator[CommandCloud]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{package}:{os.environ.get('PYTHONPATH', '')}")
        made = CommandCloud(tmp_path_factory.mktemp("tour"), "--fake")
        made.up()
        made.login()
        yield made
        made.purge()


def log_in(
    cloud: CommandCloud, method: str, proof: dict[str, Any], scope: Any = None
) -> httpx.Response:
    auth: dict[str, Any] = {"identity": {"methods": [method], method: proof}}
    if scope:
        auth["scope"] = scope
    return httpx.post(f"{cloud.url}{V3}/auth/tokens", json={"auth": auth}, timeout=60)


def test_each_part_is_twenty_lines_or_so() -> None:
    for text in re.findall(r"```python file=\S+\n(.*?)```", PAGE.read_text(), re.DOTALL):
        assert len([line for line in text.splitlines() if line.strip()]) <= 24


def test_the_service_answers_and_is_in_the_catalog(cloud: CommandCloud) -> None:
    with cloud.client() as client:
        answer = client.get("/hello/v3/greeting")
        assert answer.json()["hello"] == "admin"
        catalog = client.get(f"{V3}/auth/catalog").json()["catalog"]
    [mine] = [each for each in catalog if each["type"] == "greeting"]
    assert mine["endpoints"][0]["url"] == f"{cloud.url}/hello/v3"
    assert httpx.get(f"{cloud.url}/hello/v3/greeting", timeout=60).status_code == 401
    cloud.assert_whole()


def test_its_users_log_in_and_hold_roles(cloud: CommandCloud) -> None:
    with cloud.client() as client:
        domain = client.post(f"{V3}/domains", json={"domain": {"name": "staff"}}).json()["domain"]
        config = {"identity": {"driver": "staff"}, "staff": {"people": ["ann:secret"]}}
        shown = client.put(f"{V3}/domains/{domain['id']}/config", json={"config": config})
        assert shown.json() == {"config": {"identity": {"driver": "staff"}}}, "people are secret"
        [ann] = client.get(f"{V3}/users?domain_id={domain['id']}").json()["users"]
        project = client.get(f"{V3}/projects?name=admin").json()["projects"][0]["id"]
        role = client.get(f"{V3}/roles?name=member").json()["roles"][0]["id"]
        client.put(f"{V3}/projects/{project}/users/{ann['id']}/roles/{role}").raise_for_status()
    user = {"name": "ann", "domain": {"id": domain["id"]}, "password": "secret"}
    answer = log_in(cloud, "password", {"user": user}, {"project": {"id": project}})
    assert answer.status_code == 201
    greeted = httpx.get(
        f"{cloud.url}/hello/v3/greeting",
        headers={"X-Auth-Token": answer.headers["x-subject-token"]},
    )
    assert greeted.json() == {"hello": "ann", "project": project}
    wrong = {"user": {**user, "password": "wrong"}}
    assert log_in(cloud, "password", wrong).status_code == 401


def test_its_way_to_log_in_is_one(cloud: CommandCloud) -> None:
    with cloud.client() as client:
        user_id = client.get(f"{V3}/users?name=admin").json()["users"][0]["id"]
    number = hashlib.sha256(user_id.encode()).hexdigest()[:8]
    answer = log_in(cloud, "badge", {"user_id": user_id, "number": number})
    assert answer.status_code == 201
    assert answer.json()["token"]["methods"] == ["badge"]
    assert log_in(cloud, "badge", {"user_id": user_id, "number": "x"}).status_code == 401
    named = log_in(cloud, "badge", {"user_id": user_id})
    assert named.status_code == 400
    assert "number" in named.json()["error"]["message"]


def test_a_service_of_a_name_that_is_taken_is_refused(package: Path, tmp_path: Path) -> None:
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[nubelet.services]\nother = nubelet_hello.service:SERVICE\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", "from nubelet import wiring; wiring.make_services()"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{package}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "there is one already" in done.stderr
