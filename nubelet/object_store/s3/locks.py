"""Object lock: its configuration, retentions and legal holds of versions.

What a lock is and how it is kept whichever API asks: features/object_lock.py. A retention of mode
GOVERNANCE may be gone past by who has s3:BypassGovernanceRetention and says so; one of mode
COMPLIANCE by nobody, and it is only ever made longer.

Reference: Amazon S3 User Guide, "Locking objects with Object Lock".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from nubelet.kernel import clock
from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import header
from nubelet.object_store.features import object_lock
from nubelet.object_store.features.object_lock import COMPLIANCE, GOVERNANCE, Lock, Rule
from nubelet.object_store.features.version_names import ENABLED
from nubelet.object_store.s3 import digits, rules, versions, xml
from nubelet.object_store.s3.asked import Asked
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage import Missing, ObjectPath

_MODE, _UNTIL = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"
_HOLD = "x-amz-object-lock-legal-hold"
HEADERS = (_MODE, _UNTIL, _HOLD)
OF_NEW_BUCKET = "x-amz-bucket-object-lock-enabled"
# With the object that stands for an upload.
UPLOAD = "x-object-sysmeta-s3-upload-lock"
_BYPASS = "x-amz-bypass-governance-retention"
_MODES = (GOVERNANCE, COMPLIANCE)
_MOST_DAYS, _MOST_YEARS = 36_500, 100
_END_OF_YEARS = 253_402_300_800  # the year 10000 cannot be said


# --- The bucket -------------------------------------------------------------------------------


def of_new_bucket(asked: Asked) -> dict[str, str]:
    """What makes a new bucket one with object lock, where the request says so."""
    if asked.headers.get(OF_NEW_BUCKET, "").lower() != "true":
        return {}
    return {"x-versions-enabled": "true", object_lock.OF_BUCKET: object_lock.kept(Rule())}


def show_configuration(asked: Asked) -> Response:
    """GET ?object-lock."""
    rule = object_lock.rule_of(asked.require_permitted())
    if rule is None:
        raise S3Error("ObjectLockConfigurationNotFoundError", BucketName=asked.bucket)
    period = {"Days": rule.days or None, "Years": rule.years or None}
    found = {"DefaultRetention": {"Mode": rule.mode, **period}} if rule.mode else None
    return xml.document("ObjectLockConfiguration", {"ObjectLockEnabled": "Enabled", "Rule": found})


def update_configuration(asked: Asked) -> Response:
    """PUT ?object-lock: for what is written from now on. It is never taken off a bucket."""
    info = asked.require_permitted()
    document = xml.read(asked.document(), "ObjectLockConfiguration")
    if xml.text(document, "ObjectLockEnabled") != "Enabled":
        raise S3Error("MalformedXML", "ObjectLockEnabled must be Enabled.")
    rule = Rule()
    if document.find("Rule") is not None:
        default = document.find("Rule/DefaultRetention")
        if default is None:
            raise S3Error("MalformedXML", "A rule has a DefaultRetention.")
        rule = _rule(default)
    if info.metadata.get(ENABLED) != "true":
        raise S3Error("InvalidBucketState", "Versioning must be enabled for object lock.")
    asked.note({object_lock.OF_BUCKET: object_lock.kept(rule)})
    return Response(200, b"")


def _rule(default: Any) -> Rule:
    mode, periods = xml.text(default, "Mode"), {}
    for name, most in (("Days", _MOST_DAYS), ("Years", _MOST_YEARS)):
        if default.find(name) is not None:
            periods[name.lower()] = digits.read(xml.text(default, name), most) or 0
    if mode not in _MODES or len(periods) != 1:
        raise S3Error("MalformedXML", "A default retention has a mode, and either Days or Years.")
    if not all(periods.values()):
        raise S3Error(
            "InvalidRetentionPeriod", f"It is up to {_MOST_DAYS} days or {_MOST_YEARS} years."
        )
    return Rule(mode=mode, **periods)


def keep_versions(asked: Asked) -> None:
    """Raise InvalidBucketState where versions must go on being kept."""
    if object_lock.rule_of(asked.bucket_info()) is not None:
        raise S3Error("InvalidBucketState", "A bucket with object lock keeps versions.")


# --- What is written --------------------------------------------------------------------------


def given(asked: Asked) -> Lock | None:
    """The lock that a request gives to what it writes; None: what the bucket says."""
    headers = asked.headers
    if not any(name in headers for name in HEADERS):
        return None
    rule = _require(asked)
    if (_MODE in headers) != (_UNTIL in headers):
        raise S3Error("InvalidArgument", f"{_MODE} and {_UNTIL} must both be given.")
    lock = Lock()
    if _MODE in headers:
        rules.require(asked, "PutObjectRetention")
        lock.mode, lock.until = _mode(headers[_MODE], "InvalidArgument"), _until(headers[_UNTIL])
    elif rule.mode:
        lock.mode, lock.until = object_lock.retention_of(rule)
    if _HOLD in headers:
        rules.require(asked, "PutObjectLegalHold")
        lock.is_held = _is_on(headers[_HOLD], "InvalidArgument")
    return lock


def is_retention(headers: Mapping[str, str]) -> bool:
    """Whether a request retains what it writes."""
    return _MODE in headers or _UNTIL in headers


def _mode(text: str, code: str) -> str:
    if text not in _MODES:
        raise S3Error(code, f"The mode must be {GOVERNANCE} or {COMPLIANCE}.")
    return text


def _is_on(text: str, code: str) -> bool:
    if text not in ("ON", "OFF"):
        raise S3Error(code, "A legal hold must be ON or OFF.")
    return text == "ON"


def _until(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        until = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise S3Error("InvalidArgument", "The retain until date is not a time.") from None
    if until <= clock.now() / 1e6:
        raise S3Error("InvalidArgument", "The retain until date must be in the future.")
    if until >= _END_OF_YEARS:
        raise S3Error("InvalidArgument", "The retain until date must be before the year 10000.")
    return until


def headers_of(asked: Asked) -> dict[str, str]:
    """What the answer about a version says of its lock, to who may know."""
    if object_lock.rule_of(asked.bucket_info()) is None:
        return {}
    try:
        lock = _lock(asked)
    except (Missing, S3Error):  # it was deleted meanwhile
        return {}
    found: dict[str, str] = {}
    if lock.mode and _may(asked, "GetObjectRetention"):
        found |= {_MODE: lock.mode, _UNTIL: _iso(lock.until)}
    if lock.is_held and _may(asked, "GetObjectLegalHold"):
        found[_HOLD] = "ON"
    return found


def _may(asked: Asked, action: str) -> bool:
    try:
        rules.require(asked, action)
    except ApiError:
        return False
    return True


def _iso(time: float) -> str:
    sayable = time if time < _END_OF_YEARS else _END_OF_YEARS - 1
    text = datetime.fromtimestamp(sayable, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


# --- Versions ---------------------------------------------------------------------------------


def show_retention(asked: Asked) -> Response:
    """GET ?retention."""
    lock = _found(asked)
    if not lock.mode:
        raise S3Error("NoSuchObjectLockConfiguration")
    return xml.document("Retention", {"Mode": lock.mode, "RetainUntilDate": _iso(lock.until)})


def update_retention(asked: Asked) -> Response:
    """PUT ?retention; an empty one takes it off."""
    _found(asked)
    document = xml.read(asked.document(), "Retention")
    mode, until = "", 0.0
    if len(document):
        mode = _mode(xml.text(document, "Mode"), "MalformedXML")
        if document.find("RetainUntilDate") is None:
            raise S3Error("MalformedXML", "A retention has a RetainUntilDate.")
        until = _until(xml.text(document, "RetainUntilDate"))
    may_bypass = bypasses(asked)

    def retained(lock: Lock) -> Lock:
        is_longer = mode == lock.mode and until >= lock.until
        is_strict = lock.mode == COMPLIANCE
        if lock.is_retained and not is_longer and (is_strict or not may_bypass):
            raise S3Error("AccessDenied", "The version is protected by object lock.")
        return Lock(mode=mode, until=until, is_held=lock.is_held)

    return _change(asked, retained)


def show_hold(asked: Asked) -> Response:
    """GET ?legal-hold."""
    lock = _found(asked)
    if lock.is_held is None:
        raise S3Error("NoSuchObjectLockConfiguration")
    return xml.document("LegalHold", {"Status": "ON" if lock.is_held else "OFF"})


def update_hold(asked: Asked) -> Response:
    """PUT ?legal-hold."""
    _found(asked)
    status = xml.text(xml.read(asked.document(), "LegalHold"), "Status")
    is_held = _is_on(status, "MalformedXML")
    return _change(asked, lambda lock: Lock(mode=lock.mode, until=lock.until, is_held=is_held))


def bypasses(asked: Asked) -> bool:
    """Does the request go past retentions of mode GOVERNANCE? Raises AccessDenied for who may
    not."""
    if asked.headers.get(_BYPASS, "").lower() != "true":
        return False
    rules.require(asked, "BypassGovernanceRetention")
    return True


def release(asked: Asked, version: str) -> ObjectPath | None:
    """A version (as the store calls it) is about to be deleted: raise AccessDenied where it is
    protected. What is to be forgotten of it then."""
    try:
        return object_lock.claim(
            asked.store,
            asked.path,
            version,
            lambda lock: lock.mode != COMPLIANCE and bypasses(asked),
        )
    except Missing:
        return None
    except object_lock.Locked as locked:
        raise S3Error("AccessDenied", locked.message) from None
    except ApiError as error:
        raise _aborted(error) from None


def _require(asked: Asked) -> Rule:
    rule = object_lock.rule_of(asked.bucket_info())
    if rule is None:
        raise S3Error("InvalidRequest", "The bucket has no object lock configuration.")
    return rule


def _found(asked: Asked) -> Lock:
    """The lock of the version that is asked for; raises what is wrong with it, or with who asks."""
    asked.require_permitted()
    _require(asked)
    asked.look(versions.query(asked.store, asked.path, asked.query.get("versionId", "")))
    return _lock(asked)


def _version(asked: Asked) -> str:
    """The version that is asked for, as the store calls it."""
    if wanted := asked.query.get("versionId"):
        return versions.resolve(asked.store, asked.path, wanted)
    found = versions.under_name(asked.store, asked.path)
    if found is None:
        raise S3Error("NoSuchKey", Key=asked.key)
    return found


def _lock(asked: Asked) -> Lock:
    return object_lock.of_version(asked.store, asked.path, _version(asked))


def _change(asked: Asked, wanted: Any) -> Response:
    version = _version(asked)
    try:
        object_lock.change(asked.store, asked.path, version, wanted)
    except Missing:
        raise S3Error("NoSuchVersion", Key=asked.key, VersionId=version) from None
    except S3Error:
        raise
    except ApiError as error:
        raise _aborted(error) from None
    return Response(200, b"", {"x-amz-version-id": asked.query.get("versionId") or version})


def _aborted(error: ApiError) -> ApiError:
    return S3Error("OperationAborted", error.message) if error.status == 409 else error


def of_upload(begun: Response) -> Lock | None:
    """The lock that was given when an upload was begun."""
    kept = header(begun, UPLOAD)
    return object_lock.read(kept) if kept else None
