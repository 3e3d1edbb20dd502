"""May the caller do this? Of what an operation asks the store, each call is asked here.

In this order: the bucket's policy denies or allows; roles and lists of the store (features/
authorization.py: owners everything, readers of the project read, Swift's lists as they stand);
grants of the bucket and of the key. Everything else is refused.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from nubelet.kernel import clock
from nubelet.kernel.errors import ApiError
from nubelet.object_store.call import Call, header
from nubelet.object_store.features import authorization
from nubelet.object_store.s3 import grants, names, policies, versions
from nubelet.object_store.s3.errors import S3Error

if TYPE_CHECKING:
    from nubelet.kernel.http.messages import Response
    from nubelet.object_store.s3.asked import Asked
    from nubelet.object_store.storage import ContainerInfo

NOTED = "x-container-sysmeta-s3-"
ACL = "x-object-transient-sysmeta-s3-acl"
TAGS = "x-object-transient-sysmeta-s3-tags"
# Operations that the store's own lists can speak of, because Swift has them too.
_READS = frozenset(
    ("GetObject", "GetObjectVersion", "GetObjectAttributes", "GetObjectVersionAttributes")
) | {"GetObjectTagging", "GetObjectVersionTagging"}
_LISTS = frozenset(("ListBucket", "ListBucketVersions", "ListBucketMultipartUploads"))
_WRITES = frozenset(
    ("PutObject", "DeleteObject", "DeleteObjectVersion", "AbortMultipartUpload")
) | {
    "ListMultipartUploadParts",
    "PutObjectTagging",
    "PutObjectVersionTagging",
    "DeleteObjectTagging",
    "DeleteObjectVersionTagging",
}
# What a permission of the bucket or of the key lets a grantee do.
_OF_BUCKET = {
    **dict.fromkeys(_LISTS, "READ"),
    "PutObject": "WRITE",
    "DeleteObject": "WRITE",
    "AbortMultipartUpload": "WRITE",
    "ListMultipartUploadParts": "WRITE",
    "GetBucketAcl": "READ_ACP",
    "PutBucketAcl": "WRITE_ACP",
}
_OF_KEY = {
    **dict.fromkeys(_READS - {"GetObjectTagging", "GetObjectVersionTagging"}, "READ"),
    "GetObjectAcl": "READ_ACP",
    "GetObjectVersionAcl": "READ_ACP",
    "PutObjectAcl": "WRITE_ACP",
    "PutObjectVersionAcl": "WRITE_ACP",
}
# An owner who shut himself out can open again.
_NEVER_DENIED = frozenset(("GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"))
_WITH_VERSION = {
    "GetObject": "GetObjectVersion",
    "GetObjectAcl": "GetObjectVersionAcl",
    "GetObjectAttributes": "GetObjectVersionAttributes",
    "GetObjectTagging": "GetObjectVersionTagging",
    "PutObjectAcl": "PutObjectVersionAcl",
    "PutObjectTagging": "PutObjectVersionTagging",
    "DeleteObject": "DeleteObjectVersion",
    "DeleteObjectTagging": "DeleteObjectVersionTagging",
}


def decide(asked: Asked, call: Call, acl: str) -> None:
    """The authority of an S3 request's calls; raises what refuses it."""
    if not call.container or (call.account, call.container) in asked.opened:
        if not call.container:
            authorization.decide(call, acl)
        return
    info = call.container_info()
    action = _action(asked, call)
    if info is not None and _by_policy(asked, call, info, action):
        _open(asked, call)
        return
    usual = acl if action in _READS | _LISTS | _WRITES else ""
    try:
        authorization.decide(call, usual)
        if not call.is_owner and action not in _READS | _LISTS | _WRITES and not call.is_read:
            raise authorization.denied(call, "Only the owner may do this.")
    except ApiError as refused:
        if info is None or not _granted(asked, call, info, action):
            raise S3Error("AccessDenied", refused.message) from None
    _open(asked, call)


def require(asked: Asked, action: str) -> None:
    """Raise AccessDenied unless the caller may also do this with the key."""
    call = asked.call("PUT")
    info = call.container_info()
    if info is not None and _by_policy(asked, call, info, action):
        return
    authorization.decide(call, "")


def _open(asked: Asked, call: Call) -> None:
    """Who may have the key may have its parts."""
    if call.object:
        asked.opened.add((call.account, names.parts_of(call.container)))


def _action(asked: Asked, call: Call) -> str:
    is_main = (call.account, call.container) == (asked.account, asked.bucket) and (
        call.object == asked.key or not call.object
    )
    action = asked.action
    if not is_main or (action == "PutObject" and call.is_read and call.object):
        if call.object:
            action = "GetObject" if call.is_read else "PutObject"
        else:
            action = "ListBucket" if call.is_read else "PutObject"
    if asked.query.get("versionId") or call.query.get("version-id"):
        return _WITH_VERSION.get(action, action)
    return action


def _by_policy(asked: Asked, call: Call, info: ContainerInfo, action: str) -> bool:
    """Does the policy allow it? Raises AccessDenied where it denies."""
    text = info.metadata.get(f"{NOTED}policy", "")
    if not text:
        return False
    is_owner = authorization.is_owner(call)
    if is_owner and action in _NEVER_DENIED:
        return True
    facts = _facts(asked, call, action)
    verdict = policies.judge(text, facts)
    if verdict == policies.DENY:
        raise S3Error("AccessDenied", "The bucket's policy denies this.")
    if verdict == policies.ALLOW:
        is_restricted = "RestrictPublicBuckets" in blocked(info) and policies.is_public(text)
        return not is_restricted or authorization.is_member(call.ctx.credentials, call.account)
    return False


def blocked(info: ContainerInfo) -> set[str]:
    """The switches of the bucket's public access block that are on."""
    return set(json.loads(info.metadata.get(f"{NOTED}public", "") or "[]"))


def ownership(info: ContainerInfo) -> str:
    """BucketOwnerEnforced (there are no lists), BucketOwnerPreferred or ObjectWriter; empty where
    it was not set."""
    return info.metadata.get(f"{NOTED}ownership", "")


def _facts(asked: Asked, call: Call, action: str) -> policies.Facts:
    credentials, request = call.ctx.credentials, asked.request
    resource = f"{call.container}/{call.object}" if call.object else call.container

    def value(key: str) -> str | None:
        kind, _, name = key.partition(":")
        if key.startswith("s3:existingobjecttag/"):
            found = _look(asked, call) if call.object else None
            return _tag(header(found, TAGS) if found else "", name.partition("/")[2])
        if key.startswith("s3:requestobjecttag/"):
            return _tag(request.headers.get("x-amz-tagging", ""), name.partition("/")[2])
        if kind == "s3":
            if name in ("prefix", "delimiter", "max-keys"):
                return asked.query.get(name)
            if name == "versionid":
                return asked.query.get("versionId")
            if name == "signatureversion":
                given = request.headers.get("authorization", "") + str(asked.query)
                return "AWS4-HMAC-SHA256" if "AWS4-HMAC" in given else "AWS"
            if name == "authtype":
                by_header = "authorization" in request.headers
                return "REST-HEADER" if by_header else "REST-QUERY-STRING"
            return request.headers.get(name)
        now = clock.now() / 1e6
        return {
            "sourceip": call.ctx.remote_address or None,
            "securetransport": str(request.base_url.startswith("https:")).lower(),
            "referer": request.headers.get("referer"),
            "useragent": request.headers.get("user-agent"),
            "currenttime": str(now),
            "epochtime": str(now),
            "userid": credentials.user_id or None,
            "username": credentials.user_name or None,
            "principalaccount": credentials.project_id or None,
        }.get(name)

    project = (credentials.project_id or "") if credentials.user_id else ""
    return policies.Facts(project, credentials.user_id or "", f"s3:{action}", resource, value)


def _tag(text: str | None, wanted: str) -> str | None:
    for name, value in parse_qsl(text or "", keep_blank_values=True):
        if name.lower() == wanted:
            return value
    return None


def _look(asked: Asked, call: Call) -> Response | None:
    """The HEAD of the call's key, for ourselves."""
    query = versions.query(asked.store, call.path, asked.query.get("versionId", ""))
    head = asked.call("HEAD", container=call.container, object=call.object, query=query)
    head.account = call.account
    head.notes["decided"] = True
    try:
        return asked.ask(head)
    except ApiError:
        return None


def _granted(asked: Asked, call: Call, info: ContainerInfo, action: str) -> bool:
    if ownership(info) == "BucketOwnerEnforced":
        return False
    owner = call.account.partition("_")[2]
    credentials = call.ctx.credentials
    is_known, project = bool(credentials.user_id), credentials.project_id or ""
    hides_public = "IgnorePublicAcls" in blocked(info)

    def allow(kept: str | None, permission: str) -> bool:
        # What its own members may do is for their roles to say: the project's full control is that
        # of those who own the account.
        found = [
            each
            for each in grants.of_kept(kept, owner)
            if each.whom != f"{grants.PROJECT}{owner}" or project != owner
        ]
        if hides_public:
            found = [each for each in found if not each.is_public]
        return grants.allow(found, permission, project, is_known)

    of_bucket = info.metadata.get(f"{NOTED}acl")
    if (permission := _OF_BUCKET.get(action)) is not None:
        return allow(of_bucket, permission)
    if call.object and (permission := _OF_KEY.get(action)) is not None:
        found = _look(asked, call)
        if found is None:  # who may list may know that it is not there
            return allow(of_bucket, "READ")
        return allow(header(found, ACL), permission)
    return False
