"""Run Tempest's lists against a cloud made for it: `python -m tests.conformance.run identity`.

Prints passed / listed per service. `--report FILE` writes docs/reference/conformance.md;
`--require` fails when a test of the finished resources (lists minus not-yet.tsv) does not pass.
`keystone_plugin` is keystone_tempest_plugin's whole list, its personas with scopes enforced: 1980
short tests, three minutes on one core, so CI runs all of them.

The plain cloud, whose lists are long, and the other ones, one after the other, live beside each
other: tests of real guests mostly wait.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conformance import results
from tests.conformance.configurations import CONFIGURATIONS
from tests.conformance.tempest_cloud import TempestCloud

HERE = Path(__file__).parent
SERVICES = (
    "identity",
    "keystone_plugin",
    "image",
    "glance_plugin",
    "network",
    "object_store",
    "interop_storage",
    "compute",
    "guests",
    "scenario",
)
# Lists whose tests log in to guests: they run against real ones. `guests` are the tests of
# `compute` that do, and count there too.
REAL = ("guests", "scenario")
# Lists whose tests mostly sleep, as Tempest asks once a second what became of a server: twice as
# many at once.
SLEEPY = ("compute",)
# Which cloud a test runs in: whether its guests are real, and its configuration.
Where = tuple[bool, str]
PLAIN: Where = (False, "")


def main() -> int:
    """Run, print, report."""
    options = _options()
    missing = results.read_missing(HERE / "lists" / "not-yet.tsv")
    special = results.read_missing(HERE / "lists" / "configurations.tsv")
    listed = {name: _listed(name, options.only) for name in options.services}
    plan: dict[Where, dict[str, list[str]]] = {}
    for name, tests in listed.items():
        for test in tests:
            if not _excused(name, test, missing):
                configuration = _configuration(name, test, special)
                where = (name in REAL or CONFIGURATIONS[configuration].real, configuration)
                plan.setdefault(where, {}).setdefault(name, []).append(test)
    found: dict[str, dict[str, str]] = {name: {} for name in listed}
    ending = threading.Event()

    def run_clouds(places: Iterable[Where]) -> None:
        for real, configuration in places:
            if ending.is_set():
                return
            with tempfile.TemporaryDirectory(prefix="nubelet-test-conformance-") as folder:
                cloud = TempestCloud(Path(folder), real=real, configuration=configuration)
                try:
                    cloud.start()
                    for name, tests in plan[real, configuration].items():
                        if not ending.is_set():
                            found[name].update(_run(cloud, name, configuration, tests, options))
                finally:
                    cloud.stop()

    # Real guests come first: what is left at the end are lists that use both cores.
    others = sorted(plan.keys() - {PLAIN}, reverse=True)
    with ThreadPoolExecutor() as pool:
        try:
            lanes = (plan.keys() & {PLAIN}, others)
            for lane in [pool.submit(run_clouds, places) for places in lanes]:
                lane.result()
        finally:
            ending.set()
    figures = [results.figure(name, tests, found[name]) for name, tests in listed.items()]
    for figure in figures:
        print(figure.line(), flush=True)
    unexpected = [
        test
        for figure in figures
        for test in figure.not_passed
        if not _excused(figure.name, test, missing)
    ]
    for test in unexpected:
        print(f"NOT PASSED  {results.short(test)}")
    if options.report:
        _report(options.report, figures, missing)
    passed = sum(figure.passed for figure in figures)
    print(f"{passed} passed, {len(unexpected)} failed")
    return 1 if unexpected and options.require else 0


def _listed(name: str, only: str | None) -> list[str]:
    tests = results.read_list(HERE / "lists" / f"{name}.txt")
    return [test for test in tests if only in test] if only else tests


def _configuration(name: str, test: str, special: list) -> str:  # type: ignore[type-arg]
    """The one that a test runs in."""
    return next(
        (
            configuration
            for service, pattern, configuration in special
            if service == name and pattern.search(results.short(test))
        ),
        "",
    )


def _run(
    cloud: TempestCloud,
    name: str,
    configuration: str,
    tests: list[str],
    options: argparse.Namespace,
) -> dict[str, str]:
    """What became of these tests of a list."""
    title = f"{name}-{configuration}" if configuration else name
    load_list = cloud.folder / f"{title}.txt"
    samples = [sample.name for sample in cloud.samples]
    ids = [f"{test}({sample})" for test in tests for sample in samples] if samples else tests
    load_list.write_text("\n".join(ids) + "\n")
    started = time.monotonic()
    bin_dir = Path(options.venv).absolute() / "bin"
    _workspace(cloud.workspace, bin_dir)
    with (options.log / f"tempest-{title}.log").open("wb") as log:
        subprocess.run(
            [
                bin_dir / "tempest",
                "run",
                "--config-file",
                cloud.config,
                "--concurrency",
                str(_concurrency(name, options.concurrency)),
                "--load-list",
                load_list,
            ],
            cwd=cloud.workspace,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
            env=os.environ
            | {
                "TEMPEST_CONFIG_DIR": str(cloud.workspace / "etc"),
                "PATH": f"{bin_dir.absolute()}:{os.environ['PATH']}",
                "PYTHON": str(bin_dir.absolute() / "python"),  # make's is that of the system
                "OS_TEST_TIMEOUT": "600",
            },
        )
    print(f"{title}: {time.monotonic() - started:.0f} s", flush=True)
    return results.outcomes(cloud.workspace, bin_dir.absolute() / "stestr")


def _concurrency(name: str, usual: int) -> int:
    """How many tests of a list run at once."""
    if name in REAL:
        return 1
    return 2 * usual if name in SLEEPY else usual


def _workspace(workspace: Path, bin_dir: Path) -> None:
    """What stestr needs: where the tests are, and a repository for results."""
    if (workspace / ".stestr.conf").exists():
        return
    found = subprocess.run(
        [bin_dir / "python", "-c", "import tempest, os; print(os.path.dirname(tempest.__file__))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (workspace / "locks").mkdir(parents=True, exist_ok=True)
    (workspace / ".stestr.conf").write_text(
        f"[DEFAULT]\ntest_path={found}/test_discover\ntop_dir={Path(found).parent}\n"
        "group_regex=([^\\.]*\\.)*\n"
    )
    subprocess.run([bin_dir.absolute() / "stestr", "init"], cwd=workspace, check=True)


def _excused(name: str, test: str, missing: list) -> bool:  # type: ignore[type-arg]
    return any(
        service == name and pattern.search(results.short(test)) for service, pattern, _ in missing
    )


def _report(path: Path, figures: list[results.Figure], missing: list) -> None:  # type: ignore
    lines = [
        "# Conformance",
        "",
        "Made by `make conformance`; do not edit. Tempest 47.0.0, "
        f"{datetime.date.today().isoformat()}. Passed / listed, never passed / ran.",
        "",
        "| list | passed | listed | failed | skipped | not run |",
        "|---|---|---|---|---|---|",
    ]
    for figure in figures:
        kinds = list(figure.not_passed.values())
        lines.append(
            f"| {figure.name} | {figure.passed} | {figure.listed} | "
            + " | ".join(str(kinds.count(kind)) for kind in ("failed", "skipped", "not run"))
            + " |"
        )
    for figure in figures:
        lines += ["", f"## {figure.name}: not passed", ""]
        for test, kind in sorted(figure.not_passed.items()):
            reason = next(
                (
                    reason
                    for service, pattern, reason in missing
                    if service == figure.name and pattern.search(results.short(test))
                ),
                kind,
            )
            lines.append(f"- `{results.short(test)}`: {reason}")
    path.write_text("\n".join(lines) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("services", nargs="*", default=list(SERVICES), help=", ".join(SERVICES))
    parser.add_argument(
        "--venv",
        default=str(Path(sys.executable).parent.parent),
        help="virtual environment that holds Tempest",
    )
    parser.add_argument("--concurrency", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--only", help="only tests with this text in their name")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--require", action="store_true")
    parser.add_argument("--log", type=Path, default=Path(tempfile.gettempdir()))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
