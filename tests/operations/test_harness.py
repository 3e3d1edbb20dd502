"""The harness itself: it passes what is right and finds each kind of wrong."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Any

import pytest

import nubelet
from nubelet.kernel.operations import Operation, Run
from nubelet.kernel.operations.ledger import Ledger
from tests import databases
from tests.operations import demo, harness
from tests.operations.harness import Case, Scenario

SCENARIOS = [Scenario("demo", demo.DEMO, demo.DemoWorld)]


@pytest.mark.parametrize("case", harness.cases(*SCENARIOS), ids=str)
def test_a_right_operation_survives_everything(case: Case, tmp_path: Path) -> None:
    case.run(tmp_path)


@pytest.mark.parametrize("case", harness.cases(*SCENARIOS), ids=str)
def test_it_does_so_on_postgresql(case: Case, tmp_path: Path) -> None:
    from tests import postgresql

    url = databases.postgresql_url()
    scenario = Scenario("demo", demo.DEMO, lambda folder: demo.DemoWorld(folder, url=url))
    try:
        Case(scenario, case.fault, case.step).run(tmp_path)
    finally:
        postgresql.drop_database(url)


def forget(run: Run) -> None:
    """An undo that does nothing."""


def insert_again(run: Run) -> dict[str, Any]:
    """A do that cannot be repeated."""
    with run.cloud.database.write() as tx:
        tx.insert(demo.claim, machine_id=run.subject_id)
    return {"host": "demo"}


WRONG: list[tuple[str, str, str, Operation, bool, str]] = [
    (
        "an undo does nothing",
        "fail_after",
        "make_disk",
        demo.spoiled("make_disk", undo=forget),
        True,
        "left behind: .*disk m1",
    ),
    (
        "an undo does nothing, and the next step fails",
        "fail_before",
        "start_guest",
        demo.spoiled("make_disk", undo=forget),
        True,
        "left behind: .*disk m1",
    ),
    (
        "a do cannot be repeated",
        "repeat",
        "choose_host",
        demo.spoiled("choose_host", do=insert_again),
        True,
        "failed: .*UNIQUE",
    ),
    (
        "a do cannot be repeated after a crash",
        "kill_after",
        "choose_host",
        demo.spoiled("choose_host", do=insert_again),
        True,
        "failed: .*UNIQUE",
    ),
    (
        "the failed step itself is not undone",
        "fail_after",
        "start_guest",
        demo.spoiled("start_guest", undo=None, why_no_undo="forgotten"),
        True,
        "left behind: .*guest m1",
    ),
    (
        "the failure is not told",
        "fail_after",
        "make_disk",
        dataclasses.replace(demo.DEMO, on_failed=None),
        True,
        "the machine is .*BUILD",
    ),
    (
        "the node does not fence",
        "stale_worker",
        "make_disk",
        demo.DEMO,
        False,
        "left behind: .*disk m1",
    ),
]


@pytest.mark.parametrize(
    ("why", "fault", "step", "operation", "fenced", "words"),
    WRONG,
    ids=[entry[0] for entry in WRONG],
)
def test_it_finds_what_is_wrong(
    why: str, fault: str, step: str, operation: Operation, fenced: bool, words: str, tmp_path: Path
) -> None:
    scenario = Scenario(
        "wrong", operation, lambda folder: demo.DemoWorld(folder, operation, fenced=fenced)
    )
    with pytest.raises(AssertionError, match=words):
        Case(scenario, fault, step).run(tmp_path)


@pytest.mark.parametrize("step", ["choose_host", "mark_active"])
def test_it_finds_a_database_that_does_not_fence(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "check", lambda *_: None)
    with pytest.raises(AssertionError, match="left behind: .*(a claim|ACTIVE)"):
        Case(SCENARIOS[0], "stale_worker", step).run(tmp_path)


def test_every_operation_has_a_scenario() -> None:
    """An operation of any service without a scenario in this folder fails here, by name."""
    covered = set()
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = sys.modules.get(f"tests.operations.{path.stem}") or importlib.import_module(
            f"tests.operations.{path.stem}"
        )
        covered |= {scenario.operation.kind for scenario in getattr(module, "SCENARIOS", ())}
    missing = []
    for entry in pkgutil.iter_modules(nubelet.__path__):
        if entry.ispkg and entry.name not in ("kernel", "node", "cli"):
            service = getattr(importlib.import_module(f"nubelet.{entry.name}"), "SERVICE", None)
            missing += [
                f"{entry.name}: {one.kind}"
                for one in getattr(service, "operations", ())
                if one.kind not in covered
            ]
    assert not missing, f"write a scenario in tests/operations for: {missing}"


def test_a_shared_world_is_used_again_until_a_case_fails(tmp_path: Path) -> None:
    made: list[demo.DemoWorld] = []

    class Numbered(demo.DemoWorld):
        def begin(self, machine_id: str = "") -> str:
            with self.cloud.database.write() as tx:  # the harness looks at one machine at a time
                tx.delete(demo.machine, demo.machine.c.id != "")
                tx.delete(demo.claim, demo.claim.c.machine_id != "")
            self.node.things.clear()
            return super().begin("m1")

    def make(folder: Path) -> demo.DemoWorld:
        made.append(
            Numbered(
                folder,
                demo.spoiled("make_disk", undo=forget),
                url=databases.sqlite_url(folder / f"{len(made)}.db"),
            )
        )
        return made[-1]

    shared = Scenario("shared", demo.spoiled("make_disk", undo=forget), make, shared=True)
    Case(shared, "nothing", "choose_host").run(tmp_path)
    Case(shared, "repeat", "make_disk").run(tmp_path)
    assert len(made) == 1
    with pytest.raises(AssertionError):
        Case(shared, "fail_after", "make_disk").run(tmp_path)
    Case(shared, "nothing", "choose_host").run(tmp_path)
    assert len(made) == 2
