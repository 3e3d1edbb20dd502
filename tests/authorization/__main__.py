"""Shows and mends the differences between the tables and what the routes do."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.authorization import table
from tests.authorization.matrix import SERVICES, Matrix


def main() -> None:
    """See tests/authorization/__init__.py."""
    parser = argparse.ArgumentParser(prog="python -m tests.authorization", description=main.__doc__)
    parser.add_argument("services", nargs="*", default=SERVICES, metavar="SERVICE")
    parser.add_argument(
        "--add", action="store_true", help="add and drop rows as routes came and went"
    )
    parser.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="ROUTE",
        help='take over what a route does now ("all": every route)',
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        matrix = Matrix(Path(folder))
        try:
            for service in asked.services:
                _compare(matrix, service, asked.add, asked.accept)
        finally:
            matrix.close()
    print("\n".join(matrix.failures))


def _compare(matrix: Matrix, service: str, add: bool, accept: list[str]) -> None:
    rows = table.read(service)
    found = {row.route: row for row in map(matrix.row, matrix.calls(service))}
    for route, row in found.items():
        before = rows.get(route)
        if before is not None:
            row = row._replace(note=before.note)
        if row == before:
            continue
        print(f"{service}:\n- {before or ''}\n+ {row}")
        if (before is None and add) or route in accept or "all" in accept:
            rows[route] = row
    for route in rows.keys() - found.keys():
        print(f"{service}: there is no route {route}")
    if add or accept:
        rows = {route: row for route, row in rows.items() if route in found or not add}
        table.write(service, rows)


if __name__ == "__main__":
    main()
