"""What the matrix asks of the operating service."""

from __future__ import annotations

from tests.authorization.asking import Example
from tests.authorization.worlds import Things, World

EXAMPLES = {"GET /v1/explain/{id}": Example(things={"id": "{server_id}"})}


def things(world: World) -> Things:
    return {}
