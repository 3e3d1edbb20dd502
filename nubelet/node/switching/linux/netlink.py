"""The kernel's devices, addresses and routes, by netlink, in any namespace of the cloud.

One thread does all of it: it enters the namespace, works there, and keeps one socket per
namespace open for the next time (a socket belongs to the namespace it was made in). The caller
waits, so to it this is a plain function call. Device names are looked up each time: what counts
is what is there, not what was remembered.

Read next: `bridges.py`, `ports.py`, `routers.py` (who uses it).

In OpenStack: neutron/agent/linux/ip_lib.py. Kernel: rtnetlink(7).
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import errno
import fcntl
import ipaddress
import os
import socket
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nubelet.node.errors import COMMAND_FAILED, HostError
from nubelet.node.switching.linux import namespaces

T = TypeVar("T")

MAX_OPEN_SOCKETS = 64
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17
STATIC_PROTOCOL = 4  # RTPROT_STATIC: the routes we set; the kernel's own have another number


@dataclass(frozen=True)
class Link:
    """A network device as the kernel shows it. `controller` is the index of its bridge."""

    index: int
    name: str
    kind: str
    up: bool
    mtu: int
    mac: str
    controller: int
    alias: str


@dataclass(frozen=True)
class StaticRoute:
    """A route of ours: destination prefix, gateway address or None (on link), device index."""

    destination: str
    gateway: str | None
    index: int


class Links:
    """One namespace's devices. Valid only inside the function given to `Netlink.run`."""

    def __init__(self, socket: Any, inode: int) -> None:
        self.socket = socket
        self.inode = inode

    def find(self, name: str) -> Link | None:
        """The device of that name, or None."""
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            found = self.socket.link("get", ifname=name)
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise
        return _link(found[0]) if found else None

    def get(self, name: str) -> Link:
        """The device of that name; `HostError` where there is none."""
        link = self.find(name)
        if link is None:
            raise HostError(COMMAND_FAILED, f"network device {name} does not exist")
        return link

    def all(self) -> list[Link]:
        """Every device but the loopback."""
        return [link for link in map(_link, self.socket.get_links()) if link.name != "lo"]

    def add(self, name: str, kind: str, **attributes: Any) -> Link:
        """Make a device."""
        self.socket.link("add", ifname=name, kind=kind, **attributes)
        return self.get(name)

    def change(self, link: Link, **attributes: Any) -> None:
        """Set attributes of a device: state, mtu, address, master, ifalias, net_ns_fd."""
        self.socket.link("set", index=link.index, **attributes)

    def settle(
        self, link: Link, *, up: bool, mtu: int, mac: str = "", controller: int = -1
    ) -> None:
        """Bring a device to state, MTU, MAC and bridge, touching only what differs."""
        wanted: dict[str, Any] = {}
        if mac and link.mac != mac.lower():
            wanted["address"] = mac
        if link.mtu != mtu:
            wanted["mtu"] = mtu
        if controller >= 0 and link.controller != controller:
            wanted["master"] = controller
        if link.up != up:
            wanted["state"] = "up" if up else "down"
        if wanted:
            self.change(link, **wanted)

    def without_checksum_offload(self, name: str) -> None:
        """Have a device finish checksums itself: old DHCP clients discard packets that leave this
        to the receiver's hardware.
        """
        value = struct.pack("II", _ETHTOOL_STXCSUM, 0)
        buffer = ctypes.create_string_buffer(value, len(value))
        request = struct.pack("16sP", name.encode(), ctypes.addressof(buffer))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCETHTOOL, request.ljust(40, b"\0"))

    def delete(self, name: str) -> bool:
        """Remove a device; False when there was none."""
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            self.socket.link("del", ifname=name)
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return False
            raise
        return True

    def addresses(self, index: int) -> set[str]:
        """Addresses of a device in CIDR form, without the kernel's own link-local ones."""
        found = set()
        for message in self.socket.get_addr(index=index):
            address = ipaddress.ip_address(message.get_attr("IFA_ADDRESS"))
            local = message.get_attr("IFA_LOCAL")
            address = ipaddress.ip_address(local) if local else address
            if address.version == 6 and address.is_link_local:
                continue
            found.add(f"{address}/{message['prefixlen']}")
        return found

    def settle_addresses(self, index: int, wanted: Iterable[str]) -> set[str]:
        """Give a device exactly these addresses (CIDR form); returns those that are new."""
        target = {str(ipaddress.ip_interface(address)) for address in wanted}
        present = self.addresses(index)
        for address in present - target:
            self._address("del", index, address)
        new = target - present
        for address in sorted(new):
            self._address("add", index, address)
        return new

    def _address(self, action: str, index: int, cidr: str) -> None:
        interface = ipaddress.ip_interface(cidr)
        extra: dict[str, Any] = {}
        if action == "add" and interface.version == 4 and interface.network.prefixlen < 31:
            extra["broadcast"] = str(interface.network.broadcast_address)
        if action == "add" and interface.version == 6:
            extra["flags"] = 0x02  # nodad: an address the control plane allotted is nobody else's
        self.socket.addr(
            action,
            index=index,
            address=str(interface.ip),
            prefixlen=interface.network.prefixlen,
            **extra,
        )

    def static_routes(self) -> set[StaticRoute]:
        """The routes that `settle_routes` set."""
        found = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            for message in self.socket.get_routes(family=family, proto=STATIC_PROTOCOL):
                if message.get("proto") == STATIC_PROTOCOL:
                    found.add(_route(message, family == socket.AF_INET6))
        return found

    def settle_routes(self, wanted: Iterable[StaticRoute]) -> None:
        """Have exactly these static routes."""
        target, present = set(wanted), self.static_routes()
        for route in present - target:
            self._route("del", route)
        # On-link routes first: a next hop must be reachable when its route is set.
        for route in sorted(target - present, key=lambda r: (r.gateway is not None, r.destination)):
            self._route("replace", route)

    def _route(self, action: str, route: StaticRoute) -> None:
        from pyroute2.netlink.exceptions import NetlinkError

        words: dict[str, Any] = {"dst": route.destination, "oif": route.index}
        if route.gateway:
            words["gateway"] = route.gateway
        else:
            words["scope"] = 253 if "." in route.destination else 0
        try:
            self.socket.route(action, proto=STATIC_PROTOCOL, **words)
        except NetlinkError as error:
            if action == "del" and error.code == errno.ESRCH:
                return
            way = f" by {route.gateway}" if route.gateway else ""
            message = f"route to {route.destination}{way} could not be set: {error}"
            raise HostError(COMMAND_FAILED, message) from error

    def sysctl(self, values: dict[str, str]) -> None:
        """Write kernel settings of this namespace: path below net/ -> value."""
        for path, value in values.items():
            with contextlib.suppress(FileNotFoundError):  # not built into this kernel
                Path("/proc/sys/net", path).write_text(value)


class Netlink:
    """The thread that works inside namespaces.

    `host_namespace` stands for the host's own namespace (None: the one this process runs in).
    """

    def __init__(self, host_namespace: str | None = None) -> None:
        self.host_namespace = host_namespace
        self._thread: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()
        self._open: OrderedDict[str | None, Links] = OrderedDict()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._home = -1

    def run(self, namespace: str | None, work: Callable[[Links], T]) -> T:
        """Call `work` on the netlink thread inside a namespace (None: the host's) and return
        what it returns. Errors of the kernel come as `HostError`.
        """
        context = contextvars.copy_context()
        return self._executor().submit(context.run, self._work, namespace, work).result()

    @contextlib.contextmanager
    def descriptor(self, namespace: str | None) -> Iterator[int]:
        """An open descriptor of a namespace, to move a device there (`net_ns_fd`)."""
        name = namespace if namespace is not None else self.host_namespace
        opened = namespaces.open_home() if name is None else namespaces.open_named(name)
        try:
            yield opened
        finally:
            os.close(opened)

    def forget(self, namespace: str) -> None:
        """Close the socket kept for a namespace: as long as it is open the namespace lives."""
        self._executor().submit(self._forget, namespace).result()

    def close(self) -> None:
        """Close every socket and end the thread; a later `run` begins anew."""
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.submit(self._close).result()
            thread.shutdown()

    def _executor(self) -> ThreadPoolExecutor:
        with self._starting:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netlink")
            return self._thread

    def _work(self, namespace: str | None, work: Callable[[Links], T]) -> T:
        from pyroute2.netlink.exceptions import NetlinkError

        with self._inside(namespace) as inode:
            links = self._links(namespace, inode)
            try:
                return work(links)
            except (NetlinkError, OSError) as error:
                where = namespace or "the host's namespace"
                message = f"the kernel refused a change of {where}: {error}"
                raise HostError(COMMAND_FAILED, message) from error

    @contextlib.contextmanager
    def _inside(self, namespace: str | None) -> Iterator[int]:
        if self._home < 0:
            self._home = namespaces.open_home()
            namespaces.enter(self._home)  # a thread begins where the one that made it is
        name = namespace if namespace is not None else self.host_namespace
        if name is None:
            yield 0
            return
        descriptor = namespaces.open_named(name)
        try:
            namespaces.enter(descriptor)
            yield os.fstat(descriptor).st_ino
        finally:
            os.close(descriptor)
            namespaces.enter(self._home)

    def _links(self, namespace: str | None, inode: int) -> Links:
        known = self._open.get(namespace)
        if known is not None and known.inode == inode:
            self._open.move_to_end(namespace)
            return known
        if namespace is not None:
            self._forget(namespace)
        while len(self._open) >= MAX_OPEN_SOCKETS:
            self._open.popitem(last=False)[1].socket.close()
        self._open[namespace] = Links(self._socket(), inode)
        return self._open[namespace]

    def _socket(self) -> Any:
        # pyroute2 is 90 ms of imports: only a process that touches the host pays for them.
        from pyroute2.iproute.linux import IPRoute

        if self._loop is None:
            # An own selector loop: a process-wide uvloop policy knows no netlink sockets.
            self._loop = asyncio.SelectorEventLoop()
        return IPRoute(use_event_loop=self._loop)

    def _forget(self, namespace: str) -> None:
        known = self._open.pop(namespace, None)
        if known is not None:
            known.socket.close()

    def _close(self) -> None:
        for links in self._open.values():
            links.socket.close()
        self._open.clear()
        if self._loop is not None:
            self._loop.close()
            self._loop = None
        if self._home >= 0:
            os.close(self._home)
            self._home = -1


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=(info.get_attr("IFLA_INFO_KIND") or "") if info else "",
        up=bool(message["flags"] & 1),
        mtu=message.get_attr("IFLA_MTU") or 0,
        mac=message.get_attr("IFLA_ADDRESS") or "",
        controller=message.get_attr("IFLA_MASTER") or 0,
        alias=message.get_attr("IFLA_IFALIAS") or "",
    )


def _route(message: Any, is_ipv6: bool) -> StaticRoute:
    default = ipaddress.IPv6Address(0) if is_ipv6 else ipaddress.IPv4Address(0)
    destination = message.get_attr("RTA_DST") or default
    return StaticRoute(
        destination=f"{destination}/{message['dst_len']}",
        gateway=message.get_attr("RTA_GATEWAY"),
        index=message.get_attr("RTA_OIF") or 0,
    )
