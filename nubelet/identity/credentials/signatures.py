"""Signatures of requests by EC2 and S3 keys, as the clients of those APIs compute them.

EC2's requests are described to us part by part (verb, host, path, parameters, headers); S3's as
the text that was signed. All functions answer whether the signature fits, in constant time.

Formats: AWS General Reference, "Signature Version 2" and "Signature Version 4"; versions 0 and 1
are what EC2 had before. In OpenStack: keystoneclient/contrib/ec2/utils.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

_V4 = "AWS4-HMAC-SHA256"
_S3_SERVICES = ("s3", "iam", "sts")
_PORT = re.compile(r":\d+$")


def fits_ec2(secret: str, request: Mapping[str, Any]) -> bool:
    """Is `request["signature"]` that of the described request? Some clients sign the host without
    its port, so that fits as well."""
    given = request.get("signature")
    if not isinstance(given, str):
        return False
    return any(_equal(given, _sign_ec2(secret, each)) for each in (request, _without_port(request)))


def fits_s3(secret: str, token: str, signature: str) -> bool:
    """Is it the signature of an S3 request? `token`: the text that was signed, in base64."""
    try:
        text = base64.urlsafe_b64decode(token)
    except (binascii.Error, ValueError):
        return False
    if not text.startswith(b"AWS4"):
        signed = base64.b64encode(hmac.digest(secret.encode(), text, "sha1")).decode()
        return _equal(signature, signed)
    lines = text.split(b"\n")
    scope = lines[2].decode("utf-8", "replace").split("/") if len(lines) == 4 else []
    if lines[0] != _V4.encode() or len(scope) != 4 or scope[3] != "aws4_request":
        return False
    if scope[2] not in _S3_SERVICES:
        return False
    return _equal(signature, _sign_v4(secret, scope, text))


def _without_port(request: Mapping[str, Any]) -> Mapping[str, Any]:
    headers = {
        name: _PORT.sub("", str(value)) if str(name).lower() == "host" else value
        for name, value in (request.get("headers") or {}).items()
    }
    return {**request, "host": _PORT.sub("", str(request.get("host", ""))), "headers": headers}


def _equal(one: str, two: str) -> bool:
    return hmac.compare_digest(one.encode(), two.encode())


def _sign_ec2(secret: str, request: Mapping[str, Any]) -> str:
    params = {str(name): str(value) for name, value in (request.get("params") or {}).items()}
    headers = {
        str(name).lower().strip(): str(value).strip()
        for name, value in (request.get("headers") or {}).items()
    }
    if headers.get("authorization", "").startswith(_V4) or params.get("X-Amz-Algorithm") == _V4:
        return _sign_ec2_v4(secret, request, params, headers)
    version = params.get("SignatureVersion", "")
    if version == "0":
        return _hmac(secret, params.get("Action", "") + params.get("Timestamp", ""), "sha1")
    if version == "1":
        ordered = sorted(params.items(), key=lambda pair: pair[0].lower())
        return _hmac(secret, "".join(name + value for name, value in ordered), "sha1")
    if version == "2":
        method = params.setdefault("SignatureMethod", "HmacSHA256")
        text = "\n".join(
            (
                str(request.get("verb", "")),
                str(request.get("host", "")),
                str(request.get("path", "")),
                _query(params),
            )
        )
        return _hmac(secret, text, "sha1" if method == "HmacSHA1" else "sha256")
    return ""  # fits nothing: a given signature is not empty


def _sign_ec2_v4(
    secret: str, request: Mapping[str, Any], params: dict[str, str], headers: dict[str, str]
) -> str:
    parts = _authorization(headers.get("authorization", ""))
    names = (parts.get("SignedHeaders") or params.get("X-Amz-SignedHeaders", "")).split(";")
    scope = (parts.get("Credential") or params.get("X-Amz-Credential", "")).split("/")[1:]
    moment = params.get("X-Amz-Date") or headers.get("x-amz-date") or headers.get("date", "")
    if len(scope) != 4 or scope[0] != moment[:8]:
        return ""
    verb = str(request.get("verb", "")).upper()
    query = {name: value for name, value in params.items() if name != "X-Amz-Signature"}
    canonical = "\n".join(
        (
            verb,
            str(request.get("path", "")),
            "" if verb == "POST" else _query(query),
            "".join(f"{name}:{headers[name]}\n" for name in sorted(names) if name in headers),
            ";".join(names),
            str(request.get("body_hash", "")),
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join((_V4, moment, "/".join(scope), digest))
    return _sign_v4(secret, scope, text.encode())


def _authorization(header: str) -> dict[str, str]:
    """`AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...`."""
    pairs = (part.strip().partition("=") for part in header[len(_V4) :].split(","))
    return {name: value for name, _, value in pairs}


def _sign_v4(secret: str, scope: list[str], text: bytes) -> str:
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, text, "sha256").hexdigest()


def _query(params: Mapping[str, str]) -> str:
    return "&".join(
        f"{quote(name, safe='-_.~')}={quote(params[name], safe='-_.~')}" for name in sorted(params)
    )


def _hmac(secret: str, text: str, digest: str) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), digest)).decode()
