"""Access lists of buckets and keys, policies of buckets, and what limits both.

Who may do what is decided in rules.py. A list that is set through S3 takes the place of the lists
that Swift keeps with a container; what those grant is shown here too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import ACCESS_LISTS, header
from nubelet.object_store.features import acls
from nubelet.object_store.features.public_access import blocked
from nubelet.object_store.s3 import grants, objects, owners, policies, rules, xml
from nubelet.object_store.s3.asked import Asked, noted
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage import ContainerInfo

_SWITCHES = (
    "BlockPublicAcls",
    "IgnorePublicAcls",
    "BlockPublicPolicy",
    "RestrictPublicBuckets",
)
_OWNERSHIP = ("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter")


def owner(account: str) -> dict[str, str]:
    """The owner of what is in an account: its project."""
    project = account.partition("_")[2]
    return {"ID": project, "DisplayName": project}


# --- Lists ------------------------------------------------------------------------------------


def show(asked: Asked) -> Response:
    """GET ?acl of a bucket, or of a key in it."""
    own = owner(asked.account)
    if asked.key:
        asked.require_permitted()
        kept = header(asked.look(objects.wanted(asked)), rules.ACL)
        found = grants.of_kept(kept, own["ID"])
    else:
        info = asked.require_permitted()
        found = [*grants.of_kept(noted(info, "acl"), own["ID"]), *_of_swift(info)]
    content = {"Grant": grants.document(own, found)}
    return xml.document("AccessControlPolicy", {"Owner": own, "AccessControlList": content})


def _of_swift(info: ContainerInfo) -> grants.Grants:
    """What a container's own lists let everybody do, or whoever has a token."""
    read = info.metadata.get("x-container-read", "").split(",")
    write = info.metadata.get("x-container-write", "").split(",")
    there = {
        grants.Grant(grants.ALL, "READ"): ".r:*" in read,
        grants.Grant(grants.AUTHENTICATED, "READ"): "*:*" in read,
        grants.Grant(grants.AUTHENTICATED, "WRITE"): "*:*" in write,
    }
    return [grant for grant, is_there in there.items() if is_there]


def update(asked: Asked) -> Response:
    """PUT ?acl of a bucket or of a key."""
    info = asked.require_permitted()
    own = owner(asked.account)["ID"]
    body = asked.document()
    found = grants.of_headers(asked.ctx, asked.headers, own)
    if found is None:
        found = grants.read(asked.ctx, xml.read(body, "AccessControlPolicy"), own)
    elif body:
        raise S3Error("UnexpectedContent")
    check(info, found, own)
    if asked.key:
        objects.rewrite(asked, {rules.ACL: grants.kept(found)})
        return Response(200, b"")
    asked.note(dict.fromkeys(ACCESS_LISTS, ""), acl=grants.kept(found))
    owners.take(asked.store, asked.bucket, asked.account)
    return Response(200, b"")


def check(info: ContainerInfo | None, found: grants.Grants, own: str) -> None:
    """Raise where the bucket takes no such list."""
    if info is None:
        return
    if rules.ownership(info) == "BucketOwnerEnforced" and any(
        each != (f"{grants.PROJECT}{own}", "FULL_CONTROL") for each in found
    ):
        raise S3Error("AccessControlListNotSupported")
    if "BlockPublicAcls" in blocked(info) and any(each.is_public for each in found):
        raise S3Error("AccessDenied", "The bucket's public access block refuses public lists.")


def of_key(asked: Asked) -> dict[str, str]:
    """What the request of an upload grants on its key, as it is kept. Raises AccessDenied for who
    may write the key and not give it such grants, or tags."""
    own = owner(asked.account)["ID"]
    found = grants.of_headers(asked.ctx, asked.headers, own)
    if asked.headers.get("x-amz-tagging") and "x-amz-copy-source" not in asked.headers:
        rules.require_with_write(asked, "PutObjectTagging")
    if found is None:
        return {}
    if any(each.whom != f"{grants.PROJECT}{own}" for each in found):
        rules.require_with_write(asked, "PutObjectAcl")
    check(asked.call("HEAD").container_info(), found, own)
    return {rules.ACL: grants.kept(found)}


# --- Policy -----------------------------------------------------------------------------------


def show_policy(asked: Asked) -> Response:
    """GET ?policy."""
    kept = noted(asked.require_permitted(), "policy")
    if not kept:
        raise S3Error("NoSuchBucketPolicy", BucketName=asked.bucket)
    return Response(200, kept.encode(), {}, "application/json")


def update_policy(asked: Asked) -> Response:
    """PUT and DELETE ?policy."""
    info = asked.require_permitted()
    if asked.request.method == "DELETE":
        asked.note(policy="")
        return Response(204)
    text = policies.check(asked.document(), asked.bucket)
    if "BlockPublicPolicy" in blocked(info) and policies.is_public(text):
        raise S3Error("AccessDenied", "The bucket's public access block refuses public policies.")
    asked.note(policy=text)
    owners.take(asked.store, asked.bucket, asked.account)
    return Response(204)


def show_policy_status(asked: Asked) -> Response:
    """GET ?policyStatus: is the bucket public?"""
    info = asked.require_permitted()
    kept = noted(info, "policy")
    found = grants.of_kept(noted(info, "acl"), owner(asked.account)["ID"])
    is_public = (
        (bool(kept) and policies.is_public(kept))
        or any(each.is_public for each in found)
        or any(acls.is_public(info.metadata.get(name, "")) for name in ACCESS_LISTS)
    )
    return xml.document("PolicyStatus", {"IsPublic": is_public})


# --- Public access block, ownership -----------------------------------------------------------


def show_public_block(asked: Asked) -> Response:
    """GET ?publicAccessBlock."""
    info = asked.require_permitted()
    if not noted(info, "public"):
        raise S3Error("NoSuchPublicAccessBlockConfiguration", BucketName=asked.bucket)
    on = blocked(info)
    return xml.document("PublicAccessBlockConfiguration", {name: name in on for name in _SWITCHES})


def update_public_block(asked: Asked) -> Response:
    """PUT and DELETE ?publicAccessBlock."""
    asked.require_permitted()
    if asked.request.method == "DELETE":
        asked.note(public="")
        return Response(204)
    document = xml.read(asked.document(), "PublicAccessBlockConfiguration")
    on = []
    for name in _SWITCHES:
        value = xml.text(document, name, "false").lower()
        if value not in ("true", "false"):
            raise S3Error("MalformedXML", f"{name} must be true or false.")
        if value == "true":
            on.append(name)
    asked.note(public=json.dumps(on))
    return Response(200, b"")


def show_ownership(asked: Asked) -> Response:
    """GET ?ownershipControls."""
    found = rules.ownership(asked.require_permitted())
    if not found:
        raise S3Error("OwnershipControlsNotFoundError", BucketName=asked.bucket)
    return xml.document("OwnershipControls", {"Rule": {"ObjectOwnership": found}})


def update_ownership(asked: Asked) -> Response:
    """PUT and DELETE ?ownershipControls."""
    info = asked.require_permitted()
    if asked.request.method == "DELETE":
        asked.note(ownership="")
        return Response(204)
    document = xml.read(asked.document(), "OwnershipControls")
    found = xml.texts(document.findall("Rule/ObjectOwnership"))
    if len(found) != 1 or found[0] not in _OWNERSHIP:
        raise S3Error("MalformedXML", "There is one rule, with a known ObjectOwnership.")
    if found[0] == "BucketOwnerEnforced":
        own = owner(asked.account)["ID"]
        granted = [*grants.of_kept(noted(info, "acl"), own), *_of_swift(info)]
        if any(each.whom != f"{grants.PROJECT}{own}" for each in granted):
            raise S3Error("InvalidBucketAclWithObjectOwnership")
    asked.note(ownership=found[0])
    return Response(200, b"")


def of_new_bucket(asked: Asked) -> Mapping[str, str]:
    """What the request that makes a bucket says of access, as it is kept."""
    ownership = asked.headers.get("x-amz-object-ownership", "")
    if ownership and ownership not in _OWNERSHIP:
        raise S3Error("InvalidArgument", "x-amz-object-ownership is none that is known.")
    own = owner(asked.account)["ID"]
    found = grants.of_headers(asked.ctx, asked.headers, own)
    if (
        ownership == "BucketOwnerEnforced"
        and found
        and any(each.whom != f"{grants.PROJECT}{own}" for each in found)
    ):
        raise S3Error("InvalidBucketAclWithObjectOwnership")
    kept = {"ownership": ownership, "acl": grants.kept(found) if found else ""}
    return {f"{rules.NOTED}{name}": value for name, value in kept.items() if value}
