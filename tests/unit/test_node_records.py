"""Records of the fake drivers: what was kept is found again, whatever was cut off."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from nubelet.node.records import Records


class Thing(msgspec.Struct, frozen=True):
    size: int
    text: str = ""


def test_the_newest_state_is_found_again_however_often_it_changed(tmp_path: Path) -> None:
    records = Records(tmp_path, Thing)
    for size in range(100):
        records.put("a", Thing(size))
    records.put("b", Thing(1))
    records.put("gone", Thing(2))
    assert records.drop("gone")
    again = Records(tmp_path, Thing)
    assert (again.keys(), again.get("a"), again.get("b")) == (("a", "b"), Thing(99), Thing(1))
    assert len((tmp_path / "a.json").read_bytes().splitlines()) <= 32


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_write_that_was_cut_off_leaves_the_state_before_it(tmp_path: Path, cut: int) -> None:
    records = Records(tmp_path, Thing)
    records.put("a", Thing(1))
    records.put("a", Thing(2, "as long as it takes to cut it"))
    path = tmp_path / "a.json"
    path.write_bytes(path.read_bytes()[:-cut])
    again = Records(tmp_path, Thing)
    assert again.get("a") == Thing(1)
    again.put("a", Thing(3))
    assert Records(tmp_path, Thing).get("a") == Thing(3)


def test_a_first_write_that_was_cut_off_leaves_nothing(tmp_path: Path) -> None:
    for content in (b"", b'{"si'):
        (tmp_path / "a.json").write_bytes(content)
        assert Records(tmp_path, Thing).keys() == ()
        assert not (tmp_path / "a.json").exists()
