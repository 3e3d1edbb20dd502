"""An operator's image.yaml changes who may do what, also for metadata definitions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nubelet.image import SERVICE
from nubelet.kernel.policy import Policy, PolicyError
from tests.cloud import TestedCloud, make_cloud

NAMESPACES = "/image/v2/metadefs/namespaces"
OVERRIDES = """
"metadef_admin": "role:admin or (role:member and project_id:%(project_id)s)"
"publicize_image": "role:admin or role:manager"
"get_metadef_tags": "!"
"cache_list": "role:manager and not role:admin"
"""


@pytest.fixture
def tested(tmp_path: Path) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path, services=("identity", "image"), hosts=())
    path = tmp_path / "image.yaml"
    path.write_text(OVERRIDES)
    made.cloud.policies["image"] = Policy.load(SERVICE.rules, path)
    yield made
    made.close()


def test_members_may_define_for_their_project_only(tested: TestedCloud) -> None:
    member, stranger = tested.client("member"), tested.client("stranger")
    assert member.post(NAMESPACES, json={"namespace": "ours"}).status_code == 201
    foreign = {"namespace": "theirs", "owner": tested.user("stranger").project_id}
    assert member.post(NAMESPACES, json=foreign).status_code == 403
    assert member.post(f"{NAMESPACES}/ours/tags/t").status_code == 201
    public = {"namespace": "ours", "visibility": "public"}
    assert member.put(f"{NAMESPACES}/ours", json=public).status_code == 200
    given_away = {**public, "owner": tested.user("stranger").project_id}
    assert member.put(f"{NAMESPACES}/ours", json=given_away).status_code == 403
    assert stranger.get(f"{NAMESPACES}/ours/objects").status_code == 200
    assert stranger.post(f"{NAMESPACES}/ours/objects", json={"name": "o"}).status_code == 403
    assert stranger.put(f"{NAMESPACES}/ours", json={"namespace": "x"}).status_code == 403
    assert stranger.delete(f"{NAMESPACES}/ours").status_code == 403


def test_what_a_rule_forbids_is_not_shown_by_another_way(tested: TestedCloud) -> None:
    admin = tested.client("admin")
    assert admin.post(NAMESPACES, json={"namespace": "n"}).status_code == 201
    assert admin.get(f"{NAMESPACES}/n/tags").status_code == 403
    assert admin.get(f"{NAMESPACES}/n").status_code == 403  # it would show the tags


def test_other_rules_follow_too(tested: TestedCloud) -> None:
    manager, member = tested.client("manager"), tested.client("member")
    public = {"visibility": "public"}
    assert manager.post("/image/v2/images", json=public).status_code == 201
    assert member.post("/image/v2/images", json=public).status_code == 403
    assert manager.get("/image/v2/cache").status_code == 200
    assert tested.client("admin").get("/image/v2/cache").status_code == 403


def test_a_misspelt_rule_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "image.yaml"
    path.write_text('"metadef_admim": "role:admin"')
    with pytest.raises(PolicyError, match="metadef_admin"):
        Policy.load(SERVICE.rules, path)
