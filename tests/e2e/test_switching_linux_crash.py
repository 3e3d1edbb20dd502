"""The process dies in the middle of a change to the host: the next one finishes, nothing is left.

The change is cut short before its n-th command, netlink request or signal; a new driver on the
same state folder then asks for the same again (as an operation's next attempt does).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nubelet.node import commands
from nubelet.node.switching.linux import LinuxSwitching, dnsmasq, namespaces
from nubelet.node.switching.linux.netlink import Links, Netlink
from nubelet.node.wire import (
    Address,
    FloatingIpSpec,
    NetworkState,
    RouterGateway,
    RouterPort,
    RouterSpec,
    SecurityGroups,
)
from tests.e2e.switching_host import Host, Net, call, group, missing_tools, new_id, new_mac, rule
from tests.e2e.test_switching_linux import EXTERNAL, metadata

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.crash,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(bool(missing_tools()), reason=f"needs {missing_tools()}"),
]

# Every how many steps to die. All of them (1) take minutes.
STRIDE = int(os.environ.get("NUBELET_CRASH_STRIDE", "9"))
OPEN = group(rule(), rule(ethertype="IPv6"))


class Death(BaseException):
    """kill -9, as far as this can be had within one process."""


class Steps:
    """Counts the driver's steps on the host, and dies before a chosen one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.last: int | None = None
        monkeypatch.setattr(commands, "run", self._counted(commands.run))
        monkeypatch.setattr(Netlink, "run", self._counted(Netlink.run))
        monkeypatch.setattr(dnsmasq.os, "kill", self._counted(os.kill))
        for name in ("add", "change", "delete", "settle_addresses", "settle_routes", "sysctl"):
            monkeypatch.setattr(Links, name, self._counted(getattr(Links, name)))

    def dies(self, before: int, work: Callable[[], None]) -> bool:
        """Do the work; True when it came to its n-th step and died there."""
        self.count, self.last = 0, before
        try:
            work()
        except Death:
            return True
        finally:
            self.last = None
        return False

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            if self.last is not None and self.count >= self.last:
                raise Death
            return function(*arguments, **named)

        return counted


class Change:
    """A small cloud that is built and taken away, with fresh ids each time."""

    def __init__(self) -> None:
        self.public = Net(cidr="203.0.113.0/24", gateway="203.0.113.1", dhcp_ip=None, kind="flat")
        self.public.physical_network = "public"
        self.net = Net()
        self.port = self.net.port("10.0.0.5", OPEN.id)
        gateway = RouterGateway(port=_leg(self.public, "203.0.113.10"), next_hops=("203.0.113.1",))
        floating = FloatingIpSpec(id=new_id(), floating_ip="203.0.113.50", fixed_ip="10.0.0.5")
        self.router = RouterSpec(
            id=new_id(),
            interfaces=(_leg(self.net, "10.0.0.1"),),
            gateway=gateway,
            floating_ips=(floating,),
        )

    def build(self, driver: LinuxSwitching) -> None:
        driver.ensure_security_groups(SecurityGroups(groups=(OPEN,)))
        driver.ensure_network(self.public.spec())
        driver.ensure_network(self.net.spec())
        driver.ensure_port(self.port)
        driver.ensure_router(self.router)

    def remove(self, driver: LinuxSwitching) -> None:
        driver.remove_port(self.port.id)
        driver.remove_router(self.router.id)
        driver.remove_network(self.net.id)
        driver.remove_network(self.public.id)
        driver.remove_security_group(OPEN.id)

    def state(self) -> NetworkState:
        return NetworkState(
            networks=tuple(sorted((self.public.id, self.net.id))),
            ports=(self.port.id,),
            routers=(self.router.id,),
            security_groups=(OPEN.id,),
            dhcp_servers=(self.net.id,),
        )


def _leg(net: Net, ip: str) -> RouterPort:
    address = Address(ip=ip, prefix_length=net.length, subnet_id=net.subnet_id)
    return RouterPort(
        port_id=new_id(), network_id=net.id, mac=new_mac(), addresses=(address,), mtu=net.mtu
    )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path, external=EXTERNAL)
    yield host
    host.close()


def restart(host: Host) -> LinuxSwitching:
    host.driver.stop()
    host.driver = host.new_driver()
    host.driver.start(metadata)
    return host.driver


def test_death_while_building(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    before, died = 1, True
    while died:
        change = Change()
        driver = restart(host)
        died = steps.dies(before, lambda c=change, d=driver: c.build(d))
        driver = restart(host)
        assert driver.observe().unknown_devices == (), f"step {before}: all is on record"
        change.build(driver)
        assert driver.observe() == change.state(), f"step {before}"
        guest = host.boot(change.port)
        guest.lease("staticroutes")
        guest.serve(22)
        assert call(host.namespace, "203.0.113.50", 22), f"step {before}"
        change.remove(driver)
        assert driver.observe() == NetworkState(), f"step {before}"
        namespaces.remove(host.guest_namespace(change.port.id))
        before += STRIDE
    assert before > 80, "the steps were counted"


def test_death_while_removing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    before, died = 1, True
    while died:
        change = Change()
        driver = restart(host)
        change.build(driver)
        died = steps.dies(before, lambda c=change, d=driver: c.remove(d))
        driver = restart(host)
        assert driver.observe().unknown_devices == (), f"step {before}: all is on record"
        change.remove(driver)
        assert driver.observe() == NetworkState(), f"step {before}"
        namespaces.remove(host.guest_namespace(change.port.id))
        before += STRIDE
    assert before > 20, "the steps were counted"
