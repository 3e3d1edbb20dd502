"""The migrations: they make what the code means, once, and refuse what a newer release made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from nubelet import migrations, wiring
from nubelet.kernel.database import Database, metadata
from tests import postgresql
from tests.functional.command import CommandCloud

pytestmark = pytest.mark.functional

UPGRADE = """
import sys
from nubelet import migrations
from nubelet.kernel.database import Database
database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
migrations.upgrade(database)
database.close()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/cloud.sqlite"
        return
    made = postgresql.new_database()
    yield made
    postgresql.drop_database(made)


@pytest.fixture
def empty(url: str) -> Iterator[Database]:
    made = Database(url)
    yield made
    made.close()


def test_the_migrations_make_the_tables_of_the_code(empty: Database) -> None:
    wiring.make_services()
    migrations.upgrade(empty)
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        differences = compare_metadata(context, metadata)
    assert not differences, (
        "models changed: python -m nubelet.migrations 'what changes'\n"
        + "\n".join(map(str, differences))
    )


def test_checks_and_partial_indexes_are_those_of_the_code(
    url: str, empty: Database, tmp_path: Path
) -> None:
    """What Alembic does not compare: conditions of indexes, constraints, foreign keys' actions."""
    wiring.make_services()
    migrations.upgrade(empty)
    other_url = (
        f"sqlite:///{tmp_path}/other.sqlite" if empty.is_sqlite else postgresql.new_database()
    )
    other = Database(other_url)
    try:
        metadata.create_all(other.engine)
        assert _described(empty) == _described(other)
    finally:
        other.close()
        if not empty.is_sqlite:
            postgresql.drop_database(other_url)


def test_upgrading_twice_changes_nothing(empty: Database) -> None:
    assert migrations.current(empty) is None
    migrations.upgrade(empty)
    assert migrations.current(empty) == migrations.newest()
    migrations.upgrade(empty)
    assert migrations.current(empty) == migrations.newest()


def test_processes_that_start_together_wait_for_each_other(url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADE, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    database = Database(url)
    assert migrations.current(database) == migrations.newest()
    database.close()


def test_a_schema_of_a_newer_release_is_refused(empty: Database) -> None:
    migrations.upgrade(empty)
    with empty.write() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '9000'"))
    with pytest.raises(migrations.SchemaTooNew, match="schema 9000"):
        migrations.upgrade(empty)
    assert migrations.current(empty) == "9000"


def test_a_cloud_says_that_its_database_is_too_new(tmp_path: Path) -> None:
    cloud = CommandCloud(tmp_path, "--fake")
    cloud.up()
    try:
        cloud.run("down")
        database = Database(f"sqlite:///{cloud.state_dir}/nubelet.sqlite")
        with database.write() as tx:
            tx.execute(sa.text("UPDATE alembic_version SET version_num = '9000'"))
        database.close()
        refused = cloud.run("up", check=False)
        assert refused.returncode == 1
        assert "the database has schema 9000" in refused.stderr
        assert "start that release" in refused.stderr
        assert "Traceback" not in refused.stderr
    finally:
        cloud.purge()


def _described(database: Database) -> dict[str, object]:
    inspector = sa.inspect(database.engine)
    with database.engine.connect() as connection:
        if database.is_sqlite:
            indexes = connection.exec_driver_sql(
                "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
            )
        else:
            indexes = connection.exec_driver_sql(
                "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
            )
        found: dict[str, object] = {row[0]: row[1] for row in indexes}
    for table in inspector.get_table_names():
        if table == "alembic_version":
            continue
        found[f"{table} checks"] = sorted(
            (str(check["name"]), check["sqltext"])
            for check in inspector.get_check_constraints(table)
        )
        found[f"{table} keys"] = sorted(
            (str(key["name"]), str(key.get("options"))) for key in inspector.get_foreign_keys(table)
        )
        found[f"{table} unique"] = sorted(
            (str(one["name"]), *one["column_names"])
            for one in inspector.get_unique_constraints(table)
        )
    found.pop("alembic_version_pkc", None)
    return found
