"""Files in stores and staging areas of the image service, by the image that they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterable


def owners(names: Iterable[str]) -> list[str]:
    """`<folder>/<image id>` of complete data, whichever upload wrote it; other names stay."""
    return [re.sub(r"^(.*/)?([0-9a-f-]{36})\.(?!.*part$)[^/]+$", r"\1\2", name) for name in names]
