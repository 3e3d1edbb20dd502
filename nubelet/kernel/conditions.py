"""How a thing is right now, as its own service sees it: what `explain` says of things whose story
is not in the journal (a port that a host refuses, an image whose data is gone).

Services offer it as `Service.describe`. Read next: `explain.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from nubelet.kernel.database import Tx

if TYPE_CHECKING:
    from nubelet.kernel.cloud import Cloud


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """A thing and its state. `trouble`: what keeps it from being as it should, or empty."""

    noun: str
    id: str
    name: str
    project_id: str | None
    status: str
    trouble: str = ""

    def __str__(self) -> str:
        name = f" ({self.name})" if self.name else ""
        return f"{self.noun} {self.id}{name} is {self.status}" + (
            f": {self.trouble}" if self.trouble else ""
        )


def find(cloud: Cloud, tx: Tx, identifier: str) -> list[Condition]:
    """The things with this id; when there is none, those with this name."""
    found = [
        one
        for service in cloud.services.values()
        if service.describe
        for one in service.describe(cloud, tx, identifier)
    ]
    return [one for one in found if one.id == identifier] or found
