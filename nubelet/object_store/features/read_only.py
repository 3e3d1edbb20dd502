"""Accounts that may not be changed: `X-Account-Sysmeta-Read-Only: true`, set by a ResellerAdmin.

In OpenStack: swift/common/middleware/read_only.py.
"""

from __future__ import annotations

from nubelet.kernel.errors import MethodNotAllowed
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import Call, Proceed, is_true
from nubelet.object_store.features.authorization import RESELLER

_NAME = "x-account-sysmeta-read-only"
_WRITES = ("PUT", "POST", "DELETE", "COPY")


def read_only(call: Call, proceed: Proceed) -> Response:
    """Refuse writes; a ResellerAdmin may still change the account itself."""
    is_reseller = RESELLER in call.ctx.roles
    if not is_reseller:
        call.headers.pop(_NAME, None)
    if call.method not in _WRITES or (is_reseller and not call.container):
        return proceed(call)
    if is_true(call.account_metadata().get(_NAME)):
        raise MethodNotAllowed("Writes are disabled for this account.")
    return proceed(call)
