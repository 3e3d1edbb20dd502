"""Asks every question of the matrix in one cloud."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from nubelet.kernel.service import Service
from tests.asgi import Answer, Asker
from tests.authorization.asking import Call, Example, calls
from tests.authorization.callers import COLUMNS, Caller
from tests.authorization.rewinding import Rewinding
from tests.authorization.table import OUTCOMES, Row
from tests.authorization.worlds import Things, World, make_belongings, make_worlds
from tests.cloud import ALL_SERVICES, make_cloud

SERVICES = (*ALL_SERVICES, "operating")


class Matrix:
    """A cloud with the three worlds in it, and what its routes answer."""

    def __init__(self, folder: Path) -> None:
        stores = {
            name: {"type": "file", "directory": str(folder / name)} for name in ("archive", "vault")
        } | {"web": {"type": "http"}}
        self.tested = make_cloud(
            folder, services=SERVICES, run_operations=False, options={"image.stores": stores}
        )
        self.tested.app.recorder = None
        self._areas = {name: _areas(name) for name in self.services}
        every = [area for areas in self._areas.values() for area in areas]
        self.worlds = make_worlds(self.tested, every)
        self.belongings = make_belongings(self.tested, every)
        self.asker = Asker(self.tested.app)
        self.rewinding = Rewinding(self.tested.cloud.database)
        self.failures: list[str] = []

    @property
    def services(self) -> dict[str, Service]:
        return self.tested.cloud.services

    def calls(self, service: str) -> Iterator[Call]:
        """The rows of a service, to be asked."""
        examples: dict[str, Example] = {}
        for area in self._areas[service]:
            twice = examples.keys() & area.EXAMPLES.keys()
            assert not twice, f"{area.__name__} gives another example of {twice}"
            examples |= area.EXAMPLES
        routes = [route for area in self._areas[service] for route in getattr(area, "ROUTES", ())]
        known = self.services[service]
        yield from calls(known, known.routes or routes, examples)

    def row(self, call: Call) -> Row:
        """What all callers get."""
        cells = ["".join(self._outcome(call, who) for who in c.callers) for c in COLUMNS]
        # A list that shows nobody's things to anybody: what matters is whether it is empty.
        words = {"e": "o"} if "+" in "".join(cells) else {"o": "+", "e": "o"}
        cells = [cell.translate(str.maketrans(words)) for cell in cells]
        return Row(str(call), tuple(cells), call.route.rule or "open")

    def answer(self, call: Call, who: Caller) -> Answer:
        """What one caller gets."""
        token = self.tested.user(who.persona).token if who.persona else None
        return self.ask(call, who.world, token, who.persona)

    def ask(
        self,
        call: Call,
        world: str,
        token: str | None,
        persona: str | None = None,
        *,
        missing: bool = False,
    ) -> Answer:
        """What a token gets (`missing`: were the things in the path not there); afterwards all is
        as it was."""
        things = call.about(self.worlds[world].things, self._own(world, persona))
        try:
            answer = self.asker.ask(**call.question(things, token, missing=missing))
        finally:
            self.rewinding.rewind()
        if answer.status < 300 and call.route.method not in ("GET", "HEAD"):
            for area in self._areas[call.service.name]:
                getattr(area, "restore", _nothing)(self.worlds[world])
        return answer

    def _outcome(self, call: Call, who: Caller) -> str:
        answer = self.answer(call, who)
        if answer.status < 400:
            own = self._own(who.world, who.persona).values()
            marks = self.worlds[who.world].marks | {each for each in own if len(each) >= 32}
            return call.seen(answer, marks)
        if answer.status >= 500 and answer.status not in OUTCOMES:
            self.failures.append(f"{call} by {who}: {answer.status} {answer.body[:300]!r}")
            return "!"
        return OUTCOMES.get(answer.status, "x")

    def _own(self, world: str, persona: str | None) -> Things:
        return self.belongings.get(persona, {}) if world == "own" else {}

    def close(self) -> None:
        self.asker.close()
        self.tested.close()


def _nothing(world: World) -> None:
    """The database forgets by itself."""


def _areas(service: str) -> list[ModuleType]:
    """The examples of a service, main.py first: other areas build on its things."""
    place = f"tests.authorization.examples.{service}"
    found = pkgutil.iter_modules(importlib.import_module(place).__path__)
    names = sorted((each.name for each in found), key=lambda name: (name != "main", name))
    return [importlib.import_module(f"{place}.{name}") for name in names]
