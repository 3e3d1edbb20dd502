"""A cable between two namespaces: a veth pair, its outer end usually on a bridge."""

from __future__ import annotations

from dataclasses import dataclass

from nubelet.node.switching.linux.netlink import Link, Links, Netlink


@dataclass(frozen=True)
class Cable:
    """A veth pair as it shall be. `outer` and `inner` are device names; namespace None means the
    host's own. The alias stands on both ends.
    """

    outer_namespace: str | None
    outer: str
    inner_namespace: str | None
    inner: str
    alias: str
    mtu: int
    mac: str = ""
    bridge: str | None = None


def ensure(netlink: Netlink, cable: Cable) -> Link:
    """Lay the cable, both ends up; returns the inner end. One end alone is no cable: it goes."""
    outer = netlink.run(cable.outer_namespace, lambda links: links.find(cable.outer))
    inner = netlink.run(cable.inner_namespace, lambda links: links.find(cable.inner))
    if outer is None or inner is None:
        remove(netlink, cable)
        _lay(netlink, cable)
    netlink.run(cable.outer_namespace, lambda links: _settle_outer(links, cable))
    return netlink.run(cable.inner_namespace, lambda links: _settle_inner(links, cable))


def remove(netlink: Netlink, cable: Cable) -> None:
    """Take the cable away, whichever end is left."""
    netlink.run(cable.outer_namespace, lambda links: links.delete(cable.outer))
    netlink.run(cable.inner_namespace, lambda links: links.delete(cable.inner))


def _lay(netlink: Netlink, cable: Cable) -> None:
    # The pair is made inside and its outer end moved: names may not meet in the host's namespace.
    with netlink.descriptor(cable.outer_namespace) as outer_namespace:

        def lay(links: Links) -> None:
            peer = {"ifname": cable.outer, "net_ns_fd": outer_namespace}
            inner = links.add(cable.inner, "veth", peer=peer)
            links.change(inner, ifalias=cable.alias)

        netlink.run(cable.inner_namespace, lay)
    netlink.run(
        cable.outer_namespace,
        lambda links: links.change(links.get(cable.outer), ifalias=cable.alias),
    )


def _settle_outer(links: Links, cable: Cable) -> None:
    bridge = links.get(cable.bridge).index if cable.bridge else -1
    links.settle(links.get(cable.outer), up=True, mtu=cable.mtu, controller=bridge)


def _settle_inner(links: Links, cable: Cable) -> Link:
    links.settle(links.get(cable.inner), up=True, mtu=cable.mtu, mac=cable.mac)
    return links.get(cable.inner)
