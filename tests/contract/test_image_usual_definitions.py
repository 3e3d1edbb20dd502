"""The definitions that come with the release, and the files of an operator, come into a cloud."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest

from nubelet.cli import definitions
from nubelet.cli.asking import Refused
from tests.cloud import TestedCloud, make_cloud


@pytest.fixture
def tested(tmp_path: Path) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path, services=("identity", "image"), hosts=())
    yield made
    made.close()


class Caller:
    """Sends to the cloud of the test what the command would send."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def __call__(self, method: str, path: str, body: object = None) -> Any:
        answer = self.client.request(method, path, json=body)
        if answer.is_error:
            raise Refused(answer.status_code, answer.json()["message"])
        return answer.json() if answer.content else None


def test_the_usual_definitions_load_and_are_public(tested: TestedCloud) -> None:
    call = Caller(tested.client("admin"))
    usual = definitions.read(definitions.USUAL)
    assert {definitions.load(call, each, replace=False) for each in usual} == {"loaded"}
    listed = tested.client("member").get("/image/v2/metadefs/namespaces?limit=100").json()
    shown = {each["namespace"]: each for each in listed["namespaces"]}
    assert len(shown) == len(usual) > 15
    assert {
        "OS::Compute::Hypervisor",
        "OS::Compute::Watchdog",
        "OS::Compute::LibvirtImage",
        "OS::Glance::CommonImageProperties",
        "OS::Software::DBMS",
    } <= shown.keys()
    for each in shown.values():
        assert each["protected"], each
        assert each["description"], each
        assert each["resource_type_associations"], each


def test_each_definition_says_what_its_values_are(tested: TestedCloud) -> None:
    for definition in definitions.read(definitions.USUAL):
        groups = [definition, *definition.get("objects", ())]
        properties = {
            name: each for group in groups for name, each in group.get("properties", {}).items()
        }
        assert properties, definition["namespace"]
        for name, each in properties.items():
            assert each["title"], name
            if "enum" in each:
                kind = {"string": str, "integer": int}[each["type"]]
                assert all(isinstance(value, kind) for value in each["enum"]), name


def test_loading_again_keeps_or_replaces(tested: TestedCloud) -> None:
    admin = tested.client("admin")
    call = Caller(admin)
    one = definitions.read(definitions.USUAL)[0]
    path = f"/image/v2/metadefs/namespaces/{one['namespace']}"
    assert definitions.load(call, one, replace=False) == "loaded"
    loaded = admin.get(path).json()
    assert admin.post(f"{path}/tags/mine").status_code == 201
    assert definitions.load(call, one, replace=False) == "kept"
    assert admin.get(path).json()["tags"] == [{"name": "mine"}]
    assert definitions.load(call, one, replace=True) == "replaced"
    replaced = admin.get(path).json()
    assert "tags" not in replaced
    assert replaced["properties"] == loaded["properties"]
    assert replaced["protected"]


def test_files_of_an_operator(tested: TestedCloud, tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    folder.mkdir()
    with pytest.raises(click.ClickException, match="no definitions"):
        definitions.read(folder)
    (folder / "a.json").write_text(json.dumps({"namespace": "Mine", "visibility": "private"}))
    [found] = definitions.read(folder)
    assert definitions.load(Caller(tested.client("admin")), found, replace=False) == "loaded"
    assert tested.client("member").get("/image/v2/metadefs/namespaces/Mine").status_code == 404
    (folder / "a.json").write_text(json.dumps({"namespace": "Odd", "properties": 5}))
    [found] = definitions.read(folder)
    with pytest.raises(click.ClickException, match="Odd: .*properties"):
        definitions.load(Caller(tested.client("admin")), found, replace=False)
    (folder / "a.json").write_text("{")
    with pytest.raises(click.ClickException, match=r"a\.json"):
        definitions.read(folder)
