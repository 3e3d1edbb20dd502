"""Where the built guest image and the packages it is made of are kept on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def _base() -> Path:
    if os.geteuid() == 0:
        return Path("/var/cache/nubelet")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nubelet"


def image_dir() -> Path:
    """The folder of the built image; NUBELET_GUEST_IMAGE_DIR names another one."""
    return Path(os.environ.get("NUBELET_GUEST_IMAGE_DIR") or _base() / "guest")


def cache_dir() -> Path:
    """The folder of the downloaded packages."""
    return _base() / "packages"
