"""Results of a Tempest run: which listed test passed, failed, was skipped, or never ran.

A failed setUpClass hides the rest of its class, so only the list counts: what is listed and has
no success is not passed.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Figure:
    """The outcome of one list."""

    name: str
    listed: int
    passed: int
    not_passed: dict[str, str] = field(default_factory=dict)  # test -> failed, skipped, not run

    def line(self) -> str:
        """`identity  130 / 138`, with what became of the others."""
        kinds = Counter(self.not_passed.values())
        rest = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        return f"{self.name:<12} {self.passed:>4} / {self.listed:<4}" + (
            f"  ({rest})" if rest else ""
        )


_WEIGHTS = {"skip": 0, "success": 1, "fail": 2}


def read_list(path: Path) -> list[str]:
    """The test ids of a load-list."""
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def read_missing(path: Path) -> list[tuple[str, re.Pattern[str], str]]:
    """The rows of not-yet.tsv: service, pattern, what is missing."""
    rows = [line.split("\t") for line in read_list(path)]
    return [(service, re.compile(pattern), reason) for service, pattern, reason in rows]


def short(test: str) -> str:
    """A test id without its tags."""
    return test.partition("[")[0]


def outcomes(workspace: Path, stestr: Path) -> dict[str, str]:
    """Test (without tags) -> success, fail, skip of the last run in a workspace."""
    stream = subprocess.run(
        [stestr, "last", "--subunit"], cwd=workspace, capture_output=True, check=False
    ).stdout
    return parse(stream)


def parse(stream: bytes) -> dict[str, str]:
    """Read a subunit v2 stream."""
    import io

    import subunit
    from testtools import StreamToDict

    found: dict[str, str] = {}

    def note(test: dict[str, object]) -> None:
        name, status = short(str(test["id"])), str(test["status"])
        # One that runs for several samples passes when it passes for some and fails for none.
        found[name] = max(found.get(name, status), status, key=lambda each: _WEIGHTS.get(each, 3))

    result = StreamToDict(note)
    result.startTestRun()
    subunit.ByteStreamToStreamResult(io.BytesIO(stream), non_subunit_name="stdout").run(result)
    result.stopTestRun()
    return found


def figure(name: str, listed: list[str], found: dict[str, str]) -> Figure:
    """Compare a list with what happened."""
    answer = Figure(name, len(listed), 0)
    for test in listed:
        status = found.get(short(test))
        if status == "success":
            answer.passed += 1
        else:
            answer.not_passed[test] = {"fail": "failed", "skip": "skipped"}.get(
                status or "", "not run"
            )
    return answer
