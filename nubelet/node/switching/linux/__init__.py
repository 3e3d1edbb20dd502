"""Switching with the kernel's own means: bridges, taps, namespaces, nftables, VXLAN, dnsmasq.

Read next: `README.md` (a packet's way in and out), `driver.py`.
"""

from nubelet.node.switching.linux.driver import LinuxSwitching
from nubelet.node.switching.linux.options import ExternalNetwork, LinuxOptions

__all__ = ["ExternalNetwork", "LinuxOptions", "LinuxSwitching"]
