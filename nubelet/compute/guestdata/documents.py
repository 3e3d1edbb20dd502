"""The OpenStack tree of a server's metadata: one file per document, in dated versions.

    openstack/<version>/meta_data.json     name, ids, keys, metadata, devices
                        user_data          what the user gave, if anything
                        vendor_data.json   what the operator gives (nothing)
                        vendor_data2.json  ... since 2016-10-06
                        network_data.json  links, networks, services; since 2015-10-15
                        password           served by service.py only

In OpenStack: nova/api/metadata/base.py, nova/virt/netutils.py.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from nubelet.compute.guestdata.facts import Facts

VERSIONS: Final = (
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
)
GRIZZLY, HAVANA, LIBERTY = VERSIONS[1], VERSIONS[2], VERSIONS[3]
NEWTON_TAGS, NEWTON_VENDOR, OCATA, ROCKY, VICTORIA = VERSIONS[4:9]
LATEST: Final = "latest"


def files(facts: Facts, version: str) -> dict[str, bytes]:
    """Name -> content of the documents of a version (or `latest`)."""
    at = VERSIONS[-1] if version == LATEST else version
    found = {"meta_data.json": _json(meta_data(facts, at))}
    if facts.user_data is not None:
        found["user_data"] = facts.user_data
    if at >= HAVANA:
        found["vendor_data.json"] = b"{}"
    if at >= LIBERTY:
        found["network_data.json"] = _json(network_data(facts))
    if at >= NEWTON_VENDOR:
        found["vendor_data2.json"] = b"{}"
    return found


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def meta_data(facts: Facts, version: str) -> dict[str, Any]:
    """meta_data.json."""
    row = facts.row
    found: dict[str, Any] = {
        "uuid": row.id,
        "hostname": facts.hostname,
        "name": row.name,
        "launch_index": row.launch_index,
        "availability_zone": row.availability_zone or "",
    }
    if row.metadata:
        found["meta"] = row.metadata
    if row.personality:
        found["files"] = [
            {"path": each["path"], "content_path": f"/content/{index:04d}"}
            for index, each in enumerate(row.personality)
        ]
    if row.public_key:
        found["public_keys"] = {row.key_name: row.public_key}
        found["keys"] = [{"name": row.key_name, "type": row.key_type, "data": row.public_key}]
    if version >= GRIZZLY:
        found["random_seed"] = _random_seed()
    if version >= LIBERTY:
        found["project_id"] = row.project_id
    if version >= NEWTON_TAGS:
        found["devices"] = _devices(facts)
    if version >= OCATA:
        found["dedicated_cpus"] = []
    return found


def _random_seed() -> str:
    return base64.b64encode(secrets.token_bytes(512)).decode()


def _devices(facts: Facts) -> list[dict[str, Any]]:
    """Tagged cards and disks, by which software in the guest finds them."""
    found: list[dict[str, Any]] = [
        {"type": "nic", "mac": port.mac, "tags": [facts.tags_by_port[port.id]]}
        for port in facts.ports
        if port.id in facts.tags_by_port
    ]
    found += [
        {"type": "disk", "bus": "virtio", "tags": [disk["tag"]]}
        for disk in facts.row.disks
        if disk.get("tag")
    ]
    return found


# --- network_data.json -----------------------------------------------------------------------


def network_data(facts: Facts) -> dict[str, Any]:
    """network_data.json: how the guest may configure its cards without DHCP."""
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    services: list[dict[str, Any]] = []
    for port in facts.ports:
        link = f"tap{port.id[:11]}"
        links.append(
            {
                "id": link,
                "vif_id": port.id,
                "type": "bridge",
                "mtu": port.mtu,
                "ethernet_mac_address": port.mac,
            }
        )
        for address in port.addresses:
            if address.is_floating:
                continue
            shown = _network(address, port.network_id, link)
            shown["id"] = f"network{len(networks)}"
            networks.append(shown)
            services += [each for each in _dns(address.subnet) if each not in services]
    return {"links": links, "networks": networks, "services": services}


def _network(address: Any, network_id: str, link: str) -> dict[str, Any]:
    subnet = address.subnet
    net = ipaddress.ip_network(subnet.cidr)
    shown: dict[str, Any] = {"network_id": network_id, "link": link, "type": _address_type(subnet)}
    if shown["type"] != "ipv4_dhcp":
        shown |= {
            "ip_address": address.ip,
            "netmask": str(net.netmask),
            "routes": _routes(subnet),
            "services": _dns(subnet),
        }
    return shown


def _address_type(subnet: Any) -> str:
    if subnet.ip_version == 4:
        return "ipv4_dhcp" if subnet.enable_dhcp else "ipv4"
    if subnet.ipv6_address_mode:
        return (
            "ipv6_slaac"
            if subnet.ipv6_address_mode == "slaac"
            else f"ipv6_{subnet.ipv6_address_mode}"
        )
    return "ipv6_dhcp" if subnet.enable_dhcp else "ipv6"


def _routes(subnet: Any) -> list[dict[str, str]]:
    found = []
    if subnet.gateway_ip:
        everywhere = "0.0.0.0" if subnet.ip_version == 4 else "::"  # noqa: S104 - a route
        found.append({"network": everywhere, "netmask": everywhere, "gateway": subnet.gateway_ip})
    for destination, next_hop in subnet.host_routes:
        net = ipaddress.ip_network(destination, strict=False)
        found.append(
            {"network": str(net.network_address), "netmask": str(net.netmask), "gateway": next_hop}
        )
    return found


def _dns(subnet: Any) -> list[dict[str, str]]:
    return [{"type": "dns", "address": address} for address in subnet.dns_nameservers]


def content(row: Any, name: str) -> bytes | None:
    """A file of the personality, by its number."""
    if not re.fullmatch(r"[0-9]{1,9}", name) or int(name) >= len(row.personality):
        return None
    each: Mapping[str, str] = row.personality[int(name)]
    return base64.b64decode(each["contents"])
