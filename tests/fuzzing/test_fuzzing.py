"""A short, seeded round of fuzzing of every service; `make fuzz` runs long ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.authorization.matrix import SERVICES, Matrix
from tests.fuzzing import oddities, schema
from tests.fuzzing.judge import Judge

SEED = 20
# Requests of each kind.
COUNTS = {"identity": 1200, "image": 600}
OTHERS = 250


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    made = Matrix(tmp_path_factory.mktemp("fuzzing"))
    yield made
    made.close()


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "object_store"])
def test_requests_made_from_the_served_document(matrix, service):
    """The object store has no document: its names are free."""
    judge = Judge(matrix, matrix.services[service])
    schema.fuzz(judge, ("admin", "member"), COUNTS.get(service, OTHERS), SEED)
    _nothing_was_wrong(judge)
    assert {200, 404} <= judge.statuses.keys(), judge.statuses


@pytest.mark.parametrize("service", SERVICES)
def test_bent_requests(matrix, service):
    judge = Judge(matrix, matrix.services[service])
    oddities.fuzz(judge, ("admin", "member", None), COUNTS.get(service, OTHERS), SEED)
    _nothing_was_wrong(judge)
    assert {200, 401, 404} <= judge.statuses.keys(), judge.statuses


def _nothing_was_wrong(judge: Judge) -> None:
    assert "\n".join(map(str, judge.findings.values())) == ""
