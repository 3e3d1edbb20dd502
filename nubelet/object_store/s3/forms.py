"""Uploads by a browser's form: the page's author signs a policy of what may be sent.

    POST /bucket    multipart/form-data: key, policy, signature and others, at last `file`

Reference: Amazon S3 API Reference, "Browser-Based Uploads Using POST".
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from nubelet.kernel import clock
from nubelet.kernel.http.messages import Response
from nubelet.object_store.features.form_parts import Part, Parts, boundary_of
from nubelet.object_store.s3 import (
    customer_keys,
    encryption,
    locks,
    names,
    objects,
    signers,
    signing,
    tags,
    xml,
)
from nubelet.object_store.s3.asked import Asked, account_of
from nubelet.object_store.s3.bodies import Upload
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.s3.signing import Signature

_MOST_BYTES = 20 << 10
# Fields that a policy need not speak of.
_FREE = frozenset(("awsaccesskeyid", "signature", "x-amz-signature", "policy", "file"))
_KEPT = ("content-type", "content-encoding", "cache-control", "content-disposition", "expires")


class _Form(NamedTuple):
    """The fields by lower-case name, and the file behind them."""

    fields: dict[str, str]
    file: Part


def is_form(method: str, key: str, headers: Mapping[str, str]) -> bool:
    """Is the request an upload by a form?"""
    kind = headers.get("content-type", "").lower()
    return method == "POST" and not key and kind.startswith("multipart/form-data")


def upload(asked: Asked) -> Response:
    """POST /bucket. The caller is who signed the policy."""
    form = _read(asked)
    fields = form.fields
    name = (form.file.file_name or "").replace("\\", "/").rpartition("/")[2]
    if "key" not in fields:
        raise S3Error("InvalidArgument", "Bucket POST must contain a field named 'key'.")
    fields["key"] = fields["key"].replace("${filename}", name)
    if not fields["key"]:
        raise S3Error("InvalidArgument", "The key is empty.")
    names.check_key(fields["key"])
    least, most = 0, 5 << 30
    if signature := _signature(fields):
        signed = signers.verify(asked.ctx, asked.request, signature)
        asked.ctx.credentials, asked.allow = signed.credentials, signed.allow
        least, most = _judge(fields, asked.bucket)
        if not asked.account:
            asked.account, _bucket = account_of(asked.store, asked.bucket, asked.own)
    if not asked.account:
        raise S3Error("NoSuchBucket", BucketName=asked.bucket)
    return _store(asked, form, least, most)


def _read(asked: Asked) -> _Form:
    fields: dict[str, str] = {}
    size = 0
    kind = asked.headers["content-type"]
    for part in Parts(asked.request.chunks(1 << 16), boundary_of(kind)):
        if part.name.lower() == "file":
            if "content-type" not in fields and "content-type" in part.headers:
                fields.setdefault("", part.headers["content-type"])
            return _Form(fields, part)
        fields[part.name.lower()] = text = part.text(_MOST_BYTES)
        size += len(text)
        if size > _MOST_BYTES:
            raise S3Error("MaxPostPreDataLengthExceeded")
    raise S3Error("InvalidArgument", "POST requires exactly one file upload per request.")


def _signature(fields: Mapping[str, str]) -> Signature | None:
    """Who signed the policy; None where nobody did. Raises what is missing."""
    policy = fields.get("policy")
    is_v4 = "x-amz-algorithm" in fields or "x-amz-signature" in fields
    if policy is None:
        if is_v4 or "awsaccesskeyid" in fields:
            raise S3Error("InvalidArgument", "Bucket POST must contain a field named 'policy'.")
        return None
    wanted: tuple[str, ...]
    if is_v4:
        wanted = ("x-amz-credential", "x-amz-date", "x-amz-signature", "x-amz-algorithm")
    else:
        wanted = ("awsaccesskeyid", "signature")
    for name in wanted:
        if not fields.get(name):
            raise S3Error("InvalidArgument", f"Bucket POST must contain a field named '{name}'.")
    if is_v4:
        if fields["x-amz-algorithm"] != signing.ALGORITHM:
            raise S3Error("InvalidArgument", "X-Amz-Algorithm only supports AWS4-HMAC-SHA256.")
        return signing.of_policy(
            policy,
            fields["x-amz-credential"],
            fields["x-amz-date"],
            fields["x-amz-signature"],
        )
    sent = fields["signature"]

    def fits(secret: str) -> bool:
        made = base64.b64encode(hmac.digest(secret.encode(), policy.encode(), "sha1"))
        return hmac.compare_digest(made, sent.strip().encode())

    return Signature(fields["awsaccesskeyid"], fits)


# --- The policy -------------------------------------------------------------------------------


def _judge(fields: Mapping[str, str], bucket: str) -> tuple[int, int]:
    """Least and most bytes that the policy lets through; raises where it fits not."""
    try:
        policy = json.loads(base64.b64decode(fields["policy"]))
        ends = datetime.fromisoformat(policy["expiration"]).timestamp()
        conditions = policy["conditions"]
        if not isinstance(conditions, list):
            raise TypeError
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        raise S3Error("InvalidPolicyDocument") from None
    if ends < clock.now() / 1e6:
        raise S3Error("AccessDenied", "Invalid according to Policy: Policy expired.")
    values = {**fields, "bucket": bucket}
    least, most, spoken = 0, 5 << 30, set(_FREE)
    for condition in conditions:
        kind, name, wanted = _condition(condition)
        if kind == "content-length-range":
            least, most = int(name), int(wanted)
            continue
        spoken.add(name)
        value = values.get(name, "")
        holds = value == wanted if kind == "eq" else _begins(name, value, wanted)
        if not holds:
            text = json.dumps(condition)
            raise S3Error(
                "AccessDenied", f"Invalid according to Policy: Policy Condition failed: {text}"
            )
    if "bucket" not in spoken:  # else it would be one for every bucket of its signer
        raise S3Error("AccessDenied", "Invalid according to Policy: no condition names the bucket.")
    extra = {name for name in fields if name and not name.startswith("x-ignore-")} - spoken
    if extra:
        raise S3Error(
            "AccessDenied", f"Invalid according to Policy: Extra input fields: {min(extra)}"
        )
    return least, most


def _begins(name: str, value: str, wanted: str) -> bool:
    # Of a list of types each must begin so.
    values = value.split(",") if name == "content-type" else [value]
    return all(each.strip().startswith(wanted) for each in values)


def _condition(condition: Any) -> tuple[str, str, str]:
    """Its kind, the field (or the least size), the value (or the most)."""
    if isinstance(condition, dict) and len(condition) == 1:
        name, value = next(iter(condition.items()))
        if isinstance(value, str):
            return "eq", name.lower(), value
    if isinstance(condition, list) and len(condition) == 3:
        kind, name, value = str(condition[0]).lower(), condition[1], condition[2]
        if kind == "content-length-range":
            if all(str(each).isascii() and str(each).isdigit() for each in (name, value)):
                return kind, str(name), str(value)
        elif (
            kind in ("eq", "starts-with")
            and isinstance(name, str)
            and name.startswith("$")
            and isinstance(value, str)
        ):
            return kind, name[1:].lower(), value
    raise S3Error("InvalidPolicyDocument")


# --- The file ---------------------------------------------------------------------------------


def _store(asked: Asked, form: _Form, least: int, most: int) -> Response:
    fields = form.fields
    headers = {
        name: value.encode().decode("latin-1")
        for name, value in fields.items()
        if name in _KEPT or name.startswith(("x-amz-meta-", "x-amz-checksum-", "x-amz-website-"))
    }
    for field, name in (("acl", "x-amz-acl"), ("", "content-type")):
        if field in fields:
            headers.setdefault(name, fields[field])
    if "tagging" in fields:
        headers["x-amz-tagging"] = tags.read_document(fields["tagging"].encode())
    for name in fields:
        is_of_signature = name in ("x-amz-algorithm", "x-amz-date")
        if name in locks.HEADERS or name.startswith(encryption.HEADER) or is_of_signature:
            headers[name] = fields[name]
    headers["transfer-encoding"] = "chunked"

    def body(size: int) -> Iterator[bytes]:
        count = 0
        for piece in form.file.read():
            count += len(piece)
            if count > most:
                raise S3Error("EntityTooLarge")
            yield piece
        if count < least:
            raise S3Error("EntityTooSmall", "The file is smaller than the policy allows.")

    request = replace(asked.request, headers=headers, method="PUT")
    customer_keys.check_transport(asked.ctx, request)
    put = replace(
        asked,
        request=request,
        key=fields["key"],
        query={},
        upload=Upload(headers, body, None, b""),
        action="PutObject",
    )
    objects.refuse_unknown(put)
    stored = objects.write(put)
    return _answer(asked, fields, stored)


def _answer(asked: Asked, fields: Mapping[str, str], stored: Response) -> Response:
    etag, key = stored.headers["ETag"], fields["key"]
    location = f"{asked.request.url.partition('?')[0].rstrip('/')}/{quote(key)}"
    headers = {**stored.headers, "Location": location}
    target = fields.get("success_action_redirect") or fields.get("redirect")
    if target and target.isprintable() and target.startswith(("http://", "https://", "/")):
        told = urlencode({"bucket": asked.bucket, "key": key, "etag": etag})
        headers["Location"] = quote(target, safe="%/:=&?~#+!$,;'@()*[]") + (
            f"&{told}" if "?" in target else f"?{told}"
        )
        return Response(303, b"", headers)
    status = fields.get("success_action_status", "204")
    if status == "201":
        document = {"Location": location, "Bucket": asked.bucket, "Key": key, "ETag": etag}
        answer = xml.document("PostResponse", document, 201)
        answer.headers |= headers
        return answer
    if status == "200":
        return Response(200, b"", headers)
    return Response(204, None, headers)
