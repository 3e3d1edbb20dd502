"""Buckets: listed, made, looked at, deleted. A bucket is a container of the project's account."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import pieces
from nubelet.object_store.s3 import (
    access,
    digits,
    garbage,
    listings,
    locks,
    names,
    owners,
    parts,
    rules,
    xml,
)
from nubelet.object_store.s3.asked import NOTED, Asked, noted
from nubelet.object_store.s3.errors import S3Error

# The region that has no name: a bucket in it tells none.
_NAMELESS = "us-east-1"
_LOCATION = "location"
_MOST = 10_000
# With one of these a list of buckets tells of their regions.
_OF_PAGES = {"bucket-region", "continuation-token", "max-buckets", "prefix"}


def list_buckets(asked: Asked) -> Response:
    """GET /: the buckets of the signer's project, all of them or page by page."""
    if not asked.account:
        raise S3Error("AccessDenied", "Anonymous callers have no buckets.")
    query, most = asked.query, _most(asked.query.get("max-buckets"))
    prefix, token = query.get("prefix", ""), query.get("continuation-token")
    marker = listings.name_of_token(token) if token else ""
    there = _buckets(asked, prefix, marker)
    if (region := query.get("bucket-region")) is not None:
        there = (each for each in there if _today(_region(asked, each["name"])) == region)
    found = list(islice(there, most + 1))
    shown = found[:most]
    buckets = [
        {"Name": each["name"], "CreationDate": xml.iso(each["last_modified"])} for each in shown
    ]
    if query.keys() & _OF_PAGES:
        for bucket in buckets:
            bucket["BucketRegion"] = _today(_region(asked, bucket["Name"]))
    is_more = len(found) > len(shown)
    return xml.document(
        "ListAllMyBucketsResult",
        {
            "Owner": access.owner(asked.account),
            "Buckets": {"Bucket": buckets},
            "Prefix": prefix or None,
            "ContinuationToken": listings.token_of(shown[-1]["name"]) if is_more else None,
        },
    )


def _most(text: str | None) -> int:
    if text is None:
        return sys.maxsize - 1  # without it, all of them
    most = digits.read(text, _MOST)
    if not most:
        raise S3Error("InvalidArgument", f"max-buckets must be between 1 and {_MOST}.")
    return most


def _buckets(asked: Asked, prefix: str, marker: str) -> Iterator[dict[str, Any]]:
    """Containers that are buckets, by name, those behind a marker."""
    while True:
        query = {"format": "json", "marker": marker, "prefix": prefix}
        page = json.loads(
            b"".join(pieces(asked.ask(asked.call("GET", container="", object="", query=query))))
        )
        yield from (each for each in page if names.is_bucket(each["name"]))
        if len(page) < _MOST:
            return
        marker = page[-1]["name"]


def create(asked: Asked) -> Response:
    """PUT /bucket. Making one's own again is 409, as everywhere but in us-east-1."""
    if not names.is_bucket(asked.bucket):
        raise S3Error("InvalidBucketName", BucketName=asked.bucket)
    region = _wanted_region(asked)
    kept = {**access.of_new_bucket(asked), **locks.of_new_bucket(asked)}
    if region:
        kept[f"{NOTED}{_LOCATION}"] = region
    call = asked.call("PUT", object="", headers=kept)
    if call.container_info() is not None:
        rules.decide(asked, asked.call("POST"), "")
        raise S3Error("BucketAlreadyOwnedByYou", BucketName=asked.bucket)
    if not owners.take(asked.store, asked.bucket, asked.account):
        rules.decide(asked, asked.call("PUT"), "")
        raise S3Error("BucketAlreadyExists", BucketName=asked.bucket)
    response = asked.ask(call)
    if response.status == 202:  # somebody made it meanwhile
        raise S3Error("BucketAlreadyOwnedByYou", BucketName=asked.bucket)
    return Response(200, b"", {"Location": f"/{asked.bucket}"})


def show(asked: Asked) -> Response:
    """HEAD /bucket. Where it is, also who may not see it is told."""
    region = {"x-amz-bucket-region": _today(_region(asked, asked.bucket))}
    try:
        asked.ask(asked.call("HEAD", object=""))
    except ApiError as error:
        if error.status == 403:
            error.headers |= region
        raise
    return Response(200, None, region)


def delete(asked: Asked) -> Response:
    """DELETE /bucket; uploads under way are given up with it."""
    call = asked.call("DELETE", object="")
    if archive := garbage.archive_of(asked.store, asked.account, asked.bucket):
        rules.require(asked, "DeleteBucket")
        message = f"What was moved to {archive} is made of parts that go with the bucket."
        raise S3Error("BucketNotEmpty", message, BucketName=asked.bucket)
    try:
        asked.ask(call)
    except ApiError as error:
        if error.status == 409:
            raise S3Error("BucketNotEmpty", BucketName=asked.bucket) from None
        raise
    parts.remove_all(asked)
    owners.free(asked.store, asked.bucket, asked.account)
    return Response(204)


def location(asked: Asked) -> Response:
    """GET ?location."""
    asked.ask(asked.call("HEAD", object=""))
    region = _region(asked, asked.bucket)
    root = f'LocationConstraint xmlns="{xml.NAMESPACE}"'
    told = f"<{root}/>" if region == _NAMELESS else f"<{root}>{region}</LocationConstraint>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{told}'
    return Response(200, body.encode(), {}, "application/xml")


def _wanted_region(asked: Asked) -> str:
    """What a request that makes a bucket says of its region, if anything."""
    body = asked.document()
    wanted = body and xml.text(xml.read(body, "CreateBucketConfiguration"), "LocationConstraint")
    known = asked.ctx.cloud.settings.object_store.s3_regions
    if wanted and _today(wanted) not in known:
        raise S3Error("InvalidLocationConstraint", LocationConstraint=wanted)
    return wanted or ""


def _today(region: str) -> str:
    """How a region is called that once had another name."""
    return "eu-west-1" if region == "EU" else region


def _region(asked: Asked, bucket: str) -> str:
    """Where a bucket is: what its maker said, else the first region."""
    info = asked.call("HEAD", container=bucket, object="").container_info()
    kept = noted(info, _LOCATION) if info else ""
    return kept or asked.ctx.cloud.settings.object_store.s3_regions[0]
