"""Lines of access logs that wait are written when the cloud is stopped; boto3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.functional.test_s3_access_logs import OPERATION, enable, written
from tests.object_cluster import ObjectCluster
from tests.s3_calls import S3, running

pytestmark = pytest.mark.functional
SETTINGS = "[object_store]\ns3_log_seconds = 3600.0\n"


@contextmanager
def cloud(folder: Path, kind: str) -> Iterator[S3]:
    if kind == "folder":
        with running(folder, SETTINGS) as s3:
            yield s3
        return
    nodes = ObjectCluster(folder / "nodes")
    try:
        nodes.start()
        more = f'cluster = "{nodes.folder}"\n[http]\nworkers = 2\n'
        with running(folder, SETTINGS + more) as s3:
            yield s3
    finally:
        nodes.stop()


@pytest.mark.parametrize("kind", ["folder", "cluster"])
def test_what_waits_is_written_at_a_stop(tmp_path: Path, kind: str) -> None:
    with cloud(tmp_path, kind) as s3:
        client = s3.client()
        bucket, target = s3.bucket(client), s3.bucket(client)
        enable(client, bucket, target)
        client.put_object(Bucket=bucket, Key="k", Body=b"12345")
        client.get_object(Bucket=bucket, Key="k")
        s3.cloud.run("down")
        s3.cloud.up()
        lines = written(s3.client(), target, 2)
        told = [line[OPERATION] for line in lines]
        assert {"REST.PUT.OBJECT", "REST.GET.OBJECT"} <= set(told)
