"""`GET /endpoints/v1|v2/account[/container[/object]]`: where something is kept, for programs that
compute beside their data.

v1 is a list of URLs; v2 adds the headers that the storage policy asks of whoever goes there. With
a cluster they name node, device and partition; with a folder, the path on this machine. It tells
how the store is built, so only a ResellerAdmin is answered.

In OpenStack: swift/common/middleware/list_endpoints.py.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from nubelet.kernel.errors import MethodNotAllowed, NotFound
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import Call, Proceed
from nubelet.object_store.features import paths
from nubelet.object_store.features.authorization import RESELLER, denied

_PATH = b"/endpoints/"
_VERSIONS = {b"v1": 1, b"v1.0": 1, b"v2": 2, b"v2.0": 2}


@runtime_checkable
class TellsPlaces(Protocol):
    """Storage that knows where it keeps things."""

    def places(self, account: str, container: str, name: str, policy: int) -> list[str]:
        """URLs."""
        ...


def list_endpoints(call: Call, proceed: Proceed) -> Response:
    """Answer its paths; raises Forbidden, NotFound."""
    raw = call.request.raw_path
    if not raw.startswith(_PATH):
        return proceed(call)
    if RESELLER not in call.ctx.roles:
        raise denied(call, f"Only the role {RESELLER} may know where objects are kept.")
    if call.method != "GET":
        raise MethodNotAllowed("Only GET.", headers={"Allow": "GET"})
    first, _, rest = raw[len(_PATH) :].partition(b"/")
    version = _VERSIONS.get(first)
    account, container, name = paths.names(rest if version else raw[len(_PATH) :])
    policy = 0
    if container:
        info = call.container_info(account, container)
        if info is None and name:
            raise NotFound(message="The container does not exist.")
        policy = info.policy if info else 0
    store = call.store
    found = store.places(account, container, name, policy) if isinstance(store, TellsPlaces) else []
    if version != 2:
        return Response(200, found, {}, "application/json")
    headers = {"X-Backend-Storage-Policy-Index": str(policy)} if name else {}
    return Response(200, {"endpoints": found, "headers": headers}, {}, "application/json")
