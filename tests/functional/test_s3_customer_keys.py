"""Keys of customers (SSE-C) through the S3 API; boto3."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.s3_calls import S3, clients, clouds, code_of

pytestmark = pytest.mark.functional
MIB = 1 << 20
SETTINGS = "[object_store]\ns3_customer_keys_over_http = true\n"
s3 = clouds(SETTINGS)
client = clients()
RAW, OTHER_RAW = bytes(range(32)), b"o" * 32
ENCODED = base64.b64encode(RAW).decode()
KEY = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": RAW}
OTHER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": OTHER_RAW}
NEEDED, DENIED = (400, "InvalidRequest"), (403, "AccessDenied")
TEXT = b"nothing that a disk should tell " * 3000


def of_source(key: dict[str, Any]) -> dict[str, Any]:
    return {f"CopySource{name}": value for name, value in key.items()}


def refused(operation: Callable[..., object], **named: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        operation(**named)
    return code_of(caught)


def spelled(raw: bytes) -> dict[str, str]:
    """A key for operations of which boto3 does not know that it must spell it so."""
    return {
        "SSECustomerAlgorithm": "AES256",
        "SSECustomerKey": base64.b64encode(raw).decode(),
        "SSECustomerKeyMD5": base64.b64encode(hashlib.md5(raw).digest()).decode(),
    }


def body(client: Any, **named: Any) -> bytes:
    return bytes(client.get_object(**named)["Body"].read())


def test_what_is_written_is_read_with_its_key(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    named = {"Bucket": bucket, "Key": "k"}
    put = client.put_object(**named, Body=TEXT, **KEY, Metadata={"a": "b"})
    digest = base64.b64encode(hashlib.md5(RAW).digest()).decode()
    for answer in (put, client.get_object(**named, **KEY), client.head_object(**named, **KEY)):
        assert answer["SSECustomerAlgorithm"] == "AES256"
        assert answer["SSECustomerKeyMD5"] == digest
        assert "ServerSideEncryption" not in answer
        assert answer["ETag"] == put["ETag"] != f'"{hashlib.md5(TEXT).hexdigest()}"'
    assert body(client, **named, **KEY) == TEXT
    head = client.head_object(**named, **KEY)
    assert (head["ContentLength"], head["Metadata"]) == (len(TEXT), {"a": "b"})
    [listed] = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert (listed["ETag"], listed["Size"]) == (put["ETag"], len(TEXT))
    client.put_object(Bucket=bucket, Key="empty", Body=b"", **KEY)
    assert body(client, Bucket=bucket, Key="empty", **KEY) == b""


def test_neither_data_nor_key_is_on_a_disk(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    named = {"Bucket": bucket, "Key": "k"}
    client.put_object(**named, Body=TEXT, **KEY)
    first = client.head_object(**named, **KEY)["ETag"]
    client.put_object(**named, Body=TEXT, **KEY)
    assert client.head_object(**named, **KEY)["ETag"] != first  # no two are encrypted alike
    secrets = (TEXT[:64], RAW, base64.b64encode(RAW), RAW.hex().encode())
    for folder in (s3.cloud.state_dir, s3.cloud.state_dir.parent):
        for path in folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert not any(each in data for each in secrets), path


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=15-17", 15, 18),
        ("bytes=17-70000", 17, 70001),
        ("bytes=-5", len(TEXT) - 5, len(TEXT)),
        ("bytes=4096-", 4096, len(TEXT)),
    ],
)
def test_ranges(s3: S3, client: Any, wanted: str, start: int, end: int) -> None:
    bucket = s3.bucket(client)
    named = {"Bucket": bucket, "Key": "k"}
    client.put_object(**named, Body=TEXT, **KEY)
    found = client.get_object(**named, Range=wanted, **KEY)
    assert found["Body"].read() == TEXT[start:end]
    assert found["ContentRange"] == f"bytes {start}-{end - 1}/{len(TEXT)}"


def test_without_the_key_nothing_is_told(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    named = {"Bucket": bucket, "Key": "k"}
    etag = client.put_object(**named, Body=b"secret", **KEY)["ETag"]
    client.put_object(Bucket=bucket, Key="plain", Body=b"x")
    plain = {"Bucket": bucket, "Key": "plain"}
    attributes = {"ObjectAttributes": ["ETag"]}
    assert refused(client.get_object, **named) == NEEDED
    assert refused(client.get_object, **named, **OTHER) == DENIED
    assert refused(client.get_object, **named, Range="bytes=0-1", **OTHER) == DENIED
    assert refused(client.get_object, **named, IfNoneMatch=etag, **OTHER) == DENIED
    assert refused(client.get_object, **plain, **KEY) == NEEDED
    assert refused(client.get_object_attributes, **named, **attributes) == NEEDED
    assert (
        refused(client.get_object_attributes, **named, **attributes, **spelled(OTHER_RAW)) == DENIED
    )
    found = client.get_object_attributes(**named, **attributes, **spelled(RAW))
    assert found["ETag"] == etag.strip('"')
    assert refused(client.head_object, **named)[0] == 400
    assert refused(client.head_object, **named, **OTHER)[0] == 403
    assert refused(client.head_object, **plain, **KEY)[0] == 400
    assert refused(client.get_object, **named, IfNoneMatch=etag, **KEY)[0] == 304
    url = f"{s3.cloud.url}/s3/{bucket}/k"
    client.put_object_acl(**named, ACL="public-read")
    assert httpx.get(url).status_code == 400
    # Who may delete need not know the key.
    client.delete_object(**named)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"SSECustomerAlgorithm": "AES128"}, "InvalidEncryptionAlgorithmError"),
        ({"SSECustomerKey": b"short"}, "InvalidArgument"),
        (
            {"SSECustomerKey": ENCODED, "SSECustomerKeyMD5": base64.b64encode(bytes(16)).decode()},
            "InvalidArgument",
        ),
        ({"SSECustomerKey": ENCODED, "SSECustomerKeyMD5": "?"}, "InvalidArgument"),
        ({"SSECustomerKey": None}, "InvalidArgument"),
        ({"SSECustomerAlgorithm": None}, "InvalidArgument"),
        ({"ServerSideEncryption": "AES256"}, "InvalidArgument"),
    ],
)
def test_keys_that_cannot_be(s3: S3, client: Any, sent: dict[str, Any], code: str) -> None:
    bucket = s3.bucket(client)
    named = {name: value for name, value in {**KEY, **sent}.items() if value is not None}
    for operation, more in (
        (client.put_object, {"Body": b"1"}),
        (client.create_multipart_upload, {}),
        *(((client.get_object, {}),) if "ServerSideEncryption" not in sent else ()),
    ):
        answer = refused(operation, Bucket=bucket, Key="k", **more, **named)
        assert answer in ((400, code), (404, "NoSuchKey"))
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_digests_are_those_of_the_data(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    named = {"Bucket": bucket, "Key": "k"}
    wanted = base64.b64encode(hashlib.sha256(TEXT).digest()).decode()
    md5 = base64.b64encode(hashlib.md5(TEXT).digest()).decode()
    put = client.put_object(**named, Body=TEXT, ChecksumAlgorithm="SHA256", ContentMD5=md5, **KEY)
    assert put["ChecksumSHA256"] == wanted
    found = client.get_object(**named, ChecksumMode="ENABLED", **KEY)
    assert (found["Body"].read(), found["ChecksumSHA256"]) == (TEXT, wanted)
    wrong = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    assert refused(client.put_object, **named, Body=TEXT, ContentMD5=wrong, **KEY) == (
        400,
        "BadDigest",
    )


def test_copies(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    named = {"Bucket": bucket, "Key": "k"}
    client.put_object(**named, Body=TEXT, **KEY)
    copy = {"Bucket": bucket, "Key": "copy", "CopySource": named}
    assert refused(client.copy_object, **copy) == NEEDED
    assert refused(client.copy_object, **copy, **of_source(OTHER)) == DENIED
    answer = client.copy_object(**copy, **of_source(KEY))
    assert "SSECustomerAlgorithm" not in answer
    assert answer["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(TEXT).hexdigest()}"'
    assert body(client, Bucket=bucket, Key="copy") == TEXT
    answer = client.copy_object(**copy, **of_source(KEY), **OTHER)
    assert answer["SSECustomerAlgorithm"] == "AES256"
    assert body(client, Bucket=bucket, Key="copy", **OTHER) == TEXT
    assert refused(client.get_object, Bucket=bucket, Key="copy", **KEY) == DENIED
    client.copy_object(**named, CopySource=named, **of_source(KEY), **OTHER)  # another key
    assert body(client, **named, **OTHER) == TEXT
    client.put_object(**named, Body=b"plain")
    assert refused(client.copy_object, **copy, **of_source(KEY)) == NEEDED
    client.copy_object(**copy, **KEY)
    assert body(client, Bucket=bucket, Key="copy", **KEY) == b"plain"


def _complete(client: Any, named: dict[str, Any], etags: list[str], **more: Any) -> Any:
    parts = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
    return client.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}, **more)


def test_uploads_in_parts(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    named: dict[str, Any] = {"Bucket": bucket, "Key": "k"}
    source = {"Bucket": bucket, "Key": "source"}
    client.put_object(**source, Body=TEXT, **OTHER)
    begun = client.create_multipart_upload(**named, **KEY)
    assert begun["SSECustomerAlgorithm"] == "AES256"
    at = {**named, "UploadId": begun["UploadId"]}
    data = bytes(range(256)) * (20 << 10)
    assert refused(client.upload_part, **at, PartNumber=1, Body=data) == NEEDED
    assert refused(client.upload_part, **at, PartNumber=1, Body=data, **OTHER) == NEEDED
    part = client.upload_part(**at, PartNumber=1, Body=data, **KEY)
    assert part["SSECustomerAlgorithm"] == "AES256"
    copied = {"CopySource": source, "CopySourceRange": "bytes=5-70004", "PartNumber": 2}
    assert refused(client.upload_part_copy, **at, **copied, **KEY) == NEEDED
    assert refused(client.upload_part_copy, **at, **copied, **KEY, **of_source(KEY)) == DENIED
    second = client.upload_part_copy(**at, **copied, **KEY, **of_source(OTHER))
    assert second["SSECustomerAlgorithm"] == "AES256"
    etags = [part["ETag"], second["CopyPartResult"]["ETag"]]
    assert len(client.list_parts(**at)["Parts"]) == 2
    with pytest.raises(ClientError) as caught:
        _complete(client, at, etags, **OTHER)
    assert code_of(caught) == NEEDED
    done = _complete(client, at, etags)
    whole = data + TEXT[5:70005]
    assert body(client, **named, **KEY) == whole
    found = client.head_object(**named, **KEY)
    assert (found["ContentLength"], found["ETag"]) == (len(whole), done["ETag"])
    assert found["SSECustomerAlgorithm"] == "AES256"
    middle = len(data) - 7
    wanted = f"bytes={middle}-{middle + 30}"
    assert body(client, **named, Range=wanted, **KEY) == whole[middle : middle + 31]
    assert body(client, **named, PartNumber=2, **KEY) == TEXT[5:70005]
    assert refused(client.get_object, **named) == NEEDED
    assert refused(client.get_object, **named, **OTHER) == DENIED
    assert refused(client.get_object, **named, Range=wanted, **OTHER) == DENIED
    assert refused(client.get_object, **named, PartNumber=1, **OTHER) == DENIED
    assert refused(client.head_object, **named)[0] == 400
    client.copy_object(Bucket=bucket, Key="copy", CopySource=named, **of_source(KEY), **OTHER)
    assert body(client, Bucket=bucket, Key="copy", **OTHER) == whole
    client.delete_object(**named)
    with s3.cloud.client() as swift:
        path = f"/object-store/v1/AUTH_{s3.key['project']}/{bucket}+segments?prefix=parts/"
        assert swift.get(path).text == ""
    plain = client.create_multipart_upload(**named)["UploadId"]
    again = {**named, "UploadId": plain, "PartNumber": 1}
    assert refused(client.upload_part, **again, Body=b"1", **KEY) == NEEDED


def test_transfers_of_boto3(s3: S3, client: Any) -> None:
    """What boto3 sends in parts, and reads range by range, by itself."""
    bucket, data = s3.bucket(client), bytes(range(256)) * (80 << 10)
    client.upload_fileobj(io.BytesIO(data), bucket, "k", ExtraArgs=KEY)
    found = io.BytesIO()
    client.download_fileobj(bucket, "k", found, ExtraArgs=KEY)
    assert found.getvalue() == data
    assert len(client.head_object(Bucket=bucket, Key="k", **KEY)["ETag"].split("-")) == 2
    source = {"Bucket": bucket, "Key": "k"}
    client.copy(source, bucket, "copy", ExtraArgs={**OTHER, **of_source(KEY)}, SourceClient=client)
    assert body(client, Bucket=bucket, Key="copy", **OTHER) == data


def test_versions_and_tags(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    named = {"Bucket": bucket, "Key": "k"}
    client.put_object(**named, Body=b"null", **KEY)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    second = client.put_object(**named, Body=b"second", **OTHER)["VersionId"]
    client.put_object_tagging(**named, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    client.put_object(**named, Body=b"plain")
    assert body(client, **named) == b"plain"
    assert body(client, **named, VersionId="null", **KEY) == b"null"
    assert body(client, **named, VersionId=second, **OTHER) == b"second"
    assert refused(client.get_object, **named, VersionId=second, **KEY) == DENIED
    older = {**named, "VersionId": second}
    client.copy_object(**named, CopySource=older, **of_source(OTHER), **KEY)
    found = client.get_object(**named, **KEY)
    assert (found["Body"].read(), found["TagCount"]) == (b"second", 1)


def test_swifts_api_does_not_read_what_it_has_no_key_for(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"secret", **KEY)
    path = f"/object-store/v1/AUTH_{s3.key['project']}/{bucket}/k"
    with s3.cloud.client() as swift:
        assert swift.head(path).status_code == 200
        assert swift.get(path).status_code == 400
        copy = {"X-Copy-From": f"{bucket}/k", "Content-Length": "0"}
        assert swift.put(f"{path}2", headers=copy).status_code == 400
        assert swift.delete(path).status_code == 204


def test_forms_of_browsers(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    start = "x-amz-server-side-encryption-customer-"
    fields = {
        f"{start}algorithm": "AES256",
        f"{start}key": base64.b64encode(RAW).decode(),
        f"{start}key-MD5": base64.b64encode(hashlib.md5(RAW).digest()).decode(),
    }
    form = client.generate_presigned_post(
        bucket, "k", fields, [{name: value} for name, value in fields.items()]
    )
    answer = httpx.post(form["url"], data=form["fields"], files={"file": b"from a form"})
    assert answer.status_code == 204, answer.text
    assert body(client, Bucket=bucket, Key="k", **KEY) == b"from a form"
