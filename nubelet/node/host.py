"""The host as the operating system tells it: memory, load, uptime."""

from __future__ import annotations

import os
import time


def memory_mb() -> tuple[int, int]:
    """Total and available memory in MiB."""
    import psutil  # here: 20 ms that `nubelet --help` need not pay

    memory = psutil.virtual_memory()
    return memory.total >> 20, memory.available >> 20


def load_average() -> tuple[float, float, float]:
    """Load over 1, 5 and 15 minutes."""
    return os.getloadavg()


def uptime_line() -> str:
    """What `uptime` prints, without the users."""
    seconds = int(time.clock_gettime(time.CLOCK_BOOTTIME))
    days, minutes = seconds // 86400, seconds // 60
    up = f"{minutes // 60 % 24:2}:{minutes % 60:02}"
    if days:
        up = f"{days} day{'s' if days > 1 else ''}, {up}"
    loads = ", ".join(f"{load:.2f}" for load in load_average())
    return f" {time.strftime('%H:%M:%S')} up {up},  load average: {loads}"
