"""A host for tests of the Linux switching driver: namespaces play the host and the guests.

Instead of a tap each port gets a veth whose other end, `eth0`, sits in a namespace of its own:
the guest. Nothing of the real host is touched.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nubelet.node.switching.linux import ExternalNetwork, LinuxOptions, LinuxSwitching, namespaces
from nubelet.node.switching.linux.netlink import Links
from nubelet.node.wire import (
    Address,
    AddressPair,
    DhcpHost,
    DhcpSpec,
    NetworkSpec,
    PortSpec,
    SecurityGroupRule,
    SecurityGroupSpec,
    SubnetSpec,
    cloud_tag,
)

NEEDED = ("ip", "nft", "dnsmasq", "conntrack", "busybox", "nsenter")


def missing_tools() -> list[str]:
    return [tool for tool in NEEDED if shutil.which(tool) is None]


def new_id() -> str:
    return str(uuid.uuid4())


_macs = iter(range(1, 1 << 16))


def new_mac() -> str:
    number = next(_macs)
    return f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}"


def run(namespace: str, *words: str, check: bool = True, timeout: float = 90) -> str:
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{namespace}", "--", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"{words}: {done.stdout}{done.stderr}")
    return done.stdout


def succeeds(namespace: str, *words: str, timeout: float = 90) -> bool:
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{namespace}", "--", *words],
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    return done.returncode == 0


def eventually(check: Any, seconds: float = 100.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.05)
    return bool(check())


@dataclass
class Guest:
    """A namespace that plays a virtual machine on one port."""

    namespace: str
    port: PortSpec
    folder: Path
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def ip(self) -> str:
        return self.port.addresses[0].ip

    def run(self, *words: str, check: bool = True) -> str:
        return run(self.namespace, *words, check=check)

    def configure(self, gateway: str | None = None) -> None:
        """Set the port's addresses without DHCP."""
        for address in self.port.addresses:
            extra = ["nodad"] if ":" in address.ip else []
            cidr = f"{address.ip}/{address.prefix_length}"
            self.run("ip", "addr", "replace", cidr, "dev", "eth0", *extra)
        if gateway:
            family = ["-6"] if ":" in gateway else []
            self.run("ip", *family, "route", "replace", "default", "via", gateway)

    def lease(self, *options: str, tries: int = 15) -> dict[str, str]:
        """Ask DHCP with busybox's client, each second once, set what it says, and return all it was
        told: nothing after so many tries in vain."""
        script = self.folder / "udhcpc.sh"
        answer = self.folder / f"lease-{self.namespace}"
        script.write_text(_UDHCPC_SCRIPT)
        script.chmod(0o755)
        answer.unlink(missing_ok=True)
        asked = [word for option in options for word in ("-O", option)]
        command = ["env", f"ANSWER={answer}", "busybox", "udhcpc", "-f", "-q", "-n"]
        command += ["-t", str(tries), "-T", "1", "-i", "eth0", "-s", str(script)]
        self.run(*command, *asked, check=False)
        if not answer.exists():
            return {}
        pairs = (line.partition("=") for line in answer.read_text().splitlines())
        return {key: value for key, _, value in pairs}

    def ping(self, target: str, *, seconds: int = 10) -> bool:
        """Is one packet answered? On a busy machine that takes longer than its way."""
        return succeeds(self.namespace, "ping", "-c", "1", "-W", str(seconds), target)

    def cannot_ping(self, target: str) -> bool:
        return not self.ping(target, seconds=1)

    def serve(self, port: int, *, family: str = "4", protocol: str = "tcp") -> None:
        """Answer on a port: TCP with the guest's name, UDP with what was said."""
        self.servers.append(
            subprocess.Popen(
                [
                    "nsenter",
                    f"--net=/run/netns/{self.namespace}",
                    "--",
                    "python3",
                    "-c",
                    _SERVER,
                    protocol,
                    family,
                    str(port),
                    self.namespace,
                ],
                stdout=subprocess.PIPE,
            )
        )
        stream = self.servers[-1].stdout
        assert stream is not None
        assert stream.readline() == b"ready\n"

    def call(self, target: str, port: int, *, protocol: str = "tcp", source: str = "") -> str:
        """What answers there; an empty text when nothing does."""
        return call(self.namespace, target, port, protocol=protocol, source=source)

    def cannot_call(self, target: str, port: int, *, protocol: str = "tcp") -> bool:
        return cannot_call(self.namespace, target, port, protocol=protocol)


def call(
    namespace: str,
    target: str,
    port: int,
    *,
    protocol: str = "tcp",
    source: str = "",
    seconds: int = 20,
) -> str:
    """What answers there; an empty text when nothing does within so many seconds."""
    words = ["python3", "-c", _CLIENT, protocol, target, str(port), source, str(seconds)]
    return run(namespace, *words, check=False).strip()


def cannot_call(namespace: str, target: str, port: int, *, protocol: str = "tcp") -> bool:
    return not call(namespace, target, port, protocol=protocol, seconds=2)


class Conversation:
    """A TCP connection from one guest to another that goes on while rules change."""

    def __init__(self, client: Guest, target: str, port: int) -> None:
        code = (
            "import socket,sys\n"
            f"s=socket.create_connection(({target!r},{port}),60); s.recv(100); s.settimeout(5)\n"
            "print('ready', flush=True)\n"
            "for line in sys.stdin:\n"
            "    try: s.send(b'x'); print(s.recv(100).decode().strip() or 'closed', flush=True)\n"
            "    except OSError as e: print('silence', flush=True)\n"
        )
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{client.namespace}", "--", "python3", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready"

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def alive(self) -> bool:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self._read() == "still here"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Host:
    """One host of a cloud."""

    def __init__(
        self,
        folder: Path,
        name: str = "one",
        external: dict[str, ExternalNetwork] | None = None,
        **options: Any,
    ) -> None:
        self.folder = folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tag = cloud_tag(str(self.folder))
        self.namespace = f"nbtest-{self.tag}-host"
        self.guests: dict[str, Guest] = {}
        self._create(self.namespace)
        self.options = LinuxOptions(
            physical_networks=external or {}, host_namespace=self.namespace, **options
        )
        self.driver = self.new_driver()

    def new_driver(self) -> LinuxSwitching:
        """The driver of a process that has just started."""
        return LinuxSwitching(self.folder, self.options, taps=self)

    def make(self, links: Links, name: str, port_id: str) -> None:
        """The tap factory: a veth to the guest's namespace."""
        guest = self.guest_namespace(port_id)
        if not namespaces.exists(guest):
            self._create(guest)
        descriptor = namespaces.open_named(guest)
        try:
            links.add(name, "veth", peer={"ifname": "eth0", "net_ns_fd": descriptor})
        finally:
            import os

            os.close(descriptor)

    def guest_namespace(self, port_id: str) -> str:
        return f"nbtest-{self.tag}-{port_id[:8]}"

    def boot(self, port: PortSpec) -> Guest:
        """Make the port and a guest on it."""
        self.driver.ensure_port(port)
        namespace = self.guest_namespace(port.id)
        run(namespace, "ip", "link", "set", "lo", "up")
        run(namespace, "ip", "link", "set", "eth0", "address", port.mac, "mtu", str(port.mtu))
        run(namespace, "ip", "link", "set", "eth0", "up")
        guest = Guest(namespace, port, self.folder)
        self.guests[port.id] = guest
        return guest

    def close(self) -> list[str]:
        for guest in self.guests.values():
            for server in guest.servers:
                server.kill()
                server.wait()
        said = self.driver.purge()
        self.driver.stop()
        for name in namespaces.listing(f"nbtest-{self.tag}"):
            namespaces.remove(name)
        return said

    def _create(self, name: str) -> None:
        namespaces.create(name)
        sysctl = "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0"
        run(name, *sysctl.split(), check=False)
        run(name, "ip", "link", "set", "lo", "up")


@dataclass
class Net:
    """A network with one IPv4 subnet, and its ports as they come."""

    cidr: str = "10.0.0.0/24"
    gateway: str | None = "10.0.0.1"
    dhcp_ip: str | None = "10.0.0.2"
    id: str = field(default_factory=new_id)
    subnet_id: str = field(default_factory=new_id)
    kind: Any = "local"
    mtu: int = 1450
    physical_network: str | None = None
    segmentation_id: int | None = None
    more_subnets: tuple[SubnetSpec, ...] = ()
    more_dhcp_addresses: tuple[Address, ...] = ()
    hosts: list[DhcpHost] = field(default_factory=list)
    dhcp_mac: str = field(default_factory=new_mac)
    subnet: dict[str, Any] = field(default_factory=dict)
    dhcp: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return int(self.cidr.partition("/")[2])

    def spec(self) -> NetworkSpec:
        subnet = SubnetSpec(
            id=self.subnet_id, cidr=self.cidr, ip_version=4, gateway_ip=self.gateway, **self.subnet
        )
        dhcp = None
        if self.dhcp_ip:
            own = Address(ip=self.dhcp_ip, prefix_length=self.length, subnet_id=self.subnet_id)
            dhcp = DhcpSpec(
                port_id=f"d{self.id[1:]}",
                mac=self.dhcp_mac,
                addresses=(own, *self.more_dhcp_addresses),
                hosts=tuple(self.hosts),
                **self.dhcp,
            )
        return NetworkSpec(
            id=self.id,
            kind=self.kind,
            mtu=self.mtu,
            physical_network=self.physical_network,
            segmentation_id=self.segmentation_id,
            subnets=(subnet, *self.more_subnets),
            dhcp=dhcp,
            **self.more,
        )

    def port(
        self,
        ip: str,
        *groups: str,
        more: tuple[Address, ...] = (),
        pairs: tuple[AddressPair, ...] = (),
        name: str = "",
        options: tuple[tuple[str, str, int], ...] = (),
        **fields: Any,
    ) -> PortSpec:
        """A port with an address here, which DHCP knows too."""
        address = Address(ip=ip, prefix_length=self.length, subnet_id=self.subnet_id)
        port = PortSpec(
            id=new_id(),
            network_id=self.id,
            mac=fields.pop("mac", None) or new_mac(),
            addresses=(address, *more),
            mtu=self.mtu,
            security_group_ids=groups,
            allowed_address_pairs=pairs,
            **fields,
        )
        host = DhcpHost(
            port_id=port.id,
            mac=port.mac,
            ips=tuple(a.ip for a in port.addresses),
            host_name=name or f"host-{ip.replace('.', '-')}",
            extra_options=options,
        )
        self.hosts.append(host)
        return port


def rule(direction: Any = "ingress", ethertype: Any = "IPv4", **fields: Any) -> SecurityGroupRule:
    return SecurityGroupRule(id=new_id(), direction=direction, ethertype=ethertype, **fields)


def group(*rules: SecurityGroupRule, **fields: Any) -> SecurityGroupSpec:
    """A group that lets everything out, and in what the rules say."""
    outward = (rule("egress", "IPv4"), rule("egress", "IPv6"))
    return SecurityGroupSpec(
        id=fields.pop("id", None) or new_id(), rules=(*outward, *rules), **fields
    )


def decode(text: str) -> Any:
    return json.loads(text)


_UDHCPC_SCRIPT = """#!/bin/sh
case "$1" in
bound|renew)
  ip addr replace "$ip/$mask" dev "$interface"
  [ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
  if [ -n "$staticroutes" ]; then
    set -- $staticroutes
    while [ -n "$1" ]; do
      if [ "$2" = 0.0.0.0 ]; then ip route replace "$1" dev "$interface"
      else ip route replace "$1" via "$2" dev "$interface"; fi
      shift 2
    done
  elif [ -n "$router" ]; then ip route replace default via "$router"; fi
  env > "$ANSWER"
esac
"""

_SERVER = """
import socket, sys
protocol, family, port, name = sys.argv[1:]
s = socket.socket(socket.AF_INET6 if family == "6" else socket.AF_INET,
                  socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if family == "6":
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
s.bind(("", int(port)))
if protocol == "udp":
    print("ready", flush=True)
    while True:
        data, peer = s.recvfrom(100)
        s.sendto(name.encode() + b" hears " + peer[0].encode(), peer)
s.listen(10)
print("ready", flush=True)
import threading
def serve(c, peer):
    c.sendall(name.encode() + b" hears " + peer[0].encode() + b"\\n")
    while c.recv(100):
        c.sendall(b"still here\\n")
while True:
    c, peer = s.accept()
    threading.Thread(target=serve, args=(c, peer), daemon=True).start()
"""

_CLIENT = """
import socket, sys
protocol, target, port, source, seconds = sys.argv[1:]
family = socket.AF_INET6 if ":" in target else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
s.settimeout(int(seconds))
if source:
    s.bind((source, 0))
s.connect((target, int(port)))
if protocol == "udp":
    s.send(b"hello")
print(s.recv(100).decode().strip())
"""
