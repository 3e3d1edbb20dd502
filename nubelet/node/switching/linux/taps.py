"""The devices that guests are plugged into.

A tap is made persistent and single-queue here and opened by the hypervisor later. Tests put a
veth in its place, whose other end is a namespace that plays the guest.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Protocol

from nubelet.node.switching.linux.netlink import Links

_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000


class TapFactory(Protocol):
    """Makes a port's device."""

    def make(self, links: Links, name: str, port_id: str) -> None:
        """Make the device `name` in the namespace that `links` works in; it is not there yet.
        Runs on the netlink thread, inside that namespace.
        """


class PersistentTaps:
    """Taps of the kernel's tun driver; they stay when nobody has them open."""

    def make(self, links: Links, name: str, port_id: str) -> None:
        """Make the tap, owned by root, without packet information headers."""
        del links, port_id
        # The device belongs to the namespace of the thread that opens it.
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
            fcntl.ioctl(descriptor, _TUNSETIFF, request)
            fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
        finally:
            os.close(descriptor)
