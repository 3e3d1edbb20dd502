"""The keys that tokens are sealed with, and their rotation.

A folder of numbered files, mode 0600, as Keystone's: the highest number is the primary key that
seals; 0 is the staged key, which becomes primary at the next rotation; the others only open older
tokens. Since every process knows the staged key before it is used, processes that share the folder
need not rotate at the same moment.

In OpenStack: keystone/common/fernet_utils.py.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

_LOOK_SECONDS = 5.0


class KeyRing:
    """Seals and opens with the keys of a folder; picks up rotations by other processes."""

    def __init__(self, folder: Path, *, keep_seconds: float) -> None:
        """Make the first keys where there are none. `keep_seconds`: how long a retired key must
        go on opening (the life of a token and its grace)."""
        self._folder = folder
        self._keep_seconds = keep_seconds
        self._lock = threading.Lock()
        self._signature: tuple[tuple[str, int], ...] = ()
        self._looked_at = 0.0
        self._primary = Fernet(Fernet.generate_key())
        self._fernet = MultiFernet([self._primary])
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._exclusive():
            if not self._numbers():
                self._write(1)
                self._write(0)
        self._load()

    def seal(self, content: bytes) -> str:
        """A token: base64 text that nobody can read or change."""
        self._look(_LOOK_SECONDS)
        return self._fernet.encrypt(content).rstrip(b"=").decode()

    def open(self, token: str) -> bytes:
        """The content of a token; raises ValueError for one that was not sealed with our keys."""
        try:
            raw = token.encode("ascii")
        except UnicodeEncodeError:
            raise ValueError("not a token") from None
        raw += b"=" * (-len(raw) % 4)
        try:
            return self._fernet.decrypt(raw)
        except InvalidToken:
            if not self._look(0.2):
                raise ValueError("not a token of this cloud") from None
        try:
            return self._fernet.decrypt(raw)
        except InvalidToken:
            raise ValueError("not a token of this cloud") from None

    def is_present(self, token: str) -> bool:
        """Was it sealed with the key that seals now?"""
        self._look(_LOOK_SECONDS)
        try:
            self._primary.decrypt(token.encode() + b"=" * (-len(token) % 4))
        except InvalidToken:
            return False
        return True

    def rotate(self) -> int:
        """The staged key becomes primary, a new one is staged, keys that are too old to open any
        valid token go. Returns the number of the new primary key. A rotation that was interrupted
        is brought to its end instead."""
        with self._exclusive():
            primary, staged = max(self._numbers()), self._folder / "0"
            if staged.exists():
                primary += 1
                os.utime(staged)  # its age as a key in use begins now
                staged.rename(self._folder / str(primary))
            self._write(0)
            self._prune(primary)
        self._load()
        return primary

    def refresh(self) -> None:
        """Take up what another process changed: at once, for those who seal again what is there."""
        self._look(0)

    def primary_age_seconds(self) -> float:
        """How long the primary key has been in use."""
        path = self._folder / str(max(self._numbers()))
        return max(0.0, time.time() - path.stat().st_mtime)

    def exposed(self) -> list[Path]:
        """Keys that somebody else on this machine could read."""
        return [
            path
            for path in self._folder.iterdir()
            if path.name.isdigit() and path.stat().st_mode & 0o077
        ]

    # --- The folder ---------------------------------------------------------------------------

    def _prune(self, primary: int) -> None:
        """A key sealed its last token when its successor became primary."""
        numbers = sorted(number for number in self._numbers() if number)
        for number, successor in itertools.pairwise(numbers):
            retired_at = (self._folder / str(successor)).stat().st_mtime
            if successor != primary and time.time() - retired_at > self._keep_seconds:
                (self._folder / str(number)).unlink()

    def _write(self, number: int) -> None:
        """A new key, there completely or not at all, readable by us alone."""
        new = self._folder / f".new.{number}"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key())
            file.flush()
            os.fsync(file.fileno())
        new.rename(self._folder / str(number))

    def _numbers(self) -> list[int]:
        return [int(path.name) for path in self._folder.iterdir() if path.name.isdigit()]

    def _load(self) -> None:
        with self._lock:
            for _attempt in range(3):
                numbers = sorted(self._numbers(), reverse=True)
                signature = self._sign()
                try:
                    keys = [(self._folder / str(number)).read_bytes() for number in numbers]
                except FileNotFoundError:
                    continue  # a rotation came in between
                fernets = [Fernet(key) for key in keys]
                self._primary, self._fernet = fernets[0], MultiFernet(fernets)
                self._signature = signature
                break
            self._looked_at = time.monotonic()

    def _look(self, at_most_every_seconds: float) -> bool:
        """Load again if the folder changed; says whether it did."""
        if time.monotonic() - self._looked_at < at_most_every_seconds:
            return False
        self._looked_at = time.monotonic()
        if self._sign() == self._signature:
            return False
        self._load()
        return True

    def _sign(self) -> tuple[tuple[str, int], ...]:
        return tuple(
            sorted(
                (entry.name, entry.inode())
                for entry in os.scandir(self._folder)
                if entry.name.isdigit()
            )
        )

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        descriptor = os.open(self._folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
