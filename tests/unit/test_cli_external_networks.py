"""Clouds of one machine have different external networks, from when they are made."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from nubelet.cli import external_networks


@pytest.fixture(autouse=True)
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "run" / "taken"
    folder.parent.mkdir()
    monkeypatch.setattr(external_networks, "TAKEN", folder)
    return folder


def made(tmp_path: Path, name: str) -> tuple[Path, str]:
    """A new cloud's state folder, and its network."""
    state_dir = tmp_path / name
    state_dir.mkdir()
    with external_networks.claim(state_dir) as network:
        pass
    return state_dir, network


def test_clouds_that_start_at_once_get_different_networks(tmp_path: Path) -> None:
    start = Barrier(8)

    def start_one(number: int) -> str:
        start.wait(60)
        return made(tmp_path, f"cloud{number}")[1]

    with ThreadPoolExecutor(8) as pool:
        networks = list(pool.map(start_one, range(8)))
    assert len(set(networks)) == 8
    assert all(each.startswith("172.24.") and each.endswith(".0/24") for each in networks)


def test_the_network_of_a_cloud_that_is_gone_is_free(tmp_path: Path, taken: Path) -> None:
    first, network = made(tmp_path, "first")
    second, other = made(tmp_path, "second")
    assert other != network
    external_networks.release(first)
    assert made(tmp_path, "third")[1] == network
    second.rmdir()  # somebody removed its folder by hand
    assert made(tmp_path, "fourth")[1] == other
    for name in ("third", "fourth"):
        external_networks.release(tmp_path / name)
    assert not taken.exists()


def test_a_cloud_that_cannot_start_takes_nothing(tmp_path: Path, taken: Path) -> None:
    with pytest.raises(RuntimeError), external_networks.claim(tmp_path):
        raise RuntimeError("something is missing on this machine")
    assert not taken.exists()


def test_a_cloud_keeps_the_network_that_it_has(tmp_path: Path, taken: Path) -> None:
    """One that was made before such notes were taken, or whose settings name the network."""
    old = tmp_path / "old"
    old.mkdir()
    external_networks.keep(old, "172.24.0.0/21")
    assert made(tmp_path, "new")[1] == "172.24.8.0/24"
    external_networks.keep(tmp_path / "new", "172.24.0.0/21")  # it is the other's
    external_networks.release(tmp_path / "new")
    assert made(tmp_path, "newer")[1] == "172.24.8.0/24"


def test_a_cloud_that_lost_its_settings_takes_no_second_network(tmp_path: Path) -> None:
    state_dir, network = made(tmp_path, "one")
    with external_networks.claim(state_dir) as again:
        assert again == network
    assert made(tmp_path, "two")[1] != network


def test_a_lock_that_somebody_holds_for_long_is_passed_by(
    tmp_path: Path, taken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_networks, "_PATIENCE_SECONDS", 0.1)
    folder = os.open(taken.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    assert made(tmp_path, "one")[1].startswith("172.24.")
    os.close(folder)


def test_a_machine_without_the_folder_has_clouds_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_networks, "TAKEN", tmp_path / "none" / "taken")
    state_dir, network = made(tmp_path, "one")
    assert network.startswith("172.24.")
    external_networks.release(state_dir)
