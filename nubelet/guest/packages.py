"""Debian packages as raw material: which file belongs to a name, fetch it, unpack it.

Only apt's ordinary client is asked, and nothing is ever installed: a guest kernel among the host's
packages would be one to boot the host from. Without root, or with no package lists on the machine,
lists are fetched into the cache folder. Next to read: system.py, which picks files from them.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nubelet.guest.artefacts import GuestBuildError

KERNEL_META_PACKAGE = "linux-image-cloud-amd64"

PACKAGE_NAMES = (
    "busybox-static",
    "dropbear-bin",
    "e2fsprogs",
    "libblkid1",
    "libc6",
    "libcom-err2",
    "libcrypt1",
    "libext2fs2",
    "libtomcrypt1",
    "libtommath1",
    "libgmp10",
    "libuuid1",
    "openssh-client",
    "openssh-sftp-server",
    "util-linux",
    "zlib1g",
)

_URI_LINE = re.compile(
    r"^'(?P<url>[^']+)' (?P<file>\S+) (?P<size>\d+) (?P<kind>\w+):(?P<digest>\w+)$"
)


@dataclass(frozen=True)
class Package:
    """One package file as the archive's signed index describes it."""

    name: str
    file_name: str
    size_bytes: int
    digest_kind: str
    digest: str

    def matches(self, path: Path) -> bool:
        """Tell whether `path` holds exactly this file."""
        if not path.is_file() or path.stat().st_size != self.size_bytes:
            return False
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, self.digest_kind).hexdigest() == self.digest


class Archive:
    """apt, asked without installing. Downloads are kept in `cache_dir` and reused."""

    def __init__(self, cache_dir: Path) -> None:
        self._cache_dir = cache_dir
        self._options: list[str] = []

    def resolve(self) -> list[Package]:
        """Return every package of the image in the newest version known here, the kernel first.

        Raises `GuestBuildError` when apt knows one of them neither from the machine's lists nor
        from fresh ones.
        """
        try:
            return self._resolve()
        except GuestBuildError:
            return self.refresh()

    def fetch(self, packages: Sequence[Package]) -> list[Path]:
        """Return the packages' files, downloading those of which the cache has no intact copy."""
        missing = [p.name for p in packages if not p.matches(self._cache_dir / p.file_name)]
        if missing:
            self._apt(["apt-get", "download", "-q", *missing])
        for package in packages:
            if not package.matches(self._cache_dir / package.file_name):
                raise GuestBuildError(
                    f"{package.name}: the downloaded file is not the one in the index"
                )
        return [self._cache_dir / package.file_name for package in packages]

    def refresh(self) -> list[Package]:
        """Resolve again from fresh lists: old ones name files that are gone."""
        self._fetch_lists()
        return self._resolve()

    def _resolve(self) -> list[Package]:
        names = [self._kernel_package(), *PACKAGE_NAMES]
        # apt stays silent about a file that lies in its working folder already.
        with tempfile.TemporaryDirectory() as empty_dir:
            output = self._apt(
                ["apt-get", "download", "--print-uris", "-q", *names], Path(empty_dir)
            )
        return parse_uris(output, names)

    def _kernel_package(self) -> str:
        output = self._apt(["apt-cache", "depends", "--important", KERNEL_META_PACKAGE])
        match = re.search(r"Depends: (linux-image-\S+)", output)
        if match is None:
            raise GuestBuildError(f"apt knows no package {KERNEL_META_PACKAGE}")
        return match.group(1)

    def _fetch_lists(self) -> None:
        lists = self._cache_dir / "lists"
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        private = {
            "Dir::State::Lists": lists,
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
        }
        self._options = [
            part for key, value in private.items() for part in ("-o", f"{key}={value}")
        ]
        self._apt(["apt-get", "update", "-q"])

    def _apt(self, command: Sequence[str], working_dir: Path | None = None) -> str:
        if shutil.which(command[0]) is None:
            raise GuestBuildError(
                f"{command[0]} is missing: the guest image is made of Debian packages"
            )
        self._cache_dir.mkdir(parents=True, exist_ok=True)
        # As root apt would drop to a user of its own, who cannot write into our folder.
        options = (
            [*self._options, "-o", "APT::Sandbox::User=root"]
            if os.geteuid() == 0
            else self._options
        )
        finished = subprocess.run(
            [command[0], *options, *command[1:]],
            cwd=working_dir or self._cache_dir,
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            reason = finished.stderr.strip() or finished.stdout.strip()
            raise GuestBuildError(f"{' '.join(command[:2])} failed: {reason}")
        return finished.stdout


def parse_uris(output: str, names: Sequence[str]) -> list[Package]:
    """Read the lines of `apt-get download --print-uris` and put them in the order of `names`."""
    found: dict[str, Package] = {}
    for line in output.splitlines():
        match = _URI_LINE.match(line.strip())
        if match is None:
            continue
        name = match["file"].split("_", 1)[0]
        found[name] = Package(
            name, match["file"], int(match["size"]), match["kind"].lower(), match["digest"].lower()
        )
    missing = [name for name in names if name not in found]
    if missing:
        raise GuestBuildError(f"apt names no file for {', '.join(missing)}")
    return [found[name] for name in names]


def unpack(package_file: Path, target: Path) -> None:
    """Unpack one package file below `target` (its scripts are not run)."""
    target.mkdir(parents=True, exist_ok=True)
    finished = subprocess.run(
        ["dpkg-deb", "-x", str(package_file), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        raise GuestBuildError(f"dpkg-deb -x {package_file.name} failed: {finished.stderr.strip()}")
