"""What S3 says of encryption: the store encrypts everything or nothing (`object_store.encryption`).

Where it does, that is SSE-S3: every bucket has it as its rule, keys tell of it. Keys of customers
(SSE-C): `customer_keys.py`. Of a key service (SSE-KMS) there is none here, so it knows none of the
keys that a request may name.

Reference: Amazon S3 User Guide, "Protecting data with server-side encryption".
"""

from __future__ import annotations

from collections.abc import Mapping

from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import header
from nubelet.object_store.s3 import customer_keys, xml
from nubelet.object_store.s3.asked import Asked
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage.encryption import IS_ENCRYPTED

HEADER = "x-amz-server-side-encryption"
_OF_SERVICES = (f"{HEADER}-aws-kms-key-id", f"{HEADER}-context")
_ALGORITHM = customer_keys.ALGORITHM


def check(ctx: Context, headers: Mapping[str, str]) -> None:
    """Raise where a request asks for what is not done, or for what excludes each other."""
    customers = customer_keys.read(headers)
    if HEADER in headers:
        if customers:
            raise S3Error("InvalidArgument", f"A customer's key excludes {HEADER}.")
        _check_algorithm(ctx, headers[HEADER])
    if any(name in headers for name in _OF_SERVICES):
        raise S3Error("InvalidArgument", f"A key of a key service needs {HEADER}: aws:kms.")


def _check_algorithm(ctx: Context, name: str) -> None:
    if name in ("aws:kms", "aws:kms:dsse"):
        raise S3Error("KMS.NotFoundException")
    if name != _ALGORITHM:
        raise S3Error("InvalidEncryptionAlgorithmError")
    if not _encrypts(ctx):
        raise S3Error("NotImplemented", "The store does not encrypt: object_store.encryption.")


def _encrypts(ctx: Context) -> bool:
    return ctx.cloud.settings.object_store.encryption


def of_written(asked: Asked) -> dict[str, str]:
    """What the answer to a write says."""
    told = customer_keys.told(asked.headers)
    return told or ({HEADER: _ALGORITHM} if _encrypts(asked.ctx) else {})


def of_found(found: Response) -> dict[str, str]:
    """What the answer about a key says, but for a customer's key."""
    is_store = header(found, IS_ENCRYPTED) and not customer_keys.noted(found)
    return {HEADER: _ALGORITHM} if is_store else {}


def show(asked: Asked) -> Response:
    """GET ?encryption."""
    asked.require_permitted()
    if not _encrypts(asked.ctx):
        code = "ServerSideEncryptionConfigurationNotFoundError"
        raise S3Error(code, BucketName=asked.bucket)
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": _ALGORITHM},
        "BucketKeyEnabled": False,
    }
    return xml.document("ServerSideEncryptionConfiguration", {"Rule": rule})


def update(asked: Asked) -> Response:
    """PUT and DELETE ?encryption: what is so anyhow can be set."""
    asked.require_permitted()
    if asked.request.method == "DELETE":
        return Response(204)
    document = xml.read(asked.document(), "ServerSideEncryptionConfiguration")
    found = document.findall("Rule/ApplyServerSideEncryptionByDefault/SSEAlgorithm")
    if len(found) != 1:
        raise S3Error("MalformedXML", "There is one rule, with an SSEAlgorithm.")
    _check_algorithm(asked.ctx, xml.texts(found)[0])
    if document.find("Rule/ApplyServerSideEncryptionByDefault/KMSMasterKeyID") is not None:
        raise S3Error("InvalidArgument", f"A KMSMasterKeyID does not go with {_ALGORITHM}.")
    return Response(200, b"")
