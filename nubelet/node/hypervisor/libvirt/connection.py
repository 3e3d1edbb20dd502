"""Opening libvirt's embedded driver, and calling it so that every call leaves its trace.

libvirt needs one thread that runs its event loop for as long as the process lives; without it
calls hang and no event comes. What it logs goes into a file of the state folder.
"""

from __future__ import annotations

import functools
import logging
import os
import pwd
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from nubelet.node import trail
from nubelet.node.errors import (
    BUSY,
    DISK_FULL,
    HYPERVISOR_REFUSED,
    NO_SUCH_GUEST,
    HostError,
)
from nubelet.node.files import write_whole
from nubelet.node.hypervisor.libvirt import states
from nubelet.node.hypervisor.libvirt.losses import Losses, drop_dead
from nubelet.node.hypervisor.libvirt.paths import Paths

log = logging.getLogger(__name__)

T = TypeVar("T")
D = TypeVar("D")
P = ParamSpec("P")

# QEMU runs as root without libvirt's own confinement: the process already is alone with files
# that only root can read, and labels, cgroups and mount namespaces are not there on every host.
_QEMU_CONF = """\
user="root"
group="root"
dynamic_ownership=0
remember_owner=0
security_driver="none"
cgroup_controllers=[]
namespaces=[]
stdio_handler="file"
seccomp_sandbox=0
"""

# libvirt as Debian builds it looks this user up even when qemu.conf names another.
_BUILT_IN_USER = "libvirt-qemu"

# What libvirt's calls mean to somebody who reads a server's fault.
_VERBS = {
    "virDomainAttachDeviceFlags": "to plug a card into",
    "virDomainAbortJob": "to stop copying a disk of",
    "virDomainBackupBegin": "to copy a disk of",
    "virDomainCreate": "to start",
    "virDomainDefineXML": "to define",
    "virDomainDestroy": "to switch off",
    "virDomainDetachDeviceFlags": "to unplug a card from",
    "virDomainFSFreeze": "to hold still the file systems of",
    "virDomainFSThaw": "to let go of the file systems of",
    "virDomainManagedSave": "to suspend",
    "virDomainManagedSaveRemove": "to drop the saved memory of",
    "virDomainPMWakeup": "to wake",
    "virDomainResume": "to resume",
    "virDomainShutdown": "to shut down",
    "virDomainSuspend": "to pause",
    "virDomainUndefineFlags": "to undefine",
}

_QEMU_ENDED = re.compile(
    r"(qemu unexpectedly closed the monitor|process exited while connecting to monitor): "
    r"(\S+Z )?(qemu-system-\w+: )?"
)
_BLOCKDEV = re.compile(r'-blockdev \{"node-name":"([^"]*)".*\}: ')

_FIND_SECONDS = 40  # libvirt itself gives up on a QEMU after 30

_LOG_VARIABLE = "LIBVIRT_LOG_OUTPUTS"
_DRIVER_FILE = "usr/lib*/**/libvirt/connection-driver/libvirt_driver_qemu.so"

_event_loop_started = False
_event_loop_guard = threading.Lock()


def missing_needs() -> list[str]:
    """What the host lacks for this driver, one sentence each (for the preflight)."""
    needs = []
    if Path("/etc/debian_version").exists() and not _user_exists(_BUILT_IN_USER):
        needs.append(
            f"The user {_BUILT_IN_USER} is missing (package libvirt-daemon-system makes it, or: "
            f"useradd --system --user-group --no-create-home {_BUILT_IN_USER})"
        )
    if not any(Path("/").glob(_DRIVER_FILE)):
        needs.append("libvirt's QEMU driver is missing (package libvirt-daemon-driver-qemu)")
    if shutil.which("qemu-system-x86_64") is None:
        needs.append("qemu-system-x86_64 is missing (package qemu-system-x86)")
    try:
        import libvirt  # noqa: F401
    except ImportError as error:
        needs.append(f"The Python binding of libvirt is missing (libvirt-python): {error}")
    return needs


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def load_libvirt(paths: Paths) -> Any:
    """Import the binding, with its log sent to a file of the state folder."""
    # libvirt reads this once, while it is loaded. Programs that we start must not inherit it.
    is_ours = _LOG_VARIABLE not in os.environ
    if is_ours:
        os.environ[_LOG_VARIABLE] = f"2:file:{paths.folder}/libvirt.log"
    try:
        import libvirt
    except (ImportError, SystemError) as error:
        raise HostError(HYPERVISOR_REFUSED, "; ".join(missing_needs()) or str(error)) from None
    finally:
        if is_ours:
            del os.environ[_LOG_VARIABLE]
    libvirt.registerErrorHandler(lambda context, error: None, None)
    return libvirt


def start_event_loop(libvirt: Any) -> None:
    """Run libvirt's event loop in a thread; once per process, before the first connection."""
    global _event_loop_started
    with _event_loop_guard:
        if _event_loop_started:
            return
        libvirt.virEventRegisterDefaultImpl()

        def run() -> None:
            while True:
                libvirt.virEventRunDefaultImpl()

        threading.Thread(target=run, name="libvirt-events", daemon=True).start()
        _event_loop_started = True


def refusing(
    method: Callable[Concatenate[D, P], T],
) -> Callable[Concatenate[D, P], T]:
    """Make a driver's method answer libvirt's errors as `HostError`, also those of the small
    looks that are not worth a line in the trail (a guest may vanish between two of them).
    The driver has its `Connection` as attribute `connection`.
    """

    @functools.wraps(method)
    def call(driver: D, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(driver, *args, **kwargs)
        except Exception as error:
            connection: Connection = driver.connection  # type: ignore[attr-defined]
            if connection.libvirt and isinstance(error, connection.libvirt.libvirtError):
                raise connection.refusal(method.__name__, None, error) from None
            raise

    return call


def _plain(message: str) -> str:
    """What libvirt says, without what says nothing to a user. The full words go into detail."""
    message = message.removeprefix("internal error: ")
    message = _QEMU_ENDED.sub("QEMU ended: ", message)
    return _BLOCKDEV.sub(lambda match: f"disk {match.group(1)}: ", message)


class Connection:
    """The embedded driver of one state folder."""

    def __init__(self, paths: Paths, capability_cache: Path | None = None) -> None:
        self._paths = paths
        self._capability_cache = capability_cache
        self.libvirt: Any = None
        self.handle: Any = None
        self.found_at_start: tuple[str, ...] = ()  # guests of a former process
        self._taken_up: set[str] = set()  # guests that libvirt may still be finding again
        self.losses = Losses(paths)

    def open(self) -> None:
        """Open the driver; guests that run already are taken up by libvirt itself."""
        if self.handle is not None:
            return
        self._paths.make()
        write_whole(self._paths.folder / "etc" / "qemu.conf", _QEMU_CONF.encode())
        self._seed_capabilities()
        for guest_id in drop_dead(self._paths):
            self.losses.note(guest_id, states.GONE)
        self.libvirt = load_libvirt(self._paths)
        start_event_loop(self.libvirt)
        uri = f"qemu:///embed?root={self._paths.root}"
        try:
            self.handle = self.libvirt.open(uri)
        except self.libvirt.libvirtError as error:
            reason = "; ".join(missing_needs()) or str(error)
            raise HostError(HYPERVISOR_REFUSED, f"libvirt cannot be opened: {reason}") from None
        self.found_at_start = tuple(domain.name() for domain in self.handle.listAllDomains())
        self._taken_up = set(self.found_at_start)

    def close(self) -> None:
        """Let go. libvirt keeps the driver itself until the process ends."""
        if self.handle is not None:
            self.handle.close()
            self.handle = None

    def call(self, what: str, guest_id: str | None, function: Callable[[], T]) -> T:
        """Make one libvirt call: into the trail, its refusal as `HostError`.

        `what` is libvirt's name of the call; `guest_id` the guest it is about.
        """
        words = f"{what}({guest_id or ''})"
        with trail.step("libvirt", words):
            try:
                return function()
            except self.libvirt.libvirtError as error:
                raise self.refusal(what, guest_id, error) from None

    def find(self, guest_id: str) -> Any | None:
        """The libvirt domain of a guest, or None."""
        try:
            domain = self.handle.lookupByName(guest_id)
            self._wait_until_found_again(domain, guest_id)
            return domain
        except self.libvirt.libvirtError as error:
            if error.get_error_code() == self.libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise self.refusal("virDomainLookupByName", guest_id, error) from None

    def wait_until_all_are_found_again(self) -> None:
        """After opening: wait for what `find` waits for, of all guests."""
        for guest_id in list(self._taken_up):
            self.find(guest_id)

    def _wait_until_found_again(self, domain: Any, guest_id: str) -> None:
        """libvirt finds the guests of a former process again in threads of its own, and until it
        has, it gives their states as they were then: also of one that died since.
        """
        if guest_id not in self._taken_up:
            return
        deadline = time.monotonic() + _FIND_SECONDS
        while self._is_being_found(domain):
            if time.monotonic() > deadline:
                raise HostError(
                    BUSY, f"QEMU of guest {guest_id} does not answer since the node started"
                )
            time.sleep(0.02)
        self._taken_up.discard(guest_id)

    def _is_being_found(self, domain: Any) -> bool:
        libvirt = self.libvirt
        busy = (libvirt.VIR_DOMAIN_CONTROL_JOB, libvirt.VIR_DOMAIN_CONTROL_OCCUPIED)
        try:
            if not domain.isActive():
                return False
            # One that was just being started then is going to be ended.
            is_starting = domain.state() == [states.PAUSED, states.PAUSED_STARTING_UP]
            return is_starting or domain.controlInfo()[0] in busy
        except libvirt.libvirtError:
            return bool(domain.isActive())  # it went down between two looks

    def need(self, guest_id: str) -> Any:
        """The libvirt domain of a guest; `no_such_guest` when there is none."""
        domain = self.find(guest_id)
        if domain is None:
            raise HostError(NO_SUCH_GUEST, f"There is no guest {guest_id} on this host")
        return domain

    def refusal(self, what: str, guest_id: str | None, error: Any) -> HostError:
        """A libvirt error as the node says it."""
        message = str(error.get_error_message() or error)
        if error.get_error_code() == self.libvirt.VIR_ERR_NO_DOMAIN:
            return HostError(NO_SUCH_GUEST, f"There is no guest {guest_id} on this host", message)
        code = DISK_FULL if "No space left on device" in message else HYPERVISOR_REFUSED
        subject = f" guest {guest_id}" if guest_id else ""
        verb = _VERBS.get(what, f"to do {what} for" if guest_id else f"to do {what}")
        return HostError(
            code, f"The hypervisor refused {verb}{subject}: {_plain(message)}", message
        )

    # --- QEMU's capabilities ----------------------------------------------------------------
    # libvirt asks a QEMU binary what it can once and keeps the answer; asking takes seconds.

    def _seed_capabilities(self) -> None:
        source, target = self._capability_cache, self._paths.folder / "cache"
        if source is None or not source.is_dir() or target.exists():
            return
        try:
            shutil.copytree(source, target)  # libvirt checks it against the binary and the host
        except OSError as error:
            log.info("the capability cache %s was not used: %s", source, error)

    def keep_capabilities(self) -> None:
        """Copy what libvirt has found out to where the next state folder finds it."""
        source, target = self._paths.folder / "cache", self._capability_cache
        if target is None or target.exists() or not source.is_dir():
            return
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, beside)
            beside.rename(target)
        except OSError as error:
            shutil.rmtree(beside, ignore_errors=True)
            log.info("the capability cache %s was not kept: %s", target, error)
