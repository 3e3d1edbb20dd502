"""A storage node: its devices, its calls, and what daemons need to reach the others."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from nubelet import __version__
from nubelet.object_store.cluster import fragment_calls, listing_calls, object_calls, wire
from nubelet.object_store.cluster.client import Client
from nubelet.object_store.cluster.configuration import Cluster
from nubelet.object_store.cluster.devices import Device, Devices
from nubelet.object_store.cluster.lanes import Lanes
from nubelet.object_store.cluster.messages import Figures, Nothing, Peer
from nubelet.object_store.cluster.server import Call, Server
from nubelet.object_store.ring import Device as RingDevice
from nubelet.object_store.ring import Ring


class Node:
    """One storage node. `ip` and `port` are those that the rings name."""

    def __init__(self, cluster: Cluster, root: Path, ip: str, port: int) -> None:
        self.cluster = cluster
        self.devices = Devices(root, cluster.hash_words)
        self.client = Client(cluster.key, cluster.timing)
        self.address = (ip, port)
        # Set when a container has changed: its account is to be told.
        self.news = threading.Event()
        # Of the updaters, which tell devices in them.
        self.update_lanes, self.report_lanes = Lanes(), Lanes()
        self.passes: dict[str, dict[str, float]] = {}  # of the daemons in this process

    def server(self) -> Server:
        """The application of its port."""
        handlers = {
            **object_calls.handlers(self),
            **listing_calls.handlers(self),
            **fragment_calls.handlers(self),
            "figures": self._figures,
        }
        return Server(self.cluster.key, handlers)

    def close(self) -> None:
        """Close files and connections; what the updaters have not told waits for the next start."""
        self.update_lanes.close()
        self.report_lanes.close()
        self.devices.close()
        self.client.close()

    def is_own(self, device: RingDevice) -> bool:
        """Is this a device of this node?"""
        return self.address in (device.peer, (device.ip, device.port))

    def others(self, ring: Ring, part: int, device: Device) -> tuple[list[Peer], bool]:
        """The primary devices of a partition but this one, and whether this is one of them."""
        primary = ring.nodes(part)
        others = [
            Peer.of(each)
            for each in primary
            if not (self.is_own(each) and each.device == device.name)
        ]
        return others, len(others) < len(primary)

    def _figures(self, call: Call) -> Figures:
        wire.decode(call.arguments, Nothing)
        figures = Figures(version=__version__, daemons=self.passes)
        for device in self.devices.all():
            usage = shutil.disk_usage(device.folder)
            figures.devices[device.name] = {"size": usage.total, "free": usage.free}
            figures.queued += sum(1 for _ in device.queued())
            figures.quarantined += len(list(Path(device.folder, "quarantined").iterdir()))
        figures.rings = self.cluster.ring_versions()
        return figures
