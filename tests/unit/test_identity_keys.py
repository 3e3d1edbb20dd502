"""Keys of tokens: a folder that only we can read, and rotation that breaks no valid token."""

from __future__ import annotations

import os
import re
import stat
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nubelet.identity import tokens
from nubelet.identity.keys import KeyRing
from nubelet.identity.tokens import SYSTEM, UNSCOPED, Scope, Token, new_audit_id
from nubelet.kernel.errors import Unauthorized


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "keys"


def ring(folder, keep_seconds=3600.0) -> KeyRing:
    return KeyRing(folder, keep_seconds=keep_seconds)


def numbers(folder) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def test_keys_are_ours_alone(folder):
    keys = ring(folder)
    keys.rotate()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert keys.exposed() == []
    (folder / "0").chmod(0o644)
    assert keys.exposed() == [folder / "0"]


def test_what_was_sealed_opens_also_after_a_restart(folder):
    sealed = ring(folder).seal(b"content")
    assert ring(folder).open(sealed) == b"content"


def test_rotation_keeps_old_tokens_and_uses_the_staged_key(folder):
    keys = ring(folder)
    staged = (folder / "0").read_bytes()
    old = keys.seal(b"old")
    assert keys.rotate() == 2
    assert (folder / "2").read_bytes() == staged
    assert (folder / "0").read_bytes() != staged
    assert keys.open(old) == b"old"


def test_another_process_opens_what_a_rotated_one_sealed(folder):
    here, there = ring(folder), ring(folder)
    there.rotate()
    assert here.open(there.seal(b"new")) == b"new"  # it knew the staged key
    there.rotate()
    there.rotate()
    time.sleep(0.25)  # it looks at the folder at most that often
    assert here.open(there.seal(b"newer")) == b"newer"


def test_keys_go_only_when_no_valid_token_needs_them(folder):
    keys = ring(folder, keep_seconds=100)
    keys.rotate()
    keys.rotate()
    assert numbers(folder) == [0, 1, 2, 3]
    for path in folder.glob("[0-9]"):
        os.utime(path, (time.time() - 1000, time.time() - 1000))
    os.utime(folder / "3", (time.time() - 50, time.time() - 50))
    keys.rotate()
    # 1 was replaced by 2 a thousand seconds ago; 2 by 3 only fifty seconds ago.
    assert numbers(folder) == [0, 2, 3, 4]


def test_the_age_of_the_primary_key_counts_from_its_promotion(folder):
    keys = ring(folder)
    os.utime(folder / "0", (1, 1))
    os.utime(folder / "1", (1, 1))
    assert keys.primary_age_seconds() > 1_000_000
    keys.rotate()
    assert keys.primary_age_seconds() < 60


@pytest.mark.parametrize("text", ["", "x", "gAAAAAB", "🔑", "a" * 500])
def test_what_we_did_not_seal_is_refused(folder, text):
    with pytest.raises(ValueError, match="not a token"):
        ring(folder).open(text)


def test_tokens_of_another_cloud_are_refused(folder, tmp_path):
    other = ring(tmp_path / "other").seal(b"content")
    with pytest.raises(ValueError, match="not a token of this cloud"):
        ring(folder).open(other)


def test_a_changed_token_is_refused(folder):
    keys = ring(folder)
    sealed = keys.seal(b"content")
    for at in range(10, len(sealed), 7):
        changed = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
        with pytest.raises(ValueError, match="not a token"):
            keys.open(changed)


IDS = st.one_of(
    st.uuids().map(lambda uuid: uuid.hex), st.text(min_size=1, max_size=64), st.just("default")
)
_OWN_ID = re.compile("|[0-9a-f]{32}|default")
SCOPES = st.one_of(
    st.just(UNSCOPED),
    st.just(SYSTEM),
    IDS.map(lambda text: Scope("project", text)),
    IDS.map(lambda text: Scope("domain", text)),
)


@given(
    user_id=IDS,
    scope=SCOPES,
    issued_at=st.integers(0, 2**60),
    expires_at=st.integers(0, 2**60),
    methods=st.sampled_from([("password",), ("token",), ("password", "token")]),
)
def test_a_token_says_what_was_put_in(
    tmp_path_factory, user_id, scope, issued_at, expires_at, methods
):
    keys = _shared_ring(tmp_path_factory)
    token = Token(
        user_id=user_id,
        methods=methods,
        scope=scope,
        issued_at=issued_at,
        expires_at=expires_at,
        audit_ids=(new_audit_id(), new_audit_id()),
    )
    text = tokens.seal(keys, token)
    assert tokens.unseal(keys, text) == token
    if all(_OWN_ID.fullmatch(each) for each in (user_id, scope.id)):
        assert len(text) < 255  # as long as the ids are those that this cloud makes


def test_something_else_that_was_sealed_is_no_token(folder):
    keys = ring(folder)
    with pytest.raises(Unauthorized):
        tokens.unseal(keys, keys.seal(b"not msgpack of a token"))


_rings: list[KeyRing] = []


def _shared_ring(factory) -> KeyRing:
    if not _rings:
        _rings.append(ring(factory.mktemp("ring") / "keys"))
    return _rings[0]
