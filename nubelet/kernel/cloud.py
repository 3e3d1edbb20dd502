"""The running cloud: what `wiring.py` put together, handed to everything that needs it.

Drivers and other run-time objects are found by their type (`cloud.get(ImageStore)`), so the
kernel needs to know none of them and "go to definition" still works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from nubelet.kernel.bus import Bus
    from nubelet.kernel.database import Database
    from nubelet.kernel.policy import Policy
    from nubelet.kernel.service import Service
    from nubelet.settings import Settings

T = TypeVar("T")


class Cloud:
    """Settings, database, bus, services and drivers of one process of one cloud."""

    def __init__(
        self, settings: Settings, database: Database, bus: Bus, services: tuple[Service, ...]
    ) -> None:
        self.settings = settings
        self.database = database
        self.bus = bus
        self.services: dict[str, Service] = {service.name: service for service in services}
        self.policies: dict[str, Policy] = {}
        self._provided: dict[type[Any], Any] = {}

    def provide(self, kind: type[T], value: T) -> None:
        """Make `value` what `get(kind)` answers. Called by wiring and by tests."""
        self._provided[kind] = value

    def get(self, kind: type[T]) -> T:
        """The provided object of this type; a missing one is a wiring mistake."""
        try:
            return self._provided[kind]  # type: ignore[no-any-return]
        except KeyError:
            raise LookupError(f"nothing provides {kind.__qualname__}: see wiring.py") from None
