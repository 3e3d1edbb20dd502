"""Every operation of the identity API once, judged by the published schemas.

One long walk through the service, so that the last test can tell that no route was forgotten:
what an operation answers must be documented, and what is documented and belongs to what is built
must be there.
"""

from __future__ import annotations

import csv
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nubelet.identity import SERVICE
from tests import identity_walks
from tests.cloud import ADMIN_PASSWORD, TestedCloud, make_cloud
from tests.identity_walks import Walk
from tests.published import Contract

# Parts of the API that are not built yet: they must answer 404, like any unknown path.
NOT_BUILT: tuple[str, ...] = ()


# Published operations that are refused on purpose, and why.
IS_NOT_SERVED = {
    **{
        (method, f"/v3/{path}"): "Keystone answers it with 405, and so do we"
        for methods, path in (
            ("GET", "ec2tokens"),
            ("GET", "s3tokens"),
            ("GET", "OS-OAUTH1/request_token"),
            ("GET", "OS-OAUTH1/access_token"),
            ("GET PUT PATCH DELETE", "OS-OAUTH2/token"),
            ("GET", "auth/OS-FEDERATION/saml2"),
            ("GET", "auth/OS-FEDERATION/saml2/ecp"),
        )
        for method in methods.split()
    },
    ("GET", "/v3/auth/OS-FEDERATION/identity_providers/{}/protocol/{}/websso"): "a mistake of the "
    "reference: the path of Keystone's router has /protocols/",
    ("GET", "/v3/policies/{}/OS-ENDPOINT-POLICY/policy"): "a mistake of the reference: the path "
    "of Keystone's router is /endpoints/{}/OS-ENDPOINT-POLICY/policy",
}


def _template(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path).rstrip("/")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path_factory.mktemp("identity"), services=("identity",), hosts=())
    yield tested
    tested.close()


@pytest.fixture(scope="module")
def contract(published: Path) -> Contract:
    return Contract(published / "openapi/identity/v3.14.yaml")


def test_every_operation(cloud: TestedCloud, contract: Contract) -> None:
    walk = Walk(cloud, contract)
    walk_versions(cloud)
    walk_auth(walk, cloud)
    domain = walk_domains(walk)
    project = walk_projects(walk, domain)
    user = walk_users(walk, domain, project)
    group = walk_groups(walk, domain, user)
    role = walk_roles(walk, domain)
    walk_grants(
        walk,
        {
            "project_id": project,
            "domain_id": domain,
            "user_id": user,
            "group_id": group,
            "role_id": role,
        },
    )
    walk_catalog(walk)
    for area in pkgutil.iter_modules(identity_walks.__path__, "tests.identity_walks."):
        importlib.import_module(area.name).walk(walk, cloud)
    walk_deletions(walk, domain=domain, project=project, user=user, group=group, role=role)
    assert "\n".join(walk.problems) == ""
    routes = {
        (route.method, _template("/v3" + route.path))
        for route in cloud.cloud.services["identity"].routes
        if route.path != "/"
    }
    assert routes - walk.met == set(), "these operations have no contract test"


def test_every_documented_operation_is_built_or_unknown(
    cloud: TestedCloud, contract: Contract
) -> None:
    admin = cloud.client("admin")
    missing = []
    for method, path in contract.operations():
        if ("GET" if method == "HEAD" else method, path) in IS_NOT_SERVED:
            continue
        url = "/identity" + path.replace("{}", "0123456789abcdef0123456789abcdef")
        answer = admin.request(method, url, json={} if method in ("POST", "PUT", "PATCH") else None)
        unknown = answer.status_code in (404, 405) and (
            answer.status_code == 405 or "The resource could not be found." in answer.text
        )
        if (path + "/").startswith(tuple(f"/v3{start}/" for start in NOT_BUILT)):
            if answer.status_code not in (404, 405):
                missing.append(f"{method} {path} is half built: {answer.status_code}")
        elif method != "HEAD" and unknown:
            missing.append(f"{method} {path} is missing: {answer.status_code} {answer.text}")
        elif answer.status_code >= 500:
            missing.append(f"{method} {path}: {answer.status_code}")
    assert missing == []


def test_every_published_operation_is_served(published: Path) -> None:
    """Both lists: what the reference documents, and what today's Keystone routes."""
    routes = {
        (route.method, _template(("/v3" if route.prefixed else "") + route.path))
        for route in SERVICE.routes
    }
    missing = []
    for name in ("routes.tsv", "routes-openapi.tsv"):
        with (published / "samples/keystone" / name).open() as file:
            for row in csv.DictReader(file, delimiter="\t"):
                path = _template(row["path"].partition("?")[0].removeprefix("/identity"))
                if f"{path}/".startswith(tuple(f"/v3{start}/" for start in NOT_BUILT)):
                    continue
                method = "GET" if row["method"] == "HEAD" else row["method"]
                if (method, path) not in routes and not IS_NOT_SERVED.get((method, path)):
                    missing.append(f"{row['method']} {path}")
    assert missing == []


def walk_versions(cloud: TestedCloud) -> None:
    client = cloud.client(None)
    several = client.get("/identity")
    assert several.status_code == 300
    one = client.get("/identity/v3")
    assert several.json()["versions"]["values"] == [one.json()["version"]]
    assert one.json()["version"]["id"] == "v3.14"
    assert one.json()["version"]["links"] == [
        {"rel": "self", "href": "http://cloud.test/identity/v3/"}
    ]
    assert client.get("/identity/v3/").json() == one.json()
    assert client.head("/identity/v3").status_code == 200


def walk_auth(walk: Walk, cloud: TestedCloud) -> None:
    answer = walk(
        "POST",
        "/auth/tokens",
        201,
        {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {
                        "user": {
                            "name": "admin",
                            "domain": {"id": "default"},
                            "password": ADMIN_PASSWORD,
                        }
                    },
                },
                "scope": {"project": {"name": "admin", "domain": {"id": "default"}}},
            }
        },
    )
    assert answer["token"]["project"]["name"] == "admin"
    subject = {"X-Subject-Token": cloud.user("member").token}
    shown = walk("GET", "/auth/tokens", 200, headers=subject)["token"]
    assert [role["name"] for role in shown["roles"]] == ["member", "reader"]
    assert walk("HEAD", "/auth/tokens", 200, headers=subject) is None
    walk("DELETE", "/auth/tokens", 204, headers=subject)
    assert walk("GET", "/auth/catalog", 200)["catalog"][0]["type"] == "identity"
    assert walk("GET", "/auth/projects", 200)["projects"]
    assert walk("GET", "/auth/domains", 200)["domains"] == []
    assert walk("GET", "/auth/system", 200)["system"] == []


def walk_domains(walk: Walk) -> str:
    made = walk("POST", "/domains", 201, {"domain": {"name": "walk", "description": "d"}})["domain"]
    identifier = made["id"]
    assert walk("GET", "/domains/{domain_id}", 200, domain_id=identifier)["domain"] == made
    assert made in walk("GET", "/domains", 200)["domains"]
    changed = walk(
        "PATCH",
        "/domains/{domain_id}",
        200,
        {"domain": {"description": "other"}},
        domain_id=identifier,
    )["domain"]
    assert changed == {**made, "description": "other"}
    return str(identifier)


def walk_projects(walk: Walk, domain: str) -> str:
    made = walk(
        "POST",
        "/projects",
        201,
        {"project": {"name": "walk", "domain_id": domain, "tags": ["a"], "note": "free"}},
    )["project"]
    one = {"project_id": made["id"]}
    assert made["parent_id"] == domain
    assert made["note"] == "free"
    child = walk("POST", "/projects", 201, {"project": {"name": "child", "parent_id": made["id"]}})[
        "project"
    ]
    assert child["domain_id"] == domain
    assert walk("GET", "/projects/{project_id}", 200, **one)["project"] == made
    assert made in walk("GET", "/projects", 200)["projects"]
    changed = walk("PATCH", "/projects/{project_id}", 200, {"project": {"description": "x"}}, **one)
    assert changed["project"] == {**made, "description": "x"}
    tree = walk("GET", "/projects/{project_id}?parents_as_list&subtree_as_ids", 200, **one)
    assert tree["project"]["subtree"] == {child["id"]: None}
    assert walk("GET", "/projects/{project_id}/tags", 200, **one) == {"tags": ["a"]}
    assert walk("PUT", "/projects/{project_id}/tags", 200, {"tags": ["b", "c"]}, **one) == {
        "tags": ["b", "c"]
    }
    walk("PUT", "/projects/{project_id}/tags/{tag}", 201, tag="d", **one)
    walk("GET", "/projects/{project_id}/tags/{tag}", 204, tag="d", **one)
    walk("DELETE", "/projects/{project_id}/tags/{tag}", 204, tag="d", **one)
    walk("GET", "/projects/{project_id}/tags/{tag}", 404, tag="d", **one)
    walk("DELETE", "/projects/{project_id}/tags", 204, **one)
    walk("DELETE", "/projects/{project_id}", 204, project_id=child["id"])
    return str(made["id"])


def walk_users(walk: Walk, domain: str, project: str) -> str:
    made = walk(
        "POST",
        "/users",
        201,
        {
            "user": {
                "name": "walk",
                "domain_id": domain,
                "password": "first",
                "email": "w@example.org",
                "default_project_id": project,
                "options": {"lock_password": False},
            }
        },
    )["user"]
    one = {"user_id": made["id"]}
    assert "password" not in made
    assert made["email"] == "w@example.org"
    assert made["options"] == {"lock_password": False}
    assert walk("GET", "/users/{user_id}", 200, **one)["user"] == made
    assert made in walk("GET", "/users", 200)["users"]
    changed = walk("PATCH", "/users/{user_id}", 200, {"user": {"email": "x@example.org"}}, **one)
    assert changed["user"] == {**made, "email": "x@example.org"}
    walk(
        "POST",
        "/users/{user_id}/password",
        204,
        {"user": {"original_password": "first", "password": "second"}},
        **one,
    )
    assert walk("GET", "/users/{user_id}/groups", 200, **one)["groups"] == []
    assert walk("GET", "/users/{user_id}/projects", 200, **one)["projects"] == []
    walk("DELETE", "/users/{user_id}/tokens", 204, **one)
    return str(made["id"])


def walk_groups(walk: Walk, domain: str, user: str) -> str:
    made = walk("POST", "/groups", 201, {"group": {"name": "walk", "domain_id": domain}})["group"]
    one = {"group_id": made["id"]}
    assert walk("GET", "/groups/{group_id}", 200, **one)["group"] == made
    assert made in walk("GET", "/groups", 200)["groups"]
    changed = walk("PATCH", "/groups/{group_id}", 200, {"group": {"name": "walked"}}, **one)
    assert changed["group"] == {**made, "name": "walked"}
    walk("PUT", "/groups/{group_id}/users/{user_id}", 204, user_id=user, **one)
    walk("GET", "/groups/{group_id}/users/{user_id}", 204, user_id=user, **one)
    [member] = walk("GET", "/groups/{group_id}/users", 200, **one)["users"]
    assert member["id"] == user
    [group] = walk("GET", "/users/{user_id}/groups", 200, user_id=user)["groups"]
    assert group["id"] == made["id"]
    walk("DELETE", "/groups/{group_id}/users/{user_id}", 204, user_id=user, **one)
    walk("GET", "/groups/{group_id}/users/{user_id}", 404, user_id=user, **one)
    return str(made["id"])


def walk_roles(walk: Walk, domain: str) -> str:
    made = walk("POST", "/roles", 201, {"role": {"name": "walk"}})["role"]
    other = walk("POST", "/roles", 201, {"role": {"name": "other", "domain_id": domain}})["role"]
    assert made["domain_id"] is None
    assert walk("GET", "/roles/{role_id}", 200, role_id=made["id"])["role"] == made
    assert made in walk("GET", "/roles", 200)["roles"]
    assert other not in walk("GET", "/roles", 200)["roles"]
    assert walk("GET", f"/roles?domain_id={domain}", 200)["roles"] == [other]
    changed = walk(
        "PATCH", "/roles/{role_id}", 200, {"role": {"description": "x"}}, role_id=made["id"]
    )
    assert changed["role"] == {**made, "description": "x"}
    pair = {"prior_role_id": other["id"], "implied_role_id": made["id"]}
    path = "/roles/{prior_role_id}/implies/{implied_role_id}"
    rule = walk("PUT", path, 201, **pair)
    assert walk("GET", path, 200, **pair)["role_inference"] == rule["role_inference"]
    walk("HEAD", path, 204, **pair)
    implied = walk("GET", "/roles/{prior_role_id}/implies", 200, prior_role_id=other["id"])
    assert [role["id"] for role in implied["role_inference"]["implies"]] == [made["id"]]
    assert len(walk("GET", "/role_inferences", 200)["role_inferences"]) == 4
    walk("DELETE", path, 204, **pair)
    walk("GET", path, 404, **pair)
    walk("DELETE", "/roles/{role_id}", 204, role_id=other["id"])
    return str(made["id"])


def walk_grants(walk: Walk, ids: dict[str, str]) -> None:
    bases = [
        f"/{target}s/{{{target}_id}}/{actor}s/{{{actor}_id}}/roles"
        for target in ("project", "domain")
        for actor in ("user", "group")
    ]
    inherited = [
        (
            f"/OS-INHERIT{base}/inherited_to_projects" if "domain" in base else None,
            f"/OS-INHERIT{base}/{{role_id}}/inherited_to_projects",
        )
        for base in bases
    ]
    plain = [
        (base, base + "/{role_id}")
        for base in (*bases, "/system/users/{user_id}/roles", "/system/groups/{group_id}/roles")
    ]
    for collection, one in [*plain, *inherited]:
        walk("GET", one, 404, **ids)
        walk("PUT", one, 204, **ids)
        walk("PUT", one, 204, **ids)  # again: nothing changes
        walk("GET", one, 204, **ids)
        walk("HEAD", one, 204, **ids)
        if collection:
            [role] = walk("GET", collection, 200, **ids)["roles"]
            assert role["id"] == ids["role_id"]
        for query in ("", "?effective", "?include_names=true", "?effective&include_names"):
            walk("GET", f"/role_assignments{query}", 200)
        walk("DELETE", one, 204, **ids)
        walk("DELETE", one, 404, **ids)


def walk_catalog(walk: Walk) -> None:
    service = walk(
        "POST", "/services", 201, {"service": {"type": "walk", "name": "walk", "description": "d"}}
    )["service"]
    region = walk("POST", "/regions", 201, {"region": {"description": "r"}})["region"]
    walk(
        "PUT",
        "/regions/{region_id}",
        201,
        {"region": {"parent_region_id": region["id"]}},
        region_id="walk",
    )
    endpoint = walk(
        "POST",
        "/endpoints",
        201,
        {
            "endpoint": {
                "service_id": service["id"],
                "interface": "public",
                "region_id": "walk",
                "url": "http://example.org/%(project_id)s",
            }
        },
    )["endpoint"]
    for noun, made, change in (
        ("service", service, {"name": "other"}),
        ("endpoint", endpoint, {"enabled": False}),
        ("region", region, {"description": "other"}),
    ):
        one = {f"{noun}_id": made["id"]}
        path = f"/{noun}s/{{{noun}_id}}"
        assert walk("GET", path, 200, **one)[noun] == made
        assert made in walk("GET", f"/{noun}s", 200)[f"{noun}s"]
        assert walk("PATCH", path, 200, {noun: change}, **one)[noun] == {**made, **change}
    walk("DELETE", "/regions/{region_id}", 403, region_id=region["id"])
    walk("DELETE", "/endpoints/{endpoint_id}", 204, endpoint_id=endpoint["id"])
    walk("DELETE", "/regions/{region_id}", 204, region_id=region["id"])
    walk("GET", "/regions/{region_id}", 404, region_id="walk")
    walk("DELETE", "/services/{service_id}", 204, service_id=service["id"])


def walk_deletions(walk: Walk, **ids: str) -> None:
    for noun in ("user", "group", "project", "role"):
        path = f"/{noun}s/{{{noun}_id}}"
        walk("DELETE", path, 204, **{f"{noun}_id": ids[noun]})
        walk("GET", path, 404, **{f"{noun}_id": ids[noun]})
        walk("DELETE", path, 404, **{f"{noun}_id": ids[noun]})
    one = {"domain_id": ids["domain"]}
    walk("DELETE", "/domains/{domain_id}", 403, **one)
    walk("PATCH", "/domains/{domain_id}", 200, {"domain": {"enabled": False}}, **one)
    walk("DELETE", "/domains/{domain_id}", 204, **one)
