"""Real services for stores of images: an S3 server, this project's object store, a Ceph cluster.

Each gives the options of a store that uses it (`image.stores` of the settings).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import ceph
from tests.cloud import ADMIN_PASSWORD, make_cloud
from tests.serving import free_port, listening

Options = Mapping[str, Any]
PART_BYTES = 5 << 20  # S3 takes no smaller parts
SEGMENT_BYTES = 1 << 20


@contextmanager
def s3(folder: Path) -> Iterator[Options]:
    """moto's S3 server with a bucket."""
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    secret = folder / "s3-secret"
    secret.write_text("a-secret\n")
    assert httpx.put(f"{endpoint}/images").status_code == 200
    try:
        yield {
            "type": "s3",
            "endpoint": endpoint,
            "bucket": "images",
            "access_key": "an-access-key",
            "secret_key_file": str(secret),
            "part_bytes": PART_BYTES,
        }
    finally:
        server.stop()


@contextmanager
def swift(folder: Path) -> Iterator[Options]:
    """The object store of another cloud of ours, over HTTP."""
    cloud = make_cloud(folder / "swift", services=("identity", "object_store"), hosts=())
    secret = folder / "swift-password"
    secret.write_text(ADMIN_PASSWORD)
    try:
        with listening(cloud.app) as url:
            _point_catalog(cloud.client("admin"), url)
            yield {
                "type": "swift",
                "auth_url": f"{url}/identity/v3",
                "username": "admin",
                "password_file": str(secret),
                "project_name": "admin",
                "segment_bytes": SEGMENT_BYTES,
            }
    finally:
        cloud.close()


def _point_catalog(admin: httpx.Client, url: str) -> None:
    """The endpoints of the object store lead to where it listens."""
    services = admin.get("/identity/v3/services?type=object-store").json()["services"]
    found = admin.get(f"/identity/v3/endpoints?service_id={services[0]['id']}").json()
    for endpoint in found["endpoints"]:
        path = "/" + endpoint["url"].split("/", 3)[3]
        answer = admin.patch(
            f"/identity/v3/endpoints/{endpoint['id']}", json={"endpoint": {"url": url + path}}
        )
        assert answer.status_code == 200, answer.text


@contextmanager
def rbd(folder: Path) -> Iterator[Options]:
    """A Ceph cluster; skips where there cannot be one."""
    if why := ceph.absent():
        pytest.skip(why)
    with ceph.running(folder) as config:
        yield {"type": "rbd", "pool": ceph.POOL, "config": str(config)}


@contextmanager
def file(folder: Path) -> Iterator[Options]:
    """A folder."""
    yield {"type": "file", "directory": str(folder / "files")}


BACKENDS = {"file": file, "s3": s3, "swift": swift, "rbd": rbd}
