"""`nubelet ring` as an operator uses it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from nubelet.cli import main

pytestmark = pytest.mark.functional


def _ring(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["ring", *words])
    assert result.exit_code == code, result.output
    return result.output


def _make(folder: Path) -> str:
    path = str(folder / "object.builder")
    _ring("create", path, "6", "3", "0")
    devices = [word for zone in (1, 2, 3) for word in (f"r1z{zone}-10.0.{zone}.1:6200/sdb", "100")]
    _ring("add", path, *devices)
    return path


def test_from_nothing_to_a_ring(tmp_path: Path) -> None:
    path = _make(tmp_path)
    assert "192 of 192 replicas moved (100.00 %)" in _ring("rebalance", path, "--seed", "1")
    assert "valid" in _ring("validate", path)
    ring = _ring("write", path).strip()
    assert ring == str(tmp_path / "object.ring")
    output = _ring("nodes", ring, "AUTH_test", "c", "o")
    assert output.count("primary") == 3
    shown = _ring("show", path)
    assert "64 partitions (2^6), 3 replicas, 3 devices, balance 0.00 %" in shown
    assert "Dispersion 0.00 %" in _ring("dispersion", path, "-v")


def test_changes(tmp_path: Path) -> None:
    path = _make(tmp_path)
    assert "d3r1z1-10.0.1.2:6200/sdc added" in _ring("add", path, "z1-10.0.1.2:6200/sdc", "50")
    assert "d3r1z1-10.0.1.2:6200/sdc" in _ring("search", path, "10.0.1.2")
    _ring("set-weight", path, "d3", "10")
    assert "weight 10 " in _ring("search", path, "/sdc")
    assert "10.0.1.9:6200/sdc" in _ring("set-info", path, "d3", "10.0.1.9")
    _ring("set-overload", path, "10%")
    _ring("rebalance", path)
    assert "removed" in _ring("remove", path, "d3")
    _ring("rebalance", path)
    assert "3 devices" in _ring("show", path)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("add", "FILE", "nowhere", "1"), "zone"),
        (("add", "FILE", "z1-10.0.0.9:6200/sdb"), "WEIGHT"),
        (("remove", "FILE", "d99"), "no device is d99"),
        (("set-weight", "FILE", "d1", "-5"), "Usage"),
        (("validate", "FILE"), "never balanced"),
        (("create", "FILE", "6", "3", "1"), "there already"),
        (("show", "/nonexistent/x.builder"), "No such file"),
        (("increase-partition-power", "FILE", "increase"), "prepare"),
    ],
)
def test_refusals_name_their_cause(tmp_path: Path, words: tuple[str, ...], cause: str) -> None:
    path = _make(tmp_path)
    before = Path(path).read_bytes()
    result = CliRunner().invoke(main, ["ring", *(w.replace("FILE", path) for w in words)])
    assert result.exit_code != 0
    assert cause in result.output
    assert "Traceback" not in result.output
    assert Path(path).read_bytes() == before
