"""Does KVM truly work here? Asked of the processor, not of the flags.

On some machines `/dev/kvm` opens, makes virtual machines and lets QEMU and libvirt believe in it,
and yet each instruction of a guest is interpreted, so slowly that no guest ever prints a line. So
the probe lets a virtual machine of one page run two million rounds of a loop: hardware needs a
millisecond. It runs in a child process, because a KVM that is broken may also hang.

Read next: `cli/preflight.py`, which tells the user; `wiring.py`, which gives the answer to the
libvirt driver. The numbers are from the Linux headers, linux/kvm.h and asm/kvm.h of x86-64.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import platform
import signal
import struct
import subprocess
import sys
import time
from typing import Any, Literal, NamedTuple

DEVICE = "/dev/kvm"
_LOOP_SECONDS = 0.25
_CHILD_SECONDS = 3.0

_GET_API_VERSION = 0xAE00
_CREATE_VM = 0xAE01
_GET_VCPU_MMAP_SIZE = 0xAE04
_CREATE_VCPU = 0xAE41
_SET_USER_MEMORY_REGION = 0x4020AE46
_RUN = 0xAE80
_SET_REGS = 0x4090AE82
_GET_SREGS = 0x8138AE83
_SET_SREGS = 0x4138AE84
_SREGS_BYTES = 0x138
_EXIT_IO = 2
_PAGE_BYTES = 4096

# mov ecx, 2000000 / loop: dec ecx / jnz loop / out 0x10, al / hlt, in real mode at address 0
_GUEST = bytes.fromhex("66b980841e00 6649 75fc e610 f4")


class Accelerator(NamedTuple):
    """How guests run: `kvm`, or `tcg` (QEMU translates them), and why."""

    kind: Literal["kvm", "tcg"]
    reason: str


def accelerator(wanted: Literal["auto", "kvm", "tcg"] = "auto") -> Accelerator:
    """Decide how guests run. `wanted` is the option `compute.accel`; only `auto` probes."""
    if wanted != "auto":
        return Accelerator(wanted, "compute.accel says so")
    if platform.machine() != "x86_64":
        return Accelerator("tcg", f"guests are x86-64 and the host is {platform.machine()}")
    if not os.path.exists(DEVICE):
        return Accelerator("tcg", f"{DEVICE} does not exist")
    # -I -S: only this file and the standard library, so that it starts in 20 ms.
    command = [sys.executable, "-I", "-S", os.path.abspath(__file__)]
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        output, _ = child.communicate(timeout=_CHILD_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()  # and no wait: a process that is stuck in the kernel does not end
        return Accelerator("tcg", f"{DEVICE} does not answer")
    verdict, _, reason = output.decode().strip().partition(" ")
    if verdict == "kvm":
        return Accelerator("kvm", reason)
    return Accelerator("tcg", reason or f"{DEVICE} cannot be used: the probe crashed")


def _probe() -> str:
    """Run the loop; `kvm REASON` or `tcg REASON`."""
    try:
        seconds = _run_guest()
    except TimeoutError:
        return f"tcg {DEVICE} interprets its guests instead of running them on the processor"
    except OSError as error:
        return f"tcg {DEVICE} cannot be used: {error.strerror}"
    return f"kvm the processor ran a probe guest in {seconds * 1000:.1f} ms"


def _run_guest() -> float:
    """Seconds the guest took. TimeoutError when it does not end, OSError when there is no KVM."""
    kvm = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    if fcntl.ioctl(kvm, _GET_API_VERSION) != 12:
        raise OSError(0, "unknown version of its interface")
    machine = fcntl.ioctl(kvm, _CREATE_VM, 0)
    memory = mmap.mmap(-1, _PAGE_BYTES)
    memory[: len(_GUEST)] = _GUEST
    region = struct.pack("=IIQQQ", 0, 0, 0, _PAGE_BYTES, _address(memory))
    fcntl.ioctl(machine, _SET_USER_MEMORY_REGION, region)
    processor = fcntl.ioctl(machine, _CREATE_VCPU, 0)
    state = mmap.mmap(processor, fcntl.ioctl(kvm, _GET_VCPU_MMAP_SIZE, 0))
    _enter_real_mode(processor)
    signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, _LOOP_SECONDS)
    begin = time.perf_counter()
    fcntl.ioctl(processor, _RUN, 0)
    seconds = time.perf_counter() - begin
    signal.setitimer(signal.ITIMER_REAL, 0)
    exit_reason = struct.unpack_from("=I", state, 8)[0]
    if exit_reason != _EXIT_IO:
        raise OSError(0, f"the probe guest ended with exit reason {exit_reason}")
    return seconds


def _enter_real_mode(processor: int) -> None:
    """Code segment at 0, instruction pointer at 0, flags as after a reset."""
    sregs = bytearray(_SREGS_BYTES)
    fcntl.ioctl(processor, _GET_SREGS, sregs)
    struct.pack_into("=Q", sregs, 0, 0)  # cs.base
    struct.pack_into("=H", sregs, 12, 0)  # cs.selector
    fcntl.ioctl(processor, _SET_SREGS, bytes(sregs))
    general, instruction_pointer, flags = [0] * 16, 0, 2
    fcntl.ioctl(processor, _SET_REGS, struct.pack("=18Q", *general, instruction_pointer, flags))


def _address(memory: mmap.mmap) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _too_slow(_number: int, _frame: Any) -> None:
    raise TimeoutError


if __name__ == "__main__":
    sys.stdout.write(_probe())
    sys.stdout.flush()
    os._exit(0)  # the guest's memory is still mapped: leave without tidying up
