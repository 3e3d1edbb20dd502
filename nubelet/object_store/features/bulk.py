"""Many objects by one request: `PUT ?extract-archive=tar|tar.gz|tar.bz2`, `POST ?bulk-delete`.

An archive is read as it arrives; each file becomes an object, the first part of its path the
container where the URL names none.

In OpenStack: swift/common/middleware/bulk.py.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote, unquote

from nubelet.kernel.errors import ApiError, BadRequest, NotFound, TooLarge
from nubelet.kernel.http.messages import Response
from nubelet.object_store import limits
from nubelet.object_store.call import Call, Proceed
from nubelet.object_store.features import bulk_answers
from nubelet.object_store.storage import ObjectPath

MAX_DELETES = 10_000
MAX_FAILED = 1_000
MAX_CONTAINERS = 10_000
_MODES: Mapping[str, Any] = {"tar": "r|", "tar.gz": "r|gz", "tar.bz2": "r|bz2"}
UPLOAD_CAPABILITY: Mapping[str, Any] = {
    "max_containers_per_extraction": MAX_CONTAINERS,
    "max_failed_extractions": MAX_FAILED,
}
DELETE_CAPABILITY: Mapping[str, Any] = {
    "max_deletes_per_request": MAX_DELETES,
    "max_failed_deletes": MAX_FAILED,
}


def bulk(call: Call, proceed: Proceed) -> Response:
    """Extract archives, delete lists."""
    if call.method == "PUT" and "extract-archive" in call.query:
        return _extract(call, proceed)
    if call.method in ("POST", "DELETE") and "bulk-delete" in call.query:
        return _delete(call, proceed)
    return proceed(call)


# --- Deleting ---------------------------------------------------------------------------------


def _delete(call: Call, proceed: Proceed) -> Response:
    if "content-length" not in call.headers and "transfer-encoding" not in call.headers:
        raise ApiError("Missing Content-Length header.", status=411, title="Length Required")
    try:
        text = call.read_body(MAX_DELETES * (limits.MAX_OBJECT_NAME_LENGTH * 3 + 300)).decode()
    except UnicodeDecodeError:
        raise BadRequest("Invalid File Name: not UTF-8") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > MAX_DELETES:
        body = f"Maximum Bulk Deletes: {MAX_DELETES} per request"
        counts = (("Number Deleted", 0), ("Number Not Found", 0))
        return Response(
            200, bulk_answers.text(call, counts, (), 413, body), {}, bulk_answers.kind(call)
        )
    deletes, problems = [], []
    for line in lines:
        container, _, name = unquote(line).removeprefix("/").partition("/")
        if not container or "\0" in line or "\0" in container or "\0" in name:
            problems.append((quote(line), "412 Precondition Failed"))
        elif len(name.encode()) > limits.MAX_OBJECT_NAME_LENGTH:
            problems.append((quote(line), "400 Bad Request"))
        else:
            path = ObjectPath(call.account, container, name)
            deletes.append(call.sub("DELETE").at(path))
    return bulk_answers.delete_all(call, proceed, deletes, problems)


# --- Extracting -------------------------------------------------------------------------------


class _Stream(io.RawIOBase):
    """The body as a file."""

    def __init__(self, body: Iterator[bytes]) -> None:
        self._body, self._left = body, b""

    def read(self, size: int = -1) -> bytes:
        parts, have = [], 0
        while size < 0 or have < size:
            piece = self._left or next(self._body, b"")
            if not piece:
                break
            wanted = len(piece) if size < 0 else size - have
            parts.append(piece[:wanted])
            self._left = piece[wanted:]
            have += len(parts[-1])
        return b"".join(parts)


def _extract(call: Call, proceed: Proceed) -> Response:
    mode = _MODES.get(call.query["extract-archive"].lower().strip("."))
    if mode is None:
        raise BadRequest("Unsupported archive format")
    if "content-length" not in call.headers and "transfer-encoding" not in call.headers:
        raise ApiError("Missing Content-Length header.", status=411, title="Length Required")
    work = _Extraction(call, proceed)
    status, words = 201, ""
    try:
        with tarfile.open(mode=mode, fileobj=cast(Any, _Stream(call.body(1 << 16)))) as archive:
            for member in archive:
                if member.isfile():
                    work.add(archive, member)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        status, words = 400, f"Invalid Tar File: {error}"
    except _Enough as error:
        status, words = 400, str(error)
    except ApiError as error:
        if error.status not in (401, 403):
            raise
        status, words = error.status, error.message
    if status == 201 and work.problems:
        status = 502 if work.is_server_fault else 400
    elif status == 201 and not work.created:
        status, words = 400, "Invalid Tar File: No Valid Files"
    counts = (("Number Files Created", work.created),)
    body = bulk_answers.text(call, counts, work.problems, status, words)
    return Response(200, body, {}, bulk_answers.kind(call))


class _Enough(Exception):  # noqa: N818 - a reason to stop
    """Too much went wrong."""


class _Extraction:
    """One archive on its way in."""

    def __init__(self, call: Call, proceed: Proceed) -> None:
        self._call, self._proceed = call, proceed
        self.created = 0
        self.is_server_fault = False
        self.problems: list[tuple[str, str]] = []
        self._containers: set[str] = set()

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Make an object of a file."""
        name = member.name
        while name.startswith(("./", "/")):
            name = name.removeprefix("./").removeprefix("/")
        below = self._call.object.rstrip("/")
        path = "/".join(part for part in (self._call.container, below) if part)
        container, _, found = f"{path}/{name}".removeprefix("/").partition("/")
        if not container or not found:
            return
        try:
            self._put(archive, member, ObjectPath(self._call.account, container, found))
            self.created += 1
        except ApiError as error:
            if error.status == 401:
                raise
            self.is_server_fault |= error.status >= 500
            self._note(name, bulk_answers.status_line(error.status))

    def _put(self, archive: tarfile.TarFile, member: tarfile.TarInfo, to: ObjectPath) -> None:
        if not limits.is_text(str(to)):
            raise ApiError("The name is not UTF-8.", status=412)
        limits.check_names(*to)
        if member.size > limits.MAX_FILE_SIZE:
            raise TooLarge("The file is too large.")
        reader = archive.extractfile(member)
        assert reader is not None

        def body(size: int) -> Iterator[bytes]:
            while piece := reader.read(size):
                yield piece

        headers = {"content-length": str(member.size)}
        for key, value in member.pax_headers.items():
            lower = key.lower()
            if lower == "schily.xattr.user.mime_type":
                headers["content-type"] = value
            elif lower.startswith("schily.xattr.user.meta."):
                headers["x-object-meta-" + lower[len("schily.xattr.user.meta.") :]] = value
        for name in ("x-delete-at", "x-delete-after"):
            if name in self._call.headers:
                headers[name] = self._call.headers[name]
        put = self._call.sub("PUT", headers=headers, body=body).at(to)
        try:
            self._proceed(put)
        except NotFound:
            self._make_container(to.container)
            self._proceed(put)

    def _make_container(self, container: str) -> None:
        if len(self._containers) >= MAX_CONTAINERS:
            raise _Enough(f"More than {MAX_CONTAINERS} containers to create from tar.")
        self._containers.add(container)
        make = self._call.sub("PUT").at(ObjectPath(self._call.account, container, ""))
        self._proceed(make)
        self._call.forget()

    def _note(self, name: str, cause: str) -> None:
        self.problems.append((quote(name), cause))
        if len(self.problems) >= MAX_FAILED:
            raise _Enough("Hit Extraction Error Limit")
