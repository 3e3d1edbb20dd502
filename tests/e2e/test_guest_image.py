"""The guest image on the real thing: two guests are booted by plain QEMU (emulated, no libvirt).

One boots from the disk with a config drive and lives through hot plug, a serial login, a reboot
with another drive and the power button. The other boots the live system in its own network,
with DHCP, router advertisements and a metadata service that starts late.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from nubelet.guest import GuestImage
from nubelet.guest.build import build
from nubelet.guest.disk import missing_packages
from nubelet.guest.folders import cache_dir, image_dir

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGE_DIR = image_dir()
Answer = TypeVar("Answer")
BOOT_SECONDS = 200  # an overloaded machine; 4 s on a calm one

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("guest-image"),
    pytest.mark.skipif(
        shutil.which("qemu-system-x86_64") is None or bool(missing_packages()),
        reason="needs qemu-system-x86 and the image's build tools",
    ),
]


def until(what: str, condition: Callable[[], Answer], seconds: float = BOOT_SECONDS) -> Answer:
    """Ask until there is an answer; fail naming what was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} s")


class Guest:
    """A running guest: its QMP monitor, serial line and ssh."""

    def __init__(self, folder: Path, key: Path, arguments: list[str], prefix: list[str]) -> None:
        self.folder, self.key, self.prefix = folder, key, prefix
        self.address, self.port = "127.0.0.1", 22
        self.console_log = folder / "console.log"
        server = "server=on,wait=off"
        command = [
            *prefix, "qemu-system-x86_64", "-accel", "tcg,tb-size=32", "-M", "q35", "-m", "128",
            "-nodefaults", "-display", "none", "-device", "virtio-rng-pci",
            "-chardev", f"socket,id=s0,path={folder}/serial,{server},logfile={self.console_log}",
            "-serial", "chardev:s0", "-qmp", f"unix:{folder}/qmp,{server}", *arguments,
        ]  # fmt: skip
        self.errors = (folder / "qemu.log").open("wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=self.errors)
        self.monitor: socket.socket | None = None

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.errors.close()
        if self.monitor:
            self.monitor.close()

    def console(self) -> str:
        if self.process.poll() is not None and self.process.returncode:
            raise AssertionError((self.folder / "qemu.log").read_text())
        if not self.console_log.exists():
            return ""
        return self.console_log.read_text(errors="replace").replace("\r", "")

    def wait_for_console(self, pattern: str) -> None:
        try:
            until(pattern, lambda: re.search(pattern, self.console(), re.MULTILINE))
        except AssertionError as error:
            raise AssertionError(f"{error}; console:\n{self.console()}") from None

    def qmp(self, command: str, **arguments: Any) -> Any:
        if self.monitor is None:
            self.monitor = socket.socket(socket.AF_UNIX)
            self.monitor.settimeout(100)
            self.monitor.connect(f"{self.folder}/qmp")
            self.lines = self.monitor.makefile("r")
            self.lines.readline()
            self.qmp("qmp_capabilities")
        self.monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self.lines.readline())
            if "return" in answer:
                return answer["return"]
            assert "error" not in answer, answer

    def try_ssh(self, command: str, user: str = "cirros") -> subprocess.CompletedProcess[str]:
        options = {
            "StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "BatchMode": "yes",
            "ConnectTimeout": "10", "LogLevel": "ERROR", "IdentitiesOnly": "yes",
        }  # fmt: skip
        return subprocess.run(
            [
                *self.prefix, "ssh", "-F", "none", "-i", str(self.key), "-p", str(self.port),
                *(part for name, value in options.items() for part in ("-o", f"{name}={value}")),
                f"{user}@{self.address}", command,
            ],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def ssh(self, command: str, user: str = "cirros") -> str:
        """Run a command as test suites do: with a prologue that makes any failure count."""
        finished = self.try_ssh(f"set -eu -o pipefail; PATH=$PATH:/sbin:/usr/sbin; {command}", user)
        assert finished.returncode == 0, f"{command}: {finished.stdout}{finished.stderr}"
        return finished.stdout.rstrip("\n")

    def wait_for_ssh(self) -> None:
        until("ssh", lambda: self.try_ssh("true").returncode == 0)


@pytest.fixture(scope="module")
def image() -> GuestImage:
    return build(IMAGE_DIR, cache_dir(), print)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "id_ed25519"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tester", "-f", path], check=True
    )
    return path


def metadata_tree(folder: Path, instance: str, host: str, key: Path, user_data: str | None) -> Path:
    """Lay out what a config drive or a metadata service offers."""
    latest = folder / "openstack" / "latest"
    latest.mkdir(parents=True)
    public_key = key.with_suffix(".pub").read_text()
    document = {
        "uuid": instance, "name": host, "hostname": f"{host}.novalocal", "launch_index": 0,
        "public_keys": {"tester/key": public_key}, "meta": {"text": 'a "quoted"\n\u00e9 [value]'},
        "keys": [{"name": "tester/key", "type": "ssh", "data": public_key}], "devices": [],
    }  # fmt: skip
    (latest / "meta_data.json").write_text(json.dumps(document))
    if user_data is not None:
        (latest / "user_data").write_text(user_data)
    return folder


def iso_drive(content: Path, path: Path) -> Path:
    subprocess.run(
        ["genisoimage", "-quiet", "-V", "config-2", "-r", "-J", "-o", path, content], check=True
    )
    return path


def vfat_drive(content: Path, path: Path) -> Path:
    with path.open("wb") as stream:
        stream.truncate(1024 * 1024)
    subprocess.run(["mformat", "-i", path, "-v", "config-2", "::"], check=True)
    subprocess.run(["mcopy", "-s", "-i", path, content / "openstack", "::"], check=True)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def user_network(name: str, network: str, forward: str = "") -> str:
    # restrict: without it the guest's 169.254.169.254 would be the network of the test machine.
    return f"user,id={name},restrict=on,net={network}{forward}"


FIRST, SECOND = "11111111-aaaa-4444-8888-000000000001", "22222222-bbbb-4444-8888-000000000002"


@pytest.fixture(scope="module")
def disk_guest(
    image: GuestImage, key: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    folder = tmp_path_factory.mktemp("disk")
    disk = folder / "root.qcow2"
    subprocess.run(
        [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            image.disk.path,
            disk,
            "1G",
        ],
        check=True,
    )
    script = "#!/bin/sh\nid -u > /root/ran-as\nhostname >> /root/ran-as\necho user data speaks\n"
    content = metadata_tree(folder / "content", FIRST, "first", key, script)
    drive = iso_drive(content, folder / "config.iso")
    port = free_port()
    slots = [f"pcie-root-port,id=port{number},chassis={number + 1}" for number in range(4)]
    config = f"driver=raw,node-name=config,read-only=on,file.driver=file,file.filename={drive}"
    arguments = [
        *(part for slot in slots for part in ("-device", slot)),
        "-blockdev", f"driver=qcow2,node-name=root,file.driver=file,file.filename={disk}",
        "-device", "virtio-blk-pci,drive=root,bootindex=0",
        "-blockdev", config, "-device", "virtio-blk-pci,drive=config,id=config-disk,bus=port0",
        "-netdev", user_network("net0", "10.0.2.0/24", f",hostfwd=tcp:127.0.0.1:{port}-:22"),
        "-device", "virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01",
    ]  # fmt: skip
    guest = Guest(folder, key, arguments, [])
    guest.port = port
    try:
        yield guest
    finally:
        guest.stop()


def test_image_is_small_and_a_second_build_does_nothing(image: GuestImage) -> None:
    assert image.disk.size_bytes < 20_000_000
    before = image.disk.path.stat().st_mtime_ns
    messages: list[str] = []
    assert build(IMAGE_DIR, cache_dir(), messages.append) == image
    assert messages == ["guest image is current"]
    assert image.disk.path.stat().st_mtime_ns == before


def test_config_drive_gives_key_name_and_user_data(disk_guest: Guest) -> None:
    disk_guest.wait_for_ssh()
    disk_guest.wait_for_console(r"^first login:")
    assert disk_guest.ssh("hostname") == "first"
    assert disk_guest.ssh("hostname -f; whoami") == "first.novalocal\ncirros"
    assert disk_guest.ssh("id -u", user="root") == "0"
    assert disk_guest.ssh("sudo cat /root/ran-as") == "0\nfirst"
    console = disk_guest.console()
    assert "user data speaks" in console
    assert f"instance-id: {FIRST}" in console
    host_key = disk_guest.ssh(
        "cat /etc/ssh/none 2>/dev/null || sudo dropbearkey -y -f "
        "/etc/dropbear/dropbear_ed25519_host_key | grep ^ssh-"
    ).split()[1]
    assert host_key in console
    assert len(console.splitlines()) >= 10


def test_root_fills_the_disk(disk_guest: Guest) -> None:
    kilobytes = int(disk_guest.ssh("df -k / | tail -n 1 | awk '{print $2}'"))
    assert 950_000 < kilobytes < 1_048_576


def test_commands_of_test_suites(disk_guest: Guest) -> None:
    """The lines test suites type over ssh, and what they read from the answers."""
    ssh = disk_guest.ssh
    assert ssh("sudo id -u") == "0"
    assert ssh("sudo -n sh -c 'id -un; echo \"$1\"' sh 'two  words'") == "root\ntwo  words"
    assert ssh("sudo -u nobody id -un") == "nobody"
    assert ssh("cat /proc/cpuinfo | grep processor | wc -l") == "1"
    assert re.search(
        r"^vda +\d+:0 +0 +1073741824 +0 disk$", ssh("lsblk -lb --nodeps"), re.MULTILINE
    )
    assert re.search(r"^/dev/vdb:.*LABEL=\"config-2\"", ssh("blkid | grep -i config-2"))
    assert "1111" in ssh(
        "sudo mount /dev/vdb /mnt; sudo cat /mnt/openstack/latest/meta_data.json; sudo umount /mnt"
    )
    assert ssh("ip -o link | awk '/52:54:00:00:00:01/ {print $2}'") == "eth0:"
    assert ssh("ip -o addr | awk '/10.0.2.15/ {print $2}'") == "eth0"
    assert "1 packets received" in ssh("ping -c1 -w5 10.0.2.2")
    assert int(ssh("cut -f1 -d. /proc/uptime")) < BOOT_SECONDS * 3
    assert ssh("sudo kill -USR1 $(cat /var/run/udhcpc.eth0.pid); echo sent") == "sent"
    assert ssh("nproc; uname -s; date +%Z") == "1\nLinux\nUTC"
    serve = "(echo through the pipe | nc -l -p 8000 >/dev/null &) ; sleep 1"
    served = f"{serve}; nc -w 2 127.0.0.1 8000 </dev/null"
    assert ssh(served) == "through the pipe"
    ssh("mkdir -p /tmp/www; echo page > /tmp/www/index.html; sudo httpd -p 80 -h /tmp/www")
    assert ssh("wget -q -O - http://127.0.0.1/") == "page"
    assert ssh("curl -s http://127.0.0.1/index.html") == "page"
    assert disk_guest.try_ssh("curl -s -m 2 http://127.0.0.1:9/").returncode != 0
    assert ssh("dd if=/dev/zero bs=1M count=2 2>/dev/null | md5sum").startswith(
        "b2d1236c286a3c0704224fe4105eca49"
    )
    assert ssh("pgrep -f udhcpc | wc -l") != "0"
    assert "load average" in ssh("uptime")


def test_scp_both_protocols(disk_guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "sent").write_text("content")
    options = ["-q", "-F", "none", "-i", str(disk_guest.key), "-P", str(disk_guest.port),
               "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]  # fmt: skip
    for mode in ("-s", "-O"):
        command = [
            "scp",
            mode,
            *options,
            str(tmp_path / "sent"),
            f"cirros@127.0.0.1:/tmp/sent{mode}",
        ]
        finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert finished.returncode == 0, finished.stderr
        assert disk_guest.ssh(f"cat /tmp/sent{mode}") == "content"


def test_disk_hot_plug(disk_guest: Guest, tmp_path: Path) -> None:
    volume = tmp_path / "volume.raw"
    with volume.open("wb") as stream:
        stream.truncate(64 * 1024 * 1024)
    disk_guest.qmp(
        "blockdev-add",
        **{"driver": "raw", "node-name": "vol"},
        file={"driver": "file", "filename": str(volume)},
    )
    disk_guest.qmp(
        "device_add",
        driver="virtio-blk-pci",
        drive="vol",
        id="vol-disk",
        bus="port1",
        serial="vol-1",
    )
    until("the disk", lambda: "vdc" in disk_guest.ssh("cat /proc/partitions"), 100)
    assert disk_guest.ssh("cat /sys/block/vdc/serial") == "vol-1"
    disk_guest.ssh("sudo mkfs -t ext4 /dev/vdc && sudo mount -t ext4 /dev/vdc /mnt")
    disk_guest.ssh("sudo sh -c 'date > /mnt/timestamp; sync'")
    assert "/mnt" in disk_guest.ssh("df | grep vdc")
    assert disk_guest.ssh("sudo cat /mnt/timestamp")
    disk_guest.ssh("sudo umount /mnt")
    disk_guest.qmp("device_del", id="vol-disk")
    until("the disk's end", lambda: "vdc" not in disk_guest.ssh("cat /proc/partitions"), 100)


def test_network_card_hot_plug(disk_guest: Guest) -> None:
    disk_guest.qmp("netdev_add", type="user", id="net1", restrict=True, net="10.7.0.0/24")
    disk_guest.qmp("device_add", driver="virtio-net-pci", netdev="net1", id="nic1", bus="port2")
    until("the lease", lambda: "10.7.0.15/24" in disk_guest.ssh("ip -4 -o addr"), 100)
    assert (
        disk_guest.ssh("ls /var/run/udhcpc.*")
        == "/var/run/udhcpc.eth0.pid\n/var/run/udhcpc.eth1.pid"
    )
    disk_guest.qmp("device_del", id="nic1")
    until("its end", lambda: "eth1" not in disk_guest.ssh("ip -o link; ls /run/net"), 100)


def test_serial_login(disk_guest: Guest) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(f"{disk_guest.folder}/serial")
        line.settimeout(100)

        def type_in(text: str, reply: str) -> None:
            time.sleep(0.5)  # as people do: login forgets what was typed before its prompt stood
            line.sendall(text.encode() + b"\n")
            said = ""
            while not re.search(reply, said, re.DOTALL):
                try:
                    said += line.recv(4096).decode(errors="replace")
                except TimeoutError:
                    raise AssertionError(f"{text!r}: no {reply!r} in {said!r}") from None

        type_in("", "login: ")
        type_in("cirros", "Password:")
        type_in("wrong", "incorrect.*login: ")
        type_in("root", "incorrect.*login: ")  # its empty password must not be a way in
        type_in("cirros", "Password:")
        type_in("gocubsgo", r"\$ ")
        type_in("echo $((6 * 7)) as $(whoami)", "42 as cirros")
        type_in("exit", "login: ")


def test_reboot_as_another_instance(disk_guest: Guest, tmp_path: Path) -> None:
    """A disk that wakes up with another identity takes it over, from a vfat drive this time."""
    read_key = "sudo dropbearkey -y -f /etc/dropbear/dropbear_ed25519_host_key | grep ^ssh-"
    old_key = disk_guest.ssh(read_key)
    disk_guest.ssh("sudo rm /root/ran-as")
    content = metadata_tree(tmp_path / "content", SECOND, "second", disk_guest.key, "not a script")
    drive = vfat_drive(content, disk_guest.folder / "config.vfat")
    disk_guest.qmp("device_del", id="config-disk")
    until("the drive's end", lambda: "vdb" not in disk_guest.ssh("cat /proc/partitions"), 100)
    disk_guest.qmp(
        "blockdev-add", **{"driver": "raw", "node-name": "vfat", "read-only": True},
        file={"driver": "file", "filename": str(drive)},
    )  # fmt: skip
    disk_guest.qmp("device_add", driver="virtio-blk-pci", drive="vfat", id="vfat-disk", bus="port3")
    disk_guest.ssh("sudo reboot")
    disk_guest.wait_for_console(r"^second login:")
    until("ssh", lambda: disk_guest.try_ssh("hostname").stdout == "second\n")
    assert "user data is not a script" in disk_guest.console()
    assert disk_guest.ssh(read_key) != old_key
    assert disk_guest.ssh("sudo ls /root") == ""
    assert disk_guest.ssh("grep -c . ~/.ssh/authorized_keys") == "1"


def test_power_button(disk_guest: Guest) -> None:
    disk_guest.qmp("system_powerdown")
    disk_guest.process.wait(timeout=60)
    assert disk_guest.process.returncode == 0
    assert "guest: going down" in disk_guest.console()


class Network:
    """A namespace with a bridge-less tap: DHCP, router advertisements and metadata live in it."""

    def __init__(self, folder: Path) -> None:
        self.name = f"guest-image-{os.getpid()}"
        self.folder = folder
        self.inside = ["ip", "netns", "exec", self.name]
        self.processes: list[subprocess.Popen[bytes]] = []

    def run(self, *command: str) -> None:
        subprocess.run([*self.inside, *command], check=True)

    def start(self) -> None:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "tuntap", "add", "tap0", "mode", "tap")
        for address in ("192.0.2.1/24", "169.254.169.254/32", "2001:db8::1/64"):
            self.run("ip", "addr", "add", address, "dev", "tap0", "nodad")
        self.run("ip", "link", "set", "tap0", "up")

    def start_dhcp(self) -> None:
        self.spawn(
            "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--port=0",
            "--interface=tap0", "--bind-interfaces", "--conf-file=/dev/null",
            "--dhcp-range=192.0.2.50,192.0.2.60,255.255.255.0,1h",
            "--dhcp-range=2001:db8::,ra-only", "--enable-ra", "--dhcp-authoritative",
            "--dhcp-option=option:router,192.0.2.99",
            "--dhcp-option=option:dns-server,192.0.2.7,192.0.2.8",
            "--dhcp-option=option:mtu,1400", "--dhcp-option=option:domain-name,example.test",
            "--dhcp-option=121,169.254.169.254/32,192.0.2.1,0.0.0.0/0,192.0.2.1",
            f"--dhcp-leasefile={self.folder}/leases", f"--pid-file={self.folder}/dnsmasq.pid",
        )  # fmt: skip

    def start_metadata(self, folder: Path) -> None:
        self.spawn(
            sys.executable, "-m", "http.server", "80", "-b", "169.254.169.254", "-d", str(folder)
        )

    def spawn(self, *command: str) -> None:
        log = (self.folder / "network.log").open("ab")
        self.processes.append(subprocess.Popen([*self.inside, *command], stdout=log, stderr=log))

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
            process.wait(timeout=60)
        subprocess.run(["ip", "netns", "del", self.name], check=False)


@pytest.fixture(scope="module")
def network_guest(
    image: GuestImage, key: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    if os.geteuid() != 0 or shutil.which("dnsmasq") is None:
        pytest.skip("needs root and dnsmasq-base")
    folder = tmp_path_factory.mktemp("network")
    network = Network(folder)
    content = metadata_tree(
        folder / "content", SECOND, "third", key, "#!/bin/sh\necho ran from the service\n"
    )
    arguments = [
        "-kernel", str(image.kernel.path), "-initrd", str(image.live.path),
        "-append", image.kernel_command_line,
        "-netdev", "tap,id=net0,ifname=tap0,script=no,downscript=no",
        "-device", "virtio-net-pci,netdev=net0,mac=52:54:00:00:00:02",
    ]  # fmt: skip
    guest = None
    try:
        network.start()
        network.start_dhcp()
        guest = Guest(folder, key, arguments, network.inside)
        guest.wait_for_console("no answer at try 1/20")
        network.start_metadata(content)
        lease = until(
            "the lease", lambda: re.search(r"192\.0\.2\.5\d", (folder / "leases").read_text())
        )
        assert lease is not None
        guest.address = lease[0]
        guest.wait_for_ssh()
        yield guest
    finally:
        if guest is not None:
            guest.stop()
        network.stop()


def test_metadata_service_is_asked_again(network_guest: Guest) -> None:
    network_guest.wait_for_console(r"^third login:")
    assert "ran from the service" in network_guest.console()
    assert "from metadata service" in network_guest.console()
    assert network_guest.ssh("hostname") == "third"
    url = "http://169.254.169.254/openstack/latest/user_data"
    assert "ran from the service" in network_guest.ssh(f"curl {url}")


def test_dhcp_options(network_guest: Guest) -> None:
    routes = network_guest.ssh("ip route")
    assert re.search(r"^default via 192\.0\.2\.1 dev eth0", routes, re.MULTILINE)
    assert re.search(r"^169\.254\.169\.254 via 192\.0\.2\.1 dev eth0", routes, re.MULTILINE)
    assert (
        "192.0.2.99" not in routes
    )  # RFC 3442: the router option counts for nothing beside option 121
    assert "mtu 1400" in network_guest.ssh("ip link show eth0")
    resolver = network_guest.ssh("cat /etc/resolv.conf")
    assert resolver == "search example.test\nnameserver 192.0.2.7\nnameserver 192.0.2.8"


def test_renewal_writes_the_name_servers_and_keeps_the_connection(network_guest: Guest) -> None:
    network_guest.ssh("sudo sh -c 'echo nameserver 203.0.113.1 > /etc/resolv.conf'")
    network_guest.ssh("sudo kill -USR1 $(cat /var/run/udhcpc.eth0.pid)")
    until("the renewal", lambda: "192.0.2.7" in network_guest.ssh("cat /etc/resolv.conf"), 100)


def test_ipv6_address_from_router_advertisement(network_guest: Guest) -> None:
    address = "2001:db8::5054:ff:fe00:2/64"
    until("SLAAC", lambda: address in network_guest.ssh("ip -6 -o addr show dev eth0"), 100)
    assert "1 packets received" in network_guest.ssh("ping -6 -c1 -w5 2001:db8::1")
