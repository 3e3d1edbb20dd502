"""Operating: what the cloud tells its operators about itself.

`nubelet status`, `doctor` and `explain` ask here, so they work from anywhere and on any
deployment. This is Nubelet's own API; everything else speaks OpenStack's.
"""

from __future__ import annotations

from nubelet.kernel.http.dialects import OPERATING
from nubelet.kernel.service import Service
from nubelet.operating.api import ROUTES
from nubelet.operating.policy import RULES

SERVICE = Service(
    name="operating",
    type="operating",
    title="Operating",
    mount="/operating",
    endpoint="/operating/v1",
    dialect=OPERATING,
    routes=ROUTES,
    rules=RULES,
)

__all__ = ["SERVICE"]
