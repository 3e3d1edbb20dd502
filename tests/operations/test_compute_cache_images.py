"""Fetching images for a host's cache, with every fault: when it succeeded they are there, and when
it failed nothing but an image in the cache is left, which does no harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from nubelet.compute.operations import CACHE_IMAGES
from nubelet.kernel.operations import journal
from tests.cloud import make_cloud
from tests.compute_calls import Caller, Project
from tests.operations import harness
from tests.operations.harness import Scenario


class World:
    """A host in an aggregate, and two images that it does not have yet."""

    def __init__(self, folder: Path) -> None:
        self.tested = make_cloud(
            folder,
            run_operations=False,
            hosts=("host1",),
            services=("image", "placement", "network", "compute"),
        )
        self.cloud = self.tested.cloud
        self.project = Project(self.tested)
        self.admin = Caller(self.tested, who="admin")
        made = self.admin.post("/os-aggregates", {"aggregate": {"name": "cached"}}, 200)
        self.path = f"/os-aggregates/{made['aggregate']['id']}"
        self.admin.post(f"{self.path}/action", {"add_host": {"host": "host1"}}, 200)
        self.image_ids: list[str] = []

    def begin(self) -> str:
        self.image_ids = [self.project.new_image(name) for name in ("one", "two")]
        self.admin.post(
            f"{self.path}/images", {"cache": [{"id": each} for each in self.image_ids]}, 202
        )
        with self.cloud.database.read() as tx:
            return journal.find(tx, kind=CACHE_IMAGES.kind, states=journal.OPEN)[-1].id

    def nothing_left(self) -> list[str]:
        with self.cloud.database.read() as tx:
            return [
                f"operation {each.id} is {each.state}"
                for each in journal.find(tx, kind=CACHE_IMAGES.kind, states=journal.OPEN)
            ]

    def all_there(self) -> list[str]:
        present = self.tested.agents["host1"].disks.observe().images
        return [
            f"image {each} is not in the cache" for each in self.image_ids if each not in present
        ]

    def close(self) -> None:
        self.tested.close()


SCENARIOS = [Scenario("cache_images", CACHE_IMAGES, World, shared=True)]


@pytest.mark.parametrize("case", harness.cases(*SCENARIOS), ids=str)
def test_crash(case: harness.Case, tmp_path: Path) -> None:
    case.run(tmp_path)
