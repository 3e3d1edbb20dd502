"""Requests to places that this cloud's own records name: other regions, other machines.

No proxy of the environment stands between, and no answer leads elsewhere: what goes along, the
token of a user or a signed URL, is for that place alone (OSSA-2026-004).
"""

from __future__ import annotations

import urllib.request
from typing import Any


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
