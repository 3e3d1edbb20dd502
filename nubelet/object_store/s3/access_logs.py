"""Access logs: what was asked of a bucket, line by line in objects of another bucket.

Lines are collected by each process that serves, and written together every
`object_store.s3_log_seconds`, by a thread of that process. Delivery is best effort, as at Amazon: a
process that is killed loses the lines that it did not write yet, and where a bucket cannot be
written to for long they are dropped.

    <owner> <bucket> [<time>] <address> <requester> <request id> <operation> <key> "<request>"
    <status> <error> <bytes sent> <size> <ms> <ms> "<referer>" "<user agent>" <version> ...

Reference: Amazon S3 User Guide, "Logging requests with server access logging", "Log format".
"""

from __future__ import annotations

import atexit
import logging
import secrets
import threading
import time
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from nubelet.decoding import prepared
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import ANONYMOUS, Context
from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.ids import new_request_id
from nubelet.object_store.call import body_of, header
from nubelet.object_store.s3 import access, names, rules, xml
from nubelet.object_store.s3.asked import Asked, noted
from nubelet.object_store.s3.bodies import Upload
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage import Storage

log = logging.getLogger(__name__)
ROOT = "BucketLoggingStatus"
_SIMPLE, _PARTITIONED = "SimplePrefix", "PartitionedPrefix"
_DATES = ("EventTime", "DeliveryTime")
# So many lines of one bucket are written at once; so many bytes of all are kept for that.
_MOST_TOGETHER, _MOST_KEPT_BYTES = 10_000, 64 << 20
_LONGEST_FIELD = 2048
_LOOK_SECONDS = 1.0


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the log of a bucket goes. dates: by which date its objects are called; empty: they are
    called by prefix and time only. is_told: was the form of names said?"""

    bucket: str
    prefix: str = ""
    dates: str = ""
    is_told: bool = False


# --- The configuration ------------------------------------------------------------------------


def show(asked: Asked) -> Response:
    """GET ?logging."""
    kept = noted(asked.require_permitted(), "logging")
    if not kept:
        return xml.document(ROOT, {})
    target = _read(kept)
    form: dict[str, Any] | None = None
    if target.is_told:
        form = {_SIMPLE: {}}
        if target.dates:
            form = {_PARTITIONED: {"PartitionDateSource": target.dates}}
    enabled = {
        "TargetBucket": target.bucket,
        "TargetPrefix": target.prefix,
        "TargetObjectKeyFormat": form,
    }
    return xml.document(ROOT, {"LoggingEnabled": enabled})


def update(asked: Asked) -> Response:
    """PUT ?logging: into a bucket of the same project; an empty document ends it."""
    asked.require_permitted()
    document = xml.read(asked.document(), ROOT)
    found = document.find("LoggingEnabled")
    if found is None:
        if len(document):
            raise S3Error("MalformedXML")
        asked.note(logging="")
        return Response(200, b"")
    if found.find("TargetBucket") is None or found.find("TargetPrefix") is None:
        raise S3Error("MalformedXML", "A log has a TargetBucket and a TargetPrefix.")
    if len(found.findall("TargetGrants/Grant")):
        raise S3Error("NotImplemented", "Logs are read by who may read their bucket.")
    target = Target(
        bucket=xml.text(found, "TargetBucket"),
        prefix=found.findtext("TargetPrefix") or "",
        **_form(found.find("TargetObjectKeyFormat")),
    )
    if len(target.prefix.encode("utf-8", "surrogatepass")) > 800:
        raise S3Error("InvalidArgument", "The prefix is too long for names of logs.")
    _check_target(asked, target)
    asked.note(logging=msgspec.json.encode(target).decode())
    return Response(200, b"")


def _check_target(asked: Asked, target: Target) -> None:
    """The bucket is there, and who wants the log there may write to it. Raises S3Error, which does
    not tell which of both is wrong."""
    call = asked.call("PUT", container=target.bucket, object=f"{target.prefix}log")
    info = call.container_info() if names.is_bucket(target.bucket) else None
    try:
        if info is not None:
            rules.decide(asked, call, info.metadata.get("x-container-write", ""))
            return
    except ApiError:
        pass
    raise S3Error("InvalidTargetBucketForLogging", TargetBucket=target.bucket)


def _form(found: Any) -> dict[str, Any]:
    if found is None:
        return {}
    if len(found) != 1 or found[0].tag not in (_SIMPLE, _PARTITIONED):
        raise S3Error("MalformedXML", f"Names are formed by {_SIMPLE} or {_PARTITIONED}.")
    dates = ""
    if found[0].tag == _PARTITIONED:
        dates = xml.text(found[0], "PartitionDateSource", _DATES[0])
        if dates not in _DATES:
            raise S3Error("MalformedXML", "PartitionDateSource must be EventTime or DeliveryTime.")
    return {"dates": dates, "is_told": True}


def _read(kept: str) -> Target:
    return msgspec.json.decode(kept, type=prepared(Target))


# --- Lines ------------------------------------------------------------------------------------


class _Source(NamedTuple):
    """Whose lines go together. day: of what was asked, where names tell it."""

    account: str
    bucket: str
    target: Target
    day: str


def record(asked: Asked, response: Response, error: str, seconds: float) -> None:
    """Note what was asked and answered, where the bucket has a log. What was not looked at in vain
    is not looked at for this: who asked of a bucket that is not there is in no log."""
    info = asked.seen_bucket()
    kept = noted(info, "logging") if info is not None else ""
    if not kept:
        return
    target, now = _read(kept), datetime.now(UTC)
    day = f"{now:%Y/%m/%d}" if target.dates == "EventTime" else ""
    source = _Source(asked.account, asked.bucket, target, day)
    try:
        line = _line(asked, response, error, seconds, now)
    except Exception:  # what was done is done: it is answered, said or not
        log.exception("a line of the log of %s cannot be written", asked.bucket)
    else:
        _collected.add(asked.ctx.cloud, source, line)


def _line(asked: Asked, response: Response, error: str, seconds: float, now: datetime) -> str:
    request, ctx = asked.request, asked.ctx
    length = header(response, "Content-Length")
    if length is None and isinstance(response.body, bytes):
        length = str(len(response.body))
    whole = (header(response, "Content-Range") or "").rpartition("/")[2]
    is_upload = request.method == "PUT" and asked.key
    size = asked.upload.length if is_upload else whole or (length if asked.key else None)
    milliseconds = str(round(seconds * 1000))
    stamp = f"[{now:%d/%b/%Y:%H:%M:%S +0000}]"
    path = quote(request.base.encode() + request.raw_path, safe="/%+~")
    asks = f"?{request.raw_query.decode('latin-1')}" if request.raw_query else ""
    is_read = request.method == "GET" and not error
    fields = (
        access.owner(asked.account)["ID"],
        asked.bucket,
        _Made(stamp),
        ctx.remote_address,
        ctx.user_id,
        ctx.request_id,
        _operation(asked),
        quote(asked.key, safe="/") if asked.key else "",
        _quoted(f"{request.method} {path}{_unsigned(asks)} HTTP/1.1"),
        str(response.status),
        error,
        length or "" if request.method != "HEAD" else "",
        size if is_read or is_upload else "",
        milliseconds,
        milliseconds,
        _quoted(asked.headers.get("referer", "")),
        _quoted(asked.headers.get("user-agent", "")),
        asked.query.get("versionId", ""),
        ctx.request_id,
        _signature(asked)[0],
        "",  # of TLS, which somebody else speaks
        _signature(asked)[1],
        asked.headers.get("host", ""),
        "",
        "",
        "",
    )
    return " ".join(_word(field) for field in fields)


class _Made(str):
    """A field with the quotes or brackets around it that make it one."""


def _word(field: str | None) -> str:
    """A field of what a client may have sent: whatever it is, one word of one line."""
    if not field:
        return "-"
    if isinstance(field, _Made):
        return field
    return _clean(field, ' "[]')


def _quoted(text: str) -> str:
    return _Made(f'"{_clean(text, chr(34))}"') if text else ""


def _clean(text: str, without: str) -> str:
    kept = text[:_LONGEST_FIELD]
    return "".join(each if each.isprintable() and each not in without else "?" for each in kept)


def _unsigned(asks: str) -> str:
    """A query without what would let somebody else use it."""
    kept = [
        each
        for each in asks.removeprefix("?").split("&")
        if each and not each.lower().startswith(("x-amz-signature=", "signature="))
    ]
    return f"?{'&'.join(kept)}" if kept else ""


def _operation(asked: Asked) -> str:
    method = asked.request.method
    names = {
        "uploadId": "PART" if method == "PUT" else "UPLOAD",
        "delete": "MULTI_OBJECT_DELETE",
        "object-lock": "OBJECT_LOCK",
        "legal-hold": "LEGAL_HOLD",
    }
    chosen = next((each for each in asked.query if each == asked.subresource), "")
    kind = names.get(chosen) or chosen.upper() or ("OBJECT" if asked.key else "BUCKET")
    is_copy = method == "PUT" and asked.key and "x-amz-copy-source" in asked.headers
    return f"REST.{'COPY' if is_copy else method}.{kind}"


def _signature(asked: Asked) -> tuple[str, str]:
    sent = asked.headers.get("authorization", "")
    if sent:
        return ("SigV4" if sent.startswith("AWS4") else "SigV2"), "AuthHeader"
    if "X-Amz-Signature" in asked.query:
        return "SigV4", "QueryString"
    return ("SigV2", "QueryString") if "Signature" in asked.query else ("", "")


# --- Delivery ---------------------------------------------------------------------------------


class _Collected:
    """Lines of this process that are not written yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._delivery = threading.Lock()
        self._lines: dict[tuple[int, _Source], list[str]] = {}
        self._kept_bytes = 0  # as long as they are not written, or given up
        self._since: dict[tuple[int, _Source], float] = {}
        self._clouds: dict[int, Cloud] = {}
        self._thread: threading.Thread | None = None

    def add(self, cloud: Cloud, source: _Source, line: str) -> None:
        """Have a line written soon."""
        at = (id(cloud), source)
        with self._lock:
            self._clouds[id(cloud)] = cloud
            lines = self._lines.setdefault(at, [])
            self._since.setdefault(at, time.monotonic())
            if self._kept_bytes + len(line) <= _MOST_KEPT_BYTES:
                lines.append(line)
                self._kept_bytes += len(line)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._work, name="s3-access-logs", daemon=True
                )
                self._thread.start()

    def _work(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            self.deliver()

    def deliver(self, *, at_once: bool = False) -> None:
        """Write what has waited long enough, or is enough. At the end of the process, `at_once`,
        this also waits for the thread that is about to write some."""
        with self._delivery:
            self._deliver(at_once)

    def _deliver(self, at_once: bool) -> None:
        with self._lock:
            now = time.monotonic()
            ripe = [
                at
                for at, since in self._since.items()
                if at_once
                or now - since >= self._clouds[at[0]].settings.object_store.s3_log_seconds
                or len(self._lines[at]) >= _MOST_TOGETHER
            ]
            taken = [(at, self._lines.pop(at), self._since.pop(at)) for at in ripe]
        for at, lines, since in taken:
            try:
                _write(self._clouds[at[0]], at[1], lines)
            except ApiError as error:
                log.warning("the log of %s cannot be written: %s", at[1].bucket, error)
                if error.status >= 500:  # later
                    with self._lock:
                        self._lines[at] = lines + self._lines.get(at, [])
                        self._since[at] = time.monotonic()
                    continue
            except Exception:
                log.exception("the log of %s is lost, since %s", at[1].bucket, since)
            with self._lock:
                self._kept_bytes -= sum(map(len, lines))


_collected = _Collected()
deliver = _collected.deliver
atexit.register(deliver, at_once=True)


def _write(cloud: Cloud, source: _Source, lines: list[str]) -> None:
    """One object of the log."""
    target, now = source.target, datetime.now(UTC)
    place = ""
    if target.dates:
        day = source.day or f"{now:%Y/%m/%d}"
        owner = access.owner(source.account)["ID"]
        region = cloud.settings.object_store.s3_regions[0]
        place = f"{owner}/{region}/{source.bucket}/{day}/"
    name = f"{target.prefix}{place}{now:%Y-%m-%d-%H-%M-%S}-{secrets.token_hex(8).upper()}"
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
    request = Request("PUT", "", "", {}, {}, {})
    asked = Asked(
        Context(cloud, "object_store", ANONYMOUS, request_id=new_request_id()),
        cloud.get(Storage),  # type: ignore[type-abstract]
        request,
        source.account,
        target.bucket,
        name,
        {},
        Upload({}, request.chunks, None, b""),
    )
    headers = {"content-length": str(len(data)), "content-type": "text/plain"}
    call = asked.call("PUT", headers=headers, body=body_of(data))
    call.notes["decided"] = True
    asked.ask(call)
