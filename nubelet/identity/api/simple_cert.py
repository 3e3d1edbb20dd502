"""`/v3/OS-SIMPLE-CERT`: certificates of PKI tokens, which are no more.

In OpenStack: keystone/api/os_simple_cert.py, which answers 410 to everybody as well.
"""

from __future__ import annotations

from nubelet.kernel.context import Context
from nubelet.kernel.errors import Gone
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route


def show(ctx: Context, request: Request) -> object:
    """Say that there is nothing to see any more."""
    raise Gone(
        "This API is no longer available due to the removal of support for PKI tokens: the "
        "tokens of this cloud need no certificates."
    )


ROUTES = tuple(
    Route(method="GET", path=f"/OS-SIMPLE-CERT/{what}", handler=show, open=True)
    for what in ("ca", "certificates")
)
