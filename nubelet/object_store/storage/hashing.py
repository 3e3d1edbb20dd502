"""Where a name is kept: its hash, its partition, its folder.

A name is hashed with the store's own secret words, so that nobody outside can choose names that
all fall into one folder. The first bits of the hash are the partition, the last three digits the
suffix: `objects/<partition>/<suffix>/<hash>/`. A ring says which devices hold a partition; a
single folder holds them all.

In OpenStack: swift/common/utils hash_path, storage_directory; the layout is the same.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path


class Hashing:
    """Hashes names into partitions. All nodes of a store share the words and the power."""

    def __init__(self, words: str, part_power: int) -> None:
        self._words = words.encode()
        self.part_power = part_power
        self._shift = 32 - part_power

    def hash(self, account: str, container: str = "", object: str = "") -> str:  # noqa: A002
        """The hash of a name, 32 hexadecimal digits."""
        path = "/" + account
        if container:
            path += "/" + container
        if object:
            path += "/" + object
        return hashlib.md5(path.encode() + self._words, usedforsecurity=False).hexdigest()

    def partition(self, digest: str) -> int:
        """The partition of a hash."""
        return int(digest[:8], 16) >> self._shift

    def folder(self, digest: str) -> str:
        """`<partition>/<suffix>/<hash>`."""
        return f"{self.partition(digest)}/{digest[-3:]}/{digest}"


def data_folder(policy: int) -> str:
    """The folder of a policy's objects on a device."""
    return f"objects-{policy}" if policy else "objects"


def own_words(folder: Path) -> str:
    """The secret words of the store in a folder, made up the first time."""
    path = folder / "hash-words"
    try:
        return path.read_text()
    except FileNotFoundError:
        pass
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = folder / f"hash-words.{os.getpid()}.{secrets.token_hex(4)}"
    with os.fdopen(os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(16))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(beside, path)  # the first process to come this far decides
    except FileExistsError:
        pass
    finally:
        os.unlink(beside)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path.read_text()
