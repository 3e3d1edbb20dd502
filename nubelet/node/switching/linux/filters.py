"""The live filters of the cloud's namespace: ports, security groups and zones, kept in nft.

Each change is one small transaction; the whole ruleset is only written where it is not known to
be there. What is taken away also ends the connections that lived by it (`flows.py`).

Read next: `port_filters.py` and `security_rules.py` (the rules), `ruleset.py` (the transactions).
"""

from __future__ import annotations

from collections.abc import Iterable

from nubelet.node.switching.linux import flows, port_filters, security_rules
from nubelet.node.switching.linux.flows import Flow
from nubelet.node.switching.linux.names import Names
from nubelet.node.switching.linux.nftables import Tables
from nubelet.node.switching.linux.records import PortRecord, Records
from nubelet.node.switching.linux.ruleset import Item, Key
from nubelet.node.wire import PortSpec, SecurityGroupSpec

# Always let through by the filters, so never cut: DHCP of both families (client, server port).
_DHCP_PORTS = frozenset({(68, 67), (67, 68), (546, 547), (547, 546)})
_UDP = 17


class Filters:
    """Filters of all ports of a cloud on this host. The caller writes the records first."""

    def __init__(self, names: Names, records: Records) -> None:
        self._names = names
        self._records = records
        self._namespace = names.cloud_namespace
        self._tables = Tables(self._namespace, self._render, self.cut_forbidden)

    def reload(self) -> None:
        """Write the whole ruleset anew."""
        self._tables.reload()

    def forget(self) -> None:
        """The namespace is a new one: the next change writes everything."""
        self._tables.forget()

    def networks_changed(self) -> None:
        """Zones follow the networks on record."""
        self._tables.change(self._maps())

    def ensure_port(self, record: PortRecord, former: PortSpec | None) -> None:
        """Make the port's rules so; ends connections of addresses and groups it has lost."""
        keys = port_filters.port_keys(record.id)
        items: dict[Key, Item | None] = dict.fromkeys(keys)
        items.update(self._port(record))
        self._tables.change(self._groups() | items | self._maps())
        if former is None:
            return
        lost = _addresses(former) - _addresses(record.spec)
        if lost:
            self._cut_addresses(former.network_id, lost)
        if set(former.security_group_ids) - set(record.spec.security_group_ids):
            self.cut_forbidden({record.spec.network_id})

    def remove_port(self, spec: PortSpec) -> None:
        """Take the port's rules away and end its connections: the next owner of its addresses
        shall not inherit them.
        """
        items: dict[Key, Item | None] = dict.fromkeys(port_filters.port_keys(spec.id))
        self._tables.change(items | self._groups() | self._maps())
        self._cut_addresses(spec.network_id, _addresses(spec))

    def ensure_groups(
        self, specs: Iterable[SecurityGroupSpec], former: Iterable[SecurityGroupSpec]
    ) -> None:
        """Make the groups so (they are on record already); `former`: how they were."""
        chosen = {spec.id: spec for spec in specs}
        changes: dict[Key, Item | None] = dict(self._groups())
        for group_id, spec in chosen.items():
            changes.update(security_rules.group_items(group_id, spec))
        if any(old.stateful != chosen[old.id].stateful for old in former if old.id in chosen):
            for record in self._records.ports.all():
                if set(record.spec.security_group_ids) & set(chosen):
                    changes.update(self._port(record))
        self._tables.change(changes)
        self._cut_after(chosen, former)

    def remove_group(self, former: SecurityGroupSpec) -> None:
        """The group allows nothing any more; where a rule or port still names it, it is empty."""
        changes: dict[Key, Item | None] = dict(self._groups())
        if former.id in self._referenced():
            changes.update(security_rules.group_items(former.id, None))
        self._tables.change(changes)
        self._cut_after({}, [former])

    def cut_forbidden(self, network_ids: Iterable[str] | None = None) -> None:
        """End the connections on these networks (None: on all) that no rule permits any more."""
        chosen = None if network_ids is None else set(network_ids)
        ports = {
            record.zone: [p.spec for p in self._records.ports_of(record.id)]
            for record in self._records.networks.all()
            if chosen is None or record.id in chosen
        }
        if not ports:
            return
        zone = next(iter(ports)) if len(ports) == 1 else None
        flows.cut(
            self._namespace,
            zone,
            lambda flow: flow.zone in ports and not self._allows(flow, ports[flow.zone]),
        )

    def cut_zone(self, zone: int) -> None:
        """End every connection of a network that is going away."""
        flows.cut(self._namespace, zone, lambda flow: True)

    def _cut_addresses(self, network_id: str, addresses: set[str]) -> None:
        record = self._records.networks.get(network_id)
        if record is not None and addresses:
            flows.cut(
                self._namespace,
                record.zone,
                lambda f: flows.covers(addresses, f.source) or flows.covers(addresses, f.target),
            )

    def _cut_after(
        self, now: dict[str, SecurityGroupSpec], former: Iterable[SecurityGroupSpec]
    ) -> None:
        affected: set[str] = set()
        for old in former:
            new = now.get(old.id)
            if new is None or set(old.rules) - set(new.rules):
                affected.add(old.id)
            if new is None or set(old.members) - set(new.members):
                affected |= {
                    record.id
                    for record in self._records.groups.all()
                    if old.id in security_rules.remote_groups(record.spec)
                }
        if affected:
            ports = (record.spec for record in self._records.ports.all())
            self.cut_forbidden(p.network_id for p in ports if affected & set(p.security_group_ids))

    def _allows(self, flow: Flow, ports: list[PortSpec]) -> bool:
        if flow.protocol == _UDP and (flow.first, flow.second) in _DHCP_PORTS:
            return True
        for address, direction in ((flow.source, "egress"), (flow.target, "ingress")):
            for port in ports:
                concerned = port.port_security_enabled and flows.covers(_addresses(port), address)
                if concerned and not self._group_allows(flow, port, direction):
                    return False
        return True

    def _group_allows(self, flow: Flow, port: PortSpec, direction: str) -> bool:
        for group_id in port.security_group_ids:
            group = self._records.groups.get(group_id)
            for rule in group.spec.rules if group else ():
                remote = self._records.groups.get(rule.remote_group_id or "")
                members = remote.spec.members if remote else ()
                if rule.direction == direction and flows.permits(rule, flow, members):
                    return True
        return False

    def _render(self) -> dict[Key, Item]:
        items = port_filters.hook_items() | self._maps()
        for group_id in self._referenced():
            record = self._records.groups.get(group_id)
            spec = record.spec if record else None
            items.update(security_rules.group_items(group_id, spec))
        for port in self._records.ports.all():
            items.update(self._port(port))
        return items

    def _maps(self) -> dict[Key, Item]:
        records = self._records
        return port_filters.map_items(self._names, records.ports.all(), records.networks.all())

    def _port(self, record: PortRecord) -> dict[Key, Item]:
        groups = [self._records.groups.get(g) for g in record.spec.security_group_ids]
        known = [group for group in groups if group is not None]
        stateless = bool(known) and not any(group.spec.stateful for group in known)
        return port_filters.port_items(record.spec, stateful=not stateless)

    def _referenced(self) -> set[str]:
        """Groups that are on record, or named by a rule or a port."""
        found: set[str] = set()
        for record in self._records.groups.all():
            found |= {record.id} | security_rules.remote_groups(record.spec)
        for port in self._records.ports.all():
            if port.spec.port_security_enabled:
                found |= set(port.spec.security_group_ids)
        return found

    def _groups(self) -> dict[Key, Item | None]:
        """Groups that are named now and not in nft, and those in nft that nobody names now."""
        wanted = self._referenced()
        present = security_rules.groups_in(self._tables.keys())
        changes: dict[Key, Item | None] = {}
        for group_id in wanted - present:
            record = self._records.groups.get(group_id)
            spec = record.spec if record else None
            changes.update(security_rules.group_items(group_id, spec))
        for group_id in present - wanted:
            changes.update(dict.fromkeys(security_rules.group_keys(group_id)))
        return changes


def _addresses(spec: PortSpec) -> set[str]:
    return {a.ip for a in spec.addresses} | {pair.ip for pair in spec.allowed_address_pairs}
