"""What turns image data from one format into another, or unpacks it; wiring provides it.

The control plane runs no host command itself (decision 0020): a process that runs operations is
given a converter, which lives in `node/`. A cloud without one refuses to convert.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class ImageConverter(Protocol):
    """A converter of disk images. Formats are always stated, as the Image API names them."""

    def convert(
        self, source: Path, source_format: str, target: Path, target_format: str, max_bytes: int
    ) -> None:
        """Write `source` to `target` in another format, of at most so many bytes.

        What it raises says in its text why the data cannot be converted.
        """

    def unpack(self, source: Path, kind: str, target: Path, max_bytes: int) -> None:
        """Write what is packed in `source` (kind: zstd, lha) to `target`: at most so many bytes.

        What it raises says in its text why the data cannot be unpacked.
        """
