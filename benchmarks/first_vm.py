"""The demo on a machine where everything is installed: healthy, ACTIVE, ssh; then idle cost."""

from __future__ import annotations

import re
import time

from benchmarks.measuring import BenchCloud, row

IDLE_SECONDS = 30


def main() -> None:
    """Run it with real guests (root, QEMU)."""
    cloud = BenchCloud()
    row("nubelet up to healthy (real)", cloud.up(), "s", 5, 25)
    try:
        time.sleep(3)
        idle(cloud)
        text = cloud.nubelet("demo")
        found = re.search(r"ACTIVE after\s+([\d.]+) s and answered ssh after\s+([\d.]+) s", text)
        assert found, text
        row("first VM: request to ACTIVE", float(found[1]), "s", 5, 31.7)
        row("first VM: request to ssh (TCG)", float(found[2]), "s", 30)
    finally:
        cloud.down()


def idle(cloud: BenchCloud) -> None:
    """Memory and CPU of a cloud that nobody asks anything."""
    before = cloud.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    row("idle: CPU of one core", (cloud.cpu_seconds() - before) / IDLE_SECONDS * 100, "%", 2, 8.3)
    row("idle: resident, control plane and node agent", cloud.resident_mib(), "MiB", 250, 3432)


if __name__ == "__main__":
    main()
