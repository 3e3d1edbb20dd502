"""From an S3 request to an answer: who signed it, which bucket and key, which operation.

    /s3/bucket/key    or, with a signature, /bucket/key at the root of the cloud
    /s3/project:bucket/key    a bucket of another project, as far as it lets others in

Operations are chosen by method, by what is named, and by the first known subresource of the query.

Reference: Amazon S3 API Reference. In OpenStack: swift/common/middleware/s3api.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from urllib.parse import unquote_to_bytes

from nubelet.kernel.context import ANONYMOUS, Context
from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.bodies import ClientGone
from nubelet.kernel.http.messages import Request, Response
from nubelet.object_store.features.authorization import PREFIX
from nubelet.object_store.s3 import (
    access,
    access_logs,
    attributes,
    buckets,
    checksums,
    configurations,
    customer_keys,
    encryption,
    errors,
    forms,
    hosts,
    lifecycles,
    listings,
    locks,
    multipart,
    names,
    objects,
    payments,
    signers,
    signing,
    website,
)
from nubelet.object_store.s3.asked import Asked, account_of
from nubelet.object_store.s3.bodies import Upload
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage import Storage

MOUNT = "/s3"
Operation = Callable[[Asked], Response]
# (method, subresource) -> operation and its name in policies; "" is no subresource.
_BUCKET: Mapping[tuple[str, str], tuple[Operation, str]] = {
    ("GET", ""): (listings.list_objects, "ListBucket"),
    ("HEAD", ""): (buckets.show, "ListBucket"),
    ("PUT", ""): (buckets.create, "CreateBucket"),
    ("DELETE", ""): (buckets.delete, "DeleteBucket"),
    ("GET", "versions"): (listings.list_versions, "ListBucketVersions"),
    ("GET", "uploads"): (listings.list_uploads, "ListBucketMultipartUploads"),
    ("GET", "location"): (buckets.location, "GetBucketLocation"),
    ("POST", "delete"): (objects.delete_many, "DeleteObject"),
    ("GET", "acl"): (access.show, "GetBucketAcl"),
    ("PUT", "acl"): (access.update, "PutBucketAcl"),
    ("GET", "policy"): (access.show_policy, "GetBucketPolicy"),
    ("PUT", "policy"): (access.update_policy, "PutBucketPolicy"),
    ("DELETE", "policy"): (access.update_policy, "DeleteBucketPolicy"),
    ("GET", "policyStatus"): (access.show_policy_status, "GetBucketPolicyStatus"),
    ("GET", "publicAccessBlock"): (access.show_public_block, "GetBucketPublicAccessBlock"),
    ("PUT", "publicAccessBlock"): (access.update_public_block, "PutBucketPublicAccessBlock"),
    ("DELETE", "publicAccessBlock"): (access.update_public_block, "PutBucketPublicAccessBlock"),
    ("GET", "ownershipControls"): (access.show_ownership, "GetBucketOwnershipControls"),
    ("PUT", "ownershipControls"): (access.update_ownership, "PutBucketOwnershipControls"),
    ("DELETE", "ownershipControls"): (access.update_ownership, "PutBucketOwnershipControls"),
    ("GET", "website"): (website.show, "GetBucketWebsite"),
    ("PUT", "website"): (website.update, "PutBucketWebsite"),
    ("DELETE", "website"): (website.update, "DeleteBucketWebsite"),
    ("GET", "versioning"): (configurations.show_versioning, "GetBucketVersioning"),
    ("PUT", "versioning"): (configurations.update_versioning, "PutBucketVersioning"),
    ("GET", "tagging"): (configurations.show_tags, "GetBucketTagging"),
    ("PUT", "tagging"): (configurations.update_tags, "PutBucketTagging"),
    ("DELETE", "tagging"): (configurations.update_tags, "PutBucketTagging"),
    ("GET", "cors"): (configurations.show_cors, "GetBucketCORS"),
    ("PUT", "cors"): (configurations.update_cors, "PutBucketCORS"),
    ("DELETE", "cors"): (configurations.update_cors, "PutBucketCORS"),
    ("GET", "encryption"): (encryption.show, "GetEncryptionConfiguration"),
    ("PUT", "encryption"): (encryption.update, "PutEncryptionConfiguration"),
    ("DELETE", "encryption"): (encryption.update, "PutEncryptionConfiguration"),
    ("GET", "lifecycle"): (lifecycles.show, "GetLifecycleConfiguration"),
    ("PUT", "lifecycle"): (lifecycles.update, "PutLifecycleConfiguration"),
    ("DELETE", "lifecycle"): (lifecycles.update, "PutLifecycleConfiguration"),
    ("GET", "abac"): (configurations.show_abac, "GetBucketAbac"),
    ("PUT", "abac"): (configurations.update_abac, "PutBucketAbac"),
    ("GET", "logging"): (access_logs.show, "GetBucketLogging"),
    ("PUT", "logging"): (access_logs.update, "PutBucketLogging"),
    ("GET", "requestPayment"): (payments.show, "GetBucketRequestPayment"),
    ("PUT", "requestPayment"): (payments.update, "PutBucketRequestPayment"),
    ("GET", "object-lock"): (locks.show_configuration, "GetBucketObjectLockConfiguration"),
    ("PUT", "object-lock"): (locks.update_configuration, "PutBucketObjectLockConfiguration"),
    **{
        (method, name): (operation, f"{verb}{action}")
        for name, (_root, action) in configurations.MANY.items()
        for method, operation, verb in (
            ("GET", configurations.show_none, "Get"),
            ("PUT", configurations.refuse, "Put"),
            ("DELETE", configurations.remove_none, "Put"),
        )
    },
    **{
        (method, name): (operation, f"{verb}{action}")
        for name, (_absent, action) in (configurations.ABSENT | configurations.EMPTY).items()
        for method, operation, verb in (
            ("GET", configurations.show_absent, "Get"),
            ("PUT", configurations.refuse, "Put"),
            ("DELETE", configurations.remove_absent, "Put"),
        )
    },
}
_KEY: Mapping[tuple[str, str], tuple[Operation, str]] = {
    ("GET", ""): (objects.show, "GetObject"),
    ("HEAD", ""): (objects.show, "GetObject"),
    ("PUT", ""): (objects.put, "PutObject"),
    ("DELETE", ""): (objects.delete, "DeleteObject"),
    ("GET", "acl"): (access.show, "GetObjectAcl"),
    ("PUT", "acl"): (access.update, "PutObjectAcl"),
    ("GET", "attributes"): (attributes.show, "GetObjectAttributes"),
    ("GET", "tagging"): (objects.show_tags, "GetObjectTagging"),
    ("PUT", "tagging"): (objects.update_tags, "PutObjectTagging"),
    ("DELETE", "tagging"): (objects.update_tags, "DeleteObjectTagging"),
    ("GET", "retention"): (locks.show_retention, "GetObjectRetention"),
    ("PUT", "retention"): (locks.update_retention, "PutObjectRetention"),
    ("GET", "legal-hold"): (locks.show_hold, "GetObjectLegalHold"),
    ("PUT", "legal-hold"): (locks.update_hold, "PutObjectLegalHold"),
    ("POST", "restore"): (objects.restore, "RestoreObject"),
    ("POST", "uploads"): (multipart.begin, "PutObject"),
    ("PUT", "uploadId"): (multipart.put_part, "PutObject"),
    ("GET", "uploadId"): (multipart.list_parts, "ListMultipartUploadParts"),
    ("POST", "uploadId"): (multipart.complete, "PutObject"),
    ("DELETE", "uploadId"): (multipart.abort, "AbortMultipartUpload"),
}
# Subresources that nothing answers for: better refused than taken for the plain operation.
_UNKNOWN = frozenset(
    (
        "annotation",
        "metadataAnnotationTable",
        "metadataConfiguration",
        "metadataInventoryTable",
        "metadataJournalTable",
        "metadataTable",
        "renameObject",
        "select",
        "session",
        "torrent",
    )
)


def serve(ctx: Context, request: Request) -> Response:
    """Answer a request. Raises nothing that a user caused."""
    path = request.base.encode() + request.raw_path
    asked, code, begun = None, "", time.monotonic()
    try:
        named = hosts.find(ctx.cloud, request.headers) or hosts.Named("", hosts.REST)
        if named.bucket:
            path = f"/{named.bucket}".encode() + path
        asked = _asked(ctx, request, path, named.bucket)
        customer_keys.check_transport(ctx, asked.request)
        response = website.visit(asked) if _is_visit(asked, named) else _answer(asked)
    except ClientGone:
        raise
    except ApiError as error:
        with_body, code = request.method != "HEAD", errors.translated(error).s3_code
        shown = path.decode("latin-1")
        response = errors.answer(error, shown, ctx.request_id, with_body=with_body)
    if asked is not None:
        response.headers.update(_for_browser(asked))
    response.headers["x-amz-request-id"] = ctx.request_id
    response.headers["x-amz-id-2"] = ctx.request_id
    if response.content_type is None:
        response.content_type = errors.XML
    if asked is not None:
        access_logs.record(asked, response, code, time.monotonic() - begun)
    return response


def _asked(ctx: Context, request: Request, path: bytes, host_bucket: str) -> Asked:
    if request.stalled:
        raise request.stalled
    signed = signers.identify(ctx, request, host_bucket)
    if signed:
        request = signing.with_signed_query(request)
    ctx.credentials = signed.credentials if signed else ANONYMOUS
    bucket, key = _names(path)
    own = PREFIX + (ctx.project_id or "") if ctx.project_id else ""
    store = ctx.cloud.get(Storage)  # type: ignore[type-abstract]
    query = {name: values[0] for name, values in request.query.items()}
    is_new = request.method == "PUT" and not key and not query and ":" not in bucket
    account, bucket = (own, bucket) if is_new and own else account_of(store, bucket, own)
    if bucket and not account and not forms.is_form(request.method, key, request.headers):
        if is_new:
            raise S3Error("AccessDenied", "A bucket needs an owner: sign the request.")
        is_bare = not request.base and not signed  # perhaps a service was meant
        message = "There is no bucket, and no service, of this name." if is_bare else ""
        raise S3Error("NoSuchBucket", message, BucketName=bucket)
    # Who completes an upload tells the checksum of the key, not of the list of parts.
    is_about_key = request.method == "POST" and "uploadId" in query
    headers = checksums.without(request.headers) if is_about_key else request.headers
    if signed:
        upload = Upload(headers, request.chunks, signed.signature, signed.key)
    else:
        upload = Upload(headers, request.chunks, None, b"")
    asked = Asked(ctx, store, request, account, bucket, key, query, upload)
    asked.allow, asked.allowed = signed.allow if signed else None, asked.path
    return asked


def _is_visit(asked: Asked, named: hosts.Named) -> bool:
    if named.kind == hosts.EITHER:
        return not asked.ctx.user_id and not asked.query and website.is_site(asked)
    return named.kind == hosts.SITE


def _names(path: bytes) -> tuple[str, str]:
    """Bucket and key of a path, with or without the mount."""
    text = path.decode("latin-1")
    if text == MOUNT or text.startswith(f"{MOUNT}/"):
        text = text[len(MOUNT) :]
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise S3Error("InvalidArgument", "The path is not UTF-8.") from None
    bucket, _, key = decoded.removeprefix("/").partition("/")
    names.check_key(key)
    if bucket and not names.is_bucket(bucket.rpartition(":")[2]):
        raise S3Error("InvalidBucketName", BucketName=bucket)
    return bucket, key


def _answer(asked: Asked) -> Response:
    method = asked.request.method
    if method == "OPTIONS":
        return _preflight(asked)
    kind = "OBJECT" if asked.key else "BUCKET" if asked.bucket else "SERVICE"
    not_allowed = S3Error("MethodNotAllowed", Method=method, ResourceType=kind)
    if not asked.bucket:
        if method != "GET":
            raise not_allowed
        return buckets.list_buckets(asked)
    if forms.is_form(method, asked.key, asked.headers):
        return forms.upload(asked)
    if unknown := _UNKNOWN & asked.query.keys():
        raise S3Error("NotImplemented", f"?{min(unknown)} is not implemented.")
    table, other = (_KEY, _BUCKET) if asked.key else (_BUCKET, _KEY)
    subresources = {name for _, name in table if name}
    name = next((each for each in asked.query if each in subresources), "")
    if not name and any(each and each in asked.query for _, each in other):
        # What only a bucket has, or only a key: else it would be taken for the plain operation.
        raise not_allowed
    found = table.get((method, name))
    if found is None:
        raise not_allowed
    (operation, asked.action), asked.subresource = found, name
    if asked.query.get("versionId") == "":
        raise S3Error("InvalidArgument", "The version id must not be empty.")
    if method == "PUT" and "partNumber" in asked.query and "uploadId" not in asked.query:
        raise S3Error("InvalidRequest", "A part has a partNumber and an uploadId.")
    _check_expected_owner(asked)
    charged = payments.check(asked)
    response = operation(asked)
    response.headers |= charged
    return response


def _for_browser(asked: Asked) -> Mapping[str, str]:
    """What lets a page of another origin see the answer, be it a refusal."""
    origin, method = asked.headers.get("origin"), asked.request.method
    if not asked.bucket or method == "OPTIONS":
        return {}
    if not origin:
        seen = asked.seen_bucket()
        return {"Vary": configurations.VARY} if seen and configurations.has_cors(seen) else {}
    try:
        info = asked.call("HEAD", object="").container_info()
    except ApiError:  # the store does not answer, as was said
        return {}
    return (configurations.cors_headers(info, origin, method) if info else None) or {}


def _check_expected_owner(asked: Asked) -> None:
    """A caller may say whose bucket it takes it for."""
    expected = asked.headers.get("x-amz-expected-bucket-owner")
    if expected is not None and expected != access.owner(asked.account)["ID"]:
        raise S3Error("AccessDenied", "The bucket is not that owner's.")


def _preflight(asked: Asked) -> Response:
    """A browser asks whether it may. It shows no signature, but for one in the URL."""
    origin = asked.headers.get("origin", "")
    method = asked.headers.get("access-control-request-method", "")
    if not origin or not method:
        raise S3Error("BadRequest", "A preflight names an origin and a method.")
    info = asked.call("HEAD", object="").container_info() if asked.bucket else None
    wanted = asked.headers.get("access-control-request-headers", "").lower().split(",")
    wanted = [each.strip() for each in wanted if each.strip()]
    found = configurations.cors_headers(info, origin, method, wanted) if info else None
    if found is None:
        kind = "OBJECT" if asked.key else "BUCKET"
        message = "No CORS rule of the bucket allows this."
        raise S3Error("AccessForbidden", message, Method=method, ResourceType=kind)
    return Response(200, b"", dict(found))
