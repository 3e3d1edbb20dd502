"""Lifecycles of buckets through the S3 API; boto3. Days pass by applying the rules as of later."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from nubelet.object_store import make_storage
from nubelet.object_store.s3 import aging, lifecycle_rules, removing
from nubelet.object_store.storage import Storage
from nubelet.settings import load
from tests.s3_calls import S3, clients, clouds, code_of

pytestmark = pytest.mark.functional
MIB = 1 << 20
s3 = clouds()
client = clients()


@pytest.fixture(scope="module")
def cloud(s3: S3) -> Iterator[Any]:
    """The same store as the cloud's, in this process."""
    toml = s3.cloud.state_dir / "nubelet.toml"
    settings = load(
        toml if toml.exists() else None, environ={}, overrides={"state_dir": s3.cloud.state_dir}
    )
    store: Any = make_storage(settings)
    yield SimpleNamespace(settings=settings, get={Storage: store}.__getitem__)
    store.close()


Later = Callable[[float], None]


@pytest.fixture(scope="module")
def later(cloud: Any) -> Later:
    """Apply the rules of all buckets as in so many days."""
    return lambda days: aging.apply(cloud, time.time() + days * 86_400)


def rule(**more: Any) -> dict[str, Any]:
    found = {"ID": "a-rule", "Status": "Enabled", "Filter": {}, **more}
    return {name: value for name, value in found.items() if value is not None}


def configure(client: Any, bucket: str, *rules: dict[str, Any], **more: Any) -> None:
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)}, **more
    )


def keys(client: Any, bucket: str) -> list[str]:
    found = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    return [each["Key"] for each in found]


def kept(client: Any, bucket: str) -> list[tuple[str, str]]:
    """Versions and (`marker`) delete markers that there are, as (key, id), the newest first."""
    found = client.list_object_versions(Bucket=bucket)
    return [
        *((each["Key"], each["VersionId"]) for each in found.get("Versions", [])),
        *(("marker", each["VersionId"]) for each in found.get("DeleteMarkers", [])),
    ]


def versioned(s3: S3, client: Any, status: str = "Enabled", **more: Any) -> str:
    bucket = s3.bucket(client, **more)
    versioning = {"Status": status}
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=versioning)
    return bucket


def put(client: Any, bucket: str, key: str = "k", body: bytes = b"1", **more: Any) -> str:
    return str(client.put_object(Bucket=bucket, Key=key, Body=body, **more).get("VersionId"))


# --- The configuration ------------------------------------------------------------------------

DAYS = {"Days": 3}
FILTERS: list[dict[str, Any]] = [
    {"Prefix": ""},
    {"Prefix": "logs/"},
    {"Tag": {"Key": "a", "Value": "b"}},
    {"ObjectSizeGreaterThan": 0},
    {"ObjectSizeLessThan": 7},
    {
        "And": {
            "Prefix": "x",
            "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}],
            "ObjectSizeGreaterThan": 5,
            "ObjectSizeLessThan": 2**40,
        }
    },
    {"And": {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]}},
]


def test_what_is_set_is_shown(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    with pytest.raises(ClientError) as caught:
        client.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert code_of(caught) == (404, "NoSuchLifecycleConfiguration")
    date = datetime(2031, 2, 3, tzinfo=UTC)
    rules = [
        *(rule(ID=f"filter {n}", Filter=each, Expiration=DAYS) for n, each in enumerate(FILTERS)),
        rule(ID="date", Status="Disabled", Expiration={"Date": date}),
        rule(ID="markers", Expiration={"ExpiredObjectDeleteMarker": True}),
        rule(
            ID="rest",
            NoncurrentVersionExpiration={"NoncurrentDays": 2, "NewerNoncurrentVersions": 100},
            AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1},
        ),
    ]
    configure(client, bucket, *rules)
    found = client.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert found["Rules"] == rules
    assert found["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K"
    old = rule(ID=None, Filter=None, Prefix="logs/", Expiration=DAYS)
    configure(client, bucket, old, TransitionDefaultMinimumObjectSize="varies_by_storage_class")
    found = client.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert found["Rules"][0].pop("ID")
    assert found["Rules"] == [old]
    assert found["TransitionDefaultMinimumObjectSize"] == "varies_by_storage_class"
    client.delete_bucket_lifecycle(Bucket=bucket)
    client.delete_bucket_lifecycle(Bucket=bucket)
    with pytest.raises(ClientError) as caught:
        client.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert code_of(caught) == (404, "NoSuchLifecycleConfiguration")


def test_a_thousand_long_rules(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    rules = [
        rule(ID=f"{n:0255}", Filter={"Prefix": f"{n:01024}"}, Expiration=DAYS) for n in range(1000)
    ]
    configure(client, bucket, *rules)
    assert client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules
    put(client, bucket)


def _many() -> list[dict[str, Any]]:
    return [rule(ID=str(number), Expiration=DAYS) for number in range(1001)]


GLACIER = {"Days": 1, "StorageClass": "GLACIER"}
SECOND = datetime(2031, 2, 3, 0, 0, 1, tzinfo=UTC)
MIDNIGHT = datetime(2031, 2, 3, tzinfo=UTC)
TAG = {"Key": "a", "Value": "b"}


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([rule(Expiration=DAYS), rule(Expiration=DAYS)], "InvalidArgument"),
        ([rule(ID="x" * 256, Expiration=DAYS)], "InvalidArgument"),
        ([], "MalformedXML"),
        (_many(), "MalformedXML"),
        ([rule(Expiration={"Days": 0})], "InvalidArgument"),
        ([rule(Expiration={"Days": -1})], "InvalidArgument"),
        ([rule(Expiration={"Days": 2**31})], "InvalidArgument"),
        ([rule(Expiration={"Date": SECOND})], "InvalidArgument"),
        ([rule(Expiration={})], "MalformedXML"),
        ([rule(Expiration={"Days": 1, "Date": MIDNIGHT})], "MalformedXML"),
        ([rule(Expiration={"Days": 1, "ExpiredObjectDeleteMarker": True})], "MalformedXML"),
        ([rule(Expiration={"Date": MIDNIGHT, "ExpiredObjectDeleteMarker": True})], "MalformedXML"),
        ([rule()], "InvalidRequest"),
        ([rule(Status="enabled", Expiration=DAYS)], "MalformedXML"),
        ([rule(Prefix="", Expiration=DAYS)], "MalformedXML"),
        ([rule(Filter=None, Expiration=DAYS)], "MalformedXML"),
        ([rule(Filter={"Prefix": "a", "Tag": TAG}, Expiration=DAYS)], "MalformedXML"),
        ([rule(Filter={"And": {"Prefix": "a"}}, Expiration=DAYS)], "MalformedXML"),
        ([rule(Filter={"And": {"Tags": [TAG, TAG]}}, Expiration=DAYS)], "InvalidRequest"),
        ([rule(Filter={"Tag": {"Key": "x" * 129, "Value": ""}}, Expiration=DAYS)], "InvalidTag"),
        ([rule(Filter={"Prefix": "x" * 1025}, Expiration=DAYS)], "InvalidRequest"),
        ([rule(Filter={"ObjectSizeGreaterThan": -1}, Expiration=DAYS)], "InvalidRequest"),
        ([rule(Filter={"ObjectSizeLessThan": 0}, Expiration=DAYS)], "InvalidRequest"),
        (
            [
                rule(
                    Filter={"And": {"ObjectSizeGreaterThan": 9, "ObjectSizeLessThan": 9}},
                    Expiration=DAYS,
                )
            ],
            "InvalidRequest",
        ),
        (
            [rule(Filter=None, Prefix="", Expiration=DAYS), rule(ID="b", Expiration=DAYS)],
            "InvalidRequest",
        ),
        (
            [rule(Filter={"Tag": TAG}, Expiration={"ExpiredObjectDeleteMarker": True})],
            "InvalidRequest",
        ),
        (
            [
                rule(
                    Filter={"Tag": TAG},
                    AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1},
                )
            ],
            "InvalidRequest",
        ),
        ([rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 0})], "InvalidArgument"),
        ([rule(NoncurrentVersionExpiration={"NoncurrentDays": 0})], "InvalidArgument"),
        ([rule(NoncurrentVersionExpiration={"NewerNoncurrentVersions": 1})], "MalformedXML"),
        (
            [
                rule(
                    NoncurrentVersionExpiration={
                        "NoncurrentDays": 1,
                        "NewerNoncurrentVersions": 101,
                    }
                )
            ],
            "InvalidArgument",
        ),
        ([rule(Transitions=[{"Days": 1, "StorageClass": "PAPER"}])], "MalformedXML"),
        ([rule(Transitions=[GLACIER])], "InvalidStorageClass"),
        (
            [rule(NoncurrentVersionTransitions=[{"NoncurrentDays": 1, "StorageClass": "GLACIER"}])],
            "InvalidStorageClass",
        ),
    ],
)
def test_rules_that_cannot_be(s3: S3, client: Any, rules: list[dict[str, Any]], code: str) -> None:
    bucket = s3.bucket(client)
    with pytest.raises(ClientError) as caught:
        configure(client, bucket, *rules)
    assert code_of(caught) == (400, code)
    with pytest.raises(ClientError) as caught:
        client.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert code_of(caught) == (404, "NoSuchLifecycleConfiguration")


def test_only_owners_set_rules(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    client.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    stranger = s3.client(s3.new_key("another"))
    with pytest.raises(ClientError) as caught:
        configure(stranger, bucket, rule(Expiration=DAYS))
    assert code_of(caught) == (403, "AccessDenied")
    with pytest.raises(ClientError) as caught:
        stranger.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert code_of(caught) == (403, "AccessDenied")


def test_a_new_bucket_has_no_rules_of_an_older_one(s3: S3, client: Any, later: Later) -> None:
    bucket = s3.bucket(client)
    configure(client, bucket, rule(Expiration=DAYS))
    client.delete_bucket(Bucket=bucket)
    client.create_bucket(Bucket=bucket)
    put(client, bucket)
    later(30)
    assert keys(client, bucket) == ["k"]
    with pytest.raises(ClientError) as caught:
        client.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert code_of(caught) == (404, "NoSuchLifecycleConfiguration")


# --- When -------------------------------------------------------------------------------------


def test_days_are_rounded_up_to_midnight() -> None:
    made = datetime(2014, 1, 15, 10, 30, tzinfo=UTC).timestamp()
    assert lifecycle_rules.due(made, 3) == datetime(2014, 1, 19, tzinfo=UTC).timestamp()
    midnight = datetime(2014, 1, 15, tzinfo=UTC).timestamp()
    assert lifecycle_rules.due(midnight, 1) == midnight + 86_400


def expected(found: dict[str, Any], days: int, rule_id: str) -> str:
    moment = found["LastModified"] + timedelta(days=days + 1, seconds=-1)
    return f'expiry-date="{moment:%a, %d %b %Y} 00:00:00 GMT", rule-id="{rule_id}"'


def test_answers_tell_when_a_key_expires(s3: S3, client: Any) -> None:
    bucket = s3.bucket(client)
    assert "Expiration" not in client.put_object(Bucket=bucket, Key="logs/1", Body=b"1")
    configure(
        client,
        bucket,
        rule(ID="later", Filter={"Prefix": "logs/"}, Expiration={"Days": 9}),
        rule(ID="sooner one", Filter={"Prefix": "logs/"}, Expiration={"Days": 4}),
        rule(ID="off", Status="Disabled", Expiration={"Days": 1}),
        rule(ID="tagged", Filter={"Tag": TAG}, Expiration={"Days": 2}),
        rule(ID="large", Filter={"ObjectSizeGreaterThan": MIB}, Expiration={"Days": 3}),
        rule(ID="uploads", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}),
    )
    named = {"Bucket": bucket, "Key": "logs/1"}
    found = client.head_object(**named)
    told = expected(found, 4, "sooner%20one")
    assert found["Expiration"] == told
    assert client.get_object(**named)["Expiration"] == told
    assert client.get_object(**named, Range="bytes=0-0")["Expiration"] == told
    assert client.put_object(**named, Body=b"2")["Expiration"] == told
    copied = client.copy_object(Bucket=bucket, Key="logs/2", CopySource=named)
    assert copied["Expiration"] == told
    assert "Expiration" not in client.put_object(Bucket=bucket, Key="other", Body=b"1")
    tagged = client.put_object(Bucket=bucket, Key="tagged", Body=b"1", Tagging="a=b")
    assert 'rule-id="tagged"' in tagged["Expiration"]
    upload = client.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    part = client.upload_part(
        Bucket=bucket, Key="big", UploadId=upload, PartNumber=1, Body=bytes(2 * MIB)
    )
    done = client.complete_multipart_upload(
        Bucket=bucket,
        Key="big",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    found = client.get_object(Bucket=bucket, Key="big", Range="bytes=0-9")
    assert done["Expiration"] == found["Expiration"] == expected(found, 3, "large")


# --- What happens then ------------------------------------------------------------------------


def test_keys_expire(s3: S3, client: Any, later: Later) -> None:
    bucket = s3.bucket(client)
    for key in ("logs/1", "logs/2", "other"):
        put(client, bucket, key)
    configure(client, bucket, rule(Filter={"Prefix": "logs/"}, Expiration={"Days": 3}))
    later(0)
    later(2.9)
    assert keys(client, bucket) == ["logs/1", "logs/2", "other"]
    later(4)
    assert keys(client, bucket) == ["other"]
    configure(client, bucket, rule(Status="Disabled", Expiration={"Days": 3}))
    later(9)
    assert keys(client, bucket) == ["other"]
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    configure(client, bucket, rule(Expiration={"Date": today + timedelta(days=1)}))
    later(0)
    assert keys(client, bucket) == ["other"]
    later(1)
    assert keys(client, bucket) == []


def test_rules_by_tags_and_sizes(s3: S3, client: Any, later: Later) -> None:
    bucket = s3.bucket(client)
    put(client, bucket, "small", b"12")
    put(client, bucket, "tagged", b"123456", Tagging="a=b&c=d")
    put(client, bucket, "other tag", b"123456", Tagging="a=x")
    put(client, bucket, "large", bytes(100))
    both = {"Tags": [TAG, {"Key": "c", "Value": "d"}], "ObjectSizeLessThan": 10}
    configure(
        client,
        bucket,
        rule(ID="1", Filter={"And": both}, Expiration={"Days": 1}),
        rule(ID="2", Filter={"ObjectSizeGreaterThan": 99}, Expiration={"Days": 1}),
        rule(ID="3", Filter={"ObjectSizeLessThan": 2}, Expiration={"Days": 1}),
    )
    later(2)
    assert keys(client, bucket) == ["other tag", "small"]


def test_an_expired_upload_in_parts_goes_with_its_parts(s3: S3, client: Any, later: Later) -> None:
    bucket = s3.bucket(client)
    upload = client.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    sent = client.upload_part(
        Bucket=bucket, Key="big", UploadId=upload, PartNumber=1, Body=bytes(MIB)
    )
    client.complete_multipart_upload(
        Bucket=bucket,
        Key="big",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": sent["ETag"]}]},
    )
    configure(
        client,
        bucket,
        rule(Filter={"ObjectSizeGreaterThan": MIB - 1}, Expiration={"Days": 1}),
    )
    later(2)
    assert keys(client, bucket) == []
    with s3.cloud.client() as swift:
        path = f"/object-store/v1/AUTH_{s3.key['project']}/{bucket}+segments?prefix=parts/"
        assert swift.get(path).text == ""


def test_current_versions_become_markers(s3: S3, client: Any, later: Later) -> None:
    bucket = versioned(s3, client)
    first, second = put(client, bucket), put(client, bucket)
    configure(client, bucket, rule(Expiration={"Days": 1}))
    later(2)
    assert keys(client, bucket) == []
    found = kept(client, bucket)
    assert found[:2] == [("k", second), ("k", first)]
    assert [name for name, _id in found] == ["k", "k", "marker"]
    later(2)  # on the same day nothing more happens
    later(3)
    assert kept(client, bucket) == found


def test_noncurrent_versions_go(s3: S3, client: Any, later: Later) -> None:
    bucket = versioned(s3, client)
    ids = [put(client, bucket) for _ in range(4)]
    put(client, bucket, "alone")
    client.delete_object(Bucket=bucket, Key="gone")
    expiry = {"NoncurrentDays": 1, "NewerNoncurrentVersions": 2}
    configure(client, bucket, rule(NoncurrentVersionExpiration=expiry))
    later(0.0)
    assert len([name for name, _id in kept(client, bucket) if name == "k"]) == 4
    later(2)
    assert [each for name, each in kept(client, bucket) if name == "k"] == ids[:0:-1]
    client.delete_object(Bucket=bucket, Key="k")
    configure(client, bucket, rule(NoncurrentVersionExpiration={"NoncurrentDays": 1}))
    later(2)
    found = kept(client, bucket)
    assert [name for name, _id in found] == ["alone", "marker", "marker"]


def test_what_was_there_before_versions_were_kept(s3: S3, client: Any, later: Later) -> None:
    bucket = s3.bucket(client)
    put(client, bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    kept_id = put(client, bucket)
    assert ("k", "null") in kept(client, bucket)
    configure(client, bucket, rule(NoncurrentVersionExpiration={"NoncurrentDays": 1}))
    later(2)
    assert kept(client, bucket) == [("k", kept_id)]
    suspended = {"Status": "Suspended"}
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=suspended)
    put(client, bucket, body=b"null", Tagging="a=b")
    configure(client, bucket, rule(NoncurrentVersionExpiration={"NoncurrentDays": 2}))
    later(3)
    assert kept(client, bucket) == [("k", "null")]
    configure(client, bucket, rule(Filter={"Tag": TAG}, Expiration={"Days": 3}))
    later(4)
    assert kept(client, bucket) == [("marker", "null")]


def test_markers_that_are_left_alone_go(s3: S3, client: Any, later: Later) -> None:
    bucket = versioned(s3, client)
    version = put(client, bucket)
    marker = client.delete_object(Bucket=bucket, Key="k")["VersionId"]
    client.delete_object(Bucket=bucket, Key="other")
    rules = [
        rule(ID="1", Filter={"Prefix": "k"}, Expiration={"ExpiredObjectDeleteMarker": True}),
        rule(ID="2", Filter={"Prefix": "k"}, NoncurrentVersionExpiration={"NoncurrentDays": 5}),
        rule(ID="3", Filter={"Prefix": "other"}, Expiration={"Days": 9}),
    ]
    configure(client, bucket, *rules)
    later(1)
    found = kept(client, bucket)
    assert found[:2] == [("k", version), ("marker", marker)]
    assert len(found) == 3
    later(6)
    assert [name for name, _id in kept(client, bucket)] == ["marker"]  # the other's
    later(10)
    assert kept(client, bucket) == []


def test_locked_versions_stay(s3: S3, client: Any, later: Later) -> None:
    bucket = s3.bucket(client, ObjectLockEnabledForBucket=True)
    held = put(client, bucket, ObjectLockLegalHoldStatus="ON")
    until = datetime.now(UTC) + timedelta(days=1)
    retained = put(client, bucket, ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    free = put(client, bucket)
    last = put(client, bucket, ObjectLockLegalHoldStatus="ON")
    configure(
        client,
        bucket,
        rule(Expiration={"Days": 1}, NoncurrentVersionExpiration={"NoncurrentDays": 1}),
    )
    later(2)
    ids = [each for name, each in kept(client, bucket) if name == "k"]
    assert ids == [last, retained, held]
    assert free not in ids
    assert client.get_object(Bucket=bucket, Key="k", VersionId=held)["Body"].read() == b"1"


def test_uploads_are_given_up(s3: S3, client: Any, later: Later) -> None:
    bucket = s3.bucket(client)
    for key in ("a/1", "b/1"):
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"1")
    configure(
        client,
        bucket,
        rule(Filter={"Prefix": "a/"}, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 2}),
    )
    begun = client.create_multipart_upload(Bucket=bucket, Key="a/2")
    named = {"Bucket": bucket, "Key": "a/2", "UploadId": begun["UploadId"]}
    listed = client.list_parts(**named)
    client.abort_multipart_upload(**named)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for answer in (begun, listed):
        assert answer["AbortRuleId"] == "a-rule"
        assert answer["AbortDate"] == today + timedelta(days=3)
    other = client.create_multipart_upload(Bucket=bucket, Key="c")
    assert "AbortDate" not in other
    client.abort_multipart_upload(Bucket=bucket, Key="c", UploadId=other["UploadId"])
    later(1)
    assert len(client.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 2
    later(3)
    left = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [each["Key"] for each in left] == ["b/1"]
    with s3.cloud.client() as swift:
        path = f"/object-store/v1/AUTH_{s3.key['project']}/{bucket}+segments?prefix=parts/"
        assert len(swift.get(path).text.split()) == 1


# --- Of any size, and while others write ------------------------------------------------------


def test_page_by_page(s3: S3, client: Any, later: Later, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aging, "_PAGE", 2)
    plain, bucket = s3.bucket(client), versioned(s3, client)
    for number in range(7):
        put(client, plain, f"k{number}")
        put(client, bucket, f"k{number % 2}")
        upload = f"u{number}"
        client.create_multipart_upload(Bucket=plain, Key=upload)
    configure(
        client,
        plain,
        rule(Expiration={"Days": 1}, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}),
    )
    configure(client, bucket, rule(NoncurrentVersionExpiration={"NoncurrentDays": 1}))
    later(2)
    assert keys(client, plain) == []
    assert "Uploads" not in client.list_multipart_uploads(Bucket=plain)
    assert [name for name, _id in kept(client, bucket)] == ["k0", "k1"]


@pytest.mark.parametrize("state", ["", "Enabled", "Suspended"])
def test_what_is_written_meanwhile_stays(
    s3: S3, client: Any, later: Later, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    bucket = versioned(s3, client, state) if state else s3.bucket(client)
    put(client, bucket)
    configure(client, bucket, rule(Expiration={"Days": 1}))
    expire = removing.expire

    def late(*given: Any) -> Any:
        put(client, bucket, body=b"new")
        return expire(*given)

    monkeypatch.setattr(removing, "expire", late)
    later(2)
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"new"
    assert "DeleteMarkers" not in client.list_object_versions(Bucket=bucket)


def test_rules_that_are_taken_back_meanwhile(
    s3: S3, client: Any, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.bucket(client)
    for number in range(3):
        put(client, bucket, f"k{number}")
    configure(client, bucket, rule(Expiration={"Days": 1}))
    expire = removing.expire

    def late(*given: Any) -> Any:
        found = expire(*given)
        client.delete_bucket_lifecycle(Bucket=bucket)
        return found

    monkeypatch.setattr(removing, "expire", late)
    later(2)
    assert keys(client, bucket) == ["k1", "k2"]


def test_the_cloud_itself_applies_rules(s3: S3, client: Any) -> None:
    """The loop of the running cloud, whose clock nobody moves: a date that has come."""
    bucket = s3.bucket(client)
    put(client, bucket)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    configure(client, bucket, rule(Expiration={"Date": today}))
    told = client.head_object(Bucket=bucket, Key="k")["Expiration"]
    assert parsedate_to_datetime(told.split('"')[1]) == today
    s3.cloud.kill()
    s3.cloud.up()  # each loop runs at once when it starts
    until = time.monotonic() + 120
    while keys(client, bucket) and time.monotonic() < until:
        time.sleep(0.2)
    assert keys(client, bucket) == []
