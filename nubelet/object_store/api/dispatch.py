"""The innermost handler: what is asked of an account, a container or an object, by its method."""

from __future__ import annotations

from nubelet.kernel.errors import MethodNotAllowed
from nubelet.kernel.http.messages import Response
from nubelet.object_store.api import accounts, containers, objects
from nubelet.object_store.call import Call


def dispatch(call: Call) -> Response:
    """Raises what the API refuses."""
    methods = (
        objects.METHODS
        if call.object
        else containers.METHODS
        if call.container
        else accounts.METHODS
    )
    handler = methods.get(call.method)
    if handler is None:
        allowed = ", ".join(sorted(methods))
        raise MethodNotAllowed(
            f"The method {call.method} is not allowed for this resource.",
            headers={"Allow": allowed},
        )
    return handler(call)
