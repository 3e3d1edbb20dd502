"""Listings as JSON: the short way for plain objects says what the long one does."""

from __future__ import annotations

import json

from nubelet.object_store.api.listing_formats import objects_json, show_object
from nubelet.object_store.storage import ObjectEntry, Subdirectory

ENTRIES = [
    ObjectEntry("a", "1700000000.12345", 1, "text/plain", "e1"),
    ObjectEntry("b\u00e9\"\\\n", "1700000000.00000", 2, "text/plain; charset=utf-8", "e2"),
    ObjectEntry("c", "1700000001.99999", 3, "video/mp4;swift_bytes=77", "e3"),
    Subdirectory("d/"),
    ObjectEntry("e", "1700000001.00001", 0, "a/b", "e5; slo_etag=x; symlink_target_bytes=9"),
    ObjectEntry("f", "1799999999.00001", 1 << 40, "", "e6"),
]  # fmt: skip


def test_a_listing_says_what_each_entry_says() -> None:
    assert json.loads(objects_json(ENTRIES)) == [show_object(entry) for entry in ENTRIES]
    first = list(json.loads(objects_json(ENTRIES))[0].items())
    assert first == [
        ("hash", "e1"),
        ("last_modified", "2023-11-14T22:13:20.123450"),
        ("bytes", 1),
        ("name", "a"),
        ("content_type", "text/plain"),
    ]
    assert objects_json([]) == b"[]"
