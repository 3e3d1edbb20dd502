"""The record of changing requests: who asked for what, under which rule, with which answer.

`http/app.py` calls `record_request` for every POST, PUT, PATCH and DELETE when it is answered.
Records are gathered and written a few times a second at most, so that they cost a request next
to nothing; a kill loses those of the last moment, never what they were about. A process that
stops closes its log before its database, and loses none.

Read next: `explain.py`, which tells the story from here to the host.
"""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from nubelet.kernel.database import Database, Id, Micros, Name, Serial, Tx, metadata

if TYPE_CHECKING:
    from nubelet.kernel.cloud import Cloud

log = logging.getLogger(__name__)

_GATHER_SECONDS = 0.2
_MAX_WAITING = 10_000
_UUID = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
    r"|(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"
)

request_record = sa.Table(
    "request_record",
    metadata,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("request_id", Id, nullable=False),
    sa.Column("global_request_id", Id),
    sa.Column("at", Micros, nullable=False),
    sa.Column("duration_micros", sa.BigInteger, nullable=False),
    sa.Column("service", Name, nullable=False),
    sa.Column("method", sa.String(16), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("action", Name, nullable=False),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("project_id", Id),
    sa.Column("rule", Name, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("remote_address", Name, nullable=False),
)
sa.Index("ix_request_record_id", request_record.c.request_id)
sa.Index("ix_request_record_global", request_record.c.global_request_id)
sa.Index("ix_request_record_at", request_record.c.at)

# Which things a request's path named.
request_subject = sa.Table(
    "request_subject",
    metadata,
    sa.Column("subject_id", Id, primary_key=True),
    sa.Column("request_id", Id, primary_key=True),
)
sa.Index("ix_request_subject_request", request_subject.c.request_id)


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One answered request. `at` is when it came, in microseconds; `path` has no query; `action`
    is the key of an action body; `rule` the policy rule that was enforced; `error` what was
    refused, or empty."""

    request_id: str
    at: int
    duration_micros: int
    service: str
    method: str
    path: str
    user_id: str
    project_id: str | None
    rule: str
    status: int
    error: str = ""
    action: str = ""
    global_request_id: str | None = None
    remote_address: str = ""


def record_request(cloud: Cloud, record: RequestRecord) -> None:
    """Keep a record. Never waits and never raises: may be called from the event loop."""
    log_of(cloud).add(record)


def log_of(cloud: Cloud) -> RequestLog:
    """The request log of this process."""
    try:
        return cloud.get(RequestLog)
    except LookupError:
        with _making:
            try:
                return cloud.get(RequestLog)
            except LookupError:
                made = RequestLog(cloud.database)
                cloud.provide(RequestLog, made)
                return made


_making = threading.Lock()


class RequestLog:
    """Gathers records and writes them together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: list[RequestRecord] = []
        self._added = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, record: RequestRecord) -> None:
        """Take a record; the oldest are dropped where the database does not follow, and all after
        `close`."""
        with self._lock:
            if self._closed.is_set():
                return
            self._waiting.append(record)
            del self._waiting[:-_MAX_WAITING]
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="request-log")
                self._thread.start()
        self._added.set()

    def flush(self) -> None:
        """Write what was gathered, now."""
        with self._writing:
            with self._lock:
                records, self._waiting = self._waiting, []
            if records:
                self._database.transact(lambda tx: _write(tx, records))

    def close(self) -> None:
        """Write what was gathered and end; the database is not touched after that."""
        with self._lock:
            self._closed.set()
            thread = self._thread
        self._added.set()
        if thread is not None:
            thread.join()
        self.flush()

    def _work(self) -> None:
        while not self._closed.is_set():
            self._added.wait()
            self._closed.wait(_GATHER_SECONDS)
            self._added.clear()
            try:
                self.flush()
            except Exception:
                log.exception("requests were not recorded")


def _write(tx: Tx, records: list[RequestRecord]) -> None:
    tx.insert(
        request_record,
        *(
            {name: _fitting(name, value) for name, value in msgspec.structs.asdict(record).items()}
            for record in records
        ),
    )
    named: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        for subject in _UUID.findall(record.path):
            named[subject, record.request_id] = {
                "subject_id": subject,
                "request_id": record.request_id,
            }
    if named:
        tx.insert(request_subject, *named.values())


def _fitting(name: str, value: Any) -> Any:
    """A client chose some of these words: what the column cannot hold must not lose the batch."""
    if not isinstance(value, str):
        return value
    length = getattr(request_record.c[name].type, "length", None)
    return value.replace("\0", "").encode(errors="replace").decode()[:length]


def find_requests(
    tx: Tx, *, request_ids: set[str] | None = None, subject_id: str | None = None, limit: int = 200
) -> list[RequestRecord]:
    """Records by request id (or global request id), or those whose path named a thing; oldest
    first, the newest `limit` of them."""
    c = request_record.c
    names = [c[name] for name in RequestRecord.__struct_fields__]
    statement = sa.select(*names)
    which: list[Any] = []
    if request_ids:
        which += [c.request_id.in_(request_ids), c.global_request_id.in_(request_ids)]
    if subject_id is not None:
        which.append(
            c.request_id.in_(
                sa.select(request_subject.c.request_id).where(
                    request_subject.c.subject_id == subject_id
                )
            )
        )
    if not which:
        return []
    rows = tx.all(statement.where(sa.or_(*which)).order_by(c.seq.desc()).limit(limit))
    return [RequestRecord(**row._mapping) for row in reversed(rows)]


def prune(tx: Tx, before: int, limit: int = 1000) -> int:
    """Forget up to `limit` records older than a time (microseconds). Returns how many."""
    c = request_record.c
    old = tx.all(sa.select(c.seq, c.request_id).where(c.at < before).order_by(c.at).limit(limit))
    if old:
        tx.delete(
            request_subject, request_subject.c.request_id.in_([row.request_id for row in old])
        )
        tx.delete(request_record, c.seq.in_([row.seq for row in old]))
    return len(old)
