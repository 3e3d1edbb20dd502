"""Bodies of uploads: what the signer said of them is checked while they are read.

    x-amz-content-sha256: <hex>                        the digest of the whole
    x-amz-content-sha256: STREAMING-...-PAYLOAD        aws-chunked: each chunk is signed
    x-amz-content-sha256: STREAMING-...-TRAILER        aws-chunked, a checksum behind the last
    Content-MD5, x-amz-checksum-<algorithm>            digests beside the signature

Only version 4 in a header signs chunks and must say one of these. Of a loose signature (version 2,
or a URL's) whatever is said but UNSIGNED-PAYLOAD is taken for a digest, which keywords never are:
what is in chunks is not stored as if it were the data.

Formats: Amazon S3 API Reference, "Signature Calculations for the Authorization Header:
Transferring Payload in Multiple Chunks", "Checking object integrity".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping

from nubelet.object_store.s3 import checksums, digits
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.s3.signing import UNSIGNED, Signature

STREAMING = "STREAMING-"
_PAYLOADS = (
    UNSIGNED,
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
)
SMALLEST_CHUNK_BYTES = 8 << 10  # but for the last with data
_EMPTY = hashlib.sha256().hexdigest()
_LONGEST_LINE = 16 << 10
_LONGEST_BODY = 10**14
_SIZE = re.compile(rb"[0-9a-fA-F]{1,16}[ \t]*")


class Upload:
    """The body of an upload. Iterate over `pieces`, then `check`: raises S3Error for what is not
    as it was said to be. `checksums` are then those that were checked."""

    def __init__(
        self,
        headers: Mapping[str, str],
        body: Callable[[int], Iterator[bytes]],
        signature: Signature | None,
        key: bytes,
    ) -> None:
        self._body, self._signature, self._key = body, signature, key
        said = headers.get("x-amz-content-sha256", UNSIGNED)
        self._payload = signature.payload if signature else said
        is_loose = signature is not None and signature.is_loose
        if not is_loose:
            self._check_payload()
        self.is_chunked = self._payload.startswith(STREAMING) and not is_loose
        self.checksums = checksums.asked_of(headers)
        self._trailers = {checksums.trailer_of(headers)} - {""}
        self._digests = {name: checksums.ALGORITHMS[name]() for name in self.checksums}
        self._computed: set[str] = set()
        is_digest = self._payload != UNSIGNED and not self.is_chunked
        self._sha256 = hashlib.sha256() if is_digest else None
        self._md5 = _md5(headers.get("content-md5"))
        self._own_md5 = hashlib.md5(usedforsecurity=False) if self._md5 else None
        self.length = self._length(headers)

    def _check_payload(self) -> None:
        if self._payload not in _PAYLOADS and not _is_hex(self._payload):
            if "ECDSA" in self._payload:
                raise S3Error("NotImplemented", "Signatures of many regions are not implemented.")
            raise S3Error(
                "InvalidArgument",
                "x-amz-content-sha256 must be a digest or a keyword.",
                ArgumentName="x-amz-content-sha256",
                ArgumentValue=self._payload,
            )
        if "HMAC" in self._payload and self._signature is None:
            raise S3Error("InvalidArgument", "Chunks are signed where the request is.")

    def _length(self, headers: Mapping[str, str]) -> str | None:
        sent = headers.get("content-length")
        if not self._payload.startswith(STREAMING):
            return sent
        found = headers.get("x-amz-decoded-content-length")
        if found is None or digits.read(found, _LONGEST_BODY) is None:
            raise S3Error("MissingContentLength", "x-amz-decoded-content-length must be given.")
        if not self.is_chunked and sent is not None and sent != found:
            raise _other_length(found, sent)
        return found

    def pieces(self, size: int) -> Iterator[bytes]:
        """The data, without what chunks add to it."""
        source = self._chunks(size) if self.is_chunked else self._body(size)
        for piece in source:
            if self._sha256:
                self._sha256.update(piece)
            if self._own_md5:
                self._own_md5.update(piece)
            for digest in self._digests.values():
                digest.update(piece)
            yield piece

    def check(self) -> None:
        """Was it all as it was said to be?"""
        if self._sha256 and self._sha256.hexdigest() != self._payload.lower():
            raise S3Error(
                "XAmzContentSHA256Mismatch",
                ClientComputedContentSHA256=self._payload,
                S3ComputedContentSHA256=self._sha256.hexdigest(),
            )
        if self._own_md5 and self._own_md5.digest() != self._md5:
            raise S3Error(
                "BadDigest",
                ExpectedDigest=self._md5.hex(),
                CalculatedDigest=checksums.encoded(self._own_md5),
            )
        if self._trailers and not self.is_chunked:
            raise S3Error("MalformedTrailerError", "Only a body in chunks has something behind it.")
        for name, digest in self._digests.items():
            found = base64.b64encode(digest.digest()).decode()
            if name not in self._computed and found != self.checksums[name]:
                raise S3Error("BadDigest", f"The {name} that was sent is not that of the data.")
            self.checksums[name] = found

    def compute(self, name: str) -> None:
        """Make a checksum by this algorithm, where its sender did not."""
        if name not in self.checksums:
            self.checksums[name] = ""
            self._computed.add(name)
            self._digests[name] = checksums.ALGORITHMS[name]()

    def _chunks(self, size: int) -> Iterator[bytes]:
        """The data of aws-chunked: `<hex>[;chunk-signature=<hex>]CRLF <data> CRLF`, ..., `0`."""
        reader, expected = _Reader(self._body(size)), int(self.length or 0)
        is_signed = "HMAC" in self._payload
        previous = self._signature.seed if self._signature else ""
        number, size_before = 0, SMALLEST_CHUNK_BYTES
        while True:
            line, _, extension = reader.line().partition(b";")
            if not _SIZE.fullmatch(line):  # RFC 9112, 7.1.1: there may be blanks before `;` and `=`
                raise S3Error("InvalidRequest", "A chunk has no size.")
            left = int(line, 16)
            signature = _signature_of(extension) if is_signed else ""
            digest = hashlib.sha256()
            is_last = left == 0
            expected -= left
            if expected < 0:
                length = int(self.length or 0)
                raise _other_length(str(length), str(length - expected))
            if is_last and expected:
                raise S3Error("IncompleteBody", "x-amz-decoded-content-length is another.")
            number += 1  # as Amazon does: of the chunk before which the one is that is too small
            if not is_last and size_before < SMALLEST_CHUNK_BYTES:
                raise S3Error(
                    "InvalidChunkSizeError", Chunk=str(number), BadChunkSize=str(size_before)
                )
            size_before = left
            while left:
                piece = reader.some(left)
                left -= len(piece)
                digest.update(piece)
                yield piece
            if not is_last and reader.line():
                raise S3Error("InvalidRequest", "A chunk does not end where it should.")
            if is_signed:
                previous = self._next(previous, signature, digest.hexdigest())
            if is_last:
                self._trailer(reader, previous, is_signed)
                return

    def _next(self, previous: str, signature: str, digest: str) -> str:
        """The signature of a chunk, checked."""
        assert self._signature is not None
        text = "\n".join(
            (
                "AWS4-HMAC-SHA256-PAYLOAD",
                self._signature.moment,
                self._signature.scope,
                previous,
                _EMPTY,
                digest,
            )
        )
        self._compare(text, signature)
        return signature

    def _compare(self, text: str, signature: str) -> None:
        wanted = hmac.new(self._key, text.encode(), "sha256").hexdigest()
        if not hmac.compare_digest(wanted.encode(), signature.encode()):
            raise S3Error("SignatureDoesNotMatch", "A chunk's signature does not fit.")

    def _trailer(self, reader: _Reader, previous: str, is_signed: bool) -> None:
        lines: dict[str, str] = {}
        while line := reader.line(may_end=True):
            name, _, value = line.decode("latin-1").partition(":")
            name = name.strip().lower()
            if name in lines or name not in self._trailers | {"x-amz-trailer-signature"}:
                raise S3Error("MalformedTrailerError")
            lines[name] = value.strip()
        signature = lines.pop("x-amz-trailer-signature", "")
        if is_signed and "TRAILER" in self._payload:
            assert self._signature is not None
            if not _is_hex(signature):
                raise S3Error("MalformedTrailerError", "The signature of the trailer is missing.")
            canonical = "".join(f"{name}:{value}\n" for name, value in lines.items())
            digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
            text = "\n".join(
                (
                    "AWS4-HMAC-SHA256-TRAILER",
                    self._signature.moment,
                    self._signature.scope,
                    previous,
                    digest,
                )
            )
            self._compare(text, signature)
        if set(lines) != self._trailers:
            raise S3Error("MalformedTrailerError")
        for name, value in lines.items():
            algorithm = name.removeprefix(checksums.HEADER)
            checksums.check_form(algorithm, value)
            self.checksums[algorithm] = value


class _Reader:
    """Lines and bytes of a body that comes in pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._have = pieces, b""

    def line(self, *, may_end: bool = False) -> bytes:
        """Up to CRLF, which is taken off. At the end of the body: empty if it may end here, else
        raises S3Error."""
        while b"\r\n" not in self._have:
            if len(self._have) > _LONGEST_LINE:
                raise S3Error("InvalidRequest", "A chunk's first line is too long.")
            piece = next(self._pieces, b"")
            if not piece:
                if may_end and not self._have:
                    return b""
                raise S3Error("IncompleteBody", "The body ends within a chunk.")
            self._have += piece
        found, self._have = self._have.split(b"\r\n", 1)
        return found

    def some(self, most: int) -> bytes:
        """At least one byte, at most so many. Raises S3Error at the end of the body."""
        if not self._have:
            self._have = next(self._pieces, b"")
            if not self._have:
                raise S3Error("IncompleteBody", "The body ends within a chunk.")
        found, self._have = self._have[:most], self._have[most:]
        return found


def _other_length(expected: str, provided: str) -> S3Error:
    return S3Error(
        "IncompleteBody",
        "x-amz-decoded-content-length is another.",
        NumberBytesExpected=expected,
        NumberBytesProvided=provided,
    )


def _signature_of(extension: bytes) -> str:
    """The signature behind the size of a chunk; raises InvalidRequest where there is none."""
    name, _, value = extension.decode("latin-1").partition("=")
    if name.strip() != "chunk-signature" or not _is_hex(value.strip()):
        raise S3Error("InvalidRequest", "A chunk has no chunk-signature of 64 digits.")
    return value.strip()


def _is_hex(text: str) -> bool:
    return len(text) == 64 and all(each in "0123456789abcdefABCDEF" for each in text)


def _md5(sent: str | None) -> bytes:
    if sent is None:
        return b""
    try:
        found = base64.b64decode(sent, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != 16:
        raise S3Error("InvalidDigest")
    return found
