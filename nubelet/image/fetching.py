"""How a node comes to the data of an image: a file of this machine, or this service over HTTP.

A node has no token. What it gets is a URL that is good for one image and an hour, signed with a key
that the API processes share: a file in the state folder, as the keys of tokens are.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

import sqlalchemy as sa

from nubelet.image import locations
from nubelet.image.model import image
from nubelet.image.stores import Stores
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Conflict, NotFound
from nubelet.node.wire import ImageSpec

PATH = "/data/{image_id}"  # below the mount of the service, outside its versions
GOOD_SECONDS = 3600
_BY_ID = sa.select(image).where(image.c.id == sa.bindparam("id"))


def image_spec(cloud: Cloud, tx: Tx, image_id: str) -> ImageSpec:
    """What a node needs to fetch an image; raises NotFound, or Conflict when it has no data."""
    row = tx.first(_BY_ID, id=image_id)
    if row is None:
        raise NotFound("image", image_id)
    if row.status != "active":
        raise Conflict(f"Image {image_id} is {row.status}, not active.")
    stores = cloud.get(Stores)
    found = locations.by_weight(stores, locations.find_all(tx, image_id))
    here = next((each for each in found if _is_file(stores, each.store)), None)
    return ImageSpec(
        id=image_id,
        url=here.url(stores) if here else signed_url(cloud, image_id),
        disk_format=row.disk_format,
        size_bytes=row.size,
        hash_algorithm=row.os_hash_algo or "sha512",
        hash_value=row.os_hash_value or "",
    )


def _is_file(stores: Stores, name: str) -> bool:
    return name in stores and stores.get(name).type == "file"


def signed_url(cloud: Cloud, image_id: str) -> str:
    """Where the data of an image is for an hour, for whoever has this URL."""
    path = PATH.format(image_id=image_id)
    return f"{cloud.settings.http.url}/image{path}?{signature(cloud, image_id)}"


def signature(cloud: Cloud, subject: str) -> str:
    """The query of a URL that lets anybody who has it read something for an hour."""
    expires = str(clock.now() // 1_000_000 + GOOD_SECONDS)
    return f"expires={expires}&signature={_signature(cloud, subject, expires)}"


def is_signed(cloud: Cloud, subject: str, expires: str, signature: str) -> bool:
    """Is this signature ours, and its time not over?"""
    if not (expires.isdecimal() and len(expires) < 16 and signature.isascii()):
        return False
    right = _signature(cloud, subject, expires)
    return hmac.compare_digest(signature, right) and int(expires) * 1_000_000 > clock.now()


def _signature(cloud: Cloud, subject: str, expires: str) -> str:
    key = _key(cloud.settings.state_dir / "image-keys" / "download")
    return hmac.digest(key, f"{subject} {expires}".encode(), "sha256").hex()


def _key(path: Path) -> bytes:
    """The key in a file, made where there is none: the first process to link it wins."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        except FileExistsError:
            pass
        finally:
            beside.unlink()
    return path.read_bytes()
