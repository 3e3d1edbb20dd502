"""Authentication methods: those of the house together, and one of an installed package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nubelet.identity import methods, tokens
from nubelet.identity.keys import KeyRing
from nubelet.identity.tokens import Origin, Scope, Token, new_audit_id
from tests.cloud import ADMIN_PASSWORD, TestedCloud, make_cloud
from tests.identity_calls import V3

PLUGIN = """
from nubelet.identity.methods import Method, Proven
from nubelet.kernel.errors import Unauthorized

def prove(attempt, part):
    if attempt.headers.get("x-badge") != part["badge"]:
        raise Unauthorized
    return Proven(user_id=part["user_id"])

SCHEMA = {
    "type": "object",
    "required": ["badge", "user_id"],
    "properties": {"badge": {"type": "string"}, "user_id": {"type": "string"}},
}
METHOD = Method("badge", SCHEMA, prove, direct=True)
OTHER = Method("delegated_badge", SCHEMA, prove)
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path_factory.mktemp("identity"), services=("identity",), hosts=())
    yield tested
    tested.close()


@pytest.fixture
def badges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with two methods, installed for the time of a test."""
    (tmp_path / "our_badges.py").write_text(PLUGIN)
    info = tmp_path / "our_badges-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-badges\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{methods.ENTRY_POINTS}]\nbadge = our_badges:METHOD\ndelegated_badge = our_badges:OTHER\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    methods._installed.cache_clear()
    yield
    methods._installed.cache_clear()
    for name in ("badge", "delegated_badge"):
        methods._loaded.pop(name, None)
    sys.modules.pop("our_badges", None)


def log_in(cloud: TestedCloud, identity: dict[str, Any], **headers: str) -> Any:
    return cloud.client(None, **headers).post(
        f"{V3}/auth/tokens", json={"auth": {"identity": identity}}
    )


def badge(cloud: TestedCloud, name: str = "badge", text: str = "b-17") -> dict[str, Any]:
    return {
        "methods": [name],
        name: {"badge": text, "user_id": cloud.user("member").user_id},
    }


def test_an_installed_method_lets_in(cloud, badges):
    answer = log_in(cloud, badge(cloud), X_Badge="b-17")
    assert answer.status_code == 201, answer.text
    assert answer.json()["token"]["methods"] == ["badge"]
    assert answer.json()["token"]["user"]["id"] == cloud.user("member").user_id
    assert log_in(cloud, badge(cloud)).status_code == 401


def test_the_part_of_an_installed_method_is_validated(cloud, badges):
    answer = log_in(cloud, {"methods": ["badge"], "badge": {"badge": "x"}})
    assert answer.status_code == 400
    assert "user_id" in answer.json()["error"]["message"]


def test_only_a_method_of_the_user_in_person_makes_tokens_that_make_tokens(cloud, badges):
    for name, status in (("badge", 201), ("delegated_badge", 403)):
        first = log_in(cloud, badge(cloud, name), X_Badge="b-17")
        text = first.headers["x-subject-token"]
        again = log_in(cloud, {"methods": ["token"], "token": {"id": text}})
        assert again.status_code == status, again.text


def test_an_installed_method_is_a_factor(cloud, badges):
    secret = {"user": {"id": cloud.user("member").user_id, "password": "not-set"}}
    both = {**badge(cloud), "methods": ["badge", "password"], "password": secret}
    assert log_in(cloud, both, X_Badge="b-17").status_code == 401
    admin = {"name": "admin", "domain": {"id": "default"}, "password": ADMIN_PASSWORD}
    other = {**both, "password": {"user": admin}}
    assert log_in(cloud, other, X_Badge="b-17").status_code == 401, "two users"


def test_a_token_carries_what_it_was_made_from(tmp_path):
    keys = KeyRing(tmp_path / "keys", keep_seconds=60)
    plain = Token(
        user_id="u" * 32,
        methods=("password",),
        scope=Scope("project", "0" * 32),
        issued_at=1,
        expires_at=2,
        audit_ids=(new_audit_id(),),
    )
    assert tokens.unseal(keys, tokens.seal(keys, plain)) == plain
    origin = Origin(
        trust_id="t",
        application_credential_id="a",
        access_token_id="o",
        identity_provider_id="i",
        protocol_id="p",
        group_ids=("g1", "g2"),
        thumbprint="x",
    )
    full = Token(
        user_id="a federated name",
        methods=("mapped", "our-own"),
        scope=Scope("unscoped"),
        issued_at=1,
        expires_at=2,
        audit_ids=(new_audit_id(), new_audit_id()),
        origin=origin,
    )
    assert tokens.unseal(keys, tokens.seal(keys, full)) == full
