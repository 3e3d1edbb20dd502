"""Fixtures shared by all tests: a cloud (see tests/cloud.py), each kind of database and bus, and
the published contract data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from nubelet.kernel.bus import Bus
    from nubelet.kernel.database import Database
    from tests.cloud import TestedCloud


def pytest_configure() -> None:
    """httpx gives up after five seconds unless told otherwise: a busy machine may need more."""
    patient = httpx.Timeout(60)
    for name in ("connect", "read", "write", "pool"):
        setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, name, getattr(patient, name))


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[TestedCloud]:
    """A fresh cloud with every service, on fake hosts."""
    from tests.cloud import make_cloud

    tested = make_cloud(tmp_path)
    try:
        yield tested
    finally:
        tested.close()


@pytest.fixture(scope="module")
def shared_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    """One cloud for all tests of a module: for tests that only read, or name things freshly."""
    from tests.cloud import make_cloud

    tested = make_cloud(tmp_path_factory.mktemp("cloud"))
    try:
        yield tested
    finally:
        tested.close()


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of published API samples and schemas; tests that need it are skipped without."""
    place = Path(os.environ.get("NUBELET_SHARED", Path(__file__).parents[2] / "shared"))
    if not (place / "api").is_dir():
        pytest.skip(f"no published API data at {place} (set NUBELET_SHARED)")
    return place / "api"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database with all tables that are imported by now, of each kind."""
    from nubelet.kernel.database import Database
    from tests import databases

    is_sqlite = request.param == "sqlite"
    url = databases.sqlite_url(tmp_path / "test.db") if is_sqlite else databases.postgresql_url()
    made = Database(url)
    try:
        yield made
    finally:
        made.close()
        if not is_sqlite:
            from tests import postgresql

            postgresql.drop_database(url)


@pytest.fixture(params=["in-process", "rabbitmq"])
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    """A bus of each kind."""
    made: Bus
    if request.param == "in-process":
        from nubelet.kernel.bus import InProcessBus

        made = InProcessBus()
    else:
        pytest.importorskip("kombu")
        from nubelet.kernel.rabbitmq import RabbitMQBus
        from tests import rabbitmq

        made = RabbitMQBus(rabbitmq.server().url, name=f"test-{os.urandom(4).hex()}")
    try:
        yield made
    finally:
        made.close()
