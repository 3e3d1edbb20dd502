"""Grants: who may do what with a bucket or a key, beside its owner.

Grantees are projects (the canonical id is the project's) and the three groups. Kept as JSON of
`[whom, permission]`: whom is `all`, `authenticated`, `log` or `id:<project>`.

Reference: Amazon S3 User Guide, "Access control list (ACL) overview".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

from nubelet.kernel.context import Context
from nubelet.object_store.s3 import xml
from nubelet.object_store.s3.errors import S3Error

ALL, AUTHENTICATED, LOG, PROJECT = "all", "authenticated", "log", "id:"
_GROUPS = {
    ALL: "http://acs.amazonaws.com/groups/global/AllUsers",
    AUTHENTICATED: "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
    LOG: "http://acs.amazonaws.com/groups/s3/LogDelivery",
}
_BY_URI = {uri: name for name, uri in _GROUPS.items()}
PERMISSIONS = ("FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP")
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_TYPE = f"{{{_XSI}}}type"
_MOST = 100
_HEADER = re.compile(r'\s*(id|uri|emailAddress)\s*=\s*"?([^",]*)"?\s*')
# Canned name -> what it grants beside the owner's full control.
_CANNED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "private": (),
    "bucket-owner-read": (),
    "bucket-owner-full-control": (),
    "public-read": ((ALL, "READ"),),
    "public-read-write": ((ALL, "READ"), (ALL, "WRITE")),
    "authenticated-read": ((AUTHENTICATED, "READ"),),
    "log-delivery-write": ((LOG, "WRITE"), (LOG, "READ_ACP")),
}


class Grant(NamedTuple):
    """One permission of one grantee."""

    whom: str
    permission: str

    @property
    def is_public(self) -> bool:
        """For more than those who are named."""
        return self.whom in (ALL, AUTHENTICATED)


Grants = Sequence[Grant]


def of_headers(ctx: Context, headers: Mapping[str, str], owner: str) -> Grants | None:
    """What x-amz-acl or x-amz-grant-* of a request grant; None where there are none."""
    name = headers.get("x-amz-acl")
    granted = {each: value for each, value in headers.items() if each.startswith("x-amz-grant-")}
    if name is not None:
        if granted:
            raise S3Error("InvalidRequest", "A canned access list and grants exclude each other.")
        return canned(name, owner)
    if not granted:
        return None
    found = []
    for header, value in granted.items():
        permission = header.removeprefix("x-amz-grant-").replace("-", "_").upper()
        if permission not in PERMISSIONS:
            raise S3Error("InvalidArgument", f"There is no header {header}.")
        for each in value.split(","):
            match = _HEADER.fullmatch(each)
            if match is None:
                raise S3Error("InvalidArgument", f'{header} must be a list of id="...", uri="...".')
            found.append(Grant(_whom(ctx, match[1], match[2]), permission))
    return _checked(found)


def canned(name: str, owner: str) -> Grants:
    """What a canned list grants; raises InvalidArgument."""
    if name not in _CANNED:
        raise S3Error("InvalidArgument", f"There is no canned access list {name!r}.")
    own = Grant(f"{PROJECT}{owner}", "FULL_CONTROL")
    return [own, *(Grant(*each) for each in _CANNED[name])]


def read(ctx: Context, policy: Element, owner: str) -> Grants:
    """The grants of an AccessControlPolicy; raises MalformedACLError and others."""
    named, listed = policy.find("Owner"), policy.find("AccessControlList")
    if named is None or listed is None:
        raise S3Error("MalformedACLError")
    if xml.text(named, "ID", owner) != owner:
        raise S3Error("AccessDenied", "The owner cannot be changed.")
    found = []
    for grant in listed.findall("Grant"):
        grantee, permission = grant.find("Grantee"), xml.text(grant, "Permission")
        if grantee is None or permission not in PERMISSIONS:
            raise S3Error("MalformedACLError")
        for kind in ("ID", "URI", "EmailAddress"):
            if (value := xml.text(grantee, kind)) and grantee.get(_TYPE, "") != "":
                spelled = {"ID": "id", "URI": "uri"}.get(kind, "emailAddress")
                found.append(Grant(_whom(ctx, spelled, value), permission))
                break
        else:
            raise S3Error("MalformedACLError")
    return _checked(found)


def _whom(ctx: Context, kind: str, value: str) -> str:
    if kind == "emailAddress":
        raise S3Error("UnresolvableGrantByEmailAddress")
    if kind == "uri":
        if value not in _BY_URI:
            raise S3Error("InvalidArgument", f"There is no group {value!r}.")
        return _BY_URI[value]
    if not _is_project(ctx, value):
        raise S3Error("InvalidArgument", f"Invalid id: there is no project {value!r}.")
    return f"{PROJECT}{value}"


def _is_project(ctx: Context, identifier: str) -> bool:
    from nubelet import identity

    if any(name.partition(":")[0] == identifier for name in ctx.cloud.settings.object_store.users):
        return True  # an account of the store's own users
    with ctx.cloud.database.read() as tx:
        return bool(identity.project_names(tx, [identifier]))


def _checked(found: list[Grant]) -> Grants:
    if len(found) > _MOST:
        raise S3Error("InvalidRequest", f"A list has {_MOST} grants at most.")
    return list(dict.fromkeys(found))


def kept(grants: Grants) -> str:
    """Grants as they are kept."""
    return json.dumps([list(each) for each in grants], separators=(",", ":"))


def of_kept(text: str | None, owner: str) -> Grants:
    """What is kept; where nothing is, the owner's full control."""
    if not text:
        return canned("private", owner)
    return [Grant(whom, permission) for whom, permission in json.loads(text)]


def allow(grants: Grants, permission: str, project: str, is_known: bool) -> bool:
    """Do they let somebody of a project (anonymous: not known) do that?"""
    names = {ALL}
    if is_known:
        names |= {AUTHENTICATED, f"{PROJECT}{project}"}
    return any(
        each.whom in names and each.permission in (permission, "FULL_CONTROL") for each in grants
    )


def document(owner: Mapping[str, str], grants: Grants) -> xml.Raw:
    """The grants as an AccessControlList's content."""
    return xml.Raw("".join(_element(owner, each) for each in grants))


def _element(owner: Mapping[str, str], grant: Grant) -> str:
    if grant.whom in _GROUPS:
        kind, inner = "Group", f"<URI>{_GROUPS[grant.whom]}</URI>"
    else:
        identifier = grant.whom.removeprefix(PROJECT)
        kind = "CanonicalUser"
        inner = f"<ID>{identifier}</ID><DisplayName>{identifier}</DisplayName>"
    return (
        f'<Grant><Grantee xmlns:xsi="{_XSI}" xsi:type="{kind}">{inner}</Grantee>'
        f"<Permission>{grant.permission}</Permission></Grant>"
    )
