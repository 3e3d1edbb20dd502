"""Images as their users see them: who sees which, how lists are filtered, what a patch may do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.cloud import PERSONAS, TestedCloud, make_cloud

URL = "/image/v2/images"
V21 = "application/openstack-images-v2.1-json-patch"
V20 = "application/openstack-images-v2.0-json-patch"


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path_factory.mktemp("image"), services=("identity", "image"))
    yield made
    made.close()


@pytest.fixture
def client(tested: TestedCloud) -> httpx.Client:
    return tested.client("member")


def create(client: httpx.Client, **values: Any) -> Any:
    answer = client.post(URL, json={"disk_format": "raw", "container_format": "bare", **values})
    assert answer.status_code == 201, answer.text
    return answer.json()


def upload(client: httpx.Client, one: str, data: bytes) -> httpx.Response:
    return client.put(
        f"{URL}/{one}/file", content=data, headers={"Content-Type": "application/octet-stream"}
    )


def patch(client: httpx.Client, one: str, *changes: Any, media: str = V21) -> httpx.Response:
    return client.patch(
        f"{URL}/{one}", content=json.dumps(changes), headers={"Content-Type": media}
    )


def ids(client: httpx.Client, **query: Any) -> list[str]:
    answer = client.get(URL, params=query)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["images"]]


# --- Creation ---------------------------------------------------------------------------------


def test_a_new_image_has_defaults(tested: TestedCloud, client: httpx.Client) -> None:
    made = client.post(URL, json={}).json()
    assert made["status"] == "queued"
    assert made["visibility"] == "shared"
    assert made["owner"] == tested.user("member").project_id
    assert made["tags"] == []
    for name in (
        "size",
        "checksum",
        "os_hash_algo",
        "os_hash_value",
        "name",
        "virtual_size",
        "disk_format",
        "container_format",
    ):
        assert made[name] is None
    assert made["min_disk"] == made["min_ram"] == 0
    assert made["protected"] is made["os_hidden"] is False
    assert made["self"] == f"/v2/images/{made['id']}"
    assert made["file"] == f"/v2/images/{made['id']}/file"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"disk_format": "wrong"}, 400),
        ({"container_format": "wrong"}, 400),
        ({"min_disk": -1}, 400),
        ({"min_ram": "1"}, 400),
        ({"visibility": "secret"}, 400),
        ({"id": "x"}, 400),
        ({"name": "x" * 256}, 400),
        ({"tags": ["x" * 256]}, 400),
        ({"tags": "x"}, 400),
        ({"extra": 5}, 400),
        ({"protected": "yes"}, 400),
        ({"os_glance_x": "1"}, 403),
        ({"os_glance": "1"}, 403),
        ({"os_glancex": "1"}, 403),
        ({"x" * 256: "1"}, 400),
        ({"": "1"}, 400),
        ({"status": "active"}, 403),
        ({"size": 5}, 403),
        ({"checksum": "x"}, 403),
        ({"locations": "x"}, 403),
        ({"owner": "another"}, 403),
        ({"created_at": "x"}, 403),
        ({"self": "x"}, 403),
        ({"visibility": "public"}, 403),
        ({"tags": [str(number) for number in range(129)]}, 413),
        ({f"p{number}": "x" for number in range(129)}, 413),
    ],
)
def test_impossible_images_are_refused(
    client: httpx.Client, body: dict[str, Any], status: int
) -> None:
    answer = client.post(URL, json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["message"]


def test_administrators_make_images_for_others(tested: TestedCloud) -> None:
    owner = tested.user("stranger").project_id
    made = create(tested.client("admin"), owner=owner, visibility="public")
    assert made["owner"] == owner
    tested.client("admin").delete(f"{URL}/{made['id']}")


# --- Who sees what ----------------------------------------------------------------------------


def test_visibility(tested: TestedCloud, client: httpx.Client) -> None:
    admin, stranger = tested.client("admin"), tested.client("stranger")
    reader = tested.client("reader")
    made = {
        name: create(client, visibility=name)["id"] for name in ("private", "shared", "community")
    }
    made["public"] = create(admin, visibility="public")["id"]
    for name, one in made.items():
        assert client.get(f"{URL}/{one}").status_code == 200
        assert reader.get(f"{URL}/{one}").status_code == 200
        assert admin.get(f"{URL}/{one}").status_code == 200
        expected = 200 if name in ("community", "public") else 404
        assert stranger.get(f"{URL}/{one}").status_code == expected, name
    own, foreign = set(ids(client)), set(ids(stranger))
    assert set(made.values()) <= own
    assert foreign & set(made.values()) == {made["public"]}
    assert made["community"] in ids(stranger, visibility="community")
    assert set(ids(stranger, visibility="all")) & set(made.values()) == {
        made["public"],
        made["community"],
    }
    assert set(ids(client, visibility="private")) & set(made.values()) == {made["private"]}
    assert set(ids(client, visibility="shared")) & set(made.values()) == {made["shared"]}
    assert set(ids(client, visibility="public")) & set(made.values()) == {made["public"]}
    assert set(made.values()) <= set(ids(admin, visibility="all"))
    assert client.get(URL, params={"visibility": "x"}).status_code == 400


def test_hidden_images_are_listed_only_when_asked_for(client: httpx.Client) -> None:
    one = create(client, os_hidden=True)["id"]
    assert one not in ids(client)
    assert one in ids(client, os_hidden="true")
    assert client.get(f"{URL}/{one}").status_code == 200
    patch(client, one, {"op": "replace", "path": "/os_hidden", "value": False})
    assert one in ids(client)


def test_sharing(tested: TestedCloud, client: httpx.Client) -> None:
    stranger, project = tested.client("stranger"), tested.user("stranger").project_id
    one = create(client, visibility="shared")["id"]
    members = f"{URL}/{one}/members"
    assert stranger.get(members).status_code == 404
    shared = client.post(members, json={"member": project})
    assert shared.json()["status"] == "pending"
    assert client.post(members, json={"member": project}).status_code == 409
    assert stranger.get(f"{URL}/{one}").status_code == 200  # by id at once, in lists when accepted
    assert one not in ids(stranger)
    assert one in ids(stranger, member_status="pending", visibility="shared")
    assert client.put(f"{members}/{project}", json={"status": "accepted"}).status_code == 403
    assert stranger.put(f"{members}/{project}", json={"status": "wrong"}).status_code == 400
    accepted = stranger.put(f"{members}/{project}", json={"status": "accepted"})
    assert accepted.json()["status"] == "accepted"
    assert one in ids(stranger)
    assert one in ids(stranger, visibility="shared")
    assert [each["member_id"] for each in stranger.get(members).json()["members"]] == [project]
    assert stranger.delete(f"{members}/{project}").status_code == 403
    assert stranger.post(members, json={"member": "x"}).status_code == 403
    stranger.put(f"{members}/{project}", json={"status": "rejected"})
    assert one not in ids(stranger)
    assert one in ids(stranger, member_status="rejected")
    assert one in ids(stranger, member_status="all")
    assert client.delete(f"{members}/{project}").status_code == 204
    assert client.delete(f"{members}/{project}").status_code == 404
    assert stranger.get(f"{URL}/{one}").status_code == 404
    private = create(client, visibility="private")["id"]
    assert client.post(f"{URL}/{private}/members", json={"member": project}).status_code == 403
    assert client.get(f"{URL}/{private}/members").status_code == 403
    assert client.get(URL, params={"member_status": "x"}).status_code == 400


def test_members_do_not_see_each_other(tested: TestedCloud, client: httpx.Client) -> None:
    one = create(client)["id"]
    project = tested.user("stranger").project_id
    for member in (project, "another"):
        client.post(f"{URL}/{one}/members", json={"member": member})
    assert len(client.get(f"{URL}/{one}/members").json()["members"]) == 2
    stranger = tested.client("stranger")
    assert len(stranger.get(f"{URL}/{one}/members").json()["members"]) == 1
    assert stranger.get(f"{URL}/{one}/members/another").status_code == 404


# --- Lists ------------------------------------------------------------------------------------


def test_filters(client: httpx.Client) -> None:
    mark = uuid4().hex
    small = create(client, name=f"small, {mark}", os_distro=mark, tags=["x", mark], min_ram=64)
    big = create(client, name=f"big {mark}", os_distro=mark, tags=["y", mark], disk_format="qcow2")
    upload(client, small["id"], b"12345")
    both, first, second = {small["id"], big["id"]}, [small["id"]], [big["id"]]
    assert set(ids(client, os_distro=mark)) == both
    assert set(ids(client, tag=mark)) == both
    assert client.get(f"{URL}?tag={mark}&tag=x").json()["images"][0]["id"] == small["id"]
    assert len(client.get(f"{URL}?tag=x&tag=y").json()["images"]) == 0
    assert ids(client, os_distro=mark, disk_format="qcow2") == second
    assert set(ids(client, os_distro=mark, disk_format="in:qcow2,raw")) == both
    assert ids(client, os_distro=mark, status="active") == first
    assert set(ids(client, os_distro=mark, status="in:active,queued")) == both
    assert ids(client, name=f"big {mark}") == second
    assert set(ids(client, name=f'in:"small, {mark}",big {mark}')) == both
    assert set(ids(client, id=f"in:{small['id']},{big['id']}")) == both
    assert ids(client, os_distro=mark, size=5) == first
    assert ids(client, os_distro=mark, size_min=4, size_max=6) == first
    assert ids(client, os_distro=mark, size_min=6) == []
    assert ids(client, os_distro=mark, min_ram=64) == first
    assert ids(client, os_distro=mark, owner="nobody") == []
    assert ids(client, os_distro=mark, protected="true") == []
    moment = small["created_at"]
    assert set(ids(client, os_distro=mark, created_at=f"gte:{moment}")) == both
    for operator, finds in (("", 1), ("eq:", 1), ("lte:", 1), ("neq:", 0), ("gt:", 0), ("lt:", 0)):
        found = ids(client, id=small["id"], created_at=f"{operator}{moment}")
        assert found == first * finds, "times are compared as they are shown, by whole seconds"
    assert ids(client, os_distro=mark, created_at="lt:2001-01-01T00:00:00Z") == []
    checksum = hashlib.md5(b"12345").hexdigest()
    assert ids(client, os_distro=mark, checksum=checksum) == first
    assert ids(client, os_distro=mark, os_hash_value=hashlib.sha512(b"12345").hexdigest()) == first


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=x",
        "sort_key=nothing",
        "sort_dir=up",
        "sort=name:up",
        "sort=nothing",
        "marker=nothing",
        "size_min=x",
        "size=-5",
        "created_at=never",
        "created_at=almost:2020-01-01",
        "name=in:%22open",
        "protected=perhaps",
        "min_ram=x",
        "sort=name:asc&sort_key=name",
        "sort=name:asc&sort_dir=asc",
        "changes-since=2020-01-01",
        "member_status=",
        pytest.param("&".join(["tag=x"] * 1000), id="1000 tags"),
        pytest.param("&".join(f"p{n}=x" for n in range(1000)), id="1000 properties"),
    ],
)
def test_wrong_lists_are_refused(client: httpx.Client, query: str) -> None:
    assert client.get(f"{URL}?{query}").status_code == 400


def test_pages_and_order(client: httpx.Client) -> None:
    mark = uuid4().hex
    made = [create(client, name=name, os_version=mark)["id"] for name in ("b", "a", "c", "a")]
    assert ids(client, os_version=mark) == made[::-1]
    by_name = client.get(f"{URL}?os_version={mark}&sort=name:asc,created_at:asc")
    assert [each["id"] for each in by_name.json()["images"]] == [made[1], made[3], made[0], made[2]]
    assert ids(client, os_version=mark, sort_key="name", sort_dir="desc")[0] == made[2]
    for bare in ("sort_key=name", "sort=name"):
        found = client.get(f"{URL}?os_version={mark}&{bare}").json()["images"]
        assert [each["name"] for each in found] == ["c", "b", "a", "a"], "descending unless said"
    again = client.get(
        f"{URL}?os_version={mark}&sort={','.join(['name:asc'] * 500)}&marker={made[1]}"
    )
    assert [each["name"] for each in again.json()["images"]][-2:] == ["b", "c"]
    seen, path = [], f"{URL}?os_version={mark}&limit=3&sort=name:asc"
    while path:
        page = client.get(path).json()
        assert page["first"].startswith("/v2/images?")
        assert page["schema"] == "/v2/schemas/images"
        seen += [each["id"] for each in page["images"]]
        path = f"/image{page['next']}" if "next" in page else ""
    assert sorted(seen) == sorted(made)


# --- Patches ----------------------------------------------------------------------------------


def test_a_patch_changes_attributes(client: httpx.Client) -> None:
    one = create(client, name="before", a="1", b="2", tags=["x"])["id"]
    changed = patch(
        client,
        one,
        {"op": "replace", "path": "/name", "value": "after"},
        {"op": "add", "path": "/c", "value": "3"},
        {"op": "remove", "path": "/a"},
        {"op": "replace", "path": "/b", "value": "4"},
        {"op": "add", "path": "/with~1slash~0tilde", "value": "5"},
        {"op": "replace", "path": "/tags", "value": ["y", "z", "y"]},
        {"op": "replace", "path": "/min_disk", "value": 7},
        {"op": "replace", "path": "/visibility", "value": "private"},
    )
    assert changed.status_code == 200, changed.text
    shown = client.get(f"{URL}/{one}").json()
    assert shown == changed.json()
    assert "a" not in shown
    assert [shown[name] for name in ("name", "b", "c", "with/slash~tilde", "tags", "min_disk")] == [
        "after",
        "4",
        "3",
        "5",
        ["y", "z"],
        7,
    ]
    old = patch(
        client,
        one,
        {"replace": "/name", "value": "older"},
        {"remove": "/b"},
        {"add": "/d", "value": "6"},
        media=V20,
    )
    assert old.status_code == 200, old.text
    assert (old.json()["name"], old.json()["d"], "b" in old.json()) == ("older", "6", False)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"op": "replace", "path": "/status", "value": "active"}, 403),
        ({"op": "replace", "path": "/id", "value": str(uuid4())}, 403),
        ({"op": "replace", "path": "/size", "value": 1}, 403),
        ({"op": "replace", "path": "/created_at", "value": "x"}, 403),
        ({"op": "add", "path": "/os_glance_x", "value": "x"}, 403),
        ({"op": "add", "path": "/deleted", "value": "x"}, 403),
        ({"op": "remove", "path": "/name"}, 403),
        ({"op": "replace", "path": "/owner", "value": "another"}, 403),
        ({"op": "replace", "path": "/visibility", "value": "public"}, 403),
        ({"op": "replace", "path": "/none", "value": "x"}, 409),
        ({"op": "remove", "path": "/none"}, 409),
        ({"op": "replace", "path": "/min_ram", "value": -1}, 400),
        ({"op": "replace", "path": "/visibility", "value": "x"}, 400),
        ({"op": "add", "path": "/p", "value": 5}, 400),
        ({"op": "add", "path": "/p"}, 400),
        ({"op": "move", "path": "/p"}, 400),
        ({"op": "add", "path": "p", "value": "x"}, 400),
        ({"op": "add", "path": "/p/q", "value": "x"}, 400),
        ({"op": "add", "path": "/p~2", "value": "x"}, 400),
        ({"op": "add", "path": "/", "value": "x"}, 400),
        ({"op": "add"}, 400),
        ("x", 400),
    ],
)
def test_what_a_patch_may_not_do(client: httpx.Client, change: Any, status: int) -> None:
    one = create(client)["id"]
    before = client.get(f"{URL}/{one}").json()
    answer = patch(client, one, {"op": "replace", "path": "/name", "value": "new"}, change)
    assert answer.status_code == status, answer.text
    assert client.get(f"{URL}/{one}").json() == before  # nothing of it happened


def test_a_patch_says_what_it_is(client: httpx.Client) -> None:
    one = create(client)["id"]
    assert patch(client, one, media="application/json").status_code == 415
    assert (
        client.patch(f"{URL}/{one}", content="{}", headers={"Content-Type": V21}).status_code == 400
    )


def test_formats_are_fixed_once_there_is_data(client: httpx.Client) -> None:
    one = create(client)["id"]
    change = {"op": "replace", "path": "/disk_format", "value": "iso"}
    back = {"op": "replace", "path": "/disk_format", "value": "raw"}
    assert patch(client, one, change).status_code == 200
    assert patch(client, one, back).status_code == 200
    assert upload(client, one, b"data").status_code == 204
    assert patch(client, one, change).status_code == 403


def test_tags(client: httpx.Client) -> None:
    one = create(client)["id"]
    for _ in range(2):
        assert client.put(f"{URL}/{one}/tags/a tag").status_code == 204
    assert client.get(f"{URL}/{one}").json()["tags"] == ["a tag"]
    assert client.delete(f"{URL}/{one}/tags/a tag").status_code == 204
    assert client.delete(f"{URL}/{one}/tags/a tag").status_code == 404
    assert client.put(f"{URL}/{uuid4()}/tags/x").status_code == 404
    assert client.put(f"{URL}/{one}/tags/{'x' * 256}").status_code == 400
    patch(
        client,
        one,
        {"op": "replace", "path": "/tags", "value": [str(number) for number in range(128)]},
    )
    assert client.put(f"{URL}/{one}/tags/another").status_code == 413


def test_protected_images_stay(client: httpx.Client) -> None:
    one = create(client, protected=True)["id"]
    assert client.delete(f"{URL}/{one}").status_code == 403
    patch(client, one, {"op": "replace", "path": "/protected", "value": False})
    assert client.delete(f"{URL}/{one}").status_code == 204
    assert client.delete(f"{URL}/{one}").status_code == 404


# --- Data -------------------------------------------------------------------------------------


def test_data_goes_in_and_comes_out(client: httpx.Client) -> None:
    data = bytes(range(256)) * 5000
    one = create(client)["id"]
    assert client.get(f"{URL}/{one}/file").status_code == 204
    assert upload(client, one, data).status_code == 204
    shown = client.get(f"{URL}/{one}").json()
    assert shown["status"] == "active"
    assert shown["size"] == shown["virtual_size"] == len(data)
    assert shown["checksum"] == hashlib.md5(data).hexdigest()
    assert shown["os_hash_algo"] == "sha512"
    assert shown["os_hash_value"] == hashlib.sha512(data).hexdigest()
    got = client.get(f"{URL}/{one}/file")
    assert got.content == data
    assert got.headers["content-md5"] == shown["checksum"]
    assert got.headers["content-type"] == "application/octet-stream"
    assert upload(client, one, data).status_code == 409


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=990-", 206, 990, 1000),
        ("bytes=-5", 206, 995, 1000),
        ("bytes=10-5000", 206, 10, 1000),
        ("bytes=-5000", 206, 0, 1000),
        ("bytes=1000-", 416, 0, 0),
        ("bytes=5-2", 416, 0, 0),
        ("bytes=-", 416, 0, 0),
        ("lines=1-2", 416, 0, 0),
        ("BYTES = 0-9", 206, 0, 10),
        pytest.param(f"bytes=0-{'9' * 5000}", 206, 0, 1000, id="far end"),
        pytest.param(f"bytes={'9' * 5000}-", 416, 0, 0, id="far begin"),
        pytest.param(f"bytes=-{'9' * 5000}", 206, 0, 1000, id="long end"),
    ],
)
def test_ranges(client: httpx.Client, asked: str, status: int, start: int, end: int) -> None:
    data = bytes(number % 251 for number in range(1000))
    one = create(client)["id"]
    upload(client, one, data)
    got = client.get(f"{URL}/{one}/file", headers={"Range": asked})
    assert got.status_code == status
    if status == 206:
        assert got.content == data[start:end]
        assert got.headers["content-range"] == f"bytes {start}-{end - 1}/1000"
    else:
        assert got.headers["content-range"] == "bytes */1000"


def test_a_range_by_the_header_that_the_image_api_names(client: httpx.Client) -> None:
    data = bytes(number % 251 for number in range(1000))
    one = create(client)["id"]
    upload(client, one, data)
    path = f"{URL}/{one}/file"
    got = client.get(path, headers={"Content-Range": "bytes 10-19/1000"})
    assert (got.status_code, got.content) == (206, data[10:20])
    assert client.get(path, headers={"Content-Range": "bytes 10-19/*"}).content == data[10:20]
    both = {"Content-Range": "bytes 10-19/*", "Range": "bytes=0-4"}
    assert client.get(path, headers=both).content == data[:5]
    for wrong in ("nonsense", "bytes 1000-1010/*", "bytes */1000"):
        assert client.get(path, headers={"Content-Range": wrong}).status_code == 416
    assert client.get(path, headers={"Range": "bytes=0-1,5-6"}).status_code == 400
    whole = client.get(path, headers={"Range": "bytes=0-1", "If-Range": '"x"'})
    assert (whole.status_code, whole.content) == (200, data)


@pytest.mark.parametrize("target", ["file", "stage"])
def test_data_that_is_not_as_long_as_was_said_is_refused(
    tested: TestedCloud, client: httpx.Client, target: str
) -> None:
    """What clients send so that a file cut short is not taken for an image."""
    one = create(client)["id"]
    headers = {"Content-Type": "Application/Octet-Stream"}

    def put(size: str) -> httpx.Response:
        said = {**headers, "X-OpenStack-Image-Size": size}
        return client.put(f"{URL}/{one}/{target}", content=b"1234567", headers=said)

    for wrong in ("8", "6", "-1", "x", "9" * 30, "9" * 5000):
        answer = put(wrong)
        assert answer.status_code == 400, answer.text
        assert "size" in answer.json()["message"]
        assert client.get(f"{URL}/{one}").json()["status"] == "queued"
        tested.reconcile("image.clean_up_uploads")
    assert put("7").status_code == 204


def test_an_upload_that_is_refused_leaves_the_image_queued(
    tested: TestedCloud, client: httpx.Client
) -> None:
    one = create(client, disk_format="qcow2")["id"]
    answer = upload(client, one, b"not a qcow2")
    assert answer.status_code == 415
    assert "did not match disk_format" in answer.json()["message"]
    shown = client.get(f"{URL}/{one}").json()
    assert (shown["status"], shown["size"], shown["checksum"]) == ("queued", None, None)
    wrong_type = client.put(
        f"{URL}/{one}/file", content=b"x", headers={"Content-Type": "application/json"}
    )
    assert wrong_type.status_code == 415
    without = client.post(URL, json={}).json()["id"]
    assert upload(client, without, b"x").status_code == 400
    assert not list(tested.cloud.settings.image.directory.glob("*.part"))


def test_deactivated_images_are_not_given_out(tested: TestedCloud, client: httpx.Client) -> None:
    one = create(client)["id"]
    action = f"{URL}/{one}/actions"
    assert client.post(f"{action}/deactivate").status_code == 403
    upload(client, one, b"data")
    for _ in range(2):
        assert client.post(f"{action}/deactivate").status_code == 204
    assert client.get(f"{URL}/{one}").json()["status"] == "deactivated"
    assert client.get(f"{URL}/{one}/file").status_code == 403
    assert tested.client("admin").get(f"{URL}/{one}/file").content == b"data"
    assert client.post(f"{action}/reactivate").status_code == 204
    assert client.get(f"{URL}/{one}/file").content == b"data"


def test_the_data_of_a_deleted_image_goes(tested: TestedCloud, client: httpx.Client) -> None:
    one = create(client)["id"]
    upload(client, one, b"data")
    folder = tested.cloud.settings.image.directory
    assert [*folder.glob(f"{one}*")]
    assert client.delete(f"{URL}/{one}").status_code == 204
    tested.settle()
    assert not [*folder.glob(f"{one}*")]


# --- Who may do what --------------------------------------------------------------------------


def test_the_roles(tested: TestedCloud, client: httpx.Client) -> None:
    one = create(client)["id"]
    upload(client, one, b"data")
    expected = {
        "admin": (200, 201, 200, 200),
        "admin_of_one": (200, 201, 200, 200),
        "image_admin": (200, 201, 200, 200),
        "member": (200, 201, 200, 200),
        "manager": (200, 201, 200, 200),
        "reader": (200, 403, 403, 403),
        "stranger": (200, 201, 404, 404),
    }
    for who in PERSONAS:
        caller = tested.client(who)
        found = (
            caller.get(URL).status_code,
            caller.post(URL, json={}).status_code,
            caller.get(f"{URL}/{one}/file").status_code,
            patch(caller, one, {"op": "replace", "path": "/name", "value": "x"}).status_code,
        )
        if who in expected:
            assert found == expected[who], who
        elif PERSONAS[who].system:  # monitors see what there is, not what is in it
            assert found[0] == 200, who
            assert set(found[1:]) <= {403, 404}, (who, found)
        else:  # no project in the token
            assert set(found) <= {403, 404}, (who, found)


def test_readers_change_nothing(tested: TestedCloud, client: httpx.Client) -> None:
    one, reader = create(client)["id"], tested.client("reader")
    for method, path in (
        ("PUT", "/file"),
        ("DELETE", ""),
        ("POST", "/actions/deactivate"),
        ("POST", "/actions/reactivate"),
        ("PUT", "/tags/x"),
        ("DELETE", "/tags/x"),
        ("POST", "/members"),
    ):
        answer = reader.request(
            method,
            f"{URL}/{one}{path}",
            headers={
                "Content-Type": "application/octet-stream"
                if path == "/file"
                else "application/json"
            },
            content=b'{"member": "x"}' if path == "/members" else b"",
        )
        assert answer.status_code == 403, (method, path)
        assert "Policy" in answer.json()["message"]


def test_members_use_a_shared_image_but_do_not_change_it(
    tested: TestedCloud, client: httpx.Client
) -> None:
    one, stranger = create(client)["id"], tested.client("stranger")
    upload(client, one, b"data")
    client.post(f"{URL}/{one}/members", json={"member": tested.user("stranger").project_id})
    assert stranger.get(f"{URL}/{one}/file").content == b"data"
    assert patch(stranger, one, {"op": "replace", "path": "/name", "value": "x"}).status_code == 403
    assert stranger.delete(f"{URL}/{one}").status_code == 403
    assert stranger.put(f"{URL}/{one}/tags/x").status_code == 403
    assert stranger.post(f"{URL}/{one}/actions/deactivate").status_code == 403
