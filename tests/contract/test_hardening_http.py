"""What no request may do: break an answer, whatever stands in its body, its path or its query.

Each of these once answered 500 or broke the connection.
"""

from __future__ import annotations

from typing import Any

import pytest

from nubelet.kernel.http.messages import MAX_DEPTH

HUGE = "9" * 20
MANY_DIGITS = "9" * 5000
NETWORK, COMPUTE, IMAGE = "/network/v2.0", "/compute/v2.1", "/image/v2"


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("levels", [MAX_DEPTH, 300, 900])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"{COMPUTE}/os-server-groups", "server_group"),
        (f"{NETWORK}/networks", "network"),
        ("/identity/v3/projects", "project"),
        ("/placement/allocations", "allocations"),
    ],
)
def test_a_deeply_nested_body_is_refused(cloud, path, name, levels):
    client = cloud.client("admin", OpenStack_API_Version="placement 1.39")
    answer = client.post(path, json={name: {"description": nested(levels)}})
    assert answer.status_code == 400
    assert f"nested deeper than {MAX_DEPTH} levels" in answer.text


def test_what_is_stored_can_be_shown_however_deep(cloud):
    """Properties of one's own are kept as they come."""
    admin = cloud.client("admin")
    body = {"project": {"name": "deep", "depth": nested(MAX_DEPTH - 5)}}
    made = admin.post("/identity/v3/projects", json=body)
    assert made.status_code == 201, made.text
    listed = admin.get("/identity/v3/projects?name=deep").json()["projects"]
    assert listed[0]["depth"] == body["project"]["depth"]


def test_a_wide_body_is_not_deep(cloud):
    tags = [f"t{number}" for number in range(60)]
    made = cloud.client("admin").post(
        "/identity/v3/projects",
        json={"project": {"name": "wide", "more": [{"a": []}] * 500, "tags": tags}},
    )
    assert made.status_code == 201, made.text


@pytest.mark.parametrize(
    "path",
    [
        f"{NETWORK}/subnetpools?default_prefixlen={HUGE}",
        f"{NETWORK}/networks?mtu=-{HUGE}",
        f"{NETWORK}/ports?revision_number={1 << 63}",
        f"{COMPUTE}/flavors?minDisk={HUGE}",
        f"{COMPUTE}/servers?power_state={HUGE}",
        f"{IMAGE}/images?size_min={HUGE}",
        f"{IMAGE}/images?min_disk={HUGE}",
    ],
)
def test_a_filter_that_no_column_holds(cloud, path):
    answer = cloud.client("member", OpenStack_API_Version="compute 2.90").get(path)
    name = path.split("?")[1].split("=")[0]
    assert answer.status_code == 400
    assert name in answer.text


@pytest.mark.parametrize("limit", [HUGE, MANY_DIGITS, str((1 << 63) - 1)])
@pytest.mark.parametrize("path", [f"{COMPUTE}/flavors", f"{NETWORK}/networks", f"{IMAGE}/images"])
def test_a_huge_limit_is_no_limit(cloud, path, limit):
    assert cloud.client("member").get(f"{path}?limit={limit}").status_code == 200


@pytest.mark.parametrize("limit", ["-" + HUGE, "x" * 30, "²" * 30])
def test_a_long_limit_that_is_none(cloud, limit):
    answer = cloud.client("member").get(f"{COMPUTE}/flavors", params={"limit": limit})
    assert answer.status_code == 400


@pytest.mark.parametrize("digits", ["²", "--5", "٣", MANY_DIGITS])
def test_what_looks_like_digits_but_is_no_number(cloud, digits):
    member = cloud.client("member")
    network = member.post(f"{NETWORK}/networks", json={"network": {}}).json()["network"]
    group = member.post(f"{NETWORK}/security-groups", json={"security_group": {"name": "g"}})
    rule = {
        "security_group_id": group.json()["security_group"]["id"],
        "direction": "ingress",
        "protocol": digits,
    }
    answers = [
        member.post(f"{NETWORK}/networks", json={"network": {"mtu": digits}}),
        member.post(f"{NETWORK}/security-group-rules", json={"security_group_rule": rule}),
        member.put(
            f"{NETWORK}/networks/{network['id']}",
            json={"network": {"name": "x"}},
            headers={"If-Match": f"revision_number={digits}".encode()},
        ),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 400]


def test_a_name_in_a_location_is_escaped(cloud):
    """A line break in it would be a header of the caller's making."""
    member = cloud.client("member", OpenStack_API_Version="compute 2.90")
    server = member.post(
        f"{COMPUTE}/servers",
        json={"server": {"name": "s", **_bootable(cloud), "networks": "none"}},
    ).json()["server"]["id"]
    cloud.settle()
    answer = member.put(f"{COMPUTE}/servers/{server}/tags/a%0D%0AX-Evil:%201%C3%A9")
    assert answer.status_code == 201
    assert answer.headers["location"].endswith("/tags/a%0D%0AX-Evil:%201%C3%A9")
    assert member.get(f"{COMPUTE}/servers/{server}/tags/a%0D%0AX-Evil:%201%C3%A9").is_success


def test_amounts_that_are_no_ascii_digits_ask_for_nothing(cloud):
    """Before 2.86 extra specs are not checked; what is no number must not stop a server."""
    admin, bootable = cloud.client("admin"), _bootable(cloud)
    admin.post(
        f"{COMPUTE}/flavors/{bootable['flavorRef']}/os-extra_specs",
        json={"extra_specs": {"resources:CUSTOM_A": "²"}},
    ).raise_for_status()
    member = cloud.client("member", OpenStack_API_Version="compute 2.90")
    made = member.post(
        f"{COMPUTE}/servers", json={"server": {"name": "s", **bootable, "networks": "none"}}
    )
    assert made.status_code == 202, made.text
    cloud.settle()
    path = f"{COMPUTE}/servers/{made.json()['server']['id']}"
    assert member.get(path).json()["server"]["status"] == "ACTIVE"


def test_a_shutdown_timeout_that_is_no_number_is_the_default(cloud):
    bootable = _bootable(cloud, os_shutdown_timeout="²")
    member = cloud.client("member", OpenStack_API_Version="compute 2.90")
    made = member.post(
        f"{COMPUTE}/servers", json={"server": {"name": "s", **bootable, "networks": "none"}}
    )
    path = f"{COMPUTE}/servers/{made.json()['server']['id']}"
    cloud.settle()
    assert member.post(f"{path}/action", json={"os-stop": None}).status_code == 202
    cloud.settle()
    assert member.get(path).json()["server"]["status"] == "SHUTOFF"


def _bootable(cloud: Any, **properties: str) -> dict[str, str]:
    """A flavor and an image of the test's own."""
    flavor = cloud.client("admin").post(
        f"{COMPUTE}/flavors",
        json={"flavor": {"name": f"f{id(properties)}", "ram": 64, "vcpus": 1, "disk": 1}},
    )
    member = cloud.client("member")
    image = member.post(
        f"{IMAGE}/images",
        json={"name": "i", "disk_format": "raw", "container_format": "bare", **properties},
    ).json()["id"]
    member.put(
        f"{IMAGE}/images/{image}/file",
        content=b"x" * 512,
        headers={"Content-Type": "application/octet-stream"},
    ).raise_for_status()
    return {"flavorRef": flavor.json()["flavor"]["id"], "imageRef": image}


# --- What PostgreSQL cannot keep is refused on every database -------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        f"{NETWORK}/networks/a%00b",
        f"{COMPUTE}/servers/%00",
        f"{IMAGE}/images/%00",
        "/identity/v3/users/%00",
        "/placement/traits/%00",
    ],
)
def test_nul_in_a_path_is_found_nowhere(cloud, path):
    assert cloud.client("admin").get(path).status_code == 404


@pytest.mark.parametrize(
    "path", [f"{NETWORK}/networks", f"{COMPUTE}/servers", f"{IMAGE}/images", "/identity/v3/users"]
)
def test_nul_in_a_query(cloud, path):
    answer = cloud.client("admin").get(f"{path}?name=a%00b")
    assert answer.status_code == 400
    assert "name" in answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{NETWORK}/networks", {"network": {"name": "a\0b"}}),
        (f"{COMPUTE}/os-server-groups", {"server_group": {"name": "a\0b", "policy": "affinity"}}),
        ("/identity/v3/projects", {"project": {"name": "x", "more": [{"a\0b": 1}]}}),
        (f"{IMAGE}/images", {"name": "x", "own": "\0"}),
    ],
)
def test_nul_in_a_body(cloud, path, body):
    answer = cloud.client("admin").post(path, json=body)
    assert answer.status_code == 400
    assert "NUL" in answer.text


def test_the_six_letters_of_an_escape_are_a_text(cloud):
    body = {"network": {"name": "\\u0000"}}
    assert cloud.client("member").post(f"{NETWORK}/networks", json=body).status_code == 201


@pytest.mark.parametrize(
    "path",
    [
        f"{COMPUTE}/flavors?minRam={1 << 40}",
        f"{NETWORK}/networks?mtu={1 << 40}",
        f"{IMAGE}/images?min_disk={1 << 40}",
    ],
)
def test_a_filter_wider_than_its_column(cloud, path):
    answer = cloud.client("member").get(path)
    assert answer.status_code == 200
    assert [] in answer.json().values()
