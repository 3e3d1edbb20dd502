"""How each family of OpenStack APIs spells the same things: errors, pages, versions.

Where the APIs are ugly, the ugliness is here. A service names its dialect in its manifest and
never formats an error or a page link itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from nubelet.kernel.errors import ApiError, NotAcceptable, QuotaExceeded
from nubelet.kernel.http.microversions import Microversions

ErrorBody = Callable[[ApiError, int, str], object]
Pages = Literal["links", "neutron", "next", "keystone", "none"]


@dataclass(frozen=True)
class Dialect:
    """The manners of one API family.

    pages: `links` gives `servers_links`, `neutron` the same with previous, `next` glance's
    `next`/`first`, `keystone` a `links` object, `none` no pages.
    quota_status: the status of a passed quota. missing_is_error: an unknown sort key or
    filter is refused. prefixes: the version prefixes under the mount. ignores_last_slash:
    `/v3/users/` is `/v3/users`, instead of the user with the empty name.
    """

    family: str
    error: ErrorBody
    pages: Pages
    prefixes: tuple[str, ...]
    quota_status: int = 413
    ignores_last_slash: bool = False
    microversions: Microversions | None = None
    error_content_type: str = "application/json"
    request_id_header: str = "x-openstack-request-id"
    legacy_request_id_header: str | None = None

    def status_of(self, error: ApiError) -> int:
        """The HTTP status of an error in this dialect."""
        return self.quota_status if isinstance(error, QuotaExceeded) else error.status

    def with_versions(self, microversions: Microversions) -> Dialect:
        """The same manners with microversions."""
        return Dialect(**{**self.__dict__, "microversions": microversions})


def _keystone_error(error: ApiError, status: int, request_id: str) -> object:
    return {
        "error": {"code": status, "title": error.title, "message": error.message}
        | dict(error.extra)
    }


_NOVA_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    406: "notAcceptable",
    409: "conflictingRequest",
    410: "gone",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}


def _nova_error(error: ApiError, status: int, request_id: str) -> object:
    if isinstance(error, NotAcceptable) and "max_version" in error.extra:
        return {
            "errors": [
                {
                    "request_id": request_id,
                    "code": "compute.microversion-unsupported",
                    "status": status,
                    "title": "Requested microversion is unsupported",
                    "detail": error.message,
                    **error.extra,
                    "links": [{"rel": "help", "href": "/docs/microversions"}],
                }
            ]
        }
    return {_NOVA_NAMES.get(status, "computeFault"): {"code": status, "message": error.message}}


def _neutron_error(error: ApiError, status: int, request_id: str) -> object:
    names = {
        400: "HTTPBadRequest",
        401: "HTTPUnauthorized",
        403: "HTTPForbidden",
        404: "HTTPNotFound",
        409: "HTTPConflict",
    }
    if isinstance(error, QuotaExceeded):
        return {
            "NeutronError": {
                "type": "OverQuota",
                "detail": "",
                "message": f"Quota exceeded for resources: ['{error.resource}']. {error.message}",
            }
        }
    # The code of a refused right is the rule's name; the API has one type for them all.
    kind = "PolicyNotAuthorized" if status == 403 and error.code[:1].islower() else error.code
    return {
        "NeutronError": {
            "type": kind or names.get(status, "HTTPInternalServerError"),
            "message": error.message,
            "detail": "",
        }
    }


def _glance_error(error: ApiError, status: int, request_id: str) -> object:
    return {"code": status, "title": error.title, "message": error.message}


def _placement_error(error: ApiError, status: int, request_id: str) -> object:
    body: dict[str, Any] = {
        "status": status,
        "request_id": request_id,
        "title": error.title,
        "detail": error.message,
    }
    if error.version >= (1, 23):
        body["code"] = (
            error.code if error.code.startswith("placement.") else "placement.undefined_code"
        )
    return {"errors": [body | dict(error.extra)]}


IDENTITY = Dialect(
    family="identity",
    error=_keystone_error,
    pages="keystone",
    prefixes=("/v3",),
    quota_status=403,
    ignores_last_slash=True,
)
COMPUTE = Dialect(
    family="compute",
    error=_nova_error,
    pages="links",
    prefixes=("/v2.1", "/v2"),
    quota_status=403,
    legacy_request_id_header="x-compute-request-id",
)
NETWORK = Dialect(
    family="network", error=_neutron_error, pages="neutron", prefixes=("/v2.0",), quota_status=409
)
IMAGE = Dialect(family="image", error=_glance_error, pages="next", prefixes=("/v2",))
OPERATING = Dialect(family="operating", error=_glance_error, pages="none", prefixes=("/v1",))
PLACEMENT = Dialect(family="placement", error=_placement_error, pages="none", prefixes=("",))
