"""Who pays for requests: a bucket's owner, or who asks, who then has to say so.

Nobody is billed here. What counts is that nobody reads by accident what he would pay for.
Reference: Amazon S3 User Guide, "Using Requester Pays general purpose buckets".
"""

from __future__ import annotations

from nubelet.kernel.http.messages import Response
from nubelet.object_store.s3 import xml
from nubelet.object_store.s3.asked import Asked, noted, source_of_copy
from nubelet.object_store.s3.errors import S3Error

_OWNER, _REQUESTER, _HEADER = "BucketOwner", "Requester", "x-amz-request-payer"


def show(asked: Asked) -> Response:
    """GET ?requestPayment."""
    payer = noted(asked.require_permitted(), "payer") or _OWNER
    return xml.document("RequestPaymentConfiguration", {"Payer": payer})


def update(asked: Asked) -> Response:
    """PUT ?requestPayment."""
    asked.require_permitted()
    payer = xml.text(xml.read(asked.document(), "RequestPaymentConfiguration"), "Payer")
    if payer not in (_OWNER, _REQUESTER):
        raise S3Error("MalformedXML", "Payer must be BucketOwner or Requester.")
    asked.note(payer=payer)
    return Response(200, b"")


def check(asked: Asked) -> dict[str, str]:
    """Raise AccessDenied for who would pay and has not said that he will; what the answer says."""
    buckets = {(asked.account, asked.bucket)}
    if asked.key and "x-amz-copy-source" in asked.headers:
        buckets.add(source_of_copy(asked)[:2])
    if not any(_charges(asked, *bucket) for bucket in buckets):
        return {}
    said = asked.headers.get(_HEADER) or asked.query.get(_HEADER)
    if not asked.ctx.user_id or said != "requester":
        raise S3Error("AccessDenied", "Who asks pays for requests of this bucket, and says so.")
    return {"x-amz-request-charged": "requester"}


def _charges(asked: Asked, account: str, bucket: str) -> bool:
    """Does the caller pay for requests of that bucket?"""
    info = asked.call("HEAD", object="").container_info(account, bucket)
    return info is not None and noted(info, "payer") == _REQUESTER and account != asked.own
