"""Access rules of an application credential hold for all that a request with a key which was made
with it reads, writes and deletes."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.functional.test_s3_holes_of_parts import Swift, upload
from tests.s3_calls import S3, clients, clouds, code_of

pytestmark = pytest.mark.functional


s3 = clouds('[object_store]\ns3_domains = ["s3.localhost"]\n')
client = clients()


def key_with_rules(s3: S3, *rules: tuple[str, str]) -> dict[str, str]:
    """A key of an application credential that may do this (method, path), no more; without rules:
    all that its user may."""
    base = f"{s3.cloud.url}/identity/v3"
    headers = {"X-Auth-Token": s3.token, "X-Subject-Token": s3.token}
    me = httpx.get(f"{base}/auth/tokens", headers=headers, timeout=60).json()["token"]["user"]["id"]
    keys = f"/v3/users/{me}/credentials/OS-EC2"
    wanted = [{"service": "object-store", "method": each, "path": path} for each, path in rules]
    wanted.append({"service": "identity", "method": "POST", "path": keys})
    told: dict[str, Any] = {"name": uuid4().hex, "unrestricted": True}
    if rules:
        told["access_rules"] = wanted
    made = httpx.post(
        f"{base}/users/{me}/application_credentials",
        json={"application_credential": told},
        headers=headers,
        timeout=60,
    )
    assert made.status_code == 201, made.text
    credential = made.json()["application_credential"]
    part = {"id": credential["id"], "secret": credential["secret"]}
    asked = {"methods": ["application_credential"], "application_credential": part}
    answer = httpx.post(f"{base}/auth/tokens", json={"auth": {"identity": asked}}, timeout=60)
    found = httpx.post(
        f"{s3.cloud.url}/identity{keys}",
        json={"tenant_id": s3.key["project"]},
        headers={"X-Auth-Token": answer.headers["X-Subject-Token"]},
        timeout=60,
    )
    assert found.status_code == 201, found.text
    key = found.json()["credential"]
    return {"aws_access_key_id": key["access"], "aws_secret_access_key": key["secret"]}


def below(path: str, *methods: str) -> list[tuple[str, str]]:
    """Rules for what is in a bucket, or begins so."""
    return [(each, f"/s3/{path}/**") for each in methods]


def read(client: Any, bucket: str, key: str, **more: Any) -> bytes:
    body: bytes = client.get_object(Bucket=bucket, Key=key, **more)["Body"].read()
    return body


def refused(call: Any, *arguments: Any, **named: Any) -> None:
    """It is refused because of the access rules, which the answer says."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **named)
    assert code_of(caught) == (403, "AccessDenied")
    assert "access rule" in str(caught.value)


def test_what_is_copied(s3: S3, client: Any) -> None:
    bucket, secret = s3.bucket(client), s3.bucket(client)
    client.put_object(Bucket=secret, Key="k", Body=b"secret")
    client.put_object(Bucket=bucket, Key="a b", Body=b"open")
    limited = s3.client(key_with_rules(s3, *below(bucket, "GET", "PUT", "POST")))
    limited.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/a b")
    assert read(limited, bucket, "copy") == b"open"
    for source in (f"{secret}/k", f"{s3.key['project']}:{secret}/k"):
        refused(limited.copy_object, Bucket=bucket, Key="copy", CopySource=source)
    place = {"Bucket": bucket, "Key": "parts"}
    place["UploadId"] = limited.create_multipart_upload(**place)["UploadId"]
    refused(limited.upload_part_copy, **place, PartNumber=1, CopySource=f"{secret}/k")
    limited.upload_part_copy(**place, PartNumber=1, CopySource=f"{bucket}/a b")
    assert read(limited, bucket, "copy") == b"open"


def test_a_copy_of_a_key_to_itself_reads_it(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"1")
    copy = {"Bucket": bucket, "Key": "k", "CopySource": f"{bucket}/k"}
    writer = s3.client(key_with_rules(s3, *below(bucket, "PUT")))
    refused(writer.copy_object, **copy, MetadataDirective="REPLACE")
    both = s3.client(key_with_rules(s3, *below(bucket, "GET", "PUT")))
    both.copy_object(**copy, MetadataDirective="REPLACE", Metadata={"a": "1"})


def test_buckets_that_a_host_names(s3: S3, client: Any) -> None:
    bucket, secret = s3.bucket(client), s3.bucket(client)
    key = key_with_rules(s3, *below(bucket, "GET", "PUT"))
    client.put_object(Bucket=bucket, Key="k", Body=b"open")
    client.put_object(Bucket=secret, Key=f"s3/{bucket}/k", Body=b"secret")
    assert by_host(s3, key, bucket, "/k").content == b"open"
    assert by_host(s3, key, secret, f"/s3/{bucket}/k").status_code == 403


def test_buckets_at_the_root_and_called_as_a_mount(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.create_bucket(Bucket="object-store")
    for where, key in ((bucket, "k"), ("object-store", f"s3/{bucket}/k")):
        client.put_object(Bucket=where, Key=key, Body=where.encode())
    key = key_with_rules(s3, *below(bucket, "GET"))
    for path in ("/s3", ""):
        limited = s3.client(key, path)
        assert read(limited, bucket, "k") == bucket.encode()
        with pytest.raises(ClientError) as caught:
            read(limited, "object-store", f"s3/{bucket}/k")
        assert code_of(caught) == (403, "AccessDenied")


def by_host(s3: S3, key: dict[str, str], bucket: str, path: str) -> httpx.Response:
    """What a key gets of a bucket that the host names."""
    host = f"{bucket}.s3.localhost:{s3.cloud.port}"
    signed = AWSRequest("GET", f"http://{host}{path}", headers={"Host": host})
    credentials = Credentials(key["aws_access_key_id"], key["aws_secret_access_key"])
    S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(signed)
    return httpx.get(s3.cloud.url + path, headers=dict(signed.headers), timeout=60)


def link(s3: S3, bucket: str, target: str) -> None:
    """A link, a DLO and an SLO in the bucket that lead to an object."""
    swift = Swift(s3).http
    for name, header in (("link", "X-Symlink-Target"), ("dlo", "X-Object-Manifest")):
        assert swift.put(f"/{bucket}/open/{name}", headers={header: target}).status_code == 201
    manifest = json.dumps([{"path": f"/{target}"}])
    put = swift.put(f"/{bucket}/open/slo?multipart-manifest=put", content=manifest)
    assert put.status_code == 201


@pytest.mark.parametrize("is_inside", [False, True])
def test_targets_of_links_and_manifests(s3: S3, client: Any, is_inside: bool) -> None:
    """Also where they are in the same bucket."""
    bucket = s3.bucket(client)
    secret = bucket if is_inside else s3.bucket(client)
    client.put_object(Bucket=secret, Key="secret/k", Body=b"secret")
    link(s3, bucket, f"{secret}/secret/k")
    limited = s3.client(key_with_rules(s3, *below(f"{bucket}/open", "GET", "PUT")))
    for name in ("link", "dlo", "slo"):
        assert read(client, bucket, f"open/{name}") == b"secret"
        with pytest.raises(ClientError) as caught:
            read(limited, bucket, f"open/{name}")
        assert code_of(caught) == (403, "AccessDenied")
        assert "access rule" in str(caught.value)
        place = {"Bucket": bucket, "Key": f"open/{name}"}
        with pytest.raises(ClientError) as caught:
            limited.copy_object(Bucket=bucket, Key="open/c", CopySource=place)
        assert code_of(caught) == (403, "AccessDenied")
        assert "access rule" in str(caught.value)
        with pytest.raises(ClientError):
            limited.get_object(**place, IfNoneMatch="*", Range="bytes=0-1")
    refused(limited.get_object_tagging, Bucket=bucket, Key="open/link")
    with pytest.raises(ClientError) as caught:
        client.head_object(Bucket=bucket, Key="open/c")
    assert code_of(caught)[0] == 404
    rules = [*below(f"{bucket}/open", "GET"), *below(secret, "GET"), ("GET", f"/s3/{secret}")]
    wider = s3.client(key_with_rules(s3, *rules))
    for name in ("link", "dlo", "slo"):
        assert read(wider, bucket, f"open/{name}") == b"secret"


def test_parts_and_versions_go_with_their_key(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    upload(client, bucket, "open/old", b"of parts")
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rules = below(f"{bucket}/open", "GET", "HEAD", "PUT", "POST", "DELETE")
    limited = s3.client(key_with_rules(s3, *rules))
    assert read(limited, bucket, "open/old") == b"of parts"
    upload(limited, bucket, "open/k", b"1", Metadata={"a": "1"}, Tagging="a=1")
    limited.put_object(Bucket=bucket, Key="open/k", Body=b"2")
    versions = client.list_object_versions(Bucket=bucket, Prefix="open/k")["Versions"]
    for each, body in zip(versions, (b"2", b"1"), strict=True):
        place = {"Bucket": bucket, "Key": "open/k", "VersionId": each["VersionId"]}
        assert read(limited, bucket, "open/k", VersionId=each["VersionId"]) == body
        limited.head_object(**place)
        limited.get_object_tagging(**place)
        limited.put_object_tagging(**place, Tagging={"TagSet": [{"Key": "b", "Value": "2"}]})
        limited.get_object_acl(**place)
        limited.delete_object(**place)
    limited.delete_object(Bucket=bucket, Key="open/k")
    refused(limited.copy_object, Bucket=bucket, Key="open/c", CopySource=f"{bucket}/k")


def test_each_key_of_many_that_are_deleted(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    keys = ("mine/a b", "mine/ü", "precious")
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"1")
    wanted = {"Objects": [{"Key": key} for key in keys]}
    poster = s3.client(key_with_rules(s3, ("POST", f"/s3/{bucket}")))
    answer = poster.delete_objects(Bucket=bucket, Delete=wanted)
    assert [each["Code"] for each in answer["Errors"]] == ["AccessDenied"] * 3
    assert "Deleted" not in answer
    # To delete it takes no rule that lets write.
    rules = [("POST", f"/s3/{bucket}"), *below(f"{bucket}/mine", "DELETE")]
    answer = s3.client(key_with_rules(s3, *rules)).delete_objects(Bucket=bucket, Delete=wanted)
    assert [each["Key"] for each in answer["Deleted"]] == ["mine/a b", "mine/ü"]
    (error,) = answer["Errors"]
    assert (error["Key"], error["Code"]) == ("precious", "AccessDenied")
    assert f"DELETE /s3/{bucket}/precious" in error["Message"]
    left = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert [each["Key"] for each in left] == ["precious"]


def test_the_key_that_a_form_writes(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    rules = [("POST", f"/s3/{bucket}"), *below(f"{bucket}/mine", "PUT")]
    limited = s3.client(key_with_rules(s3, *rules))
    for key, status in (("mine/k", 204), ("other", 403)):
        form = limited.generate_presigned_post(bucket, key)
        sent = httpx.post(form["url"], data=form["fields"], files={"file": b"1"}, timeout=60)
        assert sent.status_code == status, sent.text
    left = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert [each["Key"] for each in left] == ["mine/k"]


def test_buckets_of_other_projects(s3: S3, client: Any) -> None:
    """A name alone means whose bucket it means to the caller; with its project it always does."""
    other = s3.client(s3.new_key("other"))
    bucket = s3.bucket(other)
    other.put_object(Bucket=bucket, Key="k", Body=b"theirs", ACL="public-read")
    other.put_object(Bucket=bucket, Key="k2", Body=b"theirs", ACL="public-read")
    mine = s3.bucket(client)
    project = s3.new_key("other")["project"]
    for name, status in ((bucket, 200), (f"{project}:{bucket}", 200), (mine, 403)):
        rules = [*below(mine, "PUT"), ("GET", f"/s3/{name}/k")]
        limited = s3.client(key_with_rules(s3, *rules))
        for source in (f"{bucket}/k", f"{project}:{bucket}/k"):
            copy = {"Bucket": mine, "Key": "copy", "CopySource": source}
            if status == 200:
                limited.copy_object(**copy)
                refused(limited.copy_object, **copy | {"CopySource": f"{source}2"})
            else:
                refused(limited.copy_object, **copy)


def test_a_credential_without_rules_does_all_that_its_user_may(s3: S3, client: Any) -> None:
    """As a key of the user's own does."""
    bucket, secret = s3.bucket(client), s3.bucket(client)
    client.put_object(Bucket=secret, Key="k", Body=b"secret")
    link(s3, bucket, f"{secret}/k")
    everything = [(each, "/s3/**") for each in ("GET", "PUT", "POST", "DELETE")]
    for rules in ([], everything):
        each = s3.client(key_with_rules(s3, *rules))
        for name in ("link", "dlo", "slo"):
            assert read(each, bucket, f"open/{name}") == b"secret"
        each.copy_object(Bucket=bucket, Key="copy", CopySource=f"{secret}/k")
        wanted = {"Objects": [{"Key": "copy"}], "Quiet": True}
        assert "Errors" not in each.delete_objects(Bucket=bucket, Delete=wanted)
