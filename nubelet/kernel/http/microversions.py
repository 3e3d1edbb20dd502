"""Microversion negotiation: one header in, one version out.

Follows the API-SIG microversion specification: `OpenStack-API-Version: compute 2.90`, or the
older service header (`X-OpenStack-Nova-API-Version: 2.90`); absent means the minimum, `latest`
the maximum. An unknown version is 406, an unreadable one 400.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nubelet.kernel.context import Version
from nubelet.kernel.errors import BadRequest, NotAcceptable

_FORM = re.compile(r"^([1-9]\d*)\.(0|[1-9]\d*)$")


def parse(text: str) -> Version:
    """Read `2.90`; raises BadRequest."""
    match = _FORM.match(text)
    if not match:
        raise BadRequest(
            f"API Version String '{text}' is of invalid format. Must be of format "
            "MajorNum.MinorNum."
        )
    return int(match[1]), int(match[2])


def text(version: Version) -> str:
    """Write `2.90`."""
    return f"{version[0]}.{version[1]}"


@dataclass(frozen=True)
class Microversions:
    """The microversions of a service.

    `service_types`: names accepted in OpenStack-API-Version; `legacy_header`: the older header.
    """

    minimum: Version
    maximum: Version
    service_types: tuple[str, ...]
    legacy_header: str | None = None

    def negotiate(self, headers: Mapping[str, str]) -> Version:
        """The version a request asks for. `headers` has lower-case names."""
        asked = self._asked(headers)
        if asked is None:
            return self.minimum
        if asked == "latest":
            return self.maximum
        version = parse(asked)
        if not self.minimum <= version <= self.maximum:
            raise NotAcceptable(
                f"Version {asked} is not supported by the API. Minimum is {text(self.minimum)} "
                f"and maximum is {text(self.maximum)}.",
                extra={"min_version": text(self.minimum), "max_version": text(self.maximum)},
            )
        return version

    def response_headers(self, version: Version) -> dict[str, str]:
        """The headers that say which version was served."""
        names = f"{self.service_types[0]} {text(version)}"
        headers = {"OpenStack-API-Version": names, "Vary": "OpenStack-API-Version"}
        if self.legacy_header:
            headers[self.legacy_header] = text(version)
            headers["Vary"] = f"OpenStack-API-Version, {self.legacy_header}"
        return headers

    def _asked(self, headers: Mapping[str, str]) -> str | None:
        for part in headers.get("openstack-api-version", "").split(","):
            service, _, version = part.strip().partition(" ")
            if service.lower() in self.service_types and version:
                return version.strip().lower()
        if self.legacy_header:
            legacy = headers.get(self.legacy_header.lower())
            return legacy.strip().lower() if legacy else None
        return None
