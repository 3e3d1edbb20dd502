"""Metadata definitions: each operation answers as published, to each caller what it may see."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import yaml

from nubelet.image import SERVICE
from tests.cloud import TestedCloud, make_cloud

BASE = "/image/v2/metadefs/namespaces"
# Served upstream and used by the command line, but not in the published reference.
UNPUBLISHED = {
    ("DELETE", "/metadefs/namespaces/{namespace_name}/objects"),
    ("DELETE", "/metadefs/namespaces/{namespace_name}/properties"),
}
SIZE = {"title": "Size", "type": "integer", "minimum": 1}


@pytest.fixture
def tested(tmp_path: Path) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path, services=("identity", "image"), hosts=())
    yield made
    made.close()


@pytest.fixture
def admin(tested: TestedCloud) -> httpx.Client:
    return tested.client("admin")


@pytest.fixture
def member(tested: TestedCloud) -> httpx.Client:
    return tested.client("member")


@pytest.fixture(scope="module")
def samples(published: Path) -> Path:
    return published / "samples/glance/v2/samples"


@pytest.fixture(scope="module")
def document(published: Path) -> dict[str, Any]:
    return yaml.load(  # type: ignore[no-any-return]
        (published / "openapi/image/v2.16.yaml").read_text(), Loader=yaml.CSafeLoader
    )


def make(client: httpx.Client, name: str = "ns", **more: Any) -> dict[str, Any]:
    answer = client.post(BASE, json={"namespace": name, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def read(samples: Path, name: str) -> Any:
    return json.loads((samples / f"{name}.json").read_text())


def accepts(document: dict[str, Any], method: str, path: str, content: Any) -> None:
    """Does the published document describe this answer?"""
    operation = document["paths"][f"/v2{path}"][method.lower()]
    schemas = [
        described["content"]["application/json"]["schema"]
        for status, described in operation["responses"].items()
        if status.startswith("2") and "content" in described
    ]
    for schema in schemas:
        whole = {**schema, "components": document["components"]}
        error = next(iter(jsonschema_rs.Draft202012Validator(whole).iter_errors(content)), None)
        assert error is None, (method, path, str(error), content)


# --- As published -----------------------------------------------------------------------------


def test_namespaces_are_answered_as_the_samples_show(
    admin: httpx.Client, samples: Path, document: dict[str, Any]
) -> None:
    wanted = read(samples, "metadef-namespace-create-request")
    made = admin.post(BASE, json=wanted)
    assert made.status_code == 201
    sample = read(samples, "metadef-namespace-create-response")
    shown = made.json()
    assert sample.keys() <= shown.keys()
    for name in ("namespace", "display_name", "description", "properties", "self", "schema"):
        assert shown[name] == sample[name]
    assert [each["name"] for each in shown["resource_type_associations"]] == ["OS::Glance::Image"]
    assert made.headers["location"].endswith("/v2/metadefs/namespaces/OS::Compute::Hypervisor")
    accepts(document, "POST", "/metadefs/namespaces", shown)

    simple = read(samples, "metadef-namespace-create-request-simple")
    shown = admin.post(BASE, json=simple).json()
    assert read(samples, "metadef-namespace-create-response-simple").keys() - {"owner"} <= (
        shown.keys()
    )
    listed = admin.get(BASE).json()
    sample = read(samples, "metadef-namespaces-list-response")
    assert sample.keys() - {"next"} == listed.keys()
    assert len(listed["namespaces"]) == 2
    accepts(document, "GET", "/metadefs/namespaces", listed)

    change = read(samples, "metadef-namespace-update-request")
    answer = admin.put(f"{BASE}/{wanted['namespace']}", json=change)
    assert answer.status_code == 200
    assert read(samples, "metadef-namespace-update-response").keys() <= answer.json().keys()
    accepts(document, "PUT", "/metadefs/namespaces/{namespace_name}", answer.json())
    one = f"{BASE}/{change['namespace']}"
    accepts(document, "GET", "/metadefs/namespaces/{namespace_name}", admin.get(one).json())


def test_objects_are_answered_as_the_samples_show(
    admin: httpx.Client, samples: Path, document: dict[str, Any]
) -> None:
    make(admin, "OS::Compute::Quota")
    path, documented = f"{BASE}/OS::Compute::Quota/objects", "/metadefs/namespaces/{namespace_name}"
    made = admin.post(path, json=read(samples, "metadef-object-create-request"))
    assert made.status_code == 201
    sample = read(samples, "metadef-object-create-response")
    times = {"created_at": made.json()["created_at"], "updated_at": made.json()["updated_at"]}
    assert made.json() == {**sample, **times}
    accepts(document, "POST", f"{documented}/objects", made.json())
    assert admin.get(f"{path}/CPU Limits").json() == made.json()
    listed = admin.get(path).json()
    assert listed["objects"] == [made.json()]
    assert read(samples, "metadef-objects-list-response").keys() <= listed.keys()
    changed = admin.put(
        f"{path}/CPU Limits", json=read(samples, "metadef-object-update-request")
    ).json()
    assert changed.keys() == read(samples, "metadef-object-update-response").keys()
    accepts(document, "PUT", f"{documented}/objects/{{object_name}}", changed)


def test_properties_are_answered_as_the_samples_show(
    admin: httpx.Client, samples: Path, document: dict[str, Any]
) -> None:
    make(admin)
    path, documented = f"{BASE}/ns/properties", "/metadefs/namespaces/{namespace_name}/properties"
    made = admin.post(path, json=read(samples, "metadef-property-create-request"))
    assert made.status_code == 201
    assert made.json() == read(samples, "metadef-property-create-response")
    one = f"{path}/{made.json()['name']}"
    assert admin.get(one).json() == made.json()
    listed = admin.get(path).json()
    assert list(listed["properties"]) == [made.json()["name"]]
    accepts(document, "GET", documented, listed)
    answer = admin.put(one, json=read(samples, "metadef-property-update-request"))
    assert answer.status_code == 200
    assert answer.json() == read(samples, "metadef-property-update-response")


def test_tags_are_answered_as_the_samples_show(admin: httpx.Client, samples: Path) -> None:
    make(admin)
    made = admin.post(f"{BASE}/ns/tags", json=read(samples, "metadef-tags-create-request"))
    assert made.status_code == 201
    assert made.json() == read(samples, "metadef-tags-create-response")
    assert {each["name"] for each in admin.get(f"{BASE}/ns/tags").json()["tags"]} == {
        "sample-tag1",
        "sample-tag2",
        "sample-tag3",
    }
    one = admin.post(f"{BASE}/ns/tags/added-sample-tag")
    assert one.status_code == 201
    assert one.json().keys() == read(samples, "metadef-tag-create-response").keys()
    changed = admin.put(
        f"{BASE}/ns/tags/added-sample-tag", json=read(samples, "metadef-tag-update-request")
    )
    assert changed.status_code == 200
    assert changed.json()["name"] == "new-tag-name"
    assert admin.get(f"{BASE}/ns/tags/new-tag-name").json() == changed.json()
    assert admin.get(f"{BASE}/ns/tags/added-sample-tag").status_code == 404


def test_resource_types_are_answered_as_the_samples_show(
    admin: httpx.Client, samples: Path
) -> None:
    make(admin)
    path = f"{BASE}/ns/resource_types"
    made = admin.post(path, json=read(samples, "metadef-resource-type-create-request"))
    assert made.status_code == 201
    sample = read(samples, "metadef-resource-type-assoc-create-response")
    assert made.json().keys() == sample.keys()
    listed = admin.get(path).json()
    assert listed == {"resource_type_associations": [made.json()]}
    types = admin.get("/image/v2/metadefs/resource_types").json()
    assert [each["name"] for each in types["resource_types"]] == [made.json()["name"]]
    assert types["resource_types"][0].keys() == {"name", "created_at", "updated_at"}
    assert admin.delete(f"{path}/{made.json()['name']}").status_code == 204
    assert admin.get(path).json() == {"resource_type_associations": []}
    assert admin.delete(f"{path}/{made.json()['name']}").status_code == 404


def test_schemas_are_those_published(tested: TestedCloud, samples: Path) -> None:
    for name, sample in {
        "namespace": "namespace-show",
        "namespaces": "namespaces-list",
        "object": "object-show",
        "objects": "objects-list",
        "property": "property-show",
        "properties": "properties-list",
        "tag": "tag-show",
        "tags": "tags-list",
        "resource_type": "resource-type-association-show",
        "resource_types": "resource-type-associations-list",
    }.items():
        served = tested.client().get(f"/image/v2/schemas/metadefs/{name}")
        assert served.status_code == 200
        wanted = read(samples, f"schemas-metadef-{sample}-response")
        assert _unordered(served.json()) == _unordered(wanted), name


def _unordered(schema: Any) -> Any:
    """Without the texts, which are ours, and the order of required attributes."""
    if isinstance(schema, dict):
        return {
            key: sorted(value)
            if key == "required" and isinstance(value, list)
            else _unordered(value)
            for key, value in schema.items()
            if key != "description" or not isinstance(value, str)
        }
    return [_unordered(each) for each in schema] if isinstance(schema, list) else schema


def test_every_published_operation_is_served(published: Path) -> None:
    with open(published / "samples/glance/routes.tsv") as file:
        wanted = {
            (row["method"], row["path"].removeprefix("/v2"))
            for row in csv.DictReader(file, delimiter="\t")
            if "metadefs" in row["path"]
        }
    served = {(route.method, route.path) for route in SERVICE.routes if "metadefs" in route.path}
    assert served == wanted | UNPUBLISHED


# --- Namespaces -------------------------------------------------------------------------------


def test_a_namespace_holds_what_it_was_created_with(admin: httpx.Client) -> None:
    made = make(
        admin,
        properties={"size": SIZE},
        objects=[{"name": "o", "properties": {"a": SIZE}, "required": ["a"]}],
        tags=[{"name": "t1"}, {"name": "t2"}],
        resource_type_associations=[{"name": "OS::Nova::Flavor", "prefix": "hw:"}],
    )
    shown = admin.get(f"{BASE}/ns").json()
    assert shown == made
    assert shown["properties"] == {"size": SIZE}
    assert shown["tags"] == [{"name": "t1"}, {"name": "t2"}]
    assert shown["objects"][0]["required"] == ["a"]
    prefixed = admin.get(f"{BASE}/ns?resource_type=OS::Nova::Flavor").json()
    assert list(prefixed["properties"]) == ["hw:size"]
    assert list(prefixed["objects"][0]["properties"]) == ["hw:a"]
    assert prefixed["objects"][0]["required"] == ["hw:a"]
    one = f"{BASE}/ns/properties"
    assert admin.get(f"{one}/hw:size?resource_type=OS::Nova::Flavor").json()["name"] == "size"
    assert admin.get(f"{one}/size?resource_type=OS::Nova::Flavor").status_code == 404
    assert admin.get(f"{one}/size?resource_type=OS::None").status_code == 404
    assert admin.delete(f"{BASE}/ns").status_code == 204
    assert admin.get(f"{BASE}/ns").status_code == 404
    make(admin)
    assert "properties" not in admin.get(f"{BASE}/ns").json()


def test_a_refused_namespace_leaves_nothing(admin: httpx.Client) -> None:
    answer = admin.post(BASE, json={"namespace": "ns", "tags": [{"name": "t"}, {"name": "t"}]})
    assert answer.status_code == 409
    assert admin.get(f"{BASE}/ns").status_code == 404


def test_what_an_update_leaves_out_has_its_default_again(admin: httpx.Client) -> None:
    make(admin, display_name="x", description="y", visibility="public", tags=[{"name": "t"}])
    changed = admin.put(f"{BASE}/ns", json={"namespace": "other", "protected": True}).json()
    assert changed["namespace"] == "other"
    assert changed["visibility"] == "private"
    assert changed["protected"] is True
    assert "display_name" not in changed
    assert admin.get(f"{BASE}/ns").status_code == 404
    assert admin.get(f"{BASE}/other").json()["tags"] == [{"name": "t"}]


def test_names_are_unique(admin: httpx.Client) -> None:
    make(admin, "a")
    make(admin, "b")
    for answer in (
        admin.post(BASE, json={"namespace": "a"}),
        admin.put(f"{BASE}/a", json={"namespace": "b"}),
    ):
        assert answer.status_code == 409
        assert "already exists" in answer.json()["message"]
    for noun, extra in (("objects", {}), ("properties", SIZE)):
        path = f"{BASE}/a/{noun}"
        for name in ("x", "y"):
            assert admin.post(path, json={"name": name, **extra}).status_code == 201
        assert admin.post(path, json={"name": "x", **extra}).status_code == 409
        assert admin.put(f"{path}/x", json={"name": "y", **extra}).status_code == 409
        assert admin.put(f"{path}/x", json={"name": "x", **extra}).status_code == 200
        assert admin.post(f"{BASE}/b/{noun}", json={"name": "x", **extra}).status_code == 201
    assert admin.post(f"{BASE}/a/tags/x").status_code == 201
    assert admin.post(f"{BASE}/a/tags/x").status_code == 409
    types = f"{BASE}/a/resource_types"
    assert admin.post(types, json={"name": "T"}).status_code == 201
    assert admin.post(types, json={"name": "T"}).status_code == 409


def test_protected_things_stay(admin: httpx.Client) -> None:
    make(
        admin,
        protected=True,
        objects=[{"name": "o"}],
        properties={"p": SIZE},
        tags=[{"name": "t"}],
        resource_type_associations=[{"name": "T"}],
    )
    for path in (
        "",
        "/objects",
        "/objects/o",
        "/properties",
        "/properties/p",
        "/tags",
        "/tags/t",
        "/resource_types/T",
    ):
        answer = admin.delete(f"{BASE}/ns{path}")
        assert answer.status_code == 403, path
        assert "protected" in answer.json()["message"]
    assert admin.put(f"{BASE}/ns", json={"namespace": "ns"}).status_code == 200
    for path in ("/objects", "/properties", "/tags", "/resource_types/T", ""):
        assert admin.delete(f"{BASE}/ns{path}").status_code == 204, path


# --- Lists ------------------------------------------------------------------------------------


def test_namespaces_are_filtered_sorted_and_paged(admin: httpx.Client) -> None:
    make(admin, "a", visibility="public", resource_type_associations=[{"name": "T1"}])
    make(admin, "b", display_name="z", resource_type_associations=[{"name": "T2"}])
    make(admin, "c", display_name="y", resource_type_associations=[{"name": "T2", "prefix": "p"}])

    def names(query: str) -> list[str]:
        answer = admin.get(f"{BASE}?{query}")
        assert answer.status_code == 200, answer.text
        return [each["namespace"] for each in answer.json()["namespaces"]]

    assert set(names("")) == {"a", "b", "c"}
    assert names("sort_key=namespace&sort_dir=asc") == ["a", "b", "c"]
    assert names("sort_key=display_name&sort_dir=desc") == ["b", "c", "a"]
    assert names("visibility=public") == ["a"]
    assert set(names("visibility=private")) == {"b", "c"}
    assert set(names("resource_types=T2")) == {"b", "c"}
    assert set(names("resource_types=T1,T2")) == {"a", "b", "c"}
    assert names("resource_types=nothing") == []
    sort = "sort_key=namespace&sort_dir=asc"
    assert names(f"{sort}&limit=2") == ["a", "b"]
    assert names(f"{sort}&limit=2&marker=b") == ["c"]
    page = admin.get(f"{BASE}?{sort}&limit=2").json()
    assert page["first"].startswith("/v2/metadefs/namespaces?")
    assert "marker=b" in page["next"]
    following = admin.get("/image" + page["next"]).json()
    assert [each["namespace"] for each in following["namespaces"]] == ["c"]
    assert "next" not in following
    for query in ("visibility=odd", "sort_dir=up", "sort_key=nothing", "limit=x", "limit=-1"):
        assert admin.get(f"{BASE}?{query}").status_code == 400, query
    assert admin.get(f"{BASE}?marker=none").status_code == 400


def test_objects_and_tags_are_sorted_and_paged(admin: httpx.Client) -> None:
    make(admin, "other", objects=[{"name": "z"}], tags=[{"name": "z"}])
    make(
        admin,
        objects=[{"name": name} for name in "abc"],
        tags=[{"name": name} for name in "abc"],
    )
    for noun in ("objects", "tags"):
        path = f"{BASE}/ns/{noun}"

        def names(query: str, path: str = path, noun: str = noun) -> list[str]:
            return [each["name"] for each in admin.get(f"{path}?{query}").json()[noun]]

        assert names("") == ["c", "b", "a"]
        assert names("sort_key=name&sort_dir=asc") == ["a", "b", "c"]
        assert names("limit=1&marker=c") == ["b"]
        assert admin.get(f"{path}?marker=z").status_code == 400
        assert admin.get(f"{path}?sort_dir=up").status_code == 400


def test_tags_replace_or_append(admin: httpx.Client) -> None:
    make(admin, tags=[{"name": "a"}])
    path = f"{BASE}/ns/tags"
    append = {"X-Openstack-Append": "True"}
    assert admin.post(path, json={"tags": [{"name": "b"}]}, headers=append).status_code == 201
    assert {each["name"] for each in admin.get(path).json()["tags"]} == {"a", "b"}
    assert admin.post(path, json={"tags": [{"name": "b"}]}, headers=append).status_code == 409
    assert admin.post(path, json={"tags": [{"name": "c"}]}).status_code == 201
    assert [each["name"] for each in admin.get(path).json()["tags"]] == ["c"]
    twice = {"tags": [{"name": "d"}, {"name": "d"}]}
    assert admin.post(path, json=twice).status_code == 409
    assert [each["name"] for each in admin.get(path).json()["tags"]] == ["c"]
    assert admin.delete(path).status_code == 204
    assert admin.get(path).json()["tags"] == []


# --- Who may ----------------------------------------------------------------------------------


def test_private_namespaces_are_their_projects(tested: TestedCloud, admin: httpx.Client) -> None:
    project = tested.user("member").project_id
    make(admin, "ours", owner=project, properties={"p": SIZE})
    make(admin, "open", visibility="public")
    make(admin, "theirs")
    for persona, seen in {
        "admin": {"ours", "open", "theirs"},
        "member": {"ours", "open"},
        "reader": {"ours", "open"},
        "stranger": {"open"},
    }.items():
        client = tested.client(persona)
        listed = {each["namespace"] for each in client.get(BASE).json()["namespaces"]}
        assert listed == seen, persona
        for name in ("ours", "open", "theirs"):
            for path in ("", "/objects", "/properties", "/tags", "/resource_types"):
                answer = client.get(f"{BASE}/{name}{path}")
                assert answer.status_code == (200 if name in seen else 404), (persona, name, path)
    assert tested.client("nobody").get(f"{BASE}/open").status_code == 404


CHANGES = (
    ("PUT", "", {"namespace": "x"}),
    ("DELETE", "", None),
    ("POST", "/objects", {"name": "x"}),
    ("PUT", "/objects/o", {"name": "x"}),
    ("DELETE", "/objects/o", None),
    ("DELETE", "/objects", None),
    ("POST", "/properties", {"name": "x", **SIZE}),
    ("PUT", "/properties/p", {"name": "x", **SIZE}),
    ("DELETE", "/properties/p", None),
    ("DELETE", "/properties", None),
    ("POST", "/tags", {"tags": [{"name": "x"}]}),
    ("POST", "/tags/x", None),
    ("PUT", "/tags/t", {"name": "x"}),
    ("DELETE", "/tags/t", None),
    ("DELETE", "/tags", None),
    ("POST", "/resource_types", {"name": "x"}),
    ("DELETE", "/resource_types/T", None),
)


def test_only_administrators_change(tested: TestedCloud, admin: httpx.Client) -> None:
    project = tested.user("member").project_id
    for name, more in (("ours", {"owner": project}), ("open", {"visibility": "public"})):
        make(
            admin,
            name,
            objects=[{"name": "o"}],
            properties={"p": SIZE},
            tags=[{"name": "t"}],
            resource_type_associations=[{"name": "T"}],
            **more,
        )
    before = [admin.get(f"{BASE}/{name}").json() for name in ("ours", "open")]
    for persona in ("member", "reader", "stranger", "manager"):
        client = tested.client(persona)
        assert client.post(BASE, json={"namespace": "new"}).status_code == 403
        for name in ("ours", "open"):
            expected = 404 if (persona, name) == ("stranger", "ours") else 403
            for method, path, body in CHANGES:
                answer = client.request(method, f"{BASE}/{name}{path}", json=body)
                assert answer.status_code == expected, (persona, method, name, path)
    assert [admin.get(f"{BASE}/{name}").json() for name in ("ours", "open")] == before


# --- Bodies -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("", None, 400),
        ("", {}, 400),
        ("", {"namespace": ""}, 400),
        ("", {"namespace": "x" * 81}, 400),
        ("", {"namespace": 5}, 400),
        ("", {"namespace": "x", "odd": 1}, 400),
        ("", {"namespace": "x", "visibility": "shared"}, 400),
        ("", {"namespace": "x", "created_at": "2020-01-01T00:00:00Z"}, 403),
        ("", {"namespace": "x", "self": 5}, 403),
        ("", {"namespace": "x", "properties": {"p": {"title": "t"}}}, 400),
        ("", {"namespace": "x", "properties": {"p": {**SIZE, "odd": 1}}}, 400),
        ("", {"namespace": "x", "properties": {"p" * 256: SIZE}}, 400),
        ("", {"namespace": "x", "objects": [{}]}, 400),
        ("", {"namespace": "x", "tags": [{"name": "t" * 256}]}, 400),
        ("", {"namespace": "x", "resource_type_associations": [{"name": "t" * 81}]}, 400),
        ("/ns/objects", {"name": ""}, 400),
        ("/ns/objects", {"name": "x" * 256}, 400),
        ("/ns/objects", {"name": "x", "updated_at": "x"}, 403),
        ("/ns/objects", {"name": "x", "required": ["a", "a"]}, 400),
        ("/ns/properties", {"name": "x", "type": "odd", "title": "t"}, 400),
        ("/ns/properties", {"name": "x", "type": "string", "title": "t", "pattern": "("}, 400),
        ("/ns/properties", {"name": "x", "type": "string"}, 400),
        ("/ns/properties", {"name": "x", **SIZE, "minLength": -1}, 400),
        ("/ns/tags", {"tags": [{"name": ""}]}, 400),
        ("/ns/tags", {"tags": ["x"]}, 400),
        ("/ns/tags", None, 400),
        ("/ns/tags/" + "x" * 256, None, 400),
        ("/ns/resource_types", {"name": "x", "prefix": "p" * 81}, 400),
        ("/ns/resource_types", {}, 400),
    ],
)
def test_odd_bodies_are_refused(admin: httpx.Client, path: str, body: Any, status: int) -> None:
    make(admin)
    answer = admin.post(BASE + path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["message"]
    assert [each["namespace"] for each in admin.get(BASE).json()["namespaces"]] == ["ns"]
