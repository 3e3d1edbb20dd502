"""Buckets that are named by the host of a request, not by its path.

    bucket.s3.example.com/key     object_store.s3_domains = ["s3.example.com"]
    bucket.web.example.com/       object_store.s3_website_domains: the bucket as a web site
    www.example.com/              object_store.s3_bucket_hosts: the bucket is called as the host;
                                  visitors see its web site, where it has one

Reference: Amazon S3 User Guide, "Virtual hosting of general purpose buckets".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from nubelet.kernel.cloud import Cloud

REST, SITE, EITHER = "rest", "site", "either"


class Named(NamedTuple):
    """bucket: empty where the path names it. kind: how it is shown."""

    bucket: str
    kind: str


def find(cloud: Cloud, headers: Mapping[str, str]) -> Named | None:
    """What the host of a request names; None: it is the cloud's own."""
    options = cloud.settings.object_store
    if not (options.s3_domains or options.s3_website_domains or options.s3_bucket_hosts):
        return None
    host = headers.get("host", "").rpartition("]")[2].partition(":")[0].lower().rstrip(".")
    if host in options.s3_bucket_hosts:
        return Named(host, EITHER)
    for domain in options.s3_website_domains:
        if host.endswith(f".{domain}"):
            return Named(host.removesuffix(f".{domain}"), SITE)
    for domain in options.s3_domains:
        if host == domain:
            return Named("", REST)
        if host.endswith(f".{domain}"):
            return Named(host.removesuffix(f".{domain}"), REST)
    return None
