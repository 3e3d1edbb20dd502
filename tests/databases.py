"""Databases with all tables, quickly: made once in a test process, then copied.

To make a hundred tables by statements takes ten times as long as to copy the file that they are
in, and most tests want a database of their own. The tables are those of the services that are
imported by now, so there is one original for each set of them.
"""

from __future__ import annotations

import atexit
import shutil
import sqlite3
import tempfile
from pathlib import Path

from nubelet.kernel.database import Database, metadata

_originals: dict[tuple[str, frozenset[str]], str] = {}


def sqlite_url(path: Path) -> str:
    """The URL of a database at `path`, which is made with all tables unless it is there."""
    url = f"sqlite:///{path}"
    if path.exists():
        _make_tables(url)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_sqlite_original(), path)
        path.chmod(0o600)
    return url


def postgresql_url() -> str:
    """The URL of a new database with all tables; tests/postgresql.py drops it."""
    from tests import postgresql

    key = ("postgresql", frozenset(metadata.tables))
    if key not in _originals:
        url = postgresql.new_database()
        _make_tables(url)
        _originals[key] = url
    return postgresql.new_database(original=_originals[key])


def _sqlite_original() -> str:
    key = ("sqlite", frozenset(metadata.tables))
    if key not in _originals:
        folder = Path(tempfile.mkdtemp(prefix="nubelet-test-tables-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        _make_tables(f"sqlite:///{folder}/made.sqlite")
        with sqlite3.connect(folder / "made.sqlite") as made:  # its log is part of it
            made.execute("VACUUM INTO ?", [str(folder / "original.sqlite")])
        made.close()
        _originals[key] = str(folder / "original.sqlite")
    return _originals[key]


def _make_tables(url: str) -> None:
    database = Database(url)
    try:
        metadata.create_all(database.engine)
    finally:
        database.close()
