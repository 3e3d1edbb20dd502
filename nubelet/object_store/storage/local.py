"""Storage in one folder: nothing to configure, one copy of everything.

    accounts/<partition>/<suffix>/<hash>/<hash>.db      an account's listing (accounts.py)
    containers/<partition>/<suffix>/<hash>/<hash>.db    a container's listing (containers.py)
    objects[-N]/..., tmp/                               objects (objects.py)
    locks/NN                                            held while an object gets its name
    changed/<hash of account>/<hash of container>       containers whose account must learn
    deleted/<hash of account>                           accounts that the reaper looks at

Any number of processes may work on one folder. `catch_up` finishes what processes left that
ended in mid-work; a reconciler calls it.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from nubelet.object_store.storage import (
    EXPIRING_ACCOUNT,
    AccountInfo,
    ContainerEntry,
    ContainerInfo,
    Finish,
    Listing,
    Missing,
    ObjectEntry,
    ObjectPath,
    Policies,
    PreconditionFailed,
    Stored,
    Subdirectory,
)
from nubelet.object_store.storage.accounts import AccountFile
from nubelet.object_store.storage.containers import Change, ContainerFile, ObjectRow, row_of
from nubelet.object_store.storage.hashing import Hashing, data_folder, own_words
from nubelet.object_store.storage.objects import ObjectFiles, Opened
from nubelet.object_store.storage.sqlite import NotMade, OpenFiles
from nubelet.object_store.storage.timestamps import Timestamp, normal

log = logging.getLogger(__name__)
# One device has the one partition: fewer folders, each of which costs an fsync when it is made.
PART_POWER = 0
RECLAIM_SECONDS = 24 * 3600
_NEVER: Timestamp = "9999999999.99999"
_QUEUE_CONTAINER_SECONDS = 86_400


class LocalStorage:
    """`Storage` in a folder."""

    def __init__(self, folder: Path, policies: Policies) -> None:
        self.policies = policies
        self.folder = str(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.hashing = Hashing(own_words(folder), PART_POWER)
        self.objects = ObjectFiles(self.folder, locks=f"{self.folder}/locks")
        self._accounts = OpenFiles(AccountFile)
        self._containers = OpenFiles(ContainerFile)

    def close(self) -> None:
        """Close the listing files."""
        self._accounts.close()
        self._containers.close()

    # --- Accounts ----------------------------------------------------------------------------

    def account(self, account: str, *, totals: bool = True, newest: bool = False) -> AccountInfo:
        """See Storage. Containers that changed tell their totals first, if those are wanted."""
        digest = self.hashing.hash(account)
        if totals:
            self._collect(digest)
        with self._accounts.use(self._db("accounts", digest)) as file:
            return file.info(totals=totals)

    def put_account(self, account: str, timestamp: Timestamp, metadata: Mapping[str, str]) -> bool:
        """See Storage."""
        with self._accounts.use(self._db("accounts", self.hashing.hash(account))) as file:
            return file.put(account, timestamp, metadata)

    def post_account(self, account: str, timestamp: Timestamp, metadata: Mapping[str, str]) -> None:
        """See Storage."""
        with self._accounts.use(self._db("accounts", self.hashing.hash(account))) as file:
            file.post(timestamp, metadata)

    def delete_account(self, account: str, timestamp: Timestamp) -> None:
        """See Storage."""
        digest = self.hashing.hash(account)
        with self._accounts.use(self._db("accounts", digest)) as file:
            file.delete(timestamp)
        self._note_deleted(digest)

    def list_containers(
        self, account: str, listing: Listing
    ) -> list[ContainerEntry | Subdirectory]:
        """See Storage."""
        digest = self.hashing.hash(account)
        self._collect(digest)
        with self._accounts.use(self._db("accounts", digest)) as file:
            return file.entries(listing)

    # --- Containers --------------------------------------------------------------------------

    def container(
        self, account: str, container: str, *, totals: bool = True, newest: bool = False
    ) -> ContainerInfo:
        """See Storage."""
        digest = self.hashing.hash(account, container)
        with self._containers.use(self._db("containers", digest)) as file:
            return file.info()

    def put_container(
        self,
        account: str,
        container: str,
        timestamp: Timestamp,
        metadata: Mapping[str, str],
        policy: int | None = None,
    ) -> bool:
        """See Storage."""
        digest = self.hashing.hash(account, container)
        with self._containers.use(self._db("containers", digest)) as file:
            is_new = file.put(
                account, container, timestamp, metadata, policy, self.policies.default.index
            )
        if is_new:
            self._changed(account, container)
            self._collect(self.hashing.hash(account))
        return is_new

    def post_container(
        self, account: str, container: str, timestamp: Timestamp, metadata: Mapping[str, str]
    ) -> None:
        """See Storage."""
        digest = self.hashing.hash(account, container)
        with self._containers.use(self._db("containers", digest)) as file:
            file.post(timestamp, metadata)

    def delete_container(self, account: str, container: str, timestamp: Timestamp) -> None:
        """See Storage."""
        digest = self.hashing.hash(account, container)
        with self._containers.use(self._db("containers", digest)) as file:
            file.delete(timestamp)
        self._changed(account, container)
        self._collect(self.hashing.hash(account))

    def list_objects(
        self, account: str, container: str, listing: Listing
    ) -> list[ObjectEntry | Subdirectory]:
        """See Storage."""
        digest = self.hashing.hash(account, container)
        with self._containers.use(self._db("containers", digest)) as file:
            return file.entries(listing)

    def changes(self, account: str, container: str, after: int, limit: int) -> list[Change]:
        """What changed in a container after a change, in order; raises Missing."""
        digest = self.hashing.hash(account, container)
        with self._containers.use(self._db("containers", digest)) as file:
            return file.changes(after, limit)

    def remove_entry(self, account: str, container: str, name: str, timestamp: Timestamp) -> None:
        """See Storage."""
        self._merge(account, container, ObjectRow(name, timestamp, timestamp, 0, "", "", 1, 0))

    # --- Objects -----------------------------------------------------------------------------

    def open_object(self, path: ObjectPath, policy: int, *, newest: bool = False) -> Opened:
        """See Storage; the only copy is the newest."""
        return self.objects.open(policy, self._place(path))

    def put_object(
        self,
        path: ObjectPath,
        policy: int,
        timestamp: Timestamp,
        metadata: Mapping[str, str],
        body: Iterable[bytes],
        *,
        finish: Finish | None = None,
        expected: Timestamp | None = None,
    ) -> Stored:
        """See Storage."""
        place = self._place(path)
        if expected is not None:  # before the body is read; it counts when the write does
            self.objects.check_expected(policy, place, expected)
        named = {**metadata, "name": str(path), "x-backend-policy": str(policy)}
        writing = self.objects.write(
            policy, place, timestamp, named, body, finish, expected=expected
        )
        with writing as (stored, final):
            if "x-delete-at" in final:
                self._queue_expiry(path, int(final["x-delete-at"]), timestamp)
            self._merge(path.account, path.container, row_of(path.object, policy, final))
        return stored

    def post_object(
        self, path: ObjectPath, policy: int, timestamp: Timestamp, metadata: Mapping[str, str]
    ) -> None:
        """See Storage."""
        place = self._place(path)
        self.objects.open(policy, place).close()  # raises Missing
        named = {**metadata, "name": str(path), "x-backend-policy": str(policy)}
        with self.objects.mark(policy, place, timestamp, named, ".meta"):
            if "x-delete-at" in metadata:
                self._queue_expiry(path, int(metadata["x-delete-at"]), timestamp)
            self._tell_listing(path, policy)

    def delete_object(
        self,
        path: ObjectPath,
        policy: int,
        timestamp: Timestamp,
        *,
        if_delete_at: int | None = None,
    ) -> None:
        """See Storage."""
        place = self._place(path)
        found = self.objects.state(policy, place)
        if if_delete_at is not None and found.is_there:
            with_metadata = self.objects.open(policy, place)
            with_metadata.close()
            if with_metadata.metadata.get("x-delete-at") != str(if_delete_at):
                raise PreconditionFailed("The object expires at another time, or never.")
        if not found.is_there:
            raise Missing("object", path.object, found.timestamp)
        named = {"name": str(path), "x-backend-policy": str(policy)}
        with self.objects.mark(policy, place, timestamp, named, ".ts"):
            self._merge(
                path.account,
                path.container,
                ObjectRow(path.object, timestamp, timestamp, 0, "", "", 1, policy),
            )

    # --- Listings follow ---------------------------------------------------------------------

    def _merge(self, account: str, container: str, row: ObjectRow) -> None:
        digest = self.hashing.hash(account, container)
        with self._containers.use(self._db("containers", digest)) as file:
            try:
                file.merge((row,))
            except NotMade:
                raise Missing("container", container) from None
        self._changed(account, container)

    def _tell_listing(self, path: ObjectPath, policy: int) -> None:
        """Bring the listing to what the object's folder says."""
        place = self._place(path)
        try:
            opened = self.objects.open(policy, place)
        except Missing as missing:
            if missing.timestamp:
                gone = missing.timestamp
                row = ObjectRow(path.object, gone, gone, 0, "", "", 1, policy)
                self._merge(path.account, path.container, row)
            return
        opened.close()
        self._merge(path.account, path.container, row_of(path.object, policy, opened.metadata))

    def _queue_expiry(self, path: ObjectPath, at: int, timestamp: Timestamp) -> None:
        """Note in the expirer's queue that the object ends then."""
        container = str(at - at % _QUEUE_CONTAINER_SECONDS)
        digest = self.hashing.hash(EXPIRING_ACCOUNT, container)
        row = ObjectRow(f"{at:010d}-{path}", timestamp, timestamp, 0, "text/plain", "", 0, 0)
        with self._containers.use(self._db("containers", digest)) as file:
            if not file.exists():
                self.put_account(EXPIRING_ACCOUNT, timestamp, {})
                self.put_container(EXPIRING_ACCOUNT, container, timestamp, {})
            file.merge((row,))

    def _changed(self, account: str, container: str) -> None:
        """Note that the totals of a container are news for its account."""
        folder = f"{self.folder}/changed/{self.hashing.hash(account)}"
        marker = f"{folder}/{self.hashing.hash(account, container)}"
        with suppress(FileNotFoundError):
            os.stat(marker)  # which costs less than to open it; whoever takes it finds this news
            return
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_WRONLY, 0o600))
        except FileNotFoundError:
            os.makedirs(folder, 0o700, exist_ok=True)
            os.close(os.open(marker, os.O_CREAT | os.O_WRONLY, 0o600))

    def _collect(self, account_digest: str) -> None:
        """Let the containers of an account that changed tell their totals."""
        folder = f"{self.folder}/changed/{account_digest}"
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return
        for name in names:
            digest = name.partition(".")[0]
            taken = f"{folder}/{digest}.{secrets.token_hex(6)}"
            # A change from now on makes a new marker; this one lives until its news are told.
            with suppress(FileNotFoundError):
                os.rename(f"{folder}/{name}", taken)
                self._report(digest)
                os.unlink(taken)

    def _report(self, container_digest: str) -> None:
        with self._containers.use(self._db("containers", container_digest)) as container:
            totals = container.unreported()
            if totals is None:
                return
            with container.read() as db:
                account, name = db.execute("SELECT account, container FROM info").fetchone()
            digest = self.hashing.hash(account)
            with self._accounts.use(self._db("accounts", digest)) as file:
                if file.exists():
                    file.merge(name, totals)
                    container.reported(totals)

    def places(self, account: str, container: str, name: str, policy: int) -> list[str]:
        """Where an account, container or object is kept: one folder, as a URL."""
        if name:
            place = f"{data_folder(policy)}/{self._place(ObjectPath(account, container, name))}"
            return [_file_url(f"{self.folder}/{place}")]
        digest = self.hashing.hash(account, container)
        return [_file_url(self._db("containers" if container else "accounts", digest))]

    # --- What was left behind ----------------------------------------------------------------

    def catch_up(self, *, thorough: bool = False) -> None:
        """Finish what processes left that were killed: listings, totals, temporary files.

        thorough: look at every listing file, also forget tombstones nobody needs any more.
        """
        for extension, metadata in self.objects.unfinished():
            if "name" not in metadata:
                continue
            _, account, container, name = metadata["name"].split("/", 3)
            path = ObjectPath(account, container, name)
            policy = int(metadata.get("x-backend-policy", "0"))
            log.info("finishing %s of %s", extension, path)
            self.objects.tidy(self.objects.folder_of(policy, self._place(path)))
            try:
                if extension != ".ts" and "x-delete-at" in metadata:
                    self._queue_expiry(path, int(metadata["x-delete-at"]), metadata["x-timestamp"])
                self._tell_listing(path, policy)
            except Missing:
                log.warning("%s has no container: its listing cannot be told", path)
        with suppress(FileNotFoundError):
            for digest in os.listdir(f"{self.folder}/changed"):
                self._collect(digest)
        if thorough:
            self._look_at_all()

    def _look_at_all(self) -> None:
        before = normal(time.time() - RECLAIM_SECONDS)
        for database in self._databases("containers"):
            self._report(Path(database).stem)
            with self._containers.use(database) as file:
                file.reclaim(before)
                if file.is_forgotten(before):
                    file.remove(lambda _, file=file: file.is_forgotten(before))  # type: ignore[misc]
        for database in self._databases("accounts"):
            with self._accounts.use(database) as account:
                account.reclaim(before)
                if account.left(_NEVER, 1):
                    self._note_deleted(Path(database).stem)
                if account.is_forgotten(before):
                    account.remove(lambda _, file=account: file.is_forgotten(before))  # type: ignore[misc]
        for policy in self.policies:
            self._reclaim_objects(policy.index, before)

    def left_of_accounts(self, delay_seconds: float) -> Iterator[tuple[str, str]]:
        """(account, container) of what is left of accounts deleted at least so long ago."""
        # Timestamps of writes may run ahead of the clock: without a delay it is not asked.
        before = normal(time.time() - delay_seconds) if delay_seconds else _NEVER
        with suppress(FileNotFoundError):
            for digest in os.listdir(f"{self.folder}/deleted"):
                with self._accounts.use(self._db("accounts", digest)) as file:
                    left = file.left(before)
                    if not left and not file.left(_NEVER, 1):
                        os.unlink(f"{self.folder}/deleted/{digest}")
                yield from left

    def _note_deleted(self, account_digest: str) -> None:
        """The reaper shall look at an account."""
        os.makedirs(f"{self.folder}/deleted", 0o700, exist_ok=True)
        Path(f"{self.folder}/deleted/{account_digest}").touch(0o600)

    def _databases(self, kind: str) -> Iterator[str]:
        for path in Path(self.folder, kind).glob("*/*/*/*.db"):
            yield str(path)

    def _reclaim_objects(self, policy: int, before: Timestamp) -> None:
        """Remove old tombstones and the empty folders that they leave."""
        root = Path(self.folder, data_folder(policy))
        for folder in root.glob("*/*/*"):
            names = os.listdir(folder)
            if len(names) == 1 and names[0].endswith(".ts") and names[0] < before:
                with suppress(FileNotFoundError):
                    os.unlink(folder / names[0])
            with suppress(OSError):
                os.rmdir(folder)

    def _place(self, path: ObjectPath) -> str:
        return self.hashing.folder(self.hashing.hash(*path))

    def _db(self, kind: str, digest: str) -> str:
        return f"{self.folder}/{kind}/{self.hashing.folder(digest)}/{digest}.db"


def _file_url(path: str) -> str:
    return f"file://{socket.gethostname()}{quote(os.path.abspath(path))}"
