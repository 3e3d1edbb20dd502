"""What S3 lets nobody do round about: by another version, a manifest, a list beside a write."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.functional.test_s3_access import DENIED, policy, refused, statement
from tests.s3_calls import S3, clients, clouds

pytestmark = pytest.mark.functional
TAG = "s3:ExistingObjectTag/open"

s3 = clouds()
client = clients()


@pytest.fixture(scope="module")
def stranger_key(s3: S3) -> dict[str, str]:
    return s3.new_key("stranger")


@pytest.fixture(scope="module")
def stranger(s3: S3, stranger_key: dict[str, str]) -> Any:
    return s3.client(stranger_key)


@pytest.fixture(scope="module")
def own(s3: S3, stranger: Any) -> str:
    """A bucket of the stranger's."""
    return s3.bucket(stranger)


@contextmanager
def asking_for(client: Any, operation: str, version: str) -> Iterator[None]:
    """Requests of the client that are so called say a version, too."""

    def add(request: Any, **_more: Any) -> None:
        request.url += ("&" if "?" in request.url else "?") + f"versionId={version}"

    event = f"before-sign.s3.{operation}"
    client.meta.events.register(event, add)
    try:
        yield
    finally:
        client.meta.events.unregister(event, add)


def versioned(s3: S3, client: Any, *versions: dict[str, Any]) -> tuple[str, list[str]]:
    """A bucket whose key `k` has these versions, with what S3 calls them."""
    bucket = s3.bucket(client)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    put = client.put_object
    return bucket, [
        put(Bucket=bucket, Key="k", Body=b"1", **each)["VersionId"] for each in versions
    ]


def upload(client: Any, bucket: str, key: str, body: bytes) -> None:
    """Write a key in one part."""
    named = {"Bucket": bucket, "Key": key}
    named["UploadId"] = client.create_multipart_upload(**named)["UploadId"]
    etag = client.upload_part(**named, PartNumber=1, Body=body)["ETag"]
    client.complete_multipart_upload(
        **named, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}
    )


def asked_of_swift(s3: S3, method: str, path: str, **headers: str) -> httpx.Response:
    """A request of the administrator's by Swift."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    base = f"/object-store/v1/AUTH_{s3.key['project']}"
    with s3.cloud.client() as caller:
        return caller.request(method, base + path, headers=names)


def swift(s3: S3, method: str, path: str, **headers: str) -> httpx.Response:
    """The same, which is not refused."""
    answer = asked_of_swift(s3, method, path, **headers)
    assert answer.status_code < 300, answer.text
    return answer


def token_of(s3: S3, key: dict[str, str]) -> str:
    """A token of the administrator's for the project of a key."""
    scope = {"project": {"id": key["project"]}}
    identity = {"methods": ["token"], "token": {"id": s3.token}}
    with s3.cloud.client() as caller:
        body = {"auth": {"identity": identity, "scope": scope}}
        answer = caller.post("/identity/v3/auth/tokens", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["x-subject-token"])


# --- Versions ---------------------------------------------------------------------------------


def test_a_copy_reads_no_version_that_is_shut(s3: S3, client: Any, stranger: Any, own: str) -> None:
    bucket, (first, second) = versioned(s3, client, {}, {"ACL": "public-read"})
    to = {"Bucket": own, "Key": "x"}
    source = {"Bucket": bucket, "Key": "k"}
    part = {**to, "UploadId": stranger.create_multipart_upload(**to)["UploadId"], "PartNumber": 1}
    shut = {**source, "VersionId": first}
    assert refused(stranger.copy_object, **to, CopySource=shut) == DENIED
    assert refused(stranger.upload_part_copy, **part, CopySource=shut) == DENIED
    for open_one in (source, {**source, "VersionId": second}):
        stranger.copy_object(**to, CopySource=open_one)
        stranger.upload_part_copy(**part, CopySource=open_one)


def test_the_version_of_a_request_opens_no_source_of_a_copy(
    s3: S3, client: Any, stranger: Any, own: str
) -> None:
    bucket, (first, _second) = versioned(s3, client, {"ACL": "public-read"}, {})
    to = {"Bucket": own, "Key": "x"}
    source = {"Bucket": bucket, "Key": "k"}
    part = {**to, "UploadId": stranger.create_multipart_upload(**to)["UploadId"], "PartNumber": 1}
    with asking_for(stranger, "CopyObject", first):
        found = refused(stranger.copy_object, **to, CopySource=source)
        assert found == (400, "InvalidArgument")
    with asking_for(stranger, "UploadPartCopy", first):
        assert refused(stranger.upload_part_copy, **part, CopySource=source) == DENIED
    with asking_for(stranger, "PutObject", first):
        assert refused(stranger.put_object, **to, Body=b"") == (400, "InvalidArgument")
    stranger.copy_object(**to, CopySource={**source, "VersionId": first})


def test_tags_of_another_version_open_nothing(s3: S3, client: Any, stranger: Any, own: str) -> None:
    tagged = [{"Tagging": f"open={each}"} for each in ("yes", "no")]
    bucket, (first, second) = versioned(s3, client, *tagged)
    text = statement(
        bucket,
        [
            "s3:GetObject",
            "s3:GetObjectVersion",
            "s3:GetObjectTagging",
            "s3:GetObjectVersionTagging",
            "s3:PutObject",
        ],
        Condition={"StringEquals": {TAG: "yes"}},
    )
    client.put_bucket_policy(Bucket=bucket, Policy=policy(text))
    to = {"Bucket": own, "Key": "x"}
    source = {"Bucket": bucket, "Key": "k"}
    stranger.copy_object(**to, CopySource={**source, "VersionId": first})
    assert refused(stranger.copy_object, **to, CopySource=source) == DENIED
    part = {**to, "UploadId": stranger.create_multipart_upload(**to)["UploadId"], "PartNumber": 1}
    with asking_for(stranger, "UploadPartCopy", first):
        assert refused(stranger.upload_part_copy, **part, CopySource=source) == DENIED
    assert refused(stranger.create_multipart_upload, **source) == DENIED
    with asking_for(stranger, "CreateMultipartUpload", first):
        assert refused(stranger.create_multipart_upload, **source) == DENIED
    assert stranger.get_object(**source, VersionId=first)["Body"].read() == b"1"
    assert refused(stranger.get_object, **source, VersionId=second) == DENIED


def test_a_copy_takes_no_tags_that_its_maker_may_not_read(
    s3: S3, client: Any, stranger: Any, own: str
) -> None:
    bucket, (first, second) = versioned(s3, client, {"Tagging": "a=b"}, {"Tagging": "a=c"})
    source = {"Bucket": bucket, "Key": "k"}
    of_version = {**source, "VersionId": first}
    to = {"Bucket": own, "Key": "x"}
    reads = ["s3:GetObject", "s3:GetObjectVersion"]

    def tags_of_copy() -> list[dict[str, str]]:
        return list(stranger.get_object_tagging(**to)["TagSet"])

    client.put_bucket_policy(Bucket=bucket, Policy=policy(statement(bucket, reads)))
    for each in (source, of_version):
        assert refused(stranger.copy_object, **to, CopySource=each) == DENIED
        stranger.copy_object(**to, CopySource=each, TaggingDirective="REPLACE", Tagging="own=1")
        assert tags_of_copy() == [{"Key": "own", "Value": "1"}]
    text = policy(statement(bucket, [*reads, "s3:GetObjectTagging"]))
    client.put_bucket_policy(Bucket=bucket, Policy=text)
    stranger.copy_object(**to, CopySource=source)
    assert tags_of_copy() == [{"Key": "a", "Value": "c"}]
    assert refused(stranger.copy_object, **to, CopySource=of_version) == DENIED
    text = policy(statement(bucket, [*reads, "s3:GetObjectVersionTagging"]))
    client.put_bucket_policy(Bucket=bucket, Policy=text)
    stranger.copy_object(**to, CopySource=of_version)
    assert tags_of_copy() == [{"Key": "a", "Value": "b"}]
    assert refused(stranger.copy_object, **to, CopySource=source) == DENIED
    # A list that lets read the key says nothing of its tags; nor is the owner asked less.
    client.delete_bucket_policy(Bucket=bucket)
    client.put_object_acl(**source, VersionId=second, ACL="public-read")
    assert refused(stranger.copy_object, **to, CopySource=source) == DENIED
    assert client.copy_object(Bucket=bucket, Key="copy", CopySource=source)["CopyObjectResult"]
    deny = policy(statement(bucket, "s3:GetObjectTagging", Effect="Deny"))
    client.put_bucket_policy(Bucket=bucket, Policy=deny)
    assert refused(client.copy_object, Bucket=bucket, Key="copy", CopySource=source) == DENIED
    # What has no tags is copied by who may read it.
    client.put_object(Bucket=bucket, Key="plain", Body=b"1", ACL="public-read")
    stranger.copy_object(**to, CopySource={**source, "Key": "plain"})
    assert tags_of_copy() == []


# --- Parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_versioned", [False, True])
def test_who_may_have_a_key_has_its_parts_and_no_others(
    s3: S3, client: Any, stranger: Any, stranger_key: dict[str, str], is_versioned: bool
) -> None:
    bucket, drop = s3.bucket(client), s3.bucket(client)
    if is_versioned:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    upload(client, bucket, "private/big", b"secret")
    upload(client, bucket, "me/big", b"mine")
    who = {"AWS": stranger_key["project"]}
    arn = f"arn:aws:s3:::{bucket}/me/*"
    actions = ["s3:PutObject", "s3:GetObject", "s3:GetObjectVersion"]
    client.put_bucket_policy(
        Bucket=bucket, Policy=policy(statement(bucket, actions, who, Resource=arn))
    )
    everybody_there = f"{stranger_key['project']}:*"
    swift(s3, "POST", f"/{drop}", X_Container_Read=everybody_there)
    swift(s3, "PUT", f"/{drop}/dlo", X_Object_Manifest=f"{bucket}+segments/parts/")
    to = {"Bucket": bucket, "Key": "me/x"}
    named = {**to, "UploadId": stranger.create_multipart_upload(**to)["UploadId"]}
    there = f"{s3.key['project']}:{drop}/dlo"
    part = {**named, "PartNumber": 1}
    assert refused(stranger.upload_part_copy, **part, CopySource=there) == DENIED
    assert refused(stranger.copy_object, **to, CopySource=there) == DENIED
    assert refused(stranger.get_object, Bucket=bucket, Key="private/big") == DENIED
    own_part = {"Bucket": bucket, "Key": "me/big"}
    found = stranger.get_object(**own_part)
    assert found["Body"].read() == b"mine"
    assert stranger.get_object(**own_part, Range="bytes=1-2")["Body"].read() == b"in"
    if is_versioned:
        version = {"VersionId": found["VersionId"]}
        assert stranger.get_object(**own_part, **version)["Body"].read() == b"mine"
    etag = stranger.upload_part_copy(**part, CopySource=own_part)["CopyPartResult"]["ETag"]
    stranger.complete_multipart_upload(
        **named, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}
    )
    assert stranger.get_object(**to)["Body"].read() == b"mine"
    stranger.copy_object(**to, CopySource=own_part)
    assert stranger.get_object(**to)["Body"].read() == b"mine"


# --- What is sent with a write ----------------------------------------------------------------


def test_lists_and_tags_of_an_upload_ask_for_more_than_the_upload(
    s3: S3, client: Any, stranger: Any, stranger_key: dict[str, str]
) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="tagged", Body=b"1", Tagging="a=b")
    key = {"Bucket": bucket, "Key": "k"}
    more: list[dict[str, Any]] = [
        {"ACL": "public-read"},
        {"GrantRead": f'id="{stranger_key["project"]}"'},
        {"Tagging": "a=b"},
    ]
    tagged = {"Bucket": bucket, "Key": "tagged"}

    def check_refused(caller: Any) -> None:
        caller.put_object(**key, Body=b"1")
        caller.put_object(**key, Body=b"1", ACL="private")
        for each in more:
            assert refused(caller.put_object, **key, Body=b"1", **each) == DENIED
            assert refused(caller.create_multipart_upload, **key, **each) == DENIED
        copy = {**key, "CopySource": {**key, "Key": "plain"}, "ACL": "public-read"}
        assert refused(caller.copy_object, **copy) == DENIED
        assert refused(caller.copy_object, **key, CopySource=tagged) == DENIED
        caller.copy_object(**key, CopySource=tagged, TaggingDirective="REPLACE")

    client.put_object(Bucket=bucket, Key="plain", Body=b"1")
    both = ["s3:PutObjectAcl", "s3:PutObjectTagging"]
    who = {"AWS": stranger_key["project"]}
    actions = ["s3:PutObject", "s3:GetObject", "s3:GetObjectTagging"]
    deny = statement(bucket, both, Effect="Deny")
    client.put_bucket_policy(Bucket=bucket, Policy=policy(deny))
    check_refused(client)
    client.put_bucket_policy(Bucket=bucket, Policy=policy(statement(bucket, actions, who)))
    check_refused(stranger)
    url = f"{s3.cloud.url}/s3/{bucket}/k"
    assert httpx.get(url).status_code == 403
    allowed = policy(statement(bucket, actions + both, who))
    client.put_bucket_policy(Bucket=bucket, Policy=allowed)
    for each in more:
        stranger.put_object(**key, Body=b"1", **each)
        stranger.create_multipart_upload(**key, **each)
    stranger.copy_object(**key, CopySource=tagged, ACL="public-read")
    assert httpx.get(url).content == b"1"


# --- What is public ---------------------------------------------------------------------------


def test_lists_of_swift_are_public_too(
    s3: S3, client: Any, stranger: Any, stranger_key: dict[str, str], own: str
) -> None:
    bucket = s3.bucket(client)
    url = f"{s3.cloud.url}/s3/{bucket}"

    def is_public() -> bool:
        return bool(client.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"])

    assert not is_public()
    swift(s3, "POST", f"/{bucket}", X_Container_Read=".r:*,.rlistings,*:*")
    upload(client, bucket, "k", b"1")
    assert is_public()
    assert [httpx.get(each).status_code for each in (url, f"{url}/k")] == [200, 200]
    names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    client.put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(names, True)
    )
    assert [httpx.get(each).status_code for each in (url, f"{url}/k")] == [403, 403]
    key = {"Bucket": bucket, "Key": "k"}
    assert refused(stranger.get_object, **key) == DENIED
    part = swift(s3, "GET", f"/{bucket}+segments?prefix=parts/").text.strip()
    source = f"{s3.key['project']}:{bucket}+segments/{part}"
    found = refused(stranger.copy_object, Bucket=own, Key="x", CopySource=source)
    assert found == (400, "InvalidBucketName")
    assert client.get_object(**key)["Body"].read() == b"1"
    named = f"{stranger_key['project']}:*"
    lists = {"X_Container_Read": f".r:*,{named}"}
    assert asked_of_swift(s3, "POST", f"/{bucket}", **lists).status_code == 403
    client.put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(names[1:], True)
    )
    swift(s3, "POST", f"/{bucket}", **lists)
    assert stranger.get_object(**key)["Body"].read() == b"1"
    assert httpx.get(f"{url}/k", headers={"Referer": "http://x"}).status_code == 403


def test_a_public_access_block_holds_for_lists_of_swift(
    s3: S3, client: Any, stranger_key: dict[str, str]
) -> None:
    bucket = s3.bucket(client)
    upload(client, bucket, "k", b"1")
    named = f"{stranger_key['project']}:*"
    lists = {"X_Container_Read": f".r:*,.rlistings,*:*,{named}"}
    swift(s3, "POST", f"/{bucket}", **lists)
    part = swift(s3, "GET", f"/{bucket}+segments?prefix=parts/").text.strip()
    base = f"{s3.cloud.url}/object-store/v1/AUTH_{s3.key['project']}"
    urls = (f"{base}/{bucket}", f"{base}/{bucket}/k", f"{base}/{bucket}+segments/{part}")
    with_token = {"X-Auth-Token": token_of(s3, stranger_key)}

    def statuses(**headers: str) -> list[int]:
        return [httpx.get(each, headers=headers, timeout=60).status_code for each in urls]

    def block(*names: str) -> None:
        on = dict.fromkeys(names, True)
        client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=on)

    assert statuses() == statuses(**with_token) == [200, 200, 200]
    block("IgnorePublicAcls")
    assert statuses() == statuses(Referer="http://x") == [401, 401, 401]
    assert statuses(**with_token) == [200, 200, 200]  # it is named, too
    swift(s3, "POST", f"/{bucket}", X_Container_Read=".r:*,.rlistings,*:*")
    assert statuses(**with_token) == [403, 403, 403]
    block("BlockPublicAcls")
    assert statuses() == [200, 200, 200]  # what was set before is as it was
    for public in (".r:*", ".r:.example.com,.rlistings", "*:*", f"{named},*:*"):
        for method in ("POST", "PUT"):
            answer = asked_of_swift(s3, method, f"/{bucket}", X_Container_Read=public)
            assert answer.status_code == 403
            assert "BlockPublicAcls" in answer.text
    assert asked_of_swift(s3, "POST", f"/{bucket}", X_Container_Write="*:*").status_code == 403
    swift(s3, "POST", f"/{bucket}", X_Container_Read=f"{named},.r:-bad.example")
    assert statuses() == [401, 401, 401]
    assert statuses(**with_token) == [200, 200, 200]
    swift(s3, "POST", f"/{bucket}", X_Container_Read="")
    client.delete_public_access_block(Bucket=bucket)
    swift(s3, "POST", f"/{bucket}", **lists)
    assert statuses() == [200, 200, 200]


@pytest.mark.parametrize(
    ("condition", "is_public"),
    [
        ({"StringEquals": {"aws:PrincipalAccount": "a"}}, False),
        ({"StringEqualsIfExists": {"aws:PrincipalAccount": "a"}}, True),
        ({"StringLike": {"aws:PrincipalAccount": "*"}}, True),
        ({"StringLike": {"aws:userid": "abc"}}, False),
        ({"StringNotEquals": {"aws:userid": "abc"}}, True),
        ({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "2001:db8::/32"]}}, False),
        ({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "0.0.0.0/0"]}}, True),
        ({"IpAddress": {"aws:SourceIp": "::/0"}}, True),
        ({"IpAddressIfExists": {"aws:SourceIp": "10.0.0.0/8"}}, True),
        ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, True),
        ({"StringEquals": {"aws:userid": "${aws:userid}"}}, True),
        ({"ForAnyValue:StringEquals": {"aws:userid": "u"}}, True),
    ],
    ids=str,
)
def test_policies_that_are_public(
    s3: S3, client: Any, condition: dict[str, Any], is_public: bool
) -> None:
    bucket = s3.bucket(client)
    text = policy(statement(bucket, "s3:GetObject", Condition=condition))
    client.put_bucket_policy(Bucket=bucket, Policy=text)
    found = client.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]
    assert found["IsPublic"] is is_public


# --- Locks ------------------------------------------------------------------------------------


def test_who_may_write_an_account_does_not_go_past_its_locks(
    s3: S3, client: Any, stranger: Any, stranger_key: dict[str, str]
) -> None:
    bucket = s3.bucket(client, ObjectLockEnabledForBucket=True)
    locked = {
        "ObjectLockMode": "GOVERNANCE",
        "ObjectLockRetainUntilDate": time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(4e9)),
    }
    key = {"Bucket": bucket, "Key": "k"}
    version = client.put_object(**key, Body=b"1", **locked)["VersionId"]
    past = {**key, "VersionId": version, "BypassGovernanceRetention": True}
    lists = f'{{"read-write": ["{stranger_key["project"]}:*"]}}'
    swift(s3, "POST", "", X_Account_Access_Control=lists)
    try:
        stranger.put_object(**key, Body=b"2")
        assert refused(stranger.delete_object, **past) == DENIED
        assert refused(stranger.put_object, **key, Body=b"2", **locked) == DENIED
        held = {"ObjectLockLegalHoldStatus": "ON"}
        assert refused(stranger.put_object, **key, Body=b"2", **held) == DENIED
        who = {"AWS": stranger_key["project"]}
        text = policy(statement(bucket, "s3:BypassGovernanceRetention", who))
        client.put_bucket_policy(Bucket=bucket, Policy=text)
        stranger.delete_object(**past)
    finally:
        swift(s3, "POST", "", X_Account_Access_Control="{}")
