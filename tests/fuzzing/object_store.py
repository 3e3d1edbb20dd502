"""Odd names, headers, queries, ranges and bodies for the object store, without any schema:
`python -m tests.fuzzing.object_store --requests 50000 --seed 7`.

Asked are a member, a stranger and nobody about the member's account. What must hold: no answer of
5xx, no header or body of the member's for others, nothing written outside the store's folder, and
what the member wrote beside stays as it is.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from tests.asgi import Answer, Asker
from tests.cloud import TestedCloud, make_cloud

SECRET = b"a-secret-of-the-member"
_METHODS = [
    *["GET", "PUT"] * 4,
    *["HEAD", "POST", "DELETE", "COPY"] * 2,
    "OPTIONS",
    "REPORT",
    "PATCH",
]
_ODD = [
    "", "/", "//", ".", "..", "../..", "%2e%2e/", "%00", "%ff", "%C3%A9", "%E2%98%83", "a" * 256,
    "a" * 257, "b" * 1024, "b" * 1025, "%2F", "%252F", "\\", "~", "a?b", "%3F", "*", "%0d%0a",
    "versions%00", "..%2f..%2f..%2fetc%2fpasswd", ".expiring_objects", "%F0%9F%98%80", "%ED%A0%80",
]  # fmt: skip
_VALUES = [
    "", "0", "-1", "1", "99999999999999999999", "true", "null", "*", "a/b", "/a/b", "box/o", "\xe9",
    "\xff\xfe", "a" * 300, "b" * 9000, "bytes=0-", "bytes=-1", "bytes=0-0,2-3", "bytes=9-1",
    "bytes=" + ",".join(["0-1"] * 60), "%00", "..", "../../x", "text/plain", "multipart/form-data",
    "multipart/form-data; boundary=x", "Fri, 01 Jan 2100 00:00:00 GMT", "1e309", "nan", "0x10",
    "//nubelet/here/a/b", ".r:*", ".rlistings", '{"admin": ["x"]}', "[]", '"',
]  # fmt: skip
_HEADERS = [
    "range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "etag",
    "content-type", "content-encoding", "x-delete-at", "x-delete-after", "x-copy-from",
    "x-copy-from-account", "destination", "destination-account", "x-object-manifest",
    "x-symlink-target", "x-symlink-target-account", "x-symlink-target-etag", "x-object-meta-a",
    "x-container-meta-a", "x-account-meta-a", "x-container-read", "x-container-write",
    "x-versions-enabled", "x-versions-location", "x-history-location", "x-storage-policy",
    "x-container-sync-to", "x-container-sync-key", "x-container-sync-auth", "x-timestamp",
    "x-account-access-control", "x-account-quota-bytes", "x-container-meta-quota-bytes",
    "x-fresh-metadata", "x-newest", "origin", "access-control-request-method", "accept", "referer",
    "x-object-sysmeta-a", "x-backend-policy", "x-static-large-object", "transfer-encoding",
    "x-detect-content-type", "x-web-mode", "x-remove-container-read", "x-object-meta-",
    "x-container-meta-web-index", "x-container-meta-web-listings", "expect",
]  # fmt: skip
_QUERIES = [
    "format", "limit", "marker", "end_marker", "prefix", "delimiter", "path", "reverse", "versions",
    "version-id", "version_marker", "multipart-manifest", "symlink", "extract-archive",
    "bulk-delete", "temp_url_sig", "temp_url_expires", "temp_url_prefix", "temp_url_ip_range",
    "inline", "filename",
]  # fmt: skip
_QUERY_VALUES = [
    "json", "xml", "plain", "put", "get", "delete", "raw", "tar", "tar.gz", "tar.bz2", "null",
    "1000000000.00000", "f" * 64, "9999999999",
]  # fmt: skip
_BODIES = [
    b"", b"x", b"\x00\xff" * 40, b"[]", b"{", b'[{"path": "/box/o"}]', b'[{"data": "eA=="}]',
    b'[{"path": "/box/o", "range": "0-1"}, {"data": "eA=="}]', b"/box/o\n/../x\n%00\n", b"[" * 5000,
    b'--x\r\nContent-Disposition: form-data; name="a"; filename="../b"\r\n\r\nx\r\n--x--\r\n',
    b"--x\r\n", b'[{"path": "/box/o", "size_bytes": -1}]', b"\x1f\x8b\x08\x00", b"BZh9", b"0" * 512,
]  # fmt: skip


class Found(Exception):
    """A rule was broken; the request is in the text."""


class World:
    """A store with something in it, and who asks."""

    def __init__(self, tested: TestedCloud) -> None:
        self.tested, self.asker = tested, Asker(tested.app)
        member = tested.user("member")
        self.tokens = {
            "member": member.token,
            "stranger": tested.user("stranger").token,
            "nobody": None,
        }
        self.url = f"/object-store/v1/AUTH_{member.project_id}"
        self.kept = f"{self.url}/kept/o"
        self.restore()

    def restore(self) -> None:
        """What the member has."""
        for path in ("/box", "/kept"):
            self.ask("member", "PUT", self.url + path)
        self.ask("member", "PUT", f"{self.url}/box/o", body=b"data " + SECRET)
        self.ask("member", "PUT", self.kept, {"x-object-meta-mark": "1"}, SECRET)

    def ask(
        self,
        who: str,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        query: bytes = b"",
    ) -> Answer:
        """Send one request."""
        token = self.tokens[who]
        sent = {**(headers or {}), **({"x-auth-token": token} if token else {})}
        return self.asker.ask(method, path, headers=sent, body=body, query=query)


def run(tested: TestedCloud, requests: int, seed: int) -> dict[int, int]:
    """Send so many requests; how often each status came. Raises Found."""
    world, chance = World(tested), random.Random(seed)
    outside = _outside(tested)
    counts: dict[int, int] = {}
    for number in range(requests):
        who = chance.choice(("member", "member", "stranger", "nobody"))
        method, path, headers, query, body = _request(world, chance)
        asked = f"{who} {method} {path}?{query!r} {headers} {body[:80]!r}"
        question = f"seed {seed}, request {number}: {asked}"
        try:
            answer = world.ask(who, method, path, headers, body, query)
        except Exception as error:
            raise Found(f"{question}: {error!r}") from error
        counts[answer.status] = counts.get(answer.status, 0) + 1
        if answer.status >= 500:
            raise Found(f"{question}: {answer.status} {answer.body[:300]!r}")
        if who != "member" and SECRET in answer.body:
            raise Found(f"{question}: shows what is the member's")
        if number % 500 == 499:
            _close(world)
            kept = world.ask("member", "GET", world.kept)
            if kept.status == 200 and kept.body != SECRET:
                raise Found(f"before {question}: {world.kept} has changed")
            world.restore()
    if _outside(tested) != outside:
        raise Found("something was written outside of the store")
    return counts


def _close(world: World) -> None:
    """Containers that the member's requests have opened to others are closed again."""
    answer = world.ask("member", "GET", world.url, query=b"format=json")
    for entry in answer.json():
        path = f"{world.url}/{quote(entry['name'], safe='')}"
        world.ask("member", "POST", path, {"x-container-read": "", "x-container-write": ""})


def _outside(tested: TestedCloud) -> list[str]:
    state = Path(tested.cloud.settings.state_dir)
    return sorted(
        str(path)
        for path in state.rglob("*")
        if "object-store" not in path.parts and "sqlite" not in path.name
    )


def _request(world: World, chance: random.Random) -> tuple[str, str, dict[str, str], bytes, bytes]:
    method = chance.choice(_METHODS)
    base = world.url if chance.random() < 0.95 else "/object-store" + chance.choice(_ODD)
    container = chance.choice([*["box"] * 20, "web", *_ODD])
    name = chance.choice([*["o"] * 20, "new", "link", "big/", "index.html", *_ODD])
    path = "/".join([base, *[container, name, *_ODD[-3:]][: chance.choice([0, 1, 2, 2, 2, 3])]])
    names = chance.sample(_HEADERS, chance.randrange(0, 4))
    headers = {name: chance.choice(_VALUES) for name in names}
    if "x-container-read" in headers or "x-account-access-control" in headers:
        # What the member gives to others is no leak.
        headers.pop("x-container-read", None)
        headers.pop("x-account-access-control", None)
    query = "&".join(
        f"{name}={quote(chance.choice(_QUERY_VALUES + _VALUES), encoding='latin-1')}"
        for name in chance.sample(_QUERIES, chance.randrange(0, 3))
    )
    body = (
        chance.choice(_BODIES) if chance.random() < 0.7 else chance.randbytes(chance.randrange(90))
    )
    path = path.encode("ascii", "replace").decode()
    return method, path, headers, query.encode(), body


def main(
    run: Callable[[TestedCloud, int, int], dict[int, int]] = run, requests: int = 50_000
) -> int:
    """Fuzz a cloud made for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=requests)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tested = make_cloud(
            Path(folder),
            services=("identity", "object_store"),
            hosts=(),
            options={"object_store.s3_customer_keys_over_http": True},
        )
        try:
            counts = run(tested, options.requests, options.seed)
        except Found as error:
            print(f"FOUND  {error}")
            return 1
        finally:
            tested.close()
    print(
        f"seed {options.seed}: " + ", ".join(f"{counts[each]} x {each}" for each in sorted(counts))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
