"""Passwords: how they are hashed, and how hashes of other clouds go on working.

New hashes are what the settings say (argon2id by default). Hashes by bcrypt, scrypt and
PBKDF2-SHA512, in the modular formats that Keystone stores, verify too, and are replaced by a new
hash at the next login. bcrypt looks at 72 bytes only and its library refuses more, so longer
passwords are cut there, exactly as Keystone cuts them.

argon2id is libsodium's (by PyNaCl), which picks the vector instructions that the processor has; and
its memory and passes are always one of the sets that OWASP calls equally strong, for a cheaper one
would win a benchmark and lose the point of hashing (docs/decisions/0028).

All of this takes tens of milliseconds of CPU on purpose: routes that hash are `slow=True`, so
they have a few threads of their own, and no hash is made inside a transaction.

In OpenStack: keystone/common/password_hashing.py. Formats: RFC 9106 (argon2), RFC 7914 (scrypt),
RFC 8018 (PBKDF2), and the ones of passlib for the texts around them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import threading
from typing import Literal, NamedTuple

from nubelet.kernel.errors import BadRequest

Kind = Literal["argon2id", "bcrypt", "scrypt"]
MAX_BYTES = 4096  # of a password: longer ones only cost our CPU

_RECOMMENDED: dict[Kind, int] = {"argon2id": 5, "bcrypt": 12, "scrypt": 16}
# By passes: fewer of them need more memory, more of them no less than the last.
_ARGON2_MEMORY_MIB = {1: 46, 2: 19, 3: 12, 4: 9}
_ARGON2_LEAST_MEMORY_MIB = 7


class _Parsed(NamedTuple):
    """A hash by scrypt or PBKDF2. Cost: log2 of N, or rounds."""

    cost: int
    block_size: int
    parallelism: int
    salt: bytes
    digest: bytes


class Passwords:
    """Hashes and verifies."""

    def __init__(self, kind: Kind = "argon2id", cost: int = 0) -> None:
        """`cost`: passes of argon2id, log2 of the rounds of bcrypt, log2 of N of scrypt; 0: the
        recommended one."""
        self.kind = kind
        self.cost = cost or _RECOMMENDED[kind]
        self._decoy = ""
        self._lock = threading.Lock()

    def hash(self, password: str) -> str:
        """The text to store; raises BadRequest for a password that is too long."""
        raw = _bytes(password)
        if self.kind == "bcrypt":
            import bcrypt

            return bcrypt.hashpw(raw[:72], bcrypt.gensalt(self.cost)).decode()
        if self.kind == "scrypt":
            salt = os.urandom(16)
            parsed = _Parsed(self.cost, 8, 1, salt, b"")
            digest = _scrypt(raw, parsed, 32)
            return f"$scrypt$ln={self.cost},r=8,p=1${_b64(salt)}${_b64(digest)}"
        from nacl.pwhash import argon2id  # at first use: not every process hashes

        return argon2id.str(raw, self.cost, self._argon2_memory_mib << 20).decode()

    def verify(self, password: str, stored: str | None) -> bool:
        """Is it the password? Takes the same time where there is none (`stored` None), so that
        nobody learns from the clock which users exist."""
        if stored is None:
            self._verify(password, self._decoy_hash())
            return False
        return self._verify(password, stored)

    def needs_rehash(self, stored: str) -> bool:
        """Was it made by another algorithm or at another cost than now set?"""
        if self.kind == "argon2id":
            memory_kib = self._argon2_memory_mib << 10
            return not stored.startswith(f"$argon2id$v=19$m={memory_kib},t={self.cost},p=1$")
        if self.kind == "bcrypt":
            return not stored.startswith(f"$2b${self.cost:02d}$")
        return not stored.startswith(f"$scrypt$ln={self.cost},r=8,p=1$")

    def _verify(self, password: str, stored: str) -> bool:
        raw = _bytes(password)
        try:
            if stored.startswith("$argon2"):
                return _verify_argon2(raw, stored)
            if stored.startswith(("$2a$", "$2b$", "$2y$")):
                import bcrypt

                return bcrypt.checkpw(raw[:72], stored.encode())
            if stored.startswith("$bcrypt-sha256$"):
                return _verify_bcrypt_sha256(raw, stored)
            if stored.startswith("$scrypt$"):
                parsed = _parse_scrypt(stored)
                return hmac.compare_digest(_scrypt(raw, parsed, len(parsed.digest)), parsed.digest)
            if stored.startswith("$pbkdf2-sha512$"):
                parsed = _parse_pbkdf2(stored)
                found = hashlib.pbkdf2_hmac(
                    "sha512", raw, parsed.salt, parsed.cost, len(parsed.digest)
                )
                return hmac.compare_digest(found, parsed.digest)
        except (ValueError, KeyError):
            return False  # a damaged hash fits no password
        return False

    @property
    def _argon2_memory_mib(self) -> int:
        return _ARGON2_MEMORY_MIB.get(self.cost, _ARGON2_LEAST_MEMORY_MIB)

    def _decoy_hash(self) -> str:
        with self._lock:
            if not self._decoy:
                self._decoy = self.hash(_b64(os.urandom(12)))
            return self._decoy


def _bytes(password: str) -> bytes:
    raw = password.encode()
    if len(raw) > MAX_BYTES:
        raise BadRequest(
            f"Invalid input for field/attribute password: it is longer than {MAX_BYTES} bytes."
        )
    if b"\0" in raw:  # C libraries stop there: two passwords would be one
        raise BadRequest("Invalid input for field/attribute password: it contains a zero byte.")
    return raw


def _verify_argon2(raw: bytes, stored: str) -> bool:
    from nacl import pwhash
    from nacl.exceptions import InvalidkeyError

    try:
        return pwhash.verify(stored.encode(), raw)
    except InvalidkeyError:
        return False


def _scrypt(raw: bytes, parsed: _Parsed, length: int) -> bytes:
    n = 1 << parsed.cost
    return hashlib.scrypt(
        raw,
        salt=parsed.salt,
        n=n,
        r=parsed.block_size,
        p=parsed.parallelism,
        dklen=length,
        maxmem=256 * n * parsed.block_size + (1 << 20),
    )


def _parse_scrypt(stored: str) -> _Parsed:
    """`$scrypt$ln=16,r=8,p=1$salt$digest`."""
    _, _, parameters, salt, digest = stored.split("$")
    values = dict(part.split("=", 1) for part in parameters.split(","))
    cost, block_size = int(values["ln"]), int(values["r"])
    if not (1 <= cost <= 24 and 1 <= block_size <= 32):
        raise ValueError("a cost that would take all memory")
    return _Parsed(cost, block_size, int(values["p"]), _unb64(salt), _unb64(digest))


def _parse_pbkdf2(stored: str) -> _Parsed:
    """`$pbkdf2-sha512$rounds$salt$digest`."""
    _, _, rounds, salt, digest = stored.split("$")
    return _Parsed(int(rounds), 0, 0, _unb64(salt), _unb64(digest))


def _verify_bcrypt_sha256(raw: bytes, stored: str) -> bool:
    """`$bcrypt-sha256$v=2,t=2b,r=12$salt$digest`: bcrypt over a keyed SHA-256 of the password."""
    import bcrypt

    _, _, parameters, salt, digest = stored.split("$")
    values = dict(part.split("=", 1) for part in parameters.split(","))
    key = base64.b64encode(hmac.digest(salt.encode(), raw, "sha256"))
    full = f"${values['t']}${int(values['r']):02d}${salt}{digest}"
    return values["v"] == "2" and bcrypt.checkpw(key, full.encode())


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    """Base64 without padding; PBKDF2's texts have `.` for `+`."""
    text = text.replace(".", "+")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
