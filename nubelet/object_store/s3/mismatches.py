"""Why a signature is not taken: what the maker of a client compares with what it has signed.

Nothing here comes from the secret. Fields: Amazon S3 API Reference, "Error responses".
"""

from __future__ import annotations

from datetime import UTC, datetime

from nubelet.kernel import clock
from nubelet.object_store.s3.errors import S3Error


def told(text: bytes, signature: str) -> dict[str, str]:
    """What was to be signed, and the signature that came."""
    return {
        "StringToSign": text.decode("utf-8", "replace"),
        "StringToSignBytes": spelled(text),
        "SignatureProvided": signature,
    }


def spelled(text: bytes) -> str:
    """A text byte for byte, where blanks and ends of lines cannot be told apart by sight."""
    return text.hex(" ")


def too_skewed(stated: str, most_seconds: int) -> S3Error:
    """The time that the request states is too far from now."""
    return S3Error(
        "RequestTimeTooSkewed",
        RequestTime=stated,
        ServerTime=_now(),
        MaxAllowedSkewMilliseconds=str(most_seconds * 1000),
    )


def expired(ends: float, **more: str) -> S3Error:
    """A URL is over (seconds since 1970)."""
    details = {**more, "Expires": _iso(ends), "ServerTime": _now()}
    return S3Error("AccessDenied", "Request has expired.", **details)


def _now() -> str:
    return _iso(clock.now() / 1e6)


def _iso(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return str(int(seconds))
