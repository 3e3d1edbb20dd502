"""A demonstration for docs/tour/02: an operation whose process is killed in the middle, twice.

    python docs/tour/crash_demo.py

A child process runs a baker's operation of four slow steps. We kill -9 it in the second step and
again in the third; each next process takes the operation over where it stood. Then an order that
must fail is unwound. What you see is what the journal holds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nubelet.kernel.bus import InProcessBus
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Database, metadata
from nubelet.kernel.operations import journal
from nubelet.kernel.operations.run import Run
from nubelet.kernel.operations.runner import Runner
from nubelet.kernel.operations.steps import Operation, Step


def _work(run: Run, what: str) -> None:
    """Write to the worktop (a file, our 'host'), slowly; doing it twice changes nothing."""
    worktop = Path(run.inputs["worktop"])
    done = worktop.read_text().splitlines()
    print(f"    [{os.getpid()}] {what} ...", flush=True)
    time.sleep(1.0)
    if what not in done:
        worktop.write_text("\n".join([*done, what]) + "\n")


def _take_away(run: Run, what: str) -> None:
    worktop = Path(run.inputs["worktop"])
    kept = [line for line in worktop.read_text().splitlines() if line != what]
    worktop.write_text("".join(line + "\n" for line in kept))
    print(f"    [{os.getpid()}] undo: {what}", flush=True)


def _bake(run: Run) -> None:
    if run.inputs["oven_is_broken"]:
        raise RuntimeError("the oven does not get hot")
    _work(run, "bake")


BAKE = Operation(
    kind="demo_bake",
    title="Bake a loaf",
    deadline_seconds=60,
    steps=(
        Step("mix", lambda run: _work(run, "mix"), lambda run: _take_away(run, "mix")),
        Step("knead", lambda run: _work(run, "knead"), lambda run: _take_away(run, "knead")),
        Step("bake", _bake, lambda run: _take_away(run, "bake")),
        Step("sell", lambda run: _work(run, "sell"), lambda run: _take_away(run, "sell")),
    ),
)


def _cloud(folder: Path) -> Cloud:
    database = Database(f"sqlite:///{folder}/demo.sqlite")
    metadata.create_all(database.engine)
    return Cloud(None, database, InProcessBus(), ())  # type: ignore[arg-type]


def worker(folder: Path) -> None:
    """The child: run what is in the journal until nothing is left."""
    runner = Runner(_cloud(folder), [BAKE], workers=1)
    runner.start()
    runner.run_until_idle(60)
    runner.stop()


def main() -> None:
    """Start orders, kill workers, show the journal."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cloud = _cloud(folder)
        for broken in (False, True):
            worktop = folder / f"worktop-{broken}"
            worktop.write_text("")
            with cloud.database.write() as tx:
                operation = journal.start(
                    tx,
                    BAKE,
                    project_id="demo",
                    subject_type="loaf",
                    subject_id=f"loaf-{broken}",
                    inputs={"worktop": str(worktop), "oven_is_broken": broken},
                )
            print(f"\nAn order whose oven is {'broken' if broken else 'fine'}: {operation}")
            for lives in (1.6, 1.6, None) if not broken else (None,):
                _run_worker(folder, lives)
            _show(cloud, operation, worktop)


def _run_worker(folder: Path, lives_seconds: float | None) -> None:
    child = subprocess.Popen([sys.executable, __file__, "--worker", str(folder)])
    if lives_seconds is None:
        child.wait()
        return
    time.sleep(lives_seconds)
    print(f"    kill -9 {child.pid}", flush=True)
    child.send_signal(signal.SIGKILL)
    child.wait()


def _show(cloud: Cloud, operation: str, worktop: Path) -> None:
    with cloud.database.read() as tx:
        record = journal.find(tx, operation_id=operation)[0]
        steps = journal.steps_of(tx, [operation])
    print(f"  the journal: {record.state}, attempt {record.attempt}, {record.error or 'no error'}")
    for step in steps:
        print(f"    {step.direction:<5} {step.name:<6} attempt {step.attempt} {step.state}")
    print(f"  the worktop: {worktop.read_text().split() or 'empty: nothing was left behind'}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(Path(sys.argv[2]))
    else:
        main()
