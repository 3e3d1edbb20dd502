"""Image data: upload and download."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

from nubelet.image import cache, fetching, images, locations, staging, uploads
from nubelet.image.stores import ImageStore, Stores, StoreUnreachable
from nubelet.kernel.context import Context
from nubelet.kernel.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    RangeNotSatisfiable,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from nubelet.kernel.http.fields import read_natural
from nubelet.kernel.http.messages import FileBody, Request, Response
from nubelet.kernel.http.routes import Route

UPLOAD_CHUNK_BYTES = 1 << 20
_SIZE_HEADER = "x-openstack-image-size"
_LONGEST_NUMBER = 19  # digits; what is longer is behind the end of any data


def upload(ctx: Context, request: Request) -> object:
    """Upload the data of a queued image."""
    require_octets(request)
    with ctx.cloud.database.read() as tx:
        found = images.find(ctx, tx, request.params["image_id"])
    ctx.authorize(target=found.target(ctx))
    uploads.receive(ctx, found, chunks_of(request), _chosen_store(ctx, request))
    return None


def chunks_of(request: Request) -> Iterator[bytes]:
    """The data of the body; raises BadRequest at its end when it is not as long as the header
    x-openstack-image-size says: the source was cut short."""
    stated = request.headers.get(_SIZE_HEADER)
    chunks = request.chunks(UPLOAD_CHUNK_BYTES)
    return chunks if stated is None else _exactly(chunks, read_natural(_SIZE_HEADER, stated))


def _exactly(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    came = 0
    for chunk in chunks:
        came += len(chunk)
        yield chunk
    if came != size:
        raise BadRequest(f"{came} bytes came, the header {_SIZE_HEADER} says {size}.")


def _chosen_store(ctx: Context, request: Request) -> ImageStore | None:
    """The store that a header names; raises BadRequest for one that cannot be written to."""
    name = request.headers.get("x-image-meta-store")
    if name is None:
        return None
    stores = ctx.cloud.get(Stores)
    if name not in stores or stores.get(name).read_only:
        raise BadRequest(f"Invalid store: {name} is none that data can be written to.")
    return stores.get(name)


def require_octets(request: Request) -> None:
    """Raise UnsupportedMediaType unless the body is said to be plain bytes."""
    media = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media != "application/octet-stream":
        raise UnsupportedMediaType("Image data is sent as application/octet-stream.")


def download(ctx: Context, request: Request) -> object:
    """Download the data of an image, or a range of it."""
    with ctx.cloud.database.read() as tx:
        found = images.find(ctx, tx, request.params["image_id"])
    ctx.authorize(target=found.target(ctx))
    row = found.row
    if row.status == "deactivated" and not ctx.is_admin:
        raise Forbidden(
            f"The requested image {row.id} has been deactivated. Image data download is forbidden."
        )
    if row.status not in ("active", "deactivated"):
        return Response(204)
    return _answer(ctx, found, _asked(request))


def _asked(request: Request) -> str | None:
    """The range that a client wants. The Image API also knows it by the header Content-Range."""
    if "if-range" in request.headers:  # data has no validator that could be meant
        return None
    asked = request.headers.get("range")
    stated = request.headers.get("content-range")
    if asked is not None or stated is None:
        return asked
    return re.sub(r"^bytes (\d+-\d+)/(\d+|\*)$", r"bytes=\1", stated.strip())


def download_for_node(ctx: Context, request: Request) -> object:
    """Download by a signed URL, as a node of this cloud does: it has no token."""
    image_id = request.params["image_id"]
    if not fetching.is_signed(
        ctx.cloud, image_id, request.first("expires") or "", request.first("signature") or ""
    ):
        raise Forbidden("The URL is not signed by this cloud, or its time is over.")
    with ctx.cloud.database.read() as tx:
        found = images.find_any(tx, image_id)
    if found.row.status != "active":
        raise Conflict(f"Image {image_id} is {found.row.status}, not active.")
    return _answer(ctx, found, request.headers.get("range"))


def fetch_staged(ctx: Context, request: Request) -> object:
    """Give another machine of this cloud what was staged on this one, by a signed URL."""
    key = request.params["key"]
    expires, signature = request.first("expires") or "", request.first("signature") or ""
    if not staging.is_signed(ctx.cloud, key, expires, signature):
        raise Forbidden("The URL is not signed by this cloud, or its time is over.")
    store = ctx.cloud.get(Stores).staging
    size = store.size(key)
    if size is None:
        raise NotFound(message=f"Nothing is staged here as {key}.")
    return _send(partial(store.read, key), None, size, request.headers.get("range"))


def _answer(ctx: Context, found: images.Image, asked: str | None) -> Response:
    row = found.row
    cached = cache.look_up(ctx.cloud, row)
    if cached is not None:
        return _send(partial(FileBody, str(cached)), row.checksum, row.size, asked)
    try:
        store, key, size = _found_data(ctx, found)
        answer = _send(partial(store.read, key), row.checksum, size, asked)
        if asked is None and not isinstance(answer.body, FileBody):
            cache.want(ctx.cloud, row)  # it came from far away
        return answer
    except StoreUnreachable as error:
        raise ServiceUnavailable(f"The store of image {row.id} failed: {error}.") from error


def _found_data(ctx: Context, found: images.Image) -> tuple[ImageStore, str, int]:
    """The copy to read, by weight: the first whose data is there."""
    stores = ctx.cloud.get(Stores)
    failure: StoreUnreachable | None = None
    for each in locations.by_weight(stores, found.locations):
        if each.store not in stores:
            continue
        store = stores.get(each.store)
        try:
            size = store.size(each.key)
        except StoreUnreachable as error:
            failure = error
            continue
        if size is not None:
            return store, each.key, size
    if failure is not None:
        raise failure
    raise NotFound(message=f"The data of image {found.row.id} is missing from the stores.")


def _send(
    read: Callable[[int, int], FileBody | Iterator[bytes]],
    checksum: str | None,
    size: int,
    asked: str | None,
) -> Response:
    start, end = _range(asked, size)
    headers = {"Content-Length": str(end - start), "Accept-Ranges": "bytes"}
    if asked is None:
        if checksum:
            headers["Content-MD5"] = checksum
    else:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Response(
        200 if asked is None else 206,
        read(start, end - start),
        headers,
        "application/octet-stream",
    )


def _range(asked: str | None, size: int) -> tuple[int, int]:
    """First and one past the last byte of a Range header (RFC 9110, one range)."""
    if asked is None:
        return 0, size
    if "," in asked:
        raise BadRequest(f"Multiple ranges are not supported: {asked}")
    match = re.fullmatch(r"bytes\s*=\s*(\d*)-(\d*)", asked.strip(), re.IGNORECASE | re.ASCII)
    refusal = RangeNotSatisfiable(
        f"Invalid range: {asked}", headers={"Content-Range": f"bytes */{size}"}
    )
    if not match or match.groups() == ("", ""):
        raise refusal
    first, last = (each if len(each) < _LONGEST_NUMBER else "9" * 18 for each in match.groups())
    if first == "":
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= end:
        raise refusal
    return start, end


_FILE = "/images/{image_id}/file"
ROUTES = (
    Route(
        method="PUT",
        path=_FILE,
        handler=upload,
        rule="upload_image",
        rule_needs_target=True,
        stream=True,
        status=204,
    ),
    Route(
        method="GET", path=_FILE, handler=download, rule="download_image", rule_needs_target=True
    ),
    Route(
        method="GET",
        path=fetching.PATH,
        handler=download_for_node,
        open=True,
        prefixed=False,
        summary="Download image data by a signed URL",
    ),
    Route(
        method="GET",
        path=staging.PATH,
        handler=fetch_staged,
        open=True,
        prefixed=False,
        summary="Download staged data by a signed URL",
    ),
)
