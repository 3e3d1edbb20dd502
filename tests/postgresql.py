"""A real PostgreSQL for the tests: Debian's binaries, a private socket, no network port, and its
files in memory where there is room: a database is a thousand of them.

Started by the first test that needs it, ended with the test process (also when that is killed).
`new_database()` answers the URL of a fresh database, empty or a copy (see databases.py); where
PostgreSQL is not installed the test is skipped with a message.
"""

from __future__ import annotations

import atexit
import glob
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import psutil
import pytest

_numbers = itertools.count(1)
_MEMORY, _ROOM_BYTES = "/dev/shm", 2 << 30


def binaries() -> Path | None:
    """The folder with initdb and postgres, or None."""
    places = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    found = shutil.which("initdb")
    if found:
        places.append(os.path.dirname(found))
    return Path(places[-1]) if places and Path(places[-1], "postgres").exists() else None


def new_database(original: str = "") -> str:
    """Make a database, empty or a copy of the one at the URL `original` (which nobody may use
    meanwhile), and return its SQLAlchemy URL."""
    import psycopg
    import sqlalchemy as sa

    folder = server()
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(
        host=folder, user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        template = sa.engine.make_url(original).database if original else "template1"
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return f"postgresql+psycopg://postgres@/{name}?host={folder}"


def drop_database(url: str) -> None:
    """Remove a database that new_database made, also while connections are open."""
    import psycopg
    import sqlalchemy as sa

    parsed = sa.engine.make_url(url)
    with psycopg.connect(
        host=str(parsed.query["host"]), user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{parsed.database}" WITH (FORCE)')


@lru_cache(maxsize=1)
def server() -> str:
    """Start the server of this test process; returns the folder of its socket."""
    where = binaries()
    if where is None:
        pytest.skip("PostgreSQL is not installed (apt install postgresql)")
    folder = own_folder("nubelet-test-pg")
    data = os.path.join(folder, "data")
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    try:
        subprocess.run(
            _as_postgres(
                [
                    str(where / "initdb"),
                    "-D",
                    data,
                    "-U",
                    "postgres",
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "-N",
                ]
            ),
            check=True,
            capture_output=True,
            env=environment,
            cwd=folder,
        )
        log = open(os.path.join(folder, "log"), "wb")  # noqa: SIM115 - the server's
        # Nothing here outlives the test process: no flushing. `--pdeathsig` ends the server also
        # when the test process is killed.
        process = subprocess.Popen(
            _as_postgres(
                [
                    str(where / "postgres"),
                    "-D",
                    data,
                    "-k",
                    folder,
                    "-c",
                    "listen_addresses=",
                    "-c",
                    "fsync=off",
                    "-c",
                    "full_page_writes=off",
                    "-c",
                    "max_connections=200",
                    "-c",
                    "shared_buffers=64MB",
                    "-c",
                    "max_wal_size=128MB",
                    # It would come at moments of its own: its transactions delay what readers of
                    # events see, and these databases are gone before it could be of use.
                    "-c",
                    "autovacuum=off",
                ]
            ),
            stdout=log,
            stderr=log,
            env=environment,
            cwd=folder,
        )
    except subprocess.CalledProcessError as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL cannot start here: {error.stderr.decode()[-300:]}")
    atexit.register(_stop, process, folder)
    _wait_until_ready(folder, process)
    return folder


def own_folder(kind: str) -> str:
    """A new folder (its path is short enough for a socket), in memory where there is room; those
    that killed test processes left behind are removed."""
    for left in glob.glob(f"/tmp/{kind}-*-*") + glob.glob(f"{_MEMORY}/{kind}-*-*"):
        pid = left.split("-")[-2]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(left, ignore_errors=True)
    place = _MEMORY if _has_room(_MEMORY) else "/tmp"
    return tempfile.mkdtemp(prefix=f"{kind}-{os.getpid()}-", dir=place)


def _has_room(folder: str) -> bool:
    try:
        return shutil.disk_usage(folder).free >= _ROOM_BYTES <= psutil.virtual_memory().available
    except OSError:
        return False


def _as_postgres(command: list[str]) -> list[str]:
    if os.geteuid() != 0:
        return ["setpriv", "--pdeathsig", "INT", *command]
    return [
        "setpriv",
        "--reuid",
        "postgres",
        "--regid",
        "postgres",
        "--clear-groups",
        "--pdeathsig",
        "INT",
        *command,
    ]


def _wait_until_ready(folder: str, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    until = time.monotonic() + 100
    while True:
        try:
            psycopg.connect(host=folder, user="postgres", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                pytest.skip("PostgreSQL did not start: " + Path(folder, "log").read_text()[-300:])
            time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes], folder: str) -> None:
    process.send_signal(3)  # SIGQUIT: at once; nothing here is to be kept
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)
