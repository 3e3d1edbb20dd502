"""From a signature to the credentials of its maker: by the identity service's EC2 credentials, or
by the password of a user of the store's own (`object_store.users`), whose key is `account:user`.

A key is worth what its user is now. Access rules of an application credential that a key was made
with hold for its requests.

In OpenStack: keystonemiddleware/s3_token.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote

from nubelet import identity
from nubelet.kernel.context import Context, Credentials
from nubelet.kernel.errors import Unauthorized
from nubelet.kernel.http.messages import Request
from nubelet.object_store.features import own_auth
from nubelet.object_store.s3 import hosts, signing
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.s3.signing import Signature


class Signed(NamedTuple):
    """Who signed. key: of version 4, for chunks that are signed one by one."""

    signature: Signature
    credentials: Credentials
    key: bytes


def identify(ctx: Context, request: Request, bucket: str = "") -> Signed | None:
    """Who signed the request; None for an anonymous one. Raises S3Error."""
    if request.method == "OPTIONS":
        return None
    signature = signing.read(request, bucket)
    return verify(ctx, request, signature) if signature else None


def verify(ctx: Context, request: Request, signature: Signature) -> Signed:
    """Who made a signature; raises S3Error for one that nobody made who may."""
    own = own_auth.find_user(ctx.cloud.settings, signature.access)
    if own is not None:
        secret, credentials = own
        _check(signature, secret)
        return Signed(signature, credentials, _key(signature, secret))
    with ctx.cloud.database.read() as tx:
        found = identity.find_ec2_credential(ctx.cloud, tx, signature.access)
        if found is None:
            raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=signature.access)
        _check(signature, found.secret)
        try:
            for route in _routes(ctx, request):
                credentials = identity.authorize_ec2_credential(ctx.cloud, tx, found, route)
        except Unauthorized:
            raise S3Error("AccessDenied", "The key is not good for this any more.") from None
    return Signed(signature, credentials, _key(signature, found.secret))


def _routes(ctx: Context, request: Request) -> Iterator[str]:
    """What access rules must allow: the request, whose bucket the host may name, and reading the
    source of a copy, as if it had been asked for by its path."""
    named = hosts.find(ctx.cloud, request.headers)
    path = f"/s3/{named.bucket}{request.path}" if named and named.bucket else request.path
    yield f"{request.method} object-store {path}"
    if (source := request.headers.get("x-amz-copy-source")) is not None:
        read = unquote(source.partition("?")[0]).removeprefix("/")
        yield f"GET object-store /s3/{read}"


def _check(signature: Signature, secret: str) -> None:
    if not signature.fits(secret):
        raise S3Error("SignatureDoesNotMatch", AWSAccessKeyId=signature.access)


def _key(signature: Signature, secret: str) -> bytes:
    return signature.signing_key(secret) if signature.scope else b""
