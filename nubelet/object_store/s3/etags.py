"""The ETag of a key: what S3's users see as it."""

from __future__ import annotations

from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import header

# Of what was uploaded in parts; not copied, because a copy is one piece.
ETAG = "x-object-sysmeta-slo-s3-etag"


def etag_of(response: Response) -> str:
    """The ETag of a key, in quotes."""
    found = header(response, ETAG) or header(response, "Etag") or ""
    return '"' + found.strip('"') + '"'
