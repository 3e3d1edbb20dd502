"""S3 on a cluster of storage nodes, by two proxies: the same tests, the same answers."""

from __future__ import annotations

import pytest

from tests.functional.test_s3 import *  # noqa: F403
from tests.functional.test_s3_versions import (  # noqa: F401
    test_conditions_of_deletes,
    test_of_writers_with_conditions_one_wins,
)
from tests.s3_calls import clouds_on_clusters

pytestmark = pytest.mark.functional
s3 = clouds_on_clusters()
