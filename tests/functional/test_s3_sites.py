"""Buckets by host, as web sites, and filled by forms of browsers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import time
from typing import Any

import boto3
import httpx
import pytest
from botocore.client import Config
from botocore.exceptions import ClientError

from tests.s3_calls import S3, clients, clouds, code_of

pytestmark = pytest.mark.functional
SETTINGS = """
[object_store]
s3_domains = ["s3.localhost"]
s3_website_domains = ["web.localhost"]
s3_bucket_hosts = ["www.localhost"]
s3_regions = ["us-east-1", "eu-central-1", "eu-west-1"]
encryption = true
"""


s3 = clouds(SETTINGS)
client = clients()


@pytest.fixture(autouse=True)
def names_of_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every host below localhost is this machine, whatever the resolver thinks."""
    usual = socket.getaddrinfo

    def found(host: Any, *more: Any, **named: Any) -> Any:
        is_ours = isinstance(host, str) and host.endswith(".localhost")
        return usual("127.0.0.1" if is_ours else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", found)


def visit(s3: S3, host: str, path: str = "/", method: str = "GET") -> httpx.Response:
    return httpx.request(method, s3.cloud.url + path, headers={"Host": f"{host}:{s3.cloud.port}"})


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_a_host_names_a_bucket(s3: S3, client: Any, version: str) -> None:
    bucket = s3.bucket(client)
    key = {name: value for name, value in s3.key.items() if name != "project"}
    by_host = boto3.client(
        "s3",
        endpoint_url=f"http://s3.localhost:{s3.cloud.port}",
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "virtual"}, signature_version=version),
        **key,
    )
    by_host.put_object(Bucket=bucket, Key="a/b c", Body=b"data", ACL="public-read")
    assert by_host.get_object(Bucket=bucket, Key="a/b c")["Body"].read() == b"data"
    assert [each["Key"] for each in by_host.list_objects_v2(Bucket=bucket)["Contents"]] == ["a/b c"]
    assert client.get_object(Bucket=bucket, Key="a/b c")["Body"].read() == b"data"
    assert visit(s3, f"{bucket}.s3.localhost", "/a/b%20c").content == b"data"
    assert visit(s3, f"{bucket}.s3.localhost", "/").status_code == 403
    assert bucket in [each["Name"] for each in by_host.list_buckets()["Buckets"]]
    url = by_host.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a/b c"})
    assert f"//{bucket}.s3.localhost" in url
    assert httpx.get(url).content == b"data"


def test_a_site(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    host = f"{bucket}.web.localhost"
    assert visit(s3, host).status_code == 404
    assert "NoSuchWebsiteConfiguration" in visit(s3, host).text
    site = {
        "IndexDocument": {"Suffix": "index.html"},
        "ErrorDocument": {"Key": "error.html"},
        "RoutingRules": [
            {
                "Condition": {"KeyPrefixEquals": "old/"},
                "Redirect": {"ReplaceKeyPrefixWith": "new/", "HttpRedirectCode": "302"},
            },
            {
                "Condition": {"KeyPrefixEquals": "lost/", "HttpErrorCodeReturnedEquals": "404"},
                "Redirect": {"HostName": "found.example", "ReplaceKeyWith": "here"},
            },
        ],
    }
    client.put_bucket_website(Bucket=bucket, WebsiteConfiguration=site)
    found = client.get_bucket_website(Bucket=bucket)
    assert {name: found[name] for name in site} == site
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")

    def put(key: str, text: str, **more: Any) -> None:
        client.put_object(
            Bucket=bucket,
            Key=key,
            Body=text.encode(),
            ContentType="text/html",
            ACL=more.pop("ACL", "public-read"),
            **more,
        )

    put("index.html", "root")
    put("sub/index.html", "sub")
    put("error.html", "sorry")
    put("secret", "x", ACL="private")
    put("hidden/index.html", "x", ACL="private")
    put("away", "x", WebsiteRedirectLocation="https://example.com/x")
    assert visit(s3, host).text == "root"
    assert visit(s3, host).headers["content-type"] == "text/html"
    assert visit(s3, host, "/sub/").text == "sub"
    moved = visit(s3, host, "/sub")
    assert (moved.status_code, moved.headers["location"]) == (302, "/sub/")
    missing = visit(s3, host, "/none")
    assert (missing.status_code, missing.text) == (404, "sorry")
    assert visit(s3, host, "/secret").status_code == 403
    assert visit(s3, host, "/hidden").status_code == visit(s3, host, "/none").status_code
    away = visit(s3, host, "/away")
    assert (away.status_code, away.headers["location"]) == (301, "https://example.com/x")
    head = client.head_object(Bucket=bucket, Key="away")
    assert head["WebsiteRedirectLocation"] == "https://example.com/x"
    old = visit(s3, host, "/old/page")
    assert (old.status_code, old.headers["location"]) == (
        302,
        f"http://{host}:{s3.cloud.port}/new/page",
    )
    assert visit(s3, host, "/lost/x").headers["location"] == "http://found.example/here"
    assert visit(s3, host, "/", "PUT").status_code == 405
    assert visit(s3, host, "/", "HEAD").content == b""
    all_away = {"RedirectAllRequestsTo": {"HostName": "example.com", "Protocol": "https"}}
    client.put_bucket_website(Bucket=bucket, WebsiteConfiguration=all_away)
    assert visit(s3, host, "/a").headers["location"] == "https://example.com/a"
    client.delete_bucket_website(Bucket=bucket)
    with pytest.raises(ClientError) as caught:
        client.get_bucket_website(Bucket=bucket)
    assert code_of(caught) == (404, "NoSuchWebsiteConfiguration")


def test_a_bucket_that_is_called_as_its_host(s3: S3, client: Any) -> None:
    client.create_bucket(Bucket="www.localhost")
    client.put_object(Bucket="www.localhost", Key="i", Body=b"hello", ACL="public-read")
    assert visit(s3, "www.localhost", "/i").text == "hello"
    assert visit(s3, "www.localhost", "/").status_code == 403
    client.put_bucket_website(
        Bucket="www.localhost", WebsiteConfiguration={"IndexDocument": {"Suffix": "i"}}
    )
    assert visit(s3, "www.localhost", "/").text == "hello"


# --- Forms ------------------------------------------------------------------------------------


def send(post: dict[str, Any], body: bytes = b"data", **fields: str) -> httpx.Response:
    file = {"file": ("C:\\x\\name.txt", body, "text/plain")}
    return httpx.post(post["url"], data=post["fields"] | fields, files=file)


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_a_form(s3: S3, version: str) -> None:
    client = s3.client(signature_version=version)
    bucket = s3.bucket(client)
    post = client.generate_presigned_post(
        bucket,
        "up/${filename}",
        Fields={"x-amz-meta-color": "blue", "Content-Type": "text/x"},
        Conditions=[
            {"x-amz-meta-color": "blue"},
            ["starts-with", "$Content-Type", "text/"],
            ["content-length-range", 2, 10],
            ["starts-with", "$success_action_status", ""],
            ["starts-with", "$success_action_redirect", ""],
        ],
    )
    sent = send(post)
    assert sent.status_code == 204, sent.text
    found = client.get_object(Bucket=bucket, Key="up/name.txt")
    assert (found["Body"].read(), found["ContentType"]) == (b"data", "text/x")
    assert found["Metadata"] == {"color": "blue"}
    made = send(post, success_action_status="201")
    assert made.status_code == 201
    assert "<Key>up/name.txt</Key>" in made.text
    assert send(post, success_action_status="200").status_code == 200
    moved = send(post, success_action_redirect="http://example.com/done?x=1")
    assert moved.status_code == 303
    etag = hashlib.md5(b"data").hexdigest()
    assert moved.headers["location"] == (
        f"http://example.com/done?x=1&bucket={bucket}&key=up%2Fname.txt&etag=%22{etag}%22"
    )
    for body, code in ((b"1", "EntityTooSmall"), (b"1" * 11, "EntityTooLarge")):
        refused = send(post, body)
        assert (refused.status_code, f"<Code>{code}</Code>" in refused.text) == (400, True)
    for fields in ({"x-amz-meta-color": "red"}, {"x-amz-meta-more": "1"}, {"Content-Type": "a/b"}):
        refused = send(post, **fields)
        assert (refused.status_code, "Invalid according to Policy" in refused.text) == (403, True)
    assert send(post, **{"x-ignore-me": "1"}).status_code == 204
    signature = "x-amz-signature" if version == "s3v4" else "signature"
    assert "SignatureDoesNotMatch" in send(post, **{signature: "0" * 64}).text
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_forms_that_are_refused(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    url = f"{s3.cloud.url}/s3/{bucket}"

    def signed(policy: Any) -> dict[str, Any]:
        text = base64.b64encode(json.dumps(policy).encode()).decode()
        key = s3.key["aws_secret_access_key"].encode()
        signature = base64.b64encode(hmac.digest(key, text.encode(), "sha1")).decode()
        fields = {"key": "k", "AWSAccessKeyId": s3.key["aws_access_key_id"], "policy": text}
        return {"url": url, "fields": {**fields, "signature": signature}}

    late = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    good: dict[str, Any] = {"expiration": late, "conditions": [{"key": "k"}, {"bucket": bucket}]}
    assert send(signed(good)).status_code == 204
    ended = send(signed(good | {"expiration": "2020-01-01T00:00:00Z"}))
    assert (ended.status_code, "Policy expired" in ended.text) == (403, True)
    for wrong in ({}, {"expiration": late}, good | {"conditions": [["odd", "$key", "k"]]}, []):
        assert "InvalidPolicyDocument" in send(signed(wrong)).text
    assert send({"url": url, "fields": {"key": "k"}}).status_code == 403
    assert send({"url": url, "fields": {}}).status_code == 400
    client.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    assert send({"url": url, "fields": {"key": "open"}}).status_code == 204
    assert client.get_object(Bucket=bucket, Key="open")["Body"].read() == b"data"


def test_customers_keys_are_not_taken_over_plain_http(s3: S3, client: Any) -> None:
    """By no way into the store: a key in a field of a form, or of a visit to a web site."""
    bucket = s3.bucket(client)
    digest = base64.b64encode(hashlib.md5(b"k" * 32).digest()).decode()
    name = "x-amz-server-side-encryption-customer-"
    secret = {
        f"{name}algorithm": "AES256",
        f"{name}key": base64.b64encode(b"k" * 32).decode(),
        f"{name}key-MD5": digest,
    }
    client.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    form = {"url": f"{s3.cloud.url}/s3/{bucket}", "fields": {"key": "open", **secret}}
    refused = send(form)
    assert (refused.status_code, "over a secure connection" in refused.text) == (400, True)
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    client.put_object(Bucket=bucket, Key="i", Body=b"page", ACL="public-read")
    client.put_bucket_website(
        Bucket=bucket, WebsiteConfiguration={"IndexDocument": {"Suffix": "i"}}
    )
    host = f"{bucket}.web.localhost:{s3.cloud.port}"
    assert httpx.get(s3.cloud.url, headers={"Host": host}).content == b"page"
    visited = httpx.get(s3.cloud.url, headers={"Host": host, **secret})
    assert visited.status_code == 400


# --- Encryption -------------------------------------------------------------------------------


def test_a_store_that_encrypts_says_so(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    named = {"Bucket": bucket, "Key": "k"}
    aes = {"ServerSideEncryption": "AES256"}
    for asked in ({}, aes):
        assert client.put_object(**named, Body=b"data", **asked)["ServerSideEncryption"] == "AES256"
    assert client.head_object(**named)["ServerSideEncryption"] == "AES256"
    copied = client.copy_object(Bucket=bucket, Key="copy", CopySource=named, **aes)
    assert copied["ServerSideEncryption"] == "AES256"
    upload = client.create_multipart_upload(**named, **aes)
    named["UploadId"] = upload["UploadId"]
    part = client.upload_part(**named, PartNumber=1, Body=b"parts")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    done = client.complete_multipart_upload(**named, MultipartUpload=parts)
    assert {each["ServerSideEncryption"] for each in (upload, part, done)} == {"AES256"}
    found = client.get_object(Bucket=bucket, Key="k")
    assert (found["Body"].read(), found["ServerSideEncryption"]) == (b"parts", "AES256")
    rule = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=rule)
    assert rule["Rules"][0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    client.delete_bucket_encryption(Bucket=bucket)
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=bucket, Key="k", Body=b"", ServerSideEncryption="aws:kms")
    assert code_of(caught) == (400, "KMS.NotFoundException")


def test_a_bucket_is_in_the_region_that_its_maker_says(s3: S3, client: Any) -> None:
    def made(region: str) -> str:
        return s3.bucket(client, CreateBucketConfiguration={"LocationConstraint": region})

    def location(bucket: str) -> str | None:
        found: str | None = client.get_bucket_location(Bucket=bucket)["LocationConstraint"]
        return found

    nameless, central, old = s3.bucket(client), made("eu-central-1"), made("EU")
    assert [location(each) for each in (nameless, central, old)] == [None, "eu-central-1", "EU"]
    assert client.head_bucket(Bucket=nameless)["BucketRegion"] == "us-east-1"
    assert client.head_bucket(Bucket=central)["BucketRegion"] == "eu-central-1"
    assert client.head_bucket(Bucket=old)["BucketRegion"] == "eu-west-1"
    listed = client.list_buckets(BucketRegion="eu-central-1")["Buckets"]
    assert [each["Name"] for each in listed] == [central]
    with pytest.raises(ClientError) as caught:
        made("us-west-2")
    assert code_of(caught) == (400, "InvalidLocationConstraint")
