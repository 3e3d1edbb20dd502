"""The files of the config drive (label `config-2`): both trees, for guests without a network.

In OpenStack: nova/api/metadata/base.py metadata_for_config_drive.
"""

from __future__ import annotations

from typing import Any

import msgspec

from nubelet.compute.guestdata import documents, ec2
from nubelet.compute.guestdata.facts import Facts, gather
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx


def config_drive_files(cloud: Cloud, tx: Tx, row: Any) -> dict[str, bytes]:
    """Path -> content of all files of a server's config drive."""
    facts = gather(tx, row)
    found: dict[str, bytes] = {}
    for version in (*documents.VERSIONS, documents.LATEST):
        for name, content in documents.files(facts, version).items():
            found[f"openstack/{version}/{name}"] = content
    for index, _ in enumerate(row.personality):
        found[f"openstack/content/{index:04d}"] = documents.content(row, str(index)) or b""
    for version in (ec2.VERSIONS[-1], ec2.LATEST):
        found[f"ec2/{version}/meta-data.json"] = msgspec.json.encode(_plain(facts, version))
        if facts.user_data is not None:
            found[f"ec2/{version}/user-data"] = facts.user_data
    return found


def _plain(facts: Facts, version: str) -> Any:
    tree = ec2.meta_data(facts, version)
    if "public-keys" in tree:
        tree["public-keys"] = {
            key: {"openssh-key": value["openssh-key"]} for key, value in tree["public-keys"].items()
        }
    return tree
