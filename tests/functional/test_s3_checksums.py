"""S3's checksums, conditional writes and parts by number, with boto3."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from nubelet.object_store.s3 import crc
from tests.s3_calls import S3, clients, clouds, code_of

pytestmark = pytest.mark.functional
MIB = 1 << 20
ALGORITHMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")


s3 = clouds()
client = clients(request_checksum_calculation="when_required")


def checksum(algorithm: str, data: bytes) -> str:
    """As a client makes it (that the CRCs are right stands in tests/unit/test_s3_crc.py)."""
    if algorithm == "CRC32":
        return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    if algorithm.startswith("CRC"):
        made: Any = crc.Crc(crc.CRC32C if algorithm == "CRC32C" else crc.CRC64NVME)
    else:
        made = hashlib.new(algorithm.lower())
    made.update(data)
    return base64.b64encode(made.digest()).decode()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_checksum_is_compared_and_shown(s3: S3, client: Any, algorithm: str) -> None:
    bucket, data = s3.bucket(client), os.urandom(600_000)
    name = f"Checksum{algorithm}"
    put = client.put_object(Bucket=bucket, Key="k", Body=data, **{name: checksum(algorithm, data)})
    assert (put[name], put["ChecksumType"]) == (checksum(algorithm, data), "FULL_OBJECT")
    head = client.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[name] == put[name]
    assert name not in client.head_object(Bucket=bucket, Key="k")
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=bucket, Key="k", Body=b"x", **{name: checksum(algorithm, b"y")})
    assert code_of(caught) == (400, "BadDigest")
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=bucket, Key="k", Body=b"x", **{name: "bad"})
    assert code_of(caught) == (400, "InvalidRequest")
    copied = client.copy_object(
        Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"}
    )
    assert copied["CopyObjectResult"][name] == put[name]
    assert client.head_object(Bucket=bucket, Key="copy", ChecksumMode="ENABLED")[name] == put[name]
    shown = client.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass"]
    )
    assert shown["Checksum"] == {name: put[name], "ChecksumType": "FULL_OBJECT"}
    assert (shown["ObjectSize"], shown["StorageClass"]) == (600_000, "STANDARD")
    assert shown["ETag"] == hashlib.md5(data).hexdigest()


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [(each, "COMPOSITE") for each in ("CRC32", "CRC32C", "SHA1", "SHA256")]
    + [(each, "FULL_OBJECT") for each in ("CRC32", "CRC32C", "CRC64NVME")],
)
def test_a_checksum_of_parts(s3: S3, client: Any, algorithm: str, kind: str) -> None:
    bucket, data = s3.bucket(client), [os.urandom(5 * MIB), os.urandom(1000)]
    name = f"Checksum{algorithm}"
    begun = client.create_multipart_upload(
        Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind
    )
    assert (begun["ChecksumAlgorithm"], begun["ChecksumType"]) == (algorithm, kind)
    named: dict[str, Any] = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    sums = [checksum(algorithm, each) for each in data]
    done = []
    for number, body in enumerate(data, 1):
        sent = {name: sums[number - 1]} if number == 1 else {}  # else it is made here
        part = client.upload_part(**named, PartNumber=number, Body=body, **sent)
        assert part[name] == sums[number - 1]
        done.append({"PartNumber": number, "ETag": part["ETag"], name: part[name]})
    listed = client.list_parts(**named)
    assert [each[name] for each in listed["Parts"]] == sums
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == (algorithm, kind)
    if kind == "COMPOSITE":
        joined = b"".join(base64.b64decode(each) for each in sums)
        whole = checksum(algorithm, joined) + "-2"
    else:
        whole = checksum(algorithm, b"".join(data))
    with pytest.raises(ClientError) as caught:
        client.complete_multipart_upload(
            **named, MultipartUpload={"Parts": done}, **{name: checksum(algorithm, b"other")}
        )
    assert code_of(caught) == (400, "BadDigest")
    completed = client.complete_multipart_upload(
        **named, MultipartUpload={"Parts": done}, **{name: whole}
    )
    assert (completed[name], completed["ChecksumType"]) == (whole, kind)
    head = client.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[name], head["ChecksumType"]) == (whole, kind)
    shown = client.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ObjectParts"], MaxParts=1
    )["ObjectParts"]
    assert (shown["TotalPartsCount"], shown["IsTruncated"]) == (2, True)
    assert shown["Parts"] == [{"PartNumber": 1, "Size": 5 * MIB, name: sums[0]}]


def test_checksums_that_do_not_go_together(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    for algorithm, kind in (("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")):
        with pytest.raises(ClientError) as caught:
            client.create_multipart_upload(
                Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind
            )
        assert code_of(caught) == (400, "InvalidRequest")
    begun = client.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256")
    with pytest.raises(ClientError) as caught:
        client.upload_part(
            Bucket=bucket,
            Key="k",
            UploadId=begun["UploadId"],
            PartNumber=1,
            Body=b"1",
            ChecksumCRC32=checksum("CRC32", b"1"),
        )
    assert code_of(caught) == (400, "InvalidRequest")


def test_parts_by_number(s3: S3, client: Any) -> None:
    bucket, data = s3.bucket(client), [os.urandom(5 * MIB), b"tail"]
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    named: dict[str, Any] = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    done = [
        {
            "PartNumber": number,
            "ETag": client.upload_part(**named, PartNumber=number, Body=body)["ETag"],
        }
        for number, body in zip((3, 10_000), data, strict=True)
    ]
    client.complete_multipart_upload(**named, MultipartUpload={"Parts": done})
    # Readers count the parts that there are, however their writer numbered them.
    second = client.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert second["Body"].read() == b"tail"
    assert (second["PartsCount"], second["ContentLength"]) == (2, 4)
    assert second["ContentRange"] == f"bytes {5 * MIB}-{5 * MIB + 3}/{5 * MIB + 4}"
    head = client.head_object(Bucket=bucket, Key="k", PartNumber=1)
    assert (head["ContentLength"], head["PartsCount"]) == (5 * MIB, 2)
    for number in (3, 10_000):
        with pytest.raises(ClientError) as caught:
            client.get_object(Bucket=bucket, Key="k", PartNumber=number)
        assert code_of(caught) == (416, "InvalidPartNumber")
    client.put_object(Bucket=bucket, Key="one", Body=b"piece")
    whole = client.get_object(Bucket=bucket, Key="one", PartNumber=1)
    assert (whole["Body"].read(), whole["ContentRange"]) == (b"piece", "bytes 0-4/5")
    assert whole["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert "PartsCount" not in whole
    client.put_object(Bucket=bucket, Key="empty")
    assert client.head_object(Bucket=bucket, Key="empty", PartNumber=1)["ContentLength"] == 0
    with pytest.raises(ClientError) as caught:
        client.get_object(Bucket=bucket, Key="one", PartNumber=2)
    assert code_of(caught) == (416, "InvalidPartNumber")


def test_writes_with_conditions(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=bucket, Key="k", Body=b"1", IfMatch='"x"')
    assert code_of(caught) == (404, "NoSuchKey")
    first = client.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    assert code_of(caught) == (412, "PreconditionFailed")
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch='"other"')
    assert code_of(caught) == (412, "PreconditionFailed")
    client.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=first)
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    named: dict[str, Any] = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    part = client.upload_part(**named, PartNumber=1, Body=b"3")["ETag"]
    done = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    for condition in ({"IfNoneMatch": "*"}, {"IfMatch": first}):
        with pytest.raises(ClientError) as caught:
            client.complete_multipart_upload(**named, MultipartUpload=done, **condition)
        assert code_of(caught) == (412, "PreconditionFailed")
    now = client.head_object(Bucket=bucket, Key="k")["ETag"]
    client.complete_multipart_upload(**named, MultipartUpload=done, IfMatch=now)
    with pytest.raises(ClientError) as caught:
        client.delete_object(Bucket=bucket, Key="k", IfMatch=now)
    assert code_of(caught) == (412, "PreconditionFailed")
    now = client.head_object(Bucket=bucket, Key="k")["ETag"]
    client.delete_object(Bucket=bucket, Key="k", IfMatch=now)


def test_more_than_a_thousand_parts(s3: S3, client: Any) -> None:
    bucket, count = s3.bucket(client), 1_003
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    named: dict[str, Any] = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    for number in range(1, count + 1):
        client.upload_part(**named, PartNumber=number, Body=b"%d" % number)
    first = client.list_parts(**named)
    assert (len(first["Parts"]), first["IsTruncated"]) == (1000, True)
    rest = client.list_parts(**named, PartNumberMarker=first["NextPartNumberMarker"])
    assert [each["PartNumber"] for each in rest["Parts"]] == [1001, 1002, 1003]
    assert not rest["IsTruncated"]
    pages = client.get_paginator("list_parts").paginate(**named, PaginationConfig={"PageSize": 7})
    assert [part["PartNumber"] for page in pages for part in page["Parts"]] == list(
        range(1, count + 1)
    )


def test_uploads_are_paged_by_key(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    keys = sorted(["a", "a-b", "a/b", "a/c", "b", "c/1", "c/2"])
    for key in keys:
        client.create_multipart_upload(Bucket=bucket, Key=key)
    client.create_multipart_upload(Bucket=bucket, Key="a")
    for size in (1, 2, 3):
        pages = client.get_paginator("list_multipart_uploads").paginate(
            Bucket=bucket, PaginationConfig={"PageSize": size}
        )
        found = [each["Key"] for page in pages for each in page["Uploads"]]
        assert found == ["a", *keys]
    by_folder = client.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [each["Key"] for each in by_folder["Uploads"]] == ["a", "a", "a-b", "b"]
    assert [each["Prefix"] for each in by_folder["CommonPrefixes"]] == ["a/", "c/"]
    one = client.list_multipart_uploads(Bucket=bucket, Prefix="c/", MaxUploads=1)
    assert ([each["Key"] for each in one["Uploads"]], one["IsTruncated"]) == (["c/1"], True)
