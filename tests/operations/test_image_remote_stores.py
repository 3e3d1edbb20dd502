"""Imports into stores of other machines, with every fault at every step.

Every store is the real thing (tests/image_stores.py), one for all cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from nubelet.image import Stores
from nubelet.image.operations import DELETE_IMAGE_DATA, IMPORT_IMAGE
from nubelet.image.reconcilers import clean_up_uploads
from nubelet.kernel.operations import journal
from tests.cloud import make_cloud
from tests.image_stores import BACKENDS, Options
from tests.operations import harness
from tests.operations.harness import Scenario

pytestmark = pytest.mark.timeout(600)
URL = "/image/v2/images"
OCTETS = {"Content-Type": "application/octet-stream"}
INPUTS = {"import_req": {"method": {"name": "glance-direct"}}, "backend": ["tested"]}
_options: dict[str, Any] = {}


@pytest.fixture(scope="module", params=[name for name in BACKENDS if name != "file"])
def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Options]:
    with BACKENDS[request.param](tmp_path_factory.mktemp(request.param)) as found:
        _options.update(found)
        yield found
    _options.clear()


class Imported:
    """An image that is imported into the store."""

    data: ClassVar[bytes] = b"data"

    def __init__(self, folder: Path) -> None:
        self.tested = make_cloud(
            folder,
            run_operations=False,
            services=("image",),
            options={"image.stores": {"tested": dict(_options)}, "image.default_store": "tested"},
        )
        self.cloud = self.tested.cloud
        self.client = self.tested.client()
        self.image_id = ""

    def create(self) -> None:
        body = {"disk_format": "raw", "container_format": "bare"}
        self.image_id = self.client.post(URL, json=body).json()["id"]

    def begin(self) -> str:
        self.create()
        one = f"{URL}/{self.image_id}"
        assert self.client.put(f"{one}/stage", content=self.data, headers=OCTETS).status_code == 204
        answer = self.client.post(f"{one}/import", json=INPUTS["import_req"])
        assert answer.status_code == 202, answer.text
        return self.started()

    def started(self) -> str:
        with self.cloud.database.read() as tx:
            return journal.find(tx, subject_id=self.image_id, newest_first=True)[0].id

    def stored(self) -> list[str]:
        store = self.cloud.get(Stores).get("tested")
        return [key for key in store.list_ids() if key.startswith(self.image_id)]

    def nothing_left(self) -> list[str]:
        clean_up_uploads(self.cloud)
        found = [f"the data {key}" for key in self.stored()]
        shown = self.client.get(f"{URL}/{self.image_id}").json()
        if shown["status"] != "queued" or shown["size"]:
            found.append(f"the image is {shown['status']}")
        return found

    def all_there(self) -> list[str]:
        clean_up_uploads(self.cloud)
        found = [] if len(self.stored()) == 1 else [f"there is {self.stored()}"]
        if self.client.get(f"{URL}/{self.image_id}/file").content != self.data:
            found.append("the data is not what was staged")
        return found

    def close(self) -> None:
        self.tested.close()


class Deleted(Imported):
    """An image in the store that is deleted."""

    def begin(self) -> str:
        self.create()
        one = f"{URL}/{self.image_id}"
        assert self.client.put(f"{one}/file", content=self.data, headers=OCTETS).status_code == 204
        assert self.client.delete(one).status_code == 204
        return self.started()

    def nothing_left(self) -> list[str]:
        clean_up_uploads(self.cloud)
        return self.all_there()

    def all_there(self) -> list[str]:
        return [f"the data {key}" for key in self.stored()]


SCENARIOS = [
    Scenario("import_image", IMPORT_IMAGE, Imported, inputs=INPUTS),
    Scenario("delete_image_data", DELETE_IMAGE_DATA, Deleted),
]


@pytest.mark.parametrize("case", harness.cases(*SCENARIOS), ids=str)
def test_crash(case: harness.Case, tmp_path: Path, backend: Options) -> None:
    case.run(tmp_path)
