"""Ids and secrets."""

from __future__ import annotations

import secrets

import pytest

from nubelet.kernel.ids import new_secret


def test_a_secret_is_no_option_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """`openstack ... --verifier -x` asks for an argument of --verifier."""
    made = iter(["-ctnr8CA0i", "-", "a-b"])
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size: next(made))
    assert new_secret(24) == "a-b"
