"""The tables of the matrix as files.

A line is a row: outcomes of the callers by column, the route, its rule, and after `#` what a
reader should know. Rows are in the order of their routes, so that parts grown side by side merge.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.authorization.callers import COLUMNS

HERE = Path(__file__).parent
LEGEND = """\
# {service}: who gets what. See tests/authorization/callers.py for the columns; where a column has
# four letters they are those of reader, member, manager and admin.
#   +  let in (a list: shows the thing)     o  a list without the thing, or an empty one
#   -  401    .  403    0  404              4  400    9  409    x  another refusal, 4xx
#   !  501: an operation that upstream, too, has but does not do
"""
OUTCOMES = {401: "-", 403: ".", 404: "0", 400: "4", 409: "9", 501: "!"}
_WIDTHS = [max(len(column.name), len(column.callers)) for column in COLUMNS]


class Row(NamedTuple):
    """What the callers get from one route; `note` says why where that is no plain matter."""

    route: str
    cells: tuple[str, ...]
    rule: str
    note: str = ""

    def __str__(self) -> str:
        cells = "  ".join(c.ljust(w) for c, w in zip(self.cells, _WIDTHS, strict=True))
        note = f"  # {self.note}" if self.note else ""
        return f"  {cells}  {self.route}  [{self.rule}]{note}"

    @property
    def lets_somebody_in(self) -> bool:
        return any(letter in cell for cell in self.cells for letter in "+o")


def path_of(service: str) -> Path:
    return HERE / f"{service}.txt"


def read(service: str) -> dict[str, Row]:
    """The rows of a service by route; none where there is no table yet."""
    path = path_of(service)
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [_parse(line) for line in lines if line and not line.startswith("#")]
    found = {row.route: row for row in rows}
    assert len(found) == len(rows), f"{path.name} has two rows for one route"
    return found


def write(service: str, rows: dict[str, Row]) -> None:
    """Write a table anew."""
    head = "# " + "  ".join(c.name.ljust(w) for c, w in zip(COLUMNS, _WIDTHS, strict=True))
    lines = [str(rows[route]) for route in sorted(rows, key=_order)]
    text = LEGEND.format(service=service) + f"#\n{head}  route  [rule]\n" + "\n".join(lines) + "\n"
    path_of(service).write_text(text)


def _parse(line: str) -> Row:
    line, _, note = line.partition("  # ")
    cells = line.split(maxsplit=len(COLUMNS))
    route, _, rule = cells.pop().rpartition("  [")
    return Row(route, tuple(cells), rule.removesuffix("]"), note)


def _order(route: str) -> tuple[str, str]:
    method, _, path = route.partition(" ")
    return path, method
