"""The image cache of a host: fetched once, used by many guests, dropped when nobody does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from nubelet.decoding import prepared
from nubelet.node.disks.file import fetching, inspection, qemu_img
from nubelet.node.disks.file.space import Space
from nubelet.node.errors import IMAGE_MISSING, HostError
from nubelet.node.files import PARTIAL, partial_path, safe_name, write_whole
from nubelet.node.wire import ImageSpec


class CachedImage(msgspec.Struct, frozen=True):
    """What lies in the cache for an image. `format` is that of the file here, `disk_format` the
    one the image was uploaded in.
    """

    id: str
    format: str
    disk_format: str
    virtual_size_bytes: int


class ImageCache:
    """The folder of cached images. `bases` names the images that guests' disks stand on."""

    def __init__(self, folder: Path, space: Space, bases: Callable[[], set[str]]) -> None:
        self._folder = folder
        self._space = space
        self._bases = bases
        # Between "no disk stands on it" and its removal no disk may be put on an image.
        self.guard = threading.Lock()

    def start(self) -> None:
        """Remove what an earlier process left half made."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.glob(f".*{PARTIAL}"):
            path.unlink(missing_ok=True)

    def ensure(self, spec: ImageSpec) -> None:
        """Fetch, verify, inspect and (for formats that guests do not run on) convert."""
        if self.find(spec.id) is not None:
            self.touch(spec.id)
            return
        kind = qemu_img.qemu_format(spec.disk_format)
        fetched = partial_path(self._folder / safe_name(spec.id))
        converted = partial_path(self._folder / spec.id)
        try:
            fetching.fetch(spec, fetched, self._space)
            # Of a raw one the head tells whether it is another format.
            inspection.require_safe(
                fetched, spec.disk_format, f"Image {spec.id}", only_head=kind == "raw"
            )
            size = qemu_img.virtual_size(fetched, spec.disk_format, f"Image {spec.id}")
            stored = kind if kind in ("raw", "qcow2") else "qcow2"
            if stored != kind:
                self._convert(spec, fetched, kind, converted)
                os.rename(converted, fetched)
            os.rename(fetched, self._folder / f"{spec.id}.{stored}")
        finally:
            fetched.unlink(missing_ok=True)
            converted.unlink(missing_ok=True)
        image = CachedImage(spec.id, stored, spec.disk_format, size)
        write_whole(self._record(spec.id), msgspec.json.encode(image))

    def _convert(self, spec: ImageSpec, source: Path, kind: str, target: Path) -> None:
        try:
            qemu_img.convert(source, kind, target, "qcow2")
        except HostError as error:
            raise self._space.translate(f"image {spec.id}", spec.size_bytes, error) from None

    def find(self, image_id: str) -> CachedImage | None:
        """The image, if it is here whole."""
        try:
            image = msgspec.json.decode(
                self._record(image_id).read_bytes(), type=prepared(CachedImage)
            )
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return image if self.path(image).is_file() else None

    def need(self, image_id: str) -> CachedImage:
        """The image; `image_missing` when it is not here."""
        image = self.find(image_id)
        if image is None:
            raise HostError(
                IMAGE_MISSING, f"Image {image_id} is not in the cache of {self._space.host}"
            )
        return image

    def path(self, image: CachedImage) -> Path:
        """Its file."""
        return self._folder / f"{image.id}.{image.format}"

    def touch(self, image_id: str) -> None:
        """Note that the image was of use just now."""
        os.utime(self._record(image_id))

    def remove(self, image_id: str) -> None:
        """Drop an image, unless a disk stands on it."""
        with self.guard:
            if safe_name(image_id) in self._bases():
                return
            for suffix in ("json", "raw", "qcow2"):
                (self._folder / f"{image_id}.{suffix}").unlink(missing_ok=True)

    def drop_unused(self, unused_seconds: float) -> list[str]:
        """Drop images that no disk stands on and nobody asked for since so long."""
        bases, limit = self._bases(), time.time() - unused_seconds
        old = [
            image_id
            for image_id in self.list()
            if image_id not in bases and self._record(image_id).stat().st_mtime < limit
        ]
        for image_id in old:
            self.remove(image_id)
        return old

    def list(self) -> list[str]:
        """Ids of the images that are here whole."""
        return sorted(p.stem for p in self._folder.glob("*.json") if self.find(p.stem))

    def strays(self) -> Iterator[Path]:
        """Files that belong to no image (half made ones are not strays: they may be wanted)."""
        whole = set(self.list())
        for path in self._folder.iterdir():
            if not path.name.endswith(PARTIAL) and path.stem not in whole:
                yield path

    def _record(self, image_id: str) -> Path:
        return self._folder / f"{safe_name(image_id)}.json"
