"""A short run of tests/object_cluster_random.py, and every seed that ever found something."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.object_cluster_random import run, running

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]
SEEDS = (1,)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with running(tmp_path_factory.mktemp("objects")):
        yield


@pytest.mark.parametrize("number", SEEDS)
def test_nothing_that_was_acknowledged_is_lost(cluster: None, number: int) -> None:
    run(number, 100)
