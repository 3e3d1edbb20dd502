"""What refusals tell programs, and what is refused rather than passed over."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.s3_calls import S3, clients, clouds

s3 = clouds()
client = clients()


@pytest.fixture
def bucket(s3: S3, client: Any) -> str:
    return s3.bucket(client)


def error_of(call: Callable[..., Any], **what: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call(**what)
    return dict(caught.value.response["Error"])


def with_headers(client: Any, operation: str, headers: dict[str, str], **what: Any) -> Any:
    """An operation with headers that the client does not know."""

    def add(params: Any, **_more: Any) -> None:
        params["headers"].update(headers)

    event = f"before-call.s3.{operation}"
    client.meta.events.register(event, add)
    try:
        name = "".join(f"_{each.lower()}" if each.isupper() else each for each in operation)[1:]
        return getattr(client, name)(**what)
    finally:
        client.meta.events.unregister(event, add)


def test_a_range_of_what_has_changed_is_the_whole(client: Any, bucket: str) -> None:
    key = {"Bucket": bucket, "Key": "k"}
    client.put_object(**key, Body=b"old old")
    before = client.head_object(**key)["ETag"]
    client.put_object(**key, Body=b"new new")
    now = client.head_object(**key)
    modified = now["ResponseMetadata"]["HTTPHeaders"]["last-modified"]
    for said, status in (
        (before, 200),
        (now["ETag"], 206),
        (f"W/{now['ETag']}", 200),
        (modified, 206),
        ("Thu, 01 Jan 2015 00:00:00 GMT", 200),
    ):
        answer = with_headers(client, "GetObject", {"If-Range": said}, **key, Range="bytes=4-")
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, said
        assert answer["Body"].read() == (b"new" if status == 206 else b"new new")
        head = with_headers(client, "HeadObject", {"If-Range": said}, **key, Range="bytes=4-")
        assert head["ContentLength"] == (3 if status == 206 else 7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("If-Modified-Since", "Thu, 01 Jan 2015 00:00:00 GMT"),
        ("If-Unmodified-Since", "Thu, 01 Jan 2015 00:00:00 GMT"),
        ("x-amz-write-offset-bytes", "10"),
    ],
)
def test_what_writes_do_not_have(client: Any, bucket: str, name: str, value: str) -> None:
    headers = {name: value}
    key = {"Bucket": bucket, "Key": "k"}
    with pytest.raises(ClientError) as caught:
        with_headers(client, "PutObject", headers, **key, Body=b"x")
    assert caught.value.response["Error"]["Code"] == "NotImplemented"
    with pytest.raises(ClientError):
        client.head_object(**key)


def test_which_condition_failed(client: Any, bucket: str) -> None:
    key = {"Bucket": bucket, "Key": "k"}
    client.put_object(**key, Body=b"x")
    put, get = client.put_object, client.get_object
    assert error_of(put, **key, Body=b"", IfNoneMatch="*")["Condition"] == "If-None-Match"
    assert error_of(put, **key, Body=b"", IfMatch='"odd"')["Condition"] == "If-Match"
    assert error_of(get, **key, IfMatch='"odd"')["Condition"] == "If-Match"
    since = error_of(get, **key, IfUnmodifiedSince="2015-01-01T00:00:00Z")
    assert since["Condition"] == "If-Unmodified-Since"
    to = {"Bucket": bucket, "Key": "copy"}
    copied = error_of(client.copy_object, **to, CopySource=key, CopySourceIfMatch='"odd"')
    assert copied["Condition"] == "x-amz-copy-source-If-Match"


def test_which_argument_is_wrong(client: Any, bucket: str) -> None:
    found = error_of(client.list_objects_v2, Bucket=bucket, EncodingType="odd")
    assert (found["ArgumentName"], found["ArgumentValue"]) == ("encoding-type", "odd")
    found = error_of(client.list_objects_v2, Bucket=bucket, MaxKeys=-1)
    assert (found["ArgumentName"], found["ArgumentValue"]) == ("max-keys", "-1")
    found = error_of(client.list_objects_v2, Bucket=bucket, ContinuationToken="%")
    assert (found["ArgumentName"], found["ArgumentValue"]) == ("continuation-token", "%")
    found = error_of(client.put_object, Bucket=bucket, Key="k", Metadata={"a": "b" * 2048})
    assert (found["Size"], found["MaxSizeAllowed"]) == ("2049", "2048")


def test_which_method_is_not_allowed(client: Any, s3: S3) -> None:
    bucket = s3.bucket(client)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    key = {"Bucket": bucket, "Key": "k"}
    marker = client.delete_object(**key)["VersionId"]
    found = error_of(client.get_object, **key, VersionId=marker)
    assert (found["Method"], found["ResourceType"]) == ("GET", "DeleteMarker")


def test_pages_of_buckets_tell_of_their_regions(client: Any, bucket: str) -> None:
    [found] = client.list_buckets(Prefix=bucket, MaxBuckets=1)["Buckets"]
    assert found["BucketRegion"] == "us-east-1"
    assert all("BucketRegion" not in each for each in client.list_buckets()["Buckets"])


def test_lists_of_keys_to_delete(s3: S3, client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="k", Body=b"x")
    named = b"<Delete><Object><Key>k</Key></Object></Delete>"
    for body, is_summed, code in (
        (named, False, "InvalidRequest"),
        (b"<Delete><Object><VersionId>x</VersionId></Object></Delete>", True, "MalformedXML"),
    ):
        answer = signed_post(s3, f"/s3/{bucket}?delete=", body, is_summed=is_summed)
        assert answer.status_code == 400
        assert f"<Code>{code}</Code>" in answer.text
        client.head_object(Bucket=bucket, Key="k")
    assert signed_post(s3, f"/s3/{bucket}?delete=", named, is_summed=True).status_code == 200


def signed_post(s3: S3, path: str, body: bytes, *, is_summed: bool) -> httpx.Response:
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    return signed(s3, "POST", path, body, {"Content-MD5": digest} if is_summed else {})


def signed(
    s3: S3, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}
) -> httpx.Response:
    """A request with these headers and no others than the signature needs."""
    request = AWSRequest(method, s3.cloud.url + path, data=body, headers=dict(headers))
    credentials = Credentials(s3.key["aws_access_key_id"], s3.key["aws_secret_access_key"])
    S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
    sent = dict(request.headers)
    return httpx.request(method, str(request.url), content=body, headers=sent, timeout=60)


def test_a_range_of_the_source_is_for_copies_of_parts(client: Any, bucket: str) -> None:
    key, to = {"Bucket": bucket, "Key": "k"}, {"Bucket": bucket, "Key": "copy"}
    client.put_object(**key, Body=b"whole")
    headers = {"x-amz-copy-source-range": "bytes=0-1"}
    with pytest.raises(ClientError) as caught:
        with_headers(client, "CopyObject", headers, **to, CopySource=key)
    assert caught.value.response["Error"]["Code"] == "InvalidArgument"


def test_tokens_that_belong_to_no_key(s3: S3, client: Any, bucket: str) -> None:
    key = {name: value for name, value in s3.key.items() if name != "project"}
    other = boto3.client(
        "s3",
        endpoint_url=f"{s3.cloud.url}/s3",
        region_name="us-east-1",
        aws_session_token="x",
        **key,
    )
    assert error_of(other.list_buckets)["Code"] == "InvalidToken"


def test_forms_are_for_one_bucket(s3: S3, client: Any, bucket: str) -> None:
    post = client.generate_presigned_post(bucket, "k", ExpiresIn=60)
    assert httpx.post(post["url"], data=post["fields"], files={"file": b"x"}).status_code == 204
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    conditions = [{"key": "k"}]
    text = json.dumps({"expiration": ends, "conditions": conditions}).encode()
    policy = base64.b64encode(text)
    secret = s3.key["aws_secret_access_key"].encode()
    fields = {
        "key": "k",
        "AWSAccessKeyId": s3.key["aws_access_key_id"],
        "policy": policy.decode(),
        "signature": base64.b64encode(hmac.digest(secret, policy, "sha1")).decode(),
    }
    answer = httpx.post(f"{s3.cloud.url}/s3/{bucket}", data=fields, files={"file": b"x"})
    assert (answer.status_code, "bucket" in answer.text) == (403, True)


def test_versions_and_markers_are_listed_in_their_order(s3: S3, client: Any, bucket: str) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in ("a", "b"):
        client.put_object(Bucket=bucket, Key=key, Body=b"1")
        client.delete_object(Bucket=bucket, Key=key)
        client.put_object(Bucket=bucket, Key=key, Body=b"2")
    url = client.generate_presigned_url("list_object_versions", Params={"Bucket": bucket})
    found = re.findall("<(Version|DeleteMarker)><Key>([ab])", httpx.get(url).text)
    kinds = ("Version", "DeleteMarker", "Version")
    assert found == [(kind, key) for key in "ab" for kind in kinds]


def test_documents_that_say_too_little(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="k", Body=b"")
    body = b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>"
    with pytest.raises(ClientError) as caught, replaced(client, "PutObjectTagging", body):
        client.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": []})
    assert caught.value.response["Error"]["Code"] == "MalformedXML"
    body = (
        b"<LifecycleConfiguration><Rule><ID>r</ID><Prefix/><Status>Enabled</Status>"
        b"<Expiration><Date>20300101</Date></Expiration></Rule></LifecycleConfiguration>"
    )
    rule = {"Filter": {}, "Status": "Enabled", "Expiration": {"Days": 1}}
    what = {"Bucket": bucket, "LifecycleConfiguration": {"Rules": [rule]}}
    operation = "PutBucketLifecycleConfiguration"
    with pytest.raises(ClientError) as caught, replaced(client, operation, body):
        client.put_bucket_lifecycle_configuration(**what)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


@contextmanager
def replaced(client: Any, operation: str, body: bytes) -> Iterator[None]:
    """The client sends this body instead."""

    def replace(params: Any, **_more: Any) -> None:
        params["body"] = body
        for name in [name for name in params["headers"] if "checksum" in name.lower()]:
            del params["headers"][name]

    event = f"before-call.s3.{operation}"
    client.meta.events.register_last(event, replace)
    try:
        yield
    finally:
        client.meta.events.unregister(event, replace)


ORIGIN = "https://page.example"


def allow_origin(client: Any, bucket: str, **more: Any) -> None:
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": [ORIGIN], **more}
    client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})


def test_a_page_of_another_origin_sees_refusals(s3: S3, client: Any, bucket: str) -> None:
    allow_origin(client, bucket)
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "none"})
    for refused_url, status in ((url, 404), (f"{s3.cloud.url}/s3/{bucket}/none", 403)):
        answer = httpx.get(refused_url, headers={"Origin": ORIGIN})
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        other = httpx.get(refused_url, headers={"Origin": "https://other.example"})
        assert "Access-Control-Allow-Origin" not in other.headers


def test_caches_are_told_that_answers_depend_on_the_origin(client: Any, bucket: str) -> None:
    key = {"Bucket": bucket, "Key": "k"}
    headers = client.put_object(**key, Body=b"")["ResponseMetadata"]["HTTPHeaders"]
    assert "vary" not in headers
    allow_origin(client, bucket)
    headers = client.get_object(**key)["ResponseMetadata"]["HTTPHeaders"]
    assert "Origin" in headers["vary"]


def test_a_body_that_is_too_long_is_refused_at_once(client: Any, bucket: str) -> None:
    size = (5 << 30) + 1
    key = {"Bucket": bucket, "Key": "k"}
    url = urlsplit(client.generate_presigned_url("put_object", Params=key))
    connection = HTTPConnection(str(url.hostname), url.port, timeout=60)
    try:
        connection.putrequest("PUT", f"{url.path}?{url.query}")
        connection.putheader("Content-Length", str(size))
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    assert (answer.status, "<Code>EntityTooLarge</Code>" in text) == (400, True)
    assert f"<ProposedSize>{size}</ProposedSize>" in text


def test_whose_bucket_the_source_is_taken_for(s3: S3, client: Any, bucket: str) -> None:
    key, to = {"Bucket": bucket, "Key": "k"}, {"Bucket": bucket, "Key": "copy"}
    client.put_object(**key, Body=b"")
    own = client.list_buckets()["Owner"]["ID"]
    copy = client.copy_object
    assert error_of(copy, **to, CopySource=key, ExpectedSourceBucketOwner="1")["Code"] == (
        "AccessDenied"
    )
    copy(**to, CopySource=key, ExpectedSourceBucketOwner=own)


def test_conditions_that_deletes_do_not_have(client: Any, bucket: str) -> None:
    key = {"Bucket": bucket, "Key": "k"}
    client.put_object(**key, Body=b"")
    headers = {"If-Unmodified-Since": "Thu, 01 Jan 2015 00:00:00 GMT"}
    with pytest.raises(ClientError) as caught:
        with_headers(client, "DeleteObject", headers, **key)
    assert caught.value.response["Error"]["Code"] == "NotImplemented"
    client.head_object(**key)


def test_preflights_that_are_refused(s3: S3, client: Any, bucket: str) -> None:
    allow_origin(client, bucket)
    url = f"{s3.cloud.url}/s3/{bucket}/k"
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    answer = httpx.options(url, headers=asked)
    assert (answer.status_code, "<Code>AccessForbidden</Code>" in answer.text) == (403, True)
    assert "<Method>PUT</Method>" in answer.text
    answer = httpx.options(url)
    assert (answer.status_code, "<Code>BadRequest</Code>" in answer.text) == (400, True)
    with pytest.raises(ClientError) as caught:
        allow_origin(client, bucket, ExposeHeaders=["*"])
    assert caught.value.response["Error"]["Code"] == "InvalidRequest"


def test_statements_of_one_policy_have_names_of_their_own(client: Any, bucket: str) -> None:
    one = {
        "Sid": "one",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    text = json.dumps({"Statement": [one, one]})
    assert error_of(client.put_bucket_policy, Bucket=bucket, Policy=text)["Code"] == (
        "MalformedPolicy"
    )


def put_by_url(s3: S3, path: str, query: str, seconds: int = 60) -> httpx.Response:
    """A PUT by a presigned URL of version 4 that says more than the signature."""
    request = AWSRequest("PUT", f"{s3.cloud.url}/s3/{path}?{query}")
    own = Credentials(s3.key["aws_access_key_id"], s3.key["aws_secret_access_key"])
    S3SigV4QueryAuth(own, "s3", "us-east-1", expires=seconds).add_auth(request)
    return httpx.put(str(request.url), content=b"x")


def test_what_a_presigned_url_says_itself(s3: S3, client: Any, bucket: str) -> None:
    query = "x-amz-acl=public-read&x-amz-meta-colour=red"
    assert put_by_url(s3, f"{bucket}/k", query).status_code == 200
    assert client.head_object(Bucket=bucket, Key="k")["Metadata"] == {"colour": "red"}
    assert httpx.get(f"{s3.cloud.url}/s3/{bucket}/k").status_code == 200
    other = put_by_url(s3, f"{bucket}/other", "x-amz-expected-bucket-owner=1")
    assert (other.status_code, "AccessDenied" in other.text) == (403, True)
    forged = httpx.put(
        f"{s3.cloud.url}/s3/{bucket}/none?x-amz-acl=public-read&X-Amz-Signature=0", content=b"x"
    )
    assert forged.status_code in (400, 403)


def test_what_a_presigned_url_of_version_2_says_itself(s3: S3, client: Any, bucket: str) -> None:
    """As boto3 makes them unless told otherwise."""

    def url(operation: str, key: str = "k", **what: Any) -> str:
        found = client.generate_presigned_url(
            operation, Params={"Bucket": bucket, "Key": key, **what}
        )
        assert "AWSAccessKeyId=" in found
        return str(found)

    put = url("put_object", Metadata={"colour": "red"}, ACL="public-read", ContentType="a/b")
    assert httpx.put(put, content=b"x").status_code == 200
    found = client.head_object(Bucket=bucket, Key="k")
    assert (found["Metadata"], found["ContentType"]) == ({"colour": "red"}, "a/b")
    assert httpx.get(f"{s3.cloud.url}/s3/{bucket}/k").status_code == 200
    assert httpx.get(url("get_object", RequestPayer="requester")).status_code == 200
    own = client.list_buckets()["Owner"]["ID"]
    assert httpx.get(url("get_object", ExpectedBucketOwner=own)).status_code == 200
    assert httpx.get(url("get_object", ExpectedBucketOwner="1")).status_code == 403
    # What was not signed is not taken.
    for more in ("x-amz-acl=public-read", "X-Amz-Acl=public-read", "content-type=a/b"):
        forged = httpx.put(f"{url('put_object', 'none')}&{more}", content=b"x")
        assert (forged.status_code, "SignatureDoesNotMatch" in forged.text) == (403, True)


def test_who_may_not_see_a_bucket_is_told_its_region(s3: S3, bucket: str) -> None:
    answer = httpx.head(f"{s3.cloud.url}/s3/{bucket}")
    assert (answer.status_code, answer.headers["x-amz-bucket-region"]) == (403, "us-east-1")
    answer = httpx.head(f"{s3.cloud.url}/s3/no-such-bucket-here")
    assert answer.status_code == 404
    assert "x-amz-bucket-region" not in answer.headers


def fields_of(answer: httpx.Response) -> dict[str, str]:
    return dict(re.findall(r"<(\w[\w-]*)>([^<]*)</", answer.text))


def test_what_a_signature_was_to_be_of(s3: S3, bucket: str) -> None:
    access = s3.key["aws_access_key_id"]
    signer = S3SigV4Auth(Credentials(access, "wrong"), "s3", "us-east-1")
    url = f"{s3.cloud.url}/s3/{bucket}/a%20b?prefix=x"
    asked = AWSRequest("GET", url, headers={"x-amz-meta-a": "two  blanks"})
    signer.add_auth(asked)
    answer = httpx.get(url, headers=dict(asked.headers))
    told = fields_of(answer)
    assert (answer.status_code, told["Code"]) == (403, "SignatureDoesNotMatch")
    assert told["AWSAccessKeyId"] == access
    canonical = told["CanonicalRequest"].split("\n")
    assert canonical[:3] == ["GET", f"/s3/{bucket}/a%20b", "prefix=x"]
    assert "x-amz-meta-a:two blanks" in canonical
    assert bytes.fromhex(told["CanonicalRequestBytes"]).decode() == told["CanonicalRequest"]
    assert bytes.fromhex(told["StringToSignBytes"]).decode() == told["StringToSign"]
    digest = hashlib.sha256(told["CanonicalRequest"].encode()).hexdigest()
    assert told["StringToSign"].split("\n")[-1] == digest
    # Whoever signs what is told with the secret that was used gets what was sent.
    key = b"AWS4wrong"
    for part in told["StringToSign"].split("\n")[2].split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    own = hmac.new(key, told["StringToSign"].encode(), "sha256").hexdigest()
    assert own == told["SignatureProvided"]


def test_what_a_signature_of_version_2_was_to_be_of(s3: S3, bucket: str) -> None:
    ends, access = int(time.time()) + 600, s3.key["aws_access_key_id"]
    query = f"acl&AWSAccessKeyId={access}&Expires={ends}&Signature=d3Jvbmc%3D"
    told = fields_of(httpx.get(f"{s3.cloud.url}/s3/{bucket}/k?{query}"))
    assert told["Code"] == "SignatureDoesNotMatch"
    assert told["StringToSign"] == f"GET\n\n\n{ends}\n/s3/{bucket}/k?acl"
    assert told["SignatureProvided"] == "d3Jvbmc="


def test_times_that_are_over_are_told(s3: S3, bucket: str) -> None:
    own = Credentials(s3.key["aws_access_key_id"], s3.key["aws_secret_access_key"])
    late = AWSRequest("GET", f"{s3.cloud.url}/s3/{bucket}/k")
    S3SigV4QueryAuth(own, "s3", "us-east-1", expires=1).add_auth(late)
    time.sleep(2.1)
    told = fields_of(httpx.get(str(late.url)))
    assert (told["Code"], told["X-Amz-Expires"]) == ("AccessDenied", "1")
    assert told["Expires"] < told["ServerTime"]
    scope = f"{own.access_key}/20200101/us-east-1/s3/aws4_request"
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        "x-amz-date": "20200101T000000Z",
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
    }
    told = fields_of(httpx.get(f"{s3.cloud.url}/s3/{bucket}", headers=headers))
    assert told["Code"] == "RequestTimeTooSkewed"
    assert told["RequestTime"] == "20200101T000000Z"
    assert told["MaxAllowedSkewMilliseconds"] == "900000"
    assert told["ServerTime"] > "2026"


def test_keys_of_customers_are_not_in_urls(s3: S3, bucket: str) -> None:
    name = "x-amz-server-side-encryption-customer"
    answer = put_by_url(s3, f"{bucket}/k", f"{name}-algorithm=AES256&{name}-key={'A' * 43}%3D")
    assert (answer.status_code, fields_of(answer)["Code"]) == (400, "InvalidRequest")


def test_a_request_is_signed_once(s3: S3, client: Any, bucket: str) -> None:
    """Else what its URL says would hold, or not, by a header that anybody may add."""
    client.put_object(Bucket=bucket, Key="source", Body=b"source")
    request = AWSRequest(
        "PUT", f"{s3.cloud.url}/s3/{bucket}/k?x-amz-copy-source=/{bucket}/source&x-amz-meta-a=1"
    )
    own = Credentials(s3.key["aws_access_key_id"], s3.key["aws_secret_access_key"])
    S3SigV4QueryAuth(own, "s3", "us-east-1", expires=60).add_auth(request)
    for value in ("Bearer x", "AWS a:b", "AWS4-HMAC-SHA256 x"):
        answer = httpx.put(str(request.url), content=b"other", headers={"Authorization": value})
        assert (answer.status_code, fields_of(answer)["Code"]) == (400, "InvalidArgument")
    assert httpx.put(str(request.url)).status_code == 200
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"source"


@pytest.mark.parametrize("query", ["x-amz-meta-a=1%0D%0AX: 2", "x-amz-meta-a=%01", "x-amz-a b=1"])
def test_urls_say_what_headers_can(s3: S3, bucket: str, query: str) -> None:
    answer = put_by_url(s3, f"{bucket}/k", query)
    assert (answer.status_code, fields_of(answer)["Code"]) == (400, "InvalidArgument")


def test_urls_may_have_any_letters(s3: S3, client: Any, bucket: str) -> None:
    assert put_by_url(s3, f"{bucket}/k", "x-amz-meta-a=%E2%82%AC%C3%A9").status_code == 200
    assert (
        client.head_object(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPHeaders"][
            "x-amz-meta-a"
        ]
        .encode("latin-1")
        .decode()
        == "\u20ac\u00e9"
    )


def test_times_that_no_clock_reaches(s3: S3, bucket: str) -> None:
    for ends in ("0" * 15 + "9" * 5000, "9" * 300):
        query = f"AWSAccessKeyId=a&Signature=b&Expires={ends}"
        answer = httpx.get(f"{s3.cloud.url}/s3/{bucket}/k?{query}")
        assert (answer.status_code, fields_of(answer)["Code"]) == (403, "AccessDenied")


@pytest.mark.parametrize("more", ["", "&key-marker=k"])
def test_markers_of_versions_name_one(s3: S3, bucket: str, more: str) -> None:
    answer = signed(s3, "GET", f"/s3/{bucket}?versions=&version-id-marker={more}")
    assert answer.status_code == 400
    told = fields_of(answer)
    assert (told["Code"], told["ArgumentName"]) == ("InvalidArgument", "version-id-marker")
    assert signed(s3, "GET", f"/s3/{bucket}?versions={more}").status_code == 200


def test_attributes_of_a_delete_marker(client: Any, bucket: str) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=bucket, Key="k", Body=b"x")
    marker = client.delete_object(Bucket=bucket, Key="k")["VersionId"]
    for version, status in (({}, 404), ({"VersionId": marker}, 405)):
        with pytest.raises(ClientError) as caught:
            client.get_object_attributes(
                Bucket=bucket, Key="k", ObjectAttributes=["ETag"], **version
            )
        told = caught.value.response["ResponseMetadata"]
        assert told["HTTPStatusCode"] == status
        assert told["HTTPHeaders"]["x-amz-delete-marker"] == "true"
        assert told["HTTPHeaders"]["x-amz-version-id"] == marker


def test_retentions_need_a_digest(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client, ObjectLockEnabledForBucket=True)
    path = f"/s3/{bucket}/k"
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    lock = {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": until}
    answer = signed(s3, "PUT", path, b"x", lock)
    assert (answer.status_code, fields_of(answer)["Code"]) == (400, "InvalidRequest")
    assert "Versions" not in client.list_object_versions(Bucket=bucket)
    digest = base64.b64encode(hashlib.md5(b"x", usedforsecurity=False).digest()).decode()
    checksum = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    for summed in ({"Content-MD5": digest}, {"x-amz-checksum-sha256": checksum}):
        assert signed(s3, "PUT", path, b"x", lock | summed).status_code == 200
    assert signed(s3, "PUT", path, b"x").status_code == 200
    copied = signed(s3, "PUT", f"{path}2", b"", {"x-amz-copy-source": f"/{bucket}/k", **lock})
    assert copied.status_code == 200  # has no body
    conditions = [{name: value} for name, value in lock.items()]
    form = client.generate_presigned_post(bucket, "form", Fields=lock, Conditions=conditions)
    assert httpx.post(form["url"], data=form["fields"], files={"file": b"x"}).status_code == 204
    head = client.head_object(Bucket=bucket, Key="form")  # browsers make no digests
    assert head["ObjectLockMode"] == "GOVERNANCE"
