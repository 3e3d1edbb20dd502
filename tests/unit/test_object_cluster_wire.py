"""The wire between storage nodes: signatures, streamed bodies, errors, mixed releases."""

from __future__ import annotations

import hashlib
import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nubelet.kernel.errors import (
    ApiError,
    BadRequest,
    Conflict,
    InsufficientStorage,
    PreconditionFailed,
    ServiceUnavailable,
    Unauthorized,
)
from nubelet.object_store.cluster import messages, wire
from nubelet.object_store.storage import Missing, NotEmpty, ObjectPath, Outdated

KEY = b"k" * 32


def _headers(call: str = "object_open", key: bytes = KEY) -> dict[bytes, bytes]:
    asked = messages.OpenObject(device="d0", policy=0, path=ObjectPath("a", "c", "ö/\n"))
    signed = wire.signed(key, call, asked)
    return {name.encode(): value.encode() for name, value in signed.items()}


def test_a_signed_call_arrives_as_it_was_sent() -> None:
    arguments = wire.verified(KEY, "object_open", _headers())
    asked = wire.decode(arguments, messages.OpenObject)
    assert asked.path == ObjectPath("a", "c", "ö/\n")


@pytest.mark.parametrize("name", [b"x-nubelet-call", b"x-nubelet-time", b"x-nubelet-mac"])
def test_what_was_changed_on_the_way_is_refused(name: bytes) -> None:
    headers = _headers()
    changed = headers[name][:-1] + (b"1" if headers[name][-1:] != b"1" else b"2")
    with pytest.raises(Unauthorized):
        wire.verified(KEY, "object_open", {**headers, name: changed})
    with pytest.raises(Unauthorized):
        wire.verified(KEY, "object_open", {k: v for k, v in headers.items() if k != name})


def test_another_call_another_key_and_old_calls_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers = _headers()
    with pytest.raises(Unauthorized):
        wire.verified(KEY, "object_delete", headers)
    with pytest.raises(Unauthorized):
        wire.verified(KEY, "object_open", _headers(key=b"x" * 32))
    later = int(headers[b"x-nubelet-time"]) + wire.CLOCK_SECONDS + 1
    monkeypatch.setattr(wire.time, "time", lambda: later)
    with pytest.raises(Unauthorized, match="clocks"):
        wire.verified(KEY, "object_open", headers)


def _body(pieces: list[bytes], tail: wire.Tail) -> bytes:
    framed = b"".join(wire.frame(piece) + piece for piece in pieces if piece)
    return framed + wire.end(KEY, tail)


def _cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """The data in chunks, as a network delivers it."""
    chunks, place = [], 0
    for size in itertools.chain(sizes, itertools.repeat(len(data) + 1)):
        if place >= len(data):
            return chunks
        chunks.append(data[place : place + size])
        place += size
    return chunks


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(1, 50), max_size=30))
def test_a_body_arrives_however_it_is_cut(pieces: list[bytes], sizes: list[int]) -> None:
    whole = b"".join(pieces)
    tail = wire.Tail(etag=hashlib.md5(whole).hexdigest(), metadata={"a": "ö"})
    frames = wire.Frames(KEY, _cut(_body(pieces, tail), sizes))
    assert b"".join(frames) == whole
    assert frames.tail == tail


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_body_cut_off_or_with_another_end_is_refused(place: int, flip: int) -> None:
    data = _body([b"x" * 100], wire.Tail(etag="0" * 32))
    with pytest.raises(BadRequest):
        list(wire.Frames(KEY, [data[: place % len(data)]]))
    end = 4 + 100 + 8  # what comes before the signed tail
    changed = bytearray(data)
    changed[end + place % (len(data) - end)] ^= flip
    frames = wire.Frames(KEY, [bytes(changed)])
    with pytest.raises(BadRequest):
        list(frames)
    assert frames.tail is None


@pytest.mark.parametrize(
    "error",
    [
        Missing("object", "", "1700000000.00000"),
        Outdated("1700000000.00000"),
        NotEmpty("The container has 3 objects."),
        Conflict("The container has storage policy 1."),
        PreconditionFailed("The object exists."),
        InsufficientStorage("There is no room."),
        ServiceUnavailable("The listing is busy."),
    ],
)
def test_an_error_is_the_same_on_the_other_side(error: ApiError) -> None:
    sent = msgspec.json.encode(wire.refusal(error))
    came = wire.raised(msgspec.json.decode(sent, type=wire.Refusal))
    assert type(came) is type(error)
    assert getattr(came, "timestamp", "") == getattr(error, "timestamp", "")
    assert getattr(came, "newest", "") == getattr(error, "newest", "")


def test_faults_of_a_node_tell_nothing_of_its_inside() -> None:
    refusal = wire.refusal(ValueError("/srv/node/secret"))
    assert "secret" not in refusal.message
    assert isinstance(wire.raised(refusal), wire.NodeFailed)


@pytest.mark.parametrize("error", [BadRequest("what?"), Unauthorized("The clocks differ.")])
def test_a_node_that_does_not_understand_or_trust_us_counts_as_dead(error: ApiError) -> None:
    came = wire.raised(wire.refusal(error))
    assert isinstance(came, wire.NodeFailed)
    assert error.message in str(came)


def test_a_newer_release_is_understood_and_an_older_one_too() -> None:
    newer = b'{"device":"d","policy":0,"path":["a","c","o"],"new_field":{"x":1}}'
    assert wire.decode(newer, messages.OpenObject).inline is True  # not sent: its default
    with pytest.raises(BadRequest, match="policy"):
        wire.decode(b'{"device":"d"}', messages.OpenObject)
