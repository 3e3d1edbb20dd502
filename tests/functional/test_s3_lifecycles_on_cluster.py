"""Lifecycles on a cluster of storage nodes: the same tests, the same answers."""

from __future__ import annotations

import pytest

from tests.functional.test_s3_lifecycles import (  # noqa: F401
    client,
    cloud,
    later,
    test_an_expired_upload_in_parts_goes_with_its_parts,
    test_current_versions_become_markers,
    test_keys_expire,
    test_locked_versions_stay,
    test_markers_that_are_left_alone_go,
    test_noncurrent_versions_go,
    test_page_by_page,
    test_rules_by_tags_and_sizes,
    test_uploads_are_given_up,
    test_what_is_written_meanwhile_stays,
    test_what_was_there_before_versions_were_kept,
)
from tests.functional.test_s3_on_cluster import s3  # noqa: F401

pytestmark = pytest.mark.functional
