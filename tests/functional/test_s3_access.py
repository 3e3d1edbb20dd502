"""Who may do what through S3: grants, policies, what limits both. With boto3, of two projects."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from botocore import UNSIGNED
from botocore.exceptions import ClientError

from tests.s3_calls import S3, clients, clouds, code_of

pytestmark = pytest.mark.functional
SECURE = "aws:SecureTransport"
ALL = "http://acs.amazonaws.com/groups/global/AllUsers"


s3 = clouds()
client = clients()


@pytest.fixture(scope="module")
def stranger_key(s3: S3) -> dict[str, str]:
    return s3.new_key("stranger")


@pytest.fixture(scope="module")
def stranger(s3: S3, stranger_key: dict[str, str]) -> Any:
    return s3.client(stranger_key)


def refused(do: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        do(**arguments)
    return code_of(caught)


DENIED = (403, "AccessDenied")


def test_nobody_makes_a_bucket(s3: S3) -> None:
    made = httpx.put(f"{s3.cloud.url}/s3/nobodys-bucket", timeout=60)
    assert (made.status_code, "<Code>AccessDenied</Code>" in made.text) == (403, True)
    asked = httpx.get(f"{s3.cloud.url}/s3/nobodys-bucket", timeout=60)
    assert (asked.status_code, "<Code>NoSuchBucket</Code>" in asked.text) == (404, True)


def test_what_is_not_signed_is_at_the_root_too_as_clients_know_only_a_host_and_a_port(
    s3: S3, client: Any
) -> None:
    bucket = s3.bucket(client)
    key = {"Bucket": bucket, "Key": "a b"}
    client.put_object(**key, Body=b"public", ACL="public-read")
    client.put_object(Bucket=bucket, Key="private", Body=b"1")
    anybody = s3.client(path="", signature_version=UNSIGNED)
    assert anybody.get_object(**key)["Body"].read() == b"public"
    url = f"{s3.cloud.url}/{s3.key['project']}:{bucket}/a%20b"
    assert httpx.get(url, timeout=60).content == b"public"
    assert refused(anybody.get_object, Bucket=bucket, Key="private") == DENIED
    assert refused(anybody.list_objects_v2, Bucket=bucket) == DENIED
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    assert anybody.list_objects_v2(Bucket=bucket)["KeyCount"] == 2

    form = s3.client(path="").generate_presigned_post(bucket, "of a form")
    assert form["url"] == f"{s3.cloud.url}/{bucket}"
    sent = httpx.post(form["url"], data=form["fields"], files={"file": b"sent"}, timeout=60)
    assert sent.status_code == 204, sent.text
    assert client.get_object(Bucket=bucket, Key="of a form")["Body"].read() == b"sent"

    rule = {"AllowedMethods": ["PUT"], "AllowedOrigins": ["http://site.example"]}
    client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    asks = {"Origin": "http://site.example", "Access-Control-Request-Method": "PUT"}
    told = httpx.options(f"{s3.cloud.url}/{bucket}/x", headers=asks, timeout=60)
    assert (told.status_code, told.headers["access-control-allow-methods"]) == (200, "PUT")


def test_what_is_neither_a_bucket_nor_a_service_is_told_so(s3: S3) -> None:
    wrong = httpx.get(f"{s3.cloud.url}/identify/v3", timeout=60)
    assert wrong.status_code == 404
    assert "no bucket, and no service" in wrong.text
    with_token = {"X-Auth-Token": s3.token}
    wrong = httpx.get(f"{s3.cloud.url}/identify/v3", headers=with_token, timeout=60)
    assert (wrong.status_code, "There is no service at /identify" in wrong.text) == (404, True)
    assert httpx.get(f"{s3.cloud.url}/identity/v3", timeout=60).json()["version"]
    everybody = httpx.get(f"{s3.cloud.url}/robots.txt", timeout=60)
    assert "There is no service at /robots.txt" in everybody.text


def test_what_members_of_the_project_may_do_is_for_their_roles_to_say(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"1")
    key = {"Bucket": bucket, "Key": "k"}
    reader, other = s3.client(s3.new_user_key("reader")), s3.client(s3.new_user_key("gardener"))
    assert reader.get_object(**key)["Body"].read() == b"1"
    assert reader.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    assert refused(other.get_object, **key) == DENIED
    assert refused(other.list_objects_v2, Bucket=bucket) == DENIED
    assert refused(other.get_object_acl, **key) == DENIED
    for somebody in (reader, other):
        assert refused(somebody.put_object, **key, Body=b"2") == DENIED
        assert refused(somebody.delete_object, **key) == DENIED
        assert refused(somebody.create_multipart_upload, **key) == DENIED
        assert refused(somebody.put_object_acl, **key, ACL="public-read") == DENIED
        assert refused(somebody.put_bucket_acl, Bucket=bucket, ACL="public-read") == DENIED
        assert refused(somebody.delete_bucket, Bucket=bucket) == DENIED
    client.put_object_acl(**key, ACL="authenticated-read")
    assert other.get_object(**key)["Body"].read() == b"1"
    assert client.get_object(**key)["Body"].read() == b"1"


def test_grants_of_a_bucket(s3: S3, client: Any, stranger: Any, stranger_key: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"1")
    assert refused(stranger.list_objects_v2, Bucket=bucket) == DENIED
    assert refused(stranger.get_bucket_acl, Bucket=bucket) == DENIED
    grantee = f'id="{stranger_key["project"]}"'
    client.put_bucket_acl(Bucket=bucket, GrantRead=grantee)
    assert stranger.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    assert stranger.head_bucket(Bucket=bucket)
    assert refused(stranger.get_object, Bucket=bucket, Key="k") == DENIED
    assert refused(stranger.get_object, Bucket=bucket, Key="none") == (404, "NoSuchKey")
    assert refused(stranger.put_object, Bucket=bucket, Key="new", Body=b"") == DENIED
    client.put_bucket_acl(Bucket=bucket, GrantWrite=grantee)
    stranger.put_object(Bucket=bucket, Key="new", Body=b"2")
    assert refused(stranger.list_objects_v2, Bucket=bucket) == DENIED
    assert refused(stranger.get_object, Bucket=bucket, Key="none") == DENIED
    stranger.delete_object(Bucket=bucket, Key="new")
    client.put_bucket_acl(Bucket=bucket, GrantReadACP=grantee)
    grants = stranger.get_bucket_acl(Bucket=bucket)["Grants"]
    assert grants == [
        {
            "Grantee": {
                "ID": stranger_key["project"],
                "DisplayName": stranger_key["project"],
                "Type": "CanonicalUser",
            },
            "Permission": "READ_ACP",
        }
    ]
    assert refused(stranger.put_bucket_acl, Bucket=bucket, ACL="private") == DENIED
    client.put_bucket_acl(Bucket=bucket, GrantFullControl=grantee)
    stranger.put_bucket_acl(Bucket=bucket, ACL="private")
    assert refused(stranger.put_bucket_acl, Bucket=bucket, ACL="private") == DENIED
    assert refused(stranger.delete_bucket, Bucket=bucket) == DENIED
    assert refused(stranger.get_bucket_tagging, Bucket=bucket) == DENIED


def test_grants_of_a_key(s3: S3, client: Any, stranger: Any, stranger_key: Any) -> None:
    bucket = s3.bucket(client)
    grantee = f'id="{stranger_key["project"]}"'
    client.put_object(Bucket=bucket, Key="k", Body=b"1", GrantRead=grantee)
    assert stranger.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    assert refused(stranger.get_object_acl, Bucket=bucket, Key="k") == DENIED
    assert refused(stranger.put_object, Bucket=bucket, Key="k", Body=b"") == DENIED
    client.put_object_tagging(
        Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}
    )
    assert stranger.get_object(Bucket=bucket, Key="k")["TagCount"] == 1
    own = client.get_object_acl(Bucket=bucket, Key="k")
    own["Grants"].append({"Grantee": {"Type": "Group", "URI": ALL}, "Permission": "READ_ACP"})
    client.put_object_acl(
        Bucket=bucket,
        Key="k",
        AccessControlPolicy={"Owner": own["Owner"], "Grants": own["Grants"]},
    )
    found = stranger.get_object_acl(Bucket=bucket, Key="k")
    assert [each["Permission"] for each in found["Grants"]] == ["READ", "READ_ACP"]
    assert client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]
    client.put_object(Bucket=bucket, Key="k", Body=b"2")
    assert refused(stranger.get_object, Bucket=bucket, Key="k") == DENIED
    client.put_object(Bucket=bucket, Key="public", Body=b"3", ACL="public-read")
    assert httpx.get(f"{s3.cloud.url}/s3/{bucket}/public").content == b"3"
    client.put_object(Bucket=bucket, Key="known", Body=b"4", ACL="authenticated-read")
    assert httpx.get(f"{s3.cloud.url}/s3/{bucket}/known").status_code == 403
    assert stranger.get_object(Bucket=bucket, Key="known")["Body"].read() == b"4"


def test_grants_of_an_older_version(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = client.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    client.put_object(Bucket=bucket, Key="k", Body=b"2")
    client.put_object_acl(Bucket=bucket, Key="k", VersionId=first, ACL="public-read")
    url = f"{s3.cloud.url}/s3/{bucket}/k"
    assert httpx.get(url).status_code == 403
    assert httpx.get(url, params={"versionId": first}).content == b"1"
    client.put_object_tagging(
        Bucket=bucket,
        Key="k",
        VersionId=first,
        Tagging={"TagSet": [{"Key": "a", "Value": "b"}]},
    )
    assert client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    assert client.get_object_tagging(Bucket=bucket, Key="k", VersionId=first)["TagSet"]
    assert httpx.get(url, params={"versionId": first}).content == b"1"


def test_grants_that_cannot_be(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    put = client.put_bucket_acl
    assert refused(put, Bucket=bucket, GrantRead='id="nobody"') == (400, "InvalidArgument")
    assert refused(put, Bucket=bucket, GrantRead='emailAddress="a@b.c"') == (
        400,
        "UnresolvableGrantByEmailAddress",
    )
    assert refused(put, Bucket=bucket, ACL="private", GrantRead=f'uri="{ALL}"') == (
        400,
        "InvalidRequest",
    )
    policy = {"Owner": {"ID": "other"}, "Grants": []}
    assert refused(put, Bucket=bucket, AccessControlPolicy=policy) == DENIED
    answer = client.put_object(Bucket=bucket, Key="k", Body=b"")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_everybody_may_write(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    url = f"{s3.cloud.url}/s3/{bucket}/k"
    assert httpx.put(url, content=b"1").status_code == 200
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    assert httpx.delete(url).status_code == 204


def statement(bucket: str, action: Any, principal: Any = "*", **more: Any) -> dict[str, Any]:
    arn = f"arn:aws:s3:::{bucket}"
    found = {"Effect": "Allow", "Principal": principal, "Action": action}
    return {**found, "Resource": [arn, f"{arn}/*"], **more}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def test_a_policy_allows_and_denies(s3: S3, client: Any, stranger: Any, stranger_key: Any) -> None:
    bucket = s3.bucket(client)
    assert refused(client.get_bucket_policy, Bucket=bucket) == (404, "NoSuchBucketPolicy")
    client.put_object(Bucket=bucket, Key="a/1", Body=b"1")
    client.put_object(Bucket=bucket, Key="b/1", Body=b"2")
    who = {"AWS": f"arn:aws:iam::{stranger_key['project']}:root"}
    text = policy(
        statement(bucket, "s3:ListBucket", who, Condition={"StringLike": {"s3:prefix": "a/*"}}),
        statement(bucket, ["s3:Get*"], who, Resource=f"arn:aws:s3:::{bucket}/a/*"),
        statement(bucket, "s3:DeleteObject", Effect="Deny"),
        statement(
            bucket,
            ["s3:PutObject", "s3:PutObjectAcl"],
            who,
            Condition={"StringEquals": {"s3:x-amz-acl": "public-read"}},
        ),
    )
    client.put_bucket_policy(Bucket=bucket, Policy=text)
    assert json.loads(client.get_bucket_policy(Bucket=bucket)["Policy"]) == json.loads(text)
    assert stranger.list_objects_v2(Bucket=bucket, Prefix="a/")["KeyCount"] == 1
    assert refused(stranger.list_objects_v2, Bucket=bucket) == DENIED
    assert stranger.get_object(Bucket=bucket, Key="a/1")["Body"].read() == b"1"
    assert refused(stranger.get_object, Bucket=bucket, Key="b/1") == DENIED
    assert refused(stranger.put_object, Bucket=bucket, Key="a/2", Body=b"") == DENIED
    stranger.put_object(Bucket=bucket, Key="a/2", Body=b"", ACL="public-read")
    assert refused(client.delete_object, Bucket=bucket, Key="a/1") == DENIED
    answer = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a/1"}]})
    assert [each["Code"] for each in answer["Errors"]] == ["AccessDenied"]
    assert httpx.get(f"{s3.cloud.url}/s3/{bucket}/a/1").status_code == 403
    client.delete_bucket_policy(Bucket=bucket)
    client.delete_object(Bucket=bucket, Key="a/1")
    assert refused(stranger.get_object, Bucket=bucket, Key="b/1") == DENIED


def test_an_owner_who_shut_himself_out_opens_again(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_bucket_policy(Bucket=bucket, Policy=policy(statement(bucket, "*", Effect="Deny")))
    assert refused(client.list_objects_v2, Bucket=bucket) == DENIED
    client.delete_bucket_policy(Bucket=bucket)
    client.list_objects_v2(Bucket=bucket)


def test_what_is_allowed_to_a_service_opens_nothing(
    s3: S3, client: Any, stranger: Any, stranger_key: Any
) -> None:
    """As Amazon has it for buckets that logs go to."""
    bucket = s3.bucket(client)
    service = {"Service": "logging.s3.amazonaws.com"}
    condition = {
        "ArnLike": {"aws:SourceArn": "arn:aws:s3:::logged"},
        "StringEquals": {"aws:SourceAccount": stranger_key["project"]},
    }
    for more in ({}, {"Condition": condition}):
        text = policy(statement(bucket, "s3:PutObject", service, **more))
        client.put_bucket_policy(Bucket=bucket, Policy=text)
        assert json.loads(client.get_bucket_policy(Bucket=bucket)["Policy"]) == json.loads(text)
        assert refused(stranger.put_object, Bucket=bucket, Key="k", Body=b"") == DENIED
        assert httpx.put(f"{s3.cloud.url}/s3/{bucket}/k", content=b"").status_code == 403
        status = client.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]
        assert not status["IsPublic"]
        client.put_object(Bucket=bucket, Key="k", Body=b"")
    both = {**service, "AWS": stranger_key["project"]}
    text = policy(statement(bucket, "s3:PutObject", both))
    client.put_bucket_policy(Bucket=bucket, Policy=text)
    stranger.put_object(Bucket=bucket, Key="k", Body=b"")
    # Nothing asks the policy in a service's name: it could not be denied anything.
    wrongs: list[dict[str, Any]] = [
        statement(bucket, "s3:PutObject", service, Effect="Deny"),
        statement(bucket, "s3:PutObject", {"Service": "mine"}),
        statement(bucket, "s3:PutObject", {"Service": "*"}),
    ]
    unnamed = statement(bucket, "s3:PutObject", NotPrincipal=service)
    del unnamed["Principal"]
    for wrong in (*wrongs, unnamed):
        found = refused(client.put_bucket_policy, Bucket=bucket, Policy=policy(wrong))
        assert found == (400, "MalformedPolicy")


def test_conditions_of_policies(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    for key, tag in (("open", "public=yes"), ("shut", "public=no"), ("bare", "")):
        client.put_object(Bucket=bucket, Key=key, Body=b"1", Tagging=tag)

    def statuses(**condition: Any) -> list[int]:
        text = policy(statement(bucket, "s3:GetObject", Condition=condition))
        client.put_bucket_policy(Bucket=bucket, Policy=text)
        return [
            httpx.get(f"{s3.cloud.url}/s3/{bucket}/{key}", headers={"Referer": "x"}).status_code
            for key in ("open", "shut", "bare")
        ]

    tag = "s3:ExistingObjectTag/public"
    assert statuses(StringEquals={tag: "yes"}) == [200, 403, 403]
    assert statuses(StringNotEquals={tag: "no"}) == [200, 403, 200]
    assert statuses(StringEqualsIfExists={tag: "yes"}) == [200, 403, 200]
    assert statuses(Null={tag: "true"}) == [403, 403, 200]
    assert statuses(IpAddress={"aws:SourceIp": "127.0.0.0/8"}) == [200] * 3
    assert statuses(NotIpAddress={"aws:SourceIp": "127.0.0.0/8"}) == [403] * 3
    assert statuses(Bool={"aws:SecureTransport": "true"}) == [403] * 3
    assert statuses(StringLike={"aws:Referer": ["y", "x*"]}) == [200] * 3
    assert statuses(DateGreaterThan={"aws:CurrentTime": "2020-01-01T00:00:00Z"}) == [200] * 3


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "{}",
        '{"Statement": []}',
        policy(statement("other-bucket", "s3:GetObject")),
        policy(statement("BUCKET", "ec2:Run")),
        policy(statement("BUCKET", "s3:GetObjct")),
        policy(statement("BUCKET", ["s3:GetObject", "s3:Fetch*"])),
        policy(statement("BUCKET", "s3:")),
        policy(statement("BUCKET", "s3:GetObject", Effect="Maybe")),
        policy(statement("BUCKET", "s3:GetObject", Condition={"Odd": {"aws:SourceIp": "x"}})),
        policy(statement("BUCKET", "s3:GetObject", Condition={"StringEquals": {"odd": "x"}})),
        policy(statement("BUCKET", "s3:GetObject", Condition={"NotBool": {SECURE: "true"}})),
        policy(statement("BUCKET", "s3:GetObject", Condition={"NullIfExists": {SECURE: "true"}})),
        policy(statement("BUCKET", "s3:GetObject", Condition={"stringequals": {SECURE: "x"}})),
        policy(statement("BUCKET", "s3:GetObject", {"Federated": "x"})),
        policy(statement("BUCKET", "s3:GetObject", NotAction="s3:PutObject")),
        policy(statement("BUCKET", "s3:GetObject", Condition={"IpAddress": {"aws:SourceIp": "x"}})),
    ],
    ids=str,
)
def test_policies_that_are_none(s3: S3, client: Any, text: str) -> None:
    bucket = s3.bucket(client)
    put = client.put_bucket_policy
    found = refused(put, Bucket=bucket, Policy=text.replace("BUCKET", bucket))
    assert found == (400, "MalformedPolicy")


def test_what_is_public_is_blocked(s3: S3, client: Any, stranger: Any) -> None:
    bucket = s3.bucket(client)
    code = (404, "NoSuchPublicAccessBlockConfiguration")
    assert refused(client.get_public_access_block, Bucket=bucket) == code
    client.put_object(Bucket=bucket, Key="k", Body=b"1", ACL="public-read")
    client.put_bucket_policy(Bucket=bucket, Policy=policy(statement(bucket, "s3:ListBucket")))
    assert client.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"]
    url = f"{s3.cloud.url}/s3/{bucket}"
    assert httpx.get(url).status_code == httpx.get(f"{url}/k").status_code == 200

    def block(**on: bool) -> None:
        client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=on)

    block(IgnorePublicAcls=True)
    assert (httpx.get(url).status_code, httpx.get(f"{url}/k").status_code) == (200, 403)
    block(RestrictPublicBuckets=True)
    assert (httpx.get(url).status_code, httpx.get(f"{url}/k").status_code) == (403, 200)
    assert refused(stranger.list_objects_v2, Bucket=bucket) == DENIED
    block(BlockPublicAcls=True, BlockPublicPolicy=True)
    found = client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert [name for name, value in found.items() if value] == [
        "BlockPublicAcls",
        "BlockPublicPolicy",
    ]
    assert refused(client.put_bucket_acl, Bucket=bucket, ACL="public-read") == DENIED
    put = client.put_object
    assert refused(put, Bucket=bucket, Key="k", Body=b"", ACL="public-read") == DENIED
    text = policy(statement(bucket, "s3:GetObject"))
    assert refused(client.put_bucket_policy, Bucket=bucket, Policy=text) == DENIED
    client.delete_public_access_block(Bucket=bucket)
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")


def test_ownership(s3: S3, client: Any, stranger: Any) -> None:
    bucket = s3.bucket(client)
    controls = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    put = client.put_bucket_ownership_controls
    assert refused(put, Bucket=bucket, OwnershipControls=controls) == (
        400,
        "InvalidBucketAclWithObjectOwnership",
    )
    client.put_bucket_acl(Bucket=bucket, ACL="private")
    client.put_object(Bucket=bucket, Key="k", Body=b"", ACL="public-read")
    put(Bucket=bucket, OwnershipControls=controls)
    found = client.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]
    assert found == controls
    assert httpx.get(f"{s3.cloud.url}/s3/{bucket}/k").status_code == 403
    assert refused(client.put_object_acl, Bucket=bucket, Key="k", ACL="public-read") == (
        400,
        "AccessControlListNotSupported",
    )
    client.put_object(Bucket=bucket, Key="k", Body=b"", ACL="bucket-owner-full-control")
    client.delete_bucket_ownership_controls(Bucket=bucket)
    code = (404, "OwnershipControlsNotFoundError")
    assert refused(client.get_bucket_ownership_controls, Bucket=bucket) == code


def test_a_name_is_free_again_when_its_bucket_is_gone(s3: S3, client: Any, stranger: Any) -> None:
    bucket = s3.bucket(client)
    create = stranger.create_bucket
    assert refused(create, Bucket=bucket) == (409, "BucketAlreadyExists")
    head = client.list_objects_v2
    assert refused(head, Bucket=bucket, ExpectedBucketOwner="other") == DENIED
    assert head(Bucket=bucket, ExpectedBucketOwner=s3.key["project"])
    client.delete_bucket(Bucket=bucket)
    create(Bucket=bucket)
    assert refused(client.list_objects_v2, Bucket=bucket) == DENIED
    with s3.cloud.client() as swift:  # gone without S3's knowing
        path = f"/object-store/v1/AUTH_{s3.key['project']}"
        other = s3.bucket(client)
        assert swift.delete(f"{path}/{other}").status_code == 204
    create(Bucket=other)


# --- Who pays, what is listed -----------------------------------------------------------------


def test_who_asks_pays_and_says_so(s3: S3, client: Any, stranger: Any, stranger_key: Any) -> None:
    bucket = s3.bucket(client)
    client.put_object(Bucket=bucket, Key="k", Body=b"1", ACL="public-read")
    assert client.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    assert stranger.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    payer = {"Payer": "Requester"}
    assert refused(
        stranger.put_bucket_request_payment, Bucket=bucket, RequestPaymentConfiguration=payer
    ) == (403, "AccessDenied")
    client.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration=payer)
    assert client.get_bucket_request_payment(Bucket=bucket)["Payer"] == "Requester"
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    assert refused(stranger.get_object, Bucket=bucket, Key="k") == DENIED
    assert httpx.get(f"{s3.cloud.url}/s3/{bucket}/k").status_code == 403
    found = stranger.get_object(Bucket=bucket, Key="k", RequestPayer="requester")
    assert found["RequestCharged"] == "requester"
    own = s3.bucket(stranger)
    copy = {"Bucket": own, "Key": "copy", "CopySource": {"Bucket": bucket, "Key": "k"}}
    assert refused(stranger.copy_object, **copy) == DENIED
    done = stranger.copy_object(**copy, RequestPayer="requester")
    assert done["ResponseMetadata"]["HTTPHeaders"]["x-amz-request-charged"] == "requester"
    upload = stranger.create_multipart_upload(Bucket=own, Key="copy")["UploadId"]
    part = {**copy, "UploadId": upload, "PartNumber": 1}
    assert refused(stranger.upload_part_copy, **part) == DENIED
    stranger.upload_part_copy(**part, RequestPayer="requester")
    # Saying that one pays opens nothing that is shut.
    client.put_object(Bucket=bucket, Key="k", Body=b"1")
    assert refused(stranger.get_object, Bucket=bucket, Key="k", RequestPayer="requester") == DENIED


def test_buckets_page_by_page(s3: S3, client: Any) -> None:
    wanted = [f"paged-{number}" for number in range(5)]
    for name in wanted:
        client.create_bucket(Bucket=name)
    found, pages = [], client.get_paginator("list_buckets")
    for page in pages.paginate(Prefix="paged-", PaginationConfig={"PageSize": 2}):
        assert page["Prefix"] == "paged-"
        assert len(page["Buckets"]) <= 2
        found += [each["Name"] for each in page["Buckets"]]
    assert found == wanted
    whole = client.list_buckets()
    assert "ContinuationToken" not in whole
    assert set(wanted) <= {each["Name"] for each in whole["Buckets"]}
    assert not client.list_buckets(BucketRegion="eu-west-1")["Buckets"]
    for wrong in ({"MaxBuckets": 10_001}, {"ContinuationToken": "?"}):
        assert refused(client.list_buckets, **wrong) == (400, "InvalidArgument")


def test_encryption_that_is_not_there_is_refused(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    named = {"Bucket": bucket, "Key": "k", "Body": b"1"}
    assert "ServerSideEncryption" not in client.put_object(**named)
    missing = (501, "NotImplemented")
    assert refused(client.put_object, **named, ServerSideEncryption="AES256") == missing
    wrong = (400, "InvalidEncryptionAlgorithmError")
    assert refused(client.put_object, **named, ServerSideEncryption="rot13") == wrong
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = {"UploadId": upload, "PartNumber": 1}
    in_the_clear = (400, "InvalidRequest")  # over plain HTTP
    assert refused(client.upload_part, **named, **part, **key) == in_the_clear
    assert refused(client.put_object, **named, **key) == in_the_clear
    kms = (400, "KMS.NotFoundException")
    assert refused(client.put_object, **named, ServerSideEncryption="aws:kms") == kms
    named["SSEKMSKeyId"] = "arn:aws:kms:us-east-1:1:key/none"
    assert refused(client.put_object, **named) == (400, "InvalidArgument")
