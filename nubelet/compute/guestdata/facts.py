"""The facts about one server that its metadata are made from.

In OpenStack: nova/api/metadata/base.py InstanceMetadata.__init__.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nubelet.compute import guests, server_ports
from nubelet.kernel.database import Tx


@dataclass(frozen=True)
class Facts:
    """A server's row with what stands elsewhere about it."""

    row: Any
    ports: Sequence[Any]  # network.PortView, in the order of the cards
    tags_by_port: Mapping[str, str]

    @property
    def hostname(self) -> str:
        """The host name; the domain is DHCP's."""
        return str(self.row.hostname)

    @property
    def user_data(self) -> bytes | None:
        """The user data, decoded."""
        text = self.row.user_data
        if text is None:
            return None
        try:
            return base64.b64decode("".join(text.split()))
        except (binascii.Error, ValueError):
            return text.encode()  # type: ignore[no-any-return]

    def fixed_addresses(self, version: int) -> list[str]:
        """The fixed addresses of one IP version, in order."""
        return [
            address.ip
            for port in self.ports
            for address in port.addresses
            if not address.is_floating and address.version == version
        ]

    def floating_addresses(self) -> list[str]:
        """The floating addresses, in order."""
        return [
            address.ip for port in self.ports for address in port.addresses if address.is_floating
        ]


def gather(tx: Tx, row: Any) -> Facts:
    """All facts about a server."""
    cards = guests.nics_of(tx, row.id)
    order = {card.port_id: index for index, card in enumerate(cards)}
    ports = sorted(
        server_ports.ports_of(tx, [row.id]).get(row.id, ()),
        key=lambda port: order.get(port.id, len(order)),
    )
    return Facts(
        row=row,
        ports=ports,
        tags_by_port={card.port_id: card.tag for card in cards if card.port_id and card.tag},
    )
