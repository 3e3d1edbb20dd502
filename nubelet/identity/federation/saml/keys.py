"""The key by which this cloud signs assertions and requests, and its certificate.

Made at first use: `saml/key.pem` (mode 0600) and `saml/certificate.pem` in the state folder, ten
years long. Others know the certificate from the metadata; to bring one of your own, put both files
there. Several machines need the same folder.
"""

from __future__ import annotations

import datetime
import fcntl
import os
from pathlib import Path
from typing import NamedTuple

from nubelet.kernel.cloud import Cloud

_YEARS = 10


class KeyPair(NamedTuple):
    """A private key and its certificate, in PEM."""

    key: bytes
    certificate: bytes

    @property
    def certificate_text(self) -> str:
        """The certificate as metadata shows it: base64 without the lines around."""
        lines = self.certificate.decode().strip().splitlines()
        return "".join(line for line in lines if not line.startswith("-----"))


def of(cloud: Cloud) -> KeyPair:
    """The cloud's pair; made where there is none."""
    folder = cloud.settings.state_dir / "saml"
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    if not certificate.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not certificate.exists():
                _make(key, certificate)
        finally:
            os.close(descriptor)
    return KeyPair(key.read_bytes(), certificate.read_bytes())


def exposed(cloud: Cloud) -> list[Path]:
    """The key, if somebody else on this machine could read it."""
    key = cloud.settings.state_dir / "saml" / "key.pem"
    return [key] if key.exists() and key.stat().st_mode & 0o077 else []


def _make(key_path: Path, certificate_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nubelet identity")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write(key_path, pem)
    _write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))


def _write(path: Path, content: bytes) -> None:
    """The file there completely or not at all, readable by us alone."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
