"""The composition root: the only file that names concrete services and drivers.

`make_cloud` gives a process its database, bus, services and control-plane drivers;
`make_agents` gives it the nodes that it runs itself. One machine and many differ only here.
What a node has no use for (database, services) is imported where it is made, so that a process
that is only a node never loads it.
Read next: process.py (starting and stopping what is made here).
"""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from nubelet.kernel.bus import Bus, InProcessBus
from nubelet.node.agent import Addresses, Agent
from nubelet.settings import FileStore, Settings

if TYPE_CHECKING:
    from nubelet.image import ImageConverter
    from nubelet.kernel.cloud import Cloud
    from nubelet.kernel.database import Database
    from nubelet.kernel.service import Service

# In this order they are seeded at start; each may call those before it.
SERVICES = ("identity", "image", "placement", "network", "object_store", "compute", "operating")


# Services of other packages: an entry point each, whose value is the manifest.
EXTENSIONS = "nubelet.services"


def make_services(only: Collection[str] = ()) -> tuple[Service, ...]:
    """The manifests of all services, those of installed packages last; or of those that are named
    (`object-store`) and the two without which a cloud cannot be used."""
    names = [
        name
        for name in SERVICES
        if not only or name in ("identity", "operating") or name.replace("_", "-") in only
    ]
    own = tuple(importlib.import_module(f"nubelet.{name}").SERVICE for name in names)
    return own if only else own + _installed_services({service.name for service in own})


def _installed_services(taken: set[str]) -> tuple[Service, ...]:
    """Raises RuntimeError for one that has the name of another."""
    from importlib.metadata import entry_points

    found: list[Service] = []
    for point in sorted(entry_points(group=EXTENSIONS), key=lambda each: each.name):
        service: Service = point.load()
        if service.name in taken:
            raise RuntimeError(
                f"The package {point.dist.name if point.dist else point.value} brings a service "
                f"{service.name}, and there is one already."
            )
        taken.add(service.name)
        found.append(service)
    return tuple(found)


def make_bus(settings: Settings, *, serves: bool = True) -> Bus:
    """The bus of this process: RabbitMQ when there is a URL, else inside this machine.

    `serves` False: this process only calls; without RabbitMQ it joins the one that serves.
    """
    if settings.bus.url:
        from nubelet.kernel.rabbitmq import RabbitMQBus

        return RabbitMQBus(settings.bus.url)
    if serves and settings.http.workers == 1:
        return InProcessBus()
    from nubelet.kernel.local_bus import LocalBus, LocalHub

    path = settings.state_dir / "run" / "bus.sock"
    return LocalHub(path) if serves else LocalBus(path)


def make_database(settings: Settings) -> Database:
    """The database, brought to the newest schema; raises migrations.SchemaTooNew."""
    from nubelet import migrations
    from nubelet.kernel.database import Database

    database = Database(settings.database.url)
    try:
        migrations.upgrade(database)
    except BaseException:
        database.close()
        raise
    return database


def make_cloud(
    settings: Settings,
    *,
    database: Database | None = None,
    bus: Bus | None = None,
) -> Cloud:
    """A cloud with its services, policies and control-plane drivers; nothing runs yet."""
    from nubelet.identity import TokenAuthenticator
    from nubelet.kernel.cloud import Cloud
    from nubelet.kernel.http.app import Authenticator
    from nubelet.kernel.policy import Policy
    from nubelet.object_store import Storage, make_storage

    services = make_services(settings.services)
    policies = {
        service.name: Policy.load(service.rules, settings.policy.directory / f"{service.name}.yaml")
        for service in services
    }
    cloud = Cloud(
        settings, database or make_database(settings), bus or make_bus(settings), services
    )
    cloud.policies.update(policies)
    if type(cloud.bus) is not InProcessBus:  # there are other processes
        cloud.database.bells.carry_over(cloud.bus)
    cloud.provide(Authenticator, TokenAuthenticator(cloud))  # type: ignore[type-abstract]
    if "image" in cloud.services:
        from nubelet.image import ImageConverter, Stores, make_stores

        cloud.provide(Stores, make_stores(settings))
        cloud.provide(ImageConverter, _image_converter())  # type: ignore[type-abstract]
    cloud.provide(Storage, make_storage(settings))  # type: ignore[type-abstract]
    return cloud


def _image_converter() -> ImageConverter:
    """qemu-img of this machine (decision 0020)."""
    from nubelet.node.conversion import QemuImgConverter

    return QemuImgConverter()


def make_agents(settings: Settings, name: str = "") -> list[Agent]:
    """The nodes that live in this process: this host, or so many fake ones.

    `name`: of the node, else the host's name (fake nodes are numbered).
    """
    if settings.compute.hypervisor != "fake":
        return [_host_agent(settings, name or socket.gethostname() or "localhost")]
    count = settings.compute.fake_nodes
    if name and count == 1:
        return [_fake_agent(settings, name)]
    return [_fake_agent(settings, f"{name or 'fake'}-{number + 1}") for number in range(count)]


def _fake_agent(settings: Settings, name: str) -> Agent:
    from nubelet.node.disks.fake import FakeDisks
    from nubelet.node.hypervisor.fake import FakeHypervisor
    from nubelet.node.switching.fake import FakeSwitching

    folder = settings.state_dir / "node" / name
    switching = FakeSwitching(folder)
    return Agent(
        name,
        FakeHypervisor(folder, has_port=switching.has_port),
        switching,
        FakeDisks(folder, host=name),
        folder,
    )


def _host_agent(settings: Settings, name: str) -> Agent:
    import ipaddress

    from nubelet.accelerator import accelerator
    from nubelet.node.disks.file import FileDisks
    from nubelet.node.hypervisor.libvirt import LibvirtHypervisor
    from nubelet.node.switching.linux import ExternalNetwork, LinuxOptions, LinuxSwitching

    folder = settings.state_dir / "node"
    accel = accelerator(settings.compute.accel)
    external = ipaddress.ip_network(settings.network.external_cidr)
    switching = LinuxSwitching(
        folder,
        LinuxOptions(
            physical_networks={
                "external": ExternalNetwork(host_addresses=(f"{external[1]}/{external.prefixlen}",))
            }
        ),
    )
    hypervisor = LibvirtHypervisor(
        folder,
        accelerator=accel.kind,
        accelerator_reason=accel.reason,
        tap_namespace=switching.tap_namespace,
        capability_cache=_machine_cache() / "libvirt",
    )
    return Agent(
        name,
        hypervisor,
        switching,
        FileDisks(folder, host=name),
        folder,
        addresses=_addresses(settings),
    )


def _addresses(settings: Settings) -> Addresses:
    """How other nodes reach this one: from where this machine reaches the broker."""
    broker = urlsplit(settings.bus.url)
    if not broker.hostname:
        return Addresses()  # there are no others
    family, _, _, _, address = socket.getaddrinfo(
        broker.hostname, broker.port or 5672, type=socket.SOCK_DGRAM
    )[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)  # sends nothing
        own = str(probe.getsockname()[0])
    return Addresses(ip=own, tunnel_ip=own)


def _machine_cache() -> Path:
    """What clouds on this machine share: what QEMU can do is asked once, for eight seconds."""
    return Path("/var/cache/nubelet") if os.geteuid() == 0 else Path.home() / ".cache/nubelet"


def purge(settings: Settings) -> list[str]:
    """Remove everything that the nodes of this state folder ever made; says what."""
    removed: list[str] = []
    # The broker may be gone; nobody is to be reached any more.
    alone = msgspec.structs.replace(settings, bus=msgspec.structs.replace(settings.bus, url=""))
    for agent in make_agents(alone):
        removed += agent.purge()
    return removed


def rotate_object_keys(settings: Settings) -> str:
    """Let objects be encrypted with a new secret; its number."""
    from nubelet.object_store import rotate_keys

    return rotate_keys(settings)


def rotate_identity_keys(settings: Settings) -> dict[str, int]:
    """Let the next key take over in each folder of identity's keys: folder -> number."""
    from nubelet.identity import rotate_all_keys

    database = make_database(settings)
    try:
        return rotate_all_keys(settings, database)
    finally:
        database.close()


def state_folders(settings: Settings) -> tuple[Path, ...]:
    """Folders outside the state folder that hold data of this cloud."""
    outside = (
        settings.image.directory,
        settings.image.cache_directory,
        settings.image.staging_directory,
        settings.object_store.directory,
        *(
            store.directory
            for store in settings.image.stores.values()
            if isinstance(store, FileStore)
        ),
    )
    return tuple(path for path in outside if settings.state_dir not in path.parents)


def identify_image(pieces: Iterator[bytes]) -> tuple[str, int]:
    """The disk format of image data and the bytes of its disk, for the command line.

    Raises kernel.errors.ApiError when it is unsafe or of no format that the cloud takes.
    """
    from nubelet.image.formats import identify

    return identify(pieces)
