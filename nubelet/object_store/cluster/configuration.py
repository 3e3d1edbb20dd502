"""What all machines of a cluster share: one folder, the same on each.

    cluster.toml       the words names are hashed with, the key of the nodes, the policies
    account.ring  container.ring  object.ring  object-1.ring ...

```toml
hash_words = "..."       # never change it: nothing would be found again
key = "..."              # signs the calls between nodes; at least 32 characters

[[policies]]
index = 0
name = "gold"
default = true
```

In OpenStack: swift.conf and /etc/swift/*.ring.gz.
"""

from __future__ import annotations

import os
import secrets
import tomllib
from pathlib import Path

import msgspec

from nubelet.decoding import prepared
from nubelet.object_store.cluster.erasure import Coding
from nubelet.object_store.ring import Ring
from nubelet.object_store.ring.ring import RingFile
from nubelet.object_store.storage import Policies, Policy

_MIN_KEY = 32


class ConfigurationError(ValueError):
    """The folder of the cluster is not as it must be; says what is wrong."""


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way of storing objects: its ring says on which devices, and how many replicas."""

    index: int
    name: str
    default: bool = False
    aliases: tuple[str, ...] = ()
    data: int = 0
    parity: int = 0
    segment_bytes: int = 1 << 20
    """With `data` the objects are erasure-coded: any so many of the `data` + `parity` fragments
    give an object back, one of which is on each device that the ring names."""


class Timing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long things may take, in seconds."""

    connect_seconds: float = 1.0
    answer_seconds: float = 15.0
    update_seconds: float = 2.0
    """How long a PUT waits for the container's listing before it leaves that to the updater."""
    shun_seconds: float = 10.0
    """How long a node that failed is asked last."""
    ring_seconds: float = 5.0
    """How often the files of the rings are looked at."""
    pass_seconds: float = 30.0
    """How often each daemon starts a pass."""
    audit_pass_seconds: float = 1800.0
    """How often everything is read again."""
    update_pass_seconds: float = 5.0
    """How often what listings must still learn is sent, and how long that waits for slow nodes."""
    reap_delay_seconds: float = 0.0
    """How long the objects of a deleted account are kept."""
    reclaim_seconds: float = 7 * 86400
    """How long the mark of a deletion is kept; no node may be away for longer."""


class ShardingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When containers are sharded."""

    objects: int = 1_000_000
    """A container, or a shard, with more is split into shards of half as many; two neighbours that
    have fewer than a fifth together are merged. 0: never."""


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    hash_words: str
    key: str
    policies: tuple[PolicySettings, ...] = (PolicySettings(index=0, name="Policy-0"),)
    timing: Timing = Timing()
    sharding: ShardingSettings = ShardingSettings()


class Cluster:
    """The shared settings and rings, which are read again when their files change."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigurationError, RingFileError."""
        self.folder = folder
        path = folder / "cluster.toml"
        try:
            file = msgspec.convert(tomllib.loads(path.read_text("utf-8")), prepared(_File))
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise ConfigurationError(f"{path}: {error}") from error
        if len(file.key) < _MIN_KEY:
            raise ConfigurationError(f"{path}: the key needs at least {_MIN_KEY} characters")
        if not file.hash_words:
            raise ConfigurationError(f"{path}: hash_words is empty")
        self.key = file.key.encode()
        self.hash_words = file.hash_words
        self.timing = file.timing
        self.sharding = file.sharding
        self.policies = _policies(path, file.policies)
        self._codings = {
            each.index: Coding(each.data, each.parity, each.segment_bytes)
            for each in file.policies
            if each.data
        }
        self._accounts = self._ring("account")
        self._containers = self._ring("container")
        self._objects = {policy.index: self._ring(_object_ring(policy.index))
                         for policy in self.policies}  # fmt: skip
        self._check_codings(path)

    @property
    def account_ring(self) -> Ring:
        """Where accounts are."""
        return self._accounts.ring

    @property
    def container_ring(self) -> Ring:
        """Where containers are."""
        return self._containers.ring

    def object_ring(self, policy: int) -> Ring:
        """Where objects of a policy are; KeyError for an unknown policy."""
        return self._objects[policy].ring

    def coding(self, policy: int) -> Coding | None:
        """How its objects are erasure-coded; None for a replicated policy."""
        return self._codings.get(policy)

    def has_policy(self, policy: int) -> bool:
        """Is there such a policy?"""
        return policy in self._objects

    def is_growing(self, policy: int) -> bool:
        """Is its partition power being raised?"""
        return self.object_ring(policy).next_part_power is not None

    def listing_ring(self, kind: str) -> Ring:
        """That of "accounts" or "containers"."""
        return self.account_ring if kind == "accounts" else self.container_ring

    def ring_versions(self) -> dict[str, int]:
        """The version of each ring that is used now: account, container, object-0 ..."""
        rings = {"account": self.account_ring, "container": self.container_ring}
        for policy in self.policies:
            rings[f"object-{policy.index}"] = self.object_ring(policy.index)
        return {name: ring.version for name, ring in rings.items()}

    def _check_codings(self, path: Path) -> None:
        for policy, coding in self._codings.items():
            if coding.parity < 1 or coding.count > 32 or coding.segment_bytes < 4096:
                raise ConfigurationError(
                    f"{path}: policy {policy}: parity is 1 or more, data + parity at most 32, "
                    "segment_bytes 4096 or more"
                )
            if self.object_ring(policy).replicas != coding.count:
                raise ConfigurationError(
                    f"{path}: policy {policy}: its ring must have {coding.count} replicas"
                )
            try:
                coding.fragment_size(coding.segment_bytes)
            except ImportError as error:
                raise ConfigurationError(
                    f"policy {policy} is erasure-coded: install nubelet[erasure-coding] ({error})"
                ) from error

    def _ring(self, name: str) -> RingFile:
        return RingFile(
            self.folder / f"{name}.ring",
            suffix=self.hash_words.encode(),
            check_seconds=self.timing.ring_seconds,
        )


def _policies(path: Path, settings: tuple[PolicySettings, ...]) -> Policies:
    indexes = {each.index for each in settings}
    if len(indexes) != len(settings) or 0 not in indexes or min(indexes) < 0:
        raise ConfigurationError(f"{path}: policies need different indexes, one of them 0")
    if sum(each.default for each in settings) > 1:
        raise ConfigurationError(f"{path}: more than one policy is the default")
    ordered = sorted(settings, key=lambda each: each.index)
    return Policies([Policy(each.index, each.name, each.default, each.aliases) for each in ordered])


def _object_ring(policy: int) -> str:
    return f"object-{policy}" if policy else "object"


def create(folder: Path, policies: tuple[PolicySettings, ...] = ()) -> Path:
    """Write a new cluster.toml with words and a key of its own; raises FileExistsError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cluster.toml"
    lines = [
        f'hash_words = "{secrets.token_hex(16)}"  # never change it',
        f'key = "{secrets.token_hex(32)}"',
    ]
    for policy in policies or (PolicySettings(index=0, name="Policy-0", default=True),):
        lines += [
            "",
            "[[policies]]",
            f"index = {policy.index}",
            f"name = {msgspec.json.encode(policy.name).decode()}",
            f"default = {str(policy.default).lower()}",
        ]
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path
