"""Short, seeded runs of tests/fuzzing/object_store.py and s3.py."""

from __future__ import annotations

from pathlib import Path

from tests.cloud import make_cloud
from tests.fuzzing import s3
from tests.fuzzing.object_store import run


def test_odd_requests(tmp_path: Path) -> None:
    tested = make_cloud(tmp_path, services=("identity", "object_store"), hosts=())
    try:
        counts = run(tested, 1_500, seed=11)
    finally:
        tested.close()
    assert counts[200] > 20
    assert counts[201] > 20


def test_odd_requests_of_s3(tmp_path: Path) -> None:
    tested = make_cloud(tmp_path, services=("identity", "object_store"), hosts=())
    try:
        counts = s3.run(tested, 600, seed=5)
    finally:
        tested.close()
    assert counts[200] > 20
    assert counts[403] > 20
