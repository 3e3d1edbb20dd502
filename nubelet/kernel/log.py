"""Logging: standard library loggers, every line with the request and operation it belongs to.

`setup()` is called once by the command line. Lines go to stderr or a file, as text for people
or JSON for machines; anything that looks like a secret is blanked before it is written.

Read next: `http/app.py` and `operations/engine.py`, which bind the ids.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import logging.handlers
import re
import sys
import time
from collections.abc import Iterator
from typing import Literal

import msgspec

_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
_operation_id: contextvars.ContextVar[str] = contextvars.ContextVar("operation_id", default="")

_WORDS = (
    r"(?:[\w.-]*(?:password|passwd|adminpass|secret|private_key|credential_key|"
    r"api_?key)|x-(?:auth|subject|service)-token|authorization|token|"
    r"token_id|fernet_key)"
)
# `name = value`, `"name": "value"`, `name: value`: value up to its closing quote or a separator.
_SECRET = re.compile(
    rf"""(?ix) (["']?) \b({_WORDS}) \1 \s* [:=] \s*
         (?: "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | (?:bearer\s+|basic\s+)? [^\s,;&\])}}"']+ )"""
)
_URL_PASSWORD = re.compile(r"(\w+://[^\s/:@]*:)[^\s/@]+@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_FERNET = re.compile(r"\bgAAAA[A-Za-z0-9_\-]{20,}={0,2}")


@contextlib.contextmanager
def bound(*, request_id: str = "", operation_id: str = "") -> Iterator[None]:
    """Log lines of this thread inside the block carry these ids."""
    tokens = (_request_id.set(request_id), _operation_id.set(operation_id))
    try:
        yield
    finally:
        _request_id.reset(tokens[0])
        _operation_id.reset(tokens[1])


def request_id() -> str:
    """The id of the request that this thread works for; empty where it works for none."""
    return _request_id.get()


# What _SECRET finds contains one of the first and an end like the second: to look for them costs
# a fiftieth of the expression.
_HINTS = ("passw", "adminpass", "secret", "_key", "apikey", "token", "authorization")
_END = re.compile(
    r"""(?i)(?:passw(?:or)?d|adminpass|secret|_key|apikey|token|token_id|authorization)["']?\s*[:=]"""
)


def scrub(text: str) -> str:
    """The text with whatever looks like a secret replaced by ***."""
    folded = text.casefold()
    if any(hint in folded for hint in _HINTS) and _END.search(text):
        text = _SECRET.sub(lambda match: f"{match[1]}{match[2]}{match[1]}=***", text)
    if "://" in text:
        text = _URL_PASSWORD.sub(r"\1***@", text)
    return _FERNET.sub("***", text) if "gAAAA" in text else text


def _in_one_line(text: str) -> str:
    """The text with control characters and ends of lines escaped: what clients name is in it."""
    if text.isprintable():
        return text
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text.rstrip())


class _Ids(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = _request_id.get()
        record.operation_id = _operation_id.get()
        return True


class TextFormatter(logging.Formatter):
    """`2026-11-20T08:00:00.123Z INFO nubelet.kernel.bus [req-... op-...] message`."""

    def format(self, record: logging.LogRecord) -> str:
        """One record, perhaps with a traceback below."""
        request_id, operation_id = _ids(record)
        about = " ".join(part for part in (request_id, operation_id) if part)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = (
            f"{moment}.{int(record.msecs):03d}Z {record.levelname} {record.name} "
            f"{f'[{about}] ' if about else ''}{_in_one_line(record.getMessage())}"
        )
        return scrub(line + _traceback(self, record))


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        request_id, operation_id = _ids(record)
        entry = {
            "at": record.created,
            "level": record.levelname,
            "logger": record.name,
            "message": scrub(record.getMessage()),
        }
        if request_id:
            entry["request_id"] = request_id
        if operation_id:
            entry["operation_id"] = operation_id
        trace = _traceback(self, record)
        if trace:
            entry["traceback"] = scrub(trace.strip())
        return msgspec.json.encode(entry).decode()


def setup(
    *, level: str = "INFO", form: Literal["text", "json"] = "text", path: str | None = None
) -> None:
    """Send the log of the whole process to stderr, or to a file that may be rotated by moving it
    away. Calling it again replaces what it set up before."""
    handler: logging.Handler = (
        logging.handlers.WatchedFileHandler(path, encoding="utf-8")
        if path
        else logging.StreamHandler(sys.stderr)
    )
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.addFilter(_Ids())
    # No line shows them, and to find them out costs a fifth of a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    for old in [old for old in root.handlers if any(isinstance(f, _Ids) for f in old.filters)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())


def _ids(record: logging.LogRecord) -> tuple[str, str]:
    return (getattr(record, "request_id", "") or "", getattr(record, "operation_id", "") or "")


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0] is not None:
        return "\n" + formatter.formatException(record.exc_info)
    return ""
