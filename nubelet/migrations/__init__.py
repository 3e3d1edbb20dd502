"""The database's schema, from one release to the next (Alembic).

`versions/NNNN_title.py` are the steps, in order; `upgrade` brings a database to the newest.
A test compares the result with the tables in the services' model.py, on both databases.
A new step: change model.py, then `python -m nubelet.migrations "what changes"`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from nubelet.kernel.database import Database

if TYPE_CHECKING:
    from alembic.config import Config

_HERE = Path(__file__).parent


class SchemaTooNew(Exception):  # noqa: N818 - what happened
    """A newer release has already changed the database; this one would misread it."""


def steps() -> list[str]:
    """The numbers of all steps this release knows, in order."""
    return sorted(
        match[1]
        for path in (_HERE / "versions").iterdir()
        if (match := re.match(r"(\d{4})_\w+\.py$", path.name))
    )


def newest() -> str:
    """The number of the newest step."""
    return steps()[-1]


def current(database: Database) -> str | None:
    """The number of the step the database is at; None for an empty one."""
    with database.engine.connect() as connection:
        return _current(connection)


def upgrade(database: Database) -> None:
    """Bring the database to the newest schema; nothing to do costs one query.

    Processes that start together wait for each other. Raises SchemaTooNew.
    """
    if _is_newest(current(database)):
        return
    from alembic import command

    with database.write() as tx:
        tx.lock("migrations")
        if not _is_newest(_current(tx.connection)):  # another process may have been faster
            command.upgrade(config(tx.connection), "head")


def config(connection: sa.Connection | None = None) -> Config:
    """Alembic's settings, for the open connection."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(_HERE))
    made.attributes["connection"] = connection
    return made


def _current(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.exec_driver_sql(
        "SELECT version_num FROM alembic_version"
    ).scalar()
    return found


def _is_newest(found: str | None) -> bool:
    known = steps()
    if found is not None and found not in known:
        raise SchemaTooNew(
            f"the database has schema {found}, this release knows {known[-1]} at most: a newer "
            "release has changed it; start that release, or restore an older backup"
        )
    return found == known[-1]
