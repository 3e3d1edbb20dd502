"""The S3 API with unmodified command line clients: s3cmd, rclone and aws, as Debian has them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.s3_calls import S3, clouds

pytestmark = pytest.mark.functional
MIB = 1 << 20


s3 = clouds()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A tree of files, one of them large."""
    folder = tmp_path / "files"
    (folder / "sub dir").mkdir(parents=True)
    (folder / "small.txt").write_text("hello")
    (folder / "sub dir" / "ü&+.bin").write_bytes(os.urandom(1000))
    (folder / "large").write_bytes(os.urandom(17 * MIB))
    return folder


def run(home: Path, *command: str) -> str:
    program = Path("/usr/bin") / command[0]
    if not program.exists():
        pytest.skip(f"{command[0]} is not installed: apt-get install s3cmd rclone awscli")
    done = subprocess.run(
        [str(program), *command[1:]],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def same(one: Path, other: Path) -> bool:
    """Do the two trees hold the same files?"""
    trees = [
        {
            str(path.relative_to(tree)): path.read_bytes()
            for path in tree.rglob("*")
            if path.is_file()
        }
        for tree in (one, other)
    ]
    return trees[0] == trees[1]


def test_s3cmd(s3: S3, files: Path, tmp_path: Path) -> None:
    host = s3.cloud.url.removeprefix("http://")
    (tmp_path / ".s3cfg").write_text(
        f"[default]\naccess_key = {s3.key['aws_access_key_id']}\n"
        f"secret_key = {s3.key['aws_secret_access_key']}\n"
        f"host_base = {host}\nhost_bucket = {host}\nuse_https = False\n"
        "multipart_chunk_size_mb = 5\n"
    )
    run(tmp_path, "s3cmd", "mb", "s3://tool-s3cmd")
    run(tmp_path, "s3cmd", "sync", f"{files}/", "s3://tool-s3cmd/tree/")
    listed = run(tmp_path, "s3cmd", "ls", "--recursive", "s3://tool-s3cmd")
    assert "s3://tool-s3cmd/tree/sub dir/ü&+.bin" in listed
    back = tmp_path / "back"
    back.mkdir()
    run(tmp_path, "s3cmd", "sync", "s3://tool-s3cmd/tree/", f"{back}/")
    assert same(files, back)
    run(tmp_path, "s3cmd", "cp", "s3://tool-s3cmd/tree/large", "s3://tool-s3cmd/copy")
    run(tmp_path, "s3cmd", "mv", "s3://tool-s3cmd/copy", "s3://tool-s3cmd/moved")
    assert "17" in run(tmp_path, "s3cmd", "du", "-H", "s3://tool-s3cmd/moved")
    assert "tool-s3cmd/moved" in run(tmp_path, "s3cmd", "info", "s3://tool-s3cmd/moved")
    assert "Location" in run(tmp_path, "s3cmd", "info", "s3://tool-s3cmd")
    run(tmp_path, "s3cmd", "setacl", "--acl-public", "s3://tool-s3cmd")
    assert "anon" in run(tmp_path, "s3cmd", "info", "s3://tool-s3cmd")
    url = run(tmp_path, "s3cmd", "signurl", "s3://tool-s3cmd/tree/small.txt", "+60").strip()
    assert "Signature=" in url
    run(tmp_path, "s3cmd", "rb", "--recursive", "--force", "s3://tool-s3cmd")
    assert "tool-s3cmd" not in run(tmp_path, "s3cmd", "ls")


def test_rclone(s3: S3, files: Path, tmp_path: Path) -> None:
    config = tmp_path / "rclone.conf"
    config.write_text(
        "[cloud]\ntype = s3\nprovider = Other\nenv_auth = false\n"
        f"access_key_id = {s3.key['aws_access_key_id']}\n"
        f"secret_access_key = {s3.key['aws_secret_access_key']}\n"
        f"endpoint = {s3.cloud.url}/s3\nforce_path_style = true\nupload_cutoff = 5M\n"
    )

    def rclone(*words: str) -> str:
        return run(tmp_path, "rclone", "--config", str(config), "--retries", "1", *words)

    rclone("mkdir", "cloud:tool-rclone")
    rclone("sync", str(files), "cloud:tool-rclone/tree")
    assert "sub dir/ü&+.bin" in rclone("lsf", "-R", "cloud:tool-rclone/tree")
    rclone("check", str(files), "cloud:tool-rclone/tree")
    back = tmp_path / "back"
    rclone("copy", "cloud:tool-rclone/tree", str(back))
    assert same(files, back)
    rclone("moveto", "cloud:tool-rclone/tree/large", "cloud:tool-rclone/moved")
    assert rclone("lsf", "cloud:tool-rclone").split() == ["moved", "tree/"]
    assert rclone("cat", "cloud:tool-rclone/tree/small.txt") == "hello"
    rclone("purge", "cloud:tool-rclone")
    assert "tool-rclone" not in rclone("lsd", "cloud:")


def test_aws(s3: S3, files: Path, tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        f"[default]\naws_access_key_id = {s3.key['aws_access_key_id']}\n"
        f"aws_secret_access_key = {s3.key['aws_secret_access_key']}\n"
    )
    (tmp_path / ".aws/config").write_text(
        "[default]\nregion = us-east-1\ns3 =\n  addressing_style = path\n"
    )

    def aws(*words: str) -> str:
        return run(tmp_path, "aws", "--endpoint-url", f"{s3.cloud.url}/s3", *words)

    aws("s3", "mb", "s3://tool-aws")
    aws("s3", "sync", str(files), "s3://tool-aws/tree")
    assert "sub dir/ü&+.bin" in aws("s3", "ls", "--recursive", "s3://tool-aws")
    back = tmp_path / "back"
    aws("s3", "sync", "s3://tool-aws/tree", str(back))
    assert same(files, back)
    aws("s3", "mv", "s3://tool-aws/tree/large", "s3://tool-aws/moved")
    head = aws("s3api", "head-object", "--bucket", "tool-aws", "--key", "moved")
    assert f'"ContentLength": {17 * MIB}' in head
    aws("s3", "rb", "--force", "s3://tool-aws")
    assert "tool-aws" not in aws("s3", "ls")


def test_the_programs_are_there() -> None:
    """Where the suite was installed by `make test`, none of the tests above is skipped."""
    if os.environ.get("CI"):
        assert all(shutil.which(name, path="/usr/bin") for name in ("s3cmd", "rclone", "aws"))
