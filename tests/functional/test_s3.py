"""The S3 API with unmodified clients: boto3, against a cloud that was started by the command."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from botocore.exceptions import ClientError

from nubelet.object_store.s3 import gateway
from nubelet.object_store.s3.signing import SUBRESOURCES
from tests.s3_calls import S3, clients, clouds, code_of

pytestmark = pytest.mark.functional
MIB = 1 << 20


s3 = clouds()
client = clients()


# --- Buckets ----------------------------------------------------------------------------------


def test_buckets_are_made_listed_and_deleted(s3: S3, client: Any) -> None:
    client.create_bucket(Bucket="first-bucket")
    client.head_bucket(Bucket="first-bucket")
    listed = client.list_buckets()
    assert "first-bucket" in [each["Name"] for each in listed["Buckets"]]
    assert listed["Owner"]["ID"] == s3.key["project"]
    assert client.get_bucket_location(Bucket="first-bucket")["LocationConstraint"] is None
    with pytest.raises(ClientError) as caught:
        client.create_bucket(Bucket="first-bucket")
    assert code_of(caught) == (409, "BucketAlreadyOwnedByYou")
    client.put_object(Bucket="first-bucket", Key="a", Body=b"1")
    with pytest.raises(ClientError) as caught:
        client.delete_bucket(Bucket="first-bucket")
    assert code_of(caught) == (409, "BucketNotEmpty")
    client.delete_object(Bucket="first-bucket", Key="a")
    client.delete_bucket(Bucket="first-bucket")
    with pytest.raises(ClientError) as caught:
        client.list_objects_v2(Bucket="first-bucket")
    assert code_of(caught) == (404, "NoSuchBucket")


@pytest.mark.parametrize(
    "name", ["Upper", "ab", "a..b", "10.0.0.1", "under_score", "xn--a", "a--ol-s3"]
)
def test_names_that_no_bucket_may_have(s3: S3, name: str) -> None:
    client = s3.client()
    client.meta.events.unregister("before-parameter-build.s3", _validate_bucket_name())
    with pytest.raises(ClientError) as caught:
        client.create_bucket(Bucket=name)
    assert code_of(caught) == (400, "InvalidBucketName")


def _validate_bucket_name() -> Any:
    from botocore.handlers import validate_bucket_name

    return validate_bucket_name


def test_a_bucket_is_a_container_of_the_project(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="x/y", Body=b"hello", Metadata={"color": "blue"})
    with s3.cloud.client() as swift:
        path = f"/object-store/v1/AUTH_{s3.key['project']}/{bucket}/x/y"
        answer = swift.get(path)
    assert (answer.status_code, answer.content) == (200, b"hello")
    assert answer.headers["x-object-meta-color"] == "blue"


# --- Keys -------------------------------------------------------------------------------------


def test_what_was_put_comes_back(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    data = os.urandom(300_000)
    put = client.put_object(
        Bucket=bucket,
        Key="ein schöner/Schlüssel+%20//x",
        Body=data,
        ContentType="text/x-test",
        CacheControl="no-cache",
        ContentDisposition="inline",
        ContentEncoding="gzip",
        Metadata={"one": "1"},
    )
    assert put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    found = client.get_object(Bucket=bucket, Key="ein schöner/Schlüssel+%20//x")
    assert found["Body"].read() == data
    assert found["ContentType"] == "text/x-test"
    assert (found["CacheControl"], found["ContentDisposition"]) == ("no-cache", "inline")
    assert (found["ContentEncoding"], found["Metadata"]) == ("gzip", {"one": "1"})
    head = client.head_object(Bucket=bucket, Key="ein schöner/Schlüssel+%20//x")
    assert head["ContentLength"] == len(data)
    client.delete_object(Bucket=bucket, Key="ein schöner/Schlüssel+%20//x")
    with pytest.raises(ClientError) as caught:
        client.get_object(Bucket=bucket, Key="ein schöner/Schlüssel+%20//x")
    assert code_of(caught) == (404, "NoSuchKey")
    assert (
        client.delete_object(Bucket=bucket, Key="never")["ResponseMetadata"]["HTTPStatusCode"]
        == 204
    )


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("deflate, gzip", "deflate, gzip"),
        ("gzip,aws-chunked", "gzip"),
        ("aws-chunked, br, gzip", "br, gzip"),
        ("aws-chunked", None),
    ],
)
def test_encodings_are_kept_but_for_chunks(s3: S3, client: Any, sent: str, kept: str) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"data", ContentEncoding=sent)
    assert client.head_object(Bucket=bucket, Key="k").get("ContentEncoding") == kept


def test_ranges_and_conditions(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    etag = client.put_object(Bucket=bucket, Key="k", Body=b"0123456789")["ETag"]
    part = client.get_object(Bucket=bucket, Key="k", Range="bytes=2-4")
    assert (part["Body"].read(), part["ContentRange"]) == (b"234", "bytes 2-4/10")
    assert client.get_object(Bucket=bucket, Key="k", Range="bytes=-3")["Body"].read() == b"789"
    with pytest.raises(ClientError) as caught:
        client.get_object(Bucket=bucket, Key="k", Range="bytes=50-")
    assert code_of(caught) == (416, "InvalidRange")
    with pytest.raises(ClientError) as caught:
        client.get_object(Bucket=bucket, Key="k", IfMatch='"other"')
    assert code_of(caught) == (412, "PreconditionFailed")
    with pytest.raises(ClientError) as caught:
        client.get_object(Bucket=bucket, Key="k", IfNoneMatch=etag)
    assert code_of(caught)[0] == 304
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=bucket, Key="k", Body=b"", IfNoneMatch="*")
    assert code_of(caught) == (412, "PreconditionFailed")
    client.put_object(Bucket=bucket, Key="new", Body=b"", IfNoneMatch="*")


def test_which_condition_counts(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    etag = client.put_object(Bucket=bucket, Key="k", Body=b"data")["ETag"]
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    named = {"Bucket": bucket, "Key": "k"}
    # An ETag that fits takes the place of the time, one that fits not also.
    assert client.get_object(**named, IfMatch=etag, IfUnmodifiedSince=long_ago)["ETag"] == etag
    with pytest.raises(ClientError) as caught:
        client.get_object(**named, IfNoneMatch=etag, IfModifiedSince=long_ago)
    assert code_of(caught)[0] == 304
    source = {"Bucket": bucket, "CopySource": named, "Key": "copy"}
    client.copy_object(**source, CopySourceIfMatch=etag, CopySourceIfUnmodifiedSince=long_ago)
    with pytest.raises(ClientError) as caught:
        client.copy_object(**source, CopySourceIfNoneMatch=etag, CopySourceIfModifiedSince=long_ago)
    assert code_of(caught) == (412, "PreconditionFailed")


def test_the_head_of_a_range(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    head = client.head_object(Bucket=bucket, Key="k", Range="bytes=2-4")
    answer = head["ResponseMetadata"]
    assert (answer["HTTPStatusCode"], head["ContentLength"]) == (206, 3)
    assert answer["HTTPHeaders"]["content-range"] == "bytes 2-4/10"
    with pytest.raises(ClientError) as caught:
        client.head_object(Bucket=bucket, Key="k", Range="bytes=10-")
    assert code_of(caught)[0] == 416


def test_metadata_of_two_kilobytes(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    for metadata in ({"a": "x" * 2047}, {"a": "x" * 1000, "b": "y" * 1000}):
        client.put_object(Bucket=bucket, Key="k", Body=b"", Metadata=metadata)
        assert client.head_object(Bucket=bucket, Key="k")["Metadata"] == metadata
        client.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": []})
        assert client.head_object(Bucket=bucket, Key="k")["Metadata"] == metadata
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=bucket, Key="k", Body=b"", Metadata={"a": "x" * 2048})
    assert code_of(caught) == (400, "MetadataTooLarge")


def test_the_one_storage_class(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"", StorageClass="STANDARD")
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=bucket, Key="k", Body=b"", StorageClass="GLACIER")
    assert code_of(caught) == (400, "InvalidStorageClass")
    # That a key is copied to itself is good for something where an attribute is named.
    source = {"Bucket": bucket, "Key": "k"}
    client.copy_object(**source, CopySource=source, StorageClass="STANDARD")


def test_a_signed_url_changes_response_headers(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"data")
    for version in ("s3v4", "s3"):
        signer = s3.client(signature_version=version)
        url = signer.generate_presigned_url(
            "get_object",
            {"Bucket": bucket, "Key": "k", "ResponseContentType": "text/special"},
            ExpiresIn=60,
        )
        answer = httpx.get(url)
        assert (answer.status_code, answer.content) == (200, b"data"), answer.text
        assert answer.headers["content-type"] == "text/special"
        assert httpx.get(url.replace("/k?", "/other?")).status_code == 403
        put = signer.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "up"})
        assert httpx.put(put, content=b"uploaded").status_code == 200
        assert client.get_object(Bucket=bucket, Key="up")["Body"].read() == b"uploaded"


def test_a_url_ends(s3: S3, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"data")
    url = httpx.URL(
        s3.client(signature_version="s3").generate_presigned_url(
            "get_object", {"Bucket": bucket, "Key": "k"}, ExpiresIn=-5
        )
    )
    answer = httpx.get(url)
    assert answer.status_code == 403
    assert "<Code>AccessDenied</Code>" in answer.text
    assert "expired" in answer.text


def test_signatures_of_version_2_work(s3: S3) -> None:
    client = s3.client(signature_version="s3")
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"data", Metadata={"a": "b"})
    assert client.get_object(Bucket=bucket, Key="k")["Metadata"] == {"a": "b"}
    assert client.get_bucket_acl(Bucket=bucket)["Grants"]


def test_a_url_of_version_2_is_good_for_what_was_signed(s3: S3, client: Any) -> None:
    known = {name for _, name in (*gateway._BUCKET, *gateway._KEY) if name}
    assert known | gateway._UNKNOWN <= SUBRESOURCES
    bucket = s3.bucket(client, ObjectLockEnabledForBucket=True)
    client.put_object(Bucket=bucket, Key="k", Body=b"data")
    signer = s3.client(signature_version="s3")
    put = signer.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "k"})
    until = b"<RetainUntilDate>2126-01-01T00:00:00Z</RetainUntilDate>"
    body = b"<Retention><Mode>COMPLIANCE</Mode>" + until + b"</Retention>"
    answer = httpx.put(f"{put}&retention", content=body)
    assert (answer.status_code, "SignatureDoesNotMatch" in answer.text) == (403, True)
    with pytest.raises(ClientError) as caught:
        client.get_object_retention(Bucket=bucket, Key="k")
    assert code_of(caught)[0] == 404
    listing = signer.generate_presigned_url("list_objects", {"Bucket": bucket})
    assert httpx.get(listing).status_code == 200
    assert httpx.get(f"{listing}&object-lock").status_code == 403


def test_a_wrong_secret_and_an_unknown_key(s3: S3) -> None:
    wrong = {**s3.key, "aws_secret_access_key": "x" * 32}
    for version in ("s3v4", "s3"):
        with pytest.raises(ClientError) as caught:
            s3.client(wrong, signature_version=version).list_buckets()
        assert code_of(caught) == (403, "SignatureDoesNotMatch")
    with pytest.raises(ClientError) as caught:
        s3.client({**s3.key, "aws_access_key_id": "nobody"}).list_buckets()
    assert code_of(caught) == (403, "InvalidAccessKeyId")


def test_requests_with_a_signature_are_served_at_the_root_too(s3: S3) -> None:
    client = s3.client(path="")
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="identity/v3", Body=b"data")
    assert client.get_object(Bucket=bucket, Key="identity/v3")["Body"].read() == b"data"


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_are_checked_and_kept(s3: S3, client: Any, algorithm: str) -> None:
    bucket = s3.bucket(client)
    put = client.put_object(Bucket=bucket, Key="k", Body=b"data", ChecksumAlgorithm=algorithm)
    found = client.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    name = f"Checksum{algorithm}"
    assert put[name] == found[name]
    assert found["Body"].read() == b"data"
    with pytest.raises(ClientError) as caught:
        client.put_object(
            Bucket=bucket,
            Key="k",
            Body=b"data",
            **{name: base64.b64encode(b"\0" * len(base64.b64decode(put[name]))).decode()},
        )
    assert code_of(caught) == (400, "BadDigest")
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"


def test_a_body_that_is_not_what_was_signed_is_refused(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)

    def tamper(request: Any, **_more: Any) -> None:
        request.body = b"evil"

    tampering = s3.client(request_checksum_calculation="when_required")
    tampering.meta.events.register("before-send.s3.PutObject", tamper)
    with pytest.raises(ClientError) as caught:
        tampering.put_object(Bucket=bucket, Key="k", Body=b"good")
    assert code_of(caught) == (400, "XAmzContentSHA256Mismatch")
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_copies(s3: S3, client: Any) -> None:
    bucket, other = s3.bucket(client), s3.bucket(client)
    client.put_object(
        Bucket=bucket, Key="a b", Body=b"data", Metadata={"one": "1"}, Tagging="t=1",
        ContentType="a/b",
    )  # fmt: skip
    source = {"Bucket": bucket, "Key": "a b"}
    copied = client.copy_object(Bucket=other, Key="copy", CopySource=source)
    assert copied["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(b"data").hexdigest()}"'
    found = client.get_object(Bucket=other, Key="copy")
    assert (found["Body"].read(), found["Metadata"]) == (b"data", {"one": "1"})
    assert (found["ContentType"], found["TagCount"]) == ("a/b", 1)
    client.copy_object(
        Bucket=bucket, Key="a b", CopySource=source, Metadata={"two": "2"},
        MetadataDirective="REPLACE",
    )  # fmt: skip
    assert client.head_object(Bucket=bucket, Key="a b")["Metadata"] == {"two": "2"}
    with pytest.raises(ClientError) as caught:
        client.copy_object(Bucket=bucket, Key="a b", CopySource=source)
    assert code_of(caught) == (400, "InvalidRequest")
    with pytest.raises(ClientError) as caught:
        client.copy_object(Bucket=other, Key="x", CopySource=source, CopySourceIfMatch='"other"')
    assert code_of(caught) == (412, "PreconditionFailed")
    with pytest.raises(ClientError) as caught:
        client.copy_object(Bucket=other, Key="x", CopySource={"Bucket": bucket, "Key": "no"})
    assert code_of(caught) == (404, "NoSuchKey")


def test_tags(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"1", Tagging="a=1&b=2", Metadata={"m": "n"})
    tags = client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]
    assert tags == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    client.put_object_tagging(
        Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "ü", "Value": "+-=._:/@ 7"}]}
    )
    assert client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [
        {"Key": "ü", "Value": "+-=._:/@ 7"}
    ]
    head = client.head_object(Bucket=bucket, Key="k")
    assert head["Metadata"] == {"m": "n"}
    client.delete_object_tagging(Bucket=bucket, Key="k")
    assert client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=bucket, Key="k", Body=b"", Tagging="a=1&a=2")
    assert code_of(caught) == (400, "InvalidTag")
    odd = [("a&b", ""), ("a", "<"), ("AWS:a", ""), ("a" * 129, ""), ("a", "\U0001f600")]
    odd += [("\u4e00" * 128, "\u4e00" * 257), ("a\n", "b")]
    for key, value in odd:
        wrong = {"TagSet": [{"Key": key, "Value": value}]}
        with pytest.raises(ClientError) as caught:
            client.put_object_tagging(Bucket=bucket, Key="k", Tagging=wrong)
        assert code_of(caught) == (400, "InvalidTag"), (key, value)
        sent = urlencode({key: value})
        with pytest.raises(ClientError) as caught:
            client.put_object(Bucket=bucket, Key="k", Body=b"", Tagging=sent)
        assert code_of(caught) == (400, "InvalidTag"), (key, value)
    longest = {"TagSet": [{"Key": "\u4e00" * 128, "Value": "\u4e00" * 256}]}
    client.put_object_tagging(Bucket=bucket, Key="k", Tagging=longest)
    assert client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == longest["TagSet"]
    many = [{"Key": str(number), "Value": ""} for number in range(51)]
    for limit, tag in ((10, client.put_object_tagging), (50, client.put_bucket_tagging)):
        named = {"Bucket": bucket} if limit == 50 else {"Bucket": bucket, "Key": "k"}
        tag(**named, Tagging={"TagSet": many[:limit]})
        with pytest.raises(ClientError) as caught:
            tag(**named, Tagging={"TagSet": many[: limit + 1]})
        assert code_of(caught) == (400, "InvalidTag")
    client.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert client.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "b"}]
    client.delete_bucket_tagging(Bucket=bucket)
    with pytest.raises(ClientError) as caught:
        client.get_bucket_tagging(Bucket=bucket)
    assert code_of(caught) == (404, "NoSuchTagSet")


def test_many_keys_are_deleted_at_once(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    for key in ("a", "b & <c>", "d"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    answer = client.delete_objects(
        Bucket=bucket,
        Delete={"Objects": [{"Key": key} for key in ("a", "b & <c>", "not there")]},
    )
    assert [each["Key"] for each in answer["Deleted"]] == ["a", "b & <c>", "not there"]
    listed = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert [each["Key"] for each in listed] == ["d"]


# --- Listings ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shelf(s3: S3, client: Any) -> str:
    bucket = s3.bucket(client)
    for key in ("a", "b/1", "b/2", "b/c/3", "d", "e/1", "ü"):
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return bucket


def test_listing_by_folders(client: Any, shelf: str) -> None:
    listed = client.list_objects_v2(Bucket=shelf, Delimiter="/")
    assert [each["Key"] for each in listed["Contents"]] == ["a", "d", "ü"]
    assert [each["Prefix"] for each in listed["CommonPrefixes"]] == ["b/", "e/"]
    assert listed["KeyCount"] == 5
    listed = client.list_objects_v2(Bucket=shelf, Delimiter="/", Prefix="b/")
    assert [each["Key"] for each in listed["Contents"]] == ["b/1", "b/2"]
    assert [each["Prefix"] for each in listed["CommonPrefixes"]] == ["b/c/"]
    first = listed["Contents"][0]
    assert (first["Size"], first["ETag"]) == (3, f'"{hashlib.md5(b"b/1").hexdigest()}"')


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_show_everything_once(client: Any, shelf: str, operation: str, size: int) -> None:
    paginator = client.get_paginator(operation)
    plain, folders = [], []
    for page in paginator.paginate(Bucket=shelf, PaginationConfig={"PageSize": size}):
        plain += [each["Key"] for each in page.get("Contents", [])]
    assert plain == ["a", "b/1", "b/2", "b/c/3", "d", "e/1", "ü"]
    plain = []
    for page in paginator.paginate(
        Bucket=shelf, Delimiter="/", PaginationConfig={"PageSize": size}
    ):
        plain += [each["Key"] for each in page.get("Contents", [])]
        folders += [each["Prefix"] for each in page.get("CommonPrefixes", [])]
    assert (plain, folders) == (["a", "d", "ü"], ["b/", "e/"])


def test_start_after_and_owner(s3: S3, client: Any, shelf: str) -> None:
    listed = client.list_objects_v2(Bucket=shelf, StartAfter="b/2", FetchOwner=True)
    assert [each["Key"] for each in listed["Contents"]] == ["b/c/3", "d", "e/1", "ü"]
    assert listed["Contents"][0]["Owner"]["ID"] == s3.key["project"]
    assert client.list_objects_v2(Bucket=shelf, MaxKeys=0)["KeyCount"] == 0
    with pytest.raises(ClientError) as caught:
        client.list_objects_v2(Bucket=shelf, ContinuationToken="?")
    assert code_of(caught) == (400, "InvalidArgument")


# --- Multipart uploads ------------------------------------------------------------------------


def _parts(s3: S3, client: Any, bucket: str, key: str, data: list[bytes], **more: Any) -> Any:
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, **more)["UploadId"]
    parts = []
    for number, piece in enumerate(data, 1):
        answer = client.upload_part(
            Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=piece
        )
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    return client.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
    )


def test_an_upload_in_parts(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    data = [os.urandom(5 * MIB), os.urandom(5 * MIB), b"the end"]
    done = _parts(s3, client, bucket, "big", data, Metadata={"a": "b"}, ContentType="x/y")
    digest = hashlib.md5(b"".join(hashlib.md5(each).digest() for each in data)).hexdigest()
    assert done["ETag"] == f'"{digest}-3"'
    found = client.get_object(Bucket=bucket, Key="big")
    assert found["Body"].read() == b"".join(data)
    assert (found["ETag"], found["Metadata"]) == (done["ETag"], {"a": "b"})
    assert found["ContentType"] == "x/y"
    listed = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert [(each["Key"], each["Size"], each["ETag"]) for each in listed] == [
        ("big", 10 * MIB + 7, done["ETag"])
    ]
    middle = client.get_object(Bucket=bucket, Key="big", Range=f"bytes={5 * MIB - 2}-{5 * MIB + 1}")
    assert middle["Body"].read() == data[0][-2:] + data[1][:2]
    with pytest.raises(ClientError) as caught:
        client.get_object(Bucket=bucket, Key="big", IfNoneMatch=done["ETag"])
    assert code_of(caught)[0] == 304
    assert "bucket" in bucket
    assert f"{bucket}+segments" not in [each["Name"] for each in client.list_buckets()["Buckets"]]


def test_who_lost_the_answer_to_a_completion_asks_again(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    place = {"Bucket": bucket, "Key": "k"}
    upload = client.create_multipart_upload(**place, ChecksumAlgorithm="CRC32")["UploadId"]
    sent = []
    for number, data in ((1, bytes(5 * MIB)), (7, b"end")):
        part = client.upload_part(
            **place, UploadId=upload, PartNumber=number, Body=data, ChecksumAlgorithm="CRC32"
        )
        sent.append({"PartNumber": number, "ETag": part["ETag"]})

    def complete(chosen: list[dict[str, Any]]) -> Any:
        parts = {"Parts": chosen}
        return client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload=parts)

    def refused(chosen: list[dict[str, Any]]) -> tuple[int, str]:
        with pytest.raises(ClientError) as caught:
            complete(chosen)
        return code_of(caught)

    first = complete(sent)
    again = complete(sent)
    for each in (first, again):
        del each["ResponseMetadata"]
    assert again == first
    assert len(client.list_object_versions(Bucket=bucket)["Versions"]) == 1
    assert refused(sent[:1]) == (404, "NoSuchUpload")  # that is not what was made
    client.copy_object(**place, CopySource={**place}, MetadataDirective="REPLACE")
    assert refused(sent) == (404, "NoSuchUpload")  # the key is another now
    client.delete_object(**place)
    assert refused(sent) == (404, "NoSuchUpload")


def _kept_parts(s3: S3, bucket: str) -> list[str]:
    """The bytes of parts that there are; what only told of them goes an hour later."""
    with s3.cloud.client() as swift:
        path = f"/object-store/v1/AUTH_{s3.key['project']}/{bucket}+segments"
        answer = swift.get(path, params={"format": "json", "prefix": "parts/"})
    return [each["name"] for each in answer.json()] if answer.status_code == 200 else []


class Held:
    """A part that is being sent: all but its last byte."""

    def __init__(self, client: Any, bucket: str, key: str, upload: str, data: bytes) -> None:
        place = {"Bucket": bucket, "Key": key, "UploadId": upload, "PartNumber": 1}
        url = urlsplit(client.generate_presigned_url("upload_part", Params=place))
        self._connection = HTTPConnection(url.netloc, timeout=60)
        self._connection.putrequest("PUT", f"{url.path}?{url.query}")
        self._connection.putheader("Content-Length", str(len(data)))
        self._connection.endheaders(data[:-1])
        self._last = data[-1:]

    def end(self) -> int:
        """Send the last byte; the answer's status."""
        self._connection.send(self._last)
        with closing(self._connection):
            return self._connection.getresponse().status


def _one_part(client: Any, bucket: str, key: str, data: bytes) -> tuple[str, Any]:
    """An upload of one part, and what completes it."""
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    place = {"Bucket": bucket, "Key": key, "UploadId": upload}
    etag = client.upload_part(**place, PartNumber=1, Body=data)["ETag"]
    chosen = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    return upload, lambda: client.complete_multipart_upload(**place, MultipartUpload=chosen)


@pytest.mark.parametrize("size", [1000, MIB])
def test_a_part_that_is_still_sent_when_its_upload_is_completed(
    s3: S3, client: Any, size: int
) -> None:
    bucket = s3.bucket(client)
    upload, complete = _one_part(client, bucket, "k", b"chosen")
    late = Held(client, bucket, "k", upload, b"l" * size)
    complete()
    assert late.end() == 404
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"chosen"
    assert len(_kept_parts(s3, bucket)) == 1


def test_parts_that_arrive_while_their_upload_is_completed(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    for number in range(12):
        key = f"k{number}"
        upload, complete = _one_part(client, bucket, key, b"chosen")
        late = Held(client, bucket, key, upload, b"late" * 1000)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(late.end)
            time.sleep(number / 1000)
            problem = ""
            try:
                complete()
            except ClientError as error:  # it came first
                problem = error.response["Error"]["Code"]
            assert problem in ("", "InvalidPart")
            assert answer.result() in ((200,) if problem else (200, 404))
        if not problem:
            assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"chosen"


def test_no_part_outlives_its_key(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    _parts(s3, client, bucket, "big", [b"x" * 5 * MIB, b"y"])
    assert len(_kept_parts(s3, bucket)) == 2
    client.put_object(Bucket=bucket, Key="big", Body=b"small")
    assert _kept_parts(s3, bucket) == []
    _parts(s3, client, bucket, "big", [b"x" * 5 * MIB, b"y"])
    client.delete_object(Bucket=bucket, Key="big")
    assert _kept_parts(s3, bucket) == []
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    client.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"1")
    client.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    assert _kept_parts(s3, bucket) == []
    client.create_multipart_upload(Bucket=bucket, Key="k")
    client.delete_bucket(Bucket=bucket)
    with s3.cloud.client() as swift:
        path = f"/object-store/v1/AUTH_{s3.key['project']}/{bucket}+segments"
        assert swift.head(path).status_code == 404


def test_uploads_and_parts_are_listed(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    ids = [
        client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        for key in ("a", "b/1", "b/2")
    ]
    listed = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [(each["Key"], each["UploadId"]) for each in listed] == list(
        zip(("a", "b/1", "b/2"), ids, strict=True)
    )
    listed = client.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [each["Key"] for each in listed["Uploads"]] == ["a"]
    assert [each["Prefix"] for each in listed["CommonPrefixes"]] == ["b/"]
    page = client.list_multipart_uploads(Bucket=bucket, MaxUploads=2)
    assert page["IsTruncated"]
    rest = client.list_multipart_uploads(
        Bucket=bucket, KeyMarker=page["NextKeyMarker"], UploadIdMarker=page["NextUploadIdMarker"]
    )
    assert [each["Key"] for each in rest["Uploads"]] == ["b/2"]
    for number in (1, 2, 3):
        client.upload_part(
            Bucket=bucket, Key="a", UploadId=ids[0], PartNumber=number, Body=b"x" * number
        )
    page = client.list_parts(Bucket=bucket, Key="a", UploadId=ids[0], MaxParts=2)
    assert [each["Size"] for each in page["Parts"]] == [1, 2]
    rest = client.list_parts(
        Bucket=bucket, Key="a", UploadId=ids[0], PartNumberMarker=page["NextPartNumberMarker"]
    )
    assert [each["PartNumber"] for each in rest["Parts"]] == [3]


def test_what_cannot_be_completed(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    etags = [
        client.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=each, Body=b"1")[
            "ETag"
        ]
        for each in (1, 2)
    ]
    parts = [{"PartNumber": each, "ETag": etags[each - 1]} for each in (1, 2)]

    def complete(chosen: list[dict[str, Any]], upload_id: str = upload) -> tuple[int, str]:
        with pytest.raises(ClientError) as caught:
            client.complete_multipart_upload(
                Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": chosen}
            )
        return code_of(caught)

    assert complete(parts) == (400, "EntityTooSmall")
    assert complete(parts[::-1]) == (400, "InvalidPartOrder")
    assert complete([{"PartNumber": 3, "ETag": etags[0]}]) == (400, "InvalidPart")
    assert complete([{"PartNumber": 1, "ETag": '"' + "0" * 32 + '"'}]) == (400, "InvalidPart")
    assert complete(parts, "0" * 32) == (404, "NoSuchUpload")
    assert complete(parts, "x") == (404, "NoSuchUpload")
    with pytest.raises(ClientError) as caught:
        client.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=10_001, Body=b"1")
    assert code_of(caught) == (400, "InvalidArgument")
    with pytest.raises(ClientError) as caught:
        client.upload_part(Bucket=bucket, Key="other", UploadId=upload, PartNumber=1, Body=b"1")
    assert code_of(caught) == (404, "NoSuchUpload")


def test_parts_are_copied(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="source", Body=b"0123456789")
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    answer = client.upload_part_copy(
        Bucket=bucket,
        Key="k",
        UploadId=upload,
        PartNumber=1,
        CopySource={"Bucket": bucket, "Key": "source"},
        CopySourceRange="bytes=2-5",
    )
    for wrong in ("2-5", "bytes=2-10", "bytes=5-2", "bytes=2-", "bytes=-2"):
        with pytest.raises(ClientError) as caught:
            client.upload_part_copy(
                Bucket=bucket,
                Key="k",
                UploadId=upload,
                PartNumber=2,
                CopySource={"Bucket": bucket, "Key": "source"},
                CopySourceRange=wrong,
            )
        assert code_of(caught) == (400, "InvalidArgument")
    part = {"PartNumber": 1, "ETag": answer["CopyPartResult"]["ETag"]}
    client.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": [part]}
    )
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2345"


def test_the_transfer_of_a_large_file(s3: S3, client: Any, tmp_path: Any) -> None:
    bucket = s3.bucket(client)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(20 * MIB + 5))
    client.upload_file(str(path), bucket, "large")
    client.download_file(bucket, "large", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    client.copy({"Bucket": bucket, "Key": "large"}, bucket, "copy")
    assert client.head_object(Bucket=bucket, Key="copy")["ContentLength"] == 20 * MIB + 5


# --- Versions ---------------------------------------------------------------------------------


def test_versions(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    assert "Status" not in client.get_bucket_versioning(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert client.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    first = client.put_object(Bucket=bucket, Key="k", Body=b"one")["VersionId"]
    second = client.put_object(Bucket=bucket, Key="k", Body=b"two")["VersionId"]
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"two"
    old = client.get_object(Bucket=bucket, Key="k", VersionId=first)
    assert (old["Body"].read(), old["VersionId"]) == (b"one", first)
    gone = client.delete_object(Bucket=bucket, Key="k")
    assert gone["DeleteMarker"]
    listed = client.list_object_versions(Bucket=bucket)
    assert [each["VersionId"] for each in listed["Versions"]] == [second, first]
    assert [each["IsLatest"] for each in listed["Versions"]] == [False, False]
    assert [each["VersionId"] for each in listed["DeleteMarkers"]] == [gone["VersionId"]]
    assert listed["DeleteMarkers"][0]["IsLatest"]
    with pytest.raises(ClientError) as caught:
        client.get_object(Bucket=bucket, Key="k")
    assert code_of(caught) == (404, "NoSuchKey")
    copied = client.copy_object(
        Bucket=bucket, Key="k", CopySource={"Bucket": bucket, "Key": "k", "VersionId": first}
    )
    assert copied["CopySourceVersionId"] == first
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"one"
    for each in (first, second, gone["VersionId"], copied["VersionId"]):
        client.delete_object(Bucket=bucket, Key="k", VersionId=each)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    client.put_object(Bucket=bucket, Key="k", Body=b"plain")
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"plain"
    for wrong, code in (
        ({"Status": "Disabled"}, "MalformedXML"),
        ({}, "IllegalVersioningConfigurationException"),
    ):
        with pytest.raises(ClientError) as caught:
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=wrong)
        assert code_of(caught) == (400, code)


# --- Access -----------------------------------------------------------------------------------


def test_canned_access_lists(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    _parts(s3, client, bucket, "big", [b"x" * 5 * MIB, b"y"])
    client.put_object(Bucket=bucket, Key="k", Body=b"data")
    public = f"{s3.cloud.url}/s3/{s3.key['project']}:{bucket}"
    assert httpx.get(f"{public}/k").status_code == 403
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    grants = client.get_bucket_acl(Bucket=bucket)["Grants"]
    assert [each["Permission"] for each in grants] == ["FULL_CONTROL", "READ"]
    assert httpx.get(f"{public}/k").status_code == 403  # the list of the bucket is about listing
    for key in ("k", "big"):
        client.put_object_acl(Bucket=bucket, Key=key, ACL="public-read")
    assert httpx.get(f"{public}/k").content == b"data"
    assert len(httpx.get(f"{public}/big").content) == 5 * MIB + 1
    assert "<Key>k</Key>" in httpx.get(public).text
    assert httpx.put(f"{public}/k", content=b"x").status_code == 403
    assert httpx.get(f"{public}?acl").status_code == 403
    client.put_bucket_acl(Bucket=bucket, ACL="private")
    assert httpx.get(public).status_code == 403
    for key in ("k", "big"):
        client.put_object_acl(Bucket=bucket, Key=key, ACL="private")
        assert httpx.get(f"{public}/{key}").status_code == 403


def test_projects_do_not_see_each_other(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"mine")
    other = s3.client(s3.new_key("another"))
    with pytest.raises(ClientError) as caught:
        other.get_object(Bucket=bucket, Key="k")
    assert code_of(caught) == (403, "AccessDenied")
    with pytest.raises(ClientError) as caught:
        other.list_objects_v2(Bucket=bucket)
    assert code_of(caught) == (403, "AccessDenied")
    with pytest.raises(ClientError) as caught:
        other.create_bucket(Bucket=bucket)
    assert code_of(caught) == (409, "BucketAlreadyExists")
    mine = s3.bucket(other)
    with pytest.raises(ClientError) as caught:
        other.copy_object(Bucket=mine, Key="x", CopySource=f"{s3.key['project']}:{bucket}/k")
    assert code_of(caught) == (403, "AccessDenied")


def test_a_deleted_key_opens_nothing(s3: S3) -> None:
    key = s3.new_key("admin")
    client = s3.client(key)
    client.list_buckets()
    with s3.cloud.client() as identity:
        me = identity.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": s3.token})
        user_id = me.json()["token"]["user"]["id"]
        path = f"/identity/v3/users/{user_id}/credentials/OS-EC2/{key['aws_access_key_id']}"
        assert identity.delete(path).status_code == 204
    with pytest.raises(ClientError) as caught:
        client.list_buckets()
    assert code_of(caught) == (403, "InvalidAccessKeyId")


# --- What is set for a bucket -----------------------------------------------------------------


def test_cors(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    with pytest.raises(ClientError) as caught:
        client.get_bucket_cors(Bucket=bucket)
    assert code_of(caught) == (404, "NoSuchCORSConfiguration")
    rule = {
        "AllowedMethods": ["GET", "PUT"],
        "AllowedOrigins": ["https://*.example.com"],
        "AllowedHeaders": ["x-amz-*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 60,
    }
    client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    assert client.get_bucket_cors(Bucket=bucket)["CORSRules"] == [rule]
    url = f"{s3.cloud.url}/s3/{s3.key['project']}:{bucket}/k"
    asks = {
        "Origin": "https://www.example.com",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "x-amz-date",
    }
    answer = httpx.options(url, headers=asks)
    assert answer.status_code == 200, answer.text
    assert answer.headers["access-control-allow-origin"] == "https://www.example.com"
    assert answer.headers["access-control-max-age"] == "60"
    for name, value in (
        ("Origin", "https://example.org"),
        ("Access-Control-Request-Method", "DELETE"),
        ("Access-Control-Request-Headers", "cookie"),
    ):
        assert httpx.options(url, headers={**asks, name: value}).status_code == 403
    client.delete_bucket_cors(Bucket=bucket)
    assert httpx.options(url, headers=asks).status_code == 403


def test_what_is_not_there_says_so(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    for operation, code in (
        ("get_bucket_policy", "NoSuchBucketPolicy"),
        ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
        ("get_bucket_website", "NoSuchWebsiteConfiguration"),
        ("get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("get_public_access_block", "NoSuchPublicAccessBlockConfiguration"),
    ):
        with pytest.raises(ClientError) as caught:
            getattr(client, operation)(Bucket=bucket)
        assert code_of(caught) == (404, code)
    client.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})  # as it is
    client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    assert "LoggingEnabled" not in client.get_bucket_logging(Bucket=bucket)
    with pytest.raises(ClientError) as caught:
        client.put_bucket_accelerate_configuration(
            Bucket=bucket, AccelerateConfiguration={"Status": "Enabled"}
        )
    assert code_of(caught) == (501, "NotImplemented")
    for key, answer in (("k", (404, "NoSuchKey")), ("there", (403, "InvalidObjectState"))):
        client.put_object(Bucket=bucket, Key="there", Body=b"1")
        with pytest.raises(ClientError) as caught:
            client.restore_object(Bucket=bucket, Key=key, RestoreRequest={"Days": 1})
        assert code_of(caught) == answer


def test_configurations_of_which_there_are_none(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    for kind in ("analytics", "inventory", "metrics", "intelligent_tiering"):
        found = getattr(client, f"list_bucket_{kind}_configurations")(Bucket=bucket)
        assert found["IsTruncated"] is False
        for verb in ("get", "delete"):
            with pytest.raises(ClientError) as caught:
                getattr(client, f"{verb}_bucket_{kind}_configuration")(Bucket=bucket, Id="x")
            assert code_of(caught) == (404, "NoSuchConfiguration")
    with pytest.raises(ClientError) as caught:
        client.put_bucket_metrics_configuration(
            Bucket=bucket, Id="x", MetricsConfiguration={"Id": "x"}
        )
    assert code_of(caught) == (501, "NotImplemented")
    assert client.get_bucket_abac(Bucket=bucket)["AbacStatus"] == {"Status": "Disabled"}
    client.put_bucket_abac(Bucket=bucket, AbacStatus={"Status": "Disabled"})
    with pytest.raises(ClientError) as caught:
        client.put_bucket_abac(Bucket=bucket, AbacStatus={"Status": "Enabled"})
    assert code_of(caught) == (501, "NotImplemented")


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_what_is_about_something_else_changes_no_key(s3: S3, client: Any, method: str) -> None:
    """An operation that is not known, or not of a key, is never taken for a plain one."""
    bucket = s3.bucket(client)
    client.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    client.put_object(Bucket=bucket, Key="k", Body=b"kept")
    url = f"{s3.cloud.url}/s3/{bucket}"
    for query in ("annotation", "renameObject", "encryption", "versioning", "policy", "session"):
        answer = httpx.request(method, f"{url}/k?{query}", content=b"x")
        assert answer.status_code in (405, 501), (query, answer.text)
    for query in ("annotation", "retention", "uploadId=1", "metadataTable", "attributes"):
        answer = httpx.request(method, f"{url}?{query}", content=b"x")
        assert answer.status_code in (405, 501), (query, answer.text)
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"kept"


@pytest.mark.parametrize(
    "query",
    [
        *("max-keys=-1", "max-keys=x", "max-keys=2147483648", "list-type=3", "encoding-type=x"),
        *("list-type=2&continuation-token=%21", "uploads&max-uploads=-1", "versions&max-keys=x"),
        "versions&version-id-marker=null",
    ],
)
def test_listings_that_cannot_be(s3: S3, client: Any, query: str) -> None:
    bucket = s3.bucket(client)
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    answer = httpx.get(f"{s3.cloud.url}/s3/{bucket}?{query}")
    assert (answer.status_code, "<Code>InvalidArgument</Code>" in answer.text) == (400, True)


def test_a_part_of_no_upload_is_no_key(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    answer = httpx.put(f"{s3.cloud.url}/s3/{bucket}/k?partNumber=1", content=b"x")
    assert (answer.status_code, "<Code>InvalidRequest</Code>" in answer.text) == (400, True)
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<",
        b"<Delete/>",
        b"<Other/>",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><Delete>&b;</Delete>",
        b"\xff\xfe",
    ],
)
def test_documents_that_are_none(s3: S3, client: Any, body: bytes) -> None:
    bucket = s3.bucket(client)

    def replace(params: Any, **_more: Any) -> None:
        params["body"] = body
        for name in list(params["headers"]):
            if "checksum" in name.lower() or name == "Content-MD5":
                del params["headers"][name]

    broken = s3.client()
    broken.meta.events.register("before-call.s3.DeleteObjects", replace)
    with pytest.raises(ClientError) as caught:
        broken.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}]})
    assert code_of(caught) == (400, "MalformedXML")
