"""Who holds a lease: a name for this process that another one can tell dead from alive.

A restarted process takes over at once what its dead predecessor on this machine held, instead
of waiting for the lease to run out. Where it cannot know (another host, another process
namespace), it waits; fencing keeps a wrong guess harmless.

Read next: `operations/runner.py`, `reconcile.py`.
"""

from __future__ import annotations

import os
import secrets
import socket
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def _here() -> str:
    """This machine since its boot, and this process namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        boot, namespace = "unknown", 0
    return f"{socket.gethostname()}/{boot}/{namespace}"


def _birth(pid: int) -> str | None:
    """When a process began, in clock ticks since boot; None when there is none (or a zombie).
    Raises OSError where that cannot be told, as by who has too many files open."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def new_owner() -> str:
    """A name of its own for one runner in this process."""
    pid = os.getpid()
    return f"{_here()}/{pid}/{_birth(pid)}/{secrets.token_hex(4)}"


def is_dead(owner: str) -> bool:
    """Is the process of this owner certainly gone? False where this cannot be known."""
    here, _, rest = owner.rpartition("/")[0].rpartition("/")[0].rpartition("/")
    pid, birth = owner.split("/")[-3:-1] if owner.count("/") >= 5 else ("", "")
    if not pid.isdigit():
        return False
    host, boot, _namespace = here.split("/", 2)
    our_host, our_boot, _ours = _here().split("/", 2)
    if host == our_host and boot != our_boot and "unknown" not in (boot, our_boot):
        return True  # the machine was restarted since
    try:
        return here == _here() and _birth(int(rest)) != birth
    except OSError:
        return False
