"""The HTTP side of federation, one file per noun; together they are `ROUTES`."""

from __future__ import annotations

from nubelet.identity.federation.api import (
    identity_providers,
    login,
    mappings,
    protocols,
    saml2,
    service_providers,
    websso,
)
from nubelet.kernel.http.routes import Route

ROUTES: tuple[Route, ...] = tuple(
    route
    for part in (identity_providers, protocols, mappings, service_providers, login, websso, saml2)
    for route in part.ROUTES
)
