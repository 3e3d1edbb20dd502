"""A real LDAP server for tests: Debian's slapd on a private port, with a folder of its own.

with Slapd(tmp_path) as server:
    server.add_user("ann", "Ann", password="secret")
    server.add_group("staff", "Staff", ["ann"])
    server.url
"""

from __future__ import annotations

import datetime
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.serving import free_port

_SERVER = "/usr/sbin/slapd"
SUFFIX = "dc=cloud,dc=test"
ADMIN, ADMIN_PASSWORD = f"cn=admin,{SUFFIX}", "slapd-admin"
USERS, GROUPS = f"ou=Users,{SUFFIX}", f"ou=UserGroups,{SUFFIX}"
_CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
TLSCACertificateFile {folder}/certificate.pem
TLSCertificateFile {folder}/certificate.pem
TLSCertificateKeyFile {folder}/key.pem
sizelimit unlimited
require LDAPv3
disallow bind_anon
database mdb
maxsize 33554432
suffix "{suffix}"
rootdn "{admin}"
rootpw {password}
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=reader,{suffix}" read by * none
"""
READER, READER_PASSWORD = f"cn=reader,{SUFFIX}", "slapd-reader"


class Slapd:
    """One server and its content."""

    def __init__(self, folder: Path) -> None:
        if not Path(_SERVER).exists():
            pytest.skip("slapd is not installed (apt install slapd)")
        self.folder = folder / "slapd"
        (self.folder / "data").mkdir(parents=True)
        self.port, tls_port = free_port(), free_port()
        self.url = f"ldap://127.0.0.1:{self.port}"
        self.tls_url = f"ldaps://localhost:{tls_port}"
        self.certificate = self.folder / "certificate.pem"  # of itself: it is its own authority
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        _write_certificate(self.folder)
        config = self.folder / "slapd.conf"
        config.write_text(
            _CONFIG.format(folder=self.folder, suffix=SUFFIX, admin=ADMIN, password=ADMIN_PASSWORD)
        )
        self.start()
        self.add(SUFFIX, ["dcObject", "organization"], dc="cloud", o="test")
        self.add(
            READER, ["organizationalRole", "simpleSecurityObject"], userPassword=READER_PASSWORD
        )
        for tree in (USERS, GROUPS):
            self.add(tree, ["organizationalUnit"])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start serving; returns once it answers."""
        self._process = subprocess.Popen(
            [
                _SERVER,
                "-d",
                "0",
                "-h",
                f"{self.url} {self.tls_url}",
                "-f",
                self.folder / "slapd.conf",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process.poll() is None, "slapd ended"
            time.sleep(0.02)
        raise AssertionError("slapd does not answer")

    def stop(self) -> None:
        """Stop serving; the content stays."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=60)
            self._process = None

    # --- Content ------------------------------------------------------------------------------

    def add(self, dn: str, classes: list[str], **attributes: Any) -> None:
        """Insert an entry."""
        with self._administrator() as connection:
            assert connection.add(dn, classes, attributes), connection.result

    def change(self, dn: str, **attributes: list[str]) -> None:
        """Replace attributes of an entry."""
        import ldap3

        changes = {name: [(ldap3.MODIFY_REPLACE, values)] for name, values in attributes.items()}
        with self._administrator() as connection:
            assert connection.modify(dn, changes), connection.result

    def delete(self, dn: str) -> None:
        """Delete an entry."""
        with self._administrator() as connection:
            assert connection.delete(dn), connection.result

    def add_user(self, uid: str, name: str, password: str = "secret", **more: Any) -> str:
        """A person (uid, sn); answers their DN."""
        dn = f"cn={uid},{USERS}"
        self.add(dn, ["inetOrgPerson"], sn=name, userPassword=password, **more)
        return dn

    def add_group(self, cn: str, name: str, members: list[str], **more: Any) -> str:
        """A group of users by their uid; answers its DN."""
        dn = f"cn={cn},{GROUPS}"
        self.add(dn, ["groupOfNames"], ou=name, member=self.dns(members), **more)
        return dn

    def dns(self, members: list[str]) -> list[str]:
        """The DNs of users."""
        return [f"cn={uid},{USERS}" for uid in members]

    def _administrator(self) -> Any:
        import ldap3

        return ldap3.Connection(
            self.url, user=ADMIN, password=ADMIN_PASSWORD, auto_bind=True, raise_exceptions=False
        )


def _write_certificate(folder: Path) -> None:
    """A certificate for `localhost` that its own key signed, good for a day."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
