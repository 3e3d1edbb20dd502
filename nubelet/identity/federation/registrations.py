"""How this cloud is known to an identity provider: issuer, client, certificates.

One TOML file per provider in `federation.directory`, named by the provider's id: `acme.toml` for
`/v3/OS-FEDERATION/identity_providers/acme`. It holds secrets: its mode should be 0600. A changed
file is read at the next login; README.md shows one.

    [oidc]
    issuer = "https://login.example.org"
    client_id = "cloud"
    client_secret = "..."

    [saml]
    metadata = "https://login.example.org/saml/metadata"     # or a file

In OpenStack: what stands in Apache's files, for mod_auth_openidc, mod_shib or mod_auth_mellon.
"""

from __future__ import annotations

import logging
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import msgspec

from nubelet.decoding import prepared
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.errors import ServiceUnavailable

log = logging.getLogger(__name__)
_FILE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.@ -]*$")


class Oidc(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A client of an OpenID provider.

    issuer: as in its tokens; `{issuer}/.well-known/openid-configuration` says the rest, unless
    `discovery_url` does. client_secret: empty for a public client (PKCE is used always). scopes:
    what a browser login asks for. audiences: other clients whose bearer tokens are taken, such as
    that of the command line. introspection: ask the provider about every bearer token instead of
    checking its signature; tokens that are no JWT are always asked about. userinfo: ask the
    userinfo endpoint too what else there is to a bearer token (after a browser login it always
    is). ca_file: certificates to trust instead of the system's.
    """

    issuer: str
    client_id: str
    client_secret: str = ""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    audiences: tuple[str, ...] = ()
    discovery_url: str = ""
    introspection: bool = False
    userinfo: bool = False
    ca_file: str = ""

    @property
    def clients(self) -> frozenset[str]:
        """All clients whose tokens are taken."""
        return frozenset((self.client_id, *self.audiences))


class Saml(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A SAML identity provider: the URL or file of its metadata, with its certificates.

    entity_id: how it calls itself, where the metadata holds several. sp_entity_id: how this cloud
    calls itself; by default the URL of its own metadata.
    """

    metadata: str
    entity_id: str = ""
    sp_entity_id: str = ""
    ca_file: str = ""


class Registration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of one identity provider."""

    oidc: Oidc | None = None
    saml: Saml | None = None


NOTHING = Registration()


class _Read(NamedTuple):
    stamp: tuple[int, int]
    registration: Registration


_cache: dict[Path, _Read] = {}


def find(cloud: Cloud, idp_id: str) -> Registration:
    """What is known of a provider; `NOTHING` without a file. Raises ServiceUnavailable for one
    that cannot be read; the log says why."""
    if not _FILE_NAME.match(idp_id):
        return NOTHING
    path = cloud.settings.federation.directory / f"{idp_id}.toml"
    try:
        status = path.stat()
    except OSError:
        return NOTHING
    stamp = (status.st_mtime_ns, status.st_size)
    known = _cache.get(path)
    if known is None or known.stamp != stamp:
        known = _cache[path] = _Read(stamp, _read(path))
    return known.registration


def readable_by_others(cloud: Cloud) -> list[Path]:
    """Files with secrets that somebody else on this machine could read."""
    folder = cloud.settings.federation.directory
    found = sorted(folder.glob("*.toml")) if folder.is_dir() else []
    return [path for path in found if path.stat().st_mode & 0o077]


def _read(path: Path) -> Registration:
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), prepared(Registration))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        log.error("%s cannot be used: %s", path, error)
        raise ServiceUnavailable(
            f"The registration of the identity provider {path.stem} cannot be used."
        ) from None
