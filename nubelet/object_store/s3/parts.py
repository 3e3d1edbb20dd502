"""Where the parts of multipart uploads are: in a container beside the bucket, `<bucket>+segments`.

    uploads/<key>/<id>        an upload under way, with the metadata that the key will get
                              (endings.py: whether it is being completed, or was given up)
    parts/<id>/<00001>/<own>  bytes that were sent as a part
    sent/<id>/<00001>         which of them are the part now: those that arrived last
    left/<id>/<key>           the key lost what was made of them, but something else under its name
                              is still made of some: they go with that

A completed upload is a static large object whose segments are the parts; they go when the key is
deleted or overwritten. Bytes under a name of their own are never replaced: what is sent again while
the upload is completed does not change what was chosen. It goes when the upload is over. The access
lists of this container are those of the bucket (Call.container_info), because whoever reads the key
reads the parts.

Uploads that were begun before 2027 may have parts/<id>/<00001>, which is both.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Response
from nubelet.object_store.api import objects as swift_objects
from nubelet.object_store.call import Call, header, is_true, pieces
from nubelet.object_store.features import archived_parts, history, symlinks
from nubelet.object_store.features.archived_parts import MADE_BY
from nubelet.object_store.features.version_names import hidden
from nubelet.object_store.s3 import digits, etags, garbage, names, rules, versions
from nubelet.object_store.s3.asked import Asked
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage import OVERRIDE_ETAG, ContainerInfo, ObjectPath

_ID = re.compile(r"[0-9a-f]{32}")
UPLOADS, _PARTS, _SENT, _LEFT = "uploads/", "parts/", "sent/", "left/"
_PAGE = 10_000


def new_id() -> str:
    """The id of a new upload."""
    return secrets.token_hex(16)


def marker(key: str, upload_id: str) -> str:
    """The object that stands for an upload; raises NoSuchUpload for what is no id."""
    if not _ID.fullmatch(upload_id):
        raise S3Error("NoSuchUpload", UploadId=upload_id)
    return f"{UPLOADS}{key}/{upload_id}"


def new_name(upload_id: str, number: int) -> str:
    """An object for the bytes of a part, of its own."""
    return f"{_PARTS}{upload_id}/{number:05d}/{secrets.token_hex(8)}"


def number_of(name: str) -> int:
    """The number of a part, by the object of its bytes."""
    return int(name.rpartition(_PARTS)[2].split("/")[1])


class Part(NamedTuple):
    """A part as it is now. name: the object of its bytes; checksum: as it is kept; time: when it
    was sent, in ISO 8601, empty where nobody asks."""

    number: int
    name: str
    etag: str
    size: int
    checksum: str
    time: str = ""


MOST_PARTS = 10_000
_TYPE = "application/x-part"


def read_number(text: str) -> int:
    """A part's number, as a request says it; raises InvalidArgument."""
    number = digits.read(text, MOST_PARTS)
    if not number:
        raise S3Error(
            "InvalidArgument", f"Part number must be an integer between 1 and {MOST_PARTS}."
        )
    return number


def type_of(checksum: str, own: str = "", size: int = 0) -> str:
    """The content type of a part's bytes; it tells of its checksum, so that listings do. That of
    what tells which bytes are the part tells also of their `own` name and their number."""
    told = f"; own={own}; size={size}" if own else ""
    return f'{_TYPE}{told}; checksum="{checksum}"' if checksum else _TYPE + told


def checksum_of(content_type: str) -> str:
    """The checksum (as it is kept) that a part's content type tells of."""
    return content_type.partition('checksum="')[2].partition('"')[0]


_TOLD = re.compile(r"; own=([0-9a-f]+); size=([0-9]+)")


def inner(asked: Asked, method: str, name: str, **more: Any) -> Call:
    """A call about the container of parts. Ask before whether the caller may write the bucket."""
    call = asked.call(method, container=names.parts_of(asked.bucket), object=name, **more)
    call.notes["decided"] = True
    return call


def require_writer(asked: Asked) -> ContainerInfo:
    """The bucket, if the caller may write to it; raises AccessDenied, NoSuchBucket."""
    info = asked.bucket_info()
    rules.decide(asked, asked.call("PUT"), info.metadata.get("x-container-write", ""))
    return info


def ensure(asked: Asked, info: ContainerInfo) -> None:
    """The container is there."""
    call = inner(asked, "PUT", "")
    if call.container_info() is None:
        call.headers = {"x-storage-policy": asked.store.policies[info.policy].name}
        asked.ask(call)


def exist(asked: Asked) -> bool:
    """Has the bucket ever had a multipart upload?"""
    return inner(asked, "HEAD", "").container_info() is not None


def uploads(asked: Asked, prefix: str = "") -> Iterator[dict[str, str]]:
    """Uploads under way, of keys that begin so."""
    for each in _listed(asked, UPLOADS + prefix):
        key, _, upload_id = each["name"][len(UPLOADS) :].rpartition("/")
        yield {"key": key, "id": upload_id, "time": each["last_modified"]}


def of_upload(asked: Asked, upload_id: str) -> dict[int, Part]:
    """The parts of an upload, by number."""
    return {each.number: each for each in behind_number(asked, upload_id)}


def behind_number(
    asked: Asked, upload_id: str, number: int = 0, page: int = _PAGE
) -> Iterator[Part]:
    """The parts of an upload behind that number, in order; so many are read at once."""
    marker = f"{number:05d}"
    # What begins with a number and a slash comes before what begins with it and a tilde.
    stored = _listed(asked, f"{_PARTS}{upload_id}/", f"{_PARTS}{upload_id}/{marker}~", page)
    sent = _listed(asked, f"{_SENT}{upload_id}/", f"{_SENT}{upload_id}/{marker}", page)
    both = merge(
        ((number_of(each["name"]), False, each) for each in stored),
        ((int(each["name"].rpartition("/")[2]), True, each) for each in sent),
        key=itemgetter(0, 1),
    )
    for at, found in groupby(both, key=itemgetter(0)):
        if (part := _chosen(upload_id, at, found)) is not None:
            yield part


def _chosen(
    upload_id: str, number: int, found: Iterable[tuple[int, bool, dict[str, Any]]]
) -> Part | None:
    """Of what is listed of a number, the part: what was sent for it, then what tells which."""
    part, stored = None, set()
    for _number, tells, each in found:
        if not tells:
            stored.add(each["name"])
            if each["name"] == _old_name(upload_id, number):
                part = _listed_part(each, number, each["name"], each["bytes"])
        elif told := _TOLD.search(each["content_type"]):
            name = f"{_old_name(upload_id, number)}/{told[1]}"
            # Whoever removed the bytes died, perhaps, before the rest was gone.
            is_there = name in stored
            part = _listed_part(each, number, name, int(told[2])) if is_there else None
    return part


def _old_name(upload_id: str, number: int) -> str:
    return f"{_PARTS}{upload_id}/{number:05d}"


def _listed_part(each: Mapping[str, Any], number: int, name: str, size: int) -> Part:
    checksum = checksum_of(each["content_type"])
    return Part(number, name, each["hash"], size, checksum, each["last_modified"])


def find(asked: Asked, upload_id: str, number: int) -> Part | None:
    """One part, asked for itself: a listing may be behind."""
    sent = _head(asked, f"{_SENT}{upload_id}/{number:05d}")
    name = _old_name(upload_id, number)
    if sent is not None and (told := _TOLD.search(sent.content_type or "")):
        name = f"{name}/{told[1]}"
    found = _head(asked, name)
    if found is None:
        return None
    etag, size = (header(found, "Etag") or "").strip('"'), header(found, "Content-Length")
    return Part(number, name, etag, int(size or 0), checksum_of(found.content_type or ""))


def _head(asked: Asked, name: str) -> Response | None:
    try:
        return asked.ask(inner(asked, "HEAD", name, headers={"x-newest": "true"}))
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def tell(asked: Asked, part: Part) -> None:
    """From now on these bytes are the part; those that were it stay, as they may be chosen."""
    upload_id, own = part.name.split("/")[1], part.name.rpartition("/")[2]
    name = f"{_SENT}{upload_id}/{part.number:05d}"
    call = inner(asked, "PUT", name, headers={"content-length": "0"})
    call.headers["content-type"] = type_of(part.checksum, own, part.size)
    call.notes[swift_objects.FINISH] = lambda own, size: {OVERRIDE_ETAG: part.etag}
    asked.ask(call)


def bytes_of(asked: Asked, upload_id: str) -> list[str]:
    """All that was sent for an upload, whether or not it is a part of it now."""
    return [each["name"] for each in _listed(asked, f"{_PARTS}{upload_id}/")]


def forget_later(asked: Asked, upload_id: str, used: Collection[str] = ()) -> ObjectPath:
    """Once there is no such upload any more, all that was sent for it goes later (garbage.py), but
    for what is `used` by the key: also what is stored from now on, by whoever saw it before."""
    own = marker(asked.key, upload_id)
    starts = [f"{_SENT}{upload_id}/", f"{_PARTS}{upload_id}/"]
    return garbage.intend(asked.store, asked.path, "", [], unless=own, starts=starts, keep=used)


def forget(asked: Asked, upload_id: str) -> None:
    """There is no such upload any more."""
    remove(asked, [marker(asked.key, upload_id)])


def remove_sent(asked: Asked, upload_id: str) -> None:
    """Delete at once all that was sent for an upload that nobody completes any more. What the key
    is made of stays: releases before 2027 did not note that they were completing an upload."""
    used = in_use(asked, {upload_id})
    remove(asked, [name for name in bytes_of(asked, upload_id) if name not in used])
    remove(asked, [each["name"] for each in _listed(asked, f"{_SENT}{upload_id}/")])


def _listed(
    asked: Asked, prefix: str, last: str = "", page: int = _PAGE
) -> Iterator[dict[str, Any]]:
    while exist(asked):
        query = {"format": "json", "prefix": prefix, "marker": last, "limit": str(page)}
        found = json.loads(b"".join(pieces(asked.ask(inner(asked, "GET", "", query=query)))))
        yield from found
        if len(found) < page:
            return
        last = found[-1]["name"]


def behind(asked: Asked, query: Mapping[str, str]) -> list[str]:
    """The parts that a key (or a version of it) is made of, and that go with it; none where it is
    not ours. A manifest that a user wrote may name any key's parts: they are not its own."""
    head, found = _named(asked, query)
    if head is None:
        return []
    if not header(head, etags.ETAG):  # which no client can write, nor copy
        left = {each for each in _ids(found) if _is_left(asked, asked.key, each)}
        return [name for name in found if left & _ids([name])]
    upload_id = header(head, MADE_BY)
    if not upload_id:  # made before 2027: by one upload, whose id only the names tell
        ids = _ids(found)
        upload_id = ids.pop() if len(ids) == 1 else ""
    start = f"{_PARTS}{upload_id}/"
    return [name for name in found if upload_id and name.startswith(start)]


def _ids(found: Iterable[str]) -> set[str]:
    """The uploads that parts were sent for."""
    return {name.split("/")[1] for name in found if name.startswith(_PARTS)}


def _named(asked: Asked, query: Mapping[str, str]) -> tuple[Response | None, list[str]]:
    """The HEAD of a key (or of a version), and what it names beside its bucket, whoever wrote it;
    nothing where it is not of this bucket, or not made of parts."""
    nothing: tuple[Response | None, list[str]] = None, []
    if not exist(asked):
        return nothing
    newest = {"x-newest": "true"}
    look = decided(asked.call("HEAD", headers=newest, query=query))
    try:
        head = asked.ask(look)
    except ApiError as error:
        if error.status >= 500:  # it may be there, whatever does not answer now
            raise
        return nothing
    led_to = look.notes.get(symlinks.FOLLOWED)
    if led_to is not None and led_to.container != hidden(asked.bucket):
        return nothing  # a link of the user's own: what it leads to is another's
    if not is_true(header(head, "X-Static-Large-Object")):
        return nothing
    wanted = {**query, "multipart-manifest": "get"}
    get = decided(asked.call("GET", headers=newest, query=wanted))
    stored = json.loads(b"".join(pieces(asked.ask(get))))
    start = f"/{names.parts_of(asked.bucket)}/"
    found = [str(each["name"]) for each in stored if "name" in each]
    return head, [name.removeprefix(start) for name in found if name.startswith(start)]


def decided(call: Call) -> Call:
    """A call that nobody is asked about: whether the caller may was decided before."""
    call.notes["decided"] = True
    return call


def remove(asked: Asked, found: Iterable[str]) -> None:
    """Delete parts; those that are gone are gone."""
    for name in found:
        try:
            asked.ask(inner(asked, "DELETE", name))
        except ApiError as error:
            if error.status != 404:
                raise


@contextmanager
def losing(
    asked: Asked, key: str, version: str, found: Sequence[str], shares: Shares | None = None
) -> Iterator[None]:
    """A change after which a key does not name these parts any more: they go with it, sooner or
    later (garbage.py). shares: where several versions of keys go one after another."""
    if not found:
        yield
        return
    at, ids = replace(asked, key=key), _ids(found)
    is_alone = shares is not None and shares.are_alone(at, ids)
    path = ObjectPath(asked.account, asked.bucket, key)
    intent = garbage.intend(asked.store, path, version, found)
    try:
        yield
    except ApiError as error:
        if error.status < 500:  # it was refused: nothing has changed
            garbage.forget(asked.store, intent)
        raise
    # Where something newer was stored already, nothing has changed either; and an upload that was
    # completed twice is two versions of the same parts.
    still = set() if is_alone else in_use(at, ids)
    remove(asked, [each for each in found if each not in still])
    if not is_alone:
        _note_left(asked, key, ids, _ids(still))
    garbage.forget(asked.store, intent)


def _note_left(asked: Asked, key: str, lost: set[str], still: set[str]) -> None:
    for each in lost:
        name = f"{_LEFT}{each}/{key}"
        if each in still:
            asked.ask(inner(asked, "PUT", name, headers={"content-length": "0", MADE_BY: each}))
        elif _is_left(asked, key, each):
            remove(asked, [name])


def _is_left(asked: Asked, key: str, upload_id: str) -> bool:
    """Did we note it? What a user put there has no such note."""
    found = _head(asked, f"{_LEFT}{upload_id}/{key}")
    return found is not None and header(found, MADE_BY) == upload_id


def in_use(asked: Asked, ids: Collection[str] = ()) -> set[str]:
    """The parts that the key names, now, in one of its versions or where old ones are moved to; all
    of those that were sent for these uploads (none given: for any)."""
    used = set(_named(asked, {})[1])
    if versions.state(asked.store, asked.account, asked.bucket):
        for version in versions.of_key(asked.store, asked.path):
            if version.may_name(ids):
                used.update(_named(asked, {"version-id": version.id})[1])
    start = f"/{names.parts_of(asked.bucket)}/"
    archived = garbage.named_by_archived(asked.store, asked.path, ids)
    return used | {name.removeprefix(start) for name in archived}


class Shares:
    """Which uploads the versions of keys are made by, as they are when a key is asked about first.
    Those of one upload can be made of the same parts (it was completed twice), others cannot."""

    def __init__(self) -> None:
        self._of_key: dict[str, Counter[str]] = {}

    def are_alone(self, asked: Asked, ids: Collection[str]) -> bool:
        """Is one version of the key surely the only thing that is made of the parts of these
        uploads?"""
        counted = self._of_key.get(asked.key)
        if counted is None:
            counted = self._of_key[asked.key] = _uploads_of(asked)
        if counted[""] or any(counted[each] != 1 for each in ids):
            return False
        if any(archived_parts.of_uploads(asked.store, asked.path, ids)):
            return False
        # While an upload is not forgotten, it can be completed once more.
        return all(_head(asked, marker(asked.key, each)) is None for each in ids)


def _uploads_of(asked: Asked) -> Counter[str]:
    """How many versions of the key, and what its name holds, are made by which uploads; empty: of
    so many that is not known."""
    there = versions.of_key(asked.store, asked.path)
    counted = Counter(each.upload for each in there if each.is_large)
    if history.location(asked.bucket_info()):
        counted[""] += 1  # old objects are moved elsewhere
    if versions.under_name(asked.store, asked.path) == versions.NULL:
        head = asked.look()
        if is_true(header(head, "X-Static-Large-Object")):
            counted[header(head, MADE_BY) or ""] += 1
    return counted


def remove_all(asked: Asked) -> None:
    """The bucket is gone: so is the container of its parts."""
    if exist(asked):
        remove(asked, [each["name"] for each in _listed(asked, "")])
        asked.ask(inner(asked, "DELETE", ""))
