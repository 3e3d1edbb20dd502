"""What is set for a whole bucket: versioning, tags, rules for browsers of other origins.

What S3 has and the store has not (replication, notifications, ...) answers as for a bucket
where it was never set; setting it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from nubelet.kernel.http.messages import Response
from nubelet.object_store.features.version_names import ENABLED
from nubelet.object_store.s3 import locks, tags, xml
from nubelet.object_store.s3.asked import Asked, noted
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage import ContainerInfo

# Never set: a refusal, or a document without content, by subresource, and what they are called in
# policies.
ABSENT = {
    "replication": ("ReplicationConfigurationNotFoundError", "ReplicationConfiguration"),
}
EMPTY = {
    "notification": ("NotificationConfiguration", "BucketNotification"),
    "accelerate": ("AccelerateConfiguration", "AccelerateConfiguration"),
}

# Of which a bucket may have several, by their ids, and has none: the document that lists them, and
# what they are called in policies.
MANY = {
    "analytics": ("ListBucketAnalyticsConfigurationResult", "AnalyticsConfiguration"),
    "intelligent-tiering": (
        "ListBucketIntelligentTieringConfigurationsOutput",
        "IntelligentTieringConfiguration",
    ),
    "inventory": ("ListInventoryConfigurationsResult", "InventoryConfiguration"),
    "metrics": ("ListMetricsConfigurationsResult", "MetricsConfiguration"),
}
# What answers of a bucket with CORS rules depend on, for caches.
VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"


def show_none(asked: Asked) -> Response:
    """GET of all configurations of a kind, or of one."""
    asked.require_permitted()
    if "id" in asked.query:
        raise S3Error("NoSuchConfiguration")
    root = next(MANY[name][0] for name in MANY if name in asked.query)
    return xml.document(root, {"IsTruncated": False})


def remove_none(asked: Asked) -> Response:
    """DELETE of one of them."""
    asked.require_permitted()
    raise S3Error("NoSuchConfiguration")


def show_absent(asked: Asked) -> Response:
    """GET of what was never set."""
    asked.require_permitted()
    for name, (code, _action) in ABSENT.items():
        if name in asked.query:
            raise S3Error(code, BucketName=asked.bucket)
    root = next(EMPTY[name][0] for name in EMPTY if name in asked.query)
    return xml.document(root, {})


def refuse(asked: Asked) -> Response:
    """PUT of what cannot be set; an empty document is what there is."""
    asked.require_permitted()
    for name, (root, _action) in EMPTY.items():
        if name in asked.query and not len(xml.read(asked.document(), root)):
            return Response(200, b"")
    raise S3Error("NotImplemented")


def remove_absent(asked: Asked) -> Response:
    """DELETE of what was never set: done."""
    asked.require_permitted()
    return Response(204)


def show_abac(asked: Asked) -> Response:
    """GET ?abac: are tags of the bucket asked when access is decided?"""
    asked.require_permitted()
    return xml.document("AbacStatus", {"Status": "Disabled"})


def update_abac(asked: Asked) -> Response:
    """PUT ?abac: it can stay as it is."""
    asked.require_permitted()
    status = xml.text(xml.read(asked.document(), "AbacStatus"), "Status")
    if status not in ("Enabled", "Disabled"):
        raise S3Error("MalformedXML", "Status must be Enabled or Disabled.")
    if status == "Enabled":
        raise S3Error("NotImplemented", "Tags of buckets say nothing of access.")
    return Response(200, b"")


# --- Versioning -------------------------------------------------------------------------------


def show_versioning(asked: Asked) -> Response:
    """GET ?versioning."""
    info = asked.require_permitted()
    state = {"true": "Enabled", "false": "Suspended"}.get(info.metadata.get(ENABLED, ""))
    return xml.document("VersioningConfiguration", {"Status": state})


def update_versioning(asked: Asked) -> Response:
    """PUT ?versioning."""
    info = asked.require_permitted()
    document = xml.read(asked.document(), "VersioningConfiguration")
    state = xml.text(document, "Status")
    if state not in ("Enabled", "Suspended", ""):
        raise S3Error("MalformedXML", "Status must be Enabled or Suspended.")
    if not state or xml.text(document, "MfaDelete") == "Enabled":
        raise S3Error("IllegalVersioningConfigurationException")
    if state == "Suspended":
        locks.keep_versions(asked)
    if state == "Enabled" or ENABLED not in info.metadata:
        asked.note({"x-versions-enabled": "true"})  # the store suspends only what was there
    if state == "Suspended":
        asked.note({"x-versions-enabled": "false"})
    return Response(200, b"")


# --- Tags -------------------------------------------------------------------------------------


def show_tags(asked: Asked) -> Response:
    """GET ?tagging of a bucket."""
    kept = noted(asked.require_permitted(), "tags")
    if not kept:
        raise S3Error("NoSuchTagSet", BucketName=asked.bucket)
    return tags.document(kept)


def update_tags(asked: Asked) -> Response:
    """PUT and DELETE ?tagging of a bucket."""
    asked.require_permitted()
    is_gone = asked.request.method == "DELETE"
    asked.note(tags="" if is_gone else _read_tags(asked))
    return Response(204, None)


def _read_tags(asked: Asked) -> str:
    return tags.read_document(asked.document(), tags.MOST_OF_BUCKET)


# --- CORS -------------------------------------------------------------------------------------


def show_cors(asked: Asked) -> Response:
    """GET ?cors."""
    rules = _rules(asked.require_permitted())
    if not rules:
        raise S3Error("NoSuchCORSConfiguration", BucketName=asked.bucket)
    return xml.document("CORSConfiguration", {"CORSRule": rules})


def update_cors(asked: Asked) -> Response:
    """PUT and DELETE ?cors."""
    asked.require_permitted()
    if asked.request.method == "DELETE":
        asked.note(cors="")
        return Response(204)
    document = xml.read(asked.document(), "CORSConfiguration")
    rules = []
    for each in document.findall("CORSRule"):
        rule: dict[str, Any] = {"ID": xml.text(each, "ID") or None}
        for name in ("AllowedMethod", "AllowedOrigin", "AllowedHeader", "ExposeHeader"):
            rule[name] = xml.texts(each.findall(name))
        age = xml.text(each, "MaxAgeSeconds")
        if age and not (age.isascii() and age.isdigit()):
            raise S3Error("MalformedXML", "MaxAgeSeconds must be an integer.")
        rule["MaxAgeSeconds"] = age or None
        methods = set(rule["AllowedMethod"])
        if not methods or not methods <= {"GET", "PUT", "POST", "DELETE", "HEAD"}:
            raise S3Error("InvalidRequest", "AllowedMethod must be GET, PUT, POST, DELETE or HEAD.")
        origins = rule["AllowedOrigin"]
        if not origins:
            raise S3Error("MalformedXML", "A rule has an AllowedOrigin.")
        if any("*" in name for name in rule["ExposeHeader"]):
            raise S3Error("InvalidRequest", "ExposeHeader has no wildcards.")
        if any(origin.count("*") > 1 for origin in origins):
            raise S3Error("InvalidRequest", "AllowedOrigin must have one wildcard at most.")
        rules.append(rule)
    if not 0 < len(rules) <= 100:
        raise S3Error("MalformedXML", "There must be 1 to 100 rules.")
    asked.note(cors=json.dumps(rules, separators=(",", ":")))
    return Response(200, b"")


def _rules(info: ContainerInfo) -> list[dict[str, Any]]:
    kept = noted(info, "cors")
    rules: list[dict[str, Any]] = json.loads(kept) if kept else []
    return rules


def has_cors(info: ContainerInfo) -> bool:
    """Has the bucket rules for pages of other origins?"""
    return bool(_rules(info))


def cors_headers(
    info: ContainerInfo, origin: str, method: str, asked_headers: Sequence[str] = ()
) -> Mapping[str, str] | None:
    """What a browser of that origin is told; None where no rule allows it."""
    for rule in _rules(info):
        if method not in rule["AllowedMethod"]:
            continue
        allowed = next((each for each in rule["AllowedOrigin"] if _fits(each, origin)), None)
        if allowed is None:
            continue
        patterns = [each.lower() for each in rule["AllowedHeader"]]
        if not all(any(_fits(each, name) for each in patterns) for name in asked_headers):
            continue
        found = {
            "Access-Control-Allow-Origin": "*" if allowed == "*" else origin,
            "Access-Control-Allow-Methods": ", ".join(rule["AllowedMethod"]),
            "Vary": VARY,
        }
        if allowed != "*":
            found["Access-Control-Allow-Credentials"] = "true"
        if asked_headers:
            found["Access-Control-Allow-Headers"] = ", ".join(asked_headers)
        if rule["ExposeHeader"]:
            found["Access-Control-Expose-Headers"] = ", ".join(rule["ExposeHeader"])
        if rule["MaxAgeSeconds"]:
            found["Access-Control-Max-Age"] = rule["MaxAgeSeconds"]
        return found
    return None


def _fits(pattern: str, text: str) -> bool:
    # Only the asterisk is special.
    return fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))
