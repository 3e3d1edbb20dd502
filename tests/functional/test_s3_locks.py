"""Object lock through the S3 API, and what the Swift API may do to what is locked; boto3."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from botocore.handlers import validate_bucket_name

from tests.s3_calls import S3, clients, clouds, code_of

pytestmark = pytest.mark.functional
MIB = 1 << 20
DENIED = (403, "AccessDenied")


s3 = clouds()
client = clients()


def locked(s3: S3, client: Any, **rule: Any) -> str:
    """A bucket with object lock, and a rule for what is written."""
    bucket = s3.bucket(client, ObjectLockEnabledForBucket=True)
    if rule:
        configure(client, bucket, **rule)
    return bucket


def configure(client: Any, bucket: str, **rule: Any) -> None:
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": rule}}
    client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=configuration)


def put(client: Any, bucket: str, **lock: Any) -> str:
    return str(client.put_object(Bucket=bucket, Key="k", Body=b"kept", **lock)["VersionId"])


def refused(operation: Callable[..., object], **named: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        operation(**named)
    return code_of(caught)


def in_days(days: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


def retain(client: Any, mode: str, until: datetime, **named: Any) -> None:
    client.put_object_retention(
        Key="k", Retention={"Mode": mode, "RetainUntilDate": until}, **named
    )


def swift(s3: S3, method: str, path: str, **named: Any) -> httpx.Response:
    with s3.cloud.client() as asked:
        return asked.request(method, f"/object-store/v1/AUTH_{s3.key['project']}/{path}", **named)


# --- The bucket -------------------------------------------------------------------------------


def test_the_configuration_of_a_bucket(s3: S3, client: Any) -> None:
    bucket = locked(s3, client)
    assert client.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    found = client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    assert found == {"ObjectLockEnabled": "Enabled"}
    for rule in ({"Mode": "GOVERNANCE", "Days": 1}, {"Mode": "COMPLIANCE", "Years": 2}):
        configure(client, bucket, **rule)
        found = client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
        assert found == {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": rule}}
    for wrong, code in (
        ({"Mode": "GOVERNANCE", "Days": 1, "Years": 1}, "MalformedXML"),
        ({"Mode": "GOVERNANCE"}, "MalformedXML"),
        ({"Mode": "abc", "Days": 1}, "MalformedXML"),
        ({"Mode": "GOVERNANCE", "Days": 0}, "InvalidRetentionPeriod"),
        ({"Mode": "GOVERNANCE", "Years": -1}, "InvalidRetentionPeriod"),
        ({"Mode": "GOVERNANCE", "Years": 101}, "InvalidRetentionPeriod"),
    ):
        assert refused(lambda wrong=wrong: configure(client, bucket, **wrong)) == (400, code)
    configuration = {"ObjectLockEnabled": "Disabled"}
    change = client.put_object_lock_configuration
    assert refused(change, Bucket=bucket, ObjectLockConfiguration=configuration) == (
        400,
        "MalformedXML",
    )


def test_object_lock_needs_versions_and_keeps_them(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    rule = {"Mode": "GOVERNANCE", "Days": 1}
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": rule}}
    change = client.put_object_lock_configuration
    named = {"Bucket": bucket, "ObjectLockConfiguration": configuration}
    assert refused(change, **named) == (409, "InvalidBucketState")
    assert refused(client.get_object_lock_configuration, Bucket=bucket) == (
        404,
        "ObjectLockConfigurationNotFoundError",
    )
    versioning = {"Bucket": bucket, "VersioningConfiguration": {"Status": "Enabled"}}
    client.put_bucket_versioning(**versioning)
    change(**named)
    client.put_bucket_versioning(**versioning)
    versioning["VersioningConfiguration"] = {"Status": "Suspended"}
    assert refused(client.put_bucket_versioning, **versioning) == (409, "InvalidBucketState")
    answer = swift(s3, "POST", bucket, headers={"X-Versions-Enabled": "false"})
    assert answer.status_code == 409
    answer = swift(s3, "PUT", bucket, headers={"X-Versions-Enabled": "false"})
    assert answer.status_code == 409
    assert client.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_a_bucket_without_object_lock_takes_no_locks(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"x")
    wrong = (400, "InvalidRequest")
    named = {"Bucket": bucket, "Key": "k"}
    until = in_days(1)
    retention = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
    assert refused(client.put_object_retention, **named, Retention=retention) == wrong
    assert refused(client.get_object_retention, **named) == wrong
    assert refused(client.put_object_legal_hold, **named, LegalHold={"Status": "ON"}) == wrong
    assert refused(client.get_object_legal_hold, **named) == wrong
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    assert refused(client.put_object, **named, Body=b"y", **lock) == wrong
    assert refused(client.put_object, **named, Body=b"y", ObjectLockLegalHoldStatus="ON") == wrong
    assert refused(client.create_multipart_upload, **named, **lock) == wrong
    client.delete_object(**named, BypassGovernanceRetention=True)


# --- Retentions and holds ---------------------------------------------------------------------


def test_a_retention_of_mode_governance(s3: S3, client: Any) -> None:
    bucket, until = locked(s3, client), in_days(1)
    version = put(client, bucket, ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    named = {"Bucket": bucket, "Key": "k", "VersionId": version}
    head = client.head_object(**named)
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == ("GOVERNANCE", until)
    assert "ObjectLockLegalHoldStatus" not in head
    got = client.get_object(Bucket=bucket, Key="k")
    assert (got["ObjectLockMode"], got["ObjectLockRetainUntilDate"]) == ("GOVERNANCE", until)
    assert refused(client.delete_object, **named) == DENIED
    many = {"Objects": [{"Key": "k", "VersionId": version}]}
    errors = client.delete_objects(Bucket=bucket, Delete=many)["Errors"]
    assert [(each["Code"], each["VersionId"]) for each in errors] == [("AccessDenied", version)]
    # It may be made longer, not shorter, nor of the other mode.
    longer = in_days(2)
    retain(client, "GOVERNANCE", longer, Bucket=bucket, VersionId=version)
    found = client.get_object_retention(**named)["Retention"]
    assert found == {"Mode": "GOVERNANCE", "RetainUntilDate": longer}
    at = {"Bucket": bucket, "VersionId": version}
    assert refused(lambda: retain(client, "GOVERNANCE", until, **at)) == DENIED
    assert refused(lambda: retain(client, "COMPLIANCE", longer, **at)) == DENIED
    assert refused(client.put_object_retention, **named, Retention={}) == DENIED
    retain(client, "GOVERNANCE", until, BypassGovernanceRetention=True, **at)
    assert client.get_object_retention(**named)["Retention"]["RetainUntilDate"] == until
    # A marker hides it, and nothing more.
    marker = client.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"]
    assert client.get_object(**named)["Body"].read() == b"kept"
    client.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"kept"
    done = client.delete_objects(Bucket=bucket, Delete=many, BypassGovernanceRetention=True)
    assert [each["VersionId"] for each in done["Deleted"]] == [version]
    assert refused(client.head_object, **named)[0] == 404
    client.delete_bucket(Bucket=bucket)


def test_a_retention_of_mode_compliance(s3: S3, client: Any) -> None:
    bucket, until = locked(s3, client), in_days(1)
    version = put(client, bucket)
    at = {"Bucket": bucket, "VersionId": version}
    retain(client, "COMPLIANCE", until, **at)
    for bypass in ({}, {"BypassGovernanceRetention": True}):
        assert refused(client.delete_object, Key="k", **at, **bypass) == DENIED
        assert refused(lambda b=bypass: retain(client, "COMPLIANCE", in_days(0.5), **at, **b)) == (
            DENIED
        )
        assert refused(lambda b=bypass: retain(client, "GOVERNANCE", in_days(2), **at, **b)) == (
            DENIED
        )
        named = {"Key": "k", "Retention": {}, **at, **bypass}
        assert refused(client.put_object_retention, **named) == DENIED
    retain(client, "COMPLIANCE", in_days(2), **at)
    assert refused(client.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")


def test_a_legal_hold(s3: S3, client: Any) -> None:
    bucket = locked(s3, client)
    put(client, bucket)
    named = {"Bucket": bucket, "Key": "k"}
    assert refused(client.get_object_legal_hold, **named) == (404, "NoSuchObjectLockConfiguration")
    version = put(client, bucket, ObjectLockLegalHoldStatus="ON")
    assert client.head_object(**named)["ObjectLockLegalHoldStatus"] == "ON"
    assert client.get_object_legal_hold(**named)["LegalHold"]["Status"] == "ON"
    assert refused(client.get_object_retention, **named) == (404, "NoSuchObjectLockConfiguration")
    for bypass in ({}, {"BypassGovernanceRetention": True}):
        assert refused(client.delete_object, **named, VersionId=version, **bypass) == DENIED
    wrong = {"LegalHold": {"Status": "abc"}}
    assert refused(client.put_object_legal_hold, **named, **wrong) == (400, "MalformedXML")
    # A hold and a retention know nothing of one another.
    retain(client, "GOVERNANCE", in_days(1), Bucket=bucket)
    client.put_object_legal_hold(**named, LegalHold={"Status": "OFF"})
    assert client.get_object_legal_hold(**named)["LegalHold"]["Status"] == "OFF"
    assert client.get_object_retention(**named)["Retention"]["Mode"] == "GOVERNANCE"
    assert refused(client.delete_object, **named, VersionId=version) == DENIED
    client.put_object_retention(**named, Retention={}, BypassGovernanceRetention=True)
    client.delete_object(**named, VersionId=version)


def test_what_a_lock_must_not_say(s3: S3, client: Any) -> None:
    bucket = locked(s3, client)
    put(client, bucket)
    named = {"Bucket": bucket, "Key": "k"}
    until = in_days(1)
    for wrong in (
        {"ObjectLockMode": "GOVERNANCE"},
        {"ObjectLockRetainUntilDate": until},
        {"ObjectLockMode": "abc", "ObjectLockRetainUntilDate": until},
        {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": in_days(-1)},
        {"ObjectLockLegalHoldStatus": "abc"},
    ):
        assert refused(client.put_object, **named, Body=b"x", **wrong) == (400, "InvalidArgument")
    change = client.put_object_retention
    for retention, code in (
        ({"Mode": "abc", "RetainUntilDate": until}, "MalformedXML"),
        ({"Mode": "GOVERNANCE"}, "MalformedXML"),
        ({"RetainUntilDate": until}, "MalformedXML"),
        ({"Mode": "GOVERNANCE", "RetainUntilDate": in_days(-1)}, "InvalidArgument"),
    ):
        assert refused(change, **named, Retention=retention) == (400, code)
    at = {"Bucket": bucket, "Key": "none"}
    retention = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
    assert refused(change, **at, Retention=retention) == (404, "NoSuchKey")
    marker = client.delete_object(**named)["VersionId"]
    at = {**named, "VersionId": marker}
    assert refused(change, **at, Retention=retention) == (405, "MethodNotAllowed")


def test_what_a_bucket_gives_to_new_versions(s3: S3, client: Any) -> None:
    bucket = locked(s3, client)
    before = put(client, bucket)
    configure(client, bucket, Mode="COMPLIANCE", Days=2)
    version = put(client, bucket)
    head = client.head_object(Bucket=bucket, Key="k")
    assert head["ObjectLockMode"] == "COMPLIANCE"
    ends = head["ObjectLockRetainUntilDate"] - head["LastModified"]
    assert abs(ends - timedelta(days=2)) < timedelta(minutes=2)
    assert refused(client.delete_object, Bucket=bucket, Key="k", VersionId=version) == DENIED
    client.delete_object(Bucket=bucket, Key="k", VersionId=before)
    # What a request says takes its place, a hold stands beside it.
    until = in_days(1)
    put(client, bucket, ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    assert client.head_object(Bucket=bucket, Key="k")["ObjectLockRetainUntilDate"] == until
    put(client, bucket, ObjectLockLegalHoldStatus="ON")
    head = client.head_object(Bucket=bucket, Key="k")
    assert (head["ObjectLockMode"], head["ObjectLockLegalHoldStatus"]) == ("COMPLIANCE", "ON")
    # Also to what comes through Swift's API, alone or in an archive.
    answer = swift(s3, "PUT", f"{bucket}/k", content=b"swift")
    assert answer.status_code == 201
    written = answer.headers["x-object-version-id"]
    assert client.head_object(Bucket=bucket, Key="k")["ObjectLockMode"] == "COMPLIANCE"
    assert refused(client.delete_object, Bucket=bucket, Key="k", VersionId=written) == DENIED
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("x")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"tar"))
    answer = swift(s3, "PUT", bucket, params={"extract-archive": "tar"}, content=archive.getvalue())
    assert answer.status_code == 200
    head = client.head_object(Bucket=bucket, Key="x")
    assert head["ObjectLockMode"] == "COMPLIANCE"


def test_a_copy_has_a_lock_of_its_own(s3: S3, client: Any) -> None:
    bucket, until = locked(s3, client), in_days(1)
    put(client, bucket, ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until)
    source = {"Bucket": bucket, "Key": "k"}
    client.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    assert "ObjectLockMode" not in client.head_object(Bucket=bucket, Key="copy")
    answer = swift(s3, "COPY", f"{bucket}/k", headers={"Destination": f"{bucket}/swift"})
    assert answer.status_code == 201
    assert "ObjectLockMode" not in client.head_object(Bucket=bucket, Key="swift")
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    client.copy_object(Bucket=bucket, Key="copy", CopySource=source, **lock)
    assert client.head_object(Bucket=bucket, Key="copy")["ObjectLockMode"] == "GOVERNANCE"
    configure(client, bucket, Mode="GOVERNANCE", Days=3)
    client.copy_object(Bucket=bucket, Key="third", CopySource=source)
    head = client.head_object(Bucket=bucket, Key="third")
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"] > until) == (
        "GOVERNANCE",
        True,
    )


def test_a_key_of_parts(s3: S3, client: Any) -> None:
    bucket, until = locked(s3, client), in_days(1)
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    begun = client.create_multipart_upload(Bucket=bucket, Key="k", **lock)
    named = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    parts = [
        {"PartNumber": n, "ETag": client.upload_part(**named, PartNumber=n, Body=body)["ETag"]}
        for n, body in enumerate((b"x" * 5 * MIB, b"y"), 1)
    ]
    done = client.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    version = done["VersionId"]
    assert client.head_object(Bucket=bucket, Key="k")["ObjectLockMode"] == "GOVERNANCE"
    at = {"Bucket": bucket, "Key": "k", "VersionId": version}
    assert refused(client.delete_object, **at) == DENIED
    # Its parts cannot be had by Swift's API either.
    listed = swift(s3, "GET", f"{bucket}+segments", params={"prefix": "parts/"}).text.split()
    assert len(listed) == 2
    for path in (f"{bucket}+segments/{listed[0]}", f"{bucket}+segments/new"):
        assert swift(s3, "DELETE", path).status_code == 403
        assert swift(s3, "PUT", path, content=b"z").status_code == 403
        assert swift(s3, "POST", path, headers={"X-Delete-After": "1"}).status_code == 403
    deleting = {"multipart-manifest": "delete"}
    assert swift(s3, "DELETE", f"{bucket}/k", params=deleting).status_code == 403
    # A manifest elsewhere that names them.
    other = s3.bucket(client)
    manifest = [{"path": f"/{bucket}+segments/{each}"} for each in listed]
    made = swift(s3, "PUT", f"{other}/m", params={"multipart-manifest": "put"}, json=manifest)
    assert made.status_code == 201, made.text
    swift(s3, "DELETE", f"{other}/m", params=deleting)
    bulk = "\n".join(f"{bucket}%2Bsegments/{each}" for each in listed)
    swift(s3, "POST", "", params={"bulk-delete": ""}, content=bulk)
    assert len(client.get_object(**at)["Body"].read()) == 5 * MIB + 1
    client.delete_object(**at, BypassGovernanceRetention=True)
    left = swift(s3, "GET", f"{bucket}+segments", params={"prefix": "parts/"}).text
    assert left == ""


# --- Other ways -------------------------------------------------------------------------------


def test_swift_removes_no_version_that_is_locked(s3: S3, client: Any) -> None:
    bucket = locked(s3, client)
    version = put(client, bucket, ObjectLockLegalHoldStatus="ON")
    named = {"params": {"version-id": version}}
    assert swift(s3, "DELETE", f"{bucket}/k", **named).status_code == 403
    both = {"version-id": version, "multipart-manifest": "delete"}
    assert swift(s3, "DELETE", f"{bucket}/k", params=both).status_code == 403
    odd = {"version-id": "1"}
    assert swift(s3, "DELETE", f"{bucket}/k", params=odd).status_code == 400
    swift(s3, "POST", f"{bucket}/k", headers={"X-Object-Meta-A": "b", "X-Delete-After": "1"})
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    client.put_object_tagging(Bucket=bucket, Key="k", VersionId=version, Tagging=tags)
    client.put_object_acl(Bucket=bucket, Key="k", VersionId=version, ACL="private")
    swift(s3, "PUT", f"{bucket}/k", content=b"newer")
    swift(s3, "DELETE", f"{bucket}/k")
    swift(s3, "POST", "", params={"bulk-delete": ""}, content=f"{bucket}/k")
    assert swift(s3, "DELETE", bucket).status_code == 409
    assert swift(s3, "DELETE", f"{bucket}/k", **named).status_code == 403
    at = {"Bucket": bucket, "Key": "k", "VersionId": version}
    found = client.get_object(**at)
    assert (found["Body"].read(), found["ObjectLockLegalHoldStatus"]) == (b"kept", "ON")
    client.put_object_legal_hold(**at, LegalHold={"Status": "OFF"})
    assert swift(s3, "DELETE", f"{bucket}/k", **named).status_code == 204
    assert refused(client.head_object, **at)[0] == 404


def test_the_null_version_can_be_locked(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"null")
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    configure(client, bucket, Mode="GOVERNANCE", Days=1)
    at = {"Bucket": bucket, "Key": "k", "VersionId": "null"}
    client.put_object_legal_hold(**at, LegalHold={"Status": "ON"})
    assert refused(client.delete_object, **at) == DENIED
    null = {"version-id": "null"}
    assert swift(s3, "DELETE", f"{bucket}/k", params=null).status_code == 403
    # It keeps its lock when it is not the current one any more.
    put(client, bucket)
    assert client.get_object_legal_hold(**at)["LegalHold"]["Status"] == "ON"
    assert refused(client.delete_object, **at, BypassGovernanceRetention=True) == DENIED
    listed = swift(s3, "GET", bucket, params={"versions": "", "format": "json"}).json()
    ids = [each["version_id"] for each in listed]
    assert len(ids) == 2
    for each in ids:
        named = {"version-id": each}
        assert swift(s3, "DELETE", f"{bucket}/k", params=named).status_code == 403, each
    assert client.get_object(**at)["Body"].read() == b"null"
    client.put_object_legal_hold(**at, LegalHold={"Status": "OFF"})
    client.delete_object(**at)
    assert refused(client.head_object, **at)[0] == 404


def test_who_may_go_past_a_retention(s3: S3, client: Any) -> None:
    """A policy gives the right to delete to another project, and takes that to go past locks."""
    stranger_key = s3.new_key("friend")
    friend = s3.client(stranger_key)
    bucket, until = locked(s3, client), in_days(1)
    version = put(client, bucket, ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    at = {"Bucket": f"{s3.key['project']}:{bucket}", "Key": "k", "VersionId": version}
    arn = f"arn:aws:s3:::{bucket}/*"
    who = {"AWS": stranger_key["project"]}

    def allow(*actions: str) -> None:
        statement = {"Effect": "Allow", "Principal": who, "Action": actions, "Resource": arn}
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))

    friend.meta.events.unregister("before-parameter-build.s3", validate_bucket_name)
    allow("s3:DeleteObjectVersion", "s3:GetObjectVersion")
    assert refused(friend.delete_object, **at) == DENIED
    assert refused(friend.delete_object, **at, BypassGovernanceRetention=True) == DENIED
    assert refused(friend.get_object_retention, **at) == DENIED
    assert refused(friend.put_object_legal_hold, **at, LegalHold={"Status": "ON"}) == DENIED
    assert "ObjectLockMode" not in friend.head_object(**at)
    allow("s3:DeleteObjectVersion", "s3:GetObjectVersion", "s3:GetObjectRetention")
    assert friend.head_object(**at)["ObjectLockMode"] == "GOVERNANCE"
    allow("s3:DeleteObjectVersion", "s3:BypassGovernanceRetention")
    friend.delete_object(**at, BypassGovernanceRetention=True)
    assert refused(client.head_object, Bucket=bucket, Key="k", VersionId=version)[0] == 404
