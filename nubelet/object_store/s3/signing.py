"""Who signed a request: AWS signatures of version 4 and 2, in a header or in the query.

The access key and secret are EC2 credentials of the identity service, so a signature stands for
one user in one project. `read` takes a request apart, `Signature.fits` checks it with the secret.
What a signer says of the body (its SHA-256, or chunks that are signed one by one) is checked while
the body is read: bodies.py.

Formats: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)"; Amazon S3
Developer Guide, "Signing and authenticating REST requests" (version 2). Signatures for EC2 are in
identity/credentials/signatures.py. In OpenStack: swift/common/middleware/s3api/s3request.py.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from urllib.parse import quote, unquote, unquote_to_bytes

from nubelet.kernel import clock
from nubelet.kernel.http.messages import Request
from nubelet.object_store.s3 import mismatches
from nubelet.object_store.s3.errors import S3Error

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
_SKEW_SECONDS = 15 * 60
_LONGEST_SECONDS = 7 * 24 * 3600
_OLDEST_END = 2**40  # no time of the query reaches further
# Parameters that are part of what version 2 signs: whatever chooses another operation, also what is
# younger than that version. Who has a URL for a key must not change it into one for its retention.
SUBRESOURCES = frozenset(
    (
        "abac",
        "accelerate",
        "acl",
        "analytics",
        "annotation",
        "attributes",
        "cors",
        "delete",
        "encryption",
        "intelligent-tiering",
        "inventory",
        "legal-hold",
        "lifecycle",
        "location",
        "logging",
        "metadataAnnotationTable",
        "metadataConfiguration",
        "metadataInventoryTable",
        "metadataJournalTable",
        "metadataTable",
        "metrics",
        "notification",
        "object-lock",
        "ownershipControls",
        "partNumber",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "renameObject",
        "replication",
        "requestPayment",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "restore",
        "retention",
        "select",
        "session",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
    )
)


# Those that clients of version 2 leave out, as the version was over when they came. In a request
# with the signature in its headers, which nobody else sees, this is as good.
_YOUNGER = frozenset(
    (
        "abac",
        "attributes",
        "encryption",
        "intelligent-tiering",
        "legal-hold",
        "ownershipControls",
        "policyStatus",
        "publicAccessBlock",
        "retention",
    )
)
# What of a presigned URL is no header: what makes the signature, and what is of the body.
_NO_HEADERS = (
    "x-amz-algorithm",
    "x-amz-checksum-",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-expires",
    "x-amz-sdk-checksum-",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
    "x-amz-tagging",
    "x-amz-trailer",
)
# Of what is in a URL and a header could say as well.
_NAME = re.compile(r"[a-z0-9-]+")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that was read. `fits(secret)`: was it made with it? `explain()`: what it should
    be of, for whoever finds out why it does not fit.

    payload: what x-amz-content-sha256 says. is_loose: it need not say anything (version 2, and
    version 4 in a URL), so it is only compared. signing_key, seed, moment, scope: what the
    signatures of chunks continue from (version 4).
    """

    access: str
    fits: Callable[[str], bool]
    explain: Callable[[], dict[str, str]] = dict
    payload: str = UNSIGNED
    seed: str = ""
    moment: str = ""
    scope: str = ""
    is_loose: bool = False

    def signing_key(self, secret: str) -> bytes:
        """The key of version 4 for the day, region and service of the scope."""
        return _signing_key(secret, self.scope.split("/"))


def is_signed(headers: Mapping[str, str], raw_query: bytes) -> bool:
    """Does a request carry a signature of S3's? (Whether it is right is another question.)"""
    given = headers.get("authorization", "")
    if given.startswith((ALGORITHM, "AWS ")):
        return True
    return b"X-Amz-Algorithm=" in raw_query or (
        b"AWSAccessKeyId=" in raw_query and b"Signature=" in raw_query
    )


def with_signed_query(request: Request) -> Request:
    """A request whose URL is signed may say there what else are headers; raises S3Error."""
    if not _has_signed_url(request):
        return request
    said = {
        name: value
        for name, value in _headers_of_query(request).items()
        if name == "x-amz-checksum-mode" or not name.startswith(_NO_HEADERS)
    }
    if any(name.endswith("-customer-key") for name in said):  # URLs are logged, and passed on
        raise S3Error("InvalidRequest", "A customer's key is sent as a header, not in a URL.")
    return replace(request, headers={**said, **request.headers}) if said else request


def _headers_of_query(request: Request) -> dict[str, str]:
    """In the spelling of headers; raises S3Error for what no header can say."""
    is_v2 = "AWSAccessKeyId" in request.query
    found = {}
    for name, values in request.query.items():
        lowered = name.lower()
        is_plain = is_v2 and lowered in ("content-type", "content-md5")
        if not is_plain and not lowered.startswith("x-amz-"):
            continue
        if not _NAME.fullmatch(lowered) or CONTROL.search(values[0]):
            raise S3Error("InvalidArgument", f"{name!r} cannot be a header.")
        found[lowered] = values[0].encode().decode("latin-1").strip(" ")
    return found


def read(request: Request, bucket: str = "") -> Signature | None:
    """The signature of a request, its times checked; None for an anonymous one. bucket: the one
    that the host names, which version 2 signs as if it were in the path. Raises S3Error."""
    given = request.headers.get("authorization", "")
    if given and _has_signed_url(request):
        # What is asked by which of the two would be a matter of who looks.
        raise S3Error("InvalidArgument", "A request is signed in its URL or in a header, not both.")
    if given.startswith(ALGORITHM):
        return _header_v4(request, given)
    if given.startswith("AWS "):
        return _header_v2(request, given, bucket)
    if "X-Amz-Algorithm" in request.query:
        return _query_v4(request)
    if _has_signed_url(request):
        return _query_v2(request, bucket)
    return None


def _has_signed_url(request: Request) -> bool:
    query = request.query
    return "X-Amz-Algorithm" in query or ("AWSAccessKeyId" in query and "Signature" in query)


# --- Version 4 --------------------------------------------------------------------------------


def _header_v4(request: Request, given: str) -> Signature:
    parts = {
        name: value
        for name, _, value in (part.strip().partition("=") for part in given[16:].split(","))
    }
    try:
        credential, names, signature = (
            parts["Credential"],
            parts["SignedHeaders"].split(";"),
            parts["Signature"],
        )
    except KeyError:
        raise S3Error("AuthorizationHeaderMalformed") from None
    moment = request.headers.get("x-amz-date") or _basic(request.headers.get("date", ""))
    signed_at = _moment(moment)
    if abs(clock.now() / 1e6 - signed_at) > _SKEW_SECONDS:
        raise mismatches.too_skewed(moment, _SKEW_SECONDS)
    payload = request.headers.get("x-amz-content-sha256", "")
    if not payload:
        raise S3Error("InvalidRequest", "Missing required header x-amz-content-sha256.")
    access, scope = _credential(credential, moment, "AuthorizationHeaderMalformed")
    return _v4(request, access, scope, names, signature, moment, payload)


def _query_v4(request: Request) -> Signature:
    query = {name: values[0] for name, values in request.query.items()}
    try:
        credential, moment = query["X-Amz-Credential"], query["X-Amz-Date"]
        names, signature = query["X-Amz-SignedHeaders"].split(";"), query["X-Amz-Signature"]
        seconds = int(query["X-Amz-Expires"])
    except (KeyError, ValueError):
        raise S3Error("AuthorizationQueryParametersError") from None
    if query["X-Amz-Algorithm"] != ALGORITHM or not 0 < seconds <= _LONGEST_SECONDS:
        raise S3Error("AuthorizationQueryParametersError")
    signed_at, now = _moment(moment), clock.now() / 1e6
    if signed_at - now > _SKEW_SECONDS:
        raise S3Error("AccessDenied", "Request is not valid yet.")
    if now > signed_at + seconds:
        raise mismatches.expired(signed_at + seconds, **{"X-Amz-Expires": str(seconds)})
    access, scope = _credential(credential, moment, "AuthorizationQueryParametersError")
    payload = request.headers.get("x-amz-content-sha256", UNSIGNED)
    found = _v4(request, access, scope, names, signature, moment, payload)
    return replace(found, is_loose=True)


def of_policy(policy: str, credential: str, moment: str, signature: str) -> Signature:
    """The signature (version 4) of a form's policy, in base64 as it was sent."""
    _moment(moment)
    access, scope = _credential(credential, moment, "AuthorizationQueryParametersError")

    def fits(secret: str) -> bool:
        key = _signing_key(secret, scope.split("/"))
        wanted = hmac.new(key, policy.encode(), "sha256").hexdigest()
        return hmac.compare_digest(wanted.encode(), signature.encode())

    return Signature(access, fits, moment=moment, scope=scope)


def _credential(text: str, moment: str, code: str) -> tuple[str, str]:
    """The access key and the scope of `KEY/20260101/region/s3/aws4_request`."""
    access, _, scope = text.partition("/")
    parts = scope.split("/")
    if not access or len(parts) != 4 or parts[2:] != ["s3", "aws4_request"]:
        raise S3Error(code, "The credential must be KEY/date/region/s3/aws4_request.")
    if parts[0] != moment[:8]:
        raise S3Error(code, "The date of the credential is not that of the request.")
    return access, scope


def _v4(
    request: Request,
    access: str,
    scope: str,
    names: list[str],
    signature: str,
    moment: str,
    payload: str,
) -> Signature:
    lowered = [name.lower() for name in names]
    missing = [name for name in lowered if name not in request.headers]
    if "host" not in lowered or missing:
        raise S3Error("SignatureDoesNotMatch", f"A signed header is missing: {missing}")
    # Whoever could add or change one of these would change what the request means.
    covered = {*lowered, "x-amz-content-sha256"}
    if any(name.startswith("x-amz-") and name not in covered for name in request.headers):
        raise S3Error("AccessDenied", "There are headers that the signature does not cover.")
    canonical = "\n".join(
        (
            request.method,
            _path(request),
            _query(request.raw_query),
            "".join(f"{name}:{_value(request.headers[name])}\n" for name in lowered),
            ";".join(lowered),
            payload,
        )
    )
    whole = canonical.encode("utf-8", "surrogateescape")
    text = "\n".join((ALGORITHM, moment, scope, hashlib.sha256(whole).hexdigest())).encode()

    def fits(secret: str) -> bool:
        key = _signing_key(secret, scope.split("/"))
        wanted = hmac.new(key, text, "sha256").hexdigest()
        return hmac.compare_digest(wanted.encode(), signature.encode())

    def explain() -> dict[str, str]:
        request_told = {
            "CanonicalRequest": canonical,
            "CanonicalRequestBytes": mismatches.spelled(whole),
        }
        return mismatches.told(text, signature) | request_told

    return Signature(access, fits, explain, payload, signature, moment, scope)


def _signing_key(secret: str, scope: list[str]) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _value(sent: str) -> str:
    """A header's value with runs of blanks as one; as bytes it is what was sent."""
    return " ".join(sent.encode("latin-1").decode("utf-8", "surrogateescape").split())


def _path(request: Request) -> str:
    return quote(unquote_to_bytes(_raw_path(request)), safe="/-_.~")


def _raw_path(request: Request) -> bytes:
    return quote(request.base).encode() + request.raw_path


def _query(raw: bytes) -> str:
    pairs = []
    for part in raw.decode("latin-1").split("&"):
        name, _, value = part.partition("=")
        if not part or unquote(name) == "X-Amz-Signature":
            continue
        pairs.append((_encoded(name), _encoded(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(text.replace("+", "%20")), safe="-_.~")


def _moment(text: str) -> float:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise S3Error("AccessDenied", "The request must have a valid x-amz-date.") from None


def _basic(date: str) -> str:
    """A Date header in the form of x-amz-date."""
    try:
        return parsedate_to_datetime(date).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    except (TypeError, ValueError):
        return date


# --- Version 2 --------------------------------------------------------------------------------


def _header_v2(request: Request, given: str, bucket: str) -> Signature:
    # The key of a user of the store's own has a colon, a signature has none.
    access, _, signature = given[4:].strip().rpartition(":")
    if not access or not signature:
        raise S3Error("InvalidArgument", "The authorization must be AWS KEY:SIGNATURE.")
    stated = request.headers.get("x-amz-date") or request.headers.get("date", "")
    try:
        signed_at = parsedate_to_datetime(stated).timestamp()
    except (TypeError, ValueError):
        signed_at = _moment(stated)
    if abs(clock.now() / 1e6 - signed_at) > _SKEW_SECONDS:
        raise mismatches.too_skewed(stated, _SKEW_SECONDS)
    date = "" if "x-amz-date" in request.headers else request.headers.get("date", "")
    lists = (SUBRESOURCES, SUBRESOURCES - _YOUNGER)
    return _v2(request, access, signature, date, bucket, lists)


def _query_v2(request: Request, bucket: str) -> Signature:
    ends = request.first("Expires") or ""
    if not ends.isascii() or not ends.isdigit() or len(ends) > 15 or int(ends) > _OLDEST_END:
        raise S3Error("AccessDenied", "Query-string authentication requires Expires.")
    if int(ends) < clock.now() / 1e6:
        raise mismatches.expired(int(ends))
    access, signature = request.first("AWSAccessKeyId"), request.first("Signature")
    request = replace(request, headers={**_headers_of_query(request), **request.headers})
    return _v2(request, access or "", signature or "", ends, bucket)


def _v2(
    request: Request,
    access: str,
    signature: str,
    date: str,
    bucket: str = "",
    lists: Sequence[frozenset[str]] = (SUBRESOURCES,),
) -> Signature:
    headers = request.headers
    amz = "".join(
        f"{name}:{_value(headers[name])}\n" for name in sorted(headers) if name[:6] == "x-amz-"
    )
    start = "\n".join(
        (
            request.method,
            headers.get("content-md5", ""),
            headers.get("content-type", ""),
            date,
            "",
        )
    )
    asked = {_subresources(request.raw_query, names) for names in lists}
    whole = _raw_path(request).decode("latin-1")
    # Some clients sign the path below the one they were told the service is at, and that of a
    # bucket with a slash at its end.
    below = whole.removeprefix("/s3") or "/"
    spellings = {whole, below}
    if bucket:
        spellings.add(f"/{bucket}{whole}")
    if "/" not in below.strip("/"):
        spellings |= {f"{below.rstrip('/')}/"}
    texts = [
        (start + amz + path + query).encode("utf-8", "surrogateescape")
        for path in spellings
        for query in asked
    ]

    def fits(secret: str) -> bool:
        return any(
            hmac.compare_digest(
                base64.b64encode(hmac.digest(secret.encode(), text, "sha1")), signature.encode()
            )
            for text in texts
        )

    payload = headers.get("x-amz-content-sha256", UNSIGNED)
    path = f"/{bucket}{whole}" if bucket else whole
    usual = start + amz + path + _subresources(request.raw_query, lists[0])
    told = partial(mismatches.told, usual.encode("utf-8", "surrogateescape"), signature)
    return Signature(access, fits, told, payload, is_loose=True)


def _subresources(raw: bytes, names: frozenset[str]) -> str:
    found = []
    for part in raw.decode("latin-1").split("&"):
        name, equals, value = part.partition("=")
        if name in names:
            found.append(f"{name}={unquote(value)}" if equals and value else name)
    return "?" + "&".join(sorted(found)) if found else ""
