"""Imports by every method into stores of other machines, with every fault at every step.

Every store is the real thing (tests/image_stores.py), one for all cases. What comes before a store
is written to (a task's image, plugins) is the same for all: `test_image_operations.py` has it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from nubelet.image import Stores, web_download
from nubelet.image.operations import DELETE_IMAGE_DATA, IMPORT_IMAGE, acquiring
from nubelet.image.reconcilers import clean_up_uploads
from nubelet.image.stores import pieces
from nubelet.kernel.operations import journal
from tests.cloud import make_cloud
from tests.image_stores import BACKENDS, Options
from tests.operations import harness
from tests.operations.harness import Scenario

pytestmark = pytest.mark.timeout(600)
URL = "/image/v2/images"
OCTETS = {"Content-Type": "application/octet-stream"}
_options: dict[str, Any] = {}


@pytest.fixture(scope="module", params=[name for name in BACKENDS if name != "file"])
def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Options]:
    with BACKENDS[request.param](tmp_path_factory.mktemp(request.param)) as found:
        _options.update(found)
        yield found
        harness.close_worlds()
    _options.clear()


class Imported:
    """An image that is staged, and imported into the store."""

    method: ClassVar[dict[str, Any]] = {"name": "glance-direct"}
    person, first, second = "member", "tested", "tested"  # the stores at first, and of the import
    data: ClassVar[bytes] = b"data"

    def __init__(self, folder: Path) -> None:
        self.tested = make_cloud(
            folder,
            run_operations=False,
            services=("image",),
            options={"image.stores": {"tested": dict(_options)}, "image.default_store": self.first},
        )
        self.cloud = self.tested.cloud
        self.client = self.tested.client(self.person)
        self.image_id = ""

    @classmethod
    def inputs(cls) -> dict[str, Any]:
        return {"import_req": {"method": cls.method}, "backend": [cls.second]}

    def create(self) -> None:
        body = {"disk_format": "raw", "container_format": "bare"}
        self.image_id = self.client.post(URL, json=body).json()["id"]

    def prepare(self) -> None:
        self.put("stage")

    def put(self, where: str) -> None:
        answer = self.client.put(
            f"{URL}/{self.image_id}/{where}", content=self.data, headers=OCTETS
        )
        assert answer.status_code == 204, answer.text

    def begin(self) -> str:
        self.create()
        self.prepare()
        asked = {"method": self.method, "stores": [self.second]}
        answer = self.client.post(f"{URL}/{self.image_id}/import", json=asked)
        assert answer.status_code == 202, answer.text
        return self.started()

    def started(self) -> str:
        with self.cloud.database.read() as tx:
            return journal.find(tx, subject_id=self.image_id, newest_first=True)[0].id

    def stored(self, name: str = "tested") -> list[str]:
        store = self.cloud.get(Stores).get(name)
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


class Downloaded(Imported):
    """An image that comes from the web into the store."""

    method: ClassVar[dict[str, Any]] = {
        "name": "web-download",
        "uri": "http://93.184.216.34/image",
    }

    def prepare(self) -> None:
        web_download.fetch = lambda url, allowed, **part: iter([b"da", b"ta"])

    def close(self) -> None:
        web_download.fetch = _fetch
        super().close()


class Fetched(Imported):
    """An image that comes from another region into the store."""

    method: ClassVar[dict[str, Any]] = {
        "name": "glance-download",
        "glance_image_id": "1c9f0ab6-8f0e-4b6c-9d45-77a0a5d5f6a1",
        "glance_region": "RegionTwo",
        "glance_service_interface": "public",
    }

    def prepare(self) -> None:
        remote = {"id": "x", "status": "active", "size": 4}
        remote |= {"disk_format": "raw", "container_format": "bare"}

        def ask(url: str, token: str) -> Any:
            return io.BytesIO(self.data if url.endswith("/file") else json.dumps(remote).encode())

        acquiring._endpoint = lambda *args: "http://two.example"
        acquiring._token = lambda run: "a-token"
        acquiring._ask = ask

    def close(self) -> None:
        acquiring._endpoint, acquiring._token, acquiring._ask = _remote
        super().close()


_fetch, _remote = web_download.fetch, (acquiring._endpoint, acquiring._token, acquiring._ask)


class CopiedTo(Imported):
    """An image in files that is copied to the store."""

    method: ClassVar[dict[str, Any]] = {"name": "copy-image"}
    person, first, second = "admin", "file", "tested"

    def prepare(self) -> None:
        self.put("file")

    def nothing_left(self) -> list[str]:
        """The image is what it was, where it was."""
        clean_up_uploads(self.cloud)
        found = [f"the data {key}" for key in self.stored(self.second)]
        shown = self.client.get(f"{URL}/{self.image_id}").json()
        if (shown["status"], shown["stores"]) != ("active", self.first):
            found.append(f"the image is {shown['status']} in {shown['stores']}")
        if shown["os_glance_importing_to_stores"]:
            found.append("the image says that it is importing")
        return found + self._where_it_was()

    def all_there(self) -> list[str]:
        clean_up_uploads(self.cloud)
        found = self._where_it_was()
        if len(self.stored(self.second)) != 1:
            found.append(f"there is {self.stored(self.second)}")
        shown = self.client.get(f"{URL}/{self.image_id}").json()
        if set(shown["stores"].split(",")) != {"file", "tested"}:
            found.append(f"the image is in {shown['stores']}")
        store = self.cloud.get(Stores).get(self.second)
        for key in self.stored(self.second):
            if b"".join(pieces(store.read(key, 0, len(self.data)))) != self.data:
                found.append("the copy is another")
        return found

    def _where_it_was(self) -> list[str]:
        found = self.stored(self.first)
        return [] if len(found) == 1 else [f"in {self.first} there is {found}"]


class CopiedFrom(CopiedTo):
    """An image in the store that is copied to files."""

    first, second = "tested", "file"


class Deleted(Imported):
    """An image in the store that is deleted."""

    def begin(self) -> str:
        self.create()
        self.put("file")
        assert self.client.delete(f"{URL}/{self.image_id}").status_code == 204
        return self.started()

    def nothing_left(self) -> list[str]:
        clean_up_uploads(self.cloud)
        return self.all_there()

    def all_there(self) -> list[str]:
        return [f"the data {key}" for key in self.stored()]


IMPORTS = {
    "staged": Imported,
    "web": Downloaded,
    "fetched": Fetched,
    "copy_to": CopiedTo,
    "copy_from": CopiedFrom,
}
SCENARIOS = [
    *(
        Scenario(f"import_image-{name}", IMPORT_IMAGE, world, inputs=world.inputs(), shared=True)
        for name, world in IMPORTS.items()
    ),
    Scenario("delete_image_data", DELETE_IMAGE_DATA, Deleted, shared=True),
]


# Faults before anything is in the store are those of files: `test_image_operations.py` has them.
CASES = [
    case for case in harness.cases(*SCENARIOS) if case.step not in ("download", "fetch_remote")
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_crash(case: harness.Case, tmp_path: Path, backend: Options) -> None:
    case.run(tmp_path)
