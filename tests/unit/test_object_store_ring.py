"""The ring: placement by properties, lookup, files, and the growing of the partition power."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nubelet.object_store.ring import (
    Device,
    DeviceSyntaxError,
    Ring,
    RingBuilder,
    RingError,
    RingFileError,
    hash_path,
    partition_of,
)
from nubelet.object_store.ring.devices import parse_device, parse_search
from nubelet.object_store.ring.relinker import Relinker


def _builder(
    zones: int = 3,
    servers: int = 1,
    disks: int = 2,
    *,
    power: int = 8,
    replicas: float = 3,
    hours: int = 1,
) -> RingBuilder:
    builder = RingBuilder(power, replicas, hours)
    for zone in range(1, zones + 1):
        for server in range(servers):
            for disk in range(disks):
                _add(builder, zone, server, disk)
    return builder


def _add(
    builder: RingBuilder, zone: int, server: int, disk: int, weight: float = 100, region: int = 1
) -> Device:
    return builder.add(
        region=region,
        zone=zone,
        ip=f"10.{region}.{zone}.{server}",
        port=6200,
        device=f"sd{disk}",
        weight=weight,
    )


def _assignments(builder: RingBuilder) -> list[list[int]]:
    ring = builder.ring()
    return [[device.id for device in ring.nodes(part)] for part in range(ring.partitions)]


@st.composite
def _shapes(draw: st.DrawFn) -> RingBuilder:
    """A ring of any shape: regions, zones, servers, disks, weights, replicas, overload."""
    replicas = draw(st.sampled_from([1, 2, 2.5, 3, 3.25, 4]))
    builder = RingBuilder(draw(st.integers(5, 7)), replicas, 0)
    for region in range(draw(st.integers(1, 2))):
        for zone in range(draw(st.integers(1, 3))):
            for server in range(draw(st.integers(1, 2))):
                for disk in range(draw(st.integers(1, 3))):
                    weight = draw(st.sampled_from([1, 1, 1, 2, 3, 0.5]))
                    _add(builder, zone, server, disk, weight, region)
    while len(builder.devices) < math.ceil(replicas):
        _add(builder, 9, len(builder.devices), 0, 1)
    builder.set_overload(draw(st.sampled_from([0, 0.1, 10])))
    return builder


@settings(max_examples=60, deadline=None)
@given(_shapes(), st.integers(0, 3))
def test_each_replica_is_on_a_device_of_its_own_near_its_share(
    builder: RingBuilder, seed: int
) -> None:
    builder.rebalance(seed=seed)
    builder.validate()
    if builder.overload == 0:
        held, wanted = builder.held(), builder.wanted()
        for number, share in wanted.items():
            assert abs(held[number] - share) <= 4, (number, held, wanted)


@settings(max_examples=60, deadline=None)
@given(_shapes())
def test_replicas_lie_in_distinct_domains_as_far_as_there_are_some(builder: RingBuilder) -> None:
    builder.set_overload(1000)
    builder.rebalance(seed=1)
    assert builder.dispersion().percent == 0
    ring = builder.ring()
    for part in range(ring.partitions):
        nodes = ring.nodes(part)
        for level in range(4):
            there_are = len({device.tiers[level] for device in builder.devices})
            used = len({device.tiers[level] for device in nodes})
            if level == 0 or (len({d.tiers[0] for d in builder.devices}) == 1 and level == 1):
                assert used == min(there_are, len(nodes))


@settings(max_examples=40, deadline=None)
@given(_shapes())
def test_a_balanced_ring_stays_as_it_is(builder: RingBuilder) -> None:
    builder.rebalance(seed=1)
    builder.rebalance(seed=2)
    before = _assignments(builder)
    assert builder.rebalance(seed=3).moved <= 2
    assert sum(a != b for a, b in zip(before, _assignments(builder), strict=True)) <= 2


@pytest.mark.parametrize("weight", [50, 100, 400])
def test_a_new_device_takes_its_share_and_nothing_else_moves(weight: float) -> None:
    builder = _builder(zones=3, servers=2, disks=3, power=10)
    builder.rebalance(seed=1, now=0)
    before = _assignments(builder)
    new = _add(builder, 2, 0, 7, weight)
    builder.set_overload(0)
    moved = 0
    for hour in range(1, 6):
        moved += builder.rebalance(seed=1, now=hour * 3600).moved
    share = builder.wanted()[new.id]
    after = _assignments(builder)
    assert moved <= share * 1.1 + 2
    gone = Counter(n for a, b in zip(before, after, strict=True) for n in set(b) - set(a))
    assert gone[new.id] >= 0.9 * moved
    assert abs(builder.held()[new.id] - share) <= 2


def test_a_removed_device_loses_all_and_only_what_it_held_moves() -> None:
    builder = _builder(zones=3, servers=2, disks=2, power=9)
    builder.rebalance(seed=1, now=0)
    held = builder.held()[5]
    builder.remove(5)
    done = builder.rebalance(seed=1, now=60)  # min_part_hours does not keep what is lost
    assert held <= done.moved <= held * 1.05 + 2
    assert 5 not in {number for row in _assignments(builder) for number in row}


def test_a_partition_moves_one_replica_and_then_stays_for_min_part_hours() -> None:
    builder = _builder(zones=4, servers=1, disks=1, power=8, hours=3)
    builder.rebalance(seed=1, now=0)
    before = _assignments(builder)
    for disk in range(4):
        _add(builder, disk + 1, 1, 0, weight=300)
    assert builder.rebalance(seed=1, now=2 * 3600).waiting == 256
    assert _assignments(builder) == before
    builder.rebalance(seed=1, now=3 * 3600)
    after = _assignments(builder)
    for one, other in zip(before, after, strict=True):
        assert len(set(other) - set(one)) <= 1


def test_weight_zero_drains_a_device() -> None:
    builder = _builder(zones=3, servers=1, disks=2, hours=0)
    builder.rebalance(seed=1)
    builder.set_weight(0, 0)
    for _ in range(3):
        builder.rebalance(seed=1)
    assert builder.held()[0] == 0


def test_more_replicas_are_placed_and_fewer_are_dropped() -> None:
    builder = _builder(zones=4, disks=2, replicas=2, hours=0)
    builder.rebalance(seed=1)
    builder.set_replicas(3.5)
    builder.rebalance(seed=1)
    sizes = Counter(len(row) for row in _assignments(builder))
    assert sizes == {4: 128, 3: 128}
    builder.set_replicas(1)
    builder.rebalance(seed=1)
    assert Counter(len(row) for row in _assignments(builder)) == {1: 256}


def test_overload_buys_dispersion() -> None:
    builder = RingBuilder(8, 3, 0)
    for zone, disks in ((1, 4), (2, 4), (3, 2)):
        for disk in range(disks):
            _add(builder, zone, 0, disk)
    builder.rebalance(seed=1)
    report = builder.dispersion()
    assert report.percent > 5
    assert report.required_overload == pytest.approx(2 / 3, rel=0.01)
    builder.set_overload(0.7)
    for _ in range(3):
        builder.rebalance(seed=1)
    assert builder.dispersion().percent == 0
    assert builder.balance() == pytest.approx(66.7, abs=1)


def test_handoffs_come_from_unused_zones_first_and_name_every_device_once() -> None:
    builder = _builder(zones=5, servers=2, disks=2, power=8)
    builder.rebalance(seed=1)
    ring = builder.ring()
    for part in range(0, 256, 7):
        primary = ring.nodes(part)
        handoffs = list(ring.handoffs(part))
        assert len(primary + handoffs) == len({d.id for d in primary + handoffs}) == 20
        assert {d.zone for d in handoffs[:2]} | {d.zone for d in primary} == {1, 2, 3, 4, 5}
        servers = {d.ip for d in primary + handoffs[:7]}
        assert len(servers) == 10
    first = Counter(next(ring.handoffs(part)).id for part in range(256))
    assert max(first.values()) < 256 / 4  # the work of a dead device is spread


def test_names_are_hashed_as_swift_hashes_them() -> None:
    expected = hashlib.md5("pre/AUTH_test/c/ö/x".encode() + b"suf").hexdigest()
    assert hash_path("AUTH_test", "c", "ö/x", prefix=b"pre", suffix=b"suf") == expected
    assert hash_path("a") == hashlib.md5(b"/a").hexdigest()
    assert hash_path("a", "c") == hashlib.md5(b"/a/c").hexdigest()
    assert partition_of("ff" + "0" * 30, 8) == 255
    assert partition_of("80" + "0" * 30, 1) == 1


def test_a_ring_comes_back_from_its_file(tmp_path: Path) -> None:
    builder = _builder(replicas=2.5)
    builder.rebalance(seed=1)
    ring = builder.ring()
    ring.save(tmp_path / "object.ring")
    again = Ring.load(tmp_path / "object.ring")
    assert [again.nodes(p) for p in range(256)] == [ring.nodes(p) for p in range(256)]
    assert again.version == builder.version
    assert again.lookup("a", "c", "o") == ring.lookup("a", "c", "o")
    builder.save(tmp_path / "object.builder")
    loaded = RingBuilder.load(tmp_path / "object.builder")
    assert _assignments(loaded) == _assignments(builder)
    assert loaded.rebalance(seed=1).moved == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["object.builder", "object.ring"]


@pytest.mark.parametrize("place", [0, 9, 30, 300, -1])
def test_a_damaged_file_is_refused(tmp_path: Path, place: int) -> None:
    builder = _builder()
    builder.rebalance(seed=1)
    path = tmp_path / "object.ring"
    builder.ring().save(path)
    content = bytearray(path.read_bytes())
    content[place] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(RingFileError, match="object.ring"):
        Ring.load(path)


def test_a_file_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "object.ring"
    path.write_bytes(b"NBRING\0\0\0\1")
    with pytest.raises(RingFileError):
        Ring.load(path)
    with pytest.raises(RingFileError, match="No such file"):
        Ring.load(tmp_path / "none")


def test_what_cannot_be_is_refused_with_its_cause() -> None:
    with pytest.raises(RingError, match="between 0 and 32"):
        RingBuilder(33, 3, 1)
    builder = _builder(zones=1, disks=2)
    with pytest.raises(RingError, match="need as many devices with a weight: there are 2"):
        builder.rebalance()
    with pytest.raises(RingError, match="in the ring already"):
        _add(builder, 1, 0, 0)
    with pytest.raises(RingError, match="no device d77"):
        builder.remove(77)
    with pytest.raises(DeviceSyntaxError, match="weight"):
        builder.set_weight(0, -1)
    with pytest.raises(DeviceSyntaxError, match="name of a device"):
        builder.set_info(0, device="../etc")


def test_devices_are_written_as_operators_write_them() -> None:
    assert parse_device("r2z3-10.0.0.1:6200R10.1.0.1:6201/sdb_ssd") == {
        "region": 2,
        "zone": 3,
        "ip": "10.0.0.1",
        "port": 6200,
        "replication_ip": "10.1.0.1",
        "replication_port": 6201,
        "device": "sdb",
        "meta": "ssd",
    }
    assert parse_device("z1-[fe80::1]:6200/sda")["ip"] == "fe80::1"
    assert parse_search("d12") == {"id": 12}
    assert parse_search("/sdb") == {"device": "sdb"}
    assert parse_search("z2") == {"zone": 2}
    with pytest.raises(DeviceSyntaxError, match="zone"):
        parse_device("10.0.0.1:6200/sdb")


def test_the_partition_power_grows_while_objects_stay_findable(tmp_path: Path) -> None:
    builder = _builder(power=3, hours=0)
    builder.rebalance(seed=1)
    objects = tmp_path / "objects"
    names = [f"o{number}" for number in range(60)]

    def folder(ring: Ring, name: str, power: int) -> Path:
        hashed = ring.hash("a", "c", name)
        return objects / str(partition_of(hashed, power)) / hashed[-3:] / hashed

    before = builder.ring()
    for name in names:
        path = folder(before, name, 3)
        path.mkdir(parents=True)
        (path / "1.data").write_text(name)
    builder.prepare_increase_partition_power()
    with pytest.raises(RingError, match="being raised"):
        builder.rebalance()
    prepared = builder.ring()
    assert Relinker(prepared).relink(objects).errors == 0
    assert Relinker(prepared).relink(objects).errors == 0  # again is harmless
    for name in names:
        assert (folder(before, name, 3) / "1.data").read_text() == name
        assert (folder(before, name, 4) / "1.data").read_text() == name
    builder.increase_partition_power()
    grown = builder.ring()
    assert grown.partitions == 16
    for name in names:  # nothing moves to another device
        assert grown.lookup("a", "c", name)[1] == before.lookup("a", "c", name)[1]
    assert Relinker(grown).cleanup(objects).errors == 0
    builder.finish_increase_partition_power()
    for name in names:
        path = folder(grown, name, 4)
        assert (path / "1.data").read_text() == name
        assert (path / "1.data").stat().st_nlink == 1
    assert builder.rebalance(seed=1).moved == 0
    with pytest.raises(ValueError, match="not being raised"):
        Relinker(builder.ring())
