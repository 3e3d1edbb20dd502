"""May the caller do this? Of what an operation asks the store, each call is asked here.

In this order: the bucket's policy denies or allows; roles and lists of the store (features/
authorization.py: owners everything, readers of the project read, Swift's lists as they stand);
grants of the bucket and of the key. Everything else is refused. Access rules of the caller's
application credential must allow it, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from nubelet.kernel import clock
from nubelet.kernel.errors import ApiError
from nubelet.object_store.call import Call, header
from nubelet.object_store.features import authorization, slo
from nubelet.object_store.features.public_access import blocked
from nubelet.object_store.features.version_names import shown, visible
from nubelet.object_store.s3 import grants, names, policies, tags, versions, xml
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.s3.signing import UNSIGNED
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
# What a request can say of a lock, in headers `x-amz-...` and in documents.
_OF_LOCK = {
    "object-lock-mode": "Mode",
    "object-lock-retain-until-date": "RetainUntilDate",
    "object-lock-legal-hold": "Status",
}
_DOCUMENTS_OF_LOCKS = {"retention": "Retention", "legal-hold": "LegalHold"}
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
    project = (credentials.project_id or "") if credentials.user_id else ""

    def value(key: str) -> str | tuple[str, ...] | None:
        kind, _, name = key.partition(":")
        if kind == "s3":
            return _of_s3(asked, call, name)
        now = str(clock.now() / 1e6)
        return {
            "sourceip": call.ctx.remote_address or None,
            "securetransport": str(request.base_url.startswith("https:")).lower(),
            "referer": request.headers.get("referer"),
            "useragent": request.headers.get("user-agent"),
            "currenttime": now,
            "epochtime": now,
            "userid": credentials.user_id or None,
            "username": credentials.user_name or None,
            "principalaccount": credentials.project_id or None,
            "principalarn": f"arn:aws:iam::{project}:user/{credentials.user_id}"
            if project
            else None,
            "principaltype": "User" if credentials.user_id else "Anonymous",
            "resourceaccount": _project_of(call),
            "principalisawsservice": "false",
            "viaawsservice": "false",
        }.get(name)

    return policies.Facts(project, credentials.user_id or "", f"s3:{action}", resource, value)


def _of_s3(asked: Asked, call: Call, name: str) -> str | tuple[str, ...] | None:
    """The value of a condition key, in lower case without `s3:`."""
    headers = asked.request.headers
    of_tag, _, tag = name.partition("/")
    if of_tag == "existingobjecttag":
        found = _look(asked, call) if call.object else None
        return _tag(parse_qsl(header(found, TAGS) or "" if found else "", True), tag)
    if of_tag == "requestobjecttag":
        return _tag(_sent_tags(asked), tag)
    if name == "requestobjecttagkeys":
        return tuple(key for key, _value in _sent_tags(asked)) or None
    if name in ("prefix", "delimiter", "max-keys"):
        return asked.query.get(name)
    if name == "versionid":
        return _version(asked, call) or None
    if name == "resourceaccount":
        return _project_of(call)
    if name in ("signatureversion", "authtype", "signatureage"):
        return _of_signature(asked, name) if call.ctx.credentials.user_id else None
    if name.startswith("object-lock-"):
        return _of_lock(asked, name)
    if name == "x-amz-content-sha256" and "X-Amz-Algorithm" in asked.query:
        return headers.get(name, UNSIGNED)
    return headers.get(name)


def _project_of(call: Call) -> str:
    return call.account.removeprefix(authorization.PREFIX)


def _of_signature(asked: Asked, name: str) -> str | None:
    headers, query = asked.request.headers, asked.query
    if headers.get("authorization", "").startswith(("AWS4-HMAC-", "AWS ")):
        kind, given = "REST-HEADER", headers["authorization"]
    elif "X-Amz-Algorithm" in query or "Signature" in query:
        kind, given = "REST-QUERY-STRING", query.get("X-Amz-Algorithm", "")
    else:  # a form, whose fields are headers now (forms.py)
        kind, given = "POST", headers.get("x-amz-algorithm", "")
    if name == "authtype":
        return kind
    if name == "signatureversion":
        return "AWS4-HMAC-SHA256" if given.startswith("AWS4-HMAC") else "AWS"
    signed = query.get("X-Amz-Date") or headers.get("x-amz-date") or ""
    try:
        moment = datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return str(max(clock.now() // 1000 - int(moment.timestamp()) * 1000, 0))


def _sent_tags(asked: Asked) -> list[tuple[str, str]]:
    """The tags that the request gives to a key: in its body, or its header."""
    if asked.key and asked.subresource == "tagging" and asked.request.method == "PUT":
        return parse_qsl(tags.read_document(asked.document()), True)
    return parse_qsl(asked.request.headers.get("x-amz-tagging", ""), True)


def _of_lock(asked: Asked, name: str) -> str | None:
    """What the request says of a lock: in its body, or its headers."""
    root = _DOCUMENTS_OF_LOCKS.get(asked.subresource, "")
    if root and asked.request.method == "PUT":
        document = xml.read(asked.document(), root)
        said = {header: xml.text(document, element) for header, element in _OF_LOCK.items()}
    else:
        said = {header: asked.request.headers.get(f"x-amz-{header}", "") for header in _OF_LOCK}
    if name != "object-lock-remaining-retention-days":
        return said.get(name) or None
    try:
        moment = datetime.fromisoformat(said["object-lock-retain-until-date"])
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return str(math.ceil((moment.timestamp() - clock.now() / 1e6) / 86_400))


def _tag(found: Iterable[tuple[str, str]], wanted: str) -> str | None:
    for name, value in found:
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
