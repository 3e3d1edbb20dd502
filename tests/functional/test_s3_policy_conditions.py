"""Conditions of policies about what a request says: its tags, its lock, its signature."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.functional.test_s3_access import policy, refused, statement
from tests.s3_calls import S3, clients, clouds

s3 = clouds()
client = clients(signature_version="s3v4")
DENIED = (403, "AccessDenied")


@pytest.fixture
def bucket(s3: S3, client: Any) -> str:
    return s3.bucket(client, ObjectLockEnabledForBucket=True)


def set_policy(client: Any, bucket: str, action: Any, **condition: Any) -> None:
    text = policy(statement(bucket, action, Effect="Deny", Condition=condition))
    client.put_bucket_policy(Bucket=bucket, Policy=text)


def tagging(*names: str) -> dict[str, Any]:
    return {"TagSet": [{"Key": name, "Value": "1"} for name in names]}


def test_keys_of_tags(client: Any, bucket: str) -> None:
    key = {"Bucket": bucket, "Key": "k"}
    names = {"s3:RequestObjectTagKeys": ["secret*"]}
    actions = ["s3:PutObject", "s3:PutObjectTagging"]
    set_policy(client, bucket, actions, **{"ForAnyValue:StringLike": names})
    client.put_object(**key, Body=b"")
    client.put_object(**key, Body=b"", Tagging="open=1")
    assert refused(client.put_object, **key, Body=b"", Tagging="a=1&secrets=1") == DENIED
    assert refused(client.put_object_tagging, **key, Tagging=tagging("a", "secret")) == DENIED
    client.put_object_tagging(**key, Tagging=tagging("a", "b"))
    found = client.get_object_tagging(**key)["TagSet"]
    assert [each["Key"] for each in found] == ["a", "b"]


def test_values_of_tags_in_a_document(client: Any, bucket: str) -> None:
    key = {"Bucket": bucket, "Key": "k"}
    client.put_object(**key, Body=b"")
    condition = {"StringEquals": {"s3:RequestObjectTag/a": "1"}}
    set_policy(client, bucket, "s3:PutObjectTagging", **condition)
    assert refused(client.put_object_tagging, **key, Tagging=tagging("a")) == DENIED
    client.put_object_tagging(**key, Tagging=tagging("b"))


def test_retentions(client: Any, bucket: str) -> None:
    key = {"Bucket": bucket, "Key": "k"}
    client.put_object(**key, Body=b"")
    actions = ["s3:PutObject", "s3:PutObjectRetention"]
    days = {"s3:object-lock-remaining-retention-days": "3"}
    set_policy(client, bucket, actions, NumericGreaterThan=days)

    def until(days: int) -> dict[str, Any]:
        return {"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=days)}

    assert refused(client.put_object_retention, **key, Retention=until(4)) == DENIED
    client.put_object_retention(**key, Retention=until(3))
    locked = {
        "ObjectLockMode": "GOVERNANCE",
        "ObjectLockRetainUntilDate": datetime.now(UTC) + timedelta(days=9),
    }
    assert refused(client.put_object, **key, Body=b"", **locked) == DENIED
    client.put_object(**key, Body=b"")
    set_policy(client, bucket, "*", StringEquals={"s3:object-lock-legal-hold": "ON"})
    hold = client.put_object_legal_hold
    assert refused(hold, **key, LegalHold={"Status": "ON"}) == DENIED
    hold(**key, LegalHold={"Status": "OFF"})


def test_how_a_request_is_signed(s3: S3, client: Any, bucket: str) -> None:
    key = {"Bucket": bucket, "Key": "k"}
    client.put_object(**key, Body=b"1")

    def statuses() -> tuple[int, int]:
        """What a presigned URL gets that is a few seconds old, and what a signed request."""
        url = client.generate_presigned_url("get_object", Params=key, ExpiresIn=600)
        time.sleep(2.1)
        try:
            by_header = client.get_object(**key)["ResponseMetadata"]["HTTPStatusCode"]
        except client.exceptions.ClientError as error:
            by_header = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return httpx.get(url).status_code, by_header

    assert statuses() == (200, 200)
    set_policy(client, bucket, "s3:GetObject", NumericGreaterThan={"s3:signatureAge": "1000"})
    assert statuses() == (403, 200)
    set_policy(client, bucket, "s3:GetObject", StringEquals={"s3:authType": "REST-QUERY-STRING"})
    assert statuses() == (403, 200)
    set_policy(client, bucket, "s3:GetObject", StringNotEquals={"s3:authType": "REST-HEADER"})
    assert statuses() == (403, 200)


def test_who_asks(s3: S3, client: Any, bucket: str) -> None:
    key = {"Bucket": bucket, "Key": "k"}
    client.put_object(**key, Body=b"1")
    who = f"arn:aws:iam::{s3.key['project']}:user/*"
    set_policy(client, bucket, "s3:GetObject", ArnNotLike={"aws:PrincipalArn": who})
    assert client.get_object(**key)["Body"].read() == b"1"
    set_policy(client, bucket, "s3:GetObject", ArnLike={"aws:PrincipalArn": who})
    assert refused(client.get_object, **key) == DENIED
    set_policy(client, bucket, "s3:*", StringNotEquals={"s3:ResourceAccount": s3.key["project"]})
    assert client.get_object(**key)["Body"].read() == b"1"
    text = policy(
        statement(bucket, "s3:GetObject", Condition={"StringEquals": {"aws:PrincipalType": "User"}})
    )
    client.put_bucket_policy(Bucket=bucket, Policy=text)
    assert httpx.get(f"{s3.cloud.url}/s3/{bucket}/k").status_code == 403
    text = policy(statement(bucket, "s3:GetObject", Condition={"Null": {"s3:authType": "true"}}))
    client.put_bucket_policy(Bucket=bucket, Policy=text)
    assert httpx.get(f"{s3.cloud.url}/s3/{bucket}/k").status_code == 200


def test_a_folder_of_ones_own(s3: S3, client: Any, bucket: str) -> None:
    stranger_key = s3.new_key("stranger")
    stranger = s3.client(stranger_key)
    who = {"AWS": stranger_key["project"]}
    folder = f"arn:aws:s3:::{bucket}/${{aws:PrincipalAccount}}/*"
    prefix = {"StringLike": {"s3:prefix": "${aws:PrincipalAccount}/*"}}
    text = policy(
        statement(bucket, ["s3:GetObject", "s3:PutObject"], who, Resource=folder),
        statement(bucket, "s3:ListBucket", who, Condition=prefix),
    )
    client.put_bucket_policy(Bucket=bucket, Policy=text)
    own = f"{stranger_key['project']}/k"
    stranger.put_object(Bucket=bucket, Key=own, Body=b"1")
    assert stranger.get_object(Bucket=bucket, Key=own)["Body"].read() == b"1"
    assert refused(stranger.put_object, Bucket=bucket, Key="other/k", Body=b"1") == DENIED
    start = f"{stranger_key['project']}/"
    assert stranger.list_objects_v2(Bucket=bucket, Prefix=start)["KeyCount"] == 1
    assert refused(stranger.list_objects_v2, Bucket=bucket, Prefix="other/") == DENIED
