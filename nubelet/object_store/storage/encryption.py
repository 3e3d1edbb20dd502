"""Storage that keeps nothing readable: around any other storage, local or a cluster.

Encrypted are an object's bytes (with a key of its own, which a key derived from its name wraps),
the values of its `x-object-meta-*`, its MD5 in its metadata and in listings. Names, sizes, types
and what features note stay readable, as listings need them. What was stored before encryption was
switched on is served as it is.

In OpenStack: swift/common/middleware/crypto (encrypter.py, decrypter.py).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from nubelet.decoding import prepared
from nubelet.object_store.storage import (
    OVERRIDE_ETAG,
    Finish,
    Listing,
    Metadata,
    ObjectEntry,
    ObjectPath,
    OpenObject,
    Storage,
    Stored,
    Subdirectory,
)
from nubelet.object_store.storage.keys import Keys
from nubelet.object_store.storage.metadata import USER_PREFIX
from nubelet.object_store.storage.timestamps import Timestamp

_BODY = "x-object-sysmeta-crypto-body"
_ETAG = "x-object-sysmeta-crypto-etag"
# Which of the metadata of a PUT or POST are encrypted: the number of their secret.
_META = "x-object-transient-sysmeta-crypto-meta"
# Said of what is read: its bytes were encrypted.
IS_ENCRYPTED = "x-object-sysmeta-crypto-is-encrypted"
_MARK = "crypto:"


class _BodyKey(msgspec.Struct):
    """How a body is encrypted: under which secret, and the wrapped key."""

    secret: str
    iv: str
    key: str
    key_iv: str


def counter_mode(key: bytes, iv: bytes, offset: int = 0) -> Any:
    """AES in counter mode from a byte on (it encrypts and decrypts alike)."""
    counter = (int.from_bytes(iv, "big") + offset // 16) % (1 << 128)
    cipher = Cipher(algorithms.AES(key), modes.CTR(counter.to_bytes(16, "big"))).encryptor()
    cipher.update(bytes(offset % 16))
    return cipher


def _seal(key: bytes, text: str) -> str:
    iv = secrets.token_bytes(16)
    return base64.b64encode(iv + counter_mode(key, iv).update(text.encode())).decode()


def _unseal(key: bytes, text: str) -> str:
    data = base64.b64decode(text)
    return str(counter_mode(key, data[:16]).update(data[16:]).decode())


class EncryptingStorage:
    """See Storage. What is not here is the inner storage's own."""

    def __init__(self, inner: Storage, keys: Keys) -> None:
        self._inner, self._keys = inner, keys

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put_object(
        self,
        path: ObjectPath,
        policy: int,
        timestamp: Timestamp,
        metadata: Mapping[str, str],
        body: Iterable[bytes],
        *,
        finish: Finish | None = None,
        expected: Timestamp | None = None,
    ) -> Stored:
        """See Storage."""
        number = self._keys.newest
        key = self._keys.derive(number, str(path))
        own, iv, key_iv = secrets.token_bytes(32), secrets.token_bytes(16), secrets.token_bytes(16)
        digest = hashlib.md5(usedforsecurity=False)
        plain: dict[str, str] = {}

        def encrypted() -> Iterator[bytes]:
            cipher = counter_mode(own, iv)
            for piece in body:
                digest.update(piece)
                yield cipher.update(piece)

        def ended(_etag: str, size: int) -> Mapping[str, str]:
            plain["etag"] = digest.hexdigest()
            more = dict(finish(plain["etag"], size)) if finish else {}
            listed = self._keys.derive(number, f"/{path.account}/{path.container}")
            shown = more.get(OVERRIDE_ETAG, plain["etag"])
            wrapped = counter_mode(key, key_iv).update(own)
            noted = _BodyKey(number, _text(iv), _text(wrapped), _text(key_iv))
            return {
                **more,
                OVERRIDE_ETAG: f"{_MARK}{number}:{_seal(listed, shown)}",
                _BODY: msgspec.json.encode(noted).decode(),
                _ETAG: f"{number}:{_seal(key, plain['etag'])}",
            }

        stored = self._inner.put_object(
            path,
            policy,
            timestamp,
            self._hidden(path, metadata),
            encrypted(),
            finish=ended,
            expected=expected,
        )
        return Stored(plain.get("etag", stored.etag), stored.size, stored.timestamp)

    def post_object(
        self, path: ObjectPath, policy: int, timestamp: Timestamp, metadata: Mapping[str, str]
    ) -> None:
        """See Storage."""
        self._inner.post_object(path, policy, timestamp, self._hidden(path, metadata))

    def open_object(self, path: ObjectPath, policy: int, *, newest: bool = False) -> OpenObject:
        """See Storage."""
        return self._readable(path, self._inner.open_object(path, policy, newest=newest))

    def list_objects(
        self, account: str, container: str, listing: Listing
    ) -> list[ObjectEntry | Subdirectory]:
        """See Storage."""
        keys: dict[str, bytes] = {}
        found = self._inner.list_objects(account, container, listing)
        for place, entry in enumerate(found):
            if isinstance(entry, ObjectEntry) and entry.etag.startswith(_MARK):
                _, number, sealed = entry.etag.split(":", 2)
                if number not in keys:
                    keys[number] = self._keys.derive(number, f"/{account}/{container}")
                found[place] = entry._replace(etag=_unseal(keys[number], sealed))
        return found

    def _hidden(self, path: ObjectPath, metadata: Mapping[str, str]) -> Metadata:
        """The metadata as they are stored."""
        hidden = dict(metadata)
        names = [name for name in metadata if name.startswith(USER_PREFIX)]
        if names:
            number = self._keys.newest
            key = self._keys.derive(number, str(path))
            hidden |= {name: _seal(key, metadata[name]) for name in names}
            hidden[_META] = number
        return hidden

    def _readable(self, path: ObjectPath, opened: OpenObject) -> OpenObject:
        metadata = opened.metadata
        number = metadata.pop(_META, None)
        if number is not None:
            key = self._keys.derive(number, str(path))
            for name in metadata:
                if name.startswith(USER_PREFIX):
                    metadata[name] = _unseal(key, metadata[name])
        text = metadata.pop(_BODY, None)
        metadata.pop(IS_ENCRYPTED, None)  # a copy has it from its source
        if text is None:
            return opened
        number, sealed = metadata.pop(_ETAG).split(":", 1)
        metadata["etag"] = _unseal(self._keys.derive(number, str(path)), sealed)
        metadata.pop(OVERRIDE_ETAG, None)
        metadata[IS_ENCRYPTED] = "true"
        noted = msgspec.json.decode(text, type=prepared(_BodyKey))
        key = self._keys.derive(noted.secret, str(path))
        own = counter_mode(key, base64.b64decode(noted.key_iv)).update(base64.b64decode(noted.key))
        return _Decrypted(opened, own, base64.b64decode(noted.iv))


class _Decrypted:
    """An object whose bytes are decrypted as they are read."""

    def __init__(self, inner: OpenObject, key: bytes, iv: bytes) -> None:
        self._inner, self._key, self._iv = inner, key, iv
        self.metadata, self.size = inner.metadata, inner.size

    def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes from `start` to before `end`."""
        cipher = counter_mode(self._key, self._iv, start)
        for piece in self._inner.read(start, end):
            yield cipher.update(piece)

    def close(self) -> None:
        """Give up the file."""
        self._inner.close()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
