"""Running a function inside a network namespace.

libvirt opens a guest's taps and starts QEMU from the thread that calls it, and a namespace
belongs to a thread: so a thread enters the namespace that holds the taps, makes the call, and
ends. The rest of the process stays where it is. QEMU lives on in that namespace; all it speaks
to it reaches by unix sockets, which know no network namespaces.
"""

from __future__ import annotations

import contextvars
import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from nubelet.node.errors import HYPERVISOR_REFUSED, HostError

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000  # sched.h
_libc = ctypes.CDLL(None, use_errno=True)


def call_in_namespace(name: str | None, function: Callable[[], T]) -> T:
    """Call `function` in the namespace /run/netns/`name` (None: right here) and pass on its
    result or exception. The trail of the calling thread goes along.
    """
    if name is None:
        return function()
    results: list[T] = []
    errors: list[BaseException] = []
    context = contextvars.copy_context()

    def work() -> None:
        try:
            _enter(name)
            results.append(context.run(function))
        except BaseException as error:
            errors.append(error)

    # A new thread each time (0.1 ms): the name may stand for another namespace than last time.
    thread = threading.Thread(target=work, name=f"netns-{name}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _enter(name: str) -> None:
    try:
        descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            HYPERVISOR_REFUSED, f"The network namespace {name} of the taps is missing: {error}"
        ) from None
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise HostError(HYPERVISOR_REFUSED, f"Cannot enter network namespace {name}: {reason}")
    finally:
        os.close(descriptor)
