"""An image is looked at here too, before any tool opens it.

The image service inspects what is uploaded and imported. Data that it only has the location of may
have been another when it was asked for, and even to look at a file with `qemu-img info` opens what
its header names (OSSA-2024-001). A raw image whose content is another format is refused as well,
though nothing here would follow its header: whoever made it counted on a tool that does
(docs/decisions/0034-raw-images-are-raw.md).
"""

from __future__ import annotations

from pathlib import Path

from nubelet.formats import Inspector, Mismatch, Unsafe
from nubelet.node.errors import IMAGE_CORRUPT, HostError

_CHUNK_BYTES = 1 << 20


def require_safe(path: Path, disk_format: str, subject: str, *, only_head: bool) -> None:
    """Raise `image_corrupt` unless the file is what it is said to be and keeps to itself.

    `subject` names it in messages. `only_head`: no more of the file tells anything.
    """
    inspector = Inspector(disk_format)
    try:
        with path.open("rb") as file:
            while piece := file.read(_CHUNK_BYTES):
                inspector.feed(piece)
                if only_head:
                    break
        inspector.finish()
    except Mismatch as error:
        raise HostError(IMAGE_CORRUPT, f"{subject} is not what it should be: {error}") from None
    except Unsafe as error:
        raise HostError(IMAGE_CORRUPT, f"{subject} is refused: {error}") from None
