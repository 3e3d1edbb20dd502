"""A server as its node shall run it: rows become `wire.GuestSpec` and what goes with it.

In OpenStack: nova/virt/libvirt/driver.py _get_guest_config, hardware.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from nubelet import image, network
from nubelet.compute import servers
from nubelet.compute.api.schemas import as_bool
from nubelet.compute.model import server_nic
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.node.wire import ConfigDrive, DiskSpec, GuestSpec, ImageSpec, NicSpec

_MIB = 1 << 20
_BUSES = ("virtio", "scsi", "sata", "ide", "usb")
# Extra specs of flavors that the hypervisor driver may honour.
_HYPERVISOR_SPECS = ("hw:", "hw_rng:", "hw_video:", "os:", "quota:")


_NICS_OF = (
    sa.select(server_nic)
    .where(server_nic.c.server_id == sa.bindparam("server_id"))
    .order_by(server_nic.c.auto_id)
)


def nics_of(tx: Tx, server_id: str) -> Sequence[Any]:
    """The rows of a server's network cards, in their order."""
    return tx.all(_NICS_OF, server_id=server_id)


def port_ids_of(tx: Tx, server_id: str) -> list[str]:
    """The ports that a server has."""
    return [row.port_id for row in nics_of(tx, server_id) if row.port_id]


def disks(row: Any) -> tuple[DiskSpec, ...]:
    """The disks of a server."""
    properties = row.image_properties
    bus = properties.get("hw_disk_bus", "virtio")
    if bus not in _BUSES:
        bus = "virtio"
    found, ephemerals = [], 0
    for disk in row.disks:
        role = disk["role"]
        if role == "ephemeral":
            name, ephemerals = f"ephemeral{ephemerals}", ephemerals + 1
        else:
            name = role
        found.append(
            DiskSpec(
                id=f"{row.id}-{name}",
                guest_id=row.id,
                role=role,
                size_bytes=disk["size_mb"] * _MIB,
                image_id=row.image_id if role == "root" else None,
                bus=bus,
            )
        )
    return tuple(found)


def quiesce(properties: Mapping[str, str]) -> Literal["no", "try", "must"]:
    """Are the file systems of a server with this image held still when its disk is copied?"""
    if as_bool(properties.get("os_require_quiesce", "no")):
        return "must"
    return "try" if as_bool(properties.get("hw_qemu_guest_agent", "no")) else "no"


def images(cloud: Cloud, tx: Tx, row: Any) -> list[ImageSpec]:
    """The images that a server needs on its node: that of the root disk, kernel and ramdisk."""
    properties = row.image_properties
    ids = [row.image_id, properties.get("kernel_id"), properties.get("ramdisk_id")]
    return [image.image_spec(cloud, tx, image_id) for image_id in ids if image_id]


def nic_specs(tx: Tx, row: Any) -> tuple[NicSpec, ...]:
    """The network cards of a server, in their order."""
    found = [network.nic_spec(tx, port_id) for port_id in port_ids_of(tx, row.id)]
    model = row.image_properties.get("hw_vif_model")
    if not model:
        return tuple(found)
    return tuple(
        NicSpec(port_id=nic.port_id, mac=nic.mac, model=model, mtu=nic.mtu) for nic in found
    )


def guest_spec(cloud: Cloud, tx: Tx, row: Any) -> GuestSpec:
    """All of a server as its node shall define it."""
    properties = row.image_properties
    return GuestSpec(
        id=row.id,
        name=servers.instance_name(row),
        vcpus=row.vcpus,
        memory_mb=row.memory_mb,
        disks=disks(row),
        nics=nic_specs(tx, row),
        config_drive=_config_drive(cloud, tx, row),
        kernel_image_id=properties.get("kernel_id") or None,
        ramdisk_image_id=properties.get("ramdisk_id") or None,
        kernel_arguments=properties.get("os_command_line", ""),
        machine_type=properties.get("hw_machine_type") or None,
        firmware="uefi" if properties.get("hw_firmware_type") == "uefi" else "bios",
        video_model=properties.get("hw_video_model") or "virtio",
        has_rng=as_bool(row.flavor["extra_specs"].get("hw_rng:allowed", "true").capitalize()),
        extra=_extra(row.flavor["extra_specs"], properties),
    )


def _config_drive(cloud: Cloud, tx: Tx, row: Any) -> ConfigDrive | None:
    from nubelet.compute.guestdata import config_drive_files

    if not row.config_drive and row.image_properties.get("img_config_drive") != "mandatory":
        return None
    return ConfigDrive(files=config_drive_files(cloud, tx, row))


def _extra(extra_specs: Mapping[str, str], properties: Mapping[str, str]) -> dict[str, str]:
    """What the hypervisor driver may look at: the image's hw_*, then the flavor's, which win."""
    found = {key: value for key, value in properties.items() if key.startswith(("hw_", "os_"))}
    found |= {key: value for key, value in extra_specs.items() if key.startswith(_HYPERVISOR_SPECS)}
    return found
