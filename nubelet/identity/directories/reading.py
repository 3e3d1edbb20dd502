"""When directories are read: at a login, for a list of their domain, and now and then.

A directory that does not answer is left alone for a while: everybody who needs it learns the reason
at once, and nobody's thread waits for it in the meantime. All else goes on with what is mirrored.

In OpenStack: keystone/identity/core.py DomainConfigs, and the caches around it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nubelet.identity import directories
from nubelet.identity.directories import Directory, DirectoryUnavailable, mirror
from nubelet.identity.domain_config import options
from nubelet.kernel.cloud import Cloud

log = logging.getLogger(__name__)
REST_SECONDS = 15.0  # that a directory is left alone after it did not answer


class Directories:
    """The directories of a cloud, as one process knows them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._read_at: dict[str, float] = {}
        self._failed: dict[str, tuple[float, str]] = {}  # until when, and why

    def refresh(self, cloud: Cloud, domain_id: str | None) -> None:
        """Before a list of a domain: mirror its directory, where it has one and that was not done
        a short while ago. Raises DirectoryUnavailable. Not inside a transaction."""
        if domain_id is None or domain_id not in self.domains(cloud):
            return
        most = cloud.settings.identity.directory_refresh_seconds
        with self._lock_of(domain_id):
            read_at = self._read_at.get(domain_id)
            if read_at is None or time.monotonic() - read_at > most:
                self.read(cloud, domain_id)

    def read(self, cloud: Cloud, domain_id: str) -> list[str]:
        """Mirror the whole directory of a domain. Answers what could not be taken over; raises
        DirectoryUnavailable."""
        with self.open(cloud, domain_id) as directory:
            users, groups = list(directory.users()), list(directory.groups())
        problems: list[str] = cloud.database.transact(
            lambda tx: mirror.write(tx, domain_id, users, groups)
        )
        self._read_at[domain_id] = time.monotonic()
        for problem in problems:
            log.warning("%s", problem)
        return problems

    def probe(self, cloud: Cloud, domain_id: str) -> None:
        """Raise DirectoryUnavailable unless the directory of a domain can be read now."""
        self._failed.pop(domain_id, None)
        with self.open(cloud, domain_id) as directory:
            next(iter(directory.users()), None)

    def prove(
        self, cloud: Cloud, domain_id: str, name: str | None, local_id: str | None, password: str
    ) -> str | None:
        """The id of the user (by name, else by the directory's id) whose password that is; None
        for nobody. Raises DirectoryUnavailable."""
        with self.open(cloud, domain_id) as directory:
            found = directory.find_user(name) if name is not None else None
            if found is not None:
                local_id = found.local_id
            elif name is not None:
                local_id = None
            if not directory.authenticate(local_id, password) or local_id is None:
                return None
            groups = list(directory.groups_of(local_id))
        if found is None:
            return mirror.public_id(domain_id, "user", local_id)
        identifier: str | None = cloud.database.transact(
            lambda tx: mirror.write_user(tx, domain_id, found, groups)
        )
        return identifier

    def domains(self, cloud: Cloud) -> dict[str, str]:
        """The domains that have a directory, with the name of its driver."""
        with cloud.database.read() as tx:
            return options.drivers(tx)

    @contextmanager
    def open(self, cloud: Cloud, domain_id: str) -> Iterator[Directory]:
        """The directory of a domain; raises DirectoryUnavailable, at once where it was down a
        moment ago."""
        until, reason = self._failed.get(domain_id, (0.0, ""))
        if until > time.monotonic():
            raise DirectoryUnavailable(reason)
        try:
            directory = self._make(cloud, domain_id)
            try:
                yield directory
            finally:
                directory.close()
        except DirectoryUnavailable as error:
            self._failed[domain_id] = (time.monotonic() + REST_SECONDS, error.message)
            raise

    def changed(self) -> None:
        """Some domain was configured: what is known of failures does not count any more."""
        self._failed.clear()
        self._read_at.clear()

    def _make(self, cloud: Cloud, domain_id: str) -> Directory:
        with cloud.database.read() as tx:
            name = options.drivers(tx).get(domain_id, directories.SQL)
            driver = directories.find(name)
            if driver is None:
                raise DirectoryUnavailable(
                    f"The domain {domain_id} has its users in {name}, and no driver of that name "
                    f"is installed; there are {', '.join([directories.SQL, *directories.names()])}."
                )
            values = options.effective(cloud, tx, domain_id, driver)
        try:
            return driver.open(values)
        except (ValueError, TypeError) as error:
            raise DirectoryUnavailable(
                f"The configuration of the domain {domain_id} does not fit its driver {name}: "
                f"{error}."
            ) from None
        except ImportError as error:
            raise DirectoryUnavailable(
                f"The driver {name} of the domain {domain_id} cannot be loaded: {error}."
            ) from None

    def _lock_of(self, domain_id: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(domain_id, threading.Lock())
