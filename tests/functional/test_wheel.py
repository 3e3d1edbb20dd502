"""The wheel holds all that is needed: installed elsewhere, started by somebody without rights."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.command import CommandCloud

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.glob("nubelet-*.whl")
    return found


@pytest.fixture(scope="module")
def home(wheel: Path) -> Iterator[Path]:
    """A folder that everybody may enter, with the wheel in an environment of its own."""
    made = Path(f"/tmp/nubelet-test-wheel-{os.getpid()}")
    made.mkdir(mode=0o755)
    try:
        python = made / "venv/bin/python"
        subprocess.run([_python(), "-m", "venv", "--without-pip", made / "venv"], check=True)
        site = next((made / "venv/lib").glob("python*")) / "site-packages"
        subprocess.run(
            [
                sys.executable,
                "-m",
                "uv",
                "pip",
                "install",
                "--quiet",
                "--offline",
                "--no-deps",
                "--python",
                str(python),
                str(wheel),
            ],
            check=True,
        )
        # What it depends on is taken from where the tests run.
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        yield made
    finally:
        shutil.rmtree(made)


def _python() -> str:
    """A Python that everybody may run: that of the tests may lie in somebody's home."""
    everybodys = f"/usr/bin/python3.{sys.version_info.minor}"
    return everybodys if os.access(everybodys, os.X_OK) else sys.executable


def test_what_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "nubelet"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    missing = {name for name in tracked if (ROOT / name).exists()} - names
    assert not missing
    assert "nubelet/py.typed" in names
    assert "nubelet/migrations/versions/0001_first.py" in names
    assert any(name.startswith("nubelet/guest/") and not name.endswith(".py") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


def test_the_installed_command_runs_a_cloud(home: Path, tmp_path: Path) -> None:
    cloud = CommandCloud(tmp_path)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [home / "venv/bin/nubelet", *words, "--state-dir", str(cloud.state_dir)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
            env=environment,
        )

    def nubelet(*words: str) -> str:
        done = run(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    where = subprocess.run(
        [home / "venv/bin/python", "-c", "import nubelet; print(nubelet.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout
    assert where.startswith(str(home))
    assert cloud.url in nubelet("up", "--fake", "--port", str(cloud.port))
    try:
        command = Path(f"/proc/{cloud.pid()}/cmdline").read_text()
        assert command.startswith(str(home))
        assert "/compute/v2.1" in nubelet("status")
        assert f"OS_AUTH_URL={cloud.url}" in nubelet("openrc")
        until = time.monotonic() + 120  # what its loops do first may be under way yet
        while (doctor := run("doctor")).returncode:
            assert time.monotonic() < until, doctor.stdout + doctor.stderr
            time.sleep(0.2)
        assert "✗" not in doctor.stdout
    finally:
        assert "is left" in nubelet("down", "--purge")
    assert not cloud.state_dir.exists()


def test_somebody_without_rights_runs_a_cloud(home: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root, to become somebody else")
    nobody = pwd.getpwnam("nobody")
    folder = home / "nobody"
    folder.mkdir()
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    port = CommandCloud(tmp_path).port

    def nubelet(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                "setpriv",
                "--reuid",
                "nobody",
                "--regid",
                str(nobody.pw_gid),
                "--clear-groups",
                home / "venv/bin/python",
                "-m",
                "nubelet",
                *words,
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
            env={"HOME": str(folder), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        )

    if (looked := nubelet("--help")).returncode:
        pytest.skip(f"nobody may not read Python or what the tests use: {looked.stderr[-200:]}")
    refused = nubelet("up", "--port", str(port))
    assert refused.returncode == 1
    assert "real guests and networks need root" in refused.stderr
    state = folder / ".local/state/nubelet"
    assert not state.exists()
    try:
        done = nubelet("up", "--fake", "--port", str(port))
        assert done.returncode == 0, done.stderr
        assert (state / "nubelet.toml").stat().st_uid == nobody.pw_uid
        assert nubelet("status").returncode == 0
    finally:
        purged = nubelet("down", "--purge")
    assert purged.returncode == 0, purged.stderr
    assert not state.exists()
