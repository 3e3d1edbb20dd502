"""The secrets that objects are encrypted with: a folder with one file per secret.

The newest one encrypts, all of them decrypt: to rotate is to add one. Whoever has this folder and
the objects reads the objects, so it lies outside the folder of the objects.

In OpenStack: swift/common/middleware/crypto/keymaster.py.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
from pathlib import Path

from nubelet.kernel.errors import ApiError
from nubelet.object_store.storage.sqlite import sync_folders

_BYTES = 32


class Keys:
    """Root secrets by number, read again when an unknown one is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._roots: dict[str, bytes] = {}
        self._seen = 0
        self._load()
        if not self._roots:
            self.rotate()

    @property
    def newest(self) -> str:
        """The number of the secret that encrypts now."""
        if self._folder.stat().st_mtime_ns != self._seen:
            self._load()
        return max(self._roots)

    def rotate(self) -> str:
        """Add a secret; from now on it encrypts. Its number."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            number = f"{int(max(self._roots, default='0')) + 1:06d}"
            beside = self._folder / f".{secrets.token_hex(8)}"
            with os.fdopen(os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as f:
                f.write(secrets.token_bytes(_BYTES))
                f.flush()
                os.fsync(f.fileno())
            try:
                os.link(beside, self._folder / f"{number}.key")
                break
            except FileExistsError:  # another process was first
                self._load()
            finally:
                os.unlink(beside)
        sync_folders(str(self._folder), 1)
        self._load()
        return number

    def derive(self, number: str, name: str) -> bytes:
        """The key of a container or object under a root secret. Raises ApiError (500) for a
        secret that was lost."""
        if number not in self._roots:
            self._load()
        root = self._roots.get(number)
        if root is None:
            raise ApiError(f"The encryption secret {number} is not in {self._folder}.")
        return hmac.new(root, name.encode(), hashlib.sha256).digest()

    def _load(self) -> None:
        with self._lock:
            if not self._folder.exists():
                return
            self._seen = self._folder.stat().st_mtime_ns
            for path in self._folder.glob("*.key"):
                if path.stem not in self._roots:
                    self._roots[path.stem] = path.read_bytes()
