"""Which extra specs of flavors are known, and what values they take (from 2.86 on).

A key in a namespace of ours that is not in this table is refused as a typing error; keys of
other namespaces are the administrator's own (for aggregates, say) and pass.

Which of them have an effect here: `resources*:`, `trait*:` and `aggregate_instance_extra_specs:`
choose hosts (`scheduling/`); `hw:*`, `hw_rng:*`, `os:*` and `quota:*` are handed to the
hypervisor driver (`GuestSpec.extra`), which honours what it can.

In OpenStack: nova/api/validation/extra_specs/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from nubelet.compute.api.schemas import as_bool
from nubelet.kernel.errors import BadRequest

Check = Callable[[str], str]  # of a value: "" or what it should be


def _one_of(*values: str) -> Check:
    return lambda value: "" if value in values else f"one of {', '.join(values)}"


def _matching(pattern: str, expected: str) -> Check:
    compiled = re.compile(pattern)
    return lambda value: "" if compiled.fullmatch(value) else expected


def _integer(minimum: int = 0, maximum: int | None = None) -> Check:
    def check(value: str) -> str:
        if (
            re.fullmatch(r"-?[0-9]+", value)
            and int(value) >= minimum
            and (maximum is None or int(value) <= maximum)
        ):
            return ""
        upper = f" to {maximum}" if maximum is not None else " up"
        return f"an integer from {minimum}{upper}"

    return check


def _boolean(value: str) -> str:
    lowered = value.strip().lower()
    known = as_bool(lowered) or lowered in ("0", "false", "f", "no", "n", "off", "t", "y")
    return "" if known else "a boolean"


def _anything(value: str) -> str:
    return ""


_CPUS = _matching(r"\^?\d+(-\d+)?(,\^?\d+(-\d+)?)*", "a list of CPUs such as 0-3,^2")
_AFFINITY = _one_of("required", "preferred", "legacy", "socket")
_GROUP = r"(?:[a-zA-Z0-9_-]{0,64})"

# Key (a regular expression) -> check of its value.
_SPECS: Final[Mapping[str, Check]] = {
    r"hw:cpu_policy": _one_of("dedicated", "shared", "mixed"),
    r"hw:cpu_thread_policy": _one_of("prefer", "isolate", "require"),
    r"hw:emulator_threads_policy": _one_of("isolate", "share"),
    r"hw:cpu_(max_)?(sockets|cores|threads)": _integer(1),
    r"hw:cpu_realtime": _boolean,
    r"hw:cpu_realtime_mask": _CPUS,
    r"hw:cpu_dedicated_mask": _CPUS,
    r"hw:mem_page_size": _matching(
        r"large|small|any|\d+([kKMGT]i?)?(b|bit|B)?", "large, small, any or a size"
    ),
    r"hw:locked_memory": _boolean,
    r"hw:numa_nodes": _integer(1),
    r"hw:numa_cpus\.\d+": _CPUS,
    r"hw:numa_mem\.\d+": _integer(1),
    r"hw:pci_numa_affinity_policy": _AFFINITY,
    r"hw:boot_menu": _boolean,
    r"hw:hide_hypervisor_id": _boolean,
    r"hw:vif_multiqueue_enabled": _boolean,
    r"hw:virtio_packed_ring": _boolean,
    r"hw:watchdog_action": _one_of("none", "pause", "poweroff", "reset", "disabled"),
    r"hw:serial_port_count": _integer(0),
    r"hw:mem_encryption": _boolean,
    r"hw:mem_encryption_model": _one_of("amd-sev", "amd-sev-es"),
    r"hw:pmem": _anything,
    r"hw:pmu": _boolean,
    r"hw:tpm_version": _one_of("1.2", "2.0"),
    r"hw:tpm_model": _one_of("tpm-tis", "tpm-crb"),
    r"hw:tpm_secret_security": _one_of("user", "host", "deployment"),
    r"hw:maxphysaddr_mode": _one_of("emulate", "passthrough"),
    r"hw:maxphysaddr_bits": _integer(1),
    r"hw:viommu_model": _one_of("auto", "virtio", "intel", "smmuv3"),
    r"hw:ephemeral_encryption": _boolean,
    r"hw:ephemeral_encryption_format": _one_of("luks", "luks2"),
    r"hw:locked_memory_mb": _integer(0),
    r"hw:sound_model": _one_of("sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb", "virtio"),
    r"hw:usb_model": _one_of(
        "piix3-uhci",
        "piix4-uhci",
        "ehci",
        "ich9-ehci1",
        "vt82c686b-uhci",
        "pci-ohci",
        "nec-xhci",
        "qemu-xhci",
        "none",
    ),
    r"hw:redirected_usb_ports": _integer(0, 15),
    r"hw_rng:allowed": _boolean,
    r"hw_rng:rate_(bytes|period)": _integer(0),
    r"hw_video:ram_max_mb": _integer(0),
    r"hide_hypervisor_id": _boolean,
    r"os:secure_boot": _one_of("disabled", "required", "optional"),
    r"accel:device_profile": _anything,
    r"pci_passthrough:alias": _matching(r".+:\d+(,.+:\d+)*", "alias:number, alias:number..."),
    r"quota:cpu_shares": _integer(0),
    r"quota:cpu_shares_level": _one_of("low", "normal", "high", "custom"),
    r"quota:cpu_shares_share": _integer(0),
    r"quota:cpu_period": _integer(0),
    r"quota:cpu_quota": _integer(-1),
    r"quota:cpu_limit": _integer(0),
    r"quota:cpu_reservation": _integer(0),
    r"quota:memory_(shares_share|limit|reservation)": _integer(0),
    r"quota:memory_shares_level": _one_of("low", "normal", "high", "custom"),
    r"quota:disk_io_(shares_share|limit|reservation)": _integer(0),
    r"quota:disk_io_shares_level": _one_of("low", "normal", "high", "custom"),
    r"quota:vif_(shares_share|limit|reservation)": _integer(0),
    r"quota:vif_shares_level": _one_of("low", "normal", "high", "custom"),
    r"quota:disk_(read|write|total)_(bytes|iops)_sec(_max(_length)?)?": _integer(0),
    r"quota:vif_(inbound|outbound)_(average|peak|burst)": _integer(0),
    rf"resources{_GROUP}:[A-Z0-9_]+": _integer(0),
    rf"trait{_GROUP}:[A-Z0-9_]+": _one_of("required", "forbidden"),
    r"group_policy": _one_of("none", "isolate"),
    rf"same_subtree{_GROUP}": _anything,
    r"capabilities:.+": _anything,
    r"aggregate_instance_extra_specs:.+": _anything,
}
_KNOWN: Final = [(re.compile(pattern), check) for pattern, check in _SPECS.items()]
_NAMESPACES: Final = frozenset(
    (
        "hw",
        "hw_rng",
        "hw_video",
        "os",
        "accel",
        "pci_passthrough",
        "quota",
        "resources",
        "trait",
        "capabilities",
        "aggregate_instance_extra_specs",
    )
)


def validate(key: str, value: str) -> None:
    """Raise BadRequest naming key and value unless they are understood (or not our affair)."""
    for pattern, check in _KNOWN:
        if pattern.fullmatch(key):
            expected = check(value)
            if expected:
                raise BadRequest(
                    f"Validation failed; '{value}' is not {expected}, which extra "
                    f"spec '{key}' takes."
                )
            return
    if re.split(r"[:{]", key, maxsplit=1)[0] in _NAMESPACES and ":" in key:
        raise BadRequest(
            f"Validation failed; extra spec '{key}' does not appear to be a valid extra spec."
        )
