"""How a server is shown: one function made per request, fed with what its rows lack.

`prepare` reads ports, tags, groups and host states of all the servers at once (a fixed number of
queries); `view` then only builds dictionaries. Lists of 1,000 servers depend on this being quick.

In OpenStack: nova/api/openstack/compute/views/servers.py.
"""

from __future__ import annotations

import hashlib
from collections import namedtuple
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from nubelet.compute import hosts, server_groups, server_ports, servers, states
from nubelet.compute.api.links import Links
from nubelet.compute.model import compute_host, server
from nubelet.kernel.clock import iso_micros, iso_seconds
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.messages import Request

ATTRIBUTES_RULE = "os_compute_api:os-extended-server-attributes"
HOST_STATUS_RULE = "os_compute_api:servers:show:host_status"
UNKNOWN_ONLY_RULE = "os_compute_api:servers:show:host_status:unknown-only"
SPECS_RULE = "os_compute_api:servers:show:flavor-extra-specs"


# A row of `server` whose columns are read several times faster than those of the database's.
_PlainRow = namedtuple("_PlainRow", [column.name for column in server.c])  # type: ignore[misc]


@lru_cache(maxsize=8192)
def host_id(project_id: str, host: str) -> str:
    """What stands for a host in the eyes of a project."""
    return hashlib.sha224((project_id + host).encode()).hexdigest()


class ServerViews:
    """Shows servers to one caller at one version.

    full: all that GET shows; else the smaller answer of updates and rebuilds before 2.75.
    single: server_groups are told of single servers only.
    """

    def __init__(
        self, ctx: Context, request: Request, *, full: bool = True, single: bool = True
    ) -> None:
        self.ctx = ctx
        self.full = full
        self.at = {
            minor
            for minor in (3, 9, 16, 19, 26, 47, 63, 71, 73, 90, 96, 98, 100)
            if ctx.at_least(2, minor)
        }
        self.links = Links(ctx, request, "servers")
        self.image_links = Links(ctx, request, "images")
        self.flavor_links = Links(ctx, request, "flavors")
        self.sees_attributes = full and ctx.allows(ATTRIBUTES_RULE)
        self.sees_specs = 47 in self.at and ctx.allows(SPECS_RULE)
        self.sees_status = full and 16 in self.at and ctx.allows(HOST_STATUS_RULE)
        self.sees_unknown = full and 16 in self.at and ctx.allows(UNKNOWN_ONLY_RULE)
        self.sees_groups = single and 71 in self.at
        self._ports: Mapping[str, Sequence[Any]] = {}
        self._tags: Mapping[str, list[str]] = {}
        self._groups: Mapping[str, str] = {}
        self._statuses: Mapping[str, str] = {}

    def prepare(self, tx: Tx, rows: Iterable[Any]) -> None:
        """Read what belongs to these servers."""
        rows = list(rows)
        ids = [row.id for row in rows]
        self._ports = server_ports.ports_of(tx, ids) if ids else {}
        if 26 in self.at and ids:
            self._tags = servers.tags_of(tx, ids)
        if self.sees_groups and ids:
            self._groups = server_groups.groups_of(tx, ids)
        if self.sees_status or self.sees_unknown:
            names = {row.host for row in rows if row.host}
            settings = self.ctx.cloud.settings
            self._statuses = {
                row.name: hosts.status_of(settings, row)
                for row in tx.all(sa.select(compute_host).where(compute_host.c.name.in_(names)))
            }

    def one(self, tx: Tx, row: Any) -> dict[str, Any]:
        """Prepare and show a single server."""
        self.prepare(tx, [row])
        return self.view(row)

    def view(self, row: Any) -> dict[str, Any]:
        """Show a server that was prepared."""
        at, row = self.at, _PlainRow._make(row)
        ports = self._ports.get(row.id, ())
        status = states.status_of(row.vm_state, row.task_state)
        shown: dict[str, Any] = {
            "id": row.id,
            "name": row.name,
            "status": status,
            "tenant_id": row.project_id,
            "user_id": row.user_id,
            "metadata": row.metadata,
            "hostId": host_id(row.project_id, row.host) if row.host else "",
            "image": self._image(row),
            "flavor": self._flavor(row),
            "created": iso_seconds(row.created_at),
            "updated": iso_seconds(row.updated_at),
            "addresses": addresses(ports, extended=self.full),
            "accessIPv4": row.access_ipv4,
            "accessIPv6": row.access_ipv6,
            "links": self.links.of(row.id),
            "OS-DCF:diskConfig": row.disk_config,
        }
        if status in states.PROGRESS_STATUSES:
            shown["progress"] = 0
        if row.fault is not None and status in states.FAULT_STATUSES:
            shown["fault"] = self._fault(row.fault)
        if 9 in at:
            shown["locked"] = row.locked_by is not None
        if 19 in at:
            shown["description"] = row.description
        if 26 in at:
            shown["tags"] = self._tags.get(row.id, [])
        if 63 in at:
            shown["trusted_image_certificates"] = None
        if self.sees_groups:
            group = self._groups.get(row.id)
            shown["server_groups"] = [group] if group else []
        if 73 in at:
            shown["locked_reason"] = row.locked_reason
        if 96 in at:
            shown["pinned_availability_zone"] = row.pinned_availability_zone
        if 100 in at:
            shown["scheduler_hints"] = row.scheduler_hints
        if self.full:
            self._add_details(shown, row, ports)
        return shown

    def _add_details(self, shown: dict[str, Any], row: Any, ports: Sequence[Any]) -> None:
        shown["OS-EXT-AZ:availability_zone"] = row.availability_zone or ""
        shown["config_drive"] = "True" if row.config_drive else ""
        shown["key_name"] = row.key_name
        shown["OS-SRV-USG:launched_at"] = iso_micros(row.launched_at)
        shown["OS-SRV-USG:terminated_at"] = iso_micros(row.terminated_at)
        shown["OS-EXT-STS:task_state"] = row.task_state
        shown["OS-EXT-STS:vm_state"] = row.vm_state
        shown["OS-EXT-STS:power_state"] = row.power_state
        shown["os-extended-volumes:volumes_attached"] = []
        names = dict.fromkeys(name for port in ports for name in port.security_group_names)
        if names:
            shown["security_groups"] = [{"name": name} for name in names]
        if self.sees_attributes:
            self._add_attributes(shown, row)
        elif 90 in self.at:
            shown["OS-EXT-SRV-ATTR:hostname"] = row.hostname
        if self.sees_status or self.sees_unknown:
            status = self._statuses.get(row.host, "") if row.host else ""
            if self.sees_status or status == "UNKNOWN":
                shown["host_status"] = status

    def _add_attributes(self, shown: dict[str, Any], row: Any) -> None:
        shown["OS-EXT-SRV-ATTR:host"] = row.host
        shown["OS-EXT-SRV-ATTR:hypervisor_hostname"] = row.host
        shown["OS-EXT-SRV-ATTR:instance_name"] = servers.instance_name(row)
        if 3 in self.at:
            properties = row.image_properties
            shown["OS-EXT-SRV-ATTR:reservation_id"] = row.reservation_id
            shown["OS-EXT-SRV-ATTR:launch_index"] = row.launch_index
            shown["OS-EXT-SRV-ATTR:hostname"] = row.hostname
            shown["OS-EXT-SRV-ATTR:kernel_id"] = properties.get("kernel_id", "")
            shown["OS-EXT-SRV-ATTR:ramdisk_id"] = properties.get("ramdisk_id", "")
            shown["OS-EXT-SRV-ATTR:root_device_name"] = row.root_device_name
            shown["OS-EXT-SRV-ATTR:user_data"] = row.user_data

    def _image(self, row: Any) -> Any:
        shown: dict[str, Any] = {
            "id": row.image_id,
            "links": self.image_links.bookmark(row.image_id),
        }
        if 98 in self.at:
            shown["properties"] = row.image_properties
        return shown

    def _flavor(self, row: Any) -> dict[str, Any]:
        flavor = row.flavor
        if 47 not in self.at:
            return {"id": flavor["id"], "links": self.flavor_links.bookmark(flavor["id"])}
        shown = {
            "vcpus": flavor["vcpus"],
            "ram": flavor["memory_mb"],
            "disk": flavor["root_gb"],
            "ephemeral": flavor["ephemeral_gb"],
            "swap": flavor["swap_mb"],
            "original_name": flavor["name"],
        }
        if self.sees_specs:
            shown["extra_specs"] = flavor["extra_specs"]
        return shown

    def _fault(self, fault: Mapping[str, Any]) -> dict[str, Any]:
        shown = {
            "code": fault["code"],
            "message": fault["message"],
            "created": iso_seconds(fault["created"]),
        }
        if fault.get("details") and (fault["code"] != 500 or self.ctx.is_admin):
            shown["details"] = fault["details"]
        return shown


def addresses(ports: Iterable[Any], *, extended: bool = True) -> dict[str, list[dict[str, Any]]]:
    """Network name -> the addresses of a server there, fixed before floating ones."""
    found: dict[str, list[dict[str, Any]]] = {}
    for port in ports:
        here = found.setdefault(port.network_name, [])
        for address in port.addresses:
            shown: dict[str, Any] = {"version": address.version, "addr": address.ip}
            if extended:
                shown["OS-EXT-IPS:type"] = "floating" if address.is_floating else "fixed"
                shown["OS-EXT-IPS-MAC:mac_addr"] = port.mac
            here.append(shown)
    return found


def brief(row: Any, links: Links) -> dict[str, Any]:
    """A server in a list without details."""
    return {"id": row.id, "name": row.name, "links": links.of(row.id)}
