"""Guests in QEMU, by libvirt's driver embedded in this process: no daemon to install or to watch.

Guests are not children of this process in any way that matters: they go on when it dies and the
next one takes them up again. One process can hold one such driver, and one state folder has one
process: libvirt's own lock sees to it.

Read next: `driver.py` (what is done), `domain_xml.py` (what a guest is to libvirt),
`connection.py` (how libvirt is opened and called).

In OpenStack: nova/virt/libvirt/driver.py, guest.py, host.py and config.py.
"""

from nubelet.node.hypervisor.libvirt.driver import LibvirtHypervisor

__all__ = ["LibvirtHypervisor"]
