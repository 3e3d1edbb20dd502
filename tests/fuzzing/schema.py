"""Requests made from the OpenAPI document that a service serves: right ones and wrong ones."""

from __future__ import annotations

import itertools
import random
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from nubelet.kernel.http.openapi import document
from tests.authorization.worlds import Things
from tests.fuzzing.judge import Judge
from tests.fuzzing.oddities import TEXTS

_MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


def fuzz(judge: Judge, personas: tuple[str, ...], requests: int, number: int) -> None:
    """At least `requests` requests, shared evenly by operations and callers; `number` seeds."""
    schema = schemathesis.openapi.from_dict(document(judge.service))
    operations = [found.ok() for found in schema.get_all_operations()]
    each = max(2, -(-requests // (len(operations) * len(_MODES) * len(personas))))
    end = judge.asked + requests
    for turn in itertools.count(number):
        for operation, mode, persona in itertools.product(operations, _MODES, personas):
            if judge.asked >= end:
                return
            _operation(judge, operation, mode, persona, each, turn)


def _operation(
    judge: Judge, operation: Any, mode: GenerationMode, persona: str, count: int, number: int
) -> None:
    chance = random.Random(f"{number} {operation.label} {mode} {persona}")
    things = judge.matrix.worlds["own"].things
    token = judge.matrix.tested.user(persona).token

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        judge.ask(_request(case, things, token, chance), keep=chance.random() < 0.1)

    try:
        ask()
    except Unsatisfiable:  # there is no wrong request without parameters and body
        ask_plainly = operation.Case()
        for _ in range(count):
            judge.ask(_request(ask_plainly, things, token, chance))


def _request(case: Any, things: Things, token: str, chance: random.Random) -> dict[str, Any]:
    """The case as it is asked: with a good token, and most of the time about things that exist."""
    path = case.path
    first = path.split("/")[3] if path.count("/") > 2 else ""
    for name, value in (case.path_parameters or {}).items():
        known = things.get(f"{first}/{name}", things.get(name))
        if known is not None and chance.random() < 0.7:
            value = known
        path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
    body, kind = case.body, case.media_type
    if isinstance(body, dict | list):
        body = msgspec.json.encode(_with_things(body, things, chance))
    elif not isinstance(body, bytes):
        body = b"" if repr(body).startswith("<") else _encoded(body)
    headers = {"X-Auth-Token": token}
    if kind:
        headers["Content-Type"] = kind
    query = urlencode(_plain(case.query or {}), doseq=True).encode()
    return {
        "method": case.method,
        "path": path,
        "query": query,
        "headers": headers,
        "body": body,
    }


def _with_things(value: Any, things: Things, chance: random.Random) -> Any:
    """Some of the ids in a body lead to something, and some texts are odd ones."""
    if isinstance(value, dict):
        return {
            str(key): things[key]
            if key in things and chance.random() < 0.5
            else _with_things(each, things, chance)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_with_things(each, things, chance) for each in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**63:
        return float(value)
    if isinstance(value, str):
        odd = chance.random() < 0.05
        return chance.choice(TEXTS) if odd else value.encode("utf-8", "replace").decode()
    return value


def _encoded(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, UnicodeEncodeError, OverflowError):
        return repr(value).encode("utf-8", "replace")


def _plain(query: dict[str, Any]) -> dict[str, Any]:
    return {
        str(name).encode("utf-8", "replace"): [
            str(each).encode("utf-8", "replace")
            for each in (value if isinstance(value, list) else [value])
        ]
        for name, value in query.items()
    }
