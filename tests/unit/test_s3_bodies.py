"""Bodies in chunks (aws-chunked): what is not as the format has it is refused, and soon."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping

import pytest

from nubelet.object_store.s3 import checksums
from nubelet.object_store.s3.bodies import Upload
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.s3.signing import Signature

pytestmark = pytest.mark.timeout(30)
LARGE = b"a" * 8192  # as large as a chunk must be that another follows
TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def read(sent: bytes, pieces: int = 1, length: int = 5, more: Mapping[str, str] = {}) -> bytes:
    """The data of a body whose bytes come in so many pieces, with more headers."""
    step = max(1, len(sent) // pieces)

    def body(size: int) -> Iterator[bytes]:
        return (sent[start : start + step] for start in range(0, len(sent), step))

    signature = Signature("access", lambda secret: True, payload=TRAILER)
    headers = {"x-amz-decoded-content-length": str(length), **more}
    upload = Upload(headers, body, signature, b"")
    data = b"".join(upload.pieces(1 << 16))
    upload.check()
    return data


@pytest.mark.parametrize("pieces", [1, 3, 20])
def test_chunks_are_put_together(pieces: int) -> None:
    sent = b"2000 \r\n" + LARGE + b"\r\n00002;a=b\r\nde\r\n0\r\n\r\n"
    assert read(sent, pieces, length=8194) == LARGE + b"de"
    assert read(b"A\r\n0123456789\r\n0\r\n", pieces, length=10) == b"0123456789"


@pytest.mark.parametrize(
    "size", [b"-1", b"-ffffffff", b"+3", b" 3", b"0x3", b"1_0", b"", b"three", b"1" * 17, b"\xb3"]
)
def test_a_chunk_whose_size_is_no_number_is_refused(size: bytes) -> None:
    with pytest.raises(S3Error) as caught:
        read(size + b"\r\nabc\r\n0\r\n\r\n")
    assert caught.value.s3_code == "InvalidRequest"


@pytest.mark.parametrize("sent", [b"", b"3", b"3\r\n", b"3\r\nab", b"3\r\nabc", b"3\r\nabc\r\n"])
def test_a_body_that_ends_within_its_chunks_is_refused(sent: bytes) -> None:
    """The client is still there and gets an answer."""
    with pytest.raises(S3Error) as caught:
        read(sent)
    assert (caught.value.s3_code, caught.value.status) == ("IncompleteBody", 400)


@pytest.mark.parametrize("length", [0, 8193, 8195, 1 << 40])
def test_a_body_with_more_or_less_data_than_it_says_is_refused(length: int) -> None:
    with pytest.raises(S3Error) as caught:
        read(b"2000\r\n" + LARGE + b"\r\n2\r\nde\r\n0\r\n\r\n", length=length)
    assert caught.value.s3_code == "IncompleteBody"
    with pytest.raises(S3Error) as caught:  # a last chunk in the middle
        read(b"3\r\nabc\r\n0\r\n2\r\nde\r\n0\r\n\r\n")
    assert caught.value.s3_code == "IncompleteBody"


@pytest.mark.parametrize("small", [1, 8191])
def test_only_the_last_chunk_is_small(small: int) -> None:
    first = b"2000\r\n" + LARGE + b"\r\n"
    middle = b"%x\r\n" % small + b"b" * small + b"\r\n"
    whole = LARGE + b"b" * small
    assert read(first + middle + b"0\r\n\r\n", length=len(whole)) == whole
    with pytest.raises(S3Error) as caught:
        read(first + middle + b"1\r\nc\r\n0\r\n\r\n", length=len(whole) + 1)
    assert (caught.value.s3_code, caught.value.status) == ("InvalidChunkSizeError", 403)
    assert caught.value.details == {"Chunk": "3", "BadChunkSize": str(small)}


CHUNK, SUM = b"3\r\nabc\r\n0\r\n", b"x-amz-checksum-crc32:NSRBwg==\r\n"
SAYS = {"x-amz-trailer": "x-amz-checksum-crc32"}


def test_a_checksum_behind_the_body_is_compared() -> None:
    assert read(CHUNK + SUM + b"\r\n", length=3, more=SAYS) == b"abc"
    assert read(CHUNK + SUM, length=3, more=SAYS) == b"abc"
    with pytest.raises(S3Error) as caught:
        read(CHUNK + SUM.replace(b"N", b"O"), length=3, more=SAYS)
    assert caught.value.s3_code == "BadDigest"


@pytest.mark.parametrize(
    ("behind", "says", "code"),
    [
        (b"\r\n", SAYS, "MalformedTrailerError"),
        (b"", SAYS, "MalformedTrailerError"),
        (SUM, {}, "MalformedTrailerError"),
        (b"x-amz-checksum-sha1:NSRBwg==\r\n", SAYS, "MalformedTrailerError"),
        (SUM + b"x-mine:1\r\n", SAYS, "MalformedTrailerError"),
        (SUM[:-2], SAYS, "IncompleteBody"),
        (SUM[:-1], SAYS, "IncompleteBody"),
        (SUM, {"x-amz-trailer": "x-amz-checksum-crc32, x-mine"}, "InvalidRequest"),
        (SUM, {"x-amz-trailer": "crc32"}, "InvalidRequest"),
        (SUM, {"x-amz-trailer": "content-md5"}, "InvalidRequest"),
    ],
)
def test_what_is_behind_the_body_must_be_what_was_announced(
    behind: bytes, says: dict[str, str], code: str
) -> None:
    """A checksum that never came is a body that was cut off."""
    with pytest.raises(S3Error) as caught:
        read(CHUNK + behind, length=3, more=says)
    assert caught.value.s3_code == code


def test_a_checksum_that_was_promised_must_be_in_a_header() -> None:
    promise = {"x-amz-sdk-checksum-algorithm": "CRC32"}
    assert read(CHUNK + SUM, length=3, more=SAYS | promise) == b"abc"
    for more in ({}, {"x-amz-checksum-sha1": "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="}):
        with pytest.raises(S3Error) as caught:
            read(CHUNK, length=3, more=more | promise)
        assert caught.value.s3_code == "InvalidRequest"


def test_a_chunk_that_is_longer_than_it_says_is_refused() -> None:
    with pytest.raises(S3Error) as caught:
        read(b"2\r\nabc\r\n0\r\n\r\n")
    assert caught.value.s3_code == "InvalidRequest"


@pytest.mark.parametrize(
    "length", [None, "", "five", "9" * 16, "9" * 5000, "-5", "+5", "5.0", "\u0665"]
)
def test_a_length_of_the_data_that_is_none_is_refused(length: str | None) -> None:
    headers = {} if length is None else {"x-amz-decoded-content-length": length}
    with pytest.raises(S3Error) as caught:
        Upload(headers, iter, Signature("access", bool, payload=TRAILER), b"")  # type: ignore[arg-type]
    assert (caught.value.s3_code, caught.value.status) == ("MissingContentLength", 411)


@pytest.mark.parametrize("value", ["", "y/Q5Jg=", "y/Q5Jh==", "y/Q5Jg==\n", "eS9RNUpn", "é"])
def test_what_no_encoder_makes_is_no_checksum(value: str) -> None:
    """The last letter of `y/Q5Jh==` has bits that belong to no byte."""
    with pytest.raises(S3Error) as caught:
        checksums.check_form("crc32", value)
    assert caught.value.s3_code == "InvalidRequest"
    checksums.check_form("crc32", "y/Q5Jg==")


# The example of the S3 API Reference, "Signature Calculations for the Authorization Header:
# Transferring Payload in Multiple Chunks (Chunked Upload)".
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
CHUNKS = [
    (65536, b"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
    (1024, b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
    (0, b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
]


def as_usual(size: int, signature: bytes) -> bytes:
    return b"%x;chunk-signature=%s" % (size, signature)


def signed(
    chunks: list[tuple[int, bytes]], first_line: Callable[[int, bytes], bytes] = as_usual
) -> bytes:
    """The data of the example's upload, in chunks that are signed so."""
    sent = b"".join(
        first_line(size, each) + b"\r\n" + b"a" * size + b"\r\n" for size, each in chunks
    )
    signature = Signature(
        "AKIAIOSFODNN7EXAMPLE",
        lambda secret: True,
        payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        seed=SEED,
        moment="20130524T000000Z",
        scope="20130524/us-east-1/s3/aws4_request",
    )
    key = signature.signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    headers = {"x-amz-decoded-content-length": "66560"}
    upload = Upload(headers, lambda size: iter([sent]), signature, key)
    return b"".join(upload.pieces(1 << 16))


@pytest.mark.parametrize("form", [b"%x;chunk-signature=%s", b"%X ; chunk-signature = %s "])
def test_signatures_of_chunks_are_checked(form: bytes) -> None:
    assert signed(CHUNKS, lambda *both: form % both) == b"a" * 66560


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_chunk_with_another_signature_is_refused(place: int) -> None:
    size, signature = CHUNKS[place]
    for wrong in (signature[:-1] + b"0", CHUNKS[place - 1][1]):
        with pytest.raises(S3Error) as caught:
            signed([*CHUNKS[:place], (size, wrong), *CHUNKS[place + 1 :]])
        assert (caught.value.s3_code, caught.value.status) == ("SignatureDoesNotMatch", 403)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_chunk_without_a_signature_is_malformed(place: int) -> None:
    size, signature = CHUNKS[place]
    for wrong in (b"", signature[:-1], signature + b"0", b"g" * 64, b"\xe9" * 64):
        with pytest.raises(S3Error) as caught:
            signed([*CHUNKS[:place], (size, wrong), *CHUNKS[place + 1 :]])
        assert (caught.value.s3_code, caught.value.status) == ("InvalidRequest", 400)


@pytest.mark.parametrize("form", [b"%x", b"%x;", b"%x;signature=%s", b"%x;%s", b";chunk-signature"])
def test_signed_chunks_name_their_size_and_signature(form: bytes) -> None:
    given = form.count(b"%")
    with pytest.raises(S3Error) as caught:
        signed(CHUNKS, lambda *both: form % both[:given])
    assert (caught.value.s3_code, caught.value.status) == ("InvalidRequest", 400)


@pytest.mark.parametrize("more", [1, -1, 1000, -1000])
def test_a_signed_chunk_that_is_not_as_long_as_it_says_is_malformed(more: int) -> None:
    """Before anything is said of its signature, which cannot fit."""
    sizes = iter([65536 + more, 1024 - more, 0])
    with pytest.raises(S3Error) as caught:
        signed(CHUNKS, lambda size, each: b"%x;chunk-signature=%s" % (next(sizes), each))
    assert (caught.value.s3_code, caught.value.status) == ("InvalidRequest", 400)


@pytest.mark.parametrize("size", [65537, 66560])
def test_signed_chunks_that_end_too_soon_are_incomplete(size: int) -> None:
    with pytest.raises(S3Error) as caught:
        signed(CHUNKS[:1], lambda _size, each: as_usual(size, each))
    assert (caught.value.s3_code, caught.value.status) == ("IncompleteBody", 400)


@pytest.mark.parametrize(
    ("behind", "code"),
    [
        (b"", "MalformedTrailerError"),
        (b"x-amz-trailer-signature:\r\n", "MalformedTrailerError"),
        (b"x-amz-trailer-signature:abc\r\n", "MalformedTrailerError"),
        (b"x-amz-trailer-signature:" + b"0" * 64 + b"\r\n", "SignatureDoesNotMatch"),
    ],
)
def test_a_signed_trailer_has_a_signature(behind: bytes, code: str) -> None:
    signature = Signature(
        "access",
        lambda secret: True,
        payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        seed=SEED,
        moment="20130524T000000Z",
        scope="20130524/us-east-1/s3/aws4_request",
    )
    empty = hashlib.sha256().hexdigest()
    lines = ("AWS4-HMAC-SHA256-PAYLOAD", signature.moment, signature.scope, SEED, empty, empty)
    own = hmac.new(b"key", "\n".join(lines).encode(), "sha256").hexdigest()
    sent = as_usual(0, own.encode()) + b"\r\n" + SUM.replace(b"NSRBwg", b"AAAAAA") + behind
    headers = {"x-amz-decoded-content-length": "0", **SAYS}
    with pytest.raises(S3Error) as caught:
        list(Upload(headers, lambda size: iter([sent]), signature, b"key").pieces(1 << 16))
    assert caught.value.s3_code == code


def test_trailers_that_nobody_announced_are_not_collected() -> None:
    """However many there are: none is read behind the first."""
    taken = 0

    def body(size: int) -> Iterator[bytes]:
        nonlocal taken
        yield b"0\r\n"
        for number in range(1000):
            taken += 1
            yield b"x-%d:%s\r\n" % (number, b"y" * 9000)

    signature = Signature("access", lambda secret: True, payload=TRAILER)
    upload = Upload({"x-amz-decoded-content-length": "0"}, body, signature, b"")
    with pytest.raises(S3Error) as caught:
        b"".join(upload.pieces(1 << 16))
    assert caught.value.s3_code == "MalformedTrailerError"
    assert taken < 5


def test_an_anonymous_body_is_what_its_header_says() -> None:
    def read_by_nobody(said: str, sent: bytes) -> bytes:
        headers = {"x-amz-content-sha256": said, "x-amz-decoded-content-length": "3", **SAYS}
        upload = Upload(headers, lambda size: iter([sent]), None, b"")
        data = b"".join(upload.pieces(1 << 16))
        upload.check()
        return data

    assert read_by_nobody(TRAILER, CHUNK + SUM) == b"abc"
    with pytest.raises(S3Error) as caught:
        read_by_nobody("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", CHUNK + SUM)
    assert caught.value.s3_code == "InvalidArgument"
    with pytest.raises(S3Error) as caught:
        read_by_nobody("0" * 64, b"abc")
    assert caught.value.s3_code == "XAmzContentSHA256Mismatch"
    assert Upload({}, lambda size: iter([b"abc"]), None, b"").length is None


# --- Signatures of version 2, and in URLs ---------------------------------------------------------


def loosely(said: str, sent: bytes, more: Mapping[str, str] = {}) -> bytes:
    """A body whose signature need not say anything of it, but does."""
    signature = Signature("access", lambda secret: True, payload=said, is_loose=True)
    headers = {"content-length": str(len(sent)), **more}
    upload = Upload(headers, lambda size: iter([sent]), signature, b"")
    data = b"".join(upload.pieces(1 << 16))
    upload.check()
    return data


def test_what_a_loose_signature_says_of_the_body_is_compared() -> None:
    right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert loosely("UNSIGNED-PAYLOAD", b"abc") == loosely(right, b"abc") == b"abc"
    for said in (
        "0" * 64,
        "unsigned-payload",
        "digest",
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
    ):
        with pytest.raises(S3Error) as caught:
            loosely(said, b"abc", {"x-amz-decoded-content-length": "3"})
        assert caught.value.s3_code == "XAmzContentSHA256Mismatch"
        assert caught.value.details == {
            "ClientComputedContentSHA256": said,
            "S3ComputedContentSHA256": right,
        }


@pytest.mark.parametrize("said", [TRAILER, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"])
def test_a_loose_signature_signs_no_chunks(said: str) -> None:
    """Neither is the data taken out of them, nor are they stored as if they were the data."""
    sent = b"3\r\nabc\r\n0\r\n\r\n"
    with pytest.raises(S3Error) as caught:
        loosely(said, sent, {"x-amz-decoded-content-length": str(len(sent))})
    assert caught.value.s3_code == "XAmzContentSHA256Mismatch"
    with pytest.raises(S3Error) as caught:
        loosely(said, sent, {"x-amz-decoded-content-length": "3"})
    assert caught.value.s3_code == "IncompleteBody"
    assert caught.value.details == {"NumberBytesExpected": "3", "NumberBytesProvided": "13"}
    with pytest.raises(S3Error) as caught:
        loosely(said, sent)
    assert caught.value.s3_code == "MissingContentLength"


# --- What refusals tell ---------------------------------------------------------------------------


def test_refusals_tell_what_was_said_and_what_came() -> None:
    with pytest.raises(S3Error) as caught:
        loosely("UNSIGNED-PAYLOAD", b"abc", {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="})
    assert caught.value.details == {
        "ExpectedDigest": "d41d8cd98f00b204e9800998ecf8427e",
        "CalculatedDigest": "kAFQmDzST7DWlj99KOF/cg==",
    }
    with pytest.raises(S3Error) as caught:
        Upload({}, iter, Signature("access", bool, payload="digest"), b"")  # type: ignore[arg-type]
    assert caught.value.details == {
        "ArgumentName": "x-amz-content-sha256",
        "ArgumentValue": "digest",
    }
    with pytest.raises(S3Error) as caught:
        read(CHUNK, length=2)
    assert caught.value.details == {"NumberBytesExpected": "2", "NumberBytesProvided": "3"}


def test_a_checksum_is_sent_once() -> None:
    """In a header or behind the body, which has to be in chunks then."""
    for again in ("NSRBwg==", "AAAAAA=="):
        with pytest.raises(S3Error) as caught:
            read(CHUNK + SUM, length=3, more=SAYS | {"x-amz-checksum-crc32": again})
        assert caught.value.s3_code == "InvalidRequest"
    with pytest.raises(S3Error) as caught:
        loosely("UNSIGNED-PAYLOAD", b"abc", SAYS)
    assert caught.value.s3_code == "MalformedTrailerError"
    for ending in (",", ", ", ",,"):
        says = {"x-amz-trailer": SAYS["x-amz-trailer"] + ending}
        assert read(CHUNK + SUM, length=3, more=says) == b"abc"
