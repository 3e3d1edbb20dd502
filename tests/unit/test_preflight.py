"""Preflight: each missing thing is named with its remedy, and nothing is left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import types
from pathlib import Path
from typing import Any

import pytest

from nubelet.accelerator import Accelerator, accelerator
from nubelet.cli import kernel_features, preflight
from nubelet.cli.kernel_features import FEATURES, Feature
from nubelet.cli.preflight import Need, check
from nubelet.settings import Settings, load
from tests.serving import free_port

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


def settings_for(tmp_path: Path, **options: Any) -> Settings:
    given = {name.replace("__", "."): value for name, value in options.items()}
    return load(None, {}, {"state_dir": tmp_path, "http.port": free_port(), **given})


def only(needs: list[Need]) -> str:
    assert len(needs) == 1, needs
    return str(needs[0])


def test_fake_cloud_needs_neither_root_nor_qemu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert check(settings_for(tmp_path), fake=True) == []


def test_real_cloud_needs_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(preflight, "_libvirt_needs", list)
    monkeypatch.setattr(preflight, "_absent_programs", lambda _: set())
    text = only(check(settings_for(tmp_path), fake=False))
    assert "need root" in text
    assert "--fake" in text


def test_missing_programs_name_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path="": None if name == "dnsmasq" else name)
    monkeypatch.setattr(preflight, "_libvirt_needs", list)
    monkeypatch.setattr(preflight, "kernel_needs", list)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    text = only(check(settings_for(tmp_path), fake=False))
    assert text == "the program dnsmasq is missing: apt-get install dnsmasq-base"


def test_every_named_package_is_one_that_make_installs() -> None:
    lines = (Path(__file__).parents[2] / "install/debian-packages").read_text().splitlines()
    installed = {line.split()[1] for line in lines if line.startswith("demo")}
    assert set(preflight.PROGRAMS.values()) <= installed


def test_port_in_use_names_port_and_holder(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        text = only(check(settings_for(tmp_path, http__port=port), fake=True))
    assert f"port {port} is used already" in text
    assert f"(process {os.getpid()})" in text
    assert "--port" in text
    assert check(settings_for(tmp_path, http__port=port), fake=True) == []


def test_address_of_another_machine(tmp_path: Path) -> None:
    text = only(check(settings_for(tmp_path, http__host="192.0.2.77"), fake=True))
    assert "192.0.2.77 is not an address of this machine" in text


def test_ipv6_address_can_be_asked(tmp_path: Path) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 on this machine")
    assert check(settings_for(tmp_path, http__host="::1"), fake=True) == []


def test_state_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    text = only(check(settings_for(tmp_path / "file" / "below"), fake=True))
    assert "is not a folder" in text


def test_state_folder_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    text = only(check(settings_for(tmp_path / "a" / "b"), fake=True))
    assert "cannot be written by this user" in text
    assert not (tmp_path / "a").exists()


def test_too_little_disk_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = types.SimpleNamespace(total=0, used=0, free=100 * 1024 * 1024)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    monkeypatch.setattr(preflight, "_available_memory_mib", lambda: 10)
    disk, memory = map(str, check(settings_for(tmp_path), fake=True))
    assert "100 MiB are free" in disk
    assert "10 MiB of memory are available, 256 MiB are needed" in memory


def libvirt_needs(tmp_path: Path, load_module: Any) -> list[Need]:
    driver = tmp_path / "libvirt_driver_qemu.so"
    driver.write_text("")
    return list(preflight._libvirt_needs(load_module, (str(driver),)))


def test_libvirt_driver_binding_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = only(list(preflight._libvirt_needs(drivers=(str(tmp_path / "none.so"),))))
    assert "apt-get install libvirt-daemon" in text

    def absent(name: str) -> object:
        raise ImportError(f"no module named {name}")

    assert "no module named libvirt" in only(libvirt_needs(tmp_path, absent))

    def library(version: int) -> Any:
        return lambda _: types.SimpleNamespace(getVersion=lambda: version)

    monkeypatch.setattr("importlib.metadata.version", lambda _: "9.0.0")
    assert libvirt_needs(tmp_path, library(9000000)) == []
    assert libvirt_needs(tmp_path, library(10002000)) == []
    text = only(libvirt_needs(tmp_path, library(8001003)))
    assert "9.0.0 is newer than the libvirt 8.1.3" in text
    assert "pip install libvirt-python==8.1.3" in text


@needs_root
def test_refused_kernel_feature_is_named_with_the_kernels_words() -> None:
    odd = Feature("odd links", ("ip", "link", "add", "p", "type", "nosuchkind"), "nosuchkind")
    needs = list(kernel_features.kernel_needs((odd, FEATURES[1])))
    text = str(needs[0])
    assert "refuses odd links" in text
    assert "modprobe nosuchkind" in text
    assert "bridges" not in text


@needs_root
def test_without_namespaces_nothing_else_is_tried() -> None:
    refused = Feature("network namespaces", ("false",), "")
    odd = Feature("odd links", ("false",), "odd")
    assert "network namespaces" in only(list(kernel_features.kernel_needs((refused, odd))))


@needs_root
def test_probes_leave_nothing_behind() -> None:
    """The commands act inside their own namespace: links and tables of the machine stay."""

    def machine() -> tuple[str, ...]:
        commands = (["ip", "-o", "link"], ["nft", "list", "tables"], ["ip", "netns"])
        return tuple(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
            for command in commands
        )

    for feature in FEATURES:
        assert "probe" not in "".join(machine()), feature.name
        kernel_features._refusal_of(feature)
    assert not [line for line in "".join(machine()).splitlines() if "probe" in line]


def test_program_that_hangs_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_features, "_PROBE_SECONDS", 0.2)
    finished = kernel_features._run(("sleep", "5"))
    assert finished.returncode == 124
    assert "no answer" in finished.stderr


def test_accelerator_is_probed_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("no probe")

    monkeypatch.setattr("subprocess.Popen", forbidden)
    assert accelerator("kvm") == Accelerator("kvm", "compute.accel says so")
    assert accelerator("tcg").kind == "tcg"


@pytest.mark.parametrize(
    ("script", "kind", "reason"),
    [
        ("print('kvm it ran')", "kvm", "it ran"),
        ("print('tcg it is slow')", "tcg", "it is slow"),
        ("import os; os.abort()", "tcg", "the probe crashed"),
        ("import time; time.sleep(600)", "tcg", "does not answer"),
    ],
)
def test_accelerator_believes_only_a_clear_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, kind: str, reason: str
) -> None:
    probe = tmp_path / "probe.py"
    probe.write_text(script)
    monkeypatch.setattr("nubelet.accelerator.__file__", str(probe))
    monkeypatch.setattr("nubelet.accelerator.DEVICE", str(probe))
    # Far more than a probe takes to start on a busy machine, but for the one that hangs.
    monkeypatch.setattr("nubelet.accelerator._CHILD_SECONDS", 1.0 if "sleep" in script else 60.0)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    answer = accelerator()
    assert answer.kind == kind
    assert reason in answer.reason


def test_accelerator_without_a_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("nubelet.accelerator.DEVICE", str(tmp_path / "kvm"))
    assert accelerator() == Accelerator("tcg", f"{tmp_path}/kvm does not exist")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "aarch64" in accelerator().reason


def test_processor_without_virtualization_is_never_taken_for_kvm() -> None:
    """`/dev/kvm` may open and yet interpret: the flags of the processor tell the truth here."""
    flags = Path("/proc/cpuinfo").read_text()
    if " vmx" in flags or " svm" in flags:
        pytest.skip("this processor has virtualization")
    assert accelerator().kind == "tcg"
