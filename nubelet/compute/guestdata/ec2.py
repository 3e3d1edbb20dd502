"""The EC2 tree of a server's metadata, which cloud-init and old images also read.

    latest/meta-data/{ami-id, hostname, local-ipv4, public-keys/0/openssh-key, ...}
    latest/user-data

In OpenStack: nova/api/metadata/base.py get_ec2_metadata.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

from nubelet.compute import states
from nubelet.compute.guestdata.facts import Facts

VERSIONS: Final = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
)
LATEST: Final = "latest"

Tree = dict[str, Any]


def _number(identifier: str) -> int:
    """EC2 ids are short numbers; this one is stable and the same for every caller."""
    return zlib.crc32(identifier.encode())


def ec2_id(kind: str, identifier: str) -> str:
    """An id in EC2's style: `i-1a2b3c4d`."""
    return f"{kind}-{_number(identifier):08x}"


def meta_data(facts: Facts, version: str) -> Tree:
    """The tree under meta-data: names to texts or further trees."""
    row, at = facts.row, VERSIONS[-1] if version == LATEST else version
    fixed, floating = facts.fixed_addresses(4), facts.floating_addresses()
    tree: Tree = {
        "ami-id": ec2_id("ami", row.image_id),
        "ami-launch-index": str(row.launch_index),
        "ami-manifest-path": "(unknown)",
        "instance-id": ec2_id("i", row.id),
        "hostname": facts.hostname,
        "public-hostname": facts.hostname,
        "reservation-id": row.reservation_id,
        "security-groups": "\n".join(
            dict.fromkeys(name for port in facts.ports for name in port.security_group_names)
        ),
        "local-ipv4": fixed[0] if fixed else "",
        "public-ipv4": floating[0] if floating else "",
    }
    if at >= "2007-01-19":
        tree["local-hostname"] = facts.hostname
    if at >= "2007-03-01" and row.public_key:
        tree["public-keys"] = {"0": {"_name": f"0={row.key_name}", "openssh-key": row.public_key}}
    if at >= "2007-08-29":
        tree["instance-type"] = row.flavor["name"]
    if at >= "2007-12-15":
        tree["block-device-mapping"] = _devices(row)
        tree["instance-action"] = "shutdown" if row.task_state == states.DELETING else "none"
    if at >= "2008-02-01":
        tree["placement"] = {"availability-zone": row.availability_zone or ""}
    if at >= "2008-09-01":
        tree["kernel-id"] = (
            ec2_id("aki", row.image_properties.get("kernel_id", ""))
            if row.image_properties.get("kernel_id")
            else ""
        )
        tree["ramdisk-id"] = (
            ec2_id("ari", row.image_properties.get("ramdisk_id", ""))
            if row.image_properties.get("ramdisk_id")
            else ""
        )
        tree = {
            key: value
            for key, value in tree.items()
            if value or key not in ("kernel-id", "ramdisk-id")
        }
    return tree


def _devices(row: Any) -> Tree:
    found: Tree = {"ami": row.root_device_name.removeprefix("/dev/"), "root": row.root_device_name}
    letters = iter("bcdefgh")
    ephemerals = 0
    for disk in row.disks:
        if disk["role"] == "ephemeral":
            found[f"ephemeral{ephemerals}"] = f"/dev/vd{next(letters)}"
            ephemerals += 1
        elif disk["role"] == "swap":
            found["swap"] = f"/dev/vd{next(letters)}"
    return found


def listing(tree: Tree) -> str:
    """What a folder of the tree shows: one name per line, folders with a slash."""
    lines = []
    for name in sorted(tree):
        if name == "_name":
            continue
        value = tree[name]
        if isinstance(value, dict) and "_name" in value:
            lines.append(str(value["_name"]))
        else:
            lines.append(name + "/" if isinstance(value, dict) else name)
    return "\n".join(lines)
