"""What an inspection found."""

from __future__ import annotations


class Unsafe(Exception):  # noqa: N818 - a finding, not an error of ours
    """The data is of the format, but it points outside itself or is broken; the text says how."""


class Mismatch(Exception):  # noqa: N818 - a finding, not an error of ours
    """The data is not what it was declared to be."""

    def __init__(self, declared: str, found: str) -> None:
        super().__init__(f"it was declared as {declared}, but is {found}")
        self.declared, self.found = declared, found
