"""Copies of disks that a running guest has open: libvirt's backup job, in QEMU.

The job copies the disk as it is at the job's begin, while the guest writes on, into a qcow2 file
that stands alone; nothing of the guest changes. QEMU goes on with it when this process dies. The
next one knows nothing of such a job, and cannot know whether anybody still waits for it: it ends
it at its start, and begins again when it is asked to.

Where the guest's agent can, file systems are held still for the moment of the begin. One that a
killed process left so is let go at the next start, and when the copy is given up. The agent of a
guest that is paused answers nobody: its file systems are let go when it goes on.

In OpenStack: nova/virt/libvirt/driver.py _live_snapshot, _set_quiesced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET

from nubelet.node import trail
from nubelet.node.errors import DISK_MISSING, GUEST_STATE, HYPERVISOR_REFUSED, HostError
from nubelet.node.hypervisor.libvirt import states
from nubelet.node.hypervisor.libvirt.connection import Connection
from nubelet.node.hypervisor.libvirt.domain_xml import alias, as_text, parse
from nubelet.node.wire import SnapshotState

_AGENT_SECONDS = 20  # how long the agent may take to hold all file systems still

Quiesce = Literal["no", "try", "must"]


class Copies:
    """The backup jobs of this process, one per guest at most."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._targets: dict[str, Path] = {}  # guest -> what is written
        self._unthawed: set[str] = set()  # paused guests that may be held still besides

    def ensure(
        self, guest_id: str, disk_id: str, target: Path, quiesce: Quiesce
    ) -> SnapshotState | None:
        """Begin, or look how far it is; None for a guest that is off."""
        domain = self._connection.need(guest_id)
        if not domain.isActive():
            self._targets.pop(guest_id, None)
            return None
        if self._targets.get(guest_id) != target:
            self._begin(domain, guest_id, disk_id, target, quiesce)
        return self._look(domain, guest_id, target)

    def stop(self, guest_id: str) -> None:
        """No copy is made, and no file system is held still."""
        self._targets.pop(guest_id, None)
        domain = self._connection.find(guest_id)
        if domain is None or not domain.isActive():
            return
        if self._copies_now(domain):
            with contextlib.suppress(HostError):  # it has just ended
                self._connection.call("virDomainAbortJob", guest_id, domain.abortJob)
        if not _has_agent(domain):
            return
        if domain.state()[0] == states.PAUSED:
            self._unthawed.add(guest_id)
        else:
            self._let_go(domain, guest_id)

    def goes_on(self, guest_id: str) -> None:
        """A guest that was paused runs again: what could not be let go then is let go now."""
        if guest_id in self._unthawed:
            domain = self._connection.need(guest_id)
            if self._let_go(domain, guest_id):
                self._unthawed.discard(guest_id)

    def _let_go(self, domain: Any, guest_id: str) -> bool:
        """False: its agent does not answer (it may be paused again)."""
        self._limit_agent(domain)
        try:
            self._connection.call("virDomainFSThaw", guest_id, domain.fsThaw)
        except HostError:
            return False
        return True

    def end_old(self, guest_id: str) -> None:
        """As `stop`, unless the copy that is made is this process's own."""
        if guest_id not in self._targets:
            self.stop(guest_id)

    def _begin(
        self, domain: Any, guest_id: str, disk_id: str, target: Path, quiesce: Quiesce
    ) -> None:
        self.stop(guest_id)
        target.unlink(missing_ok=True)
        self._forget_last(domain)
        xml = _backup_xml(domain.XMLDesc(0), disk_id, target)
        with self._held_still(domain, guest_id, quiesce):
            self._connection.call(
                "virDomainBackupBegin", guest_id, lambda: domain.backupBegin(xml, None, 0)
            )
        trail.note("backup", xml)
        self._targets[guest_id] = target

    def _look(self, domain: Any, guest_id: str, target: Path) -> SnapshotState:
        libvirt = self._connection.libvirt
        stats = domain.jobStats()
        total = int(stats.get("disk_total", 0))
        if stats.get("type", 0) != libvirt.VIR_DOMAIN_JOB_NONE:
            copied = int(stats.get("disk_processed", 0))
            return SnapshotState(copied_bytes=copied, total_bytes=total)
        del self._targets[guest_id]
        ended = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        if ended.get("type") != libvirt.VIR_DOMAIN_JOB_COMPLETED or not ended.get("success", True):
            target.unlink(missing_ok=True)
            reason = ended.get("errmsg") or "the job ended before its end"
            raise HostError(
                HYPERVISOR_REFUSED, f"The disk of guest {guest_id} could not be copied: {reason}"
            )
        total = int(ended.get("disk_total", 0))
        return SnapshotState(is_done=True, copied_bytes=total, total_bytes=total)

    def _copies_now(self, domain: Any) -> bool:
        libvirt = self._connection.libvirt
        stats = domain.jobStats()
        running = stats.get("type", 0) != libvirt.VIR_DOMAIN_JOB_NONE
        return bool(running and stats.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP)

    def _forget_last(self, domain: Any) -> None:
        """What libvirt remembers of an earlier job must not be taken for the end of this one."""
        libvirt = self._connection.libvirt
        with contextlib.suppress(libvirt.libvirtError):
            domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)

    @contextlib.contextmanager
    def _held_still(self, domain: Any, guest_id: str, quiesce: Quiesce) -> Iterator[None]:
        held = quiesce != "no" and self._hold_still(domain, guest_id, quiesce)
        try:
            yield
        finally:
            if held:
                self._connection.call("virDomainFSThaw", guest_id, domain.fsThaw)

    def _limit_agent(self, domain: Any) -> None:
        """An agent that says nothing must not hold up this thread for good."""
        with contextlib.suppress(self._connection.libvirt.libvirtError):
            domain.agentSetResponseTimeout(_AGENT_SECONDS)

    def _hold_still(self, domain: Any, guest_id: str, quiesce: Quiesce) -> bool:
        try:
            if not _has_agent(domain):
                raise HostError(GUEST_STATE, "no agent answers in it")
            self._limit_agent(domain)
            self._connection.call("virDomainFSFreeze", guest_id, domain.fsFreeze)
        except HostError as error:
            # One that took too long may be done after all, and would hold the guest for good.
            with contextlib.suppress(HostError):
                self._connection.call("virDomainFSThaw", guest_id, domain.fsThaw)
            if quiesce == "must":
                raise HostError(
                    GUEST_STATE,
                    f"The file systems of guest {guest_id} cannot be held still, which its image "
                    f"requires (os_require_quiesce): {error.message}",
                    error.detail,
                ) from None
            trail.note("quiesce", f"the copy is as after a power cut: {error.message}")
            return False
        return True


def _has_agent(domain: Any) -> bool:
    """Does a guest agent have its channel open?"""
    for target in parse(domain.XMLDesc(0)).iterfind("devices/channel/target"):
        if target.get("name") == "org.qemu.guest_agent.0":
            return target.get("state") == "connected"
    return False


def _backup_xml(xml: str, disk_id: str, target: Path) -> str:
    """The job: this one disk, into this file. The formats are stated."""
    backup = ET.Element("domainbackup", mode="push")
    disks = ET.SubElement(backup, "disks")
    is_there = False
    for disk in parse(xml).iterfind("devices/disk"):
        place = disk.find("target")
        name = place.get("dev", "") if place is not None else ""
        if alias(disk) != disk_id:
            ET.SubElement(disks, "disk", name=name, backup="no")
            continue
        is_there = True
        copied = ET.SubElement(disks, "disk", name=name, backup="yes", type="file")
        ET.SubElement(copied, "driver", type="qcow2")
        ET.SubElement(copied, "target", file=str(target))
    if not is_there:
        raise HostError(DISK_MISSING, f"The guest that runs here has no disk {disk_id}")
    return as_text(backup)
