"""Which kernel features real networks need, each tried instead of looked up.

A version or a configuration file does not tell what a container may do, so each feature is used
once, in a network namespace without a name that the kernel takes away together with all that is in
it when the command ends. Nothing is left behind; all of them take less than a tenth of a second.

Read next: `preflight.py`, which asks; `node/switching/linux/`, which needs them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

SEARCH_PATH = os.pathsep.join(
    ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
)
_PROBE_SECONDS = 10.0


class Need(NamedTuple):
    """Something missing, and the remedy as a command or a sentence."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}"


class Feature(NamedTuple):
    """A kernel feature and the command that tries it inside a namespace of its own."""

    name: str
    command: tuple[str, ...]
    module: str
    text: str = ""


_NFT_INET = """
table inet probe {
  map zones { typeof meta mark : ct zone; }
  chain early { type filter hook prerouting priority raw; ct zone set meta mark map @zones; }
  chain late { type filter hook forward priority 0; ct state established,related accept; }
}
table ip probe {
  chain out { type nat hook postrouting priority srcnat; ip saddr 192.0.2.0/24 masquerade; }
}
"""
_NFT_BRIDGE = """
table bridge probe {
  map marks { type ifname : mark; }
  chain early { type filter hook prerouting priority -310; arp saddr ip != 192.0.2.1 drop; }
  chain pass { type filter hook forward priority -10; meta mark set oifname map @marks; }
}
"""
_LINK = ("ip", "link", "add", "probe", "type")
FEATURES = (
    Feature("network namespaces", ("true",), ""),
    Feature("bridges", (*_LINK, "bridge"), "bridge"),
    Feature("veth pairs", (*_LINK, "veth", "peer", "name", "other"), "veth"),
    Feature("tap devices", ("ip", "tuntap", "add", "dev", "probe", "mode", "tap"), "tun"),
    Feature("VXLAN", (*_LINK, "vxlan", "id", "1", "dstport", "4789"), "vxlan"),
    Feature("nftables with conntrack and NAT", ("nft", "-f", "-"), "nf_tables", _NFT_INET),
    Feature("nftables on bridges", ("nft", "-f", "-"), "nf_tables", _NFT_BRIDGE),
)
_BRIDGE_SYSCTL = "/proc/sys/net/bridge/bridge-nf-call-iptables"


def kernel_needs(features: tuple[Feature, ...] = FEATURES) -> Iterator[Need]:
    """What the kernel refuses. Needs root, and the programs `unshare`, `ip` and `nft`."""
    for feature in features:
        if reason := _refusal_of(feature):
            remedy = f"a kernel with {feature.module or 'them'}"
            if feature.module:
                remedy = f"modprobe {feature.module}, or {remedy}"
            yield Need(f"this kernel or container refuses {feature.name} ({reason})", remedy)
            if not feature.module:
                return  # without namespaces nothing else can be tried
    yield from _bridge_filter_needs()


def _refusal_of(feature: Feature) -> str:
    """Why the kernel does not do this; empty when it does.

    The namespace has no name: the kernel takes it away, with all that is in it, when the command
    ends.
    """
    finished = _run(("unshare", "--net", *feature.command), feature.text)
    if finished.returncode == 0:
        return ""
    lines = finished.stderr.strip().splitlines()
    return lines[0] if lines else f"status {finished.returncode}"


def _bridge_filter_needs() -> Iterator[Need]:
    """Security groups see the packets of bridges through br_netfilter, in each namespace."""
    if _run(("unshare", "--net", "cat", _BRIDGE_SYSCTL)).returncode == 0:
        return
    if _run(("modprobe", "--dry-run", "--quiet", "br_netfilter")).returncode == 0:
        yield Need("the kernel module br_netfilter is not loaded", "modprobe br_netfilter")
    else:
        yield Need(
            "this kernel has no br_netfilter, which security groups need",
            "a kernel with CONFIG_BRIDGE_NETFILTER",
        )


def _run(command: tuple[str, ...], text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ.get("PATH", "") + os.pathsep + SEARCH_PATH, "LC_ALL": "C"}
    try:
        return subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=_PROBE_SECONDS,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]} is not installed")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer in {_PROBE_SECONDS:.0f} s")
