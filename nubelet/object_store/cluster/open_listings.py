"""The listing files of a device that are open; a replicator may take one away."""

from __future__ import annotations

from typing import TypeVar

from nubelet.object_store.storage.sqlite import ListingFile, OpenFiles

_File = TypeVar("_File", bound=ListingFile)


class OpenListings(OpenFiles[_File]):
    """`OpenFiles` of which one can be forgotten."""

    def forget(self, path: str) -> None:
        """Close a file that is going to be removed. Whoever opens it again finds what is there
        then."""
        with self._lock:
            file = self._files.pop(path, None)
        if file is not None:
            file.close()
