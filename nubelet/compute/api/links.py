"""Links of things: `self` at the version that was asked, `bookmark` without a version."""

from __future__ import annotations

from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request

MOUNT = "/compute"


class Links:
    """Makes the links of one answer."""

    __slots__ = ("_self", "_bookmark")

    def __init__(self, ctx: Context, request: Request, collection: str) -> None:
        """`collection`: the URL noun (`servers`)."""
        self._self = f"{request.base_url}/{collection}/"
        self._bookmark = f"{ctx.base_url}{MOUNT}/{collection}/"

    def of(self, identifier: str) -> list[dict[str, str]]:
        """Both links."""
        return [
            {"rel": "self", "href": self._self + identifier},
            {"rel": "bookmark", "href": self._bookmark + identifier},
        ]

    def bookmark(self, identifier: str) -> list[dict[str, str]]:
        """The bookmark alone, as for things inside other things."""
        return [{"rel": "bookmark", "href": self._bookmark + identifier}]

    def itself(self, identifier: str) -> str:
        """The `self` link as it goes into a Location header."""
        return self._self + identifier
