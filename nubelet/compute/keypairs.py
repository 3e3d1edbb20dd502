"""Keypairs: public keys by which a user's servers know him. They belong to users, not projects.

The private half is never kept. Until 2.91 the cloud may generate a pair and shows the private
key that one time.

In OpenStack: nova/crypto.py, nova/compute/api.py KeypairAPI.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.compute import quotas
from nubelet.compute.model import keypair
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, NotFound, QuotaExceeded

Row = sa.Row[Any]


class Generated(NamedTuple):
    """A new pair."""

    private_key: str
    public_key: str


def find(tx: Tx, user_id: str, name: str) -> Row:
    """A user's keypair; raises NotFound."""
    row = tx.first(sa.select(keypair).where(keypair.c.user_id == user_id, keypair.c.name == name))
    if row is None:
        raise NotFound(message=f"Keypair {name} not found for user {user_id}")
    return row


def create(
    ctx: Context, tx: Tx, *, user_id: str, name: str, kind: str, public_key: str, fingerprint: str
) -> Row:
    """Keep a key. Raises Conflict for a name that the user has already."""
    tx.lock("keypair", user_id)
    if tx.scalar(
        sa.select(keypair.c.name).where(keypair.c.user_id == user_id, keypair.c.name == name)
    ):
        raise Conflict(f"Key pair '{name}' already exists.")
    _require_quota(ctx, tx, user_id)
    tx.insert(
        keypair,
        user_id=user_id,
        name=name,
        type=kind,
        fingerprint=fingerprint,
        public_key=public_key,
        created_at=clock.now(),
    )
    return find(tx, user_id, name)


def _require_quota(ctx: Context, tx: Tx, user_id: str) -> None:
    # The limit is the project's, the use the user's: keys are not in projects.
    limit = quotas.user_limits(ctx.cloud, tx, ctx.project_id or "", user_id)["key_pairs"]
    used = int(tx.scalar(sa.select(sa.func.count()).where(keypair.c.user_id == user_id)))
    if limit >= 0 and used >= limit:
        raise QuotaExceeded(
            "key_pairs",
            limit=limit,
            used=used,
            requested=1,
            message=f"Quota exceeded, too many key pairs: {used} of {limit}.",
        )


def delete(tx: Tx, user_id: str, name: str) -> None:
    """Forget a key; raises NotFound. Servers made with it keep it."""
    if not tx.delete(keypair, keypair.c.user_id == user_id, keypair.c.name == name):
        raise NotFound(message=f"Keypair {name} not found for user {user_id}")


def forget_user(tx: Tx, user_id: str) -> None:
    """A user is gone: so are the keys."""
    tx.delete(keypair, keypair.c.user_id == user_id)


# --- Keys and certificates -------------------------------------------------------------------


def fingerprint_of(kind: str, public_key: str) -> str:
    """The fingerprint; raises BadRequest for what is not a key (or certificate) of the kind."""
    return _x509_fingerprint(public_key) if kind == "x509" else _ssh_fingerprint(public_key)


def _ssh_fingerprint(public_key: str) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    refusal = BadRequest(
        "Keypair data is invalid: failed to generate fingerprint: public_key "
        "is not an OpenSSH public key"
    )
    try:
        encoded = public_key.strip().split(" ")[1]
        raw = base64.b64decode(encoded, validate=True)
        load_ssh_public_key(public_key.strip().encode())
    except UnsupportedAlgorithm:
        pass  # such as sk-ssh-ed25519: well formed, and the guest's affair
    except (IndexError, ValueError, binascii.Error, UnicodeEncodeError):
        raise refusal from None
    return _with_colons(hashlib.md5(raw, usedforsecurity=False).digest())


def _x509_fingerprint(certificate: str) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        loaded = x509.load_pem_x509_certificate(certificate.encode())
    except (ValueError, UnicodeEncodeError):
        raise BadRequest(
            "Keypair data is invalid: failed to generate X509 fingerprint: "
            "public_key is not a certificate in PEM form"
        ) from None
    return _with_colons(loaded.fingerprint(hashes.SHA1()))  # noqa: S303 - what the API shows


def _with_colons(digest: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in digest)


def generate(kind: str, user_name: str) -> Generated:
    """A new pair. Takes a tenth of a second: never call it inside a transaction."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (
        serialization.PrivateFormat.TraditionalOpenSSL
        if kind == "ssh"
        else serialization.PrivateFormat.PKCS8
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    ).decode()
    if kind == "x509":
        return Generated(private, _certificate(key, user_name))
    public = (
        key.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )
    return Generated(private, f"{public} Generated-by-Nubelet")


def _certificate(key: Any, user_name: str) -> str:
    """A certificate by which Windows' remote management knows the user (his principal name)."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user_name[:64] or "user")])
    principal = f"{user_name}@localhost".encode()
    if len(principal) > 127:
        principal = principal[-127:]
    other_name = x509.OtherName(
        ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c" + bytes([len(principal)]) + principal
    )  # DER UTF8String
    now = clock.to_datetime(clock.now())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([other_name]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
