"""The folder of the cache: `<image id>`, and `<image id>.<process>.part` while it is fetched."""

from __future__ import annotations

import os
from pathlib import Path

from nubelet.kernel.cloud import Cloud
from nubelet.kernel.ids import is_uuid


def is_on(cloud: Cloud) -> bool:
    """Does this cloud keep a cache?"""
    return limit(cloud) > 0


def limit(cloud: Cloud) -> int:
    """The most bytes that it may take."""
    return cloud.settings.image.cache_bytes


def where(cloud: Cloud) -> Path:
    """The folder, made on first use."""
    made = cloud.settings.image.cache_directory
    made.mkdir(mode=0o700, parents=True, exist_ok=True)
    return made


def path_of(cloud: Cloud, image_id: str) -> Path:
    """Where the data of an image is."""
    return cloud.settings.image.cache_directory / image_id


def part_of(cloud: Cloud, image_id: str) -> Path:
    """Where this process writes the data of an image."""
    return where(cloud) / f"{image_id}.{os.getpid()}.part"


def size_of(path: Path) -> int | None:
    """Bytes of a file; None when there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def list_ids(cloud: Cloud) -> set[str]:
    """The images whose data is there."""
    return {path.name for path in where(cloud).iterdir() if is_uuid(path.name)}


def remove_dead_parts(cloud: Cloud) -> None:
    """Remove what processes were writing that are gone."""
    for part in where(cloud).glob("*.part"):
        if not Path(f"/proc/{part.name.split('.')[-2]}").exists():
            part.unlink(missing_ok=True)


def remove(cloud: Cloud, image_id: str) -> None:
    """Remove the data of an image; whoever reads it at this moment reads on."""
    path_of(cloud, image_id).unlink(missing_ok=True)
