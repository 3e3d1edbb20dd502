"""qemu-img: every call states the format and runs under limits of memory and time.

A stand-in takes qemu-img's place and writes down what it was called with and what it may use, as
the kernel tells it: limits that were dropped on the way are missing there.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nubelet.node import commands
from nubelet.node.conversion import QemuImgConverter
from nubelet.node.disks.file import qemu_img

GIB = 1 << 30
STAND_IN = """#!/usr/bin/python3
import json, resource, sys
kinds = ("CPU", "AS", "FSIZE")
limits = {kind: resource.getrlimit(getattr(resource, "RLIMIT_" + kind)) for kind in kinds}
with open(%r, "w") as file:
    json.dump({"arguments": sys.argv[1:], "limits": limits}, file)
print('{"virtual-size": 1024, "format": "qcow2"}')
"""


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """What the tool was called with, and its limits."""
    told = tmp_path / "told"
    folder = tmp_path / "bin"
    folder.mkdir()
    tool = folder / "qemu-img"
    tool.write_text(STAND_IN % str(told))
    tool.chmod(0o755)
    monkeypatch.setattr(commands, "_PATH", f"{folder}:{commands._PATH}")

    def read() -> Any:
        until = time.monotonic() + 60
        while not told.exists() or not told.read_bytes():
            assert time.monotonic() < until, "qemu-img was not called"
            time.sleep(0.01)
        return msgspec.json.decode(told.read_bytes())

    return read


A, B = Path("/nowhere/a"), Path("/nowhere/b")
NO_LIMIT = resource.RLIM_INFINITY
# What is done -> the formats that are stated, CPU seconds, bytes of memory, of files.
CALLS: dict[str, tuple[Callable[[], object], list[str], int, int, int]] = {
    "look": (lambda: qemu_img.virtual_size(A, "qcow2", "It"), ["-f qcow2"], 30, GIB, NO_LIMIT),
    "create": (
        lambda: qemu_img.create(A, "qcow2", 1024, (B, "raw")),
        ["-f qcow2", "-F raw"],
        3600,
        4 * GIB,
        NO_LIMIT,
    ),
    "convert": (
        lambda: qemu_img.convert(A, "vmdk", B, "qcow2"),
        ["-f vmdk", "-O qcow2"],
        3600,
        4 * GIB,
        NO_LIMIT,
    ),
    # Goes on for as long as it takes: whoever began it looks after it, and kills it.
    "start_convert": (
        lambda: qemu_img.start_convert(A, "raw", B, "qcow2"),
        ["-f raw", "-O qcow2"],
        NO_LIMIT,
        4 * GIB,
        NO_LIMIT,
    ),
    "resize": (lambda: qemu_img.resize(A, "raw", 2048), ["-f raw"], 3600, 4 * GIB, NO_LIMIT),
    "import": (
        lambda: QemuImgConverter().convert(A, "vhd", B, "qcow2", 5000),
        ["-f vpc", "-O qcow2"],
        3600,
        2 * GIB,
        5000,
    ),
}


@pytest.mark.parametrize("what", CALLS)
def test_it_runs_under_limits_with_the_format_stated(what: str, seen: Callable[[], Any]) -> None:
    call, formats, cpu_seconds, memory_bytes, file_bytes = CALLS[what]
    call()
    told = seen()
    assert all(words in " ".join(told["arguments"]) for words in formats), told["arguments"]
    assert told["limits"] == {
        "CPU": [cpu_seconds] * 2,
        "AS": [memory_bytes] * 2,
        "FSIZE": [file_bytes] * 2,
    }
