"""Hashes: new ones by the settings, those of other clouds go on working."""

from __future__ import annotations

import base64
import hashlib

import pytest

from nubelet.identity.passwords import Passwords
from nubelet.kernel.errors import BadRequest

# The examples of passlib's documentation, all for "password": its formats are what Keystone stores.
PASSLIB = (
    "$2b$12$GhvMmNVjRW29ulnudl.LbuAnUtN/LRfe1JsBm1Xu6LE3059z5Tr8m",
    "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
    "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
)
# By the reference implementation (argon2-cffi), for "password": the first as new hashes here were
# until 2026-11-27.
ARGON2 = (
    "$argon2id$v=19$m=19456,t=2,p=1$iFx5esef8lVdm/uNmySlyQ$i0FcaNWgNgSG88wGJ9zYfRu+JC+dwirndc+GsLL8keg",
    "$argon2id$v=19$m=65536,t=3,p=4$3YhvDGUPn/hJeKAJYfEl8w$LKIidI8O7dzeMuCok3itzSZYkKp+z76pw8UK95KWvhQ",
    "$argon2i$v=19$m=19456,t=2,p=1$MMVAvQZDKNi7bOS4IrMHZQ$OZLRpbGdupuIbjsCiJIEJTpmD8HkQ0ICZUOeQ9ggG9E",
)


def pbkdf2(password: str, rounds: int = 1000) -> str:
    salt = b"\xfb\xef\xbe\xff" * 4  # base64 full of + and /

    def text(raw: bytes) -> str:
        return base64.b64encode(raw).rstrip(b"=").decode().replace("+", ".")

    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    return f"$pbkdf2-sha512${rounds}${text(salt)}${text(digest)}"


@pytest.mark.parametrize(
    "stored", [*PASSLIB, *ARGON2, pbkdf2("password")], ids=lambda text: text[:30]
)
def test_hashes_of_before_and_of_other_clouds_verify_and_are_to_be_replaced(stored):
    passwords = Passwords()
    assert passwords.verify("password", stored)
    assert not passwords.verify("Password", stored)
    assert not passwords.verify("", stored)
    assert passwords.needs_rehash(stored)


@pytest.mark.parametrize(
    ("kind", "cost", "start"),
    [
        # The sets of OWASP's sheet on storing passwords; more passes are only stronger.
        ("argon2id", 1, "$argon2id$v=19$m=47104,t=1,p=1$"),
        ("argon2id", 2, "$argon2id$v=19$m=19456,t=2,p=1$"),
        ("argon2id", 3, "$argon2id$v=19$m=12288,t=3,p=1$"),
        ("argon2id", 4, "$argon2id$v=19$m=9216,t=4,p=1$"),
        ("argon2id", 5, "$argon2id$v=19$m=7168,t=5,p=1$"),
        ("argon2id", 6, "$argon2id$v=19$m=7168,t=6,p=1$"),
        ("bcrypt", 4, "$2b$04$"),
        ("scrypt", 10, "$scrypt$ln=10,r=8,p=1$"),
    ],
)
def test_new_hashes_are_of_the_kind_that_is_set(kind, cost, start):
    passwords = Passwords(kind, cost)
    stored = passwords.hash("geheim 🔑")
    assert stored.startswith(start)
    assert passwords.verify("geheim 🔑", stored)
    assert not passwords.verify("geheim", stored)
    assert not passwords.needs_rehash(stored)
    assert stored != passwords.hash("geheim 🔑"), "the same password must not have the same hash"


def test_another_cost_is_to_be_replaced():
    assert Passwords("argon2id", 2).needs_rehash(Passwords("argon2id", 1).hash("x"))
    assert Passwords("bcrypt", 5).needs_rehash(Passwords("bcrypt", 4).hash("x"))


def test_argon2id_is_the_default():
    assert Passwords().hash("x").startswith("$argon2id$v=19$m=7168,t=5,p=1$")


def test_bcrypt_sees_the_first_72_bytes_as_keystone_does():
    passwords = Passwords("bcrypt", 4)
    stored = passwords.hash("ü" * 36 + "one")
    assert passwords.verify("ü" * 36 + "two", stored)
    assert not passwords.verify("ü" * 35, stored)


def test_argon2id_sees_every_byte():
    passwords = Passwords()
    assert not passwords.verify("a" * 100 + "x", passwords.hash("a" * 100 + "y"))


@pytest.mark.parametrize("bad", ["a" * 5000, "with\0zero"])
def test_passwords_that_cannot_be_hashed_are_refused(bad):
    passwords = Passwords()
    with pytest.raises(BadRequest, match="password"):
        passwords.hash(bad)


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "plain text",
        "$2b$12$short",
        "$scrypt$ln=40,r=8,p=1$aaaa$bbbb",
        "$scrypt$nonsense",
        "$argon2id$v=19$m=1$x",
        "$argon2id$v=19$m=7168,t=5,p=1$aaaa$bbbb",
        "$argon2id$v=19$m=7168,t=5,p=1$" + "a" * 200,
        "$argon2x$v=19$m=7168,t=5,p=1$aaaa$bbbb",
        "$pbkdf2-sha512$x$y$z",
        "$bcrypt-sha256$v=2$a$b",
        "$unknown$1$2",
    ],
)
def test_a_damaged_hash_fits_no_password(damaged):
    assert not Passwords().verify("password", damaged)


def test_nobody_is_verified_without_a_hash():
    assert not Passwords().verify("password", None)


def test_an_unknown_user_takes_as_long_as_a_known_one(monkeypatch):
    """By counting the work, which does not depend on a busy machine."""
    passwords = Passwords()
    done = []
    monkeypatch.setattr(
        "nubelet.identity.passwords._verify_argon2", lambda raw, stored: done.append(stored)
    )
    passwords.verify("x", None)
    passwords.verify("x", passwords.hash("y"))
    assert [each[:29] for each in done] == ["$argon2id$v=19$m=7168,t=5,p=1"] * 2
