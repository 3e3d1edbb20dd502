"""Listings of versions page by page, folders among them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nubelet.object_store.s3 import listings, objects
from nubelet.object_store.s3.errors import S3Error
from tests.operations.test_object_store_crash import Api
from tests.operations.test_s3_crash import BUCKET, ask

pytestmark = pytest.mark.crash


def found(name: str, document: str) -> str | None:
    match = re.search(f"<{name}>([^<]*)</{name}>", document)
    return match[1] if match else None


@pytest.mark.parametrize("versioned", ["", "true"])
@pytest.mark.parametrize("most", ["1", "2", "3"])
def test_folders_and_versions_page_by_page(tmp_path: Path, versioned: str, most: str) -> None:
    api = Api(tmp_path)
    api("PUT", f"/{BUCKET}")
    if versioned:
        api("POST", f"/{BUCKET}", x_versions_enabled="true")
    for key in ("a/1", "a/2", "b", "b", "c/1", "d"):
        objects.put(ask(api, "PUT", key, b"x"))
    seen: list[str] = []
    at: dict[str, str] = {}
    for _ in range(20):
        asked = ask(api, "GET", "", **{"versions": "", "delimiter": "/", "max-keys": most} | at)
        page = listings.list_versions(asked).body.decode()
        seen += re.findall("<CommonPrefixes><Prefix>([^<]*)<", page)
        seen += re.findall("<Version><Key>([^<]*)<", page)
        if found("IsTruncated", page) == "false":
            break
        key = found("NextKeyMarker", page)
        assert key
        if key.endswith("/"):  # a folder has no version
            assert found("NextVersionIdMarker", page) is None
        at = {"key-marker": key}
        if version := found("NextVersionIdMarker", page):
            at["version-id-marker"] = version
    expected = ["a/", "b", "c/", "d"] if not versioned else ["a/", "b", "b", "c/", "d"]
    assert sorted(seen) == expected


def test_a_range_that_is_not_there_is_told_with_what_there_is(tmp_path: Path) -> None:
    api = Api(tmp_path)
    api("PUT", f"/{BUCKET}")
    objects.put(ask(api, "PUT", "k", b"12345"))
    asked = ask(api, "GET", "k")
    asked.request.headers["range"] = "bytes=7-9"  # type: ignore[index]
    with pytest.raises(S3Error) as refused:
        objects.show(asked)
    assert refused.value.s3_code == "InvalidRange"
    told = {"RangeRequested": "bytes=7-9", "ActualObjectSize": "5"}
    assert refused.value.details == told
