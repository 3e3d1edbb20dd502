"""Properties of images that not everybody may create, read, update or delete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nubelet.image.property_protection import ProtectionError
from tests.cloud import TestedCloud, make_cloud

IMAGES = "/image/v2/images"
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
ROLES = """
[^x_all_]
create = @
read = @
update = @
delete = @

[^x_none]
create = !
read = !
update = !
delete = !

[^x_admin]
create = admin
read = admin
update = admin
delete = admin

[^x_once]
create = admin, Member
read = reader
update = admin

[^x_(shown|seen)$]
create = admin
read = @
update = admin
delete = admin

[^free]
create = @
read = @
update = @
delete = @
"""


def cloud(folder: Path, text: str, rule_format: str = "roles") -> TestedCloud:
    path = folder / "protection.conf"
    path.write_text(text)
    return make_cloud(
        folder / "cloud",
        services=("identity", "image"),
        hosts=(),
        options={
            "image.property_protection_file": str(path),
            "image.property_protection_rule_format": rule_format,
        },
    )


@pytest.fixture
def tested(tmp_path: Path) -> Iterator[TestedCloud]:
    made = cloud(tmp_path, ROLES)
    yield made
    made.close()


def create(client: httpx.Client, status: int = 201, **properties: str) -> dict[str, Any]:
    answer = client.post(IMAGES, json={"visibility": "shared", **properties})
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def patch(client: httpx.Client, one: str, op: str, name: str, value: str = "v") -> int:
    change = [{"op": op, "path": f"/{name}", "value": value}]
    return client.patch(f"{IMAGES}/{one}", json=change, headers=PATCH).status_code


def test_who_may_create(tested: TestedCloud) -> None:
    admin, member = tested.client("admin"), tested.client("member")
    assert create(member, x_all_y="1", x_once="2", free="3")["x_all_y"] == "1"
    for name in ("x_none", "x_admin", "x_shown", "unnamed"):
        refused = create(member, 403, **{name: "1"})
        assert name in refused["message"]
        assert "create" in refused["message"]
    assert create(admin, x_admin="1", x_shown="2")["x_admin"] == "1"
    create(admin, 403, x_none="1")  # nobody is nobody
    create(admin, 403, unnamed="1")


def test_who_may_read(tested: TestedCloud) -> None:
    admin, member = tested.client("admin"), tested.client("member")
    project = tested.user("member").project_id
    one = create(admin, x_admin="secret", x_shown="seen", owner=project, name="n")["id"]
    shown = member.get(f"{IMAGES}/{one}").json()
    assert "x_admin" not in shown
    assert shown["x_shown"] == "seen"
    [listed] = member.get(IMAGES, params={"name": "n"}).json()["images"]
    assert listed == shown
    assert admin.get(f"{IMAGES}/{one}").json()["x_admin"] == "secret"
    # Nor does a filter tell.
    assert member.get(IMAGES, params={"x_admin": "secret"}).json()["images"] == []
    assert len(member.get(IMAGES, params={"x_shown": "seen"}).json()["images"]) == 1
    assert len(admin.get(IMAGES, params={"x_admin": "secret"}).json()["images"]) == 1


def test_who_may_update_and_delete(tested: TestedCloud) -> None:
    admin, member = tested.client("admin"), tested.client("member")
    project = tested.user("member").project_id
    one = create(admin, x_admin="1", x_shown="1", x_once="1", x_all_y="1", free="1", owner=project)[
        "id"
    ]
    for name in ("x_admin", "x_shown", "x_once"):
        assert patch(member, one, "replace", name) == 403
        assert patch(member, one, "add", name) == 403
        assert patch(member, one, "remove", name) == 403
    assert patch(member, one, "replace", "x_all_y") == 200
    assert patch(member, one, "remove", "x_all_y") == 200
    assert patch(member, one, "add", "x_all_y") == 200
    assert patch(member, one, "replace", "name") == 200  # what is no property is not protected
    assert patch(admin, one, "replace", "x_once") == 200
    assert patch(admin, one, "remove", "x_once") == 403  # the section does not say who may
    shown = admin.get(f"{IMAGES}/{one}").json()
    assert (shown["x_admin"], shown["x_shown"], shown["x_once"]) == ("1", "1", "v")


def test_what_one_cannot_see_survives_a_change(tested: TestedCloud) -> None:
    admin, member = tested.client("admin"), tested.client("member")
    project = tested.user("member").project_id
    one = create(admin, x_admin="1", free="1", owner=project)["id"]
    changes = [
        {"op": "remove", "path": "/free"},
        {"op": "add", "path": "/free2", "value": "x"},
    ]
    assert member.patch(f"{IMAGES}/{one}", json=changes, headers=PATCH).status_code == 200
    assert admin.get(f"{IMAGES}/{one}").json()["x_admin"] == "1"


POLICIES = """
[^x_own]
create = role:member and not role:manager
read = @
update = context_is_admin
delete = rule:context_is_admin or user_id:nobody

[^x_empty]
create =
read = @
"""


def test_policy_checks_in_place_of_roles(tmp_path: Path) -> None:
    tested = cloud(tmp_path, POLICIES, "policies")
    try:
        admin, member = tested.client("admin"), tested.client("member")
        one = create(member, x_own="1")["id"]
        create(tested.client("manager"), 403, x_own="1")
        create(admin, 403, x_empty="1")
        assert patch(member, one, "replace", "x_own") == 403
        assert patch(admin, one, "replace", "x_own") == 200
        assert patch(member, one, "remove", "x_own") == 403
        assert patch(admin, one, "remove", "x_own") == 200
        assert patch(member, one, "add", "x_own") == 200
    finally:
        tested.close()


@pytest.mark.parametrize(
    ("text", "rule_format", "said"),
    [
        ("no section", "roles", "no section headers"),
        ("[(]\nread = @\n", "roles", "not a regular expression"),
        ("[x]\nwrite = @\n", "roles", "no action write"),
        ("[x]\nread = @, !\n", "roles", "contradict"),
        ("[x]\nread = @\n[x]\nread = !\n", "roles", "already exists"),
        ("[x]\nread = rule:nothing_like_it\n", "policies", "nothing_like_it"),
        ("[x]\nread = role:x or\n", "policies", r"\[x\]: read"),
    ],
)
def test_a_file_with_a_mistake_keeps_the_cloud_from_starting(
    tmp_path: Path, text: str, rule_format: str, said: str
) -> None:
    with pytest.raises(ProtectionError, match=said):
        cloud(tmp_path, text, rule_format)


def test_the_file_is_read_again_and_never_half(tested: TestedCloud) -> None:
    path = Path(tested.cloud.settings.image.property_protection_file)
    member = tested.client("member")
    create(member, 403, unnamed="1")
    _replace(path, ROLES + "\n[^unnamed]\ncreate = @\nread = @\n")
    create(member, unnamed="1")
    _replace(path, "this is not a file of sections")
    create(member, unnamed="1")
    create(member, 403, x_none="1")
    path.unlink()  # nor does an accident open everything
    create(member, 403, x_none="1")


def _replace(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text)
    os.utime(beside, ns=(0, path.stat().st_mtime_ns + 1_000_000))
    beside.replace(path)
