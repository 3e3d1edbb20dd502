"""One S3 request as its operations see it, and how they ask the store.

Operations are functions `(Asked) -> Response`. They do nothing by themselves: each asks the same
pipeline that serves Swift's API (copies, quotas, large objects, versions, links), with the caller's
rights, and says the answer in S3's words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import quote, unquote

from nubelet.kernel.context import Context
from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Request, Response
from nubelet.object_store import limits
from nubelet.object_store.api import objects
from nubelet.object_store.api.dispatch import dispatch
from nubelet.object_store.call import Body, Call, Proceed, chain, no_body
from nubelet.object_store.features import (
    authorization,
    copying,
    dlo,
    history,
    object_lock,
    quotas,
    read_only,
    slo,
    symlinks,
    versions,
)
from nubelet.object_store.features.segments import SegmentRefused
from nubelet.object_store.features.version_names import DELETE_MARKER
from nubelet.object_store.s3 import customer_keys, names, owners, rules
from nubelet.object_store.s3.bodies import Upload
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage import (
    ContainerInfo,
    Missing,
    ObjectPath,
    Storage,
    timestamps,
)

# A note: what each piece of a written body is told to, for checksums.
SUMMED = "summed"


def _summing(call: Call, proceed: Proceed) -> Response:
    told = call.notes.pop(SUMMED, None)
    if told is not None:
        body = call.body
        call.body = lambda size: _telling(body(size), told)
    return proceed(call)


def _telling(pieces: Iterator[bytes], told: Callable[[bytes], None]) -> Iterator[bytes]:
    for piece in pieces:
        told(piece)
        yield piece


# Of pipeline.FEATURES those that are about data: names, signatures and words are S3's own.
_proceed = chain(
    (
        read_only.read_only,
        copying.copying,
        object_lock.object_lock,
        _summing,
        quotas.container_quotas,
        quotas.account_quotas,
        slo.slo,
        dlo.dlo,
        customer_keys.customer_keys,
        history.history,
        versions.versions,
        symlinks.symlinks,
    ),
    dispatch,
)
MAX_DOCUMENT_BYTES = 4 << 20  # ten thousand parts with their checksums


@dataclass(slots=True)
class Asked:
    """What is asked, by whom. account: whose bucket it is (the caller's, unless named).

    query: the first value of each name. action: what that is called in policies, without `s3:`.
    subresource: which name of the query chose the operation.
    opened: containers in which everything was decided before. readable: what it was decided of that
    the caller may read it. writable: objects that what was decided lets the request write.
    allow: asks the access rules of the caller, who may have none; allowed: of what they were asked
    before, for the request.
    """

    ctx: Context
    store: Storage
    request: Request
    account: str
    bucket: str
    key: str
    query: Mapping[str, str]
    upload: Upload
    action: str = ""
    subresource: str = ""
    opened: set[tuple[str, str]] = field(default_factory=set)
    readable: set[ObjectPath] = field(default_factory=set)
    writable: set[ObjectPath] = field(default_factory=set)
    allow: authorization.Allow | None = None
    allowed: ObjectPath | None = None
    _seen: dict[tuple[str, str], ContainerInfo | None] = field(default_factory=dict)
    _document: bytes | None = None

    @property
    def own(self) -> str:
        """The account of the caller's project; empty for anonymous callers."""
        project = self.ctx.project_id
        return f"{authorization.PREFIX}{project}" if project else ""

    @property
    def path(self) -> ObjectPath:
        """Where the key is."""
        return ObjectPath(self.account, self.bucket, self.key)

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers."""
        return self.request.headers

    def call(
        self,
        method: str,
        *,
        container: str | None = None,
        object: str | None = None,  # noqa: A002
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: Body = no_body,
    ) -> Call:
        """A call about the bucket and key, or others, for the caller."""
        return Call(
            self.ctx,
            self.store,
            self.request,
            method,
            account=self.account,
            container=self.bucket if container is None else container,
            object=self.key if object is None else object,
            headers=dict(headers or {}),
            query=dict(query or {}),
            body=body,
            notes={objects.LONGEST_VALUE: limits.MAX_HEADER_SIZE},
            _seen=self._seen,
        )

    def ask(self, call: Call) -> Response:
        """The store's answer, an error as one of S3's."""
        # What was decided was decided of the bucket: a link in it may lead elsewhere.
        call.notes[symlinks.ASKED] = partial(rules.decide, self)
        if call.authority is None and not call.notes.get("decided"):
            call.authority = partial(rules.decide, self)
            call.is_owner = authorization.is_owner(call)
        try:
            return _proceed(call)
        except S3Error:
            raise
        except ApiError as error:
            raise self.refusal(call, error) from None

    def refusal(self, call: Call, error: ApiError) -> ApiError:
        """An error of the store in S3's words, which tell a missing bucket from a missing key."""
        if isinstance(error, SegmentRefused):
            return S3Error("AccessDenied", error.message)
        if error.status == 404 and call.container:
            if call.container_info() is None:
                return S3Error("NoSuchBucket", BucketName=call.container)
            if call.object and error.headers.get("Content-Type") == DELETE_MARKER:
                return self._of_marker(error.headers.get("X-Object-Version-Id", ""))
            if call.object and (version := call.query.get("version-id")):
                version = self.query.get("versionId", version)
                return S3Error("NoSuchVersion", Key=call.object, VersionId=version)
            if call.object:
                return S3Error("NoSuchKey", Key=call.object)
            return S3Error("NoSuchBucket", BucketName=call.container)
        return error

    def _of_marker(self, version: str) -> S3Error:
        error = S3Error(
            "MethodNotAllowed",
            "The version is a delete marker.",
            Method=self.request.method,
            ResourceType="DeleteMarker",
        )
        error.headers |= {
            "x-amz-delete-marker": "true",
            "x-amz-version-id": self.query.get("versionId", version),
            "Allow": "DELETE",
            "Last-Modified": timestamps.http_date(version),
        }
        return error

    def seen_bucket(self) -> ContainerInfo | None:
        """The bucket, if this request has looked at it already."""
        return self._seen.get((self.account, self.bucket))

    def bucket_info(self) -> ContainerInfo:
        """The bucket; raises NoSuchBucket."""
        info = self.call("HEAD", object="").container_info()
        if info is None:
            raise S3Error("NoSuchBucket", BucketName=self.bucket)
        return info

    def require_permitted(self) -> ContainerInfo:
        """The bucket, if the caller may do what is asked with it or its key: its owner may, and
        whom its policy or a grant lets; raises AccessDenied, NoSuchBucket."""
        info = self.bucket_info()
        rules.decide(self, self.call("POST"), "")
        return info

    def require_rule(self, method: str, path: ObjectPath) -> None:
        """Raise Forbidden unless the caller's access rules, if there are any, allow this as if it
        were a request of its own."""
        if self.allow is None:
            return
        account, bucket, key = path
        rest = f"{bucket}/{key}" if key else bucket
        paths = [f"/s3/{account.removeprefix(authorization.PREFIX)}:{rest}"]
        if account == self.own or account_of(self.store, bucket, self.own)[0] == account:
            paths.insert(0, f"/s3/{rest}")  # what the name alone means to the caller
        authorization.require_rule(self.allow, method, paths)

    def look(self, query: Mapping[str, str] | None = None) -> Response:
        """The HEAD of the key as it was last written, after it was decided that the caller may do
        what is asked."""
        call = self.call("HEAD", headers={"x-newest": "true"}, query=query)
        call.notes["decided"] = True
        return self.ask(call)

    def document(self) -> bytes:
        """The body of a request that is one small document, checked. A condition of the bucket's
        policy may be about it before the operation is."""
        if self._document is not None:
            return self._document
        parts, size = [], 0
        for piece in self.upload.pieces(1 << 16):
            size += len(piece)
            if size > MAX_DOCUMENT_BYTES:
                raise S3Error("MalformedXML", "The document is too long.")
            parts.append(piece)
        self.upload.check()
        self._document = b"".join(parts)
        return self._document

    def note(self, more: Mapping[str, str] | None = None, **metadata: str) -> None:
        """Keep something with the bucket (`x-container-sysmeta-s3-<name>`), and `more` headers of
        the container; empty removes it. That the caller may was decided before."""
        headers = {f"{NOTED}{name}": value for name, value in metadata.items()}
        for name, value in headers.items():
            if len(value) > _LONGEST_NOTE:
                raise S3Error("InvalidRequest", f"{name.removeprefix(NOTED)} is too long.")
        call = self.call("POST", object="", headers={**headers, **(more or {})})
        call.notes["decided"] = True
        self.ask(call)


NOTED = rules.NOTED
_LONGEST_NOTE = 64 << 10


def noted(info: ContainerInfo, name: str) -> str:
    """What was kept with a bucket."""
    return info.metadata.get(NOTED + name, "")


def source_of_copy(asked: Asked) -> tuple[str, str, str, str]:
    """Account, bucket, key and version of `x-amz-copy-source`; raises InvalidArgument,
    InvalidBucketName."""
    sent = asked.headers["x-amz-copy-source"]
    path, _, query = sent.partition("?")
    bucket, _, key = unquote(path).removeprefix("/").partition("/")
    version = query.removeprefix("versionId=") if query.startswith("versionId=") else ""
    if not bucket or not key or (query and not version):
        raise S3Error("InvalidArgument", "x-amz-copy-source must be /bucket/key[?versionId=id].")
    if not names.is_bucket(bucket.rpartition(":")[2]):  # a bucket's policy speaks of no other
        raise S3Error("InvalidBucketName", BucketName=bucket)
    account, bucket = account_of(asked.store, bucket, asked.own)
    return account, bucket, key, version


def account_of(store: Storage, bucket: str, own: str) -> tuple[str, str]:
    """Whose bucket it is, and its name: `project:bucket` names another project's; alone it is the
    caller's, or (owners.py) that of who took the name. Empty: nobody's."""
    project, colon, name = bucket.rpartition(":")
    if colon and project:
        return authorization.PREFIX + project, name
    if not bucket or (own and _exists(store, own, bucket)):
        return own, bucket
    return owners.owner_of(store, bucket) or own, bucket


def _exists(store: Storage, account: str, container: str) -> bool:
    try:
        store.container(account, container)
    except Missing:
        return False
    return True


def copy_headers(asked: Asked) -> dict[str, str]:
    """What makes a PUT a copy, in the words of the store."""
    account, bucket, key, _version = source_of_copy(asked)
    return {
        "x-copy-from": quote(f"{bucket}/{key}"),
        "x-copy-from-account": quote(account),
        "content-length": "0",
    }
