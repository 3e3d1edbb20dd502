"""Image data as files in one folder: `<image id>.<upload>`, and `….part` while it comes."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from nubelet.image.stores import StoreUnreachable
from nubelet.kernel import clock
from nubelet.kernel.errors import ApiError, Conflict
from nubelet.kernel.http.messages import FileBody
from nubelet.kernel.ids import new_hex

READ_BYTES = 1 << 20
OLD_PART_SECONDS = 24 * 3600  # an upload that was silent for far less has lost its lease


class FileUpload:
    """A file that becomes the image's data by a rename."""

    def __init__(self, part: Path, target: Path) -> None:
        self._part, self._target = part, target
        with _reachable():
            self._file = part.open("wb", buffering=0)

    def write(self, data: bytes) -> None:
        """Append; a full disk is answered as such."""
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise _unreachable(error) from error
            raise ApiError(
                f"The image store cannot take more data: {error.strerror}.",
                status=413,
                title="Request Entity Too Large",
            ) from error

    def commit(self) -> None:
        """Durable first, visible second."""
        with _reachable():
            os.fsync(self._file.fileno())
            self._file.close()
            try:
                self._part.rename(self._target)
            except FileNotFoundError:
                raise Conflict(
                    f"The upload {self._target.name} was taken for dead: what it wrote was removed."
                ) from None
            _sync_folder(self._target.parent)

    def abort(self) -> None:
        """Remove the part."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)


class FileStore:
    """A store of type `file`."""

    type, read_only = "file", False

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "file",
        description: str = "Files on this cloud's disks",
        weight: int = 0,
    ) -> None:
        self._folder = folder
        self.name, self.description, self.weight = name, description, weight
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def properties(self) -> Mapping[str, Any]:
        """Its folder."""
        return {
            "data_dir": str(self._folder),
            "chunk_size": READ_BYTES,
            "thin_provisioning": False,
        }

    def new_key(self, image_id: str, upload_id: str) -> str:
        """One of its own for each upload: a late one never meets another."""
        return f"{image_id}.{upload_id}"

    def begin(self, key: str) -> FileUpload:
        """Start to write."""
        return FileUpload(self._folder / f"{key}.{new_hex()}.part", self.path(key))

    def path(self, key: str) -> Path:
        """The file of some data."""
        return self._folder / key

    def size(self, key: str) -> int | None:
        """Bytes of the data."""
        with _reachable():
            try:
                return self.path(key).stat().st_size
            except FileNotFoundError:
                return None

    def read(self, key: str, offset: int, length: int) -> FileBody:
        """A part of the data."""
        return FileBody(str(self.path(key)), offset, length)

    def url(self, key: str) -> str:
        """A node on this machine reads the file itself."""
        return self.path(key).absolute().as_uri()

    def key(self, url: str) -> str | None:
        """Only files of this folder: a user must not name others."""
        parts = urlsplit(url)
        path = Path(unquote(parts.path))
        inside = parts.scheme == "file" and path.parent == self._folder.absolute()
        return path.name if inside and path.name not in ("", ".", "..") else None

    def delete(self, key: str) -> None:
        """Remove the file and its parts: these first, an upload that ends now makes a file."""
        with _reachable():
            for path in self._folder.glob(f"{glob.escape(key)}.*.part"):
                if is_part_of(key, path.name):
                    path.unlink(missing_ok=True)
            self.path(key).unlink(missing_ok=True)

    def list_ids(self) -> list[str]:
        """Names of the complete files."""
        with _reachable():
            return [
                path.name
                for path in self._folder.iterdir()
                if path.suffix != ".part" and path.is_file()
            ]

    def old_parts(self) -> list[Path]:
        """Parts that nobody has written to for a day: their upload is dead."""
        limit = clock.now() / 1e6 - OLD_PART_SECONDS
        found = []
        with _reachable():
            for path in self._folder.glob("*.part"):
                with suppress(FileNotFoundError):  # its upload has just ended
                    if path.stat().st_mtime < limit:
                        found.append(path)
        return found


def is_part_of(key: str, name: str) -> bool:
    """`<key>.<random>.part`: not that of a longer key. Those of earlier releases were ids alone,
    which all keys of an image begin with."""
    random = name.removeprefix(f"{key}.").removesuffix(".part")
    return name == f"{key}.{random}.part" and "." not in random


@contextmanager
def _reachable() -> Iterator[None]:
    """What the file system refuses is the store's trouble: without a path, users see the text."""
    try:
        yield
    except OSError as error:
        raise _unreachable(error) from error


def _unreachable(error: OSError) -> StoreUnreachable:
    return StoreUnreachable(f"its folder cannot be used: {error.strerror or error}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
