"""The inspection of image data (`nubelet/formats/`), with what it finds in the words of the API.

In OpenStack: glance's use of oslo_utils/imageutils/format_inspector.py.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from nubelet import formats
from nubelet.formats import Mismatch, Unsafe
from nubelet.kernel.errors import ApiError, BadRequest, UnsupportedMediaType

__all__ = ["Inspector", "identify"]
log = logging.getLogger(__name__)


@contextmanager
def _as_api_errors(declared: str) -> Iterator[None]:
    try:
        yield
    except Mismatch as error:
        raise UnsupportedMediaType(f"Image content did not match disk_format: {error}.") from None
    except Unsafe as error:
        raise BadRequest(f"The image data is refused: {error} (disk_format {declared}).") from None


class Inspector:
    """Feed it the data; it refuses as soon as it can, and `finish` says the virtual size.

    Raises UnsupportedMediaType when the data is not of the declared format, BadRequest when it is
    but is not safe. With `refuses` False (`image.require_format_match`) either is only logged, and
    the virtual size is not known.
    """

    def __init__(
        self,
        disk_format: str,
        container_format: str = "bare",
        *,
        refuses: bool = True,
        image_id: str = "",
    ) -> None:
        self._declared, self._refuses, self._image_id = disk_format, refuses, image_id
        self._inspector = formats.Inspector(disk_format, container_format)
        self._fits = True

    def feed(self, chunk: bytes) -> None:
        """The next piece of data."""
        with self._judging():
            if self._fits:
                self._inspector.feed(chunk)

    def finish(self) -> int | None:
        """The size of the disk in bytes; None for data that is not a disk itself."""
        with self._judging():
            if self._fits:
                return self._inspector.finish()
        return None

    @contextmanager
    def _judging(self) -> Iterator[None]:
        try:
            with _as_api_errors(self._declared):
                yield
        except ApiError as error:
            if self._refuses:
                raise
            self._fits = False
            log.warning(
                "image %s: %s It is stored all the same, as image.require_format_match is off",
                self._image_id,
                error,
            )


def identify(pieces: Iterator[bytes]) -> tuple[str, int]:
    """The disk_format that data is to be declared with, and the bytes of its disk.

    Raises BadRequest when the data is not safe, UnsupportedMediaType for a format nobody takes.
    """
    with _as_api_errors("unknown"):
        return formats.identify(pieces)
