"""`nubelet demo`: from nothing to a virtual machine that answers ssh, by the public API.

Everything is asked for with the unmodified openstacksdk, as a user of any OpenStack cloud
would; nothing here reaches around the API. What is there already is used again; every run
boots one more server.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from nubelet.cli.instance import Instance, state_dir_option
from nubelet.cli.openrc import credentials, write_files
from nubelet.kernel.ids import new_secret
from nubelet.private_files import write_private

SSH_WAIT_SECONDS = 180


@click.command()
@state_dir_option
@click.option("--port", type=int, help="Port of the cloud, if it is not running yet.")
def demo_command(state_dir: Path, port: int | None) -> None:
    """Boot a first virtual machine and log in to it."""
    try:
        import openstack
    except ImportError:
        raise click.ClickException(
            "the demo drives the cloud with openstacksdk: pip install 'nubelet[demo]'"
        ) from None
    from rich.console import Console

    from nubelet.cli.up import ensure_up

    console = Console(highlight=False)
    instance = Instance(state_dir)
    started = time.monotonic()
    with _step(console, "Build the guest image"):
        image_file = _guest_image()
    with _step(console, "Start the cloud"), instance.alone():
        ensure_up(instance, port=port)
    demo = _Demo(openstack, instance, console)
    demo.prepare(image_file)
    result = demo.boot()
    console.print()
    console.print(f"[bold]{result.command}[/bold]")
    console.print(result.output.rstrip())
    _summary(console, instance, result, time.monotonic() - started)


@contextlib.contextmanager
def _step(console: Any, title: str) -> Iterator[None]:
    """Show what is being done, and how long it took."""
    started = time.monotonic()
    with console.status(title):
        yield
    console.print(f"[green]✓[/green] {title:<58} {time.monotonic() - started:6.1f} s")


def _external_cidr(instance: Instance) -> str:
    from nubelet.settings import load

    return load(instance.settings_file).network.external_cidr


def _guest_image() -> Path:
    from nubelet.guest.build import build
    from nubelet.guest.folders import cache_dir, image_dir

    return build(image_dir(), cache_dir()).disk.path


class _Result:
    def __init__(
        self,
        name: str,
        address: str,
        command: str,
        output: str,
        active_seconds: float,
        ssh_seconds: float,
    ) -> None:
        self.name, self.address = name, address
        self.command, self.output = command, output
        self.active_seconds, self.ssh_seconds = active_seconds, ssh_seconds


class _Demo:
    """The cloud as two users see it: its administrator, and `demo`."""

    def __init__(self, openstack: Any, instance: Instance, console: Any) -> None:
        self.sdk, self.instance, self.console = openstack, instance, console
        self.folder = instance.state_dir / "demo"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.admin = self._connect(credentials(instance))
        self.user: Any = None

    def prepare(self, image_file: Path) -> None:
        """What an administrator does once, and what a user does once."""
        with _step(self.console, "Make the project and user demo"):
            self._project()
        with _step(self.console, "Upload the image cirros"):
            self._image(image_file)
        with _step(self.console, "Make the flavor m1.tiny and the network public"):
            self._flavor()
            self._external_network()
        with _step(self.console, "Make the network, subnet and router of demo"):
            self._network()
        with _step(self.console, "Allow ping and ssh, and import a key"):
            self._access()

    def boot(self) -> _Result:
        """Boot a server, give it a floating IP, and log in."""
        compute, network = self.user.compute, self.user.network
        taken = {server.name for server in compute.servers(details=False)}
        name = next(f"demo-{n}" for n in range(1, 1000) if f"demo-{n}" not in taken)
        started = time.monotonic()
        with _step(self.console, f"Boot the server {name}"):
            server = compute.create_server(
                name=name,
                image_id=self.admin.image.find_image("cirros").id,
                flavor_id=compute.find_flavor("m1.tiny").id,
                key_name="demo",
                networks=[{"uuid": network.find_network("demo").id}],
                security_groups=[{"name": "demo"}],
            )
            server = compute.wait_for_server(server, interval=0.1, wait=60)
            active_seconds = time.monotonic() - started
        with _step(self.console, "Give it a floating IP"):
            port = next(iter(network.ports(device_id=server.id)))
            floating = network.create_ip(
                floating_network_id=network.find_network("public").id, port_id=port.id
            )
            address = floating.floating_ip_address
        with _step(self.console, f"Wait until {address} answers ssh"):
            command = "uname -a; uptime; ip address show eth0; df -h /"
            output = self._ssh(address, command, started)
        return _Result(
            name,
            address,
            self._ssh_words(address),
            output,
            active_seconds,
            time.monotonic() - started,
        )

    def _connect(self, values: dict[str, str]) -> Any:
        return self.sdk.connect(
            auth_url=values["OS_AUTH_URL"],
            username=values["OS_USERNAME"],
            password=values["OS_PASSWORD"],
            project_name=values["OS_PROJECT_NAME"],
            user_domain_name="Default",
            project_domain_name="Default",
            region_name=values["OS_REGION_NAME"],
            load_yaml_config=False,
            load_envvars=False,
        )

    def _project(self) -> None:
        identity = self.admin.identity
        secret = self.folder / "demo-password"
        if not secret.exists():
            write_private(secret, new_secret(12) + "\n")
        password = secret.read_text().strip()
        project = identity.find_project("demo") or identity.create_project(
            name="demo", domain_id="default", description="Made by nubelet demo"
        )
        user = identity.find_user("demo")
        if user is None:
            user = identity.create_user(
                name="demo", domain_id="default", password=password, default_project_id=project.id
            )
        else:
            identity.update_user(user, password=password)
        role = identity.find_role("member")
        identity.assign_project_role_to_user(project, user, role)
        self.user = self._connect(credentials(self.instance, "demo"))

    def _image(self, file: Path) -> None:
        if self.admin.image.find_image("cirros") is None:
            self.admin.image.create_image(
                name="cirros",
                filename=str(file),
                disk_format="qcow2",
                container_format="bare",
                visibility="public",
                wait=True,
                min_ram=128,
                hw_rng_model="virtio",
                os_distro="cirros",
            )

    def _flavor(self) -> None:
        if self.admin.compute.find_flavor("m1.tiny") is None:
            self.admin.compute.create_flavor(name="m1.tiny", ram=128, vcpus=1, disk=1)

    def _external_network(self) -> None:
        network = self.admin.network
        public = network.find_network("public") or network.create_network(
            name="public",
            is_router_external=True,
            provider_network_type="flat",
            provider_physical_network="external",
        )
        if not public.subnet_ids:
            addresses = ipaddress.ip_network(_external_cidr(self.instance))
            network.create_subnet(
                name="public",
                network_id=public.id,
                ip_version=4,
                cidr=str(addresses),
                gateway_ip=str(addresses[1]),
                enable_dhcp=False,
                allocation_pools=[{"start": str(addresses[10]), "end": str(addresses[-6])}],
            )

    def _network(self) -> None:
        network = self.user.network
        tenant = network.find_network("demo") or network.create_network(name="demo")
        subnet = network.find_subnet("demo") or network.create_subnet(
            name="demo", network_id=tenant.id, ip_version=4, cidr="10.10.0.0/24", dns_nameservers=[]
        )
        router = network.find_router("demo")
        if router is None:
            router = network.create_router(
                name="demo", external_gateway_info={"network_id": network.find_network("public").id}
            )
            network.add_interface_to_router(router, subnet_id=subnet.id)

    def _access(self) -> None:
        network = self.user.network
        if network.find_security_group("demo") is None:
            group = network.create_security_group(name="demo", description="ping and ssh")
            for rule in (
                {"protocol": "icmp"},
                {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22},
            ):
                network.create_security_group_rule(
                    security_group_id=group.id, direction="ingress", ethertype="IPv4", **rule
                )
        key = self._key_file()
        if not key.exists():
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", str(key)],
                check=True,
            )
        public = key.with_suffix(".pub").read_text()
        found = self.user.compute.find_keypair("demo")
        if found is not None and found.public_key.split()[:2] != public.split()[:2]:
            self.user.compute.delete_keypair(found)
            found = None
        if found is None:
            self.user.compute.create_keypair(name="demo", public_key=public)

    def _key_file(self) -> Path:
        return self.folder / "id_ed25519"

    def _ssh_words(self, address: str) -> str:
        return f"ssh -i {self._key_file()} cirros@{address}"

    def _ssh(self, address: str, command: str, started: float) -> str:
        """Run a command in the guest as soon as it answers."""
        deadline = started + SSH_WAIT_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((address, 22), 0.5):
                done = subprocess.run(
                    [
                        "ssh",
                        "-i",
                        str(self._key_file()),
                        "-o",
                        "StrictHostKeyChecking=no",
                        "-o",
                        "UserKnownHostsFile=/dev/null",
                        "-o",
                        "LogLevel=ERROR",
                        "-o",
                        "BatchMode=yes",
                        "-o",
                        "ConnectTimeout=5",
                        f"cirros@{address}",
                        command,
                    ],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode == 0:
                    return done.stdout
            time.sleep(0.1)
        raise click.ClickException(
            f"{address} did not answer ssh within {SSH_WAIT_SECONDS} s. The console says:\n"
            + self._console_tail(address)
        )

    def _console_tail(self, address: str) -> str:
        for server in self.user.compute.servers():
            if any(
                entry["addr"] == address
                for network in server.addresses.values()
                for entry in network
            ):
                output = self.user.compute.get_server_console_output(server, length=20)
                return f"{output['output']}\n(nubelet explain {server.id} tells the whole story)"
        return "(the server is gone)"


def _summary(console: Any, instance: Instance, result: _Result, total_seconds: float) -> None:
    clouds = write_files(instance, ("admin", "demo"))
    values = credentials(instance, "demo")
    console.print()
    console.print(
        f"[bold green]Your cloud runs.[/bold green] {result.name} was ACTIVE after "
        f"{result.active_seconds:.1f} s and answered ssh after "
        f"{result.ssh_seconds:.1f} s; all of it took {total_seconds:.0f} s."
    )
    console.print(f"  API          {values['OS_AUTH_URL']}")
    console.print(f"  clouds.yaml  {clouds}")
    state = f" --state-dir {instance.state_dir}"
    console.print("Try next:")
    for line in (
        result.command,
        f"export OS_CLIENT_CONFIG_FILE={clouds} OS_CLOUD=nubelet-demo",
        "openstack server list",
        f"openstack console log show {result.name}",
        f"nubelet explain $(openstack server show -f value -c id {result.name}){state}",
        f"nubelet status{state}",
        f"nubelet down --purge{state}",
    ):
        console.print(f"  {line}", soft_wrap=True)
