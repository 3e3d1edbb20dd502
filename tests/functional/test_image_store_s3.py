"""The S3 store of images on this project's own S3 API, which checks every signature."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nubelet.image import ImageStore, make_stores
from nubelet.image.stores import StoreUnreachable, pieces
from nubelet.kernel.ids import new_hex, new_uuid
from nubelet.settings import load
from tests.cloud import make_cloud
from tests.s3_calls import S3, clients, clouds

pytestmark = [pytest.mark.functional, pytest.mark.timeout(300)]

MIB = 1 << 20
PART_BYTES = 5 * MIB
URL = "/image/v2/images"
OCTETS = {"Content-Type": "application/octet-stream"}
s3 = clouds()
client = clients()


@pytest.fixture(scope="module")
def options(s3: S3, client: Any, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    secret = tmp_path_factory.mktemp("secret") / "secret"
    secret.write_text(s3.key["aws_secret_access_key"] + "\n")
    return {
        "type": "s3",
        "endpoint": f"{s3.cloud.url}/s3",
        "bucket": s3.bucket(client),
        "access_key": s3.key["aws_access_key_id"],
        "secret_key_file": str(secret),
        "part_bytes": PART_BYTES,
    }


def store_of(options: Mapping[str, Any], folder: Path) -> ImageStore:
    overrides = {"state_dir": folder, "image.stores": {"tested": dict(options)}}
    return make_stores(load(environ={}, overrides=overrides)).get("tested")


# Of one byte less than a part, of just a part, one more, and of parts and something.
SIZES = [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 2 * PART_BYTES + 12345]


@pytest.mark.parametrize("size", SIZES)
def test_data_of_every_size_comes_back(
    options: Mapping[str, Any], client: Any, tmp_path: Path, size: int
) -> None:
    store, data = store_of(options, tmp_path), os.urandom(size)
    key = store.new_key(new_uuid(), new_hex())
    upload = store.begin(key)
    for begin in range(0, size, MIB):
        upload.write(data[begin : begin + MIB])
    assert store.size(key) is None
    upload.commit()
    assert store.size(key) == size
    assert b"".join(pieces(store.read(key, 0, size))) == data
    if size > 7:
        assert b"".join(pieces(store.read(key, size - 7, 7))) == data[-7:]
    assert key in store.list_ids()
    tag = client.head_object(Bucket=options["bucket"], Key=key)["ETag"].strip('"')
    assert tag.partition("-")[2] == str(max(1, -(-size // PART_BYTES)))  # the number of its parts
    store.delete(key)
    assert store.size(key) is None


def test_what_a_dead_upload_left_is_removed(
    options: Mapping[str, Any], client: Any, tmp_path: Path
) -> None:
    store = store_of(options, tmp_path)
    key = store.new_key(new_uuid(), new_hex())
    store.begin(key).write(bytes(PART_BYTES))
    assert client.list_multipart_uploads(Bucket=options["bucket"]).get("Uploads")
    store.delete(key)
    assert not client.list_multipart_uploads(Bucket=options["bucket"]).get("Uploads")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"secret_key_file": "x" * 32}, "SignatureDoesNotMatch"),
        ({"access_key": "nobody"}, "InvalidAccessKeyId"),
        ({"bucket": "not-there"}, "NoSuchBucket"),
    ],
)
def test_what_is_wrong_is_named(
    options: Mapping[str, Any], tmp_path: Path, wrong: dict[str, str], said: str
) -> None:
    if "secret_key_file" in wrong:
        secret = tmp_path / "wrong"
        secret.write_text(wrong["secret_key_file"])
        wrong = {"secret_key_file": str(secret)}
    store = store_of({**options, **wrong}, tmp_path)
    for call in (store.list_ids, lambda: store.begin("x")):
        with pytest.raises(StoreUnreachable, match=said):
            call()


def test_an_upload_with_a_wrong_secret_is_refused_and_leaves_the_image_queued(
    options: Mapping[str, Any], tmp_path: Path
) -> None:
    secret = tmp_path / "wrong"
    secret.write_text("x" * 32)
    stores = {"tested": {**options, "secret_key_file": str(secret)}}
    tested = make_cloud(
        tmp_path / "cloud",
        services=("image",),
        options={"image.stores": stores, "image.default_store": "tested"},
    )
    try:
        member = tested.client("member")
        body = {"disk_format": "raw", "container_format": "bare"}
        one = f"{URL}/{member.post(URL, json=body).json()['id']}"
        answer = member.put(f"{one}/file", content=b"data", headers=OCTETS)
        assert answer.status_code == 503, answer.text
        assert "tested" in answer.text
        assert member.get(one).json()["status"] == "queued"
        secret.write_text(Path(options["secret_key_file"]).read_text())  # it is read each time
        assert member.put(f"{one}/file", content=b"data", headers=OCTETS).status_code == 204
        assert member.get(f"{one}/file").content == b"data"
    finally:
        tested.close()
