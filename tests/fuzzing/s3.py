"""Odd names, subresources, headers and documents for the S3 API, most of them signed rightly:
`python -m tests.fuzzing.s3 --requests 10000 --seed 7`.

Asked are a member, a stranger (both with keys) and nobody about the member's buckets. What must
hold: no answer of 5xx but 501, nothing of the member's for others, and what he keeps stays.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import sys
import time
from urllib.parse import quote, unquote_to_bytes

from tests.asgi import Answer, Asker
from tests.cloud import TestedCloud
from tests.fuzzing.object_store import Found, main

SECRET = b"a-secret-of-the-member"
_METHODS = ["GET", "PUT", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"]
_KEYS = [
    "k", "k", "k", "k", "big", "new", "a/b", "", "%2F", "//", "..", "%00", "%ff", "%C3%A9",
    "a" * 1025,
    "%0d%0a", "a%3Fb", "+", "%252F", "%F0%9F%98%80", "k/", "<&>",
]  # fmt: skip
_SUBRESOURCES = [
    "acl", "attributes", "tagging", "uploads", "uploadId", "versions", "location", "delete",
    "policy", "policyStatus", "publicAccessBlock", "ownershipControls", "website", "versioning",
    "cors", "lifecycle", "encryption", "requestPayment", "logging", "notification", "accelerate",
    "replication", "object-lock", "retention", "legal-hold", "restore", "select", "torrent",
    "list-type", "partNumber", "versionId", "max-keys", "max-parts", "max-uploads", "prefix",
    "abac", "analytics", "metrics", "annotation", "renameObject", "id",
    "delimiter", "marker", "key-marker", "version-id-marker", "upload-id-marker", "start-after",
    "continuation-token", "encoding-type", "fetch-owner", "part-number-marker",
    "response-content-type", "response-expires", "max-buckets",
]  # fmt: skip
_HEADERS = [
    "range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "content-md5",
    "content-type", "content-encoding", "x-amz-acl", "x-amz-grant-read", "x-amz-copy-source",
    "x-amz-copy-source-range", "x-amz-copy-source-if-match", "x-amz-metadata-directive",
    "x-amz-tagging", "x-amz-tagging-directive", "x-amz-meta-a", "x-amz-storage-class",
    "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-checksum-crc32", "x-amz-checksum-algorithm",
    "x-amz-checksum-type", "x-amz-checksum-mode", "x-amz-object-attributes", "x-amz-max-parts",
    "x-amz-website-redirect-location", "x-amz-expected-bucket-owner", "x-amz-request-payer",
    "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold",
    "x-amz-bypass-governance-retention", "x-amz-if-match-size", "x-amz-if-match-last-modified-time",
    "x-amz-object-ownership", "x-amz-mp-object-size", "origin",
    "access-control-request-method", "x-amz-trailer", "expect", "x-amz-decoded-content-length",
    "x-amz-bucket-object-lock-enabled", "cache-control", "expires",
]  # fmt: skip
_VALUES = [
    "", "0", "1", "-1", "99999999999999999999", "2", "null", "true", "*", "\xe9", "\xff\xfe",
    "a" * 300,
    "b" * 3000, "bytes=0-", "bytes=-1", "bytes=9-1", "bytes=0-0,2-3", '"',
    "Fri, 01 Jan 2100 00:00:00 GMT",
    "1000000000.00000", "AES256", "aws:kms", "CRC32", "crc64nvme", "FULL_OBJECT", "COPY", "REPLACE",
    "private", 'id="x"', "ETag,ObjectParts", "AAAAAA==", "url", "a=b&c=d", "a=1&a=2", "/bucket-a/k",
    "bucket-a/k?versionId=null", "/bucket-a/%ff", "STANDARD", "0" * 32,
    "multipart/form-data; boundary=x",
    "ON", "GOVERNANCE", "2020-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z",
    "http://x/", "k", "/", "\u00a0", "%00", "..", "1e9", "nan",
]  # fmt: skip
_BODIES = [
    b"", b"x", b"<", b"<a/>", b"\x00\xff" * 40, b"{}", b'{"Statement": []}', b"[" * 5000,
    b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>",
    b"<Delete><Object><Key>k</Key><VersionId>null</VersionId></Object></Delete>",
    b"<Delete><Object><Key>new</Key></Object><Object/></Delete>",
    b"<Delete><Object><Key>k</Key><ETag>x</ETag><Size>x</Size><LastModifiedTime>0</LastModifiedTime>"
    b"</Object></Delete>",
    b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>",
    b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>"
    b"<Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>",
    b"<Retention/>", b"<LegalHold><Status>ON</Status></LegalHold>",
    b"<LegalHold><Status>OFF</Status></LegalHold>",
    b"<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>9999-12-31T23:59:59.999999Z</RetainUntilDate>"
    b"</Retention>",
    b"<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>0001-01-01T00:00:00+23:59</RetainUntilDate>"
    b"</Retention>",
    b"<CreateBucketConfiguration><LocationConstraint>x</LocationConstraint></CreateBucketConfiguration>",
    b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part>"
    b"</CompleteMultipartUpload>",
    b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*"
    b"</AllowedOrigin></CORSRule></CORSConfiguration>",
    b"<WebsiteConfiguration><IndexDocument><Suffix>k</Suffix></IndexDocument></WebsiteConfiguration>",
    b"<LifecycleConfiguration><Rule><Filter/><Status>Enabled</Status><Expiration><Days>1</Days>"
    b"</Expiration></Rule></LifecycleConfiguration>",
    b"<LifecycleConfiguration><Rule><ID>x</ID><Filter><And><Tag/><Prefix>\xc3\xa9</Prefix></And></Filter>"
    b"<Status>Disabled</Status><Expiration><Date>0001-01-01T00:00:00+23:59</Date></Expiration></Rule>"
    b"</LifecycleConfiguration>",
    b"<LifecycleConfiguration><Rule><Prefix/><Status>Enabled</Status><Expiration><Date>9999-12-31"
    b"</Date></Expiration></Rule></LifecycleConfiguration>",
    b"<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>",
    b"<AccessControlPolicy><Owner/><AccessControlList/></AccessControlPolicy>",
    b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>"
    b"</OwnershipControls>",
    b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\nnew\r\n--x\r\n'
    b'Content-Disposition: form-data; name="file"; filename="../b"\r\n\r\nx\r\n--x--\r\n',
]  # fmt: skip
_LOGGED = (
    b"<BucketLoggingStatus><LoggingEnabled><TargetBucket>bucket-a</TargetBucket><TargetPrefix>l"
    b"</TargetPrefix></LoggingEnabled></BucketLoggingStatus>"
)
# What the member would give to others by these is no leak.
_GIVING = ("x-amz-acl", "x-amz-grant-read")


class World:
    """The member's buckets, and who asks."""

    def __init__(self, tested: TestedCloud) -> None:
        self.asker = Asker(tested.app)
        self.keys = {who: self._key(tested, who) for who in ("member", "stranger")}
        for bucket in ("bucket-a", "bucket-b"):
            self.ask("member", "PUT", f"/s3/{bucket}")
        self.restore()

    def _key(self, tested: TestedCloud, who: str) -> tuple[str, str]:
        persona = tested.user(who)
        answer = tested.client(who).post(
            f"/identity/v3/users/{persona.user_id}/credentials/OS-EC2",
            json={"tenant_id": persona.project_id},
        )
        assert answer.status_code == 201, answer.text
        made = answer.json()["credential"]
        return made["access"], made["secret"]

    def restore(self) -> None:
        """What the member has; bucket-b is his own business and asked by nobody else's key."""
        for path in ("/s3/bucket-a/k", "/s3/bucket-a/big", "/s3/bucket-b/kept"):
            self.ask("member", "PUT", path, body=SECRET)
        self.ask("member", "PUT", "/s3/bucket-a", "logging", body=_LOGGED)

    def ask(
        self,
        who: str,
        method: str,
        path: str,
        query: str = "",
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Send one request, signed by whom it is from."""
        sent = dict(headers or {})
        if who in self.keys:
            sent |= _signed(self.keys[who], method, path, query, sent)
        return self.asker.ask(method, path, headers=sent, body=body, query=query.encode())


def _signed(
    key: tuple[str, str], method: str, path: str, query: str, headers: dict[str, str]
) -> dict[str, str]:
    """The headers of a signature of version 4 that leaves the body open."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    own = {"host": "cloud.test", "x-amz-date": moment, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    amz = {name: value for name, value in headers.items() if name.startswith("x-amz-")}
    signed = sorted((own | amz).items())
    values = [
        f"{name}:{' '.join(value.encode('latin-1').decode('utf-8', 'surrogateescape').split())}\n"
        for name, value in signed
    ]
    pairs = sorted(
        tuple(quote(unquote_to_bytes(each), safe="-_.~") for each in part.partition("=")[::2])
        for part in query.split("&")
        if part
    )
    names = ";".join(name for name, _value in signed)
    canonical = "\n".join(
        (
            method,
            quote(unquote_to_bytes(path), safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            "".join(values),
            names,
            "UNSIGNED-PAYLOAD",
        )
    )
    scope = f"{moment[:8]}/us-east-1/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", moment, scope, digest))
    secret = f"AWS4{key[1]}".encode()
    for part in scope.split("/"):
        secret = hmac.digest(secret, part.encode(), "sha256")
    signature = hmac.new(secret, text.encode(), "sha256").hexdigest()
    del own["host"]
    return own | {
        "authorization": f"AWS4-HMAC-SHA256 Credential={key[0]}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    }


def run(tested: TestedCloud, requests: int, seed: int) -> dict[int, int]:
    """Send so many requests; how often each status came. Raises Found."""
    world, chance = World(tested), random.Random(seed)
    counts: dict[int, int] = {}
    for number in range(requests):
        who = chance.choice(("member", "member", "member", "stranger", "nobody"))
        method, path, query, headers, body = _request(chance)
        asked = f"{who} {method} {path}?{query} {headers} {body[:80]!r}"
        question = f"seed {seed}, request {number}: {asked}"
        try:
            answer = world.ask(who, method, path, query, headers, body)
        except Exception as error:
            raise Found(f"{question}: {error!r}") from error
        counts[answer.status] = counts.get(answer.status, 0) + 1
        if answer.status >= 500 and answer.status != 501:
            raise Found(f"{question}: {answer.status} {answer.body[:300]!r}")
        if b"SignatureDoesNotMatch" in answer.body:
            raise Found(f"{question}: a right signature was refused: {answer.body[:300]!r}")
        if who != "member" and SECRET in answer.body:
            raise Found(f"{question}: shows what is the member's")
        if number % 200 == 199:
            kept = world.ask("member", "GET", "/s3/bucket-b/kept")
            if kept.body != SECRET:
                raise Found(f"before {question}: what was kept has changed: {kept}")
            world.ask("member", "DELETE", "/s3/bucket-a", "policy")
            world.restore()
    return counts


def _customer_key(chance: random.Random, start: str) -> dict[str, str]:
    """A key of a customer as it should be, or with something amiss."""
    key = chance.choice((b"k" * 32, b"k" * 32, b"o" * 32, b"short"))
    found = {
        f"{start}algorithm": "AES256",
        f"{start}key": base64.b64encode(key).decode(),
        f"{start}key-md5": base64.b64encode(hashlib.md5(key).digest()).decode(),
    }
    if chance.random() < 0.2:
        found[chance.choice(list(found))] = chance.choice(_VALUES)
    return found


def _request(chance: random.Random) -> tuple[str, str, str, dict[str, str], bytes]:
    bucket = chance.choice([*["bucket-a"] * 12, "bucket-n", "", "BAD", "%ff", "..", "a:bucket-a"])
    path = f"/s3/{bucket}"
    if chance.random() < 0.65:
        path += f"/{chance.choice(_KEYS)}"
    query = "&".join(
        chance.choice((name, f"{name}={quote(chance.choice(_VALUES), encoding='latin-1')}"))
        for name in chance.sample(_SUBRESOURCES, chance.choice((0, 0, 1, 1, 1, 2, 3)))
    )
    names = chance.sample(_HEADERS, chance.choice((0, 0, 1, 2, 3)))
    headers = {name: chance.choice(_VALUES) for name in names if name not in _GIVING}
    for start in ("x-amz-", "x-amz-copy-source-"):
        if chance.random() < 0.15:
            headers |= _customer_key(chance, f"{start}server-side-encryption-customer-")
    return chance.choice(_METHODS), path, query, headers, chance.choice(_BODIES)


if __name__ == "__main__":
    sys.exit(main(run, requests=10_000))
