"""What a user of one project may not do to another's buckets and parts, through Swift and S3."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.s3_calls import S3, clients, clouds, code_of

pytestmark = pytest.mark.functional


s3 = clouds()
client = clients()


def upload(client: Any, bucket: str, key: str, body: bytes, **more: Any) -> None:
    """A key made of one part."""
    place = {"Bucket": bucket, "Key": key}
    place["UploadId"] = client.create_multipart_upload(**place, **more)["UploadId"]
    etag = client.upload_part(**place, PartNumber=1, Body=body)["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    client.complete_multipart_upload(**place, MultipartUpload=parts)


class Swift:
    """The Swift API of a project; without a token for anonymous callers."""

    def __init__(self, s3: S3, project: str = "", *, anonymous: bool = False) -> None:
        headers = {} if anonymous else {"X-Auth-Token": s3.token}
        base = f"{s3.cloud.url}/object-store/v1/AUTH_{project or s3.key['project']}"
        self.http = httpx.Client(base_url=base, headers=headers, timeout=60)
        self._s3 = s3

    def token_of(self, project: str) -> str:
        """The administrator's token of another project."""
        asked = {
            "identity": {"methods": ["token"], "token": {"id": self._s3.token}},
            "scope": {"project": {"id": project}},
        }
        url = f"{self._s3.cloud.url}/identity/v3/auth/tokens"
        answer = httpx.post(url, json={"auth": asked}, timeout=60)
        assert answer.status_code == 201, answer.text
        return str(answer.headers["X-Subject-Token"])

    def parts(self, bucket: str) -> list[str]:
        listed = self.http.get(f"/{bucket}+segments", params={"prefix": "parts/"})
        assert listed.status_code in (200, 204), listed.text
        return str(listed.text).split()

    def put_manifest(self, bucket: str, key: str, parts: list[str]) -> None:
        manifest = json.dumps([{"path": f"/{bucket}+segments/{each}"} for each in parts])
        path = f"/{bucket}/{key}?multipart-manifest=put"
        assert self.http.put(path, content=manifest).status_code == 201


# --- Parts of other keys ----------------------------------------------------------------------


def test_a_manifest_of_a_users_own_does_not_take_a_locked_keys_parts(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client, ObjectLockEnabledForBucket=True)
    until = datetime.now(UTC) + timedelta(days=1)
    lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
    upload(client, bucket, "k", b"kept", **lock)
    swift = Swift(s3)
    swift.put_manifest(bucket, "evil", swift.parts(bucket))
    (version,) = client.list_object_versions(Bucket=bucket, Prefix="evil")["Versions"]
    client.delete_object(Bucket=bucket, Key="evil", VersionId=version["VersionId"])
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"kept"


def test_a_part_that_is_a_copy_does_not_expire_with_its_source(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    swift = Swift(s3)
    swift.http.put(f"/{bucket}/gone", content=b"data", headers={"X-Delete-After": "1000"})
    place = {"Bucket": bucket, "Key": "k"}
    place["UploadId"] = client.create_multipart_upload(**place)["UploadId"]
    source = {"Bucket": bucket, "Key": "gone"}
    copied = client.upload_part_copy(**place, PartNumber=1, CopySource=source)["CopyPartResult"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": copied["ETag"]}]}
    client.complete_multipart_upload(**place, MultipartUpload=parts)
    (part,) = swift.parts(bucket)
    assert "x-delete-at" not in swift.http.head(f"/{bucket}+segments/{part}").headers
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"


def test_a_copy_names_a_key_and_not_the_parts_of_it(s3: S3, client: Any) -> None:
    """A policy that denies the key speaks of the bucket, not of where its parts are."""
    bucket = s3.bucket(client)
    upload(client, bucket, "k", b"denied")
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject"}
    statement = denied | {"Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    [part] = Swift(s3).parts(bucket)
    client.put_bucket_policy(Bucket=bucket, Policy=policy)
    to, source = s3.bucket(client), {"Bucket": f"{bucket}+segments", "Key": part}
    place = {"Bucket": to, "Key": "c"}
    with pytest.raises(ClientError) as refused:
        client.copy_object(**place, CopySource=source)
    assert code_of(refused) == (400, "InvalidBucketName")
    place["UploadId"] = client.create_multipart_upload(**place)["UploadId"]
    with pytest.raises(ClientError) as refused:
        client.upload_part_copy(**place, PartNumber=1, CopySource=source)
    assert code_of(refused) == (400, "InvalidBucketName")


@pytest.mark.parametrize("change", ["delete", "overwrite"])
def test_a_manifest_of_a_users_own_does_not_take_another_keys_parts(
    s3: S3, client: Any, change: str
) -> None:
    bucket = s3.bucket(client)
    upload(client, bucket, "k", b"kept")
    swift = Swift(s3)
    swift.put_manifest(bucket, "evil", swift.parts(bucket))
    if change == "delete":
        client.delete_object(Bucket=bucket, Key="evil")
    else:
        client.put_object(Bucket=bucket, Key="evil", Body=b"1")
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"kept"
    client.delete_object(Bucket=bucket, Key="k")
    assert swift.parts(bucket) == []


# --- Names of buckets -------------------------------------------------------------------------


def test_deleting_a_bucket_of_ones_own_frees_no_other_projects_name(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    key = s3.new_key("squatter")
    squatter, swift = s3.client(key), Swift(s3, key["project"])
    swift.http.headers["X-Auth-Token"] = swift.token_of(key["project"])
    assert swift.http.put(f"/{bucket}").status_code == 201
    squatter.delete_bucket(Bucket=bucket)
    with pytest.raises(ClientError) as caught:
        squatter.create_bucket(Bucket=bucket)
    assert code_of(caught)[1] in ("AccessDenied", "BucketAlreadyExists")
    client.put_object(Bucket=bucket, Key="k", Body=b"mine", ACL="public-read")
    found = httpx.get(f"{s3.cloud.url}/s3/{bucket}/k")
    assert (found.status_code, found.content) == (200, b"mine")
    client.delete_object(Bucket=bucket, Key="k")
    client.delete_bucket(Bucket=bucket)
    squatter.create_bucket(Bucket=bucket)  # free again: its owner let it go


# --- Access lists of parts --------------------------------------------------------------------


def test_a_list_that_swift_takes_off_the_bucket_opens_its_parts_no_more(
    s3: S3, client: Any
) -> None:
    bucket = s3.bucket(client)
    swift, anybody = Swift(s3), Swift(s3, anonymous=True)
    opened = {"X-Container-Read": ".r:*,.rlistings"}
    assert swift.http.post(f"/{bucket}", headers=opened).status_code == 204
    upload(client, bucket, "k", b"once public")
    (part,) = anybody.parts(bucket)
    assert anybody.http.get(f"/{bucket}/k").content == b"once public"
    closed = {"X-Remove-Container-Read": "x"}
    assert swift.http.post(f"/{bucket}", headers=closed).status_code == 204
    assert anybody.http.get(f"/{bucket}+segments").status_code == 401
    assert anybody.http.get(f"/{bucket}+segments/{part}").status_code == 401
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"once public"
    assert swift.http.post(f"/{bucket}", headers=opened).status_code == 204
    assert anybody.http.get(f"/{bucket}/k").content == b"once public"


def test_a_list_of_writers_that_swift_takes_off_the_bucket_opens_its_parts_no_more(
    s3: S3, client: Any
) -> None:
    bucket, key = s3.bucket(client), s3.new_key("writer")
    swift, path = Swift(s3), f"/{bucket}+segments/x"
    writer = s3.client(key)
    writers = {"X-Container-Write": f"{key['project']}:*"}
    assert swift.http.post(f"/{bucket}", headers=writers).status_code == 204
    upload(client, bucket, "k", b"1")
    with_token = {"X-Auth-Token": swift.token_of(key["project"])}
    assert swift.http.put(path, headers=with_token).status_code == 201
    closed = {"X-Remove-Container-Write": "x"}
    assert swift.http.post(f"/{bucket}", headers=closed).status_code == 204
    assert swift.http.put(path, headers=with_token).status_code == 403
    assert swift.http.delete(path, headers=with_token).status_code == 403
    with pytest.raises(ClientError) as caught:
        writer.put_object(Bucket=bucket, Key="k", Body=b"2")
    assert code_of(caught) == (403, "AccessDenied")


def test_a_container_that_is_only_called_so_keeps_its_own_list(s3: S3) -> None:
    swift, anybody = Swift(s3), Swift(s3, anonymous=True)
    path = "/alone+segments"
    headers = {"X-Container-Read": ".r:*"}
    assert swift.http.put(path, headers=headers).status_code == 201
    assert swift.http.put(f"{path}/k", content=b"public").status_code == 201
    assert anybody.http.get(f"{path}/k").content == b"public"
