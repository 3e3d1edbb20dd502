"""Sessions with the unmodified `openstack` command: each command that the client has about images,
their cache, tasks and metadata definitions succeeds, and shows what was asked for."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from tests.functional.command import CommandCloud
from tests.functional.openstack_cli import OpenStackCli
from tests.web import served

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandCloud]:
    made = CommandCloud(tmp_path_factory.mktemp("cli"), "--fake")
    with pytest.MonkeyPatch.context() as patch:
        # Each command logs in anew; nobody attacks this password.
        patch.setenv("NUBELET_IDENTITY_PASSWORD_HASH_COST", "1")
        patch.setenv("NUBELET_IMAGE_WEB_DOWNLOAD_NETWORKS", "127.0.0.1/32")
        made.up()
    yield made
    made.login()
    made.assert_whole()
    made.purge()


@pytest.fixture(scope="module")
def cli(cloud: CommandCloud) -> OpenStackCli:
    return OpenStackCli(cloud.url, cloud.password)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "image"
    file.write_bytes(b"image" * 1000)
    return file


RAW = "--disk-format raw --container-format bare"


def wait_for(what: Any, seconds: float = 90) -> None:
    """Ask until the answer is true."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.1)


def test_no_command_is_forgotten() -> None:
    """Every command that the client offers stands in one of the sessions below."""
    said = Path(__file__).read_text()
    commands = [entry.name.replace("_", " ") for entry in entry_points(group="openstack.image.v2")]
    assert len(commands) > 35
    missing = [
        command for command in commands if not re.search(rf'"{re.escape(command)}[ "]', said)
    ]
    assert missing == []


def test_the_life_of_an_image(cli: OpenStackCli, data: Path, tmp_path: Path) -> None:
    made = cli.ask(
        f"image create one {RAW} --file {data} --private --property os_distro=debian --tag t1 "
        "--min-ram 64 --min-disk 1 --protected"
    )
    assert made["status"] == "active"
    assert "protected" in cli.refused("image delete one")
    cli("image set one --unprotected --name two --property hw_disk_bus=virtio --tag t2 --hidden")
    assert cli.ask("image list --name two") == []
    assert [row["Name"] for row in cli.ask("image list --hidden --long")] == ["two"]
    cli("image set two --unhidden --community")
    assert "two" in cli("image list --community --sort name:asc --limit 5")
    cli("image unset two --property hw_disk_bus --tag t1")
    shown = cli.ask("image show two")
    assert shown["tags"] == ["t2"]
    assert "hw_disk_bus" not in shown["properties"]
    assert [row["Name"] for row in cli.ask("image list --property os_distro=debian")] == ["two"]
    cli("image set two --deactivate")
    cli("image set two --activate")
    saved = tmp_path / "saved"
    cli(f"image save two --file {saved}")
    assert saved.read_bytes() == data.read_bytes()
    cli("image delete two")
    assert "two" in cli.refused("image show two")


def test_images_of_several_projects(cli: OpenStackCli, data: Path) -> None:
    cli("project create friends")
    friends = cli.ask("project show friends")["id"]
    cli(f"image create ours {RAW} --file {data} --shared")
    cli("image add project ours friends")
    assert [row["Member ID"] for row in cli.ask("image member list ours")] == [friends]
    assert cli.ask(f"image member get ours {friends}")["status"] == "pending"
    cli("image set ours --project friends --accept")
    assert cli.ask(f"image member get ours {friends}")["status"] == "accepted"
    cli("image remove project ours friends")
    assert cli.ask("image member list ours") == []
    cli("image delete ours")
    cli("project delete friends")


def test_imports_tasks_and_stores(cli: OpenStackCli, data: Path, tmp_path: Path) -> None:
    assert "glance-direct" in cli("image import info")
    assert cli.ask("image stores list")
    assert cli.ask("image stores list --detail")
    cli(f"image create staged {RAW}")
    cli(f"image stage staged --file {data}")
    assert cli.ask("image show staged")["status"] == "uploading"
    cli("image import staged --method glance-direct")
    wait_for(lambda: cli.ask("image show staged")["status"] == "active")
    assert cli.ask("image show staged")["size"] == data.stat().st_size
    with served(tmp_path, {"image": b"from the web"}) as url:
        cli(f"image create loaded {RAW}")
        cli(f"image import loaded --method web-download --uri {url}/image")
        wait_for(lambda: cli.ask("image show loaded")["status"] == "active")
    tasks = cli.ask("image task list")
    assert {row["Type"] for row in tasks} == {"api_image_import"}
    # A task has succeeded when its operation has ended, a moment after the image became active.
    wait_for(lambda: len(cli.ask("image task list --status success")) == 2)
    assert cli.ask(f"image task show {tasks[0]['ID']}")["status"] == "success"
    cli("image delete staged loaded")


def test_the_image_cache(cli: OpenStackCli, data: Path) -> None:
    for name in ("a", "b"):
        cli(f"image create {name} {RAW} --file {data}")
    cli("cached image queue a b")
    wait_for(lambda: {row["State"] for row in cli.ask("cached image list")} == {"cached"})
    ids = {row["ID"] for row in cli.ask("cached image list")}
    assert ids == {cli.ask(f"image show {name}")["id"] for name in ("a", "b")}
    cli("cached image delete a")
    assert len(cli.ask("cached image list")) == 1
    cli("cached image clear --cache")
    assert cli.ask("cached image list") == []
    cli("cached image queue b")
    cli("cached image clear")
    cli("cached image clear --queue")
    assert cli.ask("cached image list") == []
    cli("image delete a b")


def test_metadef_namespaces(cli: OpenStackCli) -> None:
    cli("image metadef namespace create ns1 --display-name D --description x --public --protected")
    shown = cli.ask("image metadef namespace show ns1")
    assert (shown["display_name"], shown["visibility"], shown["protected"]) == ("D", "public", True)
    assert "protected" in cli.refused("image metadef namespace delete ns1")
    cli("image metadef namespace set ns1 --description y --unprotected --private")
    shown = cli.ask("image metadef namespace show ns1")
    assert (shown["description"], shown["visibility"]) == ("y", "private")
    cli("image metadef namespace create ns2 --public")
    names = [row["namespace"] for row in cli.ask("image metadef namespace list")]
    assert set(names) >= {"ns1", "ns2"}
    public = cli.ask("image metadef namespace list --visibility public")
    assert [row["namespace"] for row in public] == ["ns2"]
    assert cli.ask("image metadef namespace list --resource-types OS::Nothing") == []
    cli("image metadef namespace delete ns1 ns2")
    assert cli.ask("image metadef namespace list") == []


def test_metadef_tags(cloud: CommandCloud, cli: OpenStackCli) -> None:
    cli("image metadef namespace create tagged")
    cli("image metadef namespace set tagged --tag a --tag b --tag c")
    cli("image metadef namespace unset tagged --tag a")
    cli("image metadef namespace unset tagged --all-tags")
    cloud.login()
    with cloud.client() as client:
        assert client.get("/image/v2/metadefs/namespaces/tagged/tags").json()["tags"] == []
    cli("image metadef namespace delete tagged")


def test_metadef_properties(cli: OpenStackCli) -> None:
    cli("image metadef namespace create p")
    schema = '{"minimum": 1, "maximum": 9, "description": "how many"}'
    cli(
        "image metadef property create p --name count --title Count --type integer "
        f"--schema '{schema}'"
    )
    cli("image metadef property create p --name other --title Other --type string --schema '{}'")
    shown = cli.ask("image metadef property show p count")
    assert (shown["type"], shown["minimum"], shown["maximum"]) == ("integer", 1, 9)
    cli("image metadef property set p count --title Number --name number")
    shown = cli.ask("image metadef property show p number")
    assert (shown["title"], shown["maximum"]) == ("Number", 9)
    assert {row["name"] for row in cli.ask("image metadef property list p")} == {"number", "other"}
    cli("image metadef property delete p number")
    assert [row["name"] for row in cli.ask("image metadef property list p")] == ["other"]
    cli("image metadef property delete p")
    assert cli.ask("image metadef property list p") == []
    cli("image metadef namespace delete p")


def test_metadef_objects(cloud: CommandCloud, cli: OpenStackCli) -> None:
    cli("image metadef namespace create o")
    for name in ("first", "second"):
        cli(f"image metadef object create {name} --namespace o")
    assert {row["name"] for row in cli.ask("image metadef object list o")} == {"first", "second"}
    cli("image metadef object update o first --name third")
    assert cli.ask("image metadef object show o third")["name"] == "third"
    cloud.login()
    with cloud.client() as client:
        definition = {"title": "Cores", "type": "integer"}
        body = {"name": "third", "properties": {"cores": definition}}
        path = "/image/v2/metadefs/namespaces/o/objects/third"
        assert client.put(path, json=body).status_code == 200
    assert cli.ask("image metadef object property show o third cores")["title"] == "Cores"
    cli("image metadef object delete o second")
    cli("image metadef object delete o")
    assert cli.ask("image metadef object list o") == []
    cli("image metadef namespace delete o")


def test_metadef_resource_types(cli: OpenStackCli) -> None:
    cli("image metadef namespace create r --protected")
    cli(
        "image metadef resource type association create r OS::Cinder::Volume "
        "--properties-target image"
    )
    [row] = cli.ask("image metadef resource type association list r")
    assert row["Name"] == "OS::Cinder::Volume"
    assert "OS::Cinder::Volume" in cli("image metadef resource type list")
    cli.refused("image metadef resource type association delete r OS::Cinder::Volume")
    cli("image metadef resource type association delete r OS::Cinder::Volume --force")
    assert cli.ask("image metadef resource type association list r") == []
    cli("image metadef namespace set r --unprotected")
    cli("image metadef namespace delete r")
