"""Lines of access logs that wait are written when the cloud is stopped; boto3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.functional.test_s3_access_logs import OPERATION, enable, written
from tests.s3_calls import running, running_on_cluster

pytestmark = pytest.mark.functional
SETTINGS = "[object_store]\ns3_log_seconds = 3600.0\n"


@pytest.mark.parametrize("cloud", [running, running_on_cluster])
def test_what_waits_is_written_at_a_stop(tmp_path: Path, cloud: Any) -> None:
    with cloud(tmp_path, SETTINGS) as s3:
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
