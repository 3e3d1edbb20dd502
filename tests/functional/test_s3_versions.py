"""Versions through the S3 API: null versions, delete markers, what is the current one; boto3."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.s3_calls import S3, clients, clouds, code_of

pytestmark = pytest.mark.functional
MIB = 1 << 20


s3 = clouds()
client = clients()


def _switch(client: Any, bucket: str, state: str) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": state})


def _body(client: Any, bucket: str, **named: str) -> bytes:
    return bytes(client.get_object(Bucket=bucket, Key="k", **named)["Body"].read())


def _put(client: Any, bucket: str, body: bytes) -> str:
    return str(client.put_object(Bucket=bucket, Key="k", Body=body)["VersionId"])


def _listed(client: Any, bucket: str) -> list[tuple[str, bool, str]]:
    """(version, is it the latest, `version` or `marker`), as they are listed."""
    found = client.list_object_versions(Bucket=bucket)
    return [
        (each["VersionId"], each["IsLatest"], kind)
        for name, kind in (("Versions", "version"), ("DeleteMarkers", "marker"))
        for each in found.get(name, [])
    ]


def _upload(client: Any, bucket: str, last: bytes) -> str:
    """A key of two parts; its version."""
    upload = client.create_multipart_upload(Bucket=bucket, Key="k", ContentType="x/parts")
    named = {"Bucket": bucket, "Key": "k", "UploadId": upload["UploadId"]}
    bodies = (b"x" * 5 * MIB, last)
    parts = [
        {
            "PartNumber": number,
            "ETag": client.upload_part(**named, PartNumber=number, Body=body)["ETag"],
        }
        for number, body in enumerate(bodies, 1)
    ]
    done = client.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    return str(done.get("VersionId", "null"))


def test_what_was_there_before_versions_is_the_null_version(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"before", Metadata={"long": "x" * 1500})
    _switch(client, bucket, "Enabled")
    assert _body(client, bucket, VersionId="null") == b"before"
    first = _put(client, bucket, b"first")
    assert _listed(client, bucket) == [(first, True, "version"), ("null", False, "version")]
    null = client.get_object(Bucket=bucket, Key="k", VersionId="null")
    assert (null["Body"].read(), null["VersionId"]) == (b"before", "null")
    assert null["Metadata"] == {"long": "x" * 1500}
    page = client.list_object_versions(Bucket=bucket, KeyMarker="k", VersionIdMarker=first)
    assert [each["VersionId"] for each in page["Versions"]] == ["null"]
    page = client.list_object_versions(Bucket=bucket, KeyMarker="k", VersionIdMarker="null")
    assert "Versions" not in page
    tagging = {"TagSet": [{"Key": "a", "Value": "b"}]}
    client.put_object_tagging(Bucket=bucket, Key="k", VersionId="null", Tagging=tagging)
    named = {"Bucket": bucket, "Key": "k"}
    assert client.get_object_tagging(**named, VersionId="null")["TagSet"] == tagging["TagSet"]
    assert client.get_object_tagging(**named)["TagSet"] == []
    copied = client.copy_object(
        Bucket=bucket, Key="copy", CopySource={**named, "VersionId": "null"}
    )
    assert copied["CopySourceVersionId"] == "null"
    client.delete_object(Bucket=bucket, Key="k", VersionId="null")
    with pytest.raises(ClientError) as caught:
        _body(client, bucket, VersionId="null")
    assert code_of(caught) == (404, "NoSuchVersion")
    assert _body(client, bucket) == b"first"


def test_the_version_before_becomes_the_current_one(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"null")
    _switch(client, bucket, "Enabled")
    ids = [_put(client, bucket, body) for body in (b"one", b"two")]
    gone = client.delete_object(Bucket=bucket, Key="k", VersionId=ids[1])
    assert (gone["VersionId"], "DeleteMarker" in gone) == (ids[1], False)
    assert _body(client, bucket) == b"one"
    assert _listed(client, bucket) == [(ids[0], True, "version"), ("null", False, "version")]
    marker = client.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"]
    undeleted = client.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert (undeleted["DeleteMarker"], undeleted["VersionId"]) == (True, marker["VersionId"])
    assert _body(client, bucket) == b"one"
    client.delete_object(Bucket=bucket, Key="k", VersionId=ids[0])
    assert _body(client, bucket) == b"null"
    listed = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert [(each["Key"], each["Size"]) for each in listed] == [("k", 4)]
    client.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert _listed(client, bucket) == []
    client.delete_bucket(Bucket=bucket)


def test_two_markers_deleted_one_after_the_other(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    _switch(client, bucket, "Enabled")
    _put(client, bucket, b"data")
    markers = [client.delete_object(Bucket=bucket, Key="k")["VersionId"] for _ in range(2)]
    client.delete_object(Bucket=bucket, Key="k", VersionId=markers[1])
    with pytest.raises(ClientError) as caught:
        _body(client, bucket)
    assert code_of(caught) == (404, "NoSuchKey")
    done = client.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "k", "VersionId": markers[0]}]}
    )["Deleted"][0]
    assert (done["DeleteMarker"], done["DeleteMarkerVersionId"]) == (True, markers[0])
    assert _body(client, bucket) == b"data"


def test_delete_markers_say_what_they_are(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    _switch(client, bucket, "Enabled")
    _put(client, bucket, b"data")
    marker = client.delete_object(Bucket=bucket, Key="k")["VersionId"]
    for operation in (client.get_object, client.head_object):
        for named, status in (({}, 404), ({"VersionId": marker}, 405)):
            with pytest.raises(ClientError) as caught:
                operation(Bucket=bucket, Key="k", **named)
            answer = caught.value.response["ResponseMetadata"]
            assert answer["HTTPStatusCode"] == status
            assert answer["HTTPHeaders"]["x-amz-delete-marker"] == "true"
            assert answer["HTTPHeaders"]["x-amz-version-id"] == marker
            assert answer["HTTPHeaders"].get("allow") == (None if status == 404 else "DELETE")
    with pytest.raises(ClientError) as caught:
        client.copy_object(
            Bucket=bucket,
            Key="copy",
            CopySource={"Bucket": bucket, "Key": "k", "VersionId": marker},
        )
    assert code_of(caught) == (400, "InvalidRequest")


def test_versions_that_are_not_there(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    _switch(client, bucket, "Enabled")
    _put(client, bucket, b"data")
    for version, code in (
        ("1234567890.12345", (404, "NoSuchVersion")),
        ("bogus", (400, "InvalidArgument")),
    ):
        with pytest.raises(ClientError) as caught:
            _body(client, bucket, VersionId=version)
        assert code_of(caught) == code
    gone = client.delete_object(Bucket=bucket, Key="k", VersionId="1234567890.12345")
    assert gone["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert _body(client, bucket) == b"data"


def test_versions_suspended(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    _switch(client, bucket, "Enabled")
    kept = _put(client, bucket, b"kept")
    _switch(client, bucket, "Suspended")
    for body in (b"null 1", b"null 2"):
        assert _put(client, bucket, body) == "null"
    assert _listed(client, bucket) == [("null", True, "version"), (kept, False, "version")]
    assert (_body(client, bucket), _body(client, bucket, VersionId=kept)) == (b"null 2", b"kept")
    gone = client.delete_object(Bucket=bucket, Key="k")
    assert (gone["DeleteMarker"], gone["VersionId"]) == (True, "null")
    assert _listed(client, bucket) == [(kept, False, "version"), ("null", True, "marker")]
    again = client.delete_object(Bucket=bucket, Key="k")
    assert (again["DeleteMarker"], len(_listed(client, bucket))) == (True, 2)
    gone = client.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert (gone["DeleteMarker"], gone["VersionId"]) == (True, "null")
    assert _body(client, bucket) == b"kept"
    # A null version that was hidden meanwhile is replaced by the next one.
    assert _put(client, bucket, b"null 3") == "null"
    _switch(client, bucket, "Enabled")
    newest = _put(client, bucket, b"newest")
    assert _body(client, bucket, VersionId="null") == b"null 3"
    _switch(client, bucket, "Suspended")
    assert _put(client, bucket, b"null 4") == "null"
    assert [each[0] for each in _listed(client, bucket)] == ["null", newest, kept]
    assert _body(client, bucket, VersionId="null") == b"null 4"


def test_parts_of_versions_stay_while_versions_are_suspended(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    _switch(client, bucket, "Enabled")
    whole = b"x" * 5 * MIB + b"y"
    version = _upload(client, bucket, b"y")
    etag = client.head_object(Bucket=bucket, Key="k")["ETag"]
    assert client.list_objects_v2(Bucket=bucket)["Contents"][0]["ETag"] == etag
    _switch(client, bucket, "Suspended")
    client.put_object(Bucket=bucket, Key="k", Body=b"null")
    assert _body(client, bucket, VersionId=version) == whole
    client.delete_object(Bucket=bucket, Key="k")
    assert _body(client, bucket, VersionId=version) == whole
    client.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert _body(client, bucket) == whole


def test_parts_of_null_versions_go_with_them(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    _upload(client, bucket, b"y")
    _switch(client, bucket, "Enabled")
    version = _put(client, bucket, b"small")
    null = client.get_object(Bucket=bucket, Key="k", VersionId="null")
    assert (len(null["Body"].read()), null["ContentType"]) == (5 * MIB + 1, "x/parts")
    etags = {
        each["VersionId"]: each["ETag"]
        for each in client.list_object_versions(Bucket=bucket)["Versions"]
    }
    assert etags["null"] == null["ETag"]
    client.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert _parts(s3, bucket) == []
    client.delete_object(Bucket=bucket, Key="k", VersionId=version)
    _switch(client, bucket, "Suspended")
    _upload(client, bucket, b"z")
    client.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert _parts(s3, bucket) == []
    assert _listed(client, bucket) == []


def _parts(s3: S3, bucket: str) -> list[str]:
    with s3.cloud.client() as swift:
        path = f"/object-store/v1/AUTH_{s3.key['project']}/{bucket}+segments"
        asked = {"format": "json", "prefix": "parts/"}
        return [each["name"] for each in swift.get(path, params=asked).json()]


# --- Two writers at once ----------------------------------------------------------------------


@pytest.mark.parametrize("state", ["", "Enabled", "Suspended"])
@pytest.mark.parametrize("kind", ["put", "copy", "complete"])
def test_of_writers_with_conditions_one_wins(s3: S3, client: Any, state: str, kind: str) -> None:
    bucket = s3.bucket(client)
    if state:
        _switch(client, bucket, state)
    condition = {"IfNoneMatch": "*"}
    for _ in range(2):
        writers = [_writer(client, bucket, kind) for _ in range(6)]
        start = threading.Barrier(len(writers))

        def write(
            writer: Any, start: threading.Barrier = start, condition: Any = condition
        ) -> str | None:
            start.wait(60)
            try:
                return str(writer(**condition)["ResponseMetadata"]["HTTPStatusCode"])
            except ClientError as error:
                return str(error.response["Error"]["Code"])

        with ThreadPoolExecutor(len(writers)) as pool:
            outcomes = sorted(pool.map(write, writers))
        assert outcomes == ["200"] + ["PreconditionFailed"] * 5
        condition = {"IfMatch": client.head_object(Bucket=bucket, Key="k")["ETag"]}
    listed = client.list_object_versions(Bucket=bucket, Prefix="k")["Versions"]
    assert len(listed) == (2 if state == "Enabled" else 1)


def _writer(client: Any, bucket: str, kind: str) -> Any:
    """A write of something that nobody else writes."""
    named = {"Bucket": bucket, "Key": "k"}
    if kind == "put":
        return partial(client.put_object, **named, Body=os.urandom(50_000))
    if kind == "copy":
        source = {"Bucket": bucket, "Key": f"source-{os.urandom(8).hex()}"}
        client.put_object(**source, Body=os.urandom(10))
        return partial(client.copy_object, **named, CopySource=source)
    named["UploadId"] = client.create_multipart_upload(**named)["UploadId"]
    part = client.upload_part(**named, PartNumber=1, Body=os.urandom(10))
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    return partial(client.complete_multipart_upload, **named, MultipartUpload=parts)


def _raw(s3: S3, path: str, **named: Any) -> httpx.Response:
    """A request of the Swift API, as the administrator."""
    with s3.cloud.client() as client:
        return client.request(
            named.pop("method", "GET"), f"/object-store/v1/AUTH_{s3.key['project']}/{path}", **named
        )


def test_a_version_of_a_bucket_without_versions_is_not_the_key(s3: S3, client: Any) -> None:
    """Whoever remembers a version of a bucket that was made anew does not delete what is there."""
    bucket, versioned = s3.bucket(client), s3.bucket(client)
    _switch(client, versioned, "Enabled")
    old = _put(client, versioned, b"old")
    client.put_object(Bucket=bucket, Key="k", Body=b"live")
    client.delete_object(Bucket=bucket, Key="k", VersionId=old)
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", "VersionId": old}]})
    assert _body(client, bucket) == b"live"
    client.delete_object(Bucket=bucket, Key="k", VersionId="null")
    with pytest.raises(ClientError):
        _body(client, bucket)


def test_two_versions_of_the_same_parts(s3: S3, client: Any) -> None:
    """An upload that was completed twice: the one goes, the other can be read."""
    bucket = s3.bucket(client)
    _switch(client, bucket, "Enabled")
    first = _upload(client, bucket, b"end")
    manifest = _raw(s3, f"{bucket}/k?multipart-manifest=get&format=raw")
    again = _raw(s3, f"{bucket}/k?multipart-manifest=put", method="PUT", content=manifest.content)
    assert again.status_code == 201, again.text
    assert len(_listed(client, bucket)) == 2
    client.delete_object(Bucket=bucket, Key="k", VersionId=first)
    assert _body(client, bucket) == b"x" * 5 * MIB + b"end"
    ((second, *_),) = _listed(client, bucket)
    client.delete_object(Bucket=bucket, Key="k", VersionId=second)
    assert _raw(s3, f"{bucket}+segments?prefix=parts/").text == ""


def test_a_write_that_is_refused_leaves_one_null_version(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    _upload(client, bucket, b"null")
    _switch(client, bucket, "Enabled")
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=bucket, Key="k", Body=b"new", ContentMD5="A" * 22 + "==")
    assert code_of(caught) == (400, "BadDigest")
    assert _listed(client, bucket) == [("null", True, "version")]
    assert _body(client, bucket, VersionId="null").endswith(b"null")
    client.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert _listed(client, bucket) == []
    with pytest.raises(ClientError):
        _body(client, bucket)


@pytest.mark.parametrize("state", ["", "Enabled", "Suspended"])
def test_conditions_of_deletes(s3: S3, client: Any, state: str) -> None:
    bucket = s3.bucket(client)
    if state:
        _switch(client, bucket, state)
    client.put_object(Bucket=bucket, Key="k", Body=b"kept")
    found = client.head_object(Bucket=bucket, Key="k")
    etag, modified = found["ETag"], found["LastModified"]
    for wrong in (
        {"IfMatch": '"other"'},
        {"IfMatchSize": 5},
        {"IfMatchLastModifiedTime": modified - timedelta(days=1)},
        {"IfMatch": etag, "IfMatchSize": 5},
    ):
        with pytest.raises(ClientError) as caught:
            client.delete_object(Bucket=bucket, Key="k", **wrong)
        assert code_of(caught) == (412, "PreconditionFailed"), wrong
    wrongs = [
        {"Key": "k", "ETag": '"other"'},
        {"Key": "k", "Size": 5},
        {"Key": "k", "LastModifiedTime": modified - timedelta(days=1)},
        {"Key": "none", "ETag": "*"},
    ]
    answer = client.delete_objects(Bucket=bucket, Delete={"Objects": wrongs})
    codes = [each["Code"] for each in answer["Errors"]]
    assert codes == ["PreconditionFailed"] * 3 + ["NoSuchKey"]
    assert _body(client, bucket) == b"kept"
    with pytest.raises(ClientError) as caught:
        client.delete_object(Bucket=bucket, Key="none", IfMatch="*")
    assert code_of(caught) == (404, "NoSuchKey")
    client.delete_object(Bucket=bucket, Key="none", IfMatchSize=5)
    for is_listed in (True, False):
        listed = client.list_objects_v2(Bucket=bucket)["Contents"][0]["LastModified"]
        found = client.head_object(Bucket=bucket, Key="k")["LastModified"]
        assert listed == found  # both the second, rounded up
        moment = listed if is_listed else found
        right = {"Key": "k", "ETag": etag, "Size": 4, "LastModifiedTime": moment}
        answer = client.delete_objects(Bucket=bucket, Delete={"Objects": [right]})
        assert [each["Key"] for each in answer["Deleted"]] == ["k"], answer
        with pytest.raises(ClientError):
            _body(client, bucket)
        client.put_object(Bucket=bucket, Key="k", Body=b"kept")
    client.delete_object(Bucket=bucket, Key="k", IfMatch=etag, IfMatchSize=4)
    with pytest.raises(ClientError):
        _body(client, bucket)


def test_a_stranger_does_not_learn_which_versions_there_are(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="null", Body=b"x")
    _switch(client, bucket, "Enabled")
    client.put_object(Bucket=bucket, Key="none", Body=b"x")
    for key in ("null", "none"):
        url = f"{s3.cloud.url}/s3/{s3.key['project']}:{bucket}/{key}?versionId=null"
        assert httpx.get(url).status_code == 403, key


def test_null_markers_are_named_so(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    _switch(client, bucket, "Suspended")
    client.put_object(Bucket=bucket, Key="k", Body=b"x")
    client.delete_object(Bucket=bucket, Key="k")
    with pytest.raises(ClientError) as caught:
        _body(client, bucket, VersionId="null")
    assert code_of(caught) == (405, "MethodNotAllowed")
    headers = caught.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amz-version-id"] == "null"


def test_versions_suspended_from_the_beginning(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"before")
    _switch(client, bucket, "Suspended")
    assert client.get_bucket_versioning(Bucket=bucket)["Status"] == "Suspended"
    assert _put(client, bucket, b"after") == "null"
    assert _listed(client, bucket) == [("null", True, "version")]
    assert client.delete_object(Bucket=bucket, Key="k")["DeleteMarker"]
    assert _listed(client, bucket) == [("null", True, "marker")]
