"""Objects that S3's users encrypted with keys of their own: who does not bring the key gets none of
them. Swift's API has no words for it, so it does not read them (s3/customer_keys.py does).

There is no such thing in OpenStack.
"""

from __future__ import annotations

from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import Call, Proceed, header, pieces

# What is kept of the key: with bytes that are encrypted, and with a manifest of such parts.
OF_BYTES = "x-object-sysmeta-crypto-customer"
OF_PARTS = "x-object-sysmeta-slo-s3-customer"


def customer_keys(call: Call, proceed: Proceed) -> Response:
    """Refuse what could only be read as it is stored."""
    response = proceed(call)
    if call.method == "GET" and response.status in (200, 206) and header(response, OF_BYTES):
        give_up(response)
        raise BadRequest("The object is encrypted with a key of its writer's: read it through S3.")
    return response


def give_up(response: Response) -> None:
    """Close what a body that nobody reads keeps open."""
    body = pieces(response)
    next(body, None)
    if (close := getattr(body, "close", None)) is not None:
        close()
