"""Walks through areas of the identity API, judged by the published schemas.

Each module here is an area: `walk(walk, cloud)` asks for every operation of it at least once
(tests/contract/test_identity_operations.py runs all, and fails for a route that none asked for).
"""

from __future__ import annotations

import re
from typing import Any

from tests.cloud import TestedCloud
from tests.published import Contract

V3 = "/identity/v3"
# Where the published schema contradicts the published samples and every real client:
# (operation, part of the body, what the samples show instead).
SCHEMA_IS_WRONG = (
    (r"(GET|POST) /v3/auth/tokens", r"token/user/password_expires_at", "null: never expires"),
    (
        r"GET /v3/(auth|OS-FEDERATION)/(projects|domains)",
        r"(\w+/\d+/)?links",
        "an object with self",
    ),
    (r"PATCH /v3/domains/\{\}/config/\{\}(/\{\})?", r"config", "the whole configuration"),
    (r"GET /v3/users/\{\}/(projects|groups)", r"\w+/\d+/description", "null"),
)


class Walk:
    """Makes requests as an administrator, and remembers which operations it met."""

    def __init__(self, cloud: TestedCloud, contract: Contract) -> None:
        self.client = cloud.client("admin")
        self.contract = contract
        self.met: set[tuple[str, str]] = set()
        self.problems: list[str] = []

    def __call__(
        self,
        method: str,
        path: str,
        status: int,
        body: Any = None,
        headers: dict[str, str] | None = None,
        **values: str,
    ) -> Any:
        """A request to `path` (with {name} filled from `values`); answers the decoded body."""
        url, _, query = path.partition("?")
        answer = self.client.request(
            method,
            V3 + url.format(**values) + ("?" + query if query else ""),
            json=body,
            headers=headers,
        )
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        template = "/v3" + re.sub(r"\{[^}]*\}", "{}", url)
        self.met.add((method, template))
        is_json = "json" in answer.headers.get("content-type", "")
        shown = answer.json() if is_json else answer.text or None
        assert self.contract.knows(method, template), f"{method} {template} is not documented"
        if shown is not None and status < 300:
            self.problems += [
                f"{method} {path}: {problem}"
                for problem in self.contract.problems(method, template, shown)
                if not _is_known(f"{method} {template}", problem)
            ]
        return shown


def _is_known(operation: str, problem: str) -> bool:
    where = problem.partition(":")[0]
    return any(
        re.fullmatch(method, operation) and re.fullmatch(part, where)
        for method, part, _ in SCHEMA_IS_WRONG
    )
