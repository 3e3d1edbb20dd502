"""Rules of lifecycles applied: keys, versions, delete markers and uploads go when it is time.

Whatever becomes due does at a midnight UTC, so each bucket is looked through once a day, page by
page, and again whenever its rules change. What is found by its listing is looked at before it is
deleted, and deleted only as it was seen: what is written meanwhile stays. A run that dies begins
again; that all of a bucket was done is noted last.

    key                 becomes a delete marker where versions are kept, else goes with its parts
    noncurrent version  goes, unless it is locked; its days count from when it was replaced
    delete marker       goes when it is all that is left of a key
    upload under way    is given up

Reference: Amazon S3 User Guide, "Expiring objects", "Lifecycle configuration elements".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from os.path import commonprefix

from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import ANONYMOUS, Context
from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Request
from nubelet.kernel.ids import new_request_id
from nubelet.kernel.reconcile import Reconciler
from nubelet.object_store.features.version_listings import LINKED
from nubelet.object_store.features.version_names import (
    DELETE_MARKER,
    hidden,
    is_id,
    start_of,
    version_id,
    visible,
)
from nubelet.object_store.s3 import (
    lifecycle_rules,
    lifecycles,
    multipart,
    names,
    parts,
    removing,
    versions,
)
from nubelet.object_store.s3.asked import Asked
from nubelet.object_store.s3.bodies import Upload
from nubelet.object_store.s3.lifecycle_rules import DAY_SECONDS, Rule, due
from nubelet.object_store.storage import (
    Listing,
    Missing,
    ObjectEntry,
    Outdated,
    Storage,
    timestamps,
)

log = logging.getLogger(__name__)
_PAGE = 1000
# With the rules: the last day (since 1970) whose work is done.
_DONE = "x-object-transient-sysmeta-s3-done"


class _ChangedError(Exception):
    """The bucket has other rules now, or none."""


class _Failures:
    """What could not be done: how much, and the first of it. The others are only logged."""

    def __init__(self) -> None:
        self.count = 0
        self.first: Exception | None = None

    def add(self, error: Exception, where: str) -> None:
        """Something could not be done there, the rest goes on."""
        self.count += 1
        self.first = self.first or error
        if not isinstance(error, ApiError):
            log.error("the lifecycle of %s", where, exc_info=error)


def age(cloud: Cloud) -> None:
    """Apply the rules of all buckets."""
    apply(cloud, clock.now() / 1e6)


def apply(cloud: Cloud, now: float) -> None:
    """Apply them as of a time (seconds since 1970). Raises the first of what could not be done,
    after everything else was done."""
    store = cloud.get(Storage)  # type: ignore[type-abstract]
    failures = _Failures()
    for entry in _pages(store, lifecycles.ACCOUNT, lifecycles.CONTAINER, "", written=False):
        account, bucket, token = entry.name.split("/", 2)
        try:
            if _is_of(store, account, bucket, token):
                _apply(cloud, store, account, bucket, token, now, failures)
            elif timestamps.seconds(entry.timestamp) < now - 7 * DAY_SECONDS:
                # A change of rules that was broken off, or the bucket is gone.
                lifecycles.forget(store, account, bucket, token)
        except _ChangedError:
            log.info("the lifecycle of %s/%s was changed", account, bucket)
        except Exception as error:
            failures.add(error, f"{account}/{bucket}")
    if failures.first is not None:
        log.warning("%d changes by lifecycles could not be made", failures.count)
        raise failures.first


def _is_of(store: Storage, account: str, bucket: str, token: str) -> bool:
    try:
        return lifecycles.token_of(store.container(account, bucket, totals=False)) == token
    except Missing:
        return False


def _apply(
    cloud: Cloud,
    store: Storage,
    account: str,
    bucket: str,
    token: str,
    now: float,
    failures: _Failures,
) -> None:
    path, policy = lifecycles.place(account, bucket, token), lifecycles.policy(store)
    try:
        opened = store.open_object(path, policy)
    except Missing:
        return
    try:
        lifecycle = lifecycle_rules.read(b"".join(opened.read()))
    finally:
        opened.close()
    today = str(int(now // DAY_SECONDS))
    if opened.metadata.get(_DONE) == today:
        return
    before = failures.count
    bucket_now = _Bucket(cloud, store, account, bucket, token, lifecycle.enabled, now, failures)
    for work in (bucket_now.keys, bucket_now.versions, bucket_now.uploads):
        work()
    if failures.count > before:
        return
    kind = opened.metadata.get("content-type", "")
    with suppress(Missing, Outdated):  # the rules were changed just now
        store.post_object(path, policy, timestamps.now(), {"content-type": kind, _DONE: today})


def _pages(
    store: Storage, account: str, container: str, prefix: str, *, written: bool = True
) -> Iterator[ObjectEntry]:
    """What a container holds, page by page; nothing where it is not there. Days go on whatever was
    POSTed since: entries tell when their data was `written`."""
    marker = ""
    while True:
        listing = Listing(limit=_PAGE, prefix=prefix, marker=marker, reserved=True, written=written)
        try:
            found = store.list_objects(account, container, listing)
        except Missing:
            return
        for entry in found:
            if isinstance(entry, ObjectEntry):
                yield entry
        if len(found) < _PAGE:
            return
        marker = found[-1].name


@dataclass(slots=True)
class _Group:
    """The versions of a key that were seen, the newest first."""

    key: str
    seen: int = 0
    left: int = 0
    newer: str = ""  # the id of the one that was seen before
    marker: str = ""  # the id of the newest, where that is a delete marker
    shares: parts.Shares = field(default_factory=parts.Shares)


class _Bucket:
    """One bucket, as of a time."""

    def __init__(
        self,
        cloud: Cloud,
        store: Storage,
        account: str,
        bucket: str,
        token: str,
        rules: Sequence[Rule],
        now: float,
        failures: _Failures,
    ) -> None:
        self._context = Context(cloud, "object_store", ANONYMOUS, request_id=new_request_id())
        self._store, self._account, self._bucket = store, account, bucket
        self._token, self._rules, self._now = token, rules, now
        self._failures = failures

    # --- Keys ---------------------------------------------------------------------------------

    def keys(self) -> None:
        """Let keys expire."""
        rules = [rule for rule in self._rules if rule.days or rule.date is not None]
        for entry in self._listed(self._bucket, rules, ""):
            linked = entry.etag.rpartition(LINKED)[2] if LINKED in entry.etag else ""
            since = timestamps.seconds(linked if is_id(linked) else entry.timestamp)
            if self._is_about(rules, entry.name, since):
                self._try(lambda name=entry.name: self._expire(name, rules))  # type: ignore[misc]

    def _is_about(self, rules: Sequence[Rule], key: str, since: float) -> bool:
        return any(key.startswith(each.prefix) for each in self._due(rules, since))

    def _expire(self, key: str, rules: Sequence[Rule]) -> None:
        at = self._at(key)
        seen = versions.written_at(self._store, at.path)
        if not seen:
            return
        found = at.look()
        if versions.written_at(self._store, at.path) != seen:
            return  # somebody writes it: it is young
        size, tags = lifecycles.size_of(found), lifecycles.tags_of(found)
        due_now = self._due(rules, lifecycles.made_at(found, seen))
        if any(rule.is_about(key, size, tags) for rule in due_now):
            removing.expire(at, seen)

    def _due(self, rules: Sequence[Rule], since: float) -> list[Rule]:
        """By which of the rules is what was written then to go?"""
        return [
            rule for rule in rules if (at := rule.expires_at(since)) is not None and at <= self._now
        ]

    # --- Versions -----------------------------------------------------------------------------

    def versions(self) -> None:
        """Remove versions that were replaced long enough ago, and markers that are left alone."""
        rules = [
            rule
            for rule in self._rules
            if rule.noncurrent_days or rule.removes_markers or rule.days or rule.date is not None
        ]
        group = _Group("")
        for entry in self._listed(hidden(self._bucket), rules, start_of("")):
            key, version = visible(entry.name), version_id(entry.name)
            if key != group.key:
                self._end(group, rules)
                group = _Group(key)
            is_marker = entry.content_type == DELETE_MARKER
            if not group.seen and is_marker:
                group.marker = version
            if not self._is_removed(group, version, is_marker, rules):
                group.left += 1
            group.seen += 1
            group.newer = version
        self._end(group, rules)

    def _is_removed(
        self, group: _Group, version: str, is_marker: bool, rules: Sequence[Rule]
    ) -> bool:
        # A version was made before it was replaced: of most this already says that they stay.
        made = timestamps.seconds(version)
        early = [
            rule
            for rule in rules
            if rule.noncurrent_days
            and group.key.startswith(rule.prefix)
            and due(made, rule.noncurrent_days) <= self._now
        ]
        return bool(early) and self._try(
            lambda: self._remove_noncurrent(group, version, is_marker, early)
        )

    def _remove_noncurrent(
        self, group: _Group, version: str, is_marker: bool, rules: Sequence[Rule]
    ) -> bool:
        at = self._at(group.key)
        current, since = versions.named(self._store, at.path)
        if version == current or (current is None and not group.seen):
            return False
        is_before = current is None or (is_id(current) and current > version)
        newer = group.seen - 1 if is_before else group.seen  # without the current one
        replaced = group.newer or since
        if current is not None and is_id(current) and version > current:
            replaced = max(replaced, since)  # the name was led back to an older version
        over = timestamps.seconds(replaced or version)
        fitting = [
            rule
            for rule in rules
            if due(over, rule.noncurrent_days) <= self._now and newer >= rule.noncurrent_kept
        ]
        if not fitting:
            return False
        size, tags = 0, dict[str, str]()
        if not is_marker:
            found = at.look({"version-id": version})
            size, tags = lifecycles.size_of(found), lifecycles.tags_of(found)
        if not any(rule.is_about(group.key, size, tags) for rule in fitting):
            return False
        removing.remove_version(at, version, unless_current=True, shares=group.shares)
        return True

    def _end(self, group: _Group, rules: Sequence[Rule]) -> None:
        """All versions of a key were seen."""
        if not group.marker or group.left != 1:
            return
        made = timestamps.seconds(group.marker)
        over = [rule for rule in rules if rule.removes_markers] + self._due(rules, made)
        if any(rule.is_about(group.key, 0, {}) for rule in over):
            self._try(lambda: self._remove_marker(group))

    def _remove_marker(self, group: _Group) -> None:
        at = self._at(group.key)
        left = [each.id for each in islice(versions.of_key(self._store, at.path, 2), 2)]
        if left == [group.marker] and versions.under_name(self._store, at.path) is None:
            removing.remove_version(at, group.marker)

    # --- Uploads ------------------------------------------------------------------------------

    def uploads(self) -> None:
        """Give up uploads that were begun long enough ago."""
        rules = [rule for rule in self._rules if rule.abort_days]
        for entry in self._listed(names.parts_of(self._bucket), rules, parts.UPLOADS):
            key, _, upload = entry.name[len(parts.UPLOADS) :].rpartition("/")
            begun = timestamps.seconds(entry.timestamp)
            if any(
                key.startswith(rule.prefix) and due(begun, rule.abort_days) <= self._now
                for rule in rules
            ):
                self._try(
                    lambda key=key, upload=upload: multipart.abort(  # type: ignore[misc]
                        self._at(key, uploadId=upload)
                    )
                )

    # --- All ----------------------------------------------------------------------------------

    def _listed(self, container: str, rules: Sequence[Rule], start: str) -> Iterator[ObjectEntry]:
        """The entries of a container that these rules can be about."""
        if not rules:
            return iter(())
        prefix = start + commonprefix([rule.prefix for rule in rules])  # noqa: RUF071 - of texts
        return _pages(self._store, self._account, container, prefix)

    def _at(self, key: str, **query: str) -> Asked:
        """A request about a key that nobody is asked about. Raises _ChangedError."""
        request = Request("DELETE", "", "", {}, {}, {})
        upload = Upload({}, request.chunks, None, b"")
        opened = {(self._account, name) for name in (self._bucket, names.parts_of(self._bucket))}
        asked = Asked(
            self._context,
            self._store,
            request,
            self._account,
            self._bucket,
            key,
            query,
            upload,
            opened=opened,
        )
        if lifecycles.token_of(asked.bucket_info()) != self._token:
            raise _ChangedError
        return asked

    def _try(self, change: Callable[[], object]) -> bool:
        """Was it done? What is refused (it is locked, gone, or has changed) stays as it is."""
        try:
            return change() is not False
        except _ChangedError:
            raise
        except Exception as error:
            if not isinstance(error, ApiError) or error.status >= 500:
                self._failures.add(error, f"{self._account}/{self._bucket}")
            return False


RECONCILERS = (Reconciler("object-store-lifecycles", 300.0, age),)
