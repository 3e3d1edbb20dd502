"""Keys of customers on a cluster of storage nodes, by two proxies, in a store that encrypts."""

from __future__ import annotations

import pytest

from tests.functional.test_s3_customer_keys import (  # noqa: F401
    SETTINGS,
    client,
    test_copies,
    test_ranges,
    test_uploads_in_parts,
    test_versions_and_tags,
    test_what_is_written_is_read_with_its_key,
    test_without_the_key_nothing_is_told,
)
from tests.s3_calls import clouds_on_clusters

pytestmark = pytest.mark.functional
s3 = clouds_on_clusters(f"{SETTINGS}encryption = true\n")
