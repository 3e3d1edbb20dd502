"""Times in S3's documents: the second that the header of the key shows."""

from __future__ import annotations

from nubelet.object_store.s3 import xml
from nubelet.object_store.s3.objects import iso
from nubelet.object_store.storage import timestamps


def test_listings_and_headers_show_one_time() -> None:
    for timestamp, shown in (
        ("1700000000.00000", "2023-11-14T22:13:20.000Z"),
        ("1700000000.00010", "2023-11-14T22:13:21.000Z"),
        ("1704067199.99999", "2024-01-01T00:00:00.000Z"),
    ):
        assert xml.iso(timestamps.iso(timestamp)) == shown
        assert iso(timestamps.http_date(timestamp)) == shown
