"""Refusals in S3's words: a code that programs read, a message, the resource.

Codes and their statuses: Amazon S3 API Reference, "Error responses".
"""

from __future__ import annotations

from xml.sax.saxutils import escape

from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Response

XML = "application/xml"
_STATUS = {
    "AccessDenied": (403, "Access Denied."),
    "AccessForbidden": (403, "Access forbidden."),
    "AccessControlListNotSupported": (400, "The bucket does not allow access lists."),
    "AuthorizationHeaderMalformed": (400, "The authorization header is malformed."),
    "AuthorizationQueryParametersError": (400, "The query parameters of the signature are wrong."),
    "BadDigest": (400, "The Content-MD5 or checksum that was sent is not that of the data."),
    "BadRequest": (400, "Bad request."),
    "BucketAlreadyExists": (409, "The bucket belongs to somebody else."),
    "BucketAlreadyOwnedByYou": (409, "The bucket exists, and it is yours."),
    "BucketNotEmpty": (409, "The bucket is not empty."),
    "ConditionalRequestConflict": (409, "Another write of the key was under way. Please retry."),
    "EntityTooLarge": (400, "The upload is larger than an object may be."),
    "EntityTooSmall": (400, "A part is smaller than 5 MiB, and it is not the last."),
    "IllegalVersioningConfigurationException": (400, "The versioning configuration is invalid."),
    "IncompleteBody": (400, "The body is shorter than Content-Length says."),
    "InternalError": (500, "An internal error occurred."),
    "InvalidAccessKeyId": (403, "There is no such access key."),
    "InvalidArgument": (400, "Invalid argument."),
    "InvalidBucketAclWithObjectOwnership": (
        400,
        "The bucket cannot have access lists that grant others with this object ownership.",
    ),
    "InvalidBucketState": (409, "The request does not fit the state of the bucket."),
    "InvalidBucketName": (400, "The bucket name is not valid."),
    "InvalidChunkSizeError": (403, "Only the last chunk may have less than 8,192 bytes."),
    "InvalidDigest": (400, "Content-MD5 is not valid."),
    "InvalidEncryptionAlgorithmError": (400, "The encryption algorithm must be AES256."),
    "InvalidLocationConstraint": (400, "The location constraint is none of the regions there are."),
    "InvalidObjectState": (403, "Restore is not allowed for the object's storage class."),
    "InvalidPartNumber": (416, "The part number cannot be satisfied."),
    "InvalidPolicyDocument": (400, "The form's policy is not one that can be read."),
    "InvalidRedirectLocation": (400, "A redirect begins with /, http:// or https://."),
    "InvalidPart": (400, "A part is not there, or its ETag is another."),
    "InvalidPartOrder": (400, "The parts are not in ascending order."),
    "InvalidRange": (416, "The range cannot be satisfied."),
    "InvalidRequest": (400, "Invalid request."),
    "InvalidRetentionPeriod": (400, "The retention period must be a positive integer."),
    "InvalidStorageClass": (400, "The only storage class is STANDARD."),
    "InvalidTargetBucketForLogging": (400, "The bucket for the log is not there, or not yours."),
    "InvalidTag": (400, "The tag is not valid."),
    "InvalidToken": (400, "The key is not a temporary one: no token belongs to it."),
    "KMS.NotFoundException": (400, "There is no such key: no key service is here."),
    "KeyTooLongError": (400, "The key is longer than 1,024 bytes."),
    "MalformedACLError": (400, "The access list is not well-formed."),
    "MalformedPolicy": (400, "The policy is not valid."),
    "MalformedTrailerError": (400, "What follows the body is not what x-amz-trailer says."),
    "MalformedXML": (400, "The XML is not well-formed or not what the operation takes."),
    "MaxPostPreDataLengthExceeded": (400, "The fields before the file are too long."),
    "MetadataTooLarge": (400, "The metadata headers exceed what is allowed."),
    "MethodNotAllowed": (405, "The method is not allowed against this resource."),
    "MissingContentLength": (411, "Content-Length must be given."),
    "NoSuchBucket": (404, "The bucket does not exist."),
    "NoSuchBucketPolicy": (404, "The bucket has no policy."),
    "NoSuchConfiguration": (404, "There is no such configuration."),
    "NoSuchCORSConfiguration": (404, "The bucket has no CORS configuration."),
    "NoSuchKey": (404, "The key does not exist."),
    "NoSuchLifecycleConfiguration": (404, "The bucket has no lifecycle configuration."),
    "NoSuchObjectLockConfiguration": (404, "The version has no object lock configuration."),
    "NoSuchPublicAccessBlockConfiguration": (404, "The bucket has no public access block."),
    "NoSuchTagSet": (404, "There are no tags."),
    "NoSuchUpload": (404, "There is no such multipart upload; it may be completed or aborted."),
    "NoSuchVersion": (404, "There is no such version."),
    "NoSuchWebsiteConfiguration": (404, "The bucket has no website configuration."),
    "NotImplemented": (501, "This is not implemented."),
    "ObjectLockConfigurationNotFoundError": (404, "The bucket has no object lock."),
    "OperationAborted": (409, "Another operation is under way here. Please try again."),
    "OwnershipControlsNotFoundError": (404, "The bucket has no ownership controls."),
    "PreconditionFailed": (412, "A condition of the request does not hold."),
    "ReplicationConfigurationNotFoundError": (404, "The bucket has no replication."),
    "RequestTimeTooSkewed": (403, "The time of the request is too far from the server's."),
    "RequestTimeout": (400, "The body stood still for too long."),
    "ServerSideEncryptionConfigurationNotFoundError": (404, "The bucket has no encryption rule."),
    "ServiceUnavailable": (503, "The store cannot take the request now."),
    "SignatureDoesNotMatch": (403, "The signature is not that of the request and the secret key."),
    "UnexpectedContent": (400, "The request must have no body."),
    "UnresolvableGrantByEmailAddress": (400, "Grantees are projects, which have no addresses."),
    "XAmzContentSHA256Mismatch": (400, "x-amz-content-sha256 is not that of the data."),
}
# What the store answers, where nothing more is known.
_BY_STATUS = {
    400: "InvalidArgument",
    401: "AccessDenied",
    403: "AccessDenied",
    404: "NoSuchKey",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    409: "InvalidRequest",
    411: "MissingContentLength",
    412: "PreconditionFailed",
    413: "EntityTooLarge",
    416: "InvalidRange",
    422: "BadDigest",
    501: "NotImplemented",
    503: "ServiceUnavailable",
    507: "ServiceUnavailable",
}


class S3Error(ApiError):
    """A refusal with one of S3's codes; `details` are further elements of the answer."""

    def __init__(self, code: str, message: str = "", **details: str) -> None:
        status, usual = _STATUS[code]
        super().__init__(message or usual, status=status, code=code)
        self.s3_code, self.details = code, details


def translated(error: ApiError) -> S3Error:
    """An error of the store as S3 would put it."""
    if isinstance(error, S3Error):
        return error
    code = _BY_STATUS.get(error.status, "InternalError")
    return S3Error(code, error.message)


def answer(error: ApiError, resource: str, request_id: str, *, with_body: bool) -> Response:
    """The answer to a refused request."""
    found = translated(error)
    headers = dict(found.headers)
    if not with_body:
        headers["x-amz-error-code"] = found.s3_code
    if not with_body:
        return Response(found.status, None, headers, XML)
    parts = {
        "Code": found.s3_code,
        "Message": found.message,
        **found.details,
        "Resource": resource,
        "RequestId": request_id,
    }
    inner = "".join(f"<{name}>{escape(_clean(text))}</{name}>" for name, text in parts.items())
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'
    return Response(found.status, body.encode(), headers, XML)


def _clean(text: str) -> str:
    """Text that XML can hold."""
    return (
        "".join(each if each >= " " or each in "\t\n" else "?" for each in text)
        .encode("utf-8", "replace")
        .decode()
    )
