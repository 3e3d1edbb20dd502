"""A cloud with S3 keys of its users, for tests of the S3 API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import Config
from botocore.exceptions import ClientError

from tests.functional.command import CommandCloud
from tests.object_cluster import ObjectCluster


@contextmanager
def running(folder: Path, settings: str = "") -> Iterator[S3]:
    """A cloud in a folder of its own, with what its nubelet.toml says, until it is purged."""
    cloud = CommandCloud(folder, "--fake")
    if settings:
        cloud.state_dir.mkdir(parents=True)
        (cloud.state_dir / "nubelet.toml").write_text(settings)
    try:
        cloud.up()
        cloud.login()
        yield S3(cloud)
    finally:
        cloud.purge()


@contextmanager
def running_on_cluster(folder: Path, settings: str) -> Iterator[S3]:
    """The same over a cluster of storage nodes, by two proxies; `settings` end in object_store."""
    nodes = ObjectCluster(folder / "nodes")
    try:
        nodes.start()
        more = f'cluster = "{nodes.folder}"\n[http]\nworkers = 2\n'
        with running(folder, settings + more) as s3:
            yield s3
    finally:
        nodes.stop()


def clouds(settings: str = "") -> Any:
    """The fixture `s3` of a module: a cloud of its own."""

    @pytest.fixture(scope="module", name="s3")
    def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
        with running(tmp_path_factory.mktemp("s3"), settings) as s3:
            yield s3

    return made


def clouds_on_clusters(settings: str = "[object_store]\n") -> Any:
    """The fixture `s3` of a module: `running_on_cluster`."""

    @pytest.fixture(scope="module", name="s3")
    def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
        with running_on_cluster(tmp_path_factory.mktemp("s3"), settings) as s3:
            yield s3

    return made


def clients(**config: Any) -> Any:
    """The fixture `client` of a module: of the administrator's project."""

    @pytest.fixture(scope="module", name="client")
    def made(s3: S3) -> Any:
        return s3.client(**config)

    return made


class S3:
    """A cloud, and clients with keys of its users."""

    def __init__(self, cloud: CommandCloud) -> None:
        self.cloud = cloud
        self._count = 0
        self.key = self.new_key("admin")

    def new_key(self, project: str) -> dict[str, str]:
        """EC2 credentials of the administrator for a project (made where there is none)."""
        with self.cloud.client() as client:
            me = client.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": self.token})
            user_id = me.json()["token"]["user"]["id"]
            found = client.get("/identity/v3/projects", params={"name": project}).json()["projects"]
            if not found:
                made = client.post("/identity/v3/projects", json={"project": {"name": project}})
                found = [made.json()["project"]]
                roles = client.get("/identity/v3/roles", params={"name": "member"}).json()["roles"]
                path = f"/identity/v3/projects/{found[0]['id']}/users/{user_id}/roles/"
                assert client.put(path + roles[0]["id"]).status_code == 204
            answer = client.post(
                f"/identity/v3/users/{user_id}/credentials/OS-EC2",
                json={"tenant_id": found[0]["id"]},
            )
            assert answer.status_code == 201, answer.text
            credential = answer.json()["credential"]
        return {
            "aws_access_key_id": credential["access"],
            "aws_secret_access_key": credential["secret"],
            "project": found[0]["id"],
        }

    def new_user_key(self, role: str) -> dict[str, str]:
        """EC2 credentials of a new user who has one role in the administrator's project."""
        self._count += 1
        base, project = "/identity/v3", self.key["project"]
        with self.cloud.client() as client:
            user = {"name": f"user-{self._count}", "domain_id": "default"}
            user_id = client.post(f"{base}/users", json={"user": user}).json()["user"]["id"]
            roles = client.get(f"{base}/roles", params={"name": role}).json()["roles"]
            if not roles:
                roles = [client.post(f"{base}/roles", json={"role": {"name": role}}).json()["role"]]
            path = f"{base}/projects/{project}/users/{user_id}/roles/{roles[0]['id']}"
            assert client.put(path).status_code == 204
            answer = client.post(
                f"{base}/users/{user_id}/credentials/OS-EC2", json={"tenant_id": project}
            )
            assert answer.status_code == 201, answer.text
            credential = answer.json()["credential"]
        return {
            "aws_access_key_id": credential["access"],
            "aws_secret_access_key": credential["secret"],
            "project": project,
        }

    @property
    def token(self) -> str:
        return self.cloud.token

    def client(self, key: dict[str, str] | None = None, path: str = "/s3", **config: Any) -> Any:
        chosen = {name: value for name, value in (key or self.key).items() if name != "project"}
        return boto3.client(
            "s3",
            endpoint_url=self.cloud.url + path,
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path", **config.pop("s3", {})},
                retries={"max_attempts": 0},
                **config,
            ),
            **chosen,
        )

    def bucket(self, client: Any, **further: Any) -> str:
        self._count += 1
        name = f"bucket-{self._count}"
        client.create_bucket(Bucket=name, **further)
        return name


def code_of(caught: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    """Status and code of a refusal."""
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]
