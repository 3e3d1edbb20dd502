"""`GET /crossdomain.xml`: which pages' Flash and Silverlight programs may use the store: all.

In OpenStack: swift/common/middleware/crossdomain.py.
"""

from __future__ import annotations

from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import Call, Proceed

_POLICY = (
    b'<?xml version="1.0"?>\n'
    b"<!DOCTYPE cross-domain-policy SYSTEM "
    b'"http://www.adobe.com/xml/dtds/cross-domain-policy.dtd" >\n'
    b"<cross-domain-policy>\n"
    b'<allow-access-from domain="*" secure="false" />\n'
    b"</cross-domain-policy>"
)


def crossdomain(call: Call, proceed: Proceed) -> Response:
    """Answer the one path."""
    if call.request.raw_path == b"/crossdomain.xml" and call.is_read:
        return Response(200, _POLICY, {}, "application/xml")
    return proceed(call)
