"""Access logs of buckets through the S3 API; boto3."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.s3_calls import S3, clients, clouds, code_of

pytestmark = pytest.mark.functional
s3 = clouds("[object_store]\ns3_log_seconds = 1.0\n")
client = clients()
FIELD = re.compile(r'"[^"]*"|\[[^\]]*\]|\S+')
OWNER, BUCKET, TIME, ADDRESS, REQUESTER, ID, OPERATION, KEY, ASKED, STATUS, ERROR, SENT, SIZE = (
    range(13)
)


def enable(client: Any, bucket: str, target: str, prefix: str = "", **more: Any) -> None:
    enabled = {"TargetBucket": target, "TargetPrefix": prefix, **more}
    client.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": enabled})


def written(client: Any, target: str, count: int, prefix: str = "") -> list[list[str]]:
    """The lines of a log, once there are so many."""
    until = time.monotonic() + 120
    while True:
        lines: list[str] = []
        for each in client.list_objects_v2(Bucket=target, Prefix=prefix).get("Contents", []):
            got = client.get_object(Bucket=target, Key=each["Key"])
            lines += got["Body"].read().decode().splitlines()
        if len(lines) >= count or time.monotonic() > until:
            return [FIELD.findall(line) for line in lines]
        time.sleep(0.3)


def test_what_is_asked_of_a_bucket_is_written_down(s3: S3, client: Any) -> None:
    bucket, target = s3.bucket(client), s3.bucket(client)
    enable(client, bucket, target, "logs/")
    named = {"Bucket": bucket, "Key": "a key"}
    client.put_object(**named, Body=b"12345")
    client.get_object(**named, Range="bytes=1-2")
    client.head_object(**named)
    client.list_objects_v2(Bucket=bucket)
    client.get_object_tagging(**named)
    with pytest.raises(ClientError):
        client.get_object(Bucket=bucket, Key="none")
    assert httpx.get(f"{s3.cloud.url}/s3/{bucket}/a%20key").status_code == 403
    url = client.generate_presigned_url("get_object", named)
    assert httpx.get(url, headers={"Referer": 'http://x/"\n'.strip()}).status_code == 200
    client.delete_object(**named)
    lines = written(client, target, 9, "logs/")
    assert {(line[OWNER], line[BUCKET]) for line in lines} == {(s3.key["project"], bucket)}
    told = [(line[OPERATION], line[KEY], line[STATUS], line[ERROR]) for line in lines]
    assert sorted(told) == sorted(
        [
            ("REST.PUT.OBJECT", "a%20key", "200", "-"),
            ("REST.GET.OBJECT", "a%20key", "206", "-"),
            ("REST.HEAD.OBJECT", "a%20key", "200", "-"),
            ("REST.GET.BUCKET", "-", "200", "-"),
            ("REST.GET.TAGGING", "a%20key", "200", "-"),
            ("REST.GET.OBJECT", "none", "404", "NoSuchKey"),
            ("REST.GET.OBJECT", "a%20key", "403", "AccessDenied"),
            ("REST.GET.OBJECT", "a%20key", "200", "-"),
            ("REST.DELETE.OBJECT", "a%20key", "204", "-"),
        ]
    )
    assert all(len(line) == 26 for line in lines), lines
    [part] = [line for line in lines if line[STATUS] == "206"]
    assert (part[SENT], part[SIZE]) == ("2", "5")
    assert part[ASKED] == f'"GET /s3/{bucket}/a%20key HTTP/1.1"'
    [stranger] = [line for line in lines if line[STATUS] == "403"]
    assert stranger[REQUESTER] == "-"
    assert "Signature=" not in str(lines)


def test_the_configuration(s3: S3, client: Any) -> None:
    bucket, target = s3.bucket(client), s3.bucket(client)
    form = {"PartitionedPrefix": {"PartitionDateSource": "DeliveryTime"}}
    enable(client, bucket, target, "p/", TargetObjectKeyFormat=form)
    found = client.get_bucket_logging(Bucket=bucket)["LoggingEnabled"]
    assert found == {
        "TargetBucket": target,
        "TargetPrefix": "p/",
        "TargetObjectKeyFormat": form,
    }
    written(client, target, 1)
    [entry, *_] = client.list_objects_v2(Bucket=target)["Contents"]
    start = f"p/{s3.key['project']}/us-east-1/{bucket}/"
    assert re.fullmatch(
        re.escape(start) + r"(\d{4}/\d\d/\d\d)/\d{4}(-\d\d){5}-[0-9A-F]{16}", entry["Key"]
    )
    client.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    assert "LoggingEnabled" not in client.get_bucket_logging(Bucket=bucket)
    stranger = s3.client(s3.new_key("another"))
    theirs = s3.bucket(stranger)
    for other in ("no-such-bucket", theirs):
        with pytest.raises(ClientError) as caught:
            enable(client, bucket, other)
        assert code_of(caught) == (400, "InvalidTargetBucketForLogging")
    with pytest.raises(ClientError) as caught:
        enable(stranger, bucket, theirs)
    assert code_of(caught) == (403, "AccessDenied")


def test_nobody_writes_lines_of_their_own(s3: S3, client: Any) -> None:
    """Whatever a stranger sends is one word, or one text in quotes, of the line about them."""
    bucket, target = s3.bucket(client), s3.bucket(client)
    enable(client, bucket, target)
    url = f"{s3.cloud.url}/s3/{bucket}/k"
    forged = '"\n79a5 bucket [06/Feb/2026:00:00:38 +0000] 10.0.0.1 admin R REST.DELETE.OBJECT k'
    for version in (forged, forged[1:], "[x] y", "x" * 9000):
        assert httpx.get(url, params={"versionId": version}).status_code in (400, 403)
    for headers in ({"Host": '" 200 - -'}, {"Host": "[x] y"}, {"User-Agent": 'a" "b'}):
        httpx.get(url, headers=headers)
    lines = [line for line in written(client, target, 7) if line[KEY] == "k"]
    assert {len(line) for line in lines} == {26}
    assert {line[OPERATION] for line in lines} == {"REST.GET.OBJECT"}
    assert {line[REQUESTER] for line in lines} == {"-"}
    assert max(len(word) for line in lines for word in line) < 3000


def test_a_log_goes_where_its_maker_may_write(s3: S3, client: Any) -> None:
    bucket, other = s3.bucket(client), s3.bucket(client)
    key = s3.new_key("friends")
    friend = s3.client(key)
    allowed = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{key['project']}:root"},
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    policy = {"Version": "2012-10-17", "Statement": [allowed]}
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    enable(friend, bucket, bucket, "own/")
    for target in (other, "there-is-none", f"{bucket}+segments"):
        with pytest.raises(ClientError) as caught:
            enable(friend, bucket, target)
        assert code_of(caught) == (400, "InvalidTargetBucketForLogging")
    with pytest.raises(ClientError):
        enable(client, bucket, f"{bucket}+segments")
    enable(client, bucket, other)
