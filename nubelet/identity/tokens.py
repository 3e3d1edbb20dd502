"""What a token says: who authenticated how, for what scope, from when to when.

The content is a MessagePack array sealed by `keys.KeyRing`. It names ids only; names, roles and
catalog are looked up when a token is validated, so that it is always worth what its user is.

Read next: `validation.py`.
In OpenStack: keystone/token/token_formatters.py (this is a format of our own).
"""

from __future__ import annotations

import base64
import re
import secrets
from typing import Literal, NamedTuple

import msgspec

from nubelet.decoding import prepared
from nubelet.identity.keys import KeyRing
from nubelet.kernel.errors import Unauthorized

ScopeKind = Literal["unscoped", "project", "domain", "system"]

_FORMAT = 1
# Numbers are part of the format: append only. A method that is not here is written by name.
_METHODS = (
    "password",
    "token",
    "application_credential",
    "totp",
    "external",
    "mapped",
    "saml2",
    "openid",
    "oauth1",
    "oauth2_credential",
    "ec2credential",
)
_NUMBERS = {name: number for number, name in enumerate(_METHODS)}
_KINDS: tuple[ScopeKind, ...] = ("unscoped", "project", "domain", "system")
_HEX = re.compile(r"^[0-9a-f]{32}$")


class Scope(NamedTuple):
    """What a token is good for. `id` is that of the project or domain, else empty."""

    kind: ScopeKind
    id: str = ""


UNSCOPED = Scope("unscoped")
SYSTEM = Scope("system")


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a token was made from, and is bound to, beside a user and a scope.

    trust_id, application_credential_id, access_token_id (OAuth 1): somebody acts with a part of
    the user's rights. identity_provider_id, protocol_id, group_ids: a federated login, with the
    groups that the mapping put the user in. thumbprint: SHA-256 of the certificate, in base64,
    that whoever shows the token must hold (OAuth 2, RFC 8705).
    """

    trust_id: str = msgspec.field(default="", name="t")
    application_credential_id: str = msgspec.field(default="", name="a")
    access_token_id: str = msgspec.field(default="", name="o")
    identity_provider_id: str = msgspec.field(default="", name="i")
    protocol_id: str = msgspec.field(default="", name="p")
    group_ids: tuple[str, ...] = msgspec.field(default=(), name="g")
    thumbprint: str = msgspec.field(default="", name="x")

    @property
    def is_delegated(self) -> bool:
        """Does the bearer act with a part of the user's rights only?"""
        return bool(self.trust_id or self.application_credential_id or self.access_token_id)


NO_ORIGIN = Origin()


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a token. Times in microseconds.

    audit_ids: its own id and, for a token made from another, that of the first of the chain.
    """

    user_id: str
    methods: tuple[str, ...]
    scope: Scope
    issued_at: int
    expires_at: int
    audit_ids: tuple[str, ...]
    origin: Origin = NO_ORIGIN


class _Sealed(msgspec.Struct, array_like=True):
    format: int
    user_id: bytes
    methods: int
    kind: int
    scope_id: bytes
    issued_at: int
    expires_at: int
    audit_ids: tuple[bytes, ...]
    origin: Origin = NO_ORIGIN
    other_methods: tuple[str, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(prepared(_Sealed))


def seal(keys: KeyRing, token: Token) -> str:
    """The text of a token."""
    return keys.seal(
        _encoder.encode(
            _Sealed(
                _FORMAT,
                _pack_id(token.user_id),
                sum(1 << _NUMBERS[method] for method in token.methods if method in _NUMBERS),
                _KINDS.index(token.scope.kind),
                _pack_id(token.scope.id),
                token.issued_at,
                token.expires_at,
                tuple(_pack_audit_id(audit_id) for audit_id in token.audit_ids),
                token.origin,
                tuple(method for method in token.methods if method not in _NUMBERS),
            )
        )
    )


def unseal(keys: KeyRing, text: str) -> Token:
    """The token of a text; raises Unauthorized for one that is not ours.

    Says nothing of whether it is still valid.
    """
    try:
        sealed = _decoder.decode(keys.open(text))
    except (ValueError, msgspec.DecodeError):
        raise Unauthorized from None
    if sealed.format != _FORMAT:
        raise Unauthorized
    return Token(
        user_id=_unpack_id(sealed.user_id),
        methods=(
            *(name for number, name in enumerate(_METHODS) if sealed.methods >> number & 1),
            *sealed.other_methods,
        ),
        scope=Scope(_KINDS[sealed.kind], _unpack_id(sealed.scope_id)),
        issued_at=sealed.issued_at,
        expires_at=sealed.expires_at,
        audit_ids=tuple(_unpack_audit_id(packed) for packed in sealed.audit_ids),
        origin=sealed.origin,
    )


def new_audit_id() -> str:
    """A random name for a token, safe to show where the token itself is not."""
    return _unpack_audit_id(secrets.token_bytes(16))


def _pack_id(text: str) -> bytes:
    """Ids are mostly 32 hexadecimal digits: 16 bytes; a first byte tells them from others."""
    return b"\0" + bytes.fromhex(text) if _HEX.match(text) else b"\1" + text.encode()


def _unpack_id(packed: bytes) -> str:
    return packed[1:].hex() if packed[0] == 0 else packed[1:].decode()


def _pack_audit_id(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


def _unpack_audit_id(packed: bytes) -> str:
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()
