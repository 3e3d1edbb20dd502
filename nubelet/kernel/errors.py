"""The errors a user may meet: a status, a stable code, a message that names the cause.

Raise one of these anywhere below a handler; `http/app.py` renders it once, in the dialect of
the service. Anything else that escapes a handler is our fault and becomes a 500 that says only
the request id.
"""

from __future__ import annotations

from collections.abc import Mapping


class ApiError(Exception):
    """Base of all errors that are answered to a user.

    `code` is stable and machine-readable (`placement.concurrent_update`, `NetworkInUse`);
    empty means the dialect's default for the status. `headers` are added to the answer.
    """

    status = 500
    title = "Internal Server Error"
    version = (0, 0)  # the API version of the request that it answers, once that is known

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "",
        status: int | None = None,
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message or self.title)
        self.message = message or self.title
        self.code = code
        if status is not None:
            self.status = status
        if title is not None:
            self.title = title
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


class BadRequest(ApiError):
    """The request cannot be understood; the message names the field."""

    status, title = 400, "Bad Request"


class Unauthorized(ApiError):
    """No valid token, or wrong credentials (deliberately without detail)."""

    status, title = 401, "Unauthorized"

    def __init__(
        self, message: str = "The request you have made requires authentication.", **kwargs: object
    ) -> None:
        super().__init__(message, **kwargs)  # type: ignore[arg-type]


class Forbidden(ApiError):
    """The caller may not do this; the message names the policy rule or the reason."""

    status, title = 403, "Forbidden"


class NotFound(ApiError):
    """No such thing, or none the caller may know of."""

    status, title = 404, "Not Found"

    def __init__(
        self,
        kind: str = "",
        identifier: object = "",
        *,
        message: str = "",
        code: str = "",
        status: int | None = None,
    ) -> None:
        text = message or (
            f"{kind[:1].upper()}{kind[1:]} {identifier} could not be found."
            if kind
            else "The resource could not be found."
        )
        super().__init__(text, code=code, status=status)
        self.kind = kind
        self.identifier = identifier


class MethodNotAllowed(ApiError):
    """The path exists, the method does not."""

    status, title = 405, "Method Not Allowed"


class NotAcceptable(ApiError):
    """The asked API version does not exist."""

    status, title = 406, "Not Acceptable"


class Conflict(ApiError):
    """The state of the thing forbids this; the message names the state."""

    status, title = 409, "Conflict"


class Gone(ApiError):
    """What there was is no more: an operation of the API, a thing in the middle of a request."""

    status, title = 410, "Gone"


class PreconditionFailed(ApiError):
    """An If-Match or revision precondition does not hold."""

    status, title = 412, "Precondition Failed"


class TooLarge(ApiError):
    """The body or the thing it asks for exceeds a limit."""

    status, title = 413, "Request Entity Too Large"


class UnsupportedMediaType(ApiError):
    """The content type is not one this operation takes."""

    status, title = 415, "Unsupported Media Type"


class RangeNotSatisfiable(ApiError):
    """The asked byte range lies outside the content."""

    status, title = 416, "Requested Range Not Satisfiable"


class RequestTimeout(ApiError):
    """The client fell silent in the middle of its request."""

    status, title = 408, "Request Timeout"


class LengthRequired(ApiError):
    """The request has to say how long its body is."""

    status, title = 411, "Length Required"


class UnprocessableEntity(ApiError):
    """The body is not what the request says it is (a checksum differs)."""

    status, title = 422, "Unprocessable Entity"


class InsufficientStorage(ApiError):
    """There is no room for the data."""

    status, title = 507, "Insufficient Storage"


class TooManyRequests(ApiError):
    """A rate limit was met."""

    status, title = 429, "Too Many Requests"


class NotImplementedByDriver(ApiError):
    """The chosen driver cannot do this."""

    status, title = 501, "Not Implemented"


class ServiceUnavailable(ApiError):
    """Something this needs does not answer now; trying again may help."""

    status, title = 503, "Service Unavailable"


class QuotaExceeded(ApiError):
    """A quota would be passed. The dialect sets the status: compute 403, network 409, else 413."""

    status, title = 413, "Quota Exceeded"

    def __init__(
        self,
        resource: str,
        *,
        limit: int,
        used: int,
        requested: int,
        message: str = "",
        code: str = "",
    ) -> None:
        super().__init__(
            message
            or (
                f"Quota exceeded for {resource}: requested {requested}, but already used "
                f"{used} of {limit} {resource}"
            ),
            code=code,
        )
        self.resource, self.limit, self.used, self.requested = resource, limit, used, requested
