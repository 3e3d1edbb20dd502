"""Fuzzes services and prints what was wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.authorization.matrix import SERVICES, Matrix
from tests.fuzzing import oddities, schema
from tests.fuzzing.judge import Judge

PERSONAS = ("admin", "member")
# The share of the requests that are bent good ones instead of made from the schema.
ODD = 0.25


def main() -> int:
    """See tests/fuzzing/__init__.py."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=main.__doc__)
    parser.add_argument("services", nargs="*", default=["identity", "image"], metavar="SERVICE")
    parser.add_argument("--requests", type=int, default=20_000, help="for each service")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    failed = False
    for name in asked.services:
        assert name in SERVICES, f"there is no service {name}"
        with tempfile.TemporaryDirectory() as folder:
            matrix = Matrix(Path(folder))
            try:
                failed |= not _run(matrix, name, asked.requests, asked.seed)
            finally:
                matrix.close()
    return int(failed)


def _run(matrix: Matrix, service: str, requests: int, number: int) -> bool:
    begun, judge = time.process_time(), Judge(matrix, matrix.services[service])
    schema.fuzz(judge, PERSONAS, int(requests * (1 - ODD)), number)
    oddities.fuzz(judge, PERSONAS, int(requests * ODD), number)
    seconds = time.process_time() - begun
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(judge.statuses.items()))
    print(f"{service}: {judge.asked} requests in {seconds:.0f} s of CPU ({statuses})")
    for key, finding in judge.findings.items():
        print(f"  {key}\n    {finding}")
    return not judge.findings


if __name__ == "__main__":
    sys.exit(main())
