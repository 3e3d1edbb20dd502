"""May the caller do this? Of what an operation asks the store, each call is asked here.

In this order: the bucket's policy denies or allows; roles and lists of the store (features/
authorization.py: owners everything, readers of the project read, Swift's lists as they stand);
grants of the bucket and of the key. Everything else is refused. Access rules of the caller's
application credential must allow it, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from nubelet.kernel import clock
from nubelet.kernel.errors import ApiError
from nubelet.object_store.call import Call, header
from nubelet.object_store.features import authorization, slo
from nubelet.object_store.features.public_access import blocked
from nubelet.object_store.features.version_names import shown, visible
from nubelet.object_store.s3 import grants, names, policies, versions
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage import ObjectPath

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
# Operations that write a key, or what becomes one.
_WITHOUT_VERSION = frozenset(("PutObject", "AbortMultipartUpload", "ListMultipartUploadParts"))


def decide(asked: Asked, call: Call, acl: str) -> None:
    """The authority of an S3 request's calls; raises what refuses it."""
    if not call.container:
        authorization.decide(call, acl)
        return
    if _is_open(asked, call):
        return
    info = call.container_info()
    action = _action(asked, call)
    if info is None or not _by_policy(asked, call, info, action):
        _without_policy(asked, call, info, action, acl)
    if asked.allow is not None and (call.path != asked.allowed or _is_source(asked, call)):
        asked.require_rule(call.method, call.path)
    if call.object and call.is_read:
        asked.readable.add(call.path)


def _without_policy(
    asked: Asked, call: Call, info: ContainerInfo | None, action: str, acl: str
) -> None:
    """By roles, lists and grants; raises what refuses it."""
    usual = acl if action in _READS | _LISTS | _WRITES else ""
    try:
        authorization.decide(call, usual)
        if not call.is_owner and action not in _READS | _LISTS | _WRITES and not call.is_read:
            raise authorization.denied(call, "Only the owner may do this.")
    except ApiError as refused:
        if info is None or not _granted(asked, call, info, action):
            raise S3Error("AccessDenied", refused.message) from None


def require(asked: Asked, action: str) -> None:
    """Raise AccessDenied unless the caller may also do this with the key: its policy allows it, or
    the caller owns the account (whoever may write it alone may not)."""
    call = asked.call("PUT")
    info = call.container_info()
    if info is not None and _by_policy(asked, call, info, action):
        return
    authorization.decide(call, "")
    if not call.is_owner:
        raise S3Error("AccessDenied", "Only the owner may do this.")


def require_with_write(asked: Asked, action: str) -> None:
    """Raise AccessDenied unless who writes the key may give it also this: the policy may deny it,
    and must allow it where nothing else lets the caller write."""
    call = asked.call("PUT")
    info = call.container_info()
    if info is None or not _by_policy(asked, call, info, action):
        acl = info.metadata.get("x-container-write", "") if info else ""
        _without_policy(asked, call, info, "PutObject", acl)


def require_tags_of_source(asked: Asked, source: Call) -> None:
    """Raise AccessDenied unless the caller may also read the tags of what is copied, asked of its
    own bucket as the HEAD of it was."""
    action = "GetObjectVersionTagging" if _version(asked, source) else "GetObjectTagging"
    info = source.container_info()
    if info is None or not _by_policy(asked, source, info, action):
        acl = info.metadata.get("x-container-read", "") if info else ""
        _without_policy(asked, source, info, action, acl)


def _is_open(asked: Asked, call: Call) -> bool:
    """Does what was decided before say this too? Who may read a key may read the parts that it is
    made of; nothing else of where they are."""
    if (call.account, call.container) in asked.opened or call.path in asked.writable:
        return True
    manifest = call.notes.get(slo.NAMED_BY)
    if manifest is None or not call.is_read or not call.object:
        return False
    if bucket := shown(manifest.container):  # a version of a key
        manifest = ObjectPath(manifest.account, bucket, visible(manifest.object))
    own_parts = (manifest.account, names.parts_of(manifest.container))
    return manifest in asked.readable and (call.account, call.container) == own_parts


def _version(asked: Asked, call: Call) -> str:
    """The version that a call is about, as whoever asks names it; empty: the current one.

    The request's is that of its key. The source of a copy has its own, also where it is that key;
    what writes a key is about none.
    """
    is_own = call.path == asked.path and not _is_source(asked, call)
    if is_own and asked.action not in _WITHOUT_VERSION:
        return asked.query.get("versionId", "")
    return call.query.get("version-id", "")


def _is_source(asked: Asked, call: Call) -> bool:
    """Does the call read what is copied? It may be the key that the copy writes."""
    return call.is_read and "x-amz-copy-source" in asked.headers


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
    if _version(asked, call):
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
                return _version(asked, call) or None
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
    query = versions.query(asked.store, call.path, _version(asked, call))
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
