"""The operations of the image service, with every fault at every step."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from nubelet.image import web_download
from nubelet.image.operations import (
    DELETE_COPY,
    DELETE_IMAGE_DATA,
    IMPORT_IMAGE,
    IMPORT_LOCATION,
    acquiring,
)
from nubelet.kernel.operations import journal
from tests.cloud import make_cloud
from tests.image_files import owners
from tests.operations import harness
from tests.operations.harness import Scenario

URL = "/image/v2/images"
OCTETS = {"Content-Type": "application/octet-stream"}


class DeletedImage:
    """An image with data, which is deleted."""

    def __init__(self, folder: Path) -> None:
        self.tested = make_cloud(folder, run_operations=False, services=("image",))
        self.cloud = self.tested.cloud
        self.image_id = ""

    def begin(self) -> str:
        client = self.tested.client()
        self.image_id = client.post(
            URL, json={"disk_format": "raw", "container_format": "bare"}
        ).json()["id"]
        answer = client.put(
            f"{URL}/{self.image_id}/file",
            content=b"data",
            headers=OCTETS,
        )
        assert answer.status_code == 204
        assert client.delete(f"{URL}/{self.image_id}").status_code == 204
        with self.cloud.database.read() as tx:
            return journal.find(tx, subject_id=self.image_id)[0].id

    def nothing_left(self) -> list[str]:
        """The row is gone; data that stayed behind has no owner, and the reconciler takes it."""
        from nubelet.image.reconcilers import clean_up_uploads

        clean_up_uploads(self.cloud)
        return self.all_there()

    def all_there(self) -> list[str]:
        folder = self.cloud.settings.image.directory
        found = [f"data {path.name}" for path in folder.rglob("*") if path.is_file()]
        if self.tested.client().get(f"{URL}/{self.image_id}").status_code != 404:
            found.append("the image")
        return found

    def close(self) -> None:
        self.tested.close()


class ImportedImage(DeletedImage):
    """An image that is imported from staged data."""

    inputs: ClassVar[dict[str, Any]] = {
        "import_req": {"method": {"name": "glance-direct"}},
        "backend": ["file"],
    }

    person = "member"
    data = b"data"

    def create(self) -> str:
        made = self.tested.client().post(
            URL, json={"disk_format": "raw", "container_format": "bare"}
        )
        return str(made.json()["id"])

    def begin(self) -> str:
        self.image_id = self.create()
        self.prepare()
        answer = self.tested.client(self.person).post(
            f"{URL}/{self.image_id}/import", json=self.inputs["import_req"]
        )
        assert answer.status_code == 202, answer.text
        with self.cloud.database.read() as tx:
            return journal.find(tx, subject_id=self.image_id)[0].id

    def prepare(self) -> None:
        answer = self.tested.client().put(
            f"{URL}/{self.image_id}/stage", content=self.data, headers=OCTETS
        )
        assert answer.status_code == 204

    def shown(self) -> Any:
        return self.tested.client(self.person).get(f"{URL}/{self.image_id}").json()

    def files(self) -> list[str]:
        folder = self.cloud.settings.image.directory
        return owners(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    def nothing_left(self) -> list[str]:
        found = [f"the file {name}" for name in self.files()]
        shown = self.shown()
        if shown["status"] != "queued" or shown["checksum"] or shown["size"]:
            found.append(f"the image is {shown['status']} and has {shown['size']} bytes")
        if shown["os_glance_importing_to_stores"]:
            found.append("the image says that it is importing")
        return found

    def all_there(self) -> list[str]:
        found = [] if self.files() == [self.image_id] else [f"there are {self.files()}"]
        if self.shown()["status"] != "active" or self.shown()["size"] != 4:
            found.append(f"the image is {self.shown()['status']}")
        return found


class DownloadedImage(ImportedImage):
    """An image that is imported from the web."""

    inputs: ClassVar[dict[str, Any]] = {
        "import_req": {"method": {"name": "web-download", "uri": "http://93.184.216.34/image"}},
        "backend": ["file"],
    }

    def prepare(self) -> None:
        web_download.fetch = lambda url, allowed, **part: iter([b"da", b"ta"])

    def close(self) -> None:
        web_download.fetch = _fetch
        super().close()


_fetch, _size = web_download.fetch, web_download.size


class ImageInTwoStores(ImportedImage):
    """An image that is imported into two stores; with `must_succeed` both or none."""

    inputs: ClassVar[dict[str, Any]] = {
        "import_req": {"method": {"name": "glance-direct"}, "all_stores": True},
        "backend": ["file", "archive"],
    }

    def __init__(self, folder: Path) -> None:
        self.archive = folder / "archive"
        self.tested = make_cloud(
            folder, run_operations=False, services=("image",), options=self.options(folder)
        )
        self.cloud = self.tested.cloud
        self.image_id = ""

    def options(self, folder: Path) -> dict[str, object]:
        return {"image.stores": {"archive": {"type": "file", "directory": str(folder / "archive")}}}

    def files(self) -> list[str]:
        found = [f"archive/{path.name}" for path in self.archive.iterdir() if path.is_file()]
        return super().files() + owners(found)

    def all_there(self) -> list[str]:
        wanted = [self.image_id, f"archive/{self.image_id}"]
        found = [] if self.files() == wanted else [f"there are {self.files()}"]
        shown = self.shown()
        if (shown["status"], shown["stores"]) != ("active", "file,archive"):
            found.append(f"the image is {shown['status']} in {shown['stores']}")
        return found


class ImageInAnyStore(ImageInTwoStores):
    """The same, but one store is enough."""

    inputs: ClassVar[dict[str, Any]] = {
        "import_req": {
            "method": {"name": "glance-direct"},
            "all_stores": True,
            "all_stores_must_succeed": False,
        },
        "backend": ["file", "archive"],
    }


class PreparedImage(ImageInTwoStores):
    """A compressed image that is unpacked and converted on its way."""

    inputs: ClassVar[dict[str, Any]] = {
        "import_req": {"method": {"name": "glance-direct"}},
        "backend": ["file"],
        "plugins": ["image_decompression", "image_conversion"],
        "conversion_format": "qcow2",
    }

    def options(self, folder: Path) -> dict[str, object]:
        return super().options(folder) | {
            "image.import_plugins": ("image_decompression", "image_conversion"),
            "image.conversion_format": "qcow2",
        }

    def create(self) -> str:
        made = self.tested.client().post(
            URL, json={"disk_format": "raw", "container_format": "compressed"}
        )
        return str(made.json()["id"])

    data = gzip.compress(b"data" * 4096)

    def all_there(self) -> list[str]:
        found = [] if self.files() == [self.image_id] else [f"there are {self.files()}"]
        shown = self.shown()
        seen = [shown[name] for name in ("status", "disk_format", "container_format")]
        if seen != ["active", "qcow2", "bare"] or shown["virtual_size"] != 16384:
            found.append(f"the image is {seen}")
        return found


class CopiedImage(ImageInTwoStores):
    """An active image that is copied to one more store."""

    inputs: ClassVar[dict[str, Any]] = {
        "import_req": {"method": {"name": "copy-image"}, "all_stores": True},
        "backend": ["archive"],
    }
    person = "admin"

    def prepare(self) -> None:
        answer = self.tested.client().put(
            f"{URL}/{self.image_id}/file", content=b"data", headers=OCTETS
        )
        assert answer.status_code == 204

    def nothing_left(self) -> list[str]:
        found = [] if self.files() == [self.image_id] else [f"there are {self.files()}"]
        shown = self.shown()
        if (shown["status"], shown["stores"]) != ("active", "file"):
            found.append(f"the image is {shown['status']} in {shown['stores']}")
        if shown["os_glance_importing_to_stores"]:
            found.append("the image says that it is importing")
        return found


class DeletedCopy(CopiedImage):
    """An image in two stores that is deleted from one."""

    def begin(self) -> str:
        super().begin()
        self.tested.settle()
        assert super().all_there() == []
        path = f"/image/v2/stores/archive/{self.image_id}"
        assert self.tested.client("admin").delete(path).status_code == 204
        with self.cloud.database.read() as tx:
            return journal.find(tx, subject_id=self.image_id, kind=DELETE_COPY.kind)[0].id

    def nothing_left(self) -> list[str]:
        from nubelet.image.reconcilers import clean_up_uploads

        clean_up_uploads(self.cloud)
        return super().nothing_left()

    def all_there(self) -> list[str]:
        return super().nothing_left()


class FetchedImage(ImageInTwoStores):
    """An image that comes from another region."""

    inputs: ClassVar[dict[str, Any]] = {
        "import_req": {
            "method": {
                "name": "glance-download",
                "glance_image_id": "1c9f0ab6-8f0e-4b6c-9d45-77a0a5d5f6a1",
                "glance_region": "RegionTwo",
                "glance_service_interface": "public",
            }
        },
        "backend": ["file"],
    }
    remote: ClassVar[dict[str, Any]] = {
        "id": "x",
        "status": "active",
        "size": 4,
        "disk_format": "raw",
        "container_format": "bare",
        "hw_x": "1",
    }

    def prepare(self) -> None:
        def ask(url: str, token: str) -> Any:
            return io.BytesIO(
                b"data" if url.endswith("/file") else json.dumps(self.remote).encode()
            )

        self.kept = acquiring._endpoint, acquiring._token, acquiring._ask
        acquiring._endpoint = lambda *args: "http://two.example"
        acquiring._token = lambda run: "a-token"
        acquiring._ask = ask

    def all_there(self) -> list[str]:
        found = [] if self.files() == [self.image_id] else [f"there are {self.files()}"]
        shown = self.shown()
        if (shown["status"], shown["size"], shown.get("hw_x")) != ("active", 4, "1"):
            found.append(f"the image is {shown['status']}")
        return found

    def close(self) -> None:
        acquiring._endpoint, acquiring._token, acquiring._ask = self.kept
        super().close()


class MadeByTask(DownloadedImage):
    """An image that a task makes of what lies at a URL."""

    inputs: ClassVar[dict[str, Any]] = {**DownloadedImage.inputs, "new_image": {}}
    person = "admin"

    def begin(self) -> str:
        self.prepare()
        asked = {
            "import_from": "http://93.184.216.34/image",
            "import_from_format": "raw",
            "image_properties": {"container_format": "bare", "disk_format": "raw", "tags": ["a"]},
        }
        made = self.tested.client("admin").post(
            "/image/v2/tasks", json={"type": "import", "input": asked}
        )
        assert made.status_code == 201, made.text
        self.image_id = made.json()["image_id"]
        return str(made.json()["id"])

    def nothing_left(self) -> list[str]:
        found = [f"the file {name}" for name in self.files()]
        if self.tested.client("admin").get(f"{URL}/{self.image_id}").status_code != 404:
            found.append("the image is there")
        return found


class Located(ImageInTwoStores):
    """A queued image that gets its data from the web, whose hash is known."""

    hashes: ClassVar[dict[str, str]] = {
        "os_hash_algo": "sha256",
        "os_hash_value": hashlib.sha256(b"data").hexdigest(),
    }

    def options(self, folder: Path) -> dict[str, object]:
        stores = super().options(folder)["image.stores"]
        assert isinstance(stores, dict)
        return {"image.stores": stores | {"web": {"type": "http"}}}

    def begin(self) -> str:
        web_download.fetch = lambda url, allowed, **part: iter([b"da", b"ta"])
        web_download.size = lambda url, allowed: 4
        self.image_id = self.create()
        answer = self.tested.client().post(
            f"{URL}/{self.image_id}/locations",
            json={"url": "http://93.184.216.34/image", "validation_data": self.hashes},
        )
        assert answer.status_code == 202, answer.text
        with self.cloud.database.read() as tx:
            return journal.find(tx, subject_id=self.image_id)[0].id

    def nothing_left(self) -> list[str]:
        shown = self.shown()
        seen = [shown[name] for name in ("status", "size", "os_hash_algo", "checksum")]
        return [] if seen == ["queued", None, None, None] else [f"the image is {seen}"]

    def all_there(self) -> list[str]:
        shown = self.shown()
        seen = [shown[name] for name in ("status", "size", "stores", "checksum")]
        wanted = ["active", 4, "web", hashlib.md5(b"data").hexdigest()]
        return [] if seen == wanted else [f"the image is {seen}"]

    def close(self) -> None:
        web_download.fetch, web_download.size = _fetch, _size
        super().close()


class LocatedUnhashed(Located):
    """The same, with nothing known of the data."""

    hashes: ClassVar[dict[str, str]] = {}


def _import(name: str, world: type[ImportedImage]) -> Scenario:
    return Scenario(f"import_image-{name}", IMPORT_IMAGE, world, inputs=world.inputs)


SCENARIOS = [
    Scenario("delete_image_data", DELETE_IMAGE_DATA, DeletedImage),
    Scenario("delete_image_copy", DELETE_COPY, DeletedCopy, others=(IMPORT_IMAGE,)),
    _import("staged", ImportedImage),
    _import("web", DownloadedImage),
    _import("two_stores", ImageInTwoStores),
    _import("any_store", ImageInAnyStore),
    _import("prepared", PreparedImage),
    _import("copy", CopiedImage),
    _import("fetched", FetchedImage),
    _import("task", MadeByTask),
    Scenario("import_location", IMPORT_LOCATION, Located),
    Scenario("import_location-unhashed", IMPORT_LOCATION, LocatedUnhashed),
]


@pytest.mark.parametrize("case", harness.cases(*SCENARIOS), ids=str)
def test_crash(case: harness.Case, tmp_path: Path) -> None:
    case.run(tmp_path)


def test_an_image_is_deleted_while_it_is_imported(tmp_path: Path) -> None:
    world = ImportedImage(tmp_path)
    try:
        world.begin()
        assert world.tested.client().delete(f"{URL}/{world.image_id}").status_code == 204
        world.tested.settle()
        assert world.files() == []
    finally:
        world.close()
