"""How long a lookup in a ring takes, and a rebalance: `python -m benchmarks ring`.

The promise: a name becomes a list of devices in about 2 microseconds.
"""

from __future__ import annotations

import time
import timeit

from nubelet.object_store.ring import RingBuilder

_LOOKUPS = 100_000


def main() -> None:
    """Print the figures for a ring of 240 devices, 2^18 partitions, three replicas."""
    builder = RingBuilder(18, 3, 1)
    for zone in range(5):
        for server in range(4):
            for disk in range(12):
                builder.add(
                    region=1,
                    zone=zone,
                    ip=f"10.0.{zone}.{server}",
                    port=6200,
                    device=f"sd{disk}",
                    weight=100,
                )
    began = time.process_time()
    builder.rebalance(seed=1)
    print(f"first rebalance: {time.process_time() - began:.1f} s of CPU")
    builder.add(region=1, zone=0, ip="10.0.0.9", port=6200, device="sda", weight=100)
    builder.pretend_min_part_hours_passed()
    began = time.process_time()
    moved = builder.rebalance(seed=1).moved
    least = builder.partitions * 3 / 241
    print(
        f"one device more: {time.process_time() - began:.1f} s of CPU, {moved} replicas moved,"
        f" {moved / least:.3f} of the least possible"
    )
    ring = builder.ring()

    def lookup() -> object:
        return ring.lookup("AUTH_account", "container", "object-000001")

    best = min(timeit.repeat(lookup, number=_LOOKUPS, repeat=7)) / _LOOKUPS
    print(f"lookup: {best * 1e6:.2f} us")
    started = time.process_time()
    for part in range(1000):
        next(ring.handoffs(part))
    print(f"first handoff: {(time.process_time() - started) * 1e3:.1f} us")
