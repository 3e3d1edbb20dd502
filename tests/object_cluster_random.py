"""Random operations on a cluster while nodes die, stand still and lose data, against a model.

`python -m tests.object_cluster_random --operations 10000 [--seed N]`: a long run; a failure
prints its seed and steps, and the seed goes to SEEDS in test_object_cluster_random.py, which
repeats it for ever.

The model knows of each name the states that it may be in: one after an acknowledged write; more
after one that was refused, since some replicas may have taken it.
"""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from nubelet.kernel.errors import ServiceUnavailable
from nubelet.object_store.storage import Listing, Missing, ObjectPath, timestamps
from tests.object_cluster import HASTY, NodeProcess, ObjectCluster, eventually

ACCOUNT = "AUTH_random"
STEPS = 50
WHOLE_SECONDS = 90.0
# None: not there; else its bytes and the colour that its metadata names.
State = tuple[bytes, str] | None
_names = st.sampled_from([f"o{number}" for number in range(8)])
_sizes = st.sampled_from([0, 1, 3000, 60_000, 300_000])


class Machine(RuleBasedStateMachine):
    """One container of a cluster that all runs share."""

    cluster: ClassVar[ObjectCluster]
    _containers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.container = f"c{next(self._containers)}"
        self.may_be: dict[str, set[State]] = {}
        self.ever: dict[str, set[State]] = {}
        self.down: list[NodeProcess] = []
        self.still: list[NodeProcess] = []

    @initialize()
    def begin(self) -> None:
        self.cluster.storage.put_account(ACCOUNT, timestamps.now(), {})
        self.cluster.storage.put_container(ACCOUNT, self.container, timestamps.now(), {})

    # --- What users do ------------------------------------------------------------------------

    @rule(name=_names, size=_sizes, salt=st.integers(0, 255), colour=st.sampled_from(["", "red"]))
    def put(self, name: str, size: int, salt: int, colour: str) -> None:
        data = random.Random(salt).randbytes(size)
        metadata = {"content-type": "a/b", "x-object-meta-colour": colour}

        def write() -> None:
            self.cluster.storage.put_object(self._path(name), 0, timestamps.now(), metadata, [data])

        self._write(name, (data, colour), write)

    @rule(name=_names)
    def delete(self, name: str) -> None:
        states = self.may_be.get(name, {None})

        def write() -> None:
            try:
                self.cluster.storage.delete_object(self._path(name), 0, timestamps.now())
            except Missing:
                assert None in states, f"{name} was lost"

        self._write(name, None, write)

    @rule(name=_names, colour=st.sampled_from(["green", "blue"]))
    def post(self, name: str, colour: str) -> None:
        states = self.may_be.get(name, {None})
        if len(states) != 1 or None in states:
            return
        ((data, _),) = states  # type: ignore[misc]

        def write() -> None:
            try:
                self.cluster.storage.post_object(
                    self._path(name), 0, timestamps.now(), {"x-object-meta-colour": colour}
                )
            except Missing:  # by most of the devices, while those that have it are away
                raise ServiceUnavailable from None

        self._write(name, (data, colour), write)

    @rule(name=_names)
    def read_newest(self, name: str) -> None:
        try:
            state = self._read(name, newest=True)
        except ServiceUnavailable:
            assert len(self.down) + len(self.still) > 1, "one node of five stopped a read"
            return
        assert state in self.may_be.get(name, {None}), f"{name} is not as it was left"

    @rule(name=_names)
    def read(self, name: str) -> None:
        try:
            state = self._read(name, newest=False)
        except ServiceUnavailable:
            return
        # An older state may show until the replicas are whole; what was never there may not.
        assert state in self.ever.get(name, set()) | {None}

    @rule()
    def list(self) -> None:
        entries = self.cluster.storage.list_objects(ACCOUNT, self.container, Listing())
        assert {entry.name for entry in entries} <= set(self.ever)

    # --- What happens to them -----------------------------------------------------------------

    @precondition(lambda self: len(self.down) + len(self.still) < 2)
    @rule(number=st.integers(0, 4))
    def kill(self, number: int) -> None:
        node = self.cluster.nodes[number]
        if node not in self.down + self.still:
            node.kill()
            self.down.append(node)

    @precondition(lambda self: not self.still and not self.down)
    @rule(number=st.integers(0, 4))
    def stand_still(self, number: int) -> None:
        node = self.cluster.nodes[number]
        node.pause()
        self.still.append(node)

    @precondition(lambda self: self.down or self.still)
    @rule()
    def come_back(self) -> None:
        if self.still:
            self.still.pop().resume()
            return
        node = self.down.pop()
        node.start()
        self.cluster.wait_until_up([node])

    @precondition(lambda self: not self.down and not self.still)
    @rule(name=_names, flip=st.booleans())
    def damage(self, name: str, flip: bool) -> None:
        """Of an object with all its replicas, one is lost or damaged."""
        # Those where it belongs: from another device that has it, too, it is about to go.
        folders = self.cluster.primaries(*self._path(name))
        states = self.may_be.get(name, {None})
        if not {*folders} <= {*self.cluster.holders(*self._path(name))} or len(states) > 1:
            return
        files = [sorted(path.name for path in folder.iterdir()) for folder in folders]
        if any(each != files[0] for each in files):
            return
        data = next((file for file in files[0] if file.endswith(".data")), None)
        if data is None:
            return
        path = folders[0] / data
        if not flip:
            self.cluster.lose(folders[0])
        elif 0 < path.stat().st_size <= 60_000:  # longer ones are looked at after they were read
            with path.open("r+b") as file:
                first = file.read(1)
                file.seek(0)
                file.write(bytes([first[0] ^ 1]))

    # --- In the end ---------------------------------------------------------------------------

    def teardown(self) -> None:
        for node in self.still:
            node.resume()
        for node in self.down:
            node.start()
        self.cluster.wait_until_up(self.down)
        eventually(self._assert_whole, WHOLE_SECONDS)

    def _assert_whole(self) -> None:
        there, unsure = set(), set()
        for name, states in self.may_be.items():
            state = self._read(name, newest=True)
            assert state in states, f"{name} is not as it was left"
            holders = set(self.cluster.holders(*self._path(name)))
            if state is not None:
                there.add(name)
                assert holders == set(self.cluster.primaries(*self._path(name)))
                for folder in holders:
                    files = [*folder.glob("*.data")]
                    assert len(files) == 1
                    assert files[0].read_bytes() == state[0]
            if len(states) > 1:
                unsure.add(name)
        for _ in range(4):
            entries = self.cluster.storage.list_objects(ACCOUNT, self.container, Listing())
            listed = {entry.name for entry in entries}
            assert listed - unsure == there - unsure

    # --- Inside -------------------------------------------------------------------------------

    def _path(self, name: str) -> ObjectPath:
        return ObjectPath(ACCOUNT, self.container, name)

    def _write(self, name: str, state: State, write: Callable[[], None]) -> None:
        self.ever.setdefault(name, set()).add(state)
        try:
            write()
        except ServiceUnavailable:
            self.may_be.setdefault(name, {None}).add(state)
        else:
            self.may_be[name] = {state}

    def _read(self, name: str, *, newest: bool) -> State:
        try:
            opened = self.cluster.storage.open_object(self._path(name), 0, newest=newest)
        except Missing:
            return None
        data = b"".join(opened.read())
        return data, opened.metadata.get("x-object-meta-colour", "")


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """A cluster for the machine."""
    cluster = Machine.cluster = ObjectCluster(folder, pass_seconds=1.0, audit_seconds=3.0, **HASTY)
    try:
        cluster.start()
        yield
    finally:
        cluster.stop()


def run(number: int, operations: int) -> None:
    """So many operations, decided by a seed; a cluster is `running`."""
    options = settings(
        max_examples=max(1, operations // STEPS),
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate,),  # what depends on time does not get simpler by repetition
        suppress_health_check=list(HealthCheck),
    )
    run_machine(seed(number)(Machine), settings=options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}, {chosen.operations} operations", flush=True)
    with tempfile.TemporaryDirectory() as place, running(Path(place)):
        run(chosen.seed, chosen.operations)
